"""A run from its first command to its last: is it possible, whose folder is it, and then to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.provenance import accepts_data_change, check_data, describe_changes, recorded_fields, store_data
from pggan_jax.checkpointing.restore import restore_or_create
from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices, processes
from pggan_jax.distributed.batch_sharding import check_batches
from pggan_jax.loop.divergence import RollbackCount
from pggan_jax.loop.trainer import Run
from pggan_jax.run_logs.workdir import Workdir, claim_workdir, store_config
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.xla_options import describe_unknown_jaxlib


@dataclass(frozen=True)
class OpenRun:
    """A run that can start: its folder is locked, its configuration is checked.

    Attributes:
        config: validated settings.
        paths: the run's folder.
        changes: one line per setting that differs from those that the run was started with; on the first process only.
    """

    config: Config
    paths: Workdir
    changes: list[str]


@contextmanager
def open_run(workdir: Path, config: Config, *, allow_config_change: bool = False) -> Iterator[OpenRun]:
    """Check what can be checked before data are read, and lock the run's folder inside the `with` block.

    Args:
        workdir: the run's folder; the same configuration in the same folder continues the run.
        config: validated settings.
        allow_config_change: accept settings that differ from those the run was started with.

    Raises:
        UserError: on every process, if devices cannot share a batch or the first process may not use the folder.
    """
    check_batches(config, devices=devices.device_count(), backend=devices.backend())
    with ExitStack() as held:
        claim = claim_workdir(workdir, config, allow_config_change=allow_config_change)
        changes: list[str] = processes.on_first_process(lambda: held.enter_context(claim), otherwise=[])
        yield OpenRun(config, Workdir(workdir), changes)


def train(
    opened: OpenRun,
    loader: Loader,
    *,
    allow_data_change: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train, or continue, an open run until its end.

    Args:
        opened: configuration and folder.
        loader: the prepared data.
        allow_data_change: accept data that differ from those the checkpoints were trained on.
        should_stop: asked after every call; if true, the run saves and returns.

    Returns:
        True if the run is complete, False if it was stopped.

    Raises:
        UserError: the folder cannot be written, or its checkpoints or the data do not fit.
    """
    config, paths, changes = opened.config, opened.paths, opened.changes
    with fixed_jax_settings(), processes.exit_on_lost_process(paths.log), ExitStack() as held:

        def claim() -> None:
            if not paths.config.exists():
                store_config(paths, config)
            if changes:
                RollbackCount(paths.rollbacks).reset()

        processes.on_first_process(claim, otherwise=None)
        is_accepted = allow_data_change or accepts_data_change(changes)

        def check(metadata: CheckpointMetadata | None) -> list[str]:
            lines = check_data(metadata, loader, stored=paths.data, source=config.data.source, is_accepted=is_accepted)
            return [*lines, *describe_changes(metadata, config, is_announced=bool(changes))]

        checkpoints = Checkpoints(
            paths.checkpoints,
            keep_last=config.run.keep_last,
            keep_every_kimg=config.run.keep_every_kimg,
            best_by=config.eval.best_by,
            recorded=cache(lambda: recorded_fields(config, loader)),
        )
        held.enter_context(closing(checkpoints))
        has_begun = paths.stats.exists()
        start = restore_or_create(config, loader, checkpoints=checkpoints, has_begun=has_begun, check=check)
        run = held.enter_context(Run(config, paths, loader, checkpoints=checkpoints, start=start))
        if about_speed := describe_unknown_jaxlib() if devices.backend() == "cpu" else "":
            run.log(about_speed)
        if processes.is_main_process():
            try:
                store_data(paths, loader)
            except OSError as error:
                run.log.warning(f"going on without {paths.data.name}: {error.filename or paths.data}: {error.strerror}")
        if changes:
            store_config(paths, config)
            run.log.event("config_change", "configuration changed: " + "; ".join(changes), changes=changes)
        # Inside, too: when another process has died, nothing that is held here can be closed.
        with processes.exit_on_lost_process(paths.log):
            return run.to_the_end(should_stop)
