"""When a run has diverged: how it is told, and what is drawn after it went back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from pggan_jax.config import Config
from pggan_jax.training.state import TrainState

# The golden ratio in 32 bits: multiples of it are spread evenly, so no rollback meets the noise of a neighbouring seed.
_SPREAD = 0x9E3779B9
_TOLD = ("kimg", "resolution", "alpha", "loss_g", "loss_d", "gradient_penalty")


class DivergedError(Exception):
    """So many iterations in a row had an update whose gradient was not finite that the run cannot go on.

    Its text is where the run stood, such as "8x8 fade, alpha 0.250".
    """


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of all noise after so many rollbacks; without any, the run's own."""
    return (seed + rollbacks * _SPREAD) % 2**32


def describe_divergence(config: Config, state: TrainState, where: str, last_record: Mapping[str, Any]) -> str:
    """In one line: how many updates, which leaf was the first, where the run stood, and its last statistics.

    Args:
        config: of the run.
        state: after the last call, on the host.
        where: stage and alpha of that call.
        last_record: the last line of stats.jsonl; may be empty.
    """
    leaves = [
        f"{name}/{_leaf_path(tree, int(number))}"
        for name, tree, number in (
            ("discriminator", state.discriminator, state.bad_leaf_discriminator),
            ("generator", state.generator, state.bad_leaf_generator),
        )
        if number >= 0
    ]
    told = ", ".join(f"{name} {last_record[name]:.4g}" for name in _TOLD if name in last_record) or "none yet"
    return (
        f"{int(state.skipped_in_a_row)} iterations in a row had no finite gradient (run.patience = {config.run.patience}); "
        f"first not finite: {' and '.join(leaves)}; at kimg {int(state.images_seen) / 1000:.1f}, {where}; "
        f"last statistics: {told}; a lower schedule.learning_rate helps most often"
    )


def _leaf_path(tree: Any, number: int) -> str:
    path, _ = jax.tree_util.tree_flatten_with_path(tree)[0][number]
    return "/".join(str(key.key) for key in path)
