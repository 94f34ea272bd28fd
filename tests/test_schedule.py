"""The closed-form schedule against the official formula and a literal run of the official loop (spec 2.4, 2.6, 2.7, 2.10)."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

from pggan_jax.config import ScheduleConfig
from pggan_jax.schedule import Schedule, Stage, anneal, ramp

CHECKPOINTS = {
    "1024_600_600": (1024, 600, 600, 4),
    "1024_800_800": (1024, 800, 800, 4),
    "256_800_800": (256, 800, 800, 4),
    "256_600_600": (256, 600, 600, 4),
    "128_800_800": (128, 800, 800, 4),
    "128_600_600": (128, 600, 600, 4),
    "32_400_400": (32, 400, 400, 4),
    "32_600_600": (32, 600, 600, 4),
    "32_500_2000": (32, 500, 2000, 4),
    "1024_no_growing": (1024, 0, 0, 1024),
}


def exact(kimg: float) -> Fraction:
    """Images in `kimg` as the user wrote it, in decimals."""
    return Fraction(str(kimg)) * 1000


def uniform_lod(images: int, *, stable: Fraction, fade: Fraction, first: int, full: int) -> Fraction:
    """Spec 2.4, word by word, in images instead of kimg; `first` and `full` are log2 of resolutions."""
    phase = stable + fade
    index = images // phase if phase else 0
    into_phase = images - index * phase
    lod = Fraction(full - first - index)
    if fade:
        lod -= max(into_phase - stable, 0) / fade
    return max(lod, Fraction(0))


def phased_lod(images: int, config: ScheduleConfig, full: int) -> Fraction:
    """The same with own lengths for each resolution: whole phases are taken off one after the other."""
    left = Fraction(images)
    for level in range(int(math.log2(config.start_resolution)), full):
        stable = exact(config.stable_kimg_at.get(2**level, config.stable_kimg))
        fade = exact(config.fade_kimg_at.get(2 ** (level + 1), config.fade_kimg))
        if left < stable + fade:
            return full - level - (max(left - stable, 0) / fade if fade else 0)
        left -= stable + fade
    return Fraction(0)


@dataclass
class Iteration:
    """One iteration of the simulated loop: where it began and what the newest look said."""

    images: int
    lod: Fraction
    resolution: int
    batch: int
    stage: int
    tick: int


@dataclass
class Simulation:
    """What a literal run of the official loop does."""

    iterations: list[Iteration]
    resets: list[tuple[int, int, bool]]
    ticks: list[tuple[int, int]]
    total: int


def simulate(config: ScheduleConfig, resolution: int) -> Simulation:
    full = int(math.log2(resolution))
    planned = exact(config.total_kimg)
    if not planned:
        while phased_lod(int(planned), config, full) > 0 or planned != int(planned):
            planned = Fraction(int(planned) + 1)
        planned += exact(config.stable_kimg_at.get(resolution, config.stable_kimg))
    images, previous, tick_start = 0, Fraction(-1), 0
    iterations, resets, ticks = [], [], []
    while images < planned:
        lod = phased_lod(images, config, full)
        current = 2 ** (full - math.floor(lod))
        batch = config.batch_size_at.get(current, config.batch_size)
        if math.floor(lod) != math.floor(previous) or math.ceil(lod) != math.ceil(previous):
            resets.append((images, current, lod.denominator != 1))
        previous = lod
        for _ in range(config.repeats):
            iterations.append(Iteration(images, lod, current, batch, len(resets) - 1, len(ticks)))
            for _ in range(config.critic_steps):
                images += batch
        length = exact(config.tick_kimg_at.get(current, config.tick_kimg))
        if images >= tick_start + length or images >= planned:
            ticks.append((tick_start, images))
            tick_start = images
    return Simulation(iterations, resets, ticks, images)


def random_config(seed: int) -> tuple[ScheduleConfig, int]:
    rng = random.Random(seed)
    resolution = rng.choice([4, 8, 16, 32])
    levels = [2**k for k in range(2, 6)]
    lengths = [0.0, 0.05, 0.1, 0.128, 0.2, 0.333, 0.64, 1.0]

    def some(values: list) -> dict:
        return {level: rng.choice(values) for level in levels if rng.random() < 0.4}

    config = ScheduleConfig(
        start_resolution=rng.choice([r for r in levels if r <= resolution]),
        stable_kimg=rng.choice(lengths),
        stable_kimg_at=some(lengths) | {resolution: rng.choice(lengths[1:])},
        fade_kimg=rng.choice(lengths),
        fade_kimg_at=some(lengths),
        total_kimg=rng.choice([0.0, 0.0, 0.4, 1.0, 2.007, 3.5]),
        batch_size=rng.choice([1, 2, 4, 8, 16]),
        batch_size_at=some([2, 4, 6, 16]),
        learning_rate_at=some([0.0015, 0.003]),
        rampup_kimg=rng.choice([0.0, 0.5]),
        critic_steps=rng.choice([1, 1, 2, 5]),
        repeats=rng.choice([1, 4, 4, 3]),
        tick_kimg=rng.choice([0.05, 0.16, 1.0]),
        tick_kimg_at=some([0.02, 0.1, 0.25]),
    )
    return config, resolution


@pytest.mark.parametrize("seed", range(60))
def test_the_tick_and_stage_at_a_point_are_the_last_that_have_begun(seed):
    """By looking at all of them, at random points, on both sides of each boundary, and beyond the end."""
    config, resolution = random_config(seed)
    schedule, chance = Schedule(config, resolution), random.Random(seed)
    edges = [edge for part in (*schedule.ticks, *schedule.stages) for edge in (part.start, part.end)]
    points = {0, schedule.total_images + 5, *(chance.randrange(schedule.total_images) for _ in range(50))}
    points |= {
        edge + offset for edge in chance.sample(edges, min(40, len(edges))) for offset in (-1, 0, 1) if edge + offset >= 0
    }
    for point in points:
        assert schedule.tick_at(point) == [tick for tick in schedule.ticks if tick.start <= point][-1]
        assert schedule.stage_at(point) == [stage for stage in schedule.stages if stage.start <= point][-1]


def test_finding_a_tick_does_not_look_at_all_of_them():
    """Counted, not timed: a run of a hundred thousand ticks asks for each step."""

    class Counted:
        looks = 0

        def __init__(self, start):
            self._start = start

        @property
        def start(self):
            Counted.looks += 1
            return self._start

    schedule = Schedule(ScheduleConfig(), 32)
    schedule.__dict__["ticks"] = tuple(Counted(100 * number) for number in range(1000))
    assert [schedule.tick_at(point)._start for point in range(0, 100_000, 50)] == [
        100 * (point // 100) for point in range(0, 100_000, 50)
    ]
    assert Counted.looks <= 30_000


@pytest.mark.parametrize("seed", range(60))
def test_against_a_literal_run_of_the_official_loop(seed):
    config, resolution = random_config(seed)
    official = simulate(config, resolution)
    schedule = Schedule(config, resolution)

    assert [(stage.start, stage.resolution, stage.fading) for stage in schedule.stages] == official.resets
    assert [(tick.start, tick.end) for tick in schedule.ticks] == official.ticks
    assert schedule.total_images == official.total
    assert sum(stage.steps for stage in schedule.stages) == len(official.iterations)
    for step in official.iterations:
        assert schedule.stage_at(step.images).index == step.stage
        assert schedule.tick_at(step.images).index == step.tick
        point = schedule.at(step.images)
        assert point.resolution == step.resolution
        assert point.batch_size == step.batch == schedule.stages[step.stage].batch_size
        assert schedule.official_lod(point) == pytest.approx(float(step.lod), abs=1e-9)
        assert point.alpha == pytest.approx(1 - float(step.lod - math.floor(step.lod)) if point.fading else 1.0, abs=1e-9)
        assert point.fading == (step.lod.denominator != 1)
        assert point == schedule.look(point.images_seen)
        between = step.images + step.batch * config.critic_steps - 1
        assert schedule.at(between) == point


@pytest.mark.parametrize("seed", range(60))
def test_stages_and_ticks_tile_the_run(seed):
    config, resolution = random_config(seed)
    schedule = Schedule(config, resolution)
    for parts in (schedule.stages, schedule.ticks):
        assert [part.index for part in parts] == list(range(len(parts)))
        assert parts[0].start == 0
        assert parts[-1].end == schedule.total_images
        assert all(before.end == after.start for before, after in itertools.pairwise(parts))
        assert all(part.start < part.end for part in parts)
    for stage in schedule.stages:
        assert (stage.end - stage.start) % stage.images_per_look == 0
        assert stage.images_per_look == config.repeats * stage.images_per_step
        assert stage.images_per_step == stage.batch_size * config.critic_steps
        assert stage.steps * stage.images_per_step == stage.end - stage.start
    past_plan = schedule.total_images - schedule.planned_kimg * 1000
    assert -1e-6 < past_plan < schedule.stages[-1].images_per_look
    looks = [schedule.look(images) for images in range(0, schedule.total_images, 7)]
    assert all(0 < look.alpha <= 1 for look in looks)
    assert all(schedule.official_lod(before) >= schedule.official_lod(after) for before, after in itertools.pairwise(looks))


@pytest.mark.parametrize(("stable", "fade"), [(600.0, 600.0), (0.0, 0.3), (0.25, 0.0), (0.333, 0.1), (2.007, 0.029)])
def test_look_is_the_official_formula(stable, fade):
    schedule = Schedule(ScheduleConfig(stable_kimg=stable, fade_kimg=fade), 64)
    phase = exact(stable) + exact(fade)
    marks = [int(index * phase + part) for index in range(6) for part in (0, exact(stable), phase / 3)]
    for images in sorted({max(0, mark + shift) for mark in marks for shift in range(-2, 3)}):
        lod = uniform_lod(images, stable=exact(stable), fade=exact(fade), first=2, full=6)
        point = schedule.look(images)
        assert schedule.official_lod(point) == pytest.approx(float(lod), abs=1e-9)
        assert point.resolution == 2 ** (6 - math.floor(lod))
        assert point.fading == (lod.denominator != 1)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_golden_checkpoints(reference, name):
    resolution, stable, fade, start = CHECKPOINTS[name]
    config = ScheduleConfig(start_resolution=start, stable_kimg=float(stable), fade_kimg=float(fade), total_kimg=15000.0)
    schedule = Schedule(config, resolution)
    for expected in reference["schedule_checkpoints"][name]:
        point = schedule.look(expected["images"])
        assert point.images_seen == expected["images"]
        assert point.resolution == expected["resolution"]
        assert schedule.official_lod(point) == pytest.approx(expected["lod"], abs=2e-6)
        assert point.alpha == pytest.approx(expected["alpha"], abs=2e-6)
        assert point.fading == (expected["alpha"] != 1.0)


def test_golden_checkpoints_are_all_tried(reference):
    assert set(reference["schedule_checkpoints"]) == set(CHECKPOINTS)


def test_golden_ramp(reference):
    golden = reference["golden_misc"]["theano_lr_rampup_40kimg"]
    schedule = Schedule(ScheduleConfig(rampup_kimg=40.0, learning_rate=0.002), 32)
    for kimg, expected in golden.items():
        assert ramp(float(kimg), 40.0) == pytest.approx(expected, rel=1e-6)
        assert schedule.look(1000 * int(kimg)).learning_rate == pytest.approx(0.002 * expected, rel=1e-6)
    assert ramp(1e6, 40.0) == 1.0


def test_no_ramp():
    assert ramp(0.0, 0.0) == 1.0
    assert Schedule(ScheduleConfig(), 32).look(0).learning_rate == 0.001


def test_default_run_ends_after_the_last_stable_phase():
    schedule = Schedule(ScheduleConfig(), 32)
    assert schedule.resolutions == (4, 8, 16, 32)
    assert schedule.planned_kimg == 600 * 7
    assert [stage.name for stage in schedule.stages[:3]] == ["4x4 stable", "8x8 fade", "8x8 stable"]
    assert schedule.stages[-1].name == "32x32 stable"
    assert schedule.total_images >= 4_200_000


# Phases of 100 images and looks of 8: 4x4 stable [0, 104), 8x8 fade [104, 200), 8x8 stable [200, 304).
SMALL = ScheduleConfig(stable_kimg=0.1, fade_kimg=0.1, batch_size=2, repeats=4, tick_kimg=0.05, tick_kimg_at={})


@pytest.fixture
def small() -> Schedule:
    return Schedule(SMALL, 8)


def test_small_run_by_hand(small):
    assert [(stage.start, stage.end) for stage in small.stages] == [(0, 104), (104, 200), (200, 304)]
    assert [(tick.start, tick.end) for tick in small.ticks] == [
        (0, 56),
        (56, 112),
        (112, 168),
        (168, 224),
        (224, 280),
        (280, 304),
    ]


@pytest.mark.parametrize(
    ("images", "stage", "tick", "look", "alpha"),
    [
        (0, 0, 0, 0, 1.0),
        (7, 0, 0, 0, 1.0),
        (8, 0, 0, 8, 1.0),
        (55, 0, 0, 48, 1.0),
        (56, 0, 1, 56, 1.0),
        (103, 0, 1, 96, 1.0),
        (104, 1, 1, 104, 0.04),
        (111, 1, 1, 104, 0.04),
        (112, 1, 2, 112, 0.12),
        (199, 1, 3, 192, 0.92),
        (200, 2, 3, 200, 1.0),
        (303, 2, 5, 296, 1.0),
        (304, 2, 5, 296, 1.0),
        (10**9, 2, 5, 296, 1.0),
    ],
)
def test_boundaries(small, images, stage, tick, look, alpha):
    assert small.stage_at(images).index == stage
    assert small.tick_at(images).index == tick
    point = small.at(images)
    assert point.images_seen == look
    assert point.alpha == pytest.approx(alpha)
    assert point.resolution == small.stages[stage].resolution
    assert point.fading == small.stages[stage].fading


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 304, [0, 1, 2]),
        (0, 10**9, [0, 1, 2]),
        (0, 104, [0]),
        (0, 105, [0, 1]),
        (103, 105, [0, 1]),
        (104, 200, [1]),
        (104, 201, [1, 2]),
        (150, 151, [1]),
        (303, 304, [2]),
        (304, 400, []),
        (50, 50, []),
        (104, 104, []),
        (200, 100, []),
    ],
)
def test_stages_between(small, start, end, expected):
    assert [stage.index for stage in small.stages_between(start, end)] == expected


@pytest.mark.parametrize(("total", "resolution", "alpha"), [(0.1, 4, 1.0), (0.104, 4, 1.0), (0.2, 8, 0.92)])
def test_run_that_ends_between_phases_keeps_its_last_look(total, resolution, alpha):
    schedule = Schedule(replace(SMALL, total_kimg=total), 8)
    for images in (schedule.total_images, schedule.total_images + 1000):
        point = schedule.at(images)
        assert point.resolution == schedule.stage_at(images).resolution == resolution
        assert point.alpha == pytest.approx(alpha)


def test_no_growing():
    schedule = Schedule(ScheduleConfig(start_resolution=32, stable_kimg=0.0, fade_kimg=0.0, total_kimg=1.0), 32)
    (stage,) = schedule.stages
    assert (stage.resolution, stage.fading, stage.start, stage.end) == (32, False, 0, 1024)


def test_decimal_kimg_end_on_the_look_that_was_asked_for():
    for images in range(1, 12_000):
        config = ScheduleConfig(start_resolution=8, total_kimg=images / 1000, batch_size=1, repeats=1)
        assert Schedule(config, 8).total_images == images


def test_phase_of_decimal_kimg_starts_at_its_first_image():
    for images in range(1, 4_000, 7):
        schedule = Schedule(ScheduleConfig(stable_kimg=images / 1000, fade_kimg=0.0), 16)
        assert [schedule.look(images * k + shift).resolution for k in (1, 2) for shift in (-1, 0)] == [4, 8, 8, 16]


def test_long_runs_stay_cheap_and_exact():
    schedule = Schedule(ScheduleConfig(stable_kimg=1.0, fade_kimg=1.0, total_kimg=2_000_000.0, batch_size=3), 8192)
    assert len(schedule.stages) == 23
    assert schedule.total_images == 2_000_000_004
    assert isinstance(schedule.stage_at(schedule.total_images), Stage)
    assert schedule.stage_at(schedule.total_images).resolution == 8192


COSINE = ScheduleConfig(
    start_resolution=8, total_kimg=8.0, batch_size=2, repeats=1, learning_rate=0.004, learning_rate_end=0.001
)


@pytest.mark.parametrize(("images", "expected"), [(0, 4e-3), (2000, 3.5606602e-3), (4000, 2.5e-3), (8000, 1e-3)])
def test_cosine_of_the_learning_rate(images, expected):
    """v0 + (1 - (1 + cos(pi t)) / 2) (v1 - v0): at t = 1/4 it has gone (1 - sqrt(1/2)) / 2 of the way."""
    assert Schedule(COSINE, 8).look(images).learning_rate == pytest.approx(expected, rel=1e-7)


def test_cosine_ends_after_anneal_kimg_and_stays():
    schedule = Schedule(replace(COSINE, anneal_kimg=4.0), 8)
    assert schedule.look(2000).learning_rate == pytest.approx(2.5e-3)
    assert [schedule.look(images).learning_rate for images in (4000, 5000, 8000)] == pytest.approx([1e-3] * 3)


def test_cosine_starts_from_the_rate_of_the_resolution_and_the_ramp_multiplies_it():
    config = replace(COSINE, learning_rate_at={8: 0.003}, rampup_kimg=4.0)
    point = Schedule(config, 8).look(2000)
    expected = 0.003 + (1 - math.sqrt(0.5)) / 2 * (0.001 - 0.003)
    assert point.learning_rate == pytest.approx(expected * math.exp(-5 * 0.25))
    assert point.annealed == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_without_an_end_nothing_is_annealed():
    schedule, plain = Schedule(replace(COSINE, learning_rate_end=0.0), 8), ScheduleConfig().learning_rate
    assert schedule.look(5000).learning_rate == 0.004
    assert Schedule(ScheduleConfig(), 32).look(1_234_567).learning_rate == plain
    assert anneal(0.3, 0.0, 0.7) == 0.3
