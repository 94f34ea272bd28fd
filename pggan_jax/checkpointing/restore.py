"""Where a run begins: at its newest whole checkpoint, at another run's weights, or at fresh ones. And where it goes back to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import Position
from pggan_jax.checkpointing.provenance import checkpoints_at_full_weight, class_order_note
from pggan_jax.checkpointing.trained_model import Trained, load_trained
from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.errors import UserError
from pggan_jax.networks.growth import GrowthReport, transfer
from pggan_jax.schedule import Schedule
from pggan_jax.system.paths import user_path
from pggan_jax.training.train_state import TrainState, abstract_train_state, create_train_state, networks_for

_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Beginning:
    """Where a run stands when its first call is made.

    Attributes:
        state: on the host.
        position: beside it.
        lines: what the log should tell of it.
    """

    state: TrainState
    position: Position
    lines: list[str] = field(default_factory=list)


def position_at(loader: Loader, images_seen: int, resolution: int, *, alpha: float, **more: Any) -> Position:
    """A position of a run on these data."""
    sizes: dict[str, Any] = {"channels": loader.channels, "label_size": loader.label_size}
    return Position(images_seen, resolution, alpha, **sizes, **more)


def restore_or_create(config: Config, loader: Loader, checkpoints: Checkpoints, *, has_begun: bool) -> Beginning:
    """The newest whole checkpoint of the run; or, if it has never had one, its beginning.

    Args:
        config: of the run.
        loader: its data.
        checkpoints: its checkpoints; damaged ones newer than the one that is used are set aside.
        has_begun: whether the run has left traces of training.

    Raises:
        UserError: there were checkpoints and none can be restored, or the schedule does not pass through the one that can.
    """
    if checkpoints.are_lost(has_begun=has_begun):
        raise UserError(
            f"{checkpoints.directory}: no checkpoint is left, although this run had saved some; "
            "bring the checkpoints back, or use a new --workdir to start over"
        )
    if not checkpoints.all_images_seen():
        return _create(config, loader)
    beginning = _restore(config, loader, checkpoints)
    _check_continues(config, beginning.position, checkpoints)
    return beginning


def roll_back(config: Config, loader: Loader, checkpoints: Checkpoints, *, rollbacks: int) -> Beginning:
    """The newest checkpoint from before updates began to be skipped; the beginning of the run if there is none at all.

    Args:
        config, loader, checkpoints: as for `restore_or_create`.
        rollbacks: how many there have been, this one included; noise drawn from then on depends on it.

    Raises:
        UserError: there are checkpoints, but none that is whole and from before the trouble.
    """
    lines = checkpoints.finish()
    beginning = _restore(config, loader, checkpoints, after_divergence=True)
    position = replace(beginning.position, rollbacks=rollbacks)
    return Beginning(beginning.state, position, [*lines, *beginning.lines])


def _restore(config: Config, loader: Loader, checkpoints: Checkpoints, *, after_divergence: bool = False) -> Beginning:
    """The newest checkpoint that is whole; those after it are moved to `damaged_checkpoints` beside the folder.

    Args:
        config, loader, checkpoints: as for `restore_or_create`.
        after_divergence: pass over, and move away, what was saved while updates were skipped or for the sake of a stop: a run
            that was never stopped goes back to the same place. If there never was another, to the beginning.

    Raises:
        UserError: none is whole, or those to go back to have vanished; then nothing is moved.
    """

    def abstract_state(position: Position) -> TrainState:
        return abstract_train_state(config.optimizer, networks_for(config, position.resolution, loader))

    found, passed_over, bad, has_lost_one = None, {}, [], False
    for images_seen in reversed(checkpoints.all_images_seen()):
        try:
            state, position = checkpoints.restore(images_seen, abstract_state)
        except UserError as error:
            passed_over[images_seen] = str(error)
            bad.append(str(error))
            continue
        if position.is_refuge or not after_divergence:
            found = state, position
            break
        has_lost_one |= position.had_refuge
        folder = checkpoints.directory / str(images_seen)
        passed_over[images_seen] = f"{folder}: is no place to go back to after a divergence"
    if not found and bad:
        raise UserError(
            f"no checkpoint of {len(passed_over)} can be restored: {'; '.join(bad[:_REASONS_SHOWN])}; bring good ones back "
            "or use a new --workdir to start over"
        )
    if not found and has_lost_one:
        raise UserError(
            f"{checkpoints.directory}: the run has diverged, and the checkpoints from before that are gone; bring them back, "
            "or use a new --workdir to start over"
        )
    warnings = [f"WARNING: {reason}; moved to {checkpoints.set_aside(one)}" for one, reason in passed_over.items()]
    if not found:
        beginning = _create(config, loader)
        return replace(beginning, lines=[*warnings, *beginning.lines])
    state, position = found
    line = f"continuing at kimg {position.images_seen / 1000:.1f}, resolution {position.resolution}"
    return Beginning(state, position, [*warnings, line])


def _create(config: Config, loader: Loader) -> Beginning:
    resolution = config.schedule.start_resolution
    state = create_train_state(config.optimizer, networks_for(config, resolution, loader), config.run.seed)
    position = position_at(loader, 0, resolution, alpha=1.0)
    if not config.run.init_from:
        return Beginning(state, position)
    return _warm_start(Beginning(state, position), config, loader)


def _warm_start(fresh: Beginning, config: Config, loader: Loader) -> Beginning:
    """Fresh networks with everything replaced that another run has under the same name: parameters and moving average.

    Moments and counters start at 0: they belong to the other run's course.
    """
    source = _load_source(config)
    theirs, ours = source.position, fresh.position
    rule = f"run.init_from = {config.run.init_from!r}: holds networks"
    if theirs.resolution > ours.resolution:
        raise UserError(
            f"{rule} of {theirs.resolution}x{theirs.resolution}, larger than where this run starts; "
            f"set schedule.start_resolution={theirs.resolution} or choose an earlier checkpoint by @kimg"
        )
    if (theirs.channels, theirs.label_size) != (ours.channels, ours.label_size):
        raise UserError(
            f"{rule} for {theirs.channels} channels and {theirs.label_size} classes; these data have {ours.channels} and "
            f"{ours.label_size}"
        )
    try:
        generator, of_generator = transfer(source.state.generator, fresh.state.generator)
        average, _ = transfer(source.state.generator_ema, fresh.state.generator_ema)
        discriminator, of_discriminator = transfer(source.state.discriminator, fresh.state.discriminator)
    except ValueError as error:
        raise UserError(f"{rule} of other widths ({error}); use its generator.* and discriminator.* settings") from None
    state = fresh.state.replace(generator=generator, generator_ema=average, discriminator=discriminator)
    lines = [_describe_start(source, of_generator, of_discriminator), *_fade_note(config, source, ours)]
    return Beginning(state, ours, [*lines, *class_order_note(theirs, loader)])


def _load_source(config: Config) -> Trained:
    folder, _, kimg = config.run.init_from.partition("@")
    try:
        return load_trained(user_path(folder, named="run.init_from = "), kimg or "latest")
    except UserError as error:
        raise UserError(f"run.init_from = {config.run.init_from!r}: {error}") from None


def _describe_start(source: Trained, of_generator: GrowthReport, of_discriminator: GrowthReport) -> str:
    kimg, size = source.position.images_seen / 1000, source.position.resolution
    return f"starting from kimg {kimg:g}, {size}x{size}, of another run: G {of_generator}; D {of_discriminator}"


def _fade_note(config: Config, source: Trained, ours: Position) -> list[str]:
    """A line for the log if the other run was in the middle of a fade-in, which the new run does not continue."""
    theirs = source.position
    if theirs.alpha >= 1:
        return []
    size = f"{theirs.resolution}x{theirs.resolution}"
    where = f"kimg {theirs.images_seen / 1000:g} of the other run is in the middle of fading in {size}"
    line = f"WARNING: {where}: these layers jump from alpha {theirs.alpha:.3f} to full weight (alpha {ours.alpha:g})"
    folder = config.run.init_from.partition("@")[0]
    whole = checkpoints_at_full_weight(user_path(folder, named="run.init_from = "))
    listed = ", ".join(f"@{images_seen / 1000:g}" for images_seen in whole[-_REASONS_SHOWN:])
    return [f"{line}; its checkpoints at full weight: {listed or 'none'}"]


def _check_continues(config: Config, position: Position, checkpoints: Checkpoints) -> None:
    """After a change of settings, the schedule must pass through the point where the run stands.

    Raises:
        UserError: it does not.
    """
    here, schedule = position.images_seen, Schedule(config.schedule, config.data.resolution)
    stage = schedule.stage_at(here)
    folder = checkpoints.directory / str(here)
    if here > schedule.total_images:
        raise UserError(
            f"{folder}: the run has reached kimg {here / 1000:g}, and the schedule now ends at "
            f"{schedule.total_images / 1000:g} (schedule.total_kimg = {config.schedule.total_kimg:g}, 0 for the sum of its "
            f"phases); set schedule.total_kimg to at least {here / 1000:g}, or bring the old schedule back"
        )
    sizes = f"{position.resolution}x{position.resolution}, but the schedule is at {stage.name} there"
    if stage.resolution > 2 * position.resolution:
        raise UserError(f"{folder}: holds networks of {sizes}; they grow one doubling at a time: bring the old schedule back")
    if position.resolution > stage.resolution:
        raise UserError(f"{folder}: holds networks of {sizes}; networks only grow: bring the old schedule back")
    if here < stage.end and (here - stage.start) % stage.images_per_step:
        step = f"{stage.images_per_step} images (batch size x critic steps, from {stage.start:,} images on)"
        raise UserError(f"{folder}: lies inside a step of {step}; choose batch sizes and phases that meet this point")
