"""Settings of phases, batches and learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pggan_jax.config.fields import KIMG, MAX_FLOAT, MAX_KIMG, MAX_RESOLUTION, MINUTES, RATE, WEIGHT, setting

_TICK: dict[str, Any] = {"minimum": 1, "maximum": MAX_KIMG}
_LEARNING_RATE_END: dict[str, Any] = {"minimum": 0, "maximum": MAX_FLOAT}
OFFICIAL_TICKS = {4: 160.0, 8: 140.0, 16: 120.0, 32: 100.0, 64: 80.0, 128: 60.0, 256: 40.0, 512: 20.0, 1024: 10.0}


@dataclass(frozen=True)
class ScheduleConfig:
    """Phases, batches, learning rates. A kimg is 1,000 reals seen by the discriminator."""

    start_resolution: int = setting(
        4, "resolution of the first stage, 4*2^k; data.resolution means no growing", minimum=4, maximum=MAX_RESOLUTION
    )
    stable_kimg: float = setting(600.0, "length of each stable phase", **KIMG)
    stable_kimg_at: Mapping[int, float] = setting({}, "stable_kimg of single resolutions, as 4:10,8:25", **KIMG)
    fade_kimg: float = setting(600.0, "length of each fade-in", **KIMG)
    fade_kimg_at: Mapping[int, float] = setting({}, "fade_kimg of single resolutions, as 8:10,16:25", **KIMG)
    total_kimg: float = setting(0.0, "length of the run; 0 ends it after the stable phase of the last resolution", **KIMG)
    total_minutes: float = setting(
        0.0,
        "end the run after so many minutes of training, without compilation, metrics, grids and saving, if its images do not "
        "end it before; 0: no limit",
        **MINUTES,
    )
    batch_size: int = setting(16, "images per step over all devices", minimum=1, maximum=2**16)
    batch_size_at: Mapping[int, int] = setting({}, "batch_size of single resolutions, as 4:128,8:64", minimum=1, maximum=2**16)
    learning_rate: float = setting(0.001, "Adam's step size for both networks", **RATE)
    learning_rate_at: Mapping[int, float] = setting({}, "learning_rate of single resolutions, as 1024:0.0015", **RATE)
    rampup_kimg: float = setting(0.0, "warm the learning rate up over the first kimg of the run; 0 means no ramp", **KIMG)
    anneal_kimg: float = setting(
        0.0,
        "length of the cosine schedules *_end, after which their ends hold; 0 means the whole run: then a larger total_kimg on "
        "resume stretches them, and their values jump",
        **KIMG,
    )
    learning_rate_end: float = setting(
        0.0,
        "end of the learning rate's cosine, from learning_rate or learning_rate_at; 0: no cosine",
        **_LEARNING_RATE_END,
    )
    r1_gamma_end: float = setting(0.0, "end of the cosine from loss.r1_gamma; 0 keeps it constant", **WEIGHT)
    ema_half_life_kimg_end: float = setting(
        0.0,
        "end of the cosine from optimizer.ema_half_life_kimg, whose 0 then means no averaging at the start; 0: no cosine",
        **KIMG,
    )
    critic_steps: int = setting(1, "n_critic: discriminator updates per generator update", minimum=1, maximum=1024)
    repeats: int = setting(
        4, "iterations between two updates of resolution, alpha and learning rate; phases end on one", minimum=1, maximum=2**16
    )
    tick_kimg: float = setting(160.0, "length of a tick: one status line and one sample grid", **_TICK)
    tick_kimg_at: Mapping[int, float] = setting(OFFICIAL_TICKS, "tick_kimg of single resolutions, as 4:20,8:10", **_TICK)

    def batch_size_for(self, resolution: int) -> int:
        """Images per step at `resolution`, over all devices."""
        return self.batch_size_at.get(resolution, self.batch_size)
