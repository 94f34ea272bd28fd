"""Every setting of a run, as frozen dataclasses with type, default, help and limits.

Reading and writing settings (experiment files, `--set`, JSON, differences) is in `io.py`; rules between several settings are in
`validation.py`. Neither JAX nor anything that reads data is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pggan_jax.config.data import DataConfig
from pggan_jax.config.fields import setting
from pggan_jax.config.networks import DiscriminatorConfig, GeneratorConfig, NetworksConfig, StddevGroups
from pggan_jax.config.run import EvalConfig, RunConfig
from pggan_jax.config.schedule import ScheduleConfig
from pggan_jax.config.training import LossConfig, OptimizerConfig

SOUND_PRESETS = ("gansynth", "gansynth-low", "deepsound-abslog", "deepsound-reallog", "deepsound-raw")
PRESETS = ("v1-1gpu", "v2-1gpu", "v2-2gpus", "v2-4gpus", "v2-8gpus", *SOUND_PRESETS)


@dataclass(frozen=True)
class Config:
    """A whole run, as returned by experiment files; `--set` overrides single settings."""

    preset: str = setting("", "published setup to start from; other settings override it", choices=("", *PRESETS))
    data: DataConfig = field(default_factory=DataConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    @property
    def microbatch_groups(self) -> StddevGroups:
        """Samples that cannot be in different microbatches: with batch norm all of them."""
        groups = self.discriminator.stddev_groups
        has_batch_norm = self.networks.has_batch_norm or "batch" in (
            self.generator.normalization,
            self.discriminator.normalization,
        )
        return replace(groups, form="whole_batch") if has_batch_norm else groups
