"""The command line that all studies share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from absl import flags, logging

from experiments.paper.study.cost import estimate_lines, estimated_minutes
from experiments.paper.study.figures import write_pictures
from experiments.paper.study.folder import Folder, claim, recorded_scale
from experiments.paper.study.plan import Lengths, Plan, Study, make_plan
from experiments.paper.study.results import collect, write
from experiments.paper.study.runner import Runner
from experiments.paper.study.settings import scale_for
from experiments.paper.study.tables import table
from pggan_jax.config.io import parse_value
from pggan_jax.errors import UserError, one_line
from pggan_jax.flag_help import describe_flags, flag_problem
from pggan_jax.system.files import write_atomically
from pggan_jax.system.paths import user_path
from pggan_jax.system.portability import in_main_thread

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", "", "folder for the runs and the results (default: runs/paper/NAME)", flag_values=FLAGS)
flags.DEFINE_string("seeds", "0-2", "seeds of the runs, as 0-2 or 0,5", flag_values=FLAGS)
flags.DEFINE_list("variants", [], "some of the variants, with commas between them (default: all)", flag_values=FLAGS)
flags.DEFINE_integer(
    "jobs", 1, "runs at a time; on a GPU 8 to 12 small ones share a card", flag_values=FLAGS, lower_bound=1, upper_bound=256
)
flags.DEFINE_float(
    "scale", 1.0, "factor on the lengths of all runs; recorded", flag_values=FLAGS, lower_bound=1e-4, upper_bound=1e4
)
flags.DEFINE_float(
    "minutes",
    0.0,
    "choose --scale so that all runs take about so many minutes, by the estimate of launch.py plan",
    flag_values=FLAGS,
    lower_bound=0.0,
)
flags.DEFINE_boolean("quick", False, "tiny runs that test the program in a minute; no results", flag_values=FLAGS)
flags.DEFINE_boolean("dry_run", False, "print the runs and what they cost, and write nothing", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "a setting of all runs, as for launch.py: --set generator.fmap_max=64", flag_values=FLAGS)

INTERRUPTED, MISTAKE, FAILED = 130, 2, 1
_MOST_SEEDS = 1000
Build = Callable[[flags.FlagValues], Study]


def run_script(build: Build, document: str, argv: Sequence[str], *, values: flags.FlagValues = FLAGS) -> int:
    """Run a study as a command.

    Args:
        build: makes the study from the flags.
        document: text of --help.
        argv: the command line.
        values: flags; a script may add its own to `FLAGS`.

    Returns:
        0 if all runs are complete, 1 if some have failed, 2 for a mistake, 130 after Ctrl-C.
    """
    logging.set_verbosity(logging.ERROR)
    words = [_with_underscores(word) for word in argv[1:]]
    if any(word in ("--help", "-h", "help") for word in words):
        listed = describe_flags(values, obvious=("", 0.0))
        print(f"{document.strip()}\n\nflags:{listed}")
        return 0
    try:
        study, plan, folder = _prepare(build, argv[0], words, values)
        if values["dry_run"].value:
            for line in estimate_lines(plan, jobs=values["jobs"].value):
                print(line, flush=True)
            return 0
        claim(folder, plan)
        return _run(study, plan, folder, command=_command(argv), jobs=values["jobs"].value)
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return MISTAKE
    except OSError as error:
        print(one_line(f"error: {error.filename or 'output'}: {error.strerror or error}"), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _with_underscores(word: str) -> str:
    """Accept --dry-run for --dry_run."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _prepare(build: Build, script: str, words: Sequence[str], values: flags.FlagValues) -> tuple[Study, Plan, Folder]:
    """Read the flags.

    Raises:
        UserError: a flag is unknown or its value cannot be used.
    """
    try:
        rest = values([script, *words])[1:]
    except flags.Error as error:
        raise UserError(f"{flag_problem(error)}; see python {script} --help") from None
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags start with --; see python {script} --help")
    study = build(values)
    folder = Folder(user_path(values["out"].value or f"runs/paper/{study.name}", named="--out=").absolute())
    lengths = Lengths(values["scale"].value, values["quick"].value, tuple(values["set"].value))
    for text in lengths.settings:
        path, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: must be name=value, such as --set generator.fmap_max=64")
        parse_value(path, value)
    seeds = parse_seeds("0" if lengths.is_quick and not values["seeds"].present else values["seeds"].value)
    plan = make_plan(study, names=values["variants"].value, seeds=seeds, lengths=lengths)
    for name, reason in plan.left_out.items():
        print(f"{name} is left out: it {reason}", file=sys.stderr)
    if minutes := values["minutes"].value:
        if values["scale"].present:
            raise UserError("--minutes and --scale: give one of them, as --minutes chooses the scale")
        scale = recorded_scale(folder)
        if scale is None:
            print("estimating what the runs take, by launch.py plan", file=sys.stderr)
            scale = scale_for(minutes, estimated_minutes(plan))
            print(f"--minutes={minutes:g}: all lengths times {scale:g}", file=sys.stderr)
        lengths = Lengths(scale, lengths.is_quick, lengths.settings)
        plan = make_plan(study, names=values["variants"].value, seeds=seeds, lengths=lengths)
    return study, plan, folder


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as "0-2,7".

    Raises:
        UserError: the text has another form, names a seed twice, or more than 1,000.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or max(len(first), len(last)) > 9:
            raise UserError(f"--seeds={text}: {part.strip()!r} is neither a number nor a range; write seeds as 0-2,7")
        seeds += range(int(first), int(last or first) + 1)[:_MOST_SEEDS]
    if not 0 < len(seeds) == len(set(seeds)) < _MOST_SEEDS:
        raise UserError(f"--seeds={text}: must be 1 to {_MOST_SEEDS} different seeds, such as 0-2,7")
    return tuple(seeds)


def _command(argv: Sequence[str]) -> str:
    """Return the command line without paths that are of interest on this machine alone."""
    script = os.path.relpath(argv[0], Path(__file__).resolve().parents[3]) if argv[0] else "study.py"
    return shlex.join(["python", script, *argv[1:]])


def _run(study: Study, plan: Plan, folder: Folder, *, command: str, jobs: int) -> int:
    """Run what is missing, and write the outputs after each run."""

    def write_all() -> dict[str, Any]:
        results = collect(plan, folder, problems=runner.problems, command=command, jobs=jobs)
        write(folder.path / "results.json", results)
        write_atomically(folder.path / "table.md", table(results, study.remarks(results)).encode())
        write_pictures(plan, folder, results)
        return results

    runner = Runner(plan, folder, jobs, on_result=lambda: write_all() and None)
    is_complete = runner()
    if not is_complete:
        print(f"stopped; this continues: {command}", file=sys.stderr)
        return INTERRUPTED
    write_all()
    with suppress(OSError):
        print((folder.path / "table.md").read_text(encoding="utf-8"))
    print(f"written to {folder.path}: results.json, table.md, figure.svg, contact_sheet.png")
    if runner.problems:
        print(f"{len(runner.problems)} runs have failed; the same command tries them again", file=sys.stderr)
    return FAILED if runner.problems else 0


def main(build: Build, document: str) -> None:
    """Run the script and exit."""
    import signal

    # A shell starts its background jobs with Ctrl-C ignored.
    if in_main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run_script(build, document, sys.argv))
