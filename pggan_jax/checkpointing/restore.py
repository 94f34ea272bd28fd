"""Choose where a run starts, and where it goes back to after a divergence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata, read_metadata
from pggan_jax.checkpointing.open_model import is_model_file, open_model_file
from pggan_jax.checkpointing.provenance import class_order_note
from pggan_jax.checkpointing.reading import OtherNetworksError
from pggan_jax.checkpointing.trained_model import TrainedModel, abstract_state_for, open_checkpoints, read_chosen
from pggan_jax.config import Config
from pggan_jax.config.io import difference
from pggan_jax.data.loader import Loader
from pggan_jax.errors import UserError
from pggan_jax.networks.build import build_networks
from pggan_jax.networks.growth import GrowthReport, transfer
from pggan_jax.schedule import Schedule
from pggan_jax.system.paths import user_path
from pggan_jax.training.freezing import frozen_modules
from pggan_jax.training.train_state import TrainState, create_train_state

_REASONS_SHOWN = 3
_LISTED_CHECKPOINTS = 3


_NOT_FORM = ("fmap_base", "fmap_decay", "fmap_max", "latent_size", "dtype")
"""Ends of settings that do not change what equal parameters compute, or that change their shapes."""


@dataclass
class StartingPoint:
    """What a run starts from, or goes back to.

    Attributes:
        state: on the host.
        metadata: beside it.
        lines: for the log.
    """

    state: TrainState
    metadata: CheckpointMetadata
    lines: list[str] = field(default_factory=list)

    def take_state(self) -> TrainState:
        """Return the state, and delete it here to free memory of the host."""
        state = self.state
        del self.state
        return state


def restore_or_create(
    config: Config,
    loader: Loader,
    *,
    checkpoints: Checkpoints,
    has_begun: bool,
    check: Callable[[CheckpointMetadata | None], list[str]] = lambda _: [],
) -> StartingPoint:
    """Restore the newest intact checkpoint of a run, or create the state of a new one.

    Args:
        config: of the run.
        loader: its data.
        checkpoints: of the run; damaged ones that are newer than the one restored are set aside.
        has_begun: whether the run has left traces of training.
        check: may refuse to continue from some metadata, None for a new run, before anything is set aside; gives lines for
            the log.

    Raises:
        UserError: there were checkpoints and none can be restored, or the schedule does not pass through the one that can.
    """
    if checkpoints.are_lost(has_begun=has_begun):
        raise UserError(
            f"{checkpoints.directory}: no checkpoint is left, although this run had saved some; "
            "bring the checkpoints back, or use a new --workdir to start over"
        )
    if not checkpoints.all_images_seen():
        lines = check(None)
        start = _create(config, loader)
        return replace(start, lines=[*lines, *start.lines])
    found, damaged = _newest(config, checkpoints)
    if found is None:
        raise UserError(
            f"no checkpoint of {len(damaged)} can be restored: {'; '.join(list(damaged.values())[:_REASONS_SHOWN])}; "
            "bring intact ones back or use a new --workdir to start over"
        )
    lines = check(found.metadata)
    _check_continues(config, found.metadata, checkpoints)
    return replace(found, lines=[*lines, *_set_aside(checkpoints, damaged), *found.lines])


def roll_back(config: Config, loader: Loader, *, checkpoints: Checkpoints, rollbacks: int) -> StartingPoint:
    """Restore the newest checkpoint outside a streak of skipped steps, and set newer ones aside.

    If there is no checkpoint at all, create a new state.

    Args:
        config, loader, checkpoints: as for `restore_or_create`.
        rollbacks: how many there have been, this one included.

    Raises:
        UserError: there are checkpoints, but no intact one outside a streak; nothing is set aside.
    """
    lines = checkpoints.finish()
    if checkpoints.all_images_seen():
        found, passed_over = _newest(config, checkpoints, is_rollback=True)
        if found is None:
            raise UserError(
                f"{checkpoints.directory}: the run has diverged, and no intact checkpoint from before that is left: "
                f"{'; '.join(list(passed_over.values())[:_REASONS_SHOWN])}; bring it back, or use a new --workdir to start over"
            )
        lines += _set_aside(checkpoints, passed_over)
    else:
        found = _create(config, loader)
    return StartingPoint(found.state, replace(found.metadata, rollbacks=rollbacks), [*lines, *found.lines])


def _newest(
    config: Config, checkpoints: Checkpoints, *, is_rollback: bool = False
) -> tuple[StartingPoint | None, dict[int, str]]:
    """Restore the newest intact checkpoint, if `is_rollback` outside a streak of skipped steps.

    Returns:
        The checkpoint, or None; and by images seen the reasons why newer ones were passed over.
    """
    passed_over: dict[int, str] = {}
    for images_seen in reversed(checkpoints.all_images_seen()):
        try:
            state, metadata = checkpoints.restore(images_seen, lambda metadata: abstract_state_for(config, metadata))
        except UserError as error:
            passed_over[images_seen] = str(error)
            if isinstance(error, OtherNetworksError):
                return None, passed_over  # settings that fit an early, small network alone lose no training
            continue
        if metadata.is_rollback_target or not is_rollback:
            size = config.data.shape_at(metadata.resolution).label
            line = f"continuing at kimg {metadata.images_seen / 1000:.1f}, resolution {size}"
            return StartingPoint(state, metadata, [line]), passed_over
        passed_over[images_seen] = f"{checkpoints.directory / str(images_seen)}: lies inside a streak of skipped steps"
    return None, passed_over


def _set_aside(checkpoints: Checkpoints, reasons: dict[int, str]) -> list[str]:
    return [f"WARNING: {reason}; moved to {checkpoints.set_aside(one)}" for one, reason in reasons.items()]


def _create(config: Config, loader: Loader) -> StartingPoint:
    networks = build_networks(config, config.schedule.start_resolution, image_spec=loader.image_spec)
    state = create_train_state(config.optimizer, networks, config.run.seed)
    fresh = StartingPoint(state, CheckpointMetadata.from_tick(0, {}, networks=networks, alpha=1.0))
    return _start_from_other_run(fresh, config, loader) if config.run.init_from else fresh


def _start_from_other_run(fresh: StartingPoint, config: Config, loader: Loader) -> StartingPoint:
    """Take parameters and moving average from another run, where leaves have the same path.

    Moments and counters start at 0: they belong to the course of the other run.
    """
    source, fade_note = _load_source(config)
    theirs, ours = source.metadata, fresh.metadata
    rule = f"run.init_from = {config.run.init_from!r}: holds networks"
    their_name, name = source.config.networks.name, config.networks.name
    if their_name != name:
        raise UserError(f"{rule} of another kind; set networks.name={their_name} as there, not {name}")
    if source.config.data.base_shape != config.data.base_shape:
        raise UserError(
            f"{rule} with data.base_shape = {source.config.data.base_shape}, and this run has {config.data.base_shape}; "
            "set the same"
        )
    if theirs.resolution > ours.resolution:
        raise UserError(
            f"{rule} of {source.networks.shape}, larger than where this run starts; "
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
        discriminator, of_discriminator = transfer(source.state.discriminator or {}, fresh.state.discriminator)
    except ValueError as error:
        raise UserError(
            f"{rule} of other widths ({error}); use its networks.*, generator.* and discriminator.* settings"
        ) from None
    state = fresh.state.replace(generator=generator, generator_ema=average, discriminator=discriminator)
    line = _describe_start(source, of_generator, of_discriminator)
    levels = config.optimizer.freeze_discriminator
    frozen = frozen_modules(discriminator, levels)
    if untrained := [path for path in of_discriminator.new if path.partition("/")[0] in frozen]:
        raise UserError(
            f"{rule} of {source.networks.shape} without {untrained[0]}, which optimizer.freeze_discriminator={levels} would "
            f"keep untrained; name a run that has it and has grown to {config.data.shape_at(ours.resolution)}, or set 0"
        )
    form_note = _form_note(source.config, config)
    freeze_note = [f"frozen in the discriminator: {', '.join(frozen)}"] * bool(frozen)
    return StartingPoint(state, ours, [line, *form_note, *freeze_note, *fade_note, *class_order_note(theirs, loader)])


def _form_note(theirs: Config, ours: Config) -> list[str]:
    """Return a line if equal parameters make other networks here, as with `fused_scale`."""
    changed = [
        line
        for line in difference(theirs, ours)
        if line.startswith(("generator.", "discriminator.")) and not line.partition(":")[0].endswith(_NOT_FORM)
    ]
    words = "; ".join(changed)
    return [f"WARNING: the other networks were trained in another form than these ({words})"] if changed else []


def _load_source(config: Config) -> tuple[TrainedModel, list[str]]:
    """Load the other run or a model file; and describe its fade, which does not go on.

    Returns:
        The other model; lines for the log.
    """
    text, found = config.run.init_from, {}
    try:
        if is_model_file(text):
            source, _ = open_model_file(text)
        else:
            folder, _, kimg = text.partition("@")
            their_config, checkpoints = open_checkpoints(user_path(folder, named="run.init_from = "))
            with closing(checkpoints):
                source = read_chosen(their_config, checkpoints, checkpoint=kimg or "latest")
                found = {one: read_metadata(checkpoints.directory / str(one)) for one in checkpoints.all_images_seen()}
    except UserError as error:
        raise UserError(f"run.init_from = {text!r}: {error}") from None
    theirs = source.metadata
    if theirs.alpha >= 1:
        return source, []
    stable = [images_seen for images_seen, metadata in found.items() if metadata and metadata.alpha >= 1]
    listed = ", ".join(f"@{images_seen / 1000:g}" for images_seen in stable[-_LISTED_CHECKPOINTS:])
    size = source.networks.shape
    return source, [
        f"WARNING: kimg {theirs.images_seen / 1000:g} of the other run is in the middle of fading in {size}: these layers jump "
        f"from alpha {theirs.alpha:.3f} to full weight (alpha 1); its checkpoints at full weight: {listed or 'none'}"
    ]


def _describe_start(source: TrainedModel, of_generator: GrowthReport, of_discriminator: GrowthReport) -> str:
    kimg = source.metadata.images_seen / 1000
    which = " without a discriminator" if source.state.discriminator is None else ""
    return (
        f"starting from kimg {kimg:g}, {source.networks.shape}, of another run{which}: G {of_generator}; D {of_discriminator}"
    )


def _check_continues(config: Config, metadata: CheckpointMetadata, checkpoints: Checkpoints) -> None:
    """Refuse a schedule that does not pass through the point that the run has reached.

    Raises:
        UserError: the settings were changed to such a schedule.
    """
    images_seen, schedule = metadata.images_seen, Schedule.of(config)
    stage = schedule.stage_at(images_seen)
    folder = checkpoints.directory / str(images_seen)
    if images_seen > schedule.total_images:
        raise UserError(
            f"{folder}: the run has reached kimg {images_seen / 1000:g}, and the schedule now ends at "
            f"{schedule.total_images / 1000:g} (schedule.total_kimg = {config.schedule.total_kimg:g}, 0 for the sum of its "
            f"phases); set schedule.total_kimg to at least {images_seen / 1000:g}, or bring the old schedule back"
        )
    sizes = f"{config.data.shape_at(metadata.resolution)}, but the schedule is at {stage.name} there"
    if stage.resolution > 2 * metadata.resolution:
        raise UserError(f"{folder}: holds networks of {sizes}; they grow one doubling at a time: bring the old schedule back")
    if metadata.resolution > stage.resolution:
        raise UserError(f"{folder}: holds networks of {sizes}; networks only grow: bring the old schedule back")
    if images_seen < stage.end and (images_seen - stage.start) % stage.images_per_step:
        step = f"{stage.images_per_step} images (batch size x critic steps, from {stage.start:,} images on)"
        raise UserError(f"{folder}: lies inside a step of {step}; choose batch sizes and phases that meet this point")
