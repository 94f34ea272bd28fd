"""Generated waves on their way to files: names, joining, scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import cannot_be_written, latent_factor
from pggan_jax.cli.sample_output import WAVE_FORMATS
from pggan_jax.cli.sample_sound_flags import chosen_invert, has_pitches
from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model
    from pggan_jax.sound.representations import Representation

_LONGEST_SECONDS = 3600
_SHOWN = 3


class Sound(NamedTuple):
    """The name of a sound's file, its latent and class, and the seed of random phases."""

    name: str
    latent: np.ndarray
    number: int
    seed: int


def waves_of(values: flags.FlagValues, model: Model, sounds: Sequence[Sound]) -> Iterator[np.ndarray]:
    """Generate the waves of some sounds, batch by batch."""
    from tqdm import tqdm

    invert, factor, at_once = chosen_invert(values, model), np.float32(latent_factor(values, model)), model.sampler.small_batch
    with tqdm(total=len(sounds), desc="sampling", unit="sound", delay=2, disable=None) as bar:
        for start in range(0, len(sounds), at_once):
            batch = sounds[start : start + at_once]
            latents = np.stack([sound.latent for sound in batch]) * factor
            labels = [sound.number for sound in batch] if model.label_size else None
            yield from model.synthesize_waves(
                latents, labels, invert=invert, phase_seeds=np.array([sound.seed for sound in batch])
            )
            bar.update(len(batch))


def write_joined(
    values: flags.FlagValues, path: Path, waves: Sequence[np.ndarray], *, factors: dict[str, float], model: Model
) -> None:
    """Write waves one after another; note the factor of scaling by the file's name."""
    from pggan_jax.sound.wave_files import one_after_another, write_wave

    rate = representation_of(model).sample_rate
    joined, as_float = one_after_another(waves, rate), flag_value(values, "float")
    write = partial(write_wave, path, joined, rate, as_float=as_float, is_joined=True)
    factors[path.name] = written_or_refused(path, write)


def written_or_refused(path: Path, write: Callable[[], Any]) -> Any:
    """Return what `write` does.

    Raises:
        UserError: it cannot write.
    """
    try:
        return write()
    except OSError as error:
        raise cannot_be_written(f"--out={path}", error) from None


def request_of(values: flags.FlagValues, model: Model, **what: Any) -> dict[str, Any]:
    """Return what determines the files."""
    return {
        **what,
        "format": WAVE_FORMATS[flag_value(values, "float")],
        "invert": chosen_invert(values, model),
        "psi": latent_factor(values, model),
        "kimg": model.kimg,
        "weights": model.digest,
    }


def name_part(model: Model) -> Callable[[int], str]:
    """Return the function from class to part of a name: "-pitch060", "_class2_dog", or ""."""
    from pggan_jax.generation.class_names import file_part

    if not model.label_size:
        return lambda number: ""
    if has_pitches(model):
        return lambda number: f"-pitch{int(model.class_names[number]):03d}"
    return lambda number: f"_{file_part(number, model.class_names)}"


def require_short(count: int, representation: Representation) -> None:
    """Raises: UserError: so many sounds are too long for one file."""
    if (seconds := count * representation.seconds) > _LONGEST_SECONDS:
        raise UserError(
            f"{count:,} sounds last {seconds:,.0f} s, and one file at most {_LONGEST_SECONDS:,} s; give --out=FOLDER"
        )


def counted(count: int, representation: Representation) -> str:
    """Return how many sounds of which length, in words."""
    return f"{count:,} sound{'s' * (count != 1)} of {representation.seconds:.3g} s"


def report_scaling(factors: Mapping[str, float]) -> None:
    """Print which files were scaled, as their peak exceeded 1."""
    scaled = {name: factor for name, factor in factors.items() if factor != 1}
    if scaled:
        shown = ", ".join(f"{name} by {factor:.3g}" for name, factor in list(scaled.items())[:_SHOWN])
        more = f" and {len(scaled) - _SHOWN:,} more" if len(scaled) > _SHOWN else ""
        print(f"note: a peak above 1 was scaled to 0.99, each file as a whole: {shown}{more}")


def representation_of(model: Model) -> Representation:
    assert model.representation is not None
    return model.representation
