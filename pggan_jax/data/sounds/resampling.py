"""Changing the sample rate of sound by a rational factor (spec sound 1.8)."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError

_LARGEST_TERM = 5000
_LARGEST_ROUNDED_TERM = 1000
_MOST_CENTS = 1.0
# As in scipy.signal.resample_poly: ten zero crossings of the filter on each side.
_ZERO_CROSSINGS = 10


class RateChange(NamedTuple):
    """How the sample rate is changed: `up` samples for `down`; the error of the pitch in cents."""

    up: int
    down: int
    cents: float

    def margin(self) -> int:
        """Samples, before the change, on each side that influence a sample."""
        return 0 if self.up == self.down else _ZERO_CROSSINGS * max(self.up, self.down) // self.up + 2


@lru_cache(maxsize=64)
def rate_change(rate: int, wanted: int) -> RateChange:
    """Return the reduced fraction of two rates, rounded where its terms are large.

    Raises:
        UnusableImageError: rounding would change the pitch by more than a cent.
    """
    exact = Fraction(wanted, rate)
    if max(exact.numerator, exact.denominator) <= _LARGEST_TERM:
        return RateChange(exact.numerator, exact.denominator, 0.0)
    is_lower = exact < 1
    rounded = (exact if is_lower else 1 / exact).limit_denominator(_LARGEST_ROUNDED_TERM)
    if rounded:
        rounded = rounded if is_lower else 1 / rounded
        # A higher ratio gives more samples for the same sound, which sounds lower at the wanted rate.
        cents = 1200 * math.log2(exact / rounded)
        if abs(cents) <= _MOST_CENTS:
            return RateChange(rounded.numerator, rounded.denominator, cents)
    raise UnusableImageError(
        f"has {rate:,} samples per second, which no simple fraction turns into {wanted:,}; resample it to 48,000 first"
    )


def resample(wave: np.ndarray, change: RateChange) -> np.ndarray:
    """Resample a wave, float64 `[samples]`, as `scipy.signal.resample_poly` does."""
    if change.up == change.down:
        return wave
    from scipy.signal import resample_poly

    return resample_poly(wave, change.up, change.down, window=_filter(change.up, change.down))


@lru_cache(maxsize=16)
def _filter(up: int, down: int) -> np.ndarray:
    """Return the low-pass filter that `resample_poly` would design in every call."""
    from scipy.signal import firwin

    largest = max(up, down)
    return firwin(2 * _ZERO_CROSSINGS * largest + 1, 1 / largest, window=("kaiser", 5.0))
