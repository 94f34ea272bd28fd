"""What `sample` writes for a run on sound: a wave per seed, a scale, a melody, a walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from pggan_jax.cli import sample_melody
from pggan_jax.cli.model_flags import classes_by_seed, latent_factor, make_parent
from pggan_jax.cli.sample_output import claim_place, report_interruption, write_all
from pggan_jax.cli.sample_sound_flags import (
    Place,
    chosen_invert,
    chosen_sound_class,
    pitch_classes,
    refuse_image_flags,
    sound_place,
    walk_seeds,
)
from pggan_jax.cli.sample_sound_output import (
    Sound,
    counted,
    name_part,
    report_scaling,
    representation_of,
    request_of,
    require_short,
    waves_of,
    write_joined,
    written_or_refused,
)
from pggan_jax.cli.shared_flags import Seeds, flag_value
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.image_writers import Plan, Sample
    from pggan_jax.generation.model import Model

SOUNDS_IN_ALL = 100
"""Sounds in all.wav, at most."""


def run(values: flags.FlagValues, model: Model, seeds: Seeds) -> int:
    """Write the sounds and print where; 130 after Ctrl-C."""
    refuse_image_flags(values)
    given = seeds if values["seeds"].present or values["num"].present else ()
    if flag_value(values, "melody") is not None:
        sample_melody.write_melody(values, model, list(given))
    elif flag_value(values, "scale"):
        _write_several(values, model, _scale(model, list(given) or [0]), default="scale.wav")
    elif flag_value(values, "walk") is not None:
        first, last = walk_seeds(values)
        _write_several(values, model, _walk(values, model, first, last), default=f"walk-{first}-{last}.wav")
    else:
        return _write_seeds(values, model, seeds)
    return 0


def _write_seeds(values: flags.FlagValues, model: Model, seeds: Seeds) -> int:
    """Write one file per seed, and all.wav in a folder; or all in one file."""
    representation, place = representation_of(model), sound_place(values, "samples")
    classes, part = classes_by_seed(model, chosen_sound_class(values, model)), name_part(model)
    if place.kind == "wav":
        require_short(len(seeds), representation)
        listed = list(seeds)
        rows = zip(listed, model.latents(listed), classes(listed).tolist(), strict=True)
        sounds = [Sound(f"seed{seed:04d}{part(number)}.wav", latent, number, seed) for seed, latent, number in rows]
        _write_several(values, model, sounds, default="")
        return 0
    plan = _plan(values, model, seeds, classes=classes)
    factors: dict[str, float] = {}
    with claim_place(values, place.path, plan.request, grid=None, sources=model.config.data.sources):
        generate = partial(_missing, values, model, plan, place=place, factors=factors)
        written = write_all(place.path, plan, generate, format="wav", at_once=model.sampler.small_batch, noun="sounds")
    if written < len(plan):
        return report_interruption(written, len(plan), "sounds")
    report_scaling(factors)
    first = "all" if len(plan) <= SOUNDS_IN_ALL else f"the first {SOUNDS_IN_ALL}"
    of_them = f" ({first} one after another in {place.path / 'all.wav'})" if place.kind == "folder" else ""
    where = f"{place.path}/" if place.kind == "folder" else place.path
    print(f"{counted(len(plan), representation)} from kimg {model.kimg:g} -> {where}{of_them}")
    return 0


def _plan(values: flags.FlagValues, model: Model, seeds: Seeds, *, classes: Callable[[Sequence[int]], np.ndarray]) -> Plan:
    """Return what is to be written, one file per seed."""
    from pggan_jax.generation.image_writers import Plan
    from pggan_jax.sound.wave_files import encode_wave

    representation, as_float, part = representation_of(model), flag_value(values, "float"), name_part(model)
    return Plan(
        seeds,
        classes,
        name_of=lambda seed, number: f"seed{seed:04d}{part(number)}.wav",
        has_labels=bool(model.label_size),
        shape=(representation.samples, 1, 1),
        request=request_of(values, model, seeds=seeds.describe(), **{"class": chosen_sound_class(values, model)}),
        encode=lambda wave: encode_wave(wave, representation.sample_rate, as_float=as_float),
    )


def _missing(
    values: flags.FlagValues, model: Model, plan: Plan, done: np.ndarray, *, place: Place, factors: dict[str, float]
) -> Iterator[Sample]:
    """Generate the sounds that are missing and those of all.wav; note factors of scaling."""
    from pggan_jax.generation.image_writers import Sample
    from pggan_jax.sound.wave_files import scale_to_fit

    in_all = min(len(plan), SOUNDS_IN_ALL) if place.kind == "folder" else 0
    needed = ((index, seed) for index, seed in enumerate(plan.seeds) if index < in_all or not done[index])
    indices, ahead = tee(needed)
    invert, psi = chosen_invert(values, model), latent_factor(values, model)
    waves = model.stream_waves((seed for _, seed in ahead), plan.classes, psi=psi, invert=invert)
    first: list[np.ndarray] = []
    for (index, _), (seed, number, wave) in zip(indices, waves, strict=True):
        name = plan.name_of(seed, number)
        if index < in_all:
            first.append(wave)
            if len(first) == in_all:
                write_joined(values, place.path / "all.wav", first, factors=factors, model=model)
                first.clear()
        if not done[index]:
            scaled, factor = (wave, 1.0) if flag_value(values, "float") else scale_to_fit(wave)
            factors[name] = factor
            yield Sample(name, scaled)


def _scale(model: Model, seeds: Sequence[int]) -> list[Sound]:
    """Return the sounds of every trained pitch upwards, seed by seed."""
    classes, part = pitch_classes(model, "--scale"), name_part(model)
    return [
        Sound(f"seed{seed:04d}{part(number)}.wav", latent, number, seed)
        for seed, latent in zip(seeds, model.latents(seeds), strict=True)
        for number in classes.values()
    ]


def _walk(values: flags.FlagValues, model: Model, first: int, last: int) -> list[Sound]:
    """Return the sounds between two seeds, at the class asked for or that of the first seed."""
    from pggan_jax.generation.walks import slerp

    wanted, steps, part = chosen_sound_class(values, model), flag_value(values, "steps"), name_part(model)
    number = int(classes_by_seed(model, wanted)([first])[0])
    start, end = model.latents([first, last])
    return [
        Sound(f"walk-{first}-{last}-step{step:02d}{part(number)}.wav", slerp(start, end, step / (steps - 1)), number, first)
        for step in range(steps)
    ]


def _write_several(values: flags.FlagValues, model: Model, sounds: Sequence[Sound], *, default: str) -> None:
    """Write sounds that belong together, scaled by one factor, to one file or to a folder."""
    from pggan_jax.sound.wave_files import encode_wave, scale_to_fit
    from pggan_jax.system.files import write_atomically

    representation, place = representation_of(model), sound_place(values, default)
    if place.kind == "zip":
        raise UserError(f"--out={place.path}: give a folder, or FILE.wav for all of these sounds in one file")
    require_short(len(sounds), representation)
    waves, factors = list(waves_of(values, model, sounds)), dict[str, float]()
    path = place.path / "all.wav" if place.kind == "folder" else place.path
    if place.kind == "folder":
        peak, as_float = max(float(np.abs(wave).max()) for wave in waves), flag_value(values, "float")
        request = request_of(values, model, sounds=[sound.name for sound in sounds])
        with claim_place(values, place.path, request, grid=None, sources=model.config.data.sources):
            for sound, wave in zip(sounds, waves, strict=True):
                scaled = wave if as_float else scale_to_fit(wave, peak=peak)[0]
                content = encode_wave(scaled, representation.sample_rate, as_float=as_float)
                written_or_refused(place.path, partial(write_atomically, place.path / sound.name, content))
            write_joined(values, path, waves, factors=factors, model=model)
    else:
        make_parent(path, f"--out={path}")
        write_joined(values, path, waves, factors=factors, model=model)
    report_scaling(factors)
    each = f" and one by one in {place.path}/" if place.kind == "folder" else ""
    names = f"{Path(sounds[0].name).stem} to {Path(sounds[-1].name).stem}"
    print(f"{counted(len(sounds), representation)} from kimg {model.kimg:g}, {names} -> {path}{each}")
