"""A whole run: restore or create, then call after call; grow on the way, and at the end of each tick tell, draw and save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader, Prefetcher
from pggan_jax.errors import UserError
from pggan_jax.networks.cost import relative_cost
from pggan_jax.schedule import Schedule
from pggan_jax.training import parallel, telemetry
from pggan_jax.training.checkpoint import Checkpoints
from pggan_jax.training.divergence import DivergedError, describe_divergence, seed_after
from pggan_jax.training.feed import Call, Feed, effective_steps_per_call, plan_calls
from pggan_jax.training.lock import WorkdirLock, refuse_if_held
from pggan_jax.training.meter import TickMeter
from pggan_jax.training.program import Program, build_program
from pggan_jax.training.resume import Beginning, position_at, restore_or_create, roll_back
from pggan_jax.training.snapshots import Snapshots
from pggan_jax.training.state import grow_train_state, reset_moments
from pggan_jax.training.workdir import Workdir, check_workdir, claim_workdir, new_run_disclaimed, store_config

STOP_DELAY = 2
"""Calls after which a run over several hosts answers a stop request."""


def begin(
    config: Config, workdir: Path, *, allow_config_change: bool = False, origins: Mapping[str, str] | None = None
) -> None:
    """Refuse what can be refused before data are read. Leaves no trace that would stand in the way of another attempt.

    Args:
        config: validated settings.
        workdir: the run's folder.
        allow_config_change: accept settings that differ from those the run was started with.
        origins: where each setting was set, for the message.

    Raises:
        UserError: on every process, if devices cannot share a batch or the first process may not use the folder.
    """
    parallel.check_batches(config, origins)

    def check() -> None:
        check_workdir(workdir, config, allow_config_change=allow_config_change)
        refuse_if_held(Workdir(workdir).lock)

    parallel.on_first_process(check, otherwise=None)


def train(
    config: Config,
    workdir: Path,
    loader: Loader,
    *,
    allow_config_change: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train, or continue, the run in `workdir` until its end.

    Args:
        config: validated settings.
        workdir: the run's folder; the same command in the same folder continues it.
        loader: the prepared data.
        allow_config_change: accept settings that differ from those the run was started with.
        should_stop: asked after every call; if true, the run saves and returns.

    Returns:
        True if the run is complete, False if it was stopped.

    Raises:
        UserError: devices cannot share a batch, or the folder or its checkpoints do not fit.
    """
    parallel.check_batches(config)
    paths = Workdir(workdir)
    with ExitStack() as held:

        def claim() -> list[str]:
            check_workdir(workdir, config, allow_config_change=allow_config_change)
            held.enter_context(WorkdirLock(paths.lock))
            held.enter_context(new_run_disclaimed(workdir))
            return claim_workdir(workdir, config, allow_config_change=allow_config_change)

        changes = parallel.on_first_process(claim, otherwise=[])
        run = held.enter_context(closing(_Run(config, Schedule(config.schedule, config.data.resolution), paths, loader)))
        if changes:
            store_config(paths, config)
            run.log("configuration changed: " + "; ".join(changes))
        with parallel.leaving_the_dead():
            return run.to_the_end(should_stop)


class _Run:
    """One process's part of a run: everything that lives from the first call to the last."""

    def __init__(self, config: Config, schedule: Schedule, paths: Workdir, loader: Loader):
        self.config, self.schedule, self.paths, self.loader = config, schedule, paths, loader
        self.is_main = parallel.is_main_process()
        self.log = telemetry.Log(paths.log if self.is_main else None)
        self.counter = telemetry.CompileCounter()
        self.clock = telemetry.Clock()
        self.eta = telemetry.EtaEstimator({r: relative_cost(config, r) for r in schedule.resolutions})
        self.checkpoints = Checkpoints(
            paths.checkpoints, keep_last=config.run.keep_last, keep_every_kimg=config.run.keep_every_kimg
        )
        self.class_table = parallel.replicate(loader.class_table())
        self.program: Program | None = None
        self.compiled: Program | None = None
        self.stats = telemetry.StatsLog(paths.stats if self.is_main else None)
        self.steps_per_call = effective_steps_per_call(config)
        self.last_record: dict[str, Any] = {}
        self._begin_at(restore_or_create(config, loader, self.checkpoints, has_begun=paths.stats.exists()))
        self.snapshots = Snapshots(config, loader, paths)

    def close(self) -> None:
        """Finish a save under way; release files and listeners."""
        with closing(self.log), closing(self.counter):
            self.checkpoints.close()

    def _begin_at(self, beginning: Beginning) -> None:
        """Stand where the next call will be the first."""
        position = beginning.position
        for line in beginning.lines:
            self.log(line)
        self._use_program(position.resolution)
        self.state = parallel.replicate(beginning.state)
        self.start, self.rollbacks = position.images_seen, position.rollbacks
        self.meter = TickMeter(position)
        self.stats.begin_at(self.start, position.unwritten)
        noise_seed = seed_after(self.config.run.seed, self.rollbacks)
        self.feed = Feed(self.config, self.schedule, self.loader, steps_per_call=self.steps_per_call, noise_seed=noise_seed)

    def _use_program(self, resolution: int) -> None:
        if self.program is None or self.program.networks.resolution != resolution:
            self.program = build_program(self.config, resolution, self.loader)

    def to_the_end(self, should_stop: Callable[[], bool]) -> bool:
        """Call after call until the run is complete (True) or should stop (False), going back when it diverges."""
        total = self.schedule.total_images
        if self.start >= total:
            self.log(
                f"the run is complete at kimg {self.start / 1000:.1f}; to train on, "
                "give --set schedule.total_kimg=N with a larger N, and --allow_config_change"
            )
            return True
        self._announce()
        self.clock.lap()
        vote = parallel.StopVote(delay=STOP_DELAY)
        while True:
            bar = telemetry.ProgressBar(total_images=total, images_seen=self.start, visible=self.is_main)
            try:
                return self._train_on(should_stop, vote, bar)
            except DivergedError as diverged:
                bar.close()
                self._roll_back(str(diverged))
            finally:
                bar.close()

    def _train_on(self, should_stop: Callable[[], bool], vote: parallel.StopVote, bar: telemetry.ProgressBar) -> bool:
        """From where the run stands to its end (True) or a stop (False).

        Raises:
            DivergedError: too many iterations in a row had no finite gradient.
        """
        total = self.schedule.total_images
        calls = plan_calls(self.schedule, start=self.start, steps_per_call=self.steps_per_call)
        with Prefetcher(self.feed, calls) as prefetched:
            for call, batch, controls in self.clock.iterate("wait", prefetched):
                with self.clock.phase("grow"):
                    self._enter_stage(call)
                with self.counter.watch():
                    self._announce_resolution(call)
                    arguments = batch, self.class_table, controls, np.int32(call.steps)
                    self.state, sums = self.program.train_call(self.state, *arguments)
                self.meter.add(sums, steps=call.steps, images=call.end - call.start)
                self._check_divergence(call)
                bar.update(call.end - call.start, call.stage.name, self._eta_seconds(call.end))
                is_stopping = vote(should_stop()) and call.end < total
                if call.end == call.tick.end:
                    self._finish_tick(call, save=is_stopping)
                elif is_stopping:
                    self._save(call, is_due=False)
                if is_stopping:
                    self.checkpoints.require_saved()
                    self.stats.write_rest()
                    self.log(f"stopped and saved at kimg {call.end / 1000:.1f}; the same command continues")
                    return False
        self.stats.write_rest()
        return True

    def _check_divergence(self, call: Call) -> None:
        """After each call, by what is known then; before whatever is written, by all there is to know."""
        if self.meter.skipped_in_a_row >= self.config.run.patience:
            raise DivergedError(f"{call.stage.name}, alpha {self._alpha(call):.3f}")

    def _roll_back(self, where: str) -> None:
        """After a divergence: to the last good checkpoint, with other noise.

        Raises:
            UserError: it has been done often enough; the message is the report.
        """
        report = describe_divergence(self.config, parallel.to_host(self.state), where, self.last_record)
        if self.rollbacks >= self.config.run.max_rollbacks:
            raise UserError(f"the run has diverged and stopped after {self.rollbacks} rollbacks: {report}")
        self.log(f"WARNING: the run has diverged: {report}")
        self._begin_at(roll_back(self.config, self.loader, self.checkpoints, rollbacks=self.rollbacks + 1))
        self.log(f"rollback {self.rollbacks} of {self.config.run.max_rollbacks}: going on from there with other noise")

    def _announce(self) -> None:
        labels = f", {self.loader.label_size} classes" if self.loader.label_size else ""
        self.log(
            f"{len(self.loader):,} images, {self.loader.channels} channel(s){labels}; {parallel.describe_devices()}; "
            f"kimg {self.start / 1000:.1f} of {self.schedule.total_images / 1000:.1f}; writing to {self.paths.path}"
        )
        if self.loader.warning:
            self.log(f"{self.config.data.source}: {self.loader.warning}")
        if self.start == 0 and self.is_main:
            with self.clock.phase("snapshot"):
                self.snapshots.write_reals()
                self._draw(self.schedule.at(0).alpha, 0)

    def _announce_resolution(self, call: Call) -> None:
        if self.compiled is not self.program:
            size = f"{call.stage.resolution}x{call.stage.resolution}"
            self.log(f"data {size}: {self.feed.describe_data(call.stage.resolution)}")
            self.log(f"compiling the {size} step")
            self.compiled = self.program

    def _draw(self, alpha: float, images_seen: int) -> None:
        ema = parallel.first_device(self.state.generator_ema)
        self.snapshots.write_fakes(self.program.sampler, ema, alpha=alpha, images_seen=images_seen)

    def _enter_stage(self, call: Call) -> None:
        """On the first call of a stage: grow if its resolution is new, and reset the optimizers if asked to."""
        stage = call.stage
        is_new = call.start == stage.start and stage.start > 0
        if self.program.networks.resolution != stage.resolution:
            is_new = True
            self._use_program(stage.resolution)
            state, of_generator, of_discriminator = grow_train_state(
                self.state, self.config.optimizer, self.program.networks, self.config.run.seed
            )
            self.state = parallel.replicate(state)
            self.log(f"growing to {stage.resolution}x{stage.resolution}: G {of_generator}; D {of_discriminator}")
        if is_new and self.config.optimizer.on_new_phase == "reset":
            self.state = parallel.replicate(reset_moments(self.state))

    def _images(self, start: int, end: int) -> dict[int, int]:
        """Images between two points of the run, by resolution."""
        images: dict[int, int] = {}
        for stage in self.schedule.stages_between(start, end):
            here = min(end, stage.end) - max(start, stage.start)
            images[stage.resolution] = images.get(stage.resolution, 0) + here
        return images

    def _eta_seconds(self, images_seen: int) -> float:
        return self.eta.seconds(self._images(images_seen, self.schedule.total_images))

    def _alpha(self, call: Call) -> float:
        """Weight of the newest layers in the call's last step."""
        return self.schedule.at(call.end - call.stage.images_per_step).alpha

    def _save(self, call: Call, *, is_due: bool) -> None:
        tick = self.meter.unfinished() | {"unwritten": self.stats.unwritten, "is_due": is_due}
        self._check_divergence(call)
        with self.clock.phase("save"):
            position = position_at(
                self.loader, call.end, call.stage.resolution, alpha=self._alpha(call), rollbacks=self.rollbacks, **tick
            )
            self._warn_unsaved(self.checkpoints.save(self.state, position))

    @contextmanager
    def _going_on_without(self, what: str) -> Iterator[None]:
        """A full disk is no reason to stop training."""
        try:
            yield
        except OSError as error:
            self.log(f"WARNING: this tick goes on without {what}: {error.filename or self.paths.path}: {error.strerror}")

    def _warn_unsaved(self, failures: list[str]) -> None:
        for failure in failures:
            self.log(f"WARNING: {failure}; training goes on, and the next checkpoint is tried as usual")

    def _finish_tick(self, call: Call, *, save: bool) -> None:
        """At the end of a tick: picture, checkpoint, stats.jsonl, status line."""
        images_in_process = self.meter.images_in_process
        metrics = self.meter.finish(int(self.state.skipped_generator) + int(self.state.skipped_discriminator))
        self._check_divergence(call)
        self.clock.add("compile", self.counter.lap())
        if self.is_main:
            with self.clock.phase("snapshot"), self._going_on_without("its picture"):
                self._draw(self._alpha(call), call.end)
        lap = self.clock.lap()
        self.eta.observe(self._images(max(self.start, call.tick.start), call.end), lap.training)
        record = {
            "tick": call.tick.index + 1,
            "kimg": call.end / 1000,
            "images_seen": call.end,
            "resolution": call.stage.resolution,
            "alpha": self._alpha(call),
            "batch_size": call.stage.batch_size,
            **metrics,
            "images_per_second": images_in_process / lap.training,
            **lap.record(),
            "compiles": self.counter.count,
            "memory_bytes": parallel.device_memory_bytes() or telemetry.process_memory_bytes(),
            "eta_seconds": self._eta_seconds(call.end),
        }
        self.last_record = record
        # Before the checkpoint: whatever is killed in between is dropped and told again, and nothing is told twice or never.
        with self._going_on_without("its line in stats.jsonl, which follows with the next"):
            self.stats.append(record)
        self.log(telemetry.status_line(record))
        is_due = (call.tick.index + 1) % self.config.run.checkpoint_ticks == 0
        is_due = is_due or call.end == self.schedule.total_images
        if save or call.end == self.schedule.total_images or (is_due and not self.meter.skipped_in_a_row):
            self._save(call, is_due=is_due)
        elif is_due:
            self.log("no checkpoint here: the last update was skipped, as its gradient was not finite")
