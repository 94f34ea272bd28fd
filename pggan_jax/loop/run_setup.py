"""The start of a run: its folder, its checks, and what the loop and its hooks need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.provenance import accepts_data_change, check_data, describe_changes, recorded_fields, store_data
from pggan_jax.checkpointing.restore import StartingPoint, restore_or_create
from pggan_jax.checkpointing.retention import Keep
from pggan_jax.config import SOUND_PRESETS, Config
from pggan_jax.config.sound import mel_warning
from pggan_jax.cosines import cosine_lines
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import start_verification
from pggan_jax.data.watched_files import Verification
from pggan_jax.distributed import devices, processes
from pggan_jax.distributed.batch_sharding import check_batches
from pggan_jax.errors import ConfigError
from pggan_jax.loop.background_compile import BackgroundCompiler, StepRunner, abstract_arguments, compile_program
from pggan_jax.loop.compiled_step import Program, build_program
from pggan_jax.loop.divergence import RollbackCount, Rollbacks
from pggan_jax.loop.hooks import (
    CheckpointHook,
    EvaluationHook,
    HeldOutHook,
    Hooks,
    Run,
    SampleGridHook,
    StatsHook,
    TensorBoardHook,
    VerificationHook,
)
from pggan_jax.loop.image_grids import SampleGrids
from pggan_jax.loop.input_feed import effective_steps_per_call
from pggan_jax.loop.microbatch_choice import MicrobatchChoice
from pggan_jax.loop.periodic_eval import HeldOutGap, PeriodicEvaluator
from pggan_jax.run_logs.compile_counter import CompileCounter
from pggan_jax.run_logs.eta import format_duration
from pggan_jax.run_logs.jsonl import MetricLogs, StatsLog
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.run_logs.run_log import RunLog
from pggan_jax.run_logs.tensorboard import TensorBoardWriter
from pggan_jax.run_logs.workdir import Workdir, claim_workdir, store_config
from pggan_jax.schedule import Schedule
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.xla_options import describe_unknown_jaxlib


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
    """Check what can be checked without data, and lock the folder inside the `with` block.

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


@contextmanager
def start_run(
    opened: OpenRun, loader: Loader, *, allow_data_change: bool
) -> Iterator[tuple[Run, Hooks, Rollbacks, StartingPoint]]:
    """Restore or create the state; hold what the loop needs inside the `with` block.

    Args:
        opened: configuration and folder.
        loader: the prepared data.
        allow_data_change: accept data that differ from those the checkpoints were trained on.

    Raises:
        UserError: the folder cannot be written, or its checkpoints or the data do not fit.
    """
    config, paths = opened.config, opened.paths
    _check_preset(config, loader)
    with fixed_jax_settings(), processes.exit_on_lost_process(paths.log), ExitStack() as held:
        processes.on_first_process(lambda: _claim_config(opened), otherwise=None)
        evaluator = PeriodicEvaluator(config, loader)
        # Before anything is compiled or restored.
        processes.on_first_process(evaluator.check, otherwise=None)
        checkpoints, start = _restore(opened, loader, held=held, allow_data_change=allow_data_change)
        run = _create_run(opened, loader, held=held)
        verification = held.enter_context(closing(start_verification(loader if processes.is_main_process() else None, run.log)))
        hooks = _create_hooks(run, checkpoints, evaluator=evaluator, verification=verification, held=held)
        rollbacks = Rollbacks(run, checkpoints)
        start = rollbacks.begin_at(start)
        _record_start(opened, run, start=start)
        # Here, too: if another process is lost, what is held here cannot be closed.
        with processes.exit_on_lost_process(paths.log):
            yield run, hooks, rollbacks, start


def _check_preset(config: Config, loader: Loader) -> None:
    """Raise a ConfigError if a preset for sound gets prepared images."""
    if config.preset in SOUND_PRESETS and not loader.representation:
        rule = f"holds images, and preset={config.preset} is for sound; prepare sound:DIR or notes"
        raise ConfigError("data.source", config.data.source, rule)


def _claim_config(opened: OpenRun) -> None:
    """Store the settings of a new run; allow a changed one all rollbacks again."""
    if not opened.paths.config.exists():
        store_config(opened.paths, opened.config)
    if opened.changes:
        RollbackCount(opened.paths.rollbacks).reset()


def _restore(opened: OpenRun, loader: Loader, *, held: ExitStack, allow_data_change: bool) -> tuple[Checkpoints, StartingPoint]:
    """Open the checkpoints, and restore the newest intact one or create a new state."""
    config, paths, changes = opened.config, opened.paths, opened.changes
    is_accepted = allow_data_change or accepts_data_change(changes)

    def check(metadata: CheckpointMetadata | None) -> list[str]:
        lines = check_data(metadata, loader, stored=paths.data, source=config.data.source, is_accepted=is_accepted)
        return [*lines, *describe_changes(metadata, config, is_announced=bool(changes))]

    checkpoints = Checkpoints(
        paths.checkpoints,
        keep=Keep(config.run.keep_last, config.run.keep_every_kimg, config.eval.best_by, config.run.keep_levels),
        recorded=cache(lambda: recorded_fields(config, loader)),
    )
    held.enter_context(closing(checkpoints))
    has_begun = paths.stats.exists()
    return checkpoints, restore_or_create(config, loader, checkpoints=checkpoints, has_begun=has_begun, check=check)


def _create_run(opened: OpenRun, loader: Loader, *, held: ExitStack) -> Run:
    """Open the log, and create what the loop and its hooks share."""
    config, paths, is_main = opened.config, opened.paths, processes.is_main_process()
    schedule, timer = Schedule.of(config), PhaseTimer()
    log = held.enter_context(closing(RunLog(paths if is_main else None)))
    counter = held.enter_context(closing(CompileCounter()))

    def build(config: Config, resolution: int) -> Program:
        return build_program(config, resolution, loader=loader)

    def compile_ahead(program: Program) -> None:
        steps = effective_steps_per_call(config)
        arguments = abstract_arguments(config, program.networks, loader=loader, steps=steps)
        compile_program(program, arguments, counter=counter, with_sampler=is_main)

    microbatches = MicrobatchChoice(config, build, log=log)
    compiler = BackgroundCompiler(schedule, build=microbatches.program, compile_ahead=compile_ahead, warn=log.warning)
    step = held.enter_context(closing(StepRunner(compiler, timer=timer, counter=counter, log=log)))
    return Run(config, loader, schedule, paths, log, timer, microbatches, step)


def _create_hooks(
    run: Run, checkpoints: Checkpoints, *, evaluator: PeriodicEvaluator, verification: Verification, held: ExitStack
) -> Hooks:
    config, paths, is_main = run.config, run.paths, processes.is_main_process()
    stats, metrics = StatsLog(paths.stats if is_main else None), MetricLogs(paths.path if is_main else None)
    writer = None
    if config.run.tensorboard and is_main:
        writer = held.enter_context(closing(TensorBoardWriter(paths.tensorboard)))
    return Hooks(
        verification=VerificationHook(verification),
        grids=SampleGridHook(run, SampleGrids(config, run.loader, workdir=paths)),
        evaluation=EvaluationHook(run, evaluator, logs=metrics),
        held_out=HeldOutHook(run, HeldOutGap(config, run.loader)),
        stats=StatsHook(run, stats),
        tensorboard=TensorBoardHook(run, writer),
        checkpoint=CheckpointHook(run, checkpoints, verification=verification, line_logs=(stats, metrics)),
    )


def _record_start(opened: OpenRun, run: Run, *, start: StartingPoint) -> None:
    """Log the start; store the record of the data and accepted changes of settings."""
    config, loader, metadata, log = run.config, run.loader, start.metadata, run.log
    if about_speed := describe_unknown_jaxlib() if devices.backend() == "cpu" else "":
        log(about_speed)
    if processes.is_main_process():
        with log.warning_on_os_error(run.paths.data.name):
            store_data(run.paths, loader)
        if absent := run.paths.absent_settings():
            log(f"{run.paths.config.name} of an earlier version lacks {', '.join(absent)}; the defaults are used")
    if opened.changes:
        store_config(run.paths, config)
        log.event("config_change", "configuration changed: " + "; ".join(opened.changes), changes=opened.changes)
        if metadata.images_seen and any(change.startswith("schedule.") for change in opened.changes):
            for line in cosine_lines(config):
                log(line)
    labels = f", {loader.label_size} classes" if loader.label_size else ""
    held_out = f" and {len(loader.held_out):,} held out" if loader.held_out else ""
    time, limit = "", run.schedule.total_seconds
    if math.isfinite(limit):
        time = f", {format_duration(metadata.training_seconds)} of at most {format_duration(limit)} of training"
    log.event(
        "resume" if metadata.images_seen else "start",
        f"{len(loader):,} images{held_out}, {loader.channels} channel(s){labels}; {devices.describe_devices()}; "
        f"kimg {metadata.images_seen / 1000:.1f} of {run.schedule.total_images / 1000:.1f}{time}; writing to {run.paths.path}",
        resolution=metadata.resolution,
        rollbacks=metadata.rollbacks,
    )
    if loader.warning:
        log(f"{config.data.source}: {loader.warning}")
    if loader.representation and (warning := mel_warning(config.data.sound)):
        log(warning)
