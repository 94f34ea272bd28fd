"""python launch.py check SOURCE [FLAGS]

Read every image of a collection once, on all cores, and print sizes, modes, classes, exact copies, and the images that cannot
be used, with the reason and what to do. SOURCE is written as in data.source: folder:DIR, zip:FILE, tfds:NAME, tfrecords:DIR,
prepared:DIR ... With --resolution=R it also checks whether the images can be prepared at that resolution with these flags.

Of sound (sound:DIR, sound:FILE.zip, notes) it prints rates, lengths, pitches, what is remarkable about files, and how well 20
clips survive becoming images and back. --config names an experiment, whose settings sound.* say how clips are cut.

Examples:
  python launch.py check folder:~/photos --resolution=128
  python launch.py check sound:~/samples --set sound.sample_rate=16000

Writes no files. Exit status 1 means that something needs a decision: an unusable image, a label without an image, copies with
different labels.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.check_lines import NAME_WIDTH, remark_lines
from pggan_jax.cli.shared_flags import (
    define_preparation_flags,
    define_workers_flag,
    flag_value,
    read_base_shape,
    read_preparation,
)
from pggan_jax.cli.sound_flags import define_sound_flags, read_sound
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.data.checking.check_report import CheckReport

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
define_preparation_flags(FLAGS)
define_workers_flag(FLAGS)
define_sound_flags(FLAGS)
flags.DEFINE_boolean(
    "force", False, "for sound: accept a representation whose round trip changes the sound much", flag_values=FLAGS
)
flags.DEFINE_boolean("json", False, "print one JSON object instead of a report", flag_values=FLAGS)

_EXIT_NEEDS_DECISION = 1
_CLASSES_SHOWN = 100
_DUPLICATES_SHOWN = 5
_COPIES_SHOWN = 3
_RESOLUTIONS_SHOWN = 4
_MUCH = 0.75
# The resolution of experiments/folder.py.
_SUGGESTED_RESOLUTION = 128
_PREPARATION_FLAGS = ("base_shape", "channels", "crop", "resample", "modes", "range", "max_images", "shuffle_seed")


def run(values: flags.FlagValues, source_name: str) -> int:
    """Print the report; 1 if something needs a decision."""
    if sound := read_sound(values, source_name):
        from pggan_jax.cli.check_sound import run_check

        return run_check(values, source_name, sound)
    resolution, target, numbers = flag_value(values, "resolution"), None, None
    if resolution is None:
        _refuse_flags_without_resolution(values)
    preparation = read_preparation(values) if resolution is not None else None
    from pggan_jax.data.checking.collection_check import check
    from pggan_jax.data.checking.pixel_range import resolve_range
    from pggan_jax.data.sounds.spectrogram_source import representation_of
    from pggan_jax.data.sources.open_source import open_source

    base_shape, channels = read_base_shape(values), flag_value(values, "channels")
    source = open_source(source_name, resolution=resolution or 0, base_shape=base_shape, channels=channels)
    if representation_of(source) is not None:
        raise UserError(
            f"{source_name}: holds sound, which prepare has checked; listen to it by show {source_name} --out=FILE.wav, or "
            "check the files it was made of"
        )
    if preparation:
        preparation = resolve_range(source, preparation.for_source(source), workers=flag_value(values, "workers"))
        target, numbers = preparation.target, preparation.order(len(source))
    report = check(source, target, numbers=numbers, workers=flag_value(values, "workers"))
    print(json.dumps(_as_json(report), indent=1) if flag_value(values, "json") else _as_text(report, values))
    return _EXIT_NEEDS_DECISION if report.needs_decision else 0


def _refuse_flags_without_resolution(values: flags.FlagValues) -> None:
    for name in _PREPARATION_FLAGS:
        # Channels say what to draw, too.
        if values[name].present and name != "channels":
            raise UserError(f"--{name}={flag_value(values, name)}: has an effect only on prepared images; add --resolution")


def _as_json(report: CheckReport) -> dict[str, Any]:
    return {
        "source": report.source,
        "images": report.images,
        "usable": report.usable,
        "sizes": {f"{width}x{height}": count for (width, height), count in sorted(report.stats.sizes.items())},
        "modes": dict(report.stats.modes),
        "classes": {name: report.stats.labels[number] for number, name in enumerate(report.class_names)},
        "class_numbers": [
            {"number": number, "name": name, "images": report.stats.labels[number]}
            for number, name in enumerate(report.class_names)
        ],
        "resolutions": dict(report.resolutions()),
        "animated": report.stats.animated,
        "kept": _kept(report),
        "pixels": _pixels(report),
        "duplicates": report.duplicates,
        "alike": report.similar,
        "conflicting_labels": report.conflicts,
        "unusable": [problem._asdict() for problem in report.stats.unusable],
        "complaints": report.problems,
        "passed_over": report.notes,
        "warnings": report.warnings,
        "needs_decision": report.needs_decision,
    }


def _as_text(report: CheckReport, values: flags.FlagValues) -> str:
    stats = report.stats
    lines = [
        report.source,
        f"  images      {report.usable:,} usable of {report.images:,}",
        f"  sizes       {_sizes(stats.sizes)}",
        f"  modes       {', '.join(f'{mode}: {count:,}' for mode, count in stats.modes.most_common()) or 'none'}",
        f"  classes     {_classes(report)}",
        f"  resolution  {_resolutions(report)}",
        f"  crop        {_crop(report)}",
        f"  pixels      {_used(report)}",
        *_copies(report),
    ]
    if report.conflicts:
        lines.append("  different labels on copies; keep one of each:")
        lines += [f"    {' = '.join(group)}" for group in report.conflicts]
    lines += remark_lines(report)
    if not report.usable:
        lines.append("nothing to train on: none of the images can be used")
    elif report.needs_decision:
        lines.append("needs a decision: fix what is listed, or continue: `prepare` and `train` skip unusable images")
    else:
        lines.append(f"next: {_next_command(report, values)}")
    return "\n".join(lines)


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    """The most frequent size, and the range of the others."""
    if not sizes:
        return "none"
    (commonest, count), *others = sizes.most_common()
    if others and count == 1:
        return f"all different, {_range(sizes)}"
    text = f"{count:,} of {_size(commonest)}"
    if len(others) > 1:
        rest = [size for size, _ in others]
        text += f", {sizes.total() - count:,} of {len(rest):,} other sizes from {_range(rest)}"
    elif others:
        text += f", {others[0][1]:,} of {_size(others[0][0])}"
    return text


def _range(sizes: Iterable[tuple[int, int]]) -> str:
    """The smallest and the largest by area."""
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return f"{_size(ordered[0])} to {_size(ordered[-1])}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _classes(report: CheckReport) -> str:
    if not report.class_names:
        return "none"
    names = report.class_names
    width = min(NAME_WIDTH, max(map(len, names[:_CLASSES_SHOWN])))
    lines = [f"{len(names):,}; number, name, images:"]
    for number, name in enumerate(names[:_CLASSES_SHOWN]):
        lines.append(f"    {number:>5}  {name:{width}}  {report.stats.labels[number]:,}")
    more = len(names) - _CLASSES_SHOWN
    return "\n".join([*lines, f"    and {more:,} more; --json lists all"] if more > 0 else lines)


def _resolutions(report: CheckReport) -> str:
    """The largest resolution for all images, then each at which more images are too small."""
    largest = {count: size for size, count in report.resolutions()}
    if not largest:
        return "none; all usable images are smaller than 4x4" if report.usable else "none"
    steps = [f"{largest.pop(report.usable)} for all" if report.usable in largest else "none for all"]
    steps += [f"{size:,} for {count:,}" for count, size in largest.items()]
    return "up to " * (not steps[0].startswith("none")) + ", ".join(steps[:_RESOLUTIONS_SHOWN])


def _kept(report: CheckReport) -> dict[str, Any] | None:
    kept = report.kept_area()
    return kept and {"mean": kept[0], "least": kept[1], "of": _size(kept[2])}


def _crop(report: CheckReport) -> str:
    """How much of the images the crop removes."""
    kept = report.kept_area()
    if kept is None:
        return "nothing to cut"
    mean, least, size = kept
    shape = f"--crop={report.target.crop}" if report.target else "as squares"
    if least == 1:
        return f"{shape}: nothing is cut off"
    remedy = "; --crop=fit keeps all, shrunk" if least < _MUCH else ""
    return f"{shape}: {100 * (1 - mean):.2g} % of the area is cut off, {100 * (1 - least):.2g} % of {_size(size)}{remedy}"


def _pixels(report: CheckReport) -> dict[str, Any]:
    from pggan_jax.data.checking.pixel_range import measured_range

    pixels = report.stats.pixels
    counts = pixels.counts_16_bit()
    return {
        "kinds": dict(pixels.kinds),
        "empty_channels": dict(pixels.empty_channels),
        "range": [pixels.low, pixels.high] if pixels.low <= pixels.high else None,
        "images_with_16_bits": pixels.images_16_bit,
        "range_of_16_bits": (counts is not None and measured_range(counts)) or None,
    }


def _used(report: CheckReport) -> str:
    """The pixel values that occur, as they would be used for training."""
    from pggan_jax.data.checking.pixel_range import measured_range

    pixels = report.stats.pixels
    if pixels.low > pixels.high:
        return "none"
    text = f"{pixels.low} to {pixels.high} of 0 to 255"
    counts = pixels.counts_16_bit()
    if counts is not None and (used := measured_range(counts)):
        low, high = used
        text += f"; {_count(pixels.images_16_bit, 'image')} with 16 bits: {low:,} to {high:,} of 0 to 65,535"
    return text


def _copies(report: CheckReport) -> list[str]:
    """Number of exact copies, and the first groups with equal labels."""
    if not report.duplicates:
        return ["  copies      none", *_alike(report)]
    lines = [f"  copies      {report.copies:,} in {_count(len(report.duplicates), 'group')}; each copy is used for training"]
    conflicts = set(report.conflicts)
    harmless = [group for group in report.duplicates if group not in conflicts]
    for group in harmless[:_DUPLICATES_SHOWN]:
        more = len(group) - _COPIES_SHOWN
        lines.append(f"    {' = '.join(group[:_COPIES_SHOWN])}" + (f" and {more:,} more" if more > 0 else ""))
    more = len(harmless) - _DUPLICATES_SHOWN
    lines += [f"    and {_count(more, 'group')} more; --json lists all"] if more > 0 else []
    return [*lines, *_alike(report)]


def _alike(report: CheckReport) -> list[str]:
    """Number of images that look the same, and the first groups."""
    if not report.similar:
        return []
    number = sum(len(group) - 1 for group in report.similar)
    lines = [f"  alike       {number:,} in {_count(len(report.similar), 'group')}: other files that look the same"]
    for group in report.similar[:_DUPLICATES_SHOWN]:
        more = len(group) - _COPIES_SHOWN
        lines.append(f"    {' = '.join(group[:_COPIES_SHOWN])}" + (f" and {more:,} more" if more > 0 else ""))
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _next_command(report: CheckReport, values: flags.FlagValues) -> str:
    """The command that trains on these images with these flags."""
    fitting = [size for size, count in report.resolutions() if count == report.usable]
    size = flag_value(values, "resolution") or min(max(fitting, default=4), _SUGGESTED_RESOLUTION)
    given = {name: flag_value(values, name) for name in _PREPARATION_FLAGS if values[name].present}
    settings = {"source": report.source, "resolution": size, **given}
    if report.class_names:
        settings["labels"] = "true"
    words = ["--config=experiments/folder.py"]
    words += [word for name, value in settings.items() for word in ("--set", f"data.{name}={value}")]
    words.append("--workdir=runs/mine")
    return f"python launch.py {shlex.join(words)}"
