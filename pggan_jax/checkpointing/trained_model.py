"""A checkpoint of a finished or unfinished run as a model to generate images with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.reading import OtherNetworksError
from pggan_jax.checkpointing.retention import Keep
from pggan_jax.config import Config
from pggan_jax.errors import UserError, first_line
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageShape, ImageSpec
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.sound.representations import Representation
from pggan_jax.training.train_state import TrainState, abstract_train_state

_TRIES_TO_OPEN = 5
_TRIES_TO_READ = 20
_SECONDS_TO_REMOVE_A_FILE = 1.0
"""A removal under way removes a file at least this often."""
_RECENT_SECONDS = 60.0
"""A folder in which nothing has changed for so long is not being removed."""


class CheckpointRemovedError(UserError):
    """A checkpoint was removed before it was read, as a run does while it trains."""


class Weights(NamedTuple):
    """The parameters of a model file, named as in `TrainState`.

    Attributes:
        generator_ema: the moving average, or the only generator.
        generator: current weights, or the same.
        discriminator: None if the file has none.
    """

    generator_ema: Mapping[str, Any]
    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any] | None


@dataclass(frozen=True)
class TrainedModel:
    """A restored checkpoint, or a model file.

    Attributes:
        config: settings of the run.
        metadata: of the checkpoint.
        state: parameters, and of a checkpoint all else, as NumPy arrays.
        networks: the modules of its resolution.
    """

    config: Config
    metadata: CheckpointMetadata
    state: TrainState | Weights
    networks: Networks

    @property
    def shape(self) -> ImageShape:
        """Height and width of the images."""
        return self.networks.shape

    @property
    def representation(self) -> Representation | None:
        """How the images stand for sound; None for images."""
        stored = self.metadata.representation
        return Representation.from_json(stored) if stored else None

    def sampler(self) -> Sampler:
        """The generator, ready to make images with `state.generator_ema` or `state.generator`.

        Give them to its `with_statistics` first.
        """
        record = self.metadata.data_record
        return Sampler(self.networks.generator, record.class_counts if record and self.metadata.label_size else ())

    def images(self, latents: np.ndarray, labels: np.ndarray, *, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Generate images.

        Args:
            latents: `[count, latent_size]`.
            labels: one-hot `[count, label_size]`.
            params: of the generator; by default its moving average.

        Returns:
            uint8 `[count, height, width, channels]`.
        """
        sampler, alpha = self.sampler(), self.metadata.alpha
        return sampler(sampler.with_statistics(params or self.state.generator_ema, alpha=alpha), latents, labels, alpha)


def open_checkpoints(workdir: Path) -> tuple[Config, Checkpoints]:
    """Open the run in `workdir` for reading; return its configuration and checkpoints.

    Raises:
        UserError: there is no run, or it has no checkpoint yet.
    """
    paths = Workdir(workdir)
    config = paths.load_config()
    if paths.checkpoints.is_dir():
        checkpoints = _open(paths.checkpoints, config.eval.best_by)
        if checkpoints.all_images_seen():
            return config, checkpoints
        checkpoints.close()
    raise UserError(f"--workdir={workdir}: has no checkpoint yet; let the run reach the end of its first tick")


def _open(folder: Path, best_by: str) -> Checkpoints:
    """Open the folder, of which a checkpoint may be removed at that moment."""
    for tries_left in reversed(range(_TRIES_TO_OPEN)):
        try:
            return Checkpoints(folder, keep=Keep(best_by=best_by), read_only=True)
        except OSError as error:
            if not tries_left:
                raise UserError(f"{folder}: cannot be read ({first_line(error)}); allow it, or try again") from error
            time.sleep(0.1)
    raise AssertionError("unreachable")


def load_trained_model(workdir: Path, checkpoint: str = "latest") -> TrainedModel:
    """Restore a run.

    Args:
        workdir: the run's folder.
        checkpoint: "latest", "best", or the kimg of one, as `inspect` lists them.

    Raises:
        UserError: no run, no such checkpoint, or a damaged one.
    """
    config, checkpoints = open_checkpoints(workdir)
    with closing(checkpoints):
        return read_chosen(config, checkpoints, checkpoint=checkpoint)


def read_chosen(config: Config, checkpoints: Checkpoints, *, checkpoint: str) -> TrainedModel:
    """Restore the one checkpoint that a user names; while the run trains, "latest" may change.

    Raises:
        UserError: there is none of that name, several are named, or it is damaged.
        CheckpointRemovedError: it was removed before it was read.
    """
    if checkpoint == "all":
        raise UserError("--checkpoint=all: names more than one checkpoint; give latest, best, or the kimg of one")
    for tries_left in reversed(range(_TRIES_TO_READ)):
        images_seen = choose_checkpoints(checkpoint, checkpoints)[-1]
        try:
            return read_checkpoint(config, checkpoints, images_seen=images_seen)
        except CheckpointRemovedError:
            if checkpoint not in ("latest", "best") or not tries_left:
                raise
            checkpoints.reload()
        except OtherNetworksError:
            raise
        except UserError as error:
            others = ", ".join(f"{one / 1000:g}" for one in checkpoints.all_images_seen() if one != images_seen)
            advice = f"choose another one by its kimg: {others}" if others else "it is the only one; bring an intact copy back"
            raise UserError(f"{error}; {advice}") from error
    raise AssertionError("unreachable")


def read_all(config: Config, checkpoints: Checkpoints, *, on_skip: Callable[[int, UserError], None]) -> Iterator[TrainedModel]:
    """Restore all checkpoints, oldest first, then those that were written meanwhile.

    Args:
        config: of the run.
        checkpoints: opened; the run may go on, and remove some of them.
        on_skip: called with images seen and the reason for each that is left out: `CheckpointRemovedError` or damage.
    """
    seen: set[int] = set()
    is_empty, problem = True, None
    checkpoints.reload()
    # Twice only: a run may write checkpoints faster than they are evaluated.
    for _ in range(2):
        for images_seen in [one for one in checkpoints.all_images_seen() if one not in seen]:
            seen.add(images_seen)
            try:
                model = read_checkpoint(config, checkpoints, images_seen=images_seen)
            except UserError as error:
                problem = error
                on_skip(images_seen, error)
                continue
            is_empty = False
            yield model
        checkpoints.reload()
    if is_empty and isinstance(problem, CheckpointRemovedError):
        # The run removes them faster than they are read: take the newest one.
        yield read_chosen(config, checkpoints, checkpoint="latest")


def read_checkpoint(config: Config, checkpoints: Checkpoints, *, images_seen: int) -> TrainedModel:
    """Restore one checkpoint of an opened run; its digest is verified on the way.

    Raises:
        UserError: the checkpoint is damaged.
        CheckpointRemovedError: it was removed, before or meanwhile.
    """

    folder = checkpoints.directory / str(images_seen)
    try:
        state, metadata = checkpoints.restore(images_seen, lambda metadata: abstract_state_for(config, metadata))
    except (UserError, OSError) as error:
        if _is_being_removed(folder):
            raise CheckpointRemovedError(
                f"{folder}: was removed before it was read, as a run does while it trains (run.keep_last); choose another one"
            ) from error
        raise
    return TrainedModel(config, metadata, state, networks_for(config, metadata))


def abstract_state_for(config: Config, metadata: CheckpointMetadata) -> TrainState:
    """Shapes of the state that belongs to the metadata, without allocating it."""
    return abstract_train_state(config.optimizer, networks_for(config, metadata))


def networks_for(config: Config, metadata: CheckpointMetadata) -> Networks:
    """Build the modules that the metadata describe."""
    shape = config.data.shape_at(config.data.resolution)
    image_spec = ImageSpec(shape.height, shape.width, metadata.channels, metadata.label_size)
    return build_networks(config, metadata.resolution, image_spec=image_spec)


def _is_being_removed(folder: Path) -> bool:
    """Whether a checkpoint that cannot be read is gone, or is being removed at this moment."""
    deadline, files_left = time.monotonic() + _SECONDS_TO_REMOVE_A_FILE, -1
    while folder.is_dir():
        with suppress(OSError):
            files = list(folder.rglob("*"))
            if max(path.stat().st_mtime for path in [folder, *files]) < time.time() - _RECENT_SECONDS:
                return False
            if len(files) != files_left:
                deadline, files_left = time.monotonic() + _SECONDS_TO_REMOVE_A_FILE, len(files)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def choose_checkpoints(checkpoint: str, checkpoints: Checkpoints) -> list[int]:
    """Images seen of the checkpoints that a user names.

    Args:
        checkpoint: "latest"; "all"; "best", by the metric that the run kept its best checkpoint by; or the kimg of one.
        checkpoints: opened.

    Raises:
        UserError: there is none of that name.
    """
    found = checkpoints.all_images_seen()
    if not found:
        raise UserError(f"{checkpoints.directory}: has no checkpoint any more; read the run's log.txt")
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
    named = "latest, best" if checkpoints.best() is not None else "latest"
    listed = ", ".join(f"{images_seen / 1000:g}" for images_seen in found)
    raise UserError(f"--checkpoint={checkpoint}: there is none at that kimg; there are: {named}, {listed}")
