"""Which sizes a representation can have, and what to choose instead of those it cannot."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pggan_jax.sound.representations import Representation

NAMES = ("if", "if_mel", "phase", "abslog", "reallog", "raw")
ONE_CHANNEL = ("abslog", "reallog", "raw")
MAX_STEPS = 100_000


def check(representation: Representation) -> None:
    """Refuse fields that no image can be made with.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """
    for problem in _problems(representation):
        raise ValueError(problem)


def checked_scale(scale: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the scale as pairs of floats.

    Raises:
        ValueError: the scale has another form, or is not finite.
    """
    try:
        pairs = tuple((float(a), float(b)) for a, b in scale)
    except (TypeError, ValueError):
        pairs = ((0.0, 0.0),)
    if not all(math.isfinite(a) and math.isfinite(b) and a > 0 for a, b in pairs):
        raise ValueError(f"scale of the representation is {scale!r}; it is a pair (factor above 0, offset) per channel")
    return pairs


def checked_invert(name: str, invert: str) -> str:
    """Return the way back to a wave in full; "" is that of the representation.

    Args:
        name: of the representation.
        invert: "", the name, "griffin_lim", "griffin_lim+N", or (images with phases) "if+N" or NAME+N.

    Raises:
        ValueError: there is no such way back from these images.
    """
    own = "griffin_lim" if name == "abslog" else name
    allowed = [own] if name in ("raw", "reallog") else [own, "griffin_lim", "griffin_lim+N"]
    if name not in ONE_CHANNEL:
        allowed.append(f"{name}+N")
    head, plus, steps = (invert or own).partition("+")
    head = name if head == "if" and name not in ONE_CHANNEL else head
    is_count = bool(re.fullmatch("[0-9]{1,6}", steps)) and 1 <= int(steps) <= MAX_STEPS
    if f"{head}+N" * bool(plus) + head * (not plus) not in allowed or (plus and not is_count):
        raise ValueError(f"{invert!r} does not invert images of {name}; choose {', '.join(dict.fromkeys(allowed))}")
    return head + plus + steps


def _problems(one: Representation) -> Iterable[str]:
    if one.name not in NAMES:
        yield f"representation is {one.name!r}; it is one of {', '.join(NAMES)}"
    if one.phase_reference not in ("centre", "start"):
        yield f"phase_reference is {one.phase_reference!r}; it is centre or start"
    if not (0 < one.eps < math.inf):
        yield f"eps is {one.eps}; it is above 0"
    for field, least in (("sample_rate", 1), ("n_fft", 4), ("hop", 1), ("frames", 1), ("length", 0), ("mel_bins", 0)):
        if getattr(one, field) < least:
            yield f"{field} is {getattr(one, field)}; it is at least {least}"
    if one.n_fft & (one.n_fft - 1):
        near = " or ".join(map(str, nearest_powers(one.n_fft)))
        yield f"n_fft is {one.n_fft}; it is a power of two, such as {near}"
    if one.n_fft % one.hop:
        near = " or ".join(map(str, nearest_hops(one.hop, one.n_fft)))
        yield f"hop is {one.hop}; it divides n_fft = {one.n_fft}, such as {near}"
    if one.mel_bins and one.name != "if_mel":
        yield f"mel_bins is {one.mel_bins}; {one.name} has linear frequency, so it is 0"
    if one.mel_bins > one.n_fft // 2:
        yield f"mel_bins is {one.mel_bins}; with n_fft = {one.n_fft} it is at most {one.n_fft // 2}"
    least, most = length_limits(one.name, one.n_fft, hop=one.hop, frames=one.frames)
    if not least <= one.samples <= most:
        allowed = f"{least} to {most}" if most < math.inf else f"at least {least}"
        yield f"a clip has {one.samples} samples; {one.frames} frames of {one.name} need {allowed}: set length or frames"
    if one.scale and len(one.scale) != one.channels:
        yield f"scale has {len(one.scale)} channels; {one.name} has {one.channels}"


def nearest_powers(number: int) -> list[int]:
    """The powers of two below and above a number."""
    below = 1 << (max(number, 1).bit_length() - 1)
    return [below] if below == number else [below, 2 * below]


def nearest_hops(hop: int, n_fft: int) -> list[int]:
    """The divisors of n_fft, a power of two, below and above a hop."""
    return [one for one in nearest_powers(hop) if one <= n_fft] or [n_fft]


def length_limits(name: str, n_fft: int, *, hop: int, frames: int) -> tuple[int, float]:
    """The least and the most samples of a clip that give exactly this many frames."""
    if name == "raw":
        return frames**2, math.inf
    if name in ONE_CHANNEL:
        return max(hop * (frames - 1), n_fft // 2 + 1), math.inf
    return 1, hop * (frames - 1) + n_fft


def mel_warning(mel_bins: int, n_fft: int) -> str:
    """One line about mel bands that lose the pitch of notes, or ""."""
    if 0 < mel_bins < n_fft // 4:
        return f"mel_bins = {mel_bins}: fewer mel bands than half the bins: up to 4 notes in 10 lose their pitch"
    return ""
