"""Fixtures of the tests of metrics."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="package")
def digits():
    """All built-in digits, uint8 `[count, 16, 16, 1]`, and their classes."""
    from pggan_jax.data.sources.builtin import DigitsSource

    source = DigitsSource(height=16, width=16)
    images = np.stack([source.read(number) for number in range(len(source))])
    return images, np.array([source.label(number) for number in range(len(source))])
