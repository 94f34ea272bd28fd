"""A run from its first command to its last: is it possible, whose folder is it, and then to the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
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
from pggan_jax.run_logs.workdir import Workdir, check_workdir, claim_workdir, new_run_disclaimed, store_config
from pggan_jax.run_logs.workdir_lock import WorkdirLock, refuse_if_held
from pggan_jax.system.jax_variables import own_jax_settings
from pggan_jax.xla_options import describe_unmeasured


def begin(config: Config, workdir: Path, *, allow_config_change: bool = False) -> None:
    """Refuse what can be refused before data are read. Leaves no trace that would stand in the way of another attempt.

    Args:
        config: validated settings.
        workdir: the run's folder.
        allow_config_change: accept settings that differ from those the run was started with.

    Raises:
        UserError: on every process, if devices cannot share a batch or the first process may not use the folder.
    """
    check_batches(config, devices=devices.device_count(), backend=devices.backend())

    def check() -> None:
        check_workdir(workdir, config, allow_config_change=allow_config_change)
        refuse_if_held(Workdir(workdir).lock)

    processes.on_first_process(check, otherwise=None)


def train(
    config: Config,
    workdir: Path,
    loader: Loader,
    *,
    allow_config_change: bool = False,
    allow_data_change: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train, or continue, the run in `workdir` until its end.

    Args:
        config: validated settings.
        workdir: the run's folder; the same command in the same folder continues it.
        loader: the prepared data.
        allow_config_change: accept settings that differ from those the run was started with.
        allow_data_change: accept data that differ from those the checkpoints were trained on.
        should_stop: asked after every call; if true, the run saves and returns.

    Returns:
        True if the run is complete, False if it was stopped.

    Raises:
        UserError: devices cannot share a batch, or the folder, its checkpoints or the data do not fit.
    """
    check_batches(config, devices=devices.device_count(), backend=devices.backend())
    paths = Workdir(workdir)
    with own_jax_settings(), processes.leaving_the_dead(paths.log), ExitStack() as held:

        def claim() -> list[str]:
            check_workdir(workdir, config, allow_config_change=allow_config_change)
            held.enter_context(WorkdirLock(paths.lock))
            held.enter_context(new_run_disclaimed(workdir))
            changes = claim_workdir(workdir, config, allow_config_change=allow_config_change)
            if changes:
                RollbackCount(paths.rollbacks).begin_anew()
            return changes

        changes: list[str] = processes.on_first_process(claim, otherwise=[])
        is_accepted = allow_data_change or accepts_data_change(changes)

        def check(metadata: CheckpointMetadata | None) -> list[str]:
            lines = check_data(metadata, loader, stored=paths.data, source=config.data.source, is_accepted=is_accepted)
            return [*lines, *describe_changes(metadata, config, is_announced=bool(changes))]

        checkpoints = Checkpoints(
            paths.checkpoints,
            keep_last=config.run.keep_last,
            keep_every_kimg=config.run.keep_every_kimg,
            best_by=config.eval.best_by,
            recorded=lambda: recorded_fields(config, loader),
        )
        held.enter_context(closing(checkpoints))
        has_begun = paths.stats.exists()
        start = restore_or_create(config, loader, checkpoints=checkpoints, has_begun=has_begun, check=check)
        run = held.enter_context(Run(config, paths, loader, checkpoints=checkpoints, start=start))
        if about_speed := describe_unmeasured() if devices.backend() == "cpu" else "":
            run.log(about_speed)
        if processes.is_main_process():
            try:
                store_data(paths, loader)
            except OSError as error:
                run.log(f"WARNING: going on without {paths.data.name}: {error.filename or paths.data}: {error.strerror}")
        if changes:
            store_config(paths, config)
            run.log("configuration changed: " + "; ".join(changes))
        # Inside, too: when another process has died, nothing that is held here can be closed.
        with processes.leaving_the_dead(paths.log):
            return run.to_the_end(should_stop)
