"""Paths through the latent space."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pggan_jax.errors import UserError
from pggan_jax.generation import walks
from pggan_jax.generation.walks import Loop, Walk, slerp


def random_pair(size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.RandomState(seed).randn(2, size))


class TestSlerp:
    def test_golden_values(self):
        half = np.sqrt(0.5)
        assert np.allclose(slerp(np.array([1.0, 0]), np.array([0, 1.0]), 0.5), [half, half], atol=1e-12)
        assert np.allclose(slerp(np.array([1.0, 0]), np.array([0, 1.0]), 1 / 3), [np.sqrt(0.75), 0.5], atol=1e-12)
        # 60 degrees, a quarter of the way: 15 degrees.
        end = np.array([0.5, np.sqrt(0.75), 0])
        expected = [np.cos(np.pi / 12), np.sin(np.pi / 12), 0]
        assert np.allclose(slerp(np.array([1.0, 0, 0]), end, 0.25), expected, atol=1e-12)

    @pytest.mark.parametrize("seed", range(5))
    def test_endpoints_and_symmetry(self, seed):
        a, b = random_pair(seed=seed)
        assert np.allclose(slerp(a, b, 0.0), a, atol=1e-12)
        assert np.allclose(slerp(a, b, 1.0), b, atol=1e-12)
        for t in (0.1, 0.5, 0.8):
            assert np.allclose(slerp(a, b, t), slerp(b, a, 1 - t), atol=1e-12)

    def test_equal_lengths_stay_and_angles_grow_evenly(self):
        a, b = (vector / np.linalg.norm(vector) * 4 for vector in random_pair())
        way = slerp(a[None], b[None], np.linspace(0, 1, 9))
        assert np.allclose(np.linalg.norm(way, axis=-1), 4)
        steps = np.arccos(np.sum(way[1:] * way[:-1], axis=-1) / 16)
        assert np.allclose(steps, steps[0], rtol=1e-6)

    def test_nearly_equal_latents_are_joined_by_a_line(self):
        a, b = random_pair()
        close = a + 1e-8 * b
        assert np.allclose(slerp(a, close, 0.3), 0.7 * a + 0.3 * close, rtol=0, atol=1e-14)
        assert np.allclose(slerp(a, a, 0.3), a, rtol=0, atol=1e-14)
        assert np.isfinite(slerp(0 * a, b, 0.3)).all()

    @pytest.mark.parametrize("deviation", [0.0, 1e-9])
    def test_opposite_latents(self, deviation):
        a, b = random_pair()
        opposite = -a + deviation * b
        way = slerp(a[None], opposite[None], np.linspace(0, 1, 9))
        assert np.allclose(np.linalg.norm(way, axis=-1), np.linalg.norm(a), rtol=1e-6)
        assert np.allclose(way[0], a)
        assert np.allclose(way[-1], opposite, atol=1e-6)
        assert abs(way[4] @ a) < 1e-6
        assert np.allclose(way, slerp(opposite[None], a[None], np.linspace(1, 0, 9)), atol=1e-6)

    def test_the_type_stays(self):
        a, b = (vector.astype(np.float32) for vector in random_pair())
        assert slerp(a, b, 0.5).dtype == np.float32


class TestWalk:
    @pytest.mark.parametrize(("closed", "at"), [(False, {0: 0, 4: 1, 8: 2}), (True, {0: 0, 3: 1, 6: 2})])
    def test_passes_its_stations(self, closed, at):
        latents, labels = np.random.RandomState(0).randn(3, 8), np.eye(3)
        frames = list(Walk(latents, labels, 9, closed))
        assert len(frames) == 9
        for frame, station in at.items():
            assert np.allclose(frames[frame][0], latents[station])
            assert np.allclose(frames[frame][1], labels[station])

    @pytest.mark.parametrize("closed", [False, True])
    @pytest.mark.parametrize(("frames", "stations"), [(300, 5), (10, 7), (7, 7), (2, 2)])
    def test_every_station_is_a_frame(self, closed, frames, stations):
        """Also where the frames do not divide; the segments differ by at most a frame."""
        latents = np.random.RandomState(0).randn(stations, 8)
        made = list(Walk(latents, np.eye(stations), frames, closed))
        assert len(made) == frames
        at = [[frame for frame, (latent, _) in enumerate(made) if np.array_equal(latent, station)] for station in latents]
        assert all(len(places) == 1 for places in at)
        places = [place for [place] in at] + ([frames] if closed else [])
        assert (places[0], places[-1]) == (0, frames if closed else frames - 1)
        assert np.ptp(np.diff(places)) <= 1
        for station, place in enumerate(places[:stations]):
            assert np.array_equal(made[place][1], np.eye(stations)[station])

    def test_labels_between_stations(self):
        *_, (_, label), _ = Walk(np.random.RandomState(0).randn(2, 8), np.eye(2), 5)
        assert np.allclose(label, [0.25, 0.75])

    def test_the_step_from_the_last_frame_to_the_first_is_like_the_others(self):
        latents = np.random.RandomState(0).randn(2, 8)
        frames = np.array([latent for latent, _ in Walk(latents, np.zeros((2, 0)), 20, closed=True)])
        steps = np.linalg.norm(np.roll(frames, -1, axis=0) - frames, axis=1)
        assert steps[-1] < 1.5 * np.median(steps)


class TestLoop:
    @pytest.mark.parametrize(("frames", "sigma"), [(200, 5.0), (300, 30.0), (40, 10.0), (7, 3.0)])
    @pytest.mark.parametrize("memory", ["ample", "enough", "little"])
    def test_is_the_wrapped_filter_of_scipy(self, frames, sigma, memory, monkeypatch):
        """Held as a whole, or made in blocks, if need be of few frames."""
        if memory != "ample":
            monkeypatch.setattr(walks, "_FEW_NUMBERS", 0)
        if memory == "little":
            reach = int(4 * sigma + 0.5)
            monkeypatch.setattr(walks, "_MOST_NUMBERS", 16 * (2 * reach + reach // 8))
        loop = Loop(frames, 2, 8, sigma, seed=3)
        noise = np.stack([loop.noise(frame) for frame in range(frames)])
        expected = gaussian_filter1d(noise, sigma, axis=0, mode="wrap")
        expected /= np.sqrt(np.square(expected).mean())
        made = np.stack(list(loop.from_frame(0)))
        assert made.shape == (frames, 2, 8)
        assert np.abs(made - expected).max() < 1e-5

    def test_the_frame_after_the_last_is_the_first(self):
        loop = Loop(50, 1, 8, 4.0, seed=0)
        assert np.allclose(loop.latents(50, 1), loop.latents(0, 1))
        assert np.allclose(loop.latents(48, 4)[2:], loop.latents(0, 2))
        assert np.allclose(np.stack(list(loop.from_frame(20))), np.roll(np.stack(list(loop.from_frame(0))), -20, axis=0))

    @pytest.mark.parametrize(
        ("frames", "size", "sigma", "rows"),
        [
            (14_400, 16, 3_600, 14_400),  # --seconds=240 --fps=60 --smooth=60
            (4_500, 512, 250, 4_000),  # in blocks
        ],
    )
    def test_memory_is_that_of_the_noise(self, frames, size, sigma, rows, monkeypatch):
        """Of arrays, which `tracemalloc` counts: the noise of the loop, or of one block."""
        monkeypatch.setattr(walks, "_FEW_NUMBERS", 0)
        monkeypatch.setattr(walks, "_NUMBERS_OF_FFT", 1)
        loop = Loop(frames, 1, size, sigma, seed=0)
        tracemalloc.start()
        for _ in loop.from_frame(frames - 1):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.2 * 4 * rows * size + 2e6

    @pytest.mark.parametrize(
        ("frames", "count", "sigma"), [(432_000, 1, 108_000), (108_000, 12, 27_000), (300, 2**20, 1), (432_000, 24, 3_600)]
    )
    def test_more_memory_than_allowed(self, frames, count, sigma):
        with pytest.raises(UserError, match=r"needs more than 0\.5 GB; choose less --smooth"):
            Loop(frames, count, 512, sigma, seed=0)

    @pytest.mark.parametrize(("frames", "count", "sigma"), [(300, 1024, 30), (108_000, 1, 27_000), (108_000, 24, 30)])
    def test_settings_that_fit(self, frames, count, sigma):
        loop = Loop(frames, count, 512, sigma, seed=0)
        rows = frames if loop._is_held else loop._block + 2 * loop._reach
        assert 4 * rows * count * 512 <= 2**29

    def test_noise_is_normal_and_differs_by_frame_and_seed(self):
        first, second = Loop(50, 4, 512, 4.0, seed=0), Loop(50, 4, 512, 4.0, seed=1)
        assert abs(first.noise(0).std() - 1) < 0.05
        assert not np.allclose(first.noise(0), first.noise(1))
        assert not np.allclose(first.noise(0), second.noise(0))
