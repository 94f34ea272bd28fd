"""The report of `check` on a source of sound."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import Any

from absl import flags

from pggan_jax.cli.check_lines import NAME_WIDTH, remark_lines
from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.cli.sound_flags import SoundChoice, settings_words
from pggan_jax.data.checking.sound_check import SoundReport, check_sound
from pggan_jax.data.sounds.clips import REMARKS
from pggan_jax.data.sounds.round_trip import MOST_CONVERGENCE
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.data.sources.open_source import open_source

_CLASSES_SHOWN = 100
_KINDS_SHOWN = 5
_NEEDS_DECISION = 1


def run_check(values: flags.FlagValues, source_name: str, choice: SoundChoice) -> int:
    """Check the source and print the report; return 1 if something needs a decision."""
    source = open_source(source_name, sound=choice.config)
    assert isinstance(source, SpectrogramSource)
    from pggan_jax.data.preparation.spec import PreparationSpec

    limits = {name: flag_value(values, name) for name in ("max_images", "shuffle_seed")}
    order = PreparationSpec(choice.resolution, choice.base_shape, **limits).order(len(source))
    report = check_sound(source, numbers=order, workers=flag_value(values, "workers"))
    poor = _poor(report) if not flag_value(values, "force") else ""
    needs_decision = bool(report.stats.unusable or report.problems or poor)
    if flag_value(values, "json"):
        print(json.dumps(_as_json(report) | {"needs_decision": needs_decision}, indent=1))
    else:
        print("\n".join([*_as_lines(report), *([poor] if poor else []), _verdict(report, values, choice, needs_decision)]))
    return _NEEDS_DECISION if needs_decision else 0


def _poor(report: SoundReport) -> str:
    """Return why the representation is refused; "" if it is not."""
    if report.round_trip is None or not report.round_trip.is_poor:
        return ""
    return (
        f"refused: the round trip has a spectral convergence of {report.round_trip.convergence[0]:.2f}, above "
        f"{MOST_CONVERGENCE}, so that no training can give such sound; choose another sound.representation, more "
        "sound.n_fft or a smaller sound.hop, or accept it with --force"
    )


def _as_json(report: SoundReport) -> dict[str, Any]:
    stats, trip = report.stats, report.round_trip
    shortest, longest, total = stats.seconds
    return {
        "source": report.source,
        "clips": report.clips,
        "usable": report.usable,
        "representation": report.representation.to_json(),
        "rates": {str(rate): count for rate, count in sorted(stats.rates.items())},
        "channels": {str(number): count for number, count in sorted(stats.channels.items())},
        "encodings": dict(stats.encodings),
        "seconds": [shortest, longest, total] if report.usable else None,
        "classes": {name: stats.labels[number] for number, name in enumerate(report.class_names)},
        "remarks": {key: {"clips": count, "such_as": stats.examples[key]} for key, count in stats.remarks.items()},
        "silent_parts": stats.silent,
        "copies": report.copies,
        "round_trip": trip and {"clips": trip.clips, "snr_db": trip.snr, "spectral_convergence": trip.convergence},
        "unusable": [problem._asdict() for problem in stats.unusable],
        "complaints": report.problems,
        "passed_over": report.notes,
        "warnings": report.warnings,
    }


def _as_lines(report: SoundReport) -> list[str]:
    stats, representation = report.stats, report.representation
    length = f"{representation.seconds:.3g} s at {representation.sample_rate:,} Hz"
    frames, bins, channels = representation.shape
    lines = [
        report.source,
        f"  clips       {report.usable:,} usable of {report.clips:,}; each {length}",
        f"  images      {representation.name}: {frames} frames x {bins} bins, {channels} channel{'s' * (channels > 1)}",
        f"  rates       {_counts(stats.rates, '{:,} Hz')}",
        f"  channels    {_counts(stats.channels, '{}')}",
    ]
    if any(stats.encodings):
        lines.append(f"  formats     {_counts(stats.encodings, '{}')}")
    if report.usable:
        shortest, longest, total = stats.seconds
        lines.append(f"  lengths     {shortest:.3g} to {longest:.4g} s, mean {total / report.usable:.3g} s")
    lines += [f"  classes     {_classes(report)}", *_remarks(report)]
    if stats.silent:
        lines.append(f"  silent      {stats.silent:,} parts of longer files, which are not used")
    if report.copies:
        clips = "clip equals another" if report.copies == 1 else "clips equal others"
        lines.append(f"  copies      {report.copies:,} {clips}; each copy is used for training")
    lines.append(f"  round trip  {_round_trip(report)}")
    return lines + remark_lines(report)


def _counts(counts: Counter[Any], form: str) -> str:
    """Return how many clips there are of each, the most frequent first."""
    common = counts.most_common()
    parts = [f"{form.format(what)}: {count:,}" for what, count in common[:_KINDS_SHOWN]]
    rest = sum(count for _, count in common[_KINDS_SHOWN:])
    return ", ".join([*parts, *([f"others: {rest:,}"] if rest else [])]) or "none"


def _classes(report: SoundReport) -> str:
    names, labels = report.class_names, report.stats.labels
    if not names:
        return "none"
    if all(map(str.isdecimal, names)):
        pitches = ", ".join(f"{name}: {labels[number]:,}" for number, name in enumerate(names[:_CLASSES_SHOWN]))
        more = len(names) - _CLASSES_SHOWN
        return f"{len(names):,} pitches from {names[0]} to {names[-1]}: {pitches}" + (f" and {more:,} more" if more > 0 else "")
    width = min(NAME_WIDTH, max(map(len, names[:_CLASSES_SHOWN])))
    lines = [f"{len(names):,}; number, name, clips:"]
    lines += [f"    {number:>5}  {name:{width}}  {labels[number]:,}" for number, name in enumerate(names[:_CLASSES_SHOWN])]
    more = len(names) - _CLASSES_SHOWN
    return "\n".join([*lines, f"    and {more:,} more; --json lists all"] if more > 0 else lines)


def _remarks(report: SoundReport) -> list[str]:
    """Return a line for each kind of remark, with the first clips."""
    stats, lines = report.stats, []
    for key, words in REMARKS.items():
        if count := stats.remarks[key]:
            shown = stats.examples[key]
            more = f" and {count - len(shown):,} more" if count > len(shown) else ""
            lines.append(f"  {key:11} {count:,}: {words} ({'; '.join(shown)}{more})")
    return lines


def _round_trip(report: SoundReport) -> str:
    trip = report.round_trip
    if trip is None:
        return "no clip to measure"
    (snr, worst_snr), (convergence, worst) = trip.snr, trip.convergence
    return (
        f"{trip.clips} clips as training images and back: SNR {snr:.1f} dB (worst {worst_snr:.1f}), "
        f"spectral convergence {convergence:.3f} (worst {worst:.3f})"
    )


def _verdict(report: SoundReport, values: flags.FlagValues, choice: SoundChoice, needs_decision: bool) -> str:
    if not report.usable:
        return "nothing to train on: none of the clips can be used"
    if needs_decision:
        return "needs a decision: fix what is listed, or continue: `prepare` and `train` skip unusable clips"
    words = settings_words(values, choice)
    settings = [f"data.source={report.source}", f"data.labels={str(bool(report.class_names)).lower()}"]
    words += [word for setting in settings for word in ("--set", setting)]
    return f"next: python launch.py {shlex.join([*words, '--workdir=runs/mine'])}"
