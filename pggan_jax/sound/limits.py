"""Checks of the fields of a representation, and of the ways back to a wave."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pggan_jax.config.sound import MAX_RATE, ONE_CHANNEL, REPRESENTATIONS, SoundConfig, size_problem

if TYPE_CHECKING:
    from pggan_jax.sound.representations import Representation

MAX_STEPS = 100_000
# Files of unknown origin name these sizes too, so that none may ask for more memory than a setting can.
_LIMITS = {
    "sample_rate": (1, MAX_RATE),
    "n_fft": (4, 2**16),
    "hop": (1, 2**16),
    "frames": (1, 2**14),
    "length": (0, 2**24),
    "mel_bins": (0, 2**15),
}


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
        steps_rule = f"; N is 1 to {MAX_STEPS:,}" if len(allowed) > 1 else ""
        raise ValueError(f"{invert!r} does not invert images of {name}; choose {', '.join(dict.fromkeys(allowed))}{steps_rule}")
    return head + plus + steps


def _problems(one: Representation) -> Iterable[str]:
    if one.name not in REPRESENTATIONS:
        yield f"representation is {one.name!r}; it is one of {', '.join(REPRESENTATIONS)}"
    if one.phase_reference not in ("centre", "start"):
        yield f"phase_reference is {one.phase_reference!r}; it is centre or start"
    if not (0 < one.eps < math.inf):
        yield f"eps is {one.eps}; it is above 0"
    for name, (least, most) in _LIMITS.items():
        if not least <= getattr(one, name) <= most:
            yield f"{name} is {getattr(one, name)}; it is at least {least} and at most {most}"
    sizes = {name: getattr(one, name) for name in ("n_fft", "hop", "frames", "length", "mel_bins")}
    if found := size_problem(SoundConfig(one.name, **sizes)):
        name, rule = found
        yield f"{name} of the representation is {getattr(one, name)}: {rule}"
    if one.scale and len(one.scale) != one.channels:
        yield f"scale has {len(one.scale)} channels; {one.name} has {one.channels}"
