"""The schedule of growing, as a function of the images seen (spec 2.4-2.7).

The schedule is evaluated once every `repeats` iterations (a look), as in the official code, so phases end on looks. `Schedule`
computes them in closed form, without simulation or state, and needs neither JAX nor data nor files.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pggan_jax.config import Config, ScheduleConfig
from pggan_jax.images import BASE_SHAPE, ImageShape, image_shape, parse_base_shape


@dataclass(frozen=True)
class SchedulePoint:
    """One point of the schedule.

    Attributes:
        images_seen: real images shown to the discriminator before this point.
        resolution: nominal resolution of the images.
        alpha: weight of the newest layers, in (0, 1) during a fade-in and 1 when stable.
        learning_rate: step size of both networks, ramp included.
        batch_size: images per step over all devices.
        annealed: how far the cosine schedules have come, from 0 to 1.
    """

    images_seen: int
    resolution: int
    alpha: float
    learning_rate: float
    batch_size: int
    annealed: float = 0.0

    @property
    def fading(self) -> bool:
        """Whether a fade-in is under way."""
        return self.alpha < 1.0


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with one resolution, one batch size, and either a fade-in or none.

    `start` and `end` count images; `images_per_look` is the distance between two looks at the schedule.
    """

    index: int
    shape: ImageShape
    fading: bool
    start: int
    end: int
    batch_size: int
    critic_steps: int
    images_per_look: int

    @property
    def resolution(self) -> int:
        """Nominal resolution of the images, by which settings name the stage."""
        return self.shape.resolution

    @property
    def images_per_step(self) -> int:
        """Real images in one iteration: `critic_steps` batches."""
        return self.batch_size * self.critic_steps

    @property
    def steps(self) -> int:
        """Iterations (generator updates) in the stage."""
        return (self.end - self.start) // self.images_per_step

    @property
    def name(self) -> str:
        """Such as '8x8 fade' or '8x8 stable'."""
        return f"{self.shape} {'fade' if self.fading else 'stable'}"


@dataclass(frozen=True)
class Tick:
    """A stretch of training that ends with one line of statistics, in images."""

    index: int
    start: int
    end: int


class Schedule:
    """The whole run, from the first image to the last.

    Args:
        config: phase lengths, batch sizes and learning rates, already validated.
        resolution: nominal resolution of the finished images.
        base_shape: height and width of the images at 4.

    Attributes:
        resolutions: all nominal resolutions from the first to the finished one.
        planned_kimg: length that was asked for; the run ends on the first look at or after it.
        total_seconds: seconds of training after which the run ends before that; infinity for no limit. Phases, learning rates
            and everything else are functions of the images alone.
    """

    def __init__(self, config: ScheduleConfig, resolution: int, *, base_shape: tuple[int, int] = BASE_SHAPE):
        self._config, self._base_shape = config, base_shape
        self._full_log2 = int(math.log2(resolution))
        first_log2 = int(math.log2(config.start_resolution))
        self.resolutions = tuple(2**level for level in range(first_log2, self._full_log2 + 1))
        starts = [0.0]
        for current, grown in zip(self.resolutions, self.resolutions[1:], strict=False):
            starts.append(_snap(starts[-1] + self._stable_images(current) + self._fade_images(grown)))
        self._phase_starts = starts
        self._planned_images = _snap(1000 * config.total_kimg or starts[-1] + self._stable_images(resolution))
        self.planned_kimg = self._planned_images / 1000
        self.total_seconds = 60 * config.total_minutes or math.inf

    @classmethod
    def of(cls, config: Config) -> Schedule:
        """Return the schedule of a whole configuration."""
        return cls(config.schedule, config.data.resolution, base_shape=parse_base_shape(config.data.base_shape))

    def _stable_images(self, resolution: int) -> float:
        return _snap(1000 * self._config.stable_kimg_at.get(resolution, self._config.stable_kimg))

    def _fade_images(self, resolution: int) -> float:
        return _snap(1000 * self._config.fade_kimg_at.get(resolution, self._config.fade_kimg))

    def look(self, images_seen: int) -> SchedulePoint:
        """Evaluate the official formula at exactly `images_seen`, look or not (spec 2.4)."""
        phase = min(bisect_right(self._phase_starts, images_seen), len(self.resolutions)) - 1
        # A phase of zero length has the same start as the next; bisect_right steps over it.
        into_phase = images_seen - self._phase_starts[phase]
        resolution, alpha = self.resolutions[phase], 1.0
        is_last = phase == len(self.resolutions) - 1
        into_fade = into_phase - self._stable_images(resolution)
        if not is_last and into_fade > 0:
            resolution = self.resolutions[phase + 1]
            alpha = into_fade / self._fade_images(resolution)
        learning_rate = self._config.learning_rate_at.get(resolution, self._config.learning_rate)
        annealed = cosine_progress(images_seen, 1000 * self._config.anneal_kimg or self._planned_images)
        learning_rate = anneal(learning_rate, self._config.learning_rate_end, annealed)
        learning_rate *= ramp(images_seen / 1000, self._config.rampup_kimg)
        batch_size = self._config.batch_size_for(resolution)
        return SchedulePoint(images_seen, resolution, alpha, learning_rate, batch_size, annealed)

    def official_lod(self, point: SchedulePoint) -> float:
        """The official level of detail: log2(full resolution / current resolution), plus 1 - alpha."""
        return self._full_log2 - math.log2(point.resolution) + (1.0 - point.alpha)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages in order. The first starts at 0, each starts where the one before it ends."""
        stages: list[Stage] = []
        start = 0
        while start < self._planned_images:
            point = self.look(start)
            images_per_look = point.batch_size * self._config.critic_steps * self._config.repeats
            most_looks = math.ceil((self._planned_images - start) / images_per_look)
            looks = self._looks_until_change(start, images_per_look, most_looks)
            end = start + looks * images_per_look
            stages.append(
                Stage(
                    index=len(stages),
                    shape=image_shape(point.resolution, self._base_shape),
                    fading=point.fading,
                    start=start,
                    end=end,
                    batch_size=point.batch_size,
                    critic_steps=self._config.critic_steps,
                    images_per_look=images_per_look,
                )
            )
            start = end
        return tuple(stages)

    def _looks_until_change(self, start: int, images_per_look: int, most: int) -> int:
        """Count the looks from `start` to a change of resolution or fading, by binary search."""

        def kind(looks: int) -> tuple[int, bool]:
            point = self.look(start + looks * images_per_look)
            return point.resolution, point.fading

        first, low, high = kind(0), 1, most
        while low < high:
            middle = (low + high) // 2
            if kind(middle) == first:
                low = middle + 1
            else:
                high = middle
        return low

    @property
    def total_images(self) -> int:
        """Real images shown over the whole run: the planned length rounded up to a look."""
        return self.stages[-1].end

    def stage_at(self, images_seen: int) -> Stage:
        """The stage of the next step after `images_seen`; the last stage when the run is complete."""
        return self.stages[bisect_right(self._stage_starts, images_seen) - 1]

    def at(self, images_seen: int) -> SchedulePoint:
        """The point that the run uses at `images_seen`: the formula at the newest look.

        So alpha moves in steps of one look. A complete run keeps its last look: its end, where the next phase may begin, is no
        look.
        """
        stage = self.stage_at(images_seen)
        newest = min(images_seen, stage.end - 1)
        looks = (newest - stage.start) // stage.images_per_look
        return self.look(stage.start + looks * stage.images_per_look)

    @cached_property
    def ticks(self) -> tuple[Tick, ...]:
        """All ticks in order (spec 2.10); each ends on the first look at which it is long enough."""
        ticks: list[Tick] = []
        start, end = 0, 0
        for stage in self.stages:
            length = _snap(1000 * self._config.tick_kimg_at.get(stage.resolution, self._config.tick_kimg))
            while end < stage.end:
                looks_left = (stage.end - end) // stage.images_per_look
                looks = max(1, math.ceil((start + length - end) / stage.images_per_look))
                if looks > looks_left:
                    end = stage.end
                    break
                end += looks * stage.images_per_look
                ticks.append(Tick(len(ticks), start, end))
                start = end
        if start < end:
            ticks.append(Tick(len(ticks), start, end))
        return tuple(ticks)

    @cached_property
    def _stage_starts(self) -> list[int]:
        return [stage.start for stage in self.stages]

    @cached_property
    def _tick_starts(self) -> list[int]:
        return [tick.start for tick in self.ticks]

    def tick_at(self, images_seen: int) -> Tick:
        """The tick of the next step after `images_seen`; the last tick when the run is complete."""
        return self.ticks[bisect_right(self._tick_starts, images_seen) - 1]

    def stages_between(self, start: int, end: int) -> Iterator[Stage]:
        """Stages that share images with `[start, end)`, in order."""
        return (stage for stage in self.stages if max(stage.start, start) < min(stage.end, end))

    def grows_at(self, images_seen: int) -> bool:
        """Whether the resolution changes between the steps before and after `images_seen`."""
        if not 0 < images_seen < self.total_images:
            return False
        return self.stage_at(images_seen - 1).resolution < self.stage_at(images_seen).resolution

    def images_between(self, start: int, end: int) -> dict[int, int]:
        """Images of `[start, end)` by resolution."""
        images: dict[int, int] = {}
        for stage in self.stages_between(start, end):
            shared = min(end, stage.end) - max(start, stage.start)
            images[stage.resolution] = images.get(stage.resolution, 0) + shared
        return images


def _snap(images: float) -> float:
    """Remove the binary rounding of decimal kimg.

    1000 * 4.035 is 4034.9999999999995, and a phase would end a look early.
    """
    return round(float(images), 6)


def cosine_progress(images_seen: float, images: float) -> float:
    """How far a cosine schedule has come, from 0 to 1.

    It is 1 - (1 + cos(pi t)) / 2 with t = images_seen / images, at most 1.
    """
    return 1.0 - (1.0 + math.cos(math.pi * min(images_seen / images, 1.0))) / 2.0 if images else 0.0


def anneal(start: float, end: float, annealed: float) -> float:
    """Value of a cosine schedule `annealed` of its way; an end of 0 keeps `start`."""
    return start + annealed * (end - start) if end else start


def ramp(kimg: float, rampup_kimg: float) -> float:
    """Factor on the learning rate: exp(-5 (1 - kimg/rampup)^2) in the ramp, then 1 (spec 2.6)."""
    if kimg >= rampup_kimg:
        return 1.0
    return math.exp(-5.0 * (1.0 - kimg / rampup_kimg) ** 2)
