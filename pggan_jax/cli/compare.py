"""python launch.py compare SOURCE_A SOURCE_B [--ignore_labels]

Compare two collections image by image, in their order, and print how many images have equal pixels and how many labels are
equal. Use it to verify prepared or converted data.

Two collections of sound are also compared as waves: signal-to-noise ratio and spectral convergence of the second against the
first. So a folder and what was prepared of it give the loss of the round trip.

Examples:
  python launch.py compare prepared:data/mine tfrecords:old
  python launch.py compare sound:~/samples prepared:data/samples --config=experiments/sounds.py

Writes no files. Exit status 0 if all are equal and both have the same number of images, else 1.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.shared_flags import define_drawn_size_flag, flag_value
from pggan_jax.cli.sound_flags import define_sound_flags, is_sound_source, read_sound

if TYPE_CHECKING:
    from pggan_jax.data.sources.source import Source

ARGUMENTS = ("SOURCE_A", "SOURCE_B")
FLAGS = flags.FlagValues()
flags.DEFINE_boolean("ignore_labels", False, "compare pixels only", flag_values=FLAGS)
define_drawn_size_flag(FLAGS)
define_sound_flags(FLAGS)


def run(values: flags.FlagValues, *source_names: str) -> int:
    """Print the numbers; 1 if the sources differ."""
    from tqdm import tqdm

    from pggan_jax.data.images.preview import equal_images
    from pggan_jax.data.sounds.round_trip import fitted_together
    from pggan_jax.data.sources.open_source import open_source

    # The settings of sound apply to each source of sound, and are refused without one.
    sound = read_sound(values, next(filter(is_sound_source, source_names), source_names[0]))
    size: dict[str, Any] = {"resolution": flag_value(values, "resolution")} | ({"sound": sound.config} if sound else {})
    first, second = fitted_together(*(open_source(name, **size) for name in source_names))
    common = min(len(first), len(second))
    images = labels = 0
    first_difference = None
    for index in tqdm(range(common), desc="comparing", unit="img", delay=2, disable=None):
        is_equal = equal_images(first, second, index=index)
        images += is_equal
        labels += _label(first, index) == _label(second, index)
        if not is_equal and first_difference is None:
            first_difference = index
    print(f"images  {images:,} of {common:,} are equal")
    if first_difference is not None:
        names = " and ".join(source.item_name(first_difference) for source in (first, second))
        print(f"        the first difference is at {first_difference}: {names}")
    is_same = images == common and len(first) == len(second)
    if not flag_value(values, "ignore_labels"):
        print(f"labels  {labels:,} of {common:,} are equal")
        is_same = is_same and labels == common
    if len(first) != len(second):
        print(f"length  {first.name} has {len(first):,} images, {second.name} has {len(second):,}")
    _compare_waves(first, second)
    print("the same" if is_same else "different")
    return int(not is_same)


def _compare_waves(first: Source, second: Source) -> None:
    """Print how much two sources of sound differ as waves; nothing for images."""
    from tqdm import tqdm

    from pggan_jax.data.images.decode import UnusableImageError
    from pggan_jax.data.sounds.round_trip import is_sound, rate_of, snr_db, spectral_convergence, wave_of

    if not (is_sound(first) and is_sound(second)):
        return
    if rate_of(first) != rate_of(second):
        print(f"sound   {first.name} has {rate_of(first):,} samples per second, {second.name} {rate_of(second):,}")
        return
    snr, convergence = [], []
    for index in tqdm(range(min(len(first), len(second))), desc="listening", unit="clip", delay=2, disable=None):
        try:
            wave, copy = wave_of(first, index), wave_of(second, index)
        except UnusableImageError:
            continue
        if len(wave) != len(copy):
            print(f"sound   clips of {first.name} have {len(wave):,} samples, of {second.name} {len(copy):,}")
            return
        snr.append(snr_db(wave, copy))
        convergence.append(spectral_convergence(wave, copy))
    if snr:
        print(
            f"sound   {len(snr):,} clips: SNR {median(snr):.1f} dB (worst {min(snr):.1f}), spectral convergence "
            f"{median(convergence):.3f} (worst {max(convergence):.3f})"
        )


def _label(source: Source, index: int) -> int | None:
    """Class of an image, or None without labels, which is not equal to class 0."""
    return source.label(index) if source.class_names else None
