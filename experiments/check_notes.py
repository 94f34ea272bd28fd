"""Check the notes of a run on sound with measures of pitch, tone and variety.

    python experiments/check_notes.py --workdir=runs/notes
    python experiments/check_notes.py --waves=fakes.npz        # arrays: waves [count, samples], pitches [count]

Generates notes of the newest checkpoint, every trained pitch equally often, and measures them beside real notes: found pitch,
harmonics against the rest, one period against the next, consistency of the spectrogram, a judge of pitch trained on real notes
on the spot, and bins of timbre. The reals are the built-in notes. Takes about half a minute on 2 CPU cores. Exit status 1 if an
aim is missed. A file given by --waves may also have
`images`, as the generator returns them, for their consistency, and `representation`, its JSON form.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pggan_jax.checkpointing.open_model import load
from pggan_jax.data.sounds.notes import LOWEST_PITCH, NOTES_COUNT, PITCHES, note
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import UserError, one_line
from pggan_jax.evaluation.sounds.summary import ENOUGH_REALS, Notes, Summary, notes_of_images, summarize_notes
from pggan_jax.generation.class_names import classes_of_pitches
from pggan_jax.generation.sampling import one_hot
from pggan_jax.sound.representations import Representation
from pggan_jax.system.paths import user_path

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/notes", "folder of a run on notes with labels of pitch")
flags.DEFINE_string("waves", None, "measure the waves of this .npz file instead of a run")
flags.DEFINE_integer("sample_rate", 8000, "with --waves: samples per second", lower_bound=1000, upper_bound=768_000)
flags.DEFINE_integer("num_samples", 390, "number of notes to measure", lower_bound=26, upper_bound=100_000)
flags.DEFINE_integer("seed", 0, "of the latents", lower_bound=0, upper_bound=2**32 - 1)


class Row(NamedTuple):
    """A line of the table: the measure, its aim and whether larger is better."""

    title: str
    aim: float | None = None
    stretch: float | None = None
    is_larger_better: bool = True

    def is_met(self, value: float | None) -> bool:
        """Whether the aim is met; a value that is missing has missed it."""
        if self.aim is None:
            return True
        if value is None:
            return False
        return value >= self.aim if self.is_larger_better else value <= self.aim


ROWS = {
    "within_50_cents": Row("pitch within 50 cents", 0.8, 0.95),
    "within_50_cents_of_an_octave": Row("... or an octave off"),
    "median_cents": Row("median distance in cents"),
    "pitch_accuracy": Row("pitch by the judge (PA)", 0.9, 0.97),
    "pitch_accuracy_within_1": Row("... within a semitone"),
    "pitch_entropy": Row("entropy of pitch (PE)"),
    "inception_score": Row("Inception score"),
    "hnr": Row("harmonics to noise, dB", 3.0, 8.0),
    "coherence": Row("coherence", 0.9, 0.97),
    "consistency": Row("inconsistency", 0.35, 0.2, is_larger_better=False),
    "ndb": Row("bins of timbre that differ", 30, 15, is_larger_better=False),
    "bins": Row("... of this many bins"),
    "jsd": Row("divergence of the bins, nats"),
    "fid": Row("FID of the judge", 60, 25, is_larger_better=False),
    "peak": Row("largest sample", 2.0, is_larger_better=False),
}


def notes_of_run(workdir: Path) -> tuple[Notes, Representation]:
    """Generate notes of the newest checkpoint; return how images stand for sound, too."""
    model = load(workdir)
    if model.representation is None:
        raise UserError(f"--workdir={workdir}: is a run on images; give a run on sound, such as that of experiments/notes.py")
    known = np.array(list(classes_of_pitches(model.class_names, model.label_kind)))
    if not len(known):
        raise UserError(f"--workdir={workdir}: was trained without labels of pitch; measure it by launch.py evaluate")
    classes = np.arange(FLAGS.num_samples) % model.label_size
    latents = np.random.RandomState(FLAGS.seed).randn(len(classes), model.latent_size).astype(np.float32)
    labels = one_hot(classes, model.label_size)
    images = model.sampler.floats_by_seed(model.generator, latents, labels=labels, alpha=model.alpha)
    return notes_of_images(images, known[classes], representation=model.representation), model.representation


def notes_of_file(path: Path) -> tuple[Notes, Representation]:
    """Read waves and pitches, and images if there are any."""
    try:
        with np.load(path) as arrays:
            waves, pitches = np.asarray(arrays["waves"], np.float64), np.asarray(arrays["pitches"], np.int64)
            images = arrays.get("images")
            stored = json.loads(str(arrays["representation"])) if "representation" in arrays else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--waves={path}: cannot be read: {error}") from None
    if waves.ndim != 2 or pitches.shape != waves.shape[:1]:
        raise UserError(f"--waves={path}: waves {waves.shape} must be [count, samples] and pitches {pitches.shape} [count]")
    if stored is not None:
        representation = Representation.from_json(stored)
    else:
        frames, bins = images.shape[1:3] if images is not None else (waves.shape[1] // 128, 128)
        form = Representation(sample_rate=FLAGS.sample_rate, n_fft=2 * bins, hop=waves.shape[1] // frames, frames=frames)
        reals = waves_of_notes(range(NOTES_COUNT), form)
        representation = form.fitted(form.measure(reals))
    if images is None:
        return Notes(waves, pitches), representation
    return replace(notes_of_images(images, pitches, representation=representation), waves=waves), representation


def waves_of_notes(numbers: Iterable[int], representation: Representation) -> np.ndarray:
    """Return built-in notes, float64 `[count, samples]`."""
    rate, samples = representation.sample_rate, representation.samples
    return np.stack([note(number, sample_rate=rate, samples=samples) for number in numbers])


def real_notes(pitches: np.ndarray, representation: Representation) -> Notes:
    """Return built-in notes of some pitches, as they sound after the representation."""
    wanted = set(pitches.tolist())
    if not wanted <= set(range(LOWEST_PITCH, LOWEST_PITCH + PITCHES)):
        raise UserError(
            f"pitches {min(wanted)} to {max(wanted)} are not those of the built-in notes, {LOWEST_PITCH} to "
            f"{LOWEST_PITCH + PITCHES - 1}; measure them by launch.py evaluate"
        )
    found = (number for number in count() if LOWEST_PITCH + number % PITCHES in wanted)
    numbers = np.array(list(islice(found, ENOUGH_REALS)))
    waves = waves_of_notes(numbers.tolist(), representation)
    images = representation.to_bytes(representation.encode(waves))
    return notes_of_images(images, LOWEST_PITCH + numbers % PITCHES, representation=representation)


def report(summary: Summary) -> bool:
    """Print the table, and return whether all aims are met."""
    print(f"{'':32}{'notes':>10}{'reals':>10}{'aim':>10}{'stretch':>10}")
    are_met = []
    for name, row in ROWS.items():
        value, real = summary.values.get(name), summary.floor.get(name)
        if value is None and name == "consistency":
            continue  # of waves without images
        are_met.append(row.is_met(value))
        sign = ">=" if row.is_larger_better else "<="
        aims = [f"{sign}{aim:g}" if aim is not None else "" for aim in (row.aim, row.stretch)]
        numbers = ["-" if one is None else f"{one:.4g}" for one in (value, real)]
        mark = "" if are_met[-1] else "  missed"
        print(f"{row.title:32}{numbers[0]:>10}{numbers[1]:>10}{aims[0]:>10}{aims[1]:>10}{mark}".rstrip())
    print(f"the judge is right on {summary.judge_accuracy:.1%} of held-out reals")
    if summary.judge_problem:
        print(f"{summary.judge_problem}: its numbers are left out")
    print("aims met" if all(are_met) else "aims missed")
    return all(are_met)


def main(argv: list[str]) -> int:
    """Print the numbers; return 0 if all aims are met."""
    del argv
    logging.set_verbosity(logging.ERROR)
    try:
        if FLAGS.waves is None:
            require_backend()
            fakes, representation = notes_of_run(user_path(FLAGS.workdir, named="--workdir="))
        else:
            fakes, representation = notes_of_file(user_path(FLAGS.waves, named="--waves="))
        reals = real_notes(fakes.pitches, representation)
        summary = summarize_notes(fakes, reals, sample_rate=representation.sample_rate)
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    print(f"{len(fakes)} notes; reals: built-in notes after the representation {representation.name}, from 8 bits")
    return 0 if report(summary) else 1


if __name__ == "__main__":
    app.run(main)
