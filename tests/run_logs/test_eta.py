"""The remaining time of a run, and durations as text."""

from __future__ import annotations

import math

import pytest

from pggan_jax.run_logs.eta import EtaEstimator, format_duration


class TestEta:
    def test_unknown_before_anything_was_seen(self):
        assert math.isnan(EtaEstimator({4: 1.0}).seconds({4: 100}))

    def test_resolutions_not_reached_cost_by_arithmetic(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0, 16: 30.0})
        eta.observe({4: 100}, 1.0)
        assert eta.seconds({4: 100}) == pytest.approx(1.0)
        assert eta.seconds({4: 100, 8: 100, 16: 10}) == pytest.approx(1.0 + 5.0 + 3.0)

    def test_the_nearest_measured_resolution_counts(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0, 16: 30.0})
        eta.observe({4: 100}, 1.0)
        eta.observe({8: 100}, 2.0)
        assert eta.seconds({16: 100}) == pytest.approx(2.0 * 30 / 5)

    def test_newer_notes_weigh_more(self):
        eta = EtaEstimator({4: 1.0})
        for seconds in (100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
            eta.observe({4: 1}, seconds)
        assert eta.seconds({4: 1}) == pytest.approx(1.0, abs=0.5)

    def test_images_of_two_resolutions_share_the_time_by_arithmetic(self):
        eta = EtaEstimator({4: 1.0, 8: 5.0})
        eta.observe({4: 50, 8: 10}, 2.0)
        assert eta.seconds({4: 50}) == pytest.approx(1.0)
        assert eta.seconds({8: 10}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.9, "59.9 s"),
        (60, "1m 00s"),
        (245, "4m 05s"),
        (3600, "1h 00m"),
        (3 * 3600 + 7 * 60 + 59, "3h 07m"),
        (47 * 3600, "47h 00m"),
        (48 * 3600, "2d 0h"),
        (52 * 3600, "2d 4h"),
        (math.nan, "?"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text
