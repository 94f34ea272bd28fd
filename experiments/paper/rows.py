"""The rows of the paper's Table 1 as configurations (spec 6.2).

Each row is a few settings away from the row that it continues.

a  improved WGAN-GP: no growing, five discriminator steps, batch norm in G, layer norm in D
b  a + progressive growing
c  b + small minibatch
d  c + revised training parameters
e* d + minibatch discrimination
e  d + minibatch stddev
f  e + equalized learning rate
g  f + pixelwise normalisation
h  g with four times the feature maps; the paper also trained it longer and published neither number

Data, lengths, feature maps (2048 in the paper's rows a to g) and labels are those of the configuration that is given.
"""

from __future__ import annotations

import sys
from functools import reduce
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pggan_jax.config import Config
from pggan_jax.config.io import replace_setting
from pggan_jax.schedule import Schedule

PARENTS = {"a": "", "b": "a", "c": "b", "d": "c", "e*": "d", "e": "d", "f": "e", "g": "f", "h": "g"}
"""The row that each row changes."""
ABOUT = {
    "a": "improved WGAN-GP, no growing",
    "b": "a + growing",
    "c": "b + small minibatch",
    "d": "c + revised training parameters",
    "e*": "d + minibatch discrimination",
    "e": "d + minibatch stddev",
    "f": "e + equalized learning rate, ten times the rate",
    "g": "f + pixel norm",
    "h": "g with up to four times the feature maps, longer",
}
"""One line for each row."""

_COMMON: dict[str, Any] = {
    "loss.name": "wgan_gp",
    "loss.gp_weight": 10.0,
    "loss.gp_target": 1.0,
    "loss.penalty_scale": "full_resolution",
    "generator.fused_scale": False,
    "discriminator.fused_scale": False,
    "discriminator.minibatch_discrimination": 0,
    "schedule.batch_size_at": {},
    "schedule.learning_rate_at": {},
    "schedule.rampup_kimg": 0.0,
    "optimizer.beta1": 0.0,
    "optimizer.ema_half_life_kimg": 0.0,
}
_ROWS: dict[str, dict[str, Any]] = {
    "a": {
        "schedule.batch_size": 64,
        "schedule.critic_steps": 5,
        "schedule.learning_rate": 1e-4,
        "optimizer.beta2": 0.9,
        # The paper's code averages once per generator step, with 0.999^20; here it is done after each of the five
        # discriminator steps. In every row the decay is 0.999 per 16 images.
        "optimizer.ema_decay": 0.999**4,
        "loss.drift": 0.0,
        "generator.latent_size": 128,
        "generator.normalize_latents": False,
        "generator.use_leakyrelu": False,
        "generator.use_wscale": False,
        "generator.use_pixelnorm": False,
        "generator.normalization": "batch",
        "generator.output_activation": "tanh",
        "discriminator.normalization": "layer",
        "discriminator.use_wscale": False,
        "discriminator.minibatch_stddev": "none",
    },
    "b": {},
    "c": {"schedule.batch_size": 16, "optimizer.ema_decay": 0.999},
    "d": {
        "schedule.critic_steps": 1,
        "optimizer.beta2": 0.99,
        "loss.drift": 0.001,
        "generator.latent_size": 512,
        "generator.normalize_latents": True,
        "generator.use_leakyrelu": True,
        "generator.normalization": "none",
        "generator.output_activation": "linear",
        "discriminator.normalization": "none",
    },
    "e*": {"discriminator.minibatch_discrimination": 100},
    "e": {"discriminator.minibatch_stddev": "whole_batch"},
    "f": {"generator.use_wscale": True, "discriminator.use_wscale": True, "schedule.learning_rate": 1e-3},
    "g": {"generator.use_pixelnorm": True},
    "h": {},
}


def ablation_row(row: str, config: Config) -> Config:
    """Return the configuration of a row of Table 1.

    Args:
        row: "a", "b", "c", "d", "e*", "e", "f", "g" or "h".
        config: a growing run whose data, feature maps, start resolution, phases and length are taken. A length of 0 becomes
            that of its phases, so that row a, which has only one resolution, sees as many images.

    Raises:
        KeyError: there is no such row.
    """
    changes = _COMMON | {"schedule.total_kimg": Schedule.of(config).planned_kimg} | _settings_of(row)
    if row == "a":
        changes["schedule.start_resolution"] = config.data.resolution
    if row == "h":
        for network in ("generator", "discriminator"):
            changes[f"{network}.fmap_base"] = 4 * getattr(config, network).fmap_base
    return reduce(lambda changed, item: replace_setting(changed, *item), changes.items(), config)


def _settings_of(row: str) -> dict[str, Any]:
    parent = PARENTS[row]
    return (_settings_of(parent) if parent else {}) | _ROWS[row]
