"""Run a study: each run trains and is measured in processes of its own, several at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.paper.study.folder import Folder
from experiments.paper.study.plan import Order, Plan, Run
from experiments.paper.study.progress import Progress
from pggan_jax.config import Config
from pggan_jax.config.io import replace_setting, settings_of, to_json
from pggan_jax.errors import one_line
from pggan_jax.system.files import write_atomically

ROOT = Path(__file__).resolve().parents[3]
_MEASURE = ROOT / "experiments" / "paper" / "measuring" / "measure.py"
FLOOR = "floor"
TRAIN, MEASURE = "train", "measure"
_POLL_SECONDS = 0.2
_SECONDS_TO_SAVE = 120.0
# Linux then stops the process when the study is killed, and a run saves; 1 is PR_SET_PDEATHSIG.
_PRELUDE = """import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass
class Job:
    """A process of a run.

    Attributes:
        run: whose; of the floor, the run with whose reals it is measured.
        stage: TRAIN, MEASURE or FLOOR.
        process: that runs it.
    """

    run: Run
    stage: str
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        """Name of its files."""
        return FLOOR if self.stage == FLOOR else self.run.name


@dataclass
class Runner:
    """Runs what is missing of a study.

    Attributes:
        plan: the runs.
        folder: where they are.
        jobs: processes at a time.
        on_result: called after each run that was measured or has failed.
        problems: of failed runs, by name.
        should_stop: set by a signal.
    """

    plan: Plan
    folder: Folder
    jobs: int
    on_result: Callable[[], None]
    problems: dict[str, str] = field(default_factory=dict)
    should_stop: bool = False
    _active: list[Job] = field(default_factory=list)

    def __call__(self) -> bool:
        """Run everything; return False if a signal has stopped it."""
        waiting = [run for run in self.plan.runs() if self.folder.result(run.name) is None]
        progress = Progress(self.plan, self.folder)
        with self._signals(), progress:
            try:
                while (waiting or self._active or self._needs_floor()) and not self.should_stop:
                    self._start(waiting)
                    self._finish(progress)
                    progress.update([job.run for job in self._active], waiting=len(waiting))
                    time.sleep(_POLL_SECONDS)
            finally:
                self._stop()
        return not self.should_stop

    def _start(self, waiting: list[Run]) -> None:
        """Start processes while there is room; what depends on another run waits for it."""
        if self._needs_floor() and len(self._active) < self.jobs:
            run = next(run for run in self.plan.runs() if self.folder.result(run.name))
            self._active.append(Job(run, FLOOR, self._measure(run, stage=FLOOR)))
        for run in list(waiting):
            if len(self._active) >= self.jobs:
                return
            needed = run.variant.after and Run(replace(run.variant, name=run.variant.after, after=""), run.seed)
            if needed and needed.name in self.problems:
                waiting.remove(run)
                self._fail(run.name, f"needs {needed.name}, which has failed")
            elif not needed or self.folder.result(needed.name):
                waiting.remove(run)
                self._active.append(Job(run, TRAIN, self._launch(run, needed or None)))

    def _needs_floor(self) -> bool:
        """Whether reals are to be measured: once a run is complete, as its folder says which reals."""
        is_done = self.folder.result(FLOOR) is not None or FLOOR in self.problems
        is_under_way = any(job.stage == FLOOR for job in self._active)
        return not is_done and not is_under_way and any(self.folder.result(run.name) for run in self.plan.runs())

    def _launch(self, run: Run, needed: Run | None) -> subprocess.Popen[bytes]:
        path = self.folder.settings(run)
        write_atomically(path, to_json(self._config(run, needed)).encode())
        command = ["launch.py", f"--config={path}", f"--workdir={self.folder.workdir(run)}"]
        return self._process([str(ROOT / command[0]), *command[1:]], run.name)

    def _config(self, run: Run, needed: Run | None) -> Config:
        """Return the settings of a run, with what it takes from another one."""
        config = self.plan.config(run)
        if needed and run.variant.weights:
            config = replace_setting(config, "run.init_from", str(self.folder.workdir(needed)))
        if needed and run.variant.minutes and "schedule.total_minutes" in dict(settings_of(config)):
            points = (self.folder.result(needed.name) or {}).get("points") or [[0, 0, {}]]
            config = replace_setting(config, "schedule.total_minutes", round(points[-1][1] / 60, 4))
        return config

    def _measure(self, run: Run, *, stage: str) -> subprocess.Popen[bytes]:
        measures, name = self.plan.study.measures, FLOOR if stage == FLOOR else run.name
        count = measures.quick_images if self.plan.lengths.is_quick else measures.num_images
        order = Order(
            str(self.folder.workdir(run)),
            str(self.folder.measured(name)),
            measures.curve,
            measures.final,
            num_images=count,
            all_reals=measures.all_reals,
            is_floor=stage == FLOOR,
            stats=measures.stats,
        )
        write_atomically(self.folder.order(name), (json.dumps(asdict(order)) + "\n").encode())
        return self._process([str(_MEASURE), str(self.folder.order(name))], name)

    def _process(self, words: list[str], name: str) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own: Ctrl-C reaches it through `_stop` alone."""
        environment = dict(os.environ)
        if self.jobs > 1:
            environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with self.folder.log(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _PRELUDE, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _finish(self, progress: Progress) -> None:
        """Go on with the processes that have ended."""
        for job in list(self._active):
            status = job.process.poll()
            if status is None:
                continue
            self._active.remove(job)
            if status:
                how = f"signal {-status}" if status < 0 else f"exit status {status}"
                self._fail(job.name, one_line(f"{job.stage}: {how}: {self.folder.last_line(job.name)}"))
            elif job.stage == TRAIN:
                self._active.append(Job(job.run, MEASURE, self._measure(job.run, stage=MEASURE)))
            elif job.stage == MEASURE:
                self.folder.drop_early_checkpoints(job.run)
                progress.message(self._summary(job.run))
                self.on_result()
            else:
                self.on_result()

    def _summary(self, run: Run) -> str:
        """Describe a measured run in a line."""
        result, headline = self.folder.result(run.name) or {}, self.plan.study.measures.headline
        kimg, seconds, values = (result.get("points") or [[0, 0, {}]])[-1]
        value = values.get(headline)
        shown = "not measured" if value is None else f"{value:.4g}"
        return f"{run.name}: {headline} {shown} at kimg {kimg:g}, after {seconds / 60:.1f} minutes of training"

    def _fail(self, name: str, problem: str) -> None:
        self.problems[name] = problem
        print(one_line(f"{name} has failed: {problem}; {self.folder.log(name)} has more"), file=sys.stderr)
        self.on_result()

    def _stop(self) -> None:
        """Let the processes save and end; what was being measured is measured again."""
        for job in self._active:
            with suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGINT if job.stage == TRAIN else signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS_TO_SAVE
        for job in self._active:
            try:
                job.process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                job.process.kill()
                job.process.wait()
        self._active.clear()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as a request to stop; a second one raises KeyboardInterrupt."""

        def request(_number: int, _frame: Any) -> None:
            if self.should_stop:
                raise KeyboardInterrupt
            self.should_stop = True
            with suppress(OSError):
                print("\nstopping; the runs save", file=sys.stderr)

        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
