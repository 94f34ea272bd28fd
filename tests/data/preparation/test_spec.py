"""PreparationSpec: which images, in which order and size; channels a source cannot give are refused."""

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.errors import UserError
from tests.helpers.array_source import ArraySource, noise


def test_shuffled_as_the_authors_do(reference):
    expected = reference["golden_data"]["shuffled_order_first5"]
    assert "50000" in expected
    for count, first in expected.items():
        count = int(count)
        order = PreparationSpec(4, shuffle_seed=123).order(count)
        assert order[:5].tolist() == first
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
        # What is left of a shuffled set is a random choice, not the first few.
        assert PreparationSpec(4, shuffle_seed=123, max_images=3).order(count).tolist() == first[:3]


def test_unshuffled_order_and_its_limit():
    assert PreparationSpec(4).order(4).tolist() == [0, 1, 2, 3]
    assert PreparationSpec(4, max_images=2).order(4).tolist() == [0, 1]
    assert PreparationSpec(4, max_images=9).order(4).tolist() == [0, 1, 2, 3]
    assert [PreparationSpec(4, max_images=limit).count(4) for limit in (0, 2, 9)] == [4, 2, 4]


def test_shapes_double_from_the_base():
    assert PreparationSpec(16).shapes == {16: (16, 16), 8: (8, 8), 4: (4, 4)}
    portrait = PreparationSpec(16, base_shape=(3, 4), channels=3)
    assert portrait.shapes == {16: (12, 16), 8: (6, 8), 4: (3, 4)}
    assert portrait.bytes_per_row == 3 * (12 * 16 + 6 * 8 + 3 * 4) + 4
    assert (portrait.target.height, portrait.target.width) == (12, 16)


def test_the_data_section_of_a_configuration():
    data = DataConfig(
        source="digits", resolution=64, channels=1, crop="none", resample="box", modes="refuse", max_images=9, shuffle_seed=3
    )
    assert PreparationSpec.from_config(data) == PreparationSpec(
        64, (4, 4), channels=1, crop="none", resample="box", modes="refuse", max_images=9, shuffle_seed=3
    )


def test_channels():
    colour, grey = ArraySource(noise(1, 4, 3)), ArraySource(noise(1, 4, 1))
    assert PreparationSpec(4).for_source(colour).channels == 3
    assert PreparationSpec(4, channels=1).for_source(colour).channels == 1
    assert PreparationSpec(4, channels=5).for_source(grey).channels == 5
    assert PreparationSpec(4).for_source(ArraySource(noise(1, 4, 7))).channels == 7
    with pytest.raises(UserError, match=r"channels = 5: array gives 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\); 0 takes its own 3"):
        PreparationSpec(4, channels=5).for_source(colour)
