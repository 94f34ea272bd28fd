"""A finished or unfinished run as something to make pictures with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.errors import UserError
from pggan_jax.generation.sampling import Sampler
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.training.checkpoint import Checkpoints
from pggan_jax.training.position import Position
from pggan_jax.training.state import TrainState, abstract_train_state
from pggan_jax.training.workdir import Workdir


@dataclass(frozen=True)
class Trained:
    """A restored run.

    Attributes:
        config: what it was trained with.
        position: where it stood.
        state: parameters and all, as NumPy arrays.
        networks: the modules of its resolution.
    """

    config: Config
    position: Position
    state: TrainState
    networks: Networks

    def sampler(self) -> Sampler:
        """The generator, ready to make pictures with `state.generator_ema` or `state.generator`."""
        return Sampler(self.networks.generator)

    def images(self, latents: np.ndarray, labels: np.ndarray, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """uint8 images `[count, r, r, c]` for latents `[count, latent_size]` and labels `[count, label_size]`.

        `params` defaults to the generator's moving average.
        """
        return self.sampler()(params or self.state.generator_ema, latents, labels, self.position.alpha)


def open_checkpoints(workdir: Path) -> tuple[Config, Checkpoints]:
    """Configuration and checkpoints of the run in `workdir`, for reading.

    Raises:
        UserError: there is no run, or it has no checkpoint yet.
    """
    paths = Workdir(workdir)
    config = paths.load_config()
    best_by = config.eval.best_by
    checkpoints = Checkpoints(paths.checkpoints, best_by=best_by, read_only=True) if paths.checkpoints.is_dir() else None
    if checkpoints is None or not checkpoints.all_images_seen():
        raise UserError(f"--workdir={workdir}: has no checkpoint yet; let the run reach the end of its first tick")
    return config, checkpoints


def load_trained(workdir: Path, checkpoint: str = "latest") -> Trained:
    """Restore a run.

    Args:
        workdir: the run's folder.
        checkpoint: "latest", "best", or the kimg of one, as `inspect` lists them.

    Raises:
        UserError: no run, no such checkpoint, or a damaged one.
    """
    if checkpoint == "all":
        raise UserError("--checkpoint=all: one checkpoint is wanted here; give latest, best, or the kimg of one")
    config, checkpoints = open_checkpoints(workdir)
    try:
        return read_checkpoint(config, checkpoints, choose_checkpoints(checkpoint, checkpoints)[-1])
    finally:
        checkpoints.close()


def read_checkpoint(config: Config, checkpoints: Checkpoints, images_seen: int) -> Trained:
    """Restore one checkpoint of an opened run; its digest is verified on the way.

    Raises:
        UserError: the checkpoint is damaged.
    """

    def networks_at(position: Position) -> Networks:
        return build_networks(config, position.resolution, channels=position.channels, label_size=position.label_size)

    state, position = checkpoints.restore(
        images_seen, lambda position: abstract_train_state(config.optimizer, networks_at(position))
    )
    return Trained(config, position, state, networks_at(position))


def choose_checkpoints(checkpoint: str, checkpoints: Checkpoints) -> list[int]:
    """Images seen of those that a user means.

    Args:
        checkpoint: "latest"; "all"; "best", by the metric that the run kept its best checkpoint by; or the kimg of one.
        checkpoints: opened.

    Raises:
        UserError: there is none of that name.
    """
    found = checkpoints.all_images_seen()
    if checkpoint in ("latest", "all"):
        return found if checkpoint == "all" else found[-1:]
    if checkpoint == "best":
        best = checkpoints.best()
        if best is None:
            raise UserError(
                "--checkpoint=best: no checkpoint was measured while the run trained; set eval.metrics, or choose by kimg"
            )
        return [best]
    for images_seen in found:
        if checkpoint in (f"{images_seen / 1000:g}", f"{images_seen / 1000:.1f}", str(images_seen // 1000), str(images_seen)):
            return [images_seen]
    listed = ", ".join(f"{images_seen / 1000:g}" for images_seen in found)
    raise UserError(f"--checkpoint={checkpoint}: there is none at that kimg; there are: latest, best, {listed}")
