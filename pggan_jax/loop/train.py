"""The training loop: progressive growing from the first step to the last."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

from pggan_jax.checkpointing.restore import StartingPoint
from pggan_jax.data.loader import Loader
from pggan_jax.data.prefetch import Prefetcher
from pggan_jax.distributed import devices, processes
from pggan_jax.loop.divergence import find_cause, seed_after
from pggan_jax.loop.hooks import Hooks, Run
from pggan_jax.loop.input_feed import InputFeed, StepChunk, plan_chunks
from pggan_jax.loop.run_setup import OpenRun, start_run
from pggan_jax.loop.tick_metrics import DivergedError, LoopState, TickMetrics
from pggan_jax.run_logs.console import ProgressBar
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_state import TrainState, grow_train_state, reset_moments

STOP_DELAY = 2
"""Chunks after which a run over several hosts answers a stop request."""


def train(
    opened: OpenRun,
    loader: Loader,
    *,
    allow_data_change: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train, or continue, an open run until its end.

    A run that diverges goes back to an earlier checkpoint.

    Args:
        opened: configuration and folder, from `run_setup.open_run`.
        loader: the prepared data.
        allow_data_change: accept data that differ from those the checkpoints were trained on.
        should_stop: asked after every chunk of steps; if true, the run saves and returns.

    Returns:
        True if the run is complete, False if it was stopped.

    Raises:
        UserError: the folder cannot be written, its checkpoints or the data do not fit, or the run has diverged too often.
    """
    with start_run(opened, loader, allow_data_change=allow_data_change) as (run, hooks, rollbacks, start):
        vote = processes.StopVote(delay=STOP_DELAY)
        while True:
            try:
                return train_from(start, run=run, hooks=hooks, should_stop=lambda: vote(should_stop()))
            except DivergedError as diverged:
                start = rollbacks.roll_back(diverged, last_record=hooks.stats.last_record)


def train_from(start: StartingPoint, *, run: Run, hooks: Hooks, should_stop: Callable[[], bool]) -> bool:
    """Train until the run is complete (True) or is asked to stop (False).

    Raises:
        DivergedError: too many iterations in a row had an update that was skipped, as it was not finite.
        UserError: from a hook.
    """
    schedule, metadata = run.schedule, start.metadata
    state = devices.replicate(start.take_state())
    for hook in hooks:
        hook.start(state, metadata)
    run.timer.begin_at(metadata.training_seconds)
    ticks = TickMetrics(metadata, patience=run.config.run.patience)
    feed = InputFeed(run.config, run.loader, noise_seed=seed_after(run.config.run.seed, metadata.rollbacks))
    chunks = plan_chunks(schedule, start=metadata.images_seen, steps_per_call=feed.steps_per_call)
    if metadata.training_seconds >= schedule.total_seconds:
        chunks = iter(())
    time_vote = processes.StopVote(delay=STOP_DELAY)
    is_stopping = False
    try:
        with Prefetcher(feed, chunks) as prefetched, closing(progress_bar(run, metadata.images_seen)) as bar:
            for chunk, inputs in run.timer.iterate("wait", prefetched):
                state = grow_if_needed(state, chunk, run=run)
                state, totals = run.step(chunk, feed.describe_data, state, *inputs)
                ticks.add(chunk, totals)
                if schedule.grows_at(chunk.end):
                    ticks.settle()  # a divergence belongs to the networks in which it happened
                    run.step.gap.start()
                elif chunk.ends_tick:
                    ticks.settle()  # its time counts
                run.log.images_seen = chunk.end
                seconds = run.timer.training_seconds
                eta_seconds = hooks.stats.eta_seconds(chunk.end)
                bar.update(chunk.images, stage=chunk.stage.name, eta_seconds=eta_seconds, training_seconds=seconds)
                is_last = chunk.end == schedule.total_images or is_time_over(seconds, schedule, vote=time_vote)
                is_stopping = should_stop() and not is_last
                now = LoopState(chunk, state, schedule.at(chunk.last_step).alpha, ticks, metadata.rollbacks, seconds)
                now.is_last, now.is_stopping = is_last, is_stopping
                if chunk.ends_tick or is_last:
                    now.record = tick_record(now)
                    for hook in hooks:
                        hook(now)
                elif is_stopping:
                    hooks.checkpoint.save(now)
                if is_stopping or is_last:
                    break
    except DivergedError as diverged:
        diverged.cause = find_cause(state, feed, chunk=diverged.chunk, program=run.step.program)
        raise
    for hook in reversed(hooks):
        hook.finish()
    log_end(run, is_stopping=is_stopping)
    return not is_stopping


def grow_if_needed(state: TrainState, chunk: StepChunk, *, run: Run) -> TrainState:
    """Grow where a resolution starts; reset Adam's moments where a phase starts (spec 2.7)."""
    stage, optimizer = chunk.stage, run.config.optimizer
    grows = run.step.program.networks.resolution != stage.resolution
    with run.timer.phase("grow"):
        if grows:
            run.step.use(stage.resolution)
            networks = run.step.program.networks
            state, of_generator, of_discriminator = grow_train_state(state, optimizer, networks, run.config.run.seed)
            state = devices.replicate(state)
            message = f"growing to {stage.shape}: G {of_generator}; D {of_discriminator}"
            run.log.event("growth", message, resolution=stage.resolution)
        starts_phase = grows or (chunk.start == stage.start and stage.start > 0)
        if starts_phase and optimizer.on_new_phase == "reset":
            state = devices.replicate(reset_moments(state))
    return state


def is_time_over(training_seconds: float, schedule: Schedule, *, vote: processes.StopVote) -> bool:
    """Whether schedule.total_minutes ends the run here; every process must call it.

    The clock of the first process decides: the others wait for it while it writes sample grids.
    """
    if math.isinf(schedule.total_seconds):
        return False
    return vote(processes.is_main_process() and training_seconds >= schedule.total_seconds)


def tick_record(now: LoopState) -> dict[str, Any]:
    """Return the record of a tick, to which hooks add scores and times."""
    chunk = now.chunk
    return {
        "tick": chunk.tick.index + 1,
        "kimg": chunk.end / 1000,
        "images_seen": chunk.end,
        "resolution": chunk.stage.resolution,
        "alpha": now.alpha,
        "batch_size": chunk.stage.batch_size,
        **now.ticks.finish(int(now.state.skipped_generator) + int(now.state.skipped_discriminator)),
    }


def progress_bar(run: Run, images_seen: int) -> ProgressBar:
    """Return the bar of a run, visible on the first process."""
    schedule, visible = run.schedule, processes.is_main_process()
    return ProgressBar(
        total_images=schedule.total_images, images_seen=images_seen, total_seconds=schedule.total_seconds, visible=visible
    )


def log_end(run: Run, *, is_stopping: bool) -> None:
    """Log why the loop has ended, and how the run can continue."""
    kimg = run.log.images_seen / 1000
    if is_stopping:
        run.log.event("stop", f"stopped and saved at kimg {kimg:.1f}; the same command continues")
        return
    setting, why = "schedule.total_kimg", ""
    if run.log.images_seen < run.schedule.total_images:
        setting, minutes = "schedule.total_minutes", run.config.schedule.total_minutes
        why = f", as {setting} = {minutes:g} minutes of training are over"
    more = f"to train on, give --set {setting}=N with a larger N, and --allow_config_change"
    run.log.event("complete", f"the run is complete at kimg {kimg:.1f}{why}; {more}")
