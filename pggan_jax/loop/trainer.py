"""One process's part of a run: call after call; grow on the way, and at the end of each tick tell, draw and save."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.restore import StartingPoint, roll_back
from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import start_verification
from pggan_jax.data.prefetch import Prefetcher
from pggan_jax.distributed import devices, processes
from pggan_jax.distributed.processes import raise_everywhere
from pggan_jax.errors import UserError
from pggan_jax.loop.background_compile import BackgroundCompiler, GrowthGap, StepRunner, abstract_arguments, compile_program
from pggan_jax.loop.compiled_step import Program, build_program
from pggan_jax.loop.divergence import DivergedError, RollbackCount, describe_divergence, seed_after
from pggan_jax.loop.image_grids import Snapshots
from pggan_jax.loop.input_feed import InputFeed, StepChunk, effective_steps_per_call, plan_chunks
from pggan_jax.loop.microbatch_choice import ChosenParts
from pggan_jax.loop.periodic_eval import Judge
from pggan_jax.loop.tick_metrics import TickMeter, Trouble
from pggan_jax.networks.cost import relative_cost
from pggan_jax.run_logs import console
from pggan_jax.run_logs.compile_counter import CompileCounter
from pggan_jax.run_logs.eta import EtaEstimator
from pggan_jax.run_logs.jsonl import MetricLogs, StatsLog
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.run_logs.run_log import RunLog
from pggan_jax.run_logs.tensorboard import Board
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.schedule import Schedule
from pggan_jax.training.diagnosis import first_nonfinite_gradient
from pggan_jax.training.train_state import grow_train_state, reset_moments

STOP_DELAY = 2
"""Calls after which a run over several hosts answers a stop request."""


class Run:
    """Everything that lives from the first call to the last. Use it as a context manager: it holds files and listeners."""

    def __init__(self, config: Config, paths: Workdir, loader: Loader, *, checkpoints: Checkpoints, start: StartingPoint):
        self.config, self.paths, self.loader, self.checkpoints = config, paths, loader, checkpoints
        self.judge = Judge(config, loader)
        # Before anything is compiled, let alone trained.
        processes.on_first_process(self.judge.check, otherwise=None)
        self.schedule = Schedule(config.schedule, config.data.resolution)
        self.is_main = processes.is_main_process()
        self.timer = PhaseTimer()
        self.eta = EtaEstimator({r: relative_cost(config, r) for r in self.schedule.resolutions})
        self.rollback_count = RollbackCount(paths.rollbacks)
        self.stats = StatsLog(paths.stats if self.is_main else None)
        self.measured = MetricLogs(paths.path if self.is_main else None)
        self.steps_per_call = effective_steps_per_call(config)
        self.last_record: dict[str, Any] = {}
        self.snapshots = Snapshots(config, loader, paths)
        with ExitStack() as held:
            self.log = held.enter_context(closing(RunLog(paths if self.is_main else None)))
            self.counter = held.enter_context(closing(CompileCounter()))
            self.parts = ChosenParts(
                config, lambda with_parts, resolution: build_program(with_parts, resolution, loader), self.log
            )
            compiler = BackgroundCompiler(
                self.schedule,
                build=self.parts.program,
                compile_ahead=self._compile_ahead,
                warn=self.log.warning,
            )
            caller = StepRunner(compiler, timer=self.timer, counter=self.counter, log=self.log)
            self.caller = held.enter_context(closing(caller))
            self.verification = held.enter_context(closing(start_verification(loader if self.is_main else None, self.log)))
            self.board = None
            if config.run.tensorboard and self.is_main:
                self.board = held.enter_context(closing(Board(paths.board)))
            self._begin_at(start)
            self._held = held.pop_all()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: Any) -> None:
        """Finish a save under way; release files and listeners."""
        self._held.__exit__(*exception)

    def _compile_ahead(self, program: Program) -> None:
        arguments = abstract_arguments(self.config, program.networks, loader=self.loader, steps=self.steps_per_call)
        compile_program(program, arguments, counter=self.counter, with_sampler=self.is_main)

    def _begin_at(self, beginning: StartingPoint) -> None:
        """Stand where the next call will be the first.

        Raises:
            UserError: the run had given up here; the message is its report.
        """
        metadata = beginning.metadata
        self.log.images_seen = metadata.images_seen
        self.log.lines(beginning.lines)
        rollbacks, report = self.rollback_count.at(metadata.images_seen)
        if rollbacks > self.config.run.max_rollbacks:
            raise UserError(report)
        metadata = replace(metadata, rollbacks=max(metadata.rollbacks, rollbacks))
        self.parts.take_over(metadata.microbatches)
        self.caller.use(metadata.resolution)
        self.state = devices.replicate(beginning.state)
        self.start, self.rollbacks = metadata.images_seen, metadata.rollbacks
        self.meter, self.caller.gap = TickMeter(metadata), GrowthGap()
        self.stats.begin_at(self.start, metadata.unwritten)
        if missing := self.stats.missing(self.schedule.ticks, self.start):
            self.log.warning(f"{self.paths.stats}: the lines of {missing:,} finished ticks are missing; they are lost")
        with self.log.warning_on_os_error("dropping earlier measurements that will be made again"):
            self.measured.begin_at(self.start, metadata.unwritten)
        noise_seed = seed_after(self.config.run.seed, self.rollbacks)
        self.feed = InputFeed(
            self.config, self.schedule, self.loader, steps_per_call=self.steps_per_call, noise_seed=noise_seed
        )

    def to_the_end(self, should_stop: Callable[[], bool]) -> bool:
        """Chunk after chunk until the run is complete (True) or should stop (False), going back when it diverges."""
        total = self.schedule.total_images
        if self.start >= total:
            self.log.event(
                "complete",
                f"the run is complete at kimg {self.start / 1000:.1f}; to train on, "
                "give --set schedule.total_kimg=N with a larger N, and --allow_config_change",
            )
            return True
        self._announce()
        self.timer.end_tick()
        vote = processes.StopVote(delay=STOP_DELAY)
        while True:
            try:
                with closing(console.ProgressBar(total_images=total, images_seen=self.start, visible=self.is_main)) as bar:
                    return self._train_on(should_stop, vote, bar)
            except DivergedError as diverged:
                self._roll_back(diverged.trouble)

    def _train_on(self, should_stop: Callable[[], bool], vote: processes.StopVote, bar: console.ProgressBar) -> bool:
        """From where the run stands to its end (True) or a stop (False).

        Raises:
            DivergedError: too many iterations in a row had no finite update.
        """
        total = self.schedule.total_images
        chunks = plan_chunks(self.schedule, start=self.start, steps_per_call=self.steps_per_call)
        with Prefetcher(self.feed, chunks) as prefetched:
            for chunk, inputs in self.timer.iterate("wait", prefetched):
                with self.timer.phase("grow"):
                    self._enter_stage(chunk)
                self.state, totals = self.caller(chunk, self.feed.describe_data, self.state, *inputs)
                self.meter.add(chunk, totals)
                if self._grows_after(chunk):
                    # A divergence is reported with the networks that it happened to; and the gap begins when the step is done.
                    self.meter.settle()
                    self.caller.gap.start()
                self._check_divergence()
                bar.update(chunk.end - chunk.start, stage=chunk.stage.name, eta_seconds=self._eta_seconds(chunk.end))
                is_stopping = vote(should_stop()) and chunk.end < total
                self.log.images_seen = chunk.end
                if chunk.end == chunk.tick.end:
                    self._finish_tick(chunk, save=is_stopping)
                elif is_stopping:
                    self._save(chunk)
                if is_stopping:
                    self.checkpoints.require_saved()
                    self._write_rest()
                    self.log.event("stop", f"stopped and saved at kimg {chunk.end / 1000:.1f}; the same command continues")
                    return False
        self._write_rest()
        self.log.event("complete", f"the run is complete at kimg {total / 1000:.1f}")
        return True

    def _write_rest(self) -> None:
        self.stats.write_rest()
        self.measured.write_rest()

    def _check_divergence(self) -> None:
        """After each call, by what is known then; before whatever is written, by all there is to know."""
        if self.meter.worst.iterations >= self.config.run.patience:
            raise DivergedError(self.meter.worst)

    def _roll_back(self, trouble: Trouble) -> None:
        """After a divergence: to the last good checkpoint, with other noise.

        Raises:
            UserError: it has been done often enough; the message is the report.
        """
        program, (_, inputs) = self.caller.program, self.feed(trouble.where)
        cause = first_nonfinite_gradient(self.state, *inputs[:3], config=program.config, networks=program.networks)
        report = describe_divergence(self.config, trouble, cause=cause, alpha=self._alpha(trouble.where), last=self.last_record)
        if self.rollbacks >= self.config.run.max_rollbacks:
            report = (
                f"the run has diverged and stopped after {self.rollbacks} rollbacks: {report}; to go on, change settings with "
                "--allow_config_change"
            )
            self._note_rollbacks(self.rollbacks + 1, max(self.checkpoints.all_images_seen(), default=0), report)
            raise UserError(report)
        self.log.event("divergence", f"WARNING: the run has diverged: {report}", rollbacks=self.rollbacks)
        rollbacks = self.rollbacks + 1
        beginning = roll_back(self.config, self.loader, checkpoints=self.checkpoints, rollbacks=rollbacks)
        self._note_rollbacks(rollbacks, beginning.metadata.images_seen, report)
        self._begin_at(beginning)
        of_all = f"rollback {self.rollbacks} of {self.config.run.max_rollbacks}"
        self.log.event("rollback", f"{of_all}: going on from there with other noise", rollbacks=self.rollbacks)

    def _note_rollbacks(self, rollbacks: int, images_seen: int, report: str) -> None:
        if self.is_main:
            with self.log.warning_on_os_error("a note of its rollbacks"):
                self.rollback_count.note(rollbacks, images_seen=images_seen, report=report)

    def _announce(self) -> None:
        labels = f", {self.loader.label_size} classes" if self.loader.label_size else ""
        self.log.event(
            "resume" if self.start else "start",
            f"{len(self.loader):,} images, {self.loader.channels} channel(s){labels}; {devices.describe_devices()}; "
            f"kimg {self.start / 1000:.1f} of {self.schedule.total_images / 1000:.1f}; writing to {self.paths.path}",
            resolution=self.caller.program.networks.resolution,
            rollbacks=self.rollbacks,
        )
        if self.loader.warning:
            self.log(f"{self.config.data.source}: {self.loader.warning}")
        if self.start == 0 and self.is_main:
            with self.timer.phase("snapshot"):
                self.snapshots.write_reals()
                self._draw(self.schedule.at(0).alpha, 0)

    def _draw(self, alpha: float, images_seen: int) -> None:
        ema = devices.first_device(self.state.generator_ema)
        self.snapshots.write_fakes(self.caller.program.sampler, ema, alpha=alpha, images_seen=images_seen)

    def _judge(self, chunk: StepChunk) -> Mapping[str, float]:
        is_last = chunk.end == self.schedule.total_images
        if not self.judge.is_due(chunk.tick.index, chunk.stage.resolution, is_last=is_last):
            return {}
        with self.timer.phase("evaluate"):
            judgement = self.judge(self.caller.program, devices.first_device(self.state.generator_ema), self._alpha(chunk))
        if judgement.problem:
            self.log.warning(f"going on without measuring at kimg {chunk.end / 1000:.1f}: {judgement.problem}")
        # Before the checkpoint, as the line of stats.jsonl.
        for record in judgement.records(chunk.end):
            with self.log.warning_on_os_error(f"its line in metric-{record['metric']}.jsonl, which follows with the next"):
                self.measured.append(record)
        return judgement.scores

    def _enter_stage(self, chunk: StepChunk) -> None:
        """On the first call of a stage: grow if its resolution is new, and reset the optimizers if asked to."""
        stage = chunk.stage
        is_new = chunk.start == stage.start and stage.start > 0
        if self.caller.program.networks.resolution != stage.resolution:
            is_new = True
            self.caller.use(stage.resolution)
            state, of_generator, of_discriminator = grow_train_state(
                self.state, self.config.optimizer, self.caller.program.networks, self.config.run.seed
            )
            self.state = devices.replicate(state)
            self.log.images_seen = chunk.start
            self.log.event(
                "growth",
                f"growing to {stage.resolution}x{stage.resolution}: G {of_generator}; D {of_discriminator}",
                resolution=stage.resolution,
            )
        if is_new and self.config.optimizer.on_new_phase == "reset":
            self.state = devices.replicate(reset_moments(self.state))

    def _grows_after(self, chunk: StepChunk) -> bool:
        return chunk.end < self.schedule.total_images and self.schedule.stage_at(chunk.end).resolution > chunk.stage.resolution

    def _eta_seconds(self, images_seen: int) -> float:
        return self.eta.seconds(self.schedule.images_between(images_seen, self.schedule.total_images))

    def _alpha(self, chunk: StepChunk) -> float:
        """Weight of the newest layers in the call's last step."""
        return self.schedule.at(chunk.end - chunk.stage.images_per_step).alpha

    def _save(self, chunk: StepChunk, *, scores: Mapping[str, float] | None = None) -> None:
        tick = self.meter.unfinished()
        self._check_divergence()
        with self.timer.phase("save"):
            raise_everywhere(self.verification.problem(wait=True))
            metadata = CheckpointMetadata.from_tick(
                chunk.end,
                tick,
                networks=self.caller.program.networks,
                alpha=self._alpha(chunk),
                rollbacks=self.rollbacks,
                scores=scores or {},
                microbatches=self.parts.record(),
                unwritten=self.stats.unwritten + self.measured.unwritten,
            )
            self._warn_unsaved(self.checkpoints.save(self.state, metadata))
        self.log.event("save", "", resolution=chunk.stage.resolution, scores=dict(scores or {}))

    def _warn_unsaved(self, failures: list[str]) -> None:
        for failure in failures:
            self.log.warning(f"{failure}; training goes on, and the next checkpoint is tried as usual")

    def _finish_tick(self, chunk: StepChunk, *, save: bool) -> None:
        """At the end of a tick: picture, checkpoint, stats.jsonl, status line."""
        raise_everywhere(self.verification.problem(wait=False))
        images_in_process = self.meter.images_in_process
        metrics = self.meter.finish(int(self.state.skipped_generator) + int(self.state.skipped_discriminator))
        self._check_divergence()
        if self.is_main:
            with self.timer.phase("snapshot"), self.log.warning_on_os_error("its picture"):
                self._draw(self._alpha(chunk), chunk.end)
        scores = self._judge(chunk)
        lap = self.timer.end_tick()
        self.eta.observe(self.schedule.images_between(max(self.start, chunk.tick.start), chunk.end), lap.training)
        record = {
            "tick": chunk.tick.index + 1,
            "kimg": chunk.end / 1000,
            "images_seen": chunk.end,
            "resolution": chunk.stage.resolution,
            "alpha": self._alpha(chunk),
            "batch_size": chunk.stage.batch_size,
            **metrics,
            **{f"metric_{self.judge.public_name(name)}": value for name, value in scores.items()},
            "images_per_second": images_in_process / lap.training,
            **lap.record(),
            "growth_gap_seconds": self.caller.gap.end_tick(),
            "compiles": self.counter.count,
            "memory_bytes": devices.device_memory_bytes() or console.process_memory_bytes(),
            "eta_seconds": self._eta_seconds(chunk.end),
        }
        self.last_record = record
        # Before the checkpoint: whatever is killed in between is dropped and told again, and nothing is told twice or never.
        with self.log.warning_on_os_error("its line in stats.jsonl, which follows with the next"):
            self.stats.append(record)
        if self.board:
            with self.log.warning_on_os_error("TensorBoard"):
                self.board.write(record)
        self.log(console.status_line(record))
        is_due = (chunk.tick.index + 1) % self.config.run.checkpoint_ticks == 0
        is_due = is_due or chunk.end == self.schedule.total_images
        if save or chunk.end == self.schedule.total_images or (is_due and not self.meter.skipped_in_a_row):
            self._save(chunk, scores=scores)
        elif is_due:
            self.log("no checkpoint here: the last update was skipped, as it was not finite")
