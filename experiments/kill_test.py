"""Kill a run at random moments, and compare its result with that of an undisturbed run.

    python experiments/kill_test.py --kills=50

Trains a small run once undisturbed, then the same run in another folder while it is killed by SIGKILL, SIGTERM, SIGINT, or two
SIGINTs in a row, at random moments from its start on, and started again by the same command each time. When a run is complete
before there were enough kills, another one is started. At the end of each run the two folders are compared: the digest of every
checkpoint that both have, every line of stats.jsonl without its times, and every image. Prints one line per kill and a table
for docs/reliability.md. Takes about 12 minutes for 50 kills on 2 CPU cores. Exit status 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pggan_jax.checkpointing.integrity import state_digest
from pggan_jax.checkpointing.trained_model import open_checkpoints, read_checkpoint
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.stats_fields import VOLATILE_FIELDS
from pggan_jax.system.json_files import json_objects

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 50, "how many kills", lower_bound=1)
flags.DEFINE_integer("seed", 0, "of the random moments and signals")
flags.DEFINE_string("folder", None, "where to put the runs (default: a temporary folder)")
flags.DEFINE_float("longest", 9.0, "seconds from a start to its kill, at most; a start takes about 4", lower_bound=0.1)

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGINT twice")
STOPPED, COMPLETE = 75, 0
HUNG = "hung"
_TIMEOUT = 600
# 4x4 to 16x16 through two fades, in ticks of a second or two, so that kills hit everything between two checkpoints.
_SETTINGS = {
    "data.resolution": "16",
    "generator.fmap_max": "8",
    "discriminator.fmap_max": "8",
    "schedule.stable_kimg": "12",
    "schedule.stable_kimg_at": "4:6",
    "schedule.fade_kimg": "12",
    "schedule.fade_kimg_at": "8:8",
    "schedule.batch_size": "16",
    "schedule.batch_size_at": "4:16",
    "schedule.repeats": "1",
    "schedule.tick_kimg": "1",
    "schedule.tick_kimg_at": "16:1.5",
    "run.grid": "4x2",
    "run.keep_last": "1000",
}


@dataclass(frozen=True)
class Kill:
    """One kill of a run.

    Attributes:
        kind: one of `KINDS`.
        seconds: from the start of the process to the kill.
        status: exit status, or `HUNG`.
        continued_at: where the killed process had continued, such as "kimg 1"; "the start" if it had not come so far.
    """

    kind: str
    seconds: float
    status: int | str
    continued_at: str

    @property
    def is_as_expected(self) -> bool:
        """Whether the signal explains the exit status: saved, ended by a signal, or complete."""
        signals = [getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT")]
        by_signal = {-number for number in signals} | {128 + number for number in signals}
        if self.kind == "SIGKILL":
            return self.status == -signal.SIGKILL
        return self.status in (STOPPED, COMPLETE) or self.status in by_signal


def command(workdir: Path) -> list[str]:
    """Return the command, which is the same each time."""
    settings = [word for name, value in _SETTINGS.items() for word in ("--set", f"{name}={value}")]
    return [sys.executable, str(ROOT / "launch.py"), f"--workdir={workdir}", "--config=experiments/smoke.py", *settings]


def start(workdir: Path, cache: Path) -> subprocess.Popen[bytes]:
    """Start the run, or start it again; its output is appended to a file beside the folder."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with workdir.with_suffix(".out").open("ab") as output:
        return subprocess.Popen(command(workdir), cwd=ROOT, env=environment, stdout=output, stderr=output)


def wait(process: subprocess.Popen[bytes]) -> int | str:
    """Return the exit status, or `HUNG` for a process that had to be killed."""
    try:
        return process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return HUNG


def strike(process: subprocess.Popen[bytes], kind: str) -> int | str:
    """Send the signal or signals, and wait until the process ends."""
    process.send_signal(getattr(signal, kind.split()[0]))
    if kind.endswith("twice"):
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    return wait(process)


def events_of(workdir: Path) -> list[dict[str, Any]]:
    """Return the events of a run so far; a line that a kill has cut off is skipped."""
    path = Workdir(workdir).events
    return list(json_objects(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def continued_at(events: Sequence[Mapping[str, Any]]) -> str:
    """Return where a process continued, by the events that it added."""
    found = [f"kimg {event['kimg']:g}" for event in events if event["event"] == "resume"]
    return found[-1] if found else "the start"


def disturb(workdir: Path, cache: Path, *, random_numbers: random.Random, kills: int) -> Iterator[Kill]:
    """Kill a run until it completes between two kills, or `kills` times; then let it complete."""
    for _ in range(kills):
        before = len(events_of(workdir))
        process = start(workdir, cache)
        kind, seconds = random_numbers.choice(KINDS), random_numbers.uniform(0.0, FLAGS.longest)
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            status = strike(process, kind)
            yield Kill(kind, seconds, status, continued_at(events_of(workdir)[before:]))
    else:
        process = start(workdir, cache)
    status = wait(process)
    if status != COMPLETE:
        raise RuntimeError(f"the run ended with status {status}; see {workdir.with_suffix('.out')}")


def stats_lines(workdir: Path) -> list[dict[str, object]]:
    """Return the records of stats.jsonl without the fields that depend on time."""
    records = map(json.loads, (workdir / "stats.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in record.items() if name not in VOLATILE_FIELDS} for record in records]


def digests(workdir: Path) -> dict[int, str]:
    """Return the digest of each checkpoint, by images seen."""
    config, checkpoints = open_checkpoints(workdir)
    with closing(checkpoints):
        models = (read_checkpoint(config, checkpoints, images_seen=one) for one in checkpoints.all_images_seen())
        return {model.metadata.images_seen: state_digest(model.state) for model in models}


def differences(undisturbed: Path, disturbed: Path) -> list[str]:
    """Return what differs between two complete runs."""
    found = []
    ours, theirs = digests(undisturbed), digests(disturbed)
    # The disturbed run has more, as it also saves when it is stopped.
    other = [one for one in ours if theirs.get(one) != ours[one]]
    if other:
        found.append(f"checkpoints {other}")
    if stats_lines(undisturbed) != stats_lines(disturbed):
        found.append("stats.jsonl")
    images = [{path.name: path.read_bytes() for path in workdir.glob("*.png")} for workdir in (undisturbed, disturbed)]
    if images[0] != images[1]:
        found.append("images")
    return found


def run(folder: Path) -> int:
    """Run everything; return 0 if every run ended like the undisturbed one."""
    random_numbers, kills, rounds, bad = random.Random(FLAGS.seed), [], 0, []
    cache = folder / "compiled"
    undisturbed = folder / "undisturbed"
    print("the undisturbed run", flush=True)
    began = time.monotonic()
    if wait(start(undisturbed, cache)) != COMPLETE:
        raise RuntimeError(f"the undisturbed run failed; see {undisturbed.with_suffix('.out')}")
    print(f"  took {time.monotonic() - began:.0f} s, {len(stats_lines(undisturbed))} ticks", flush=True)
    while len(kills) < FLAGS.kills:
        rounds += 1
        workdir = folder / f"disturbed{rounds}"
        for kill in disturb(workdir, cache, random_numbers=random_numbers, kills=FLAGS.kills - len(kills)):
            kills.append(kill)
            print(
                f"{len(kills):4d} of {FLAGS.kills}: {kill.kind} after {kill.seconds:.1f} s, exit status {kill.status}, "
                f"had continued at {kill.continued_at}",
                flush=True,
            )
        found = differences(undisturbed, workdir)
        bad += found
        verdict = f"DIFFERENTLY: {'; '.join(found)}" if found else "like the undisturbed one"
        print(f"  run {rounds} ended {verdict}", flush=True)
    bad += [f"exit status {kill.status} after {kill.kind}" for kill in kills if not kill.is_as_expected]
    print_table(kills, rounds, problems=bad)
    return int(bool(bad))


def print_table(kills: list[Kill], rounds: int, *, problems: list[str]) -> None:
    """Print the result as a table in Markdown."""
    print("\n| signal | kills | saved and stopped (75) | was just complete (0) | ended at once |\n|---|---|---|---|---|")
    for kind in KINDS:
        statuses = Counter(kill.status for kill in kills if kill.kind == kind)
        stopped, complete = statuses[STOPPED], statuses[COMPLETE]
        print(f"| {kind} | {statuses.total()} | {stopped} | {complete} | {statuses.total() - stopped - complete} |")
    places = len({kill.continued_at for kill in kills})
    print(f"\n{len(kills)} kills in {rounds} runs, continued at {places} places; problems: {problems or 'none'}")


def main(argv: list[str]) -> int:
    """Run in the given folder, or in a temporary one."""
    del argv
    logging.set_verbosity(logging.FATAL)
    # A shell starts its background jobs with Ctrl-C ignored, and so would be every process that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if FLAGS.folder:
        Path(FLAGS.folder).mkdir(parents=True, exist_ok=True)
        return run(Path(FLAGS.folder).absolute())
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder))


if __name__ == "__main__":
    app.run(main)
