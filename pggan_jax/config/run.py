"""Settings of seed, memory, checkpoints, logs, and metrics during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pggan_jax.config.fields import COUNT, KIMG, MAX_TICKS, setting
from pggan_jax.metric_kinds import METRIC_KINDS

_MICROBATCH: dict[str, Any] = {"minimum": 0, "maximum": 2**16}


@dataclass(frozen=True)
class RunConfig:
    """Seed, memory, checkpoints and logs."""

    seed: int = setting(1000, "seed of weights, noise and data order", minimum=0, maximum=2**32 - 1)
    steps_per_call: int = setting(
        0, "iterations in one call of the compiled program; 0 chooses by backend (1 on a CPU)", minimum=0, maximum=1024
    )
    microbatch: int = setting(
        0,
        "largest microbatch: images that a device processes at once. Their gradients are averaged: the same update up to "
        "rounding, in less memory and more time; 0 takes one microbatch, or the fewest predicted to fit into memory",
        **_MICROBATCH,
    )
    microbatch_at: Mapping[int, int] = setting({}, "microbatch of single resolutions, as 512:2,1024:1", **_MICROBATCH)
    device_data_mb: float = setting(
        -1.0,
        "keep all images of one resolution on each device if they take at most so many MB; 0 streams them; -1 means a "
        "quarter of the memory of a GPU or TPU, and 0 on a CPU",
        minimum=-1,
        maximum=10**9,
    )
    grid: str = setting("1080p", "size of the sample grids: 1080p, 4k, or columns x rows such as 10x10")
    checkpoint_ticks: int = setting(1, "ticks between checkpoints", **COUNT)
    keep_last: int = setting(3, "how many of the newest checkpoints to keep", **COUNT)
    keep_every_kimg: float = setting(0.0, "also keep one checkpoint per so many kimg; 0 keeps none", **KIMG)
    keep_levels: bool = setting(False, "also keep the newest checkpoint of each resolution, so that growth can be shown")
    tensorboard: bool = setting(False, "also write the numbers of stats.jsonl for TensorBoard; needs requirements-optional.txt")
    init_from: str = setting(
        "",
        "start from other weights: the workdir of a run, WORKDIR@KIMG for one of its checkpoints, or a model file "
        "(.safetensors); empty means fresh",
    )
    patience: int = setting(
        20, "iterations in a row with a skipped update (gradient not finite) that count as divergence", **COUNT
    )
    max_rollbacks: int = setting(
        3,
        "how often a diverged run continues from its last good checkpoint, with other noise, before it stops",
        minimum=0,
        maximum=MAX_TICKS,
    )

    def microbatch_for(self, resolution: int) -> int:
        """Largest microbatch at `resolution`; 0 leaves it open."""
        return self.microbatch_at.get(resolution, self.microbatch)


@dataclass(frozen=True)
class EvalConfig:
    """Metrics during training; `launch.py evaluate` measures a run afterwards."""

    metrics: tuple[str, ...] = setting(
        (),
        "metrics of the moving average to measure during training; none by default: "
        + "; ".join(f"{name}: {kind.help}" for name, kind in METRIC_KINDS.items() if kind.during_training),
        choices=tuple(name for name, kind in METRIC_KINDS.items() if kind.during_training),
    )
    ticks: int = setting(20, "ticks between two measurements; the last is always measured", **COUNT)
    num_images: int = setting(1024, "images on each side; fewer where there are fewer reals", minimum=16, maximum=10_000_000)
    best: str = setting(
        "",
        "also keep the best checkpoint by this metric; empty means the first of eval.metrics",
        choices=("", *METRIC_KINDS),
    )
    inception_weights: str = setting("", "file with the Inception weights, for metrics that need them (docs/metrics.md)")

    @property
    def best_by(self) -> str:
        """The metric whose best checkpoint is kept; empty if none is measured."""
        return self.best or next(iter(self.metrics), "")
