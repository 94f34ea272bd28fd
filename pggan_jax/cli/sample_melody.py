"""`sample --melody`: a melody as one wave."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from absl import flags

from pggan_jax.cli.model_flags import make_parent
from pggan_jax.cli.sample_output import claim_place
from pggan_jax.cli.sample_sound_flags import pitch_classes, sound_place
from pggan_jax.cli.sample_sound_output import Sound, representation_of, request_of, waves_of, written_or_refused
from pggan_jax.cli.shared_flags import flag_value, folder
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model

_SECONDS_PER_TIMBRE = 6.0


def write_melody(values: flags.FlagValues, model: Model, seeds: Sequence[int]) -> None:
    """Write a melody as one wave."""
    from pggan_jax.generation.melodies.mixing import Envelope, latents_of_notes, mix
    from pggan_jax.generation.melodies.notes import check_notes, read_melody, within_pitches
    from pggan_jax.generation.melodies.tunes import TUNES, tune
    from pggan_jax.sound.wave_files import write_wave

    text, representation = flag_value(values, "melody"), representation_of(model)
    source, title = f"--melody={text}", text if text in TUNES else folder("melody", text).stem
    notes = check_notes(tune(text), source) if text in TUNES else read_melody(source, folder("melody", text))
    place = sound_place(values, f"{title}.wav")
    if place.kind == "zip":
        raise UserError(f"--out={place.path}: a melody is one wave; give FILE.wav or a folder")
    classes = pitch_classes(model, source)
    notes = within_pitches(notes, classes, source, fold=flag_value(values, "fold"))
    timbres = _timbres(values, max(note.end for note in notes), seeds)
    latents = latents_of_notes(notes, model.latents(timbres))
    rows = zip(notes, latents, strict=True)
    sounds = [Sound("", latent, classes[note.pitch], number) for number, (note, latent) in enumerate(rows)]
    envelope = Envelope.for_clips(representation.samples, representation.sample_rate)
    mixed = mix(notes, waves_of(values, model, sounds), envelope)
    path = place.path
    as_float, rate = flag_value(values, "float"), representation.sample_rate
    write = partial(write_wave, wave=mixed, sample_rate=rate, as_float=as_float, is_joined=True)
    if place.kind == "folder":
        path = path / f"melody-{title}-seed{timbres[0]:04d}.wav"
        request = request_of(values, model, melody=title, notes=repr(notes), timbres=list(timbres))
        with claim_place(values, place.path, request, grid=None, sources=model.config.data.sources):
            written_or_refused(place.path, partial(write, path))
    else:
        make_parent(path, f"--out={path}")
        written_or_refused(path, partial(write, path))
    seconds = len(mixed) / representation.sample_rate
    print(f"{title}: {len(notes)} notes, {seconds:.2f} s, {len(timbres)} timbres from kimg {model.kimg:g} -> {path}")


def _timbres(values: flags.FlagValues, total: float, seeds: Sequence[int]) -> Sequence[int]:
    """Return the seeds whose latents a melody walks through.

    Raises:
        UserError: flags contradict each other.
    """
    from pggan_jax.generation.melodies.mixing import number_of_timbres

    count, seconds = flag_value(values, "timbres"), flag_value(values, "seconds_per_timbre")
    if count is not None and seconds is not None:
        raise UserError(f"--timbres={count} and --seconds_per_timbre={seconds:g}: one follows from the other; give one of them")
    if len(seeds) > 1:
        if count is not None or seconds is not None:
            name = "timbres" if count is not None else "seconds_per_timbre"
            raise UserError(f"--{name}: --seeds names {len(seeds)} timbres, at equal times; remove one of the two")
        return seeds
    start = seeds[0] if seeds else 0
    count = count or number_of_timbres(total, seconds or _SECONDS_PER_TIMBRE)
    return [(start + number) % 2**32 for number in range(count)]
