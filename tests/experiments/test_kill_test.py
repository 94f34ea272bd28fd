"""experiments/kill_test.py: two kills of a real process, and what the script compares.

The whole test is the script itself: python experiments/kill_test.py --kills=50
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.helpers.command_line import environment, small_flags
from tests.helpers.runs import TOTAL, copy_of, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kill_test():
    spec = importlib.util.spec_from_file_location("kill_test", ROOT / "experiments" / "kill_test.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_test"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
class TestShortForm:
    def test_a_run_killed_twice_ends_like_an_undisturbed_one(self, kill_test, finished, tmp_path):
        """Once while the first checkpoint is being made, once after a continuation; by SIGKILL, then by Ctrl-C twice."""
        workdir = tmp_path / "run"
        command = [sys.executable, "launch.py", *small_flags(), f"--workdir={workdir}"]
        options = {"cwd": ROOT, "env": environment(), "text": True, "stderr": subprocess.STDOUT}
        for kind, word, statuses in (
            ("SIGKILL", "tick 1", {-signal.SIGKILL}),
            ("SIGINT twice", "growing|data 8x8", {-signal.SIGINT, 75, 130}),
        ):
            with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
                said = []
                for line in process.stdout:
                    said.append(line)
                    if line.startswith(tuple(word.split("|"))):
                        break
                status = kill_test.strike(process, kind)
            assert status in statuses, said
        again = subprocess.run(command, stdout=subprocess.PIPE, timeout=120, **options)
        assert again.returncode == 0, again.stdout
        assert kill_test.differences(finished, workdir) == []


class TestComparison:
    def test_equal_runs(self, kill_test, finished, tmp_path):
        assert kill_test.differences(finished, copy_of(finished, tmp_path)) == []

    def test_different_files(self, kill_test, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        (workdir / "stats.jsonl").write_text("".join((finished / "stats.jsonl").read_text().splitlines(keepends=True)[:1]))
        (workdir / "reals.png").unlink()
        shutil.rmtree(workdir / "checkpoints" / str(TOTAL))
        assert [one.split()[0] for one in kill_test.differences(finished, workdir)] == [
            "checkpoints",
            "stats.jsonl",
            "images",
        ]

    @pytest.mark.slow
    def test_another_seed(self, kill_test, finished, tmp_path):
        assert run_small(tmp_path, small_config(run__seed=3))
        assert len(stats(tmp_path)) == len(stats(finished))
        assert [one.split()[0] for one in kill_test.differences(finished, tmp_path)] == [
            "checkpoints",
            "stats.jsonl",
            "images",
        ]

    def test_where_a_process_continued(self, kill_test):
        assert kill_test.continued_at([{"event": "growth", "kimg": 1.0}]) == "the start"
        events = [{"event": "resume", "kimg": 1.0}, {"event": "save", "kimg": 1.5}, {"event": "resume", "kimg": 2.0}]
        assert kill_test.continued_at(events) == "kimg 2"

    def test_events_of_a_run(self, kill_test, finished, tmp_path):
        assert kill_test.events_of(tmp_path) == []
        workdir = copy_of(finished, tmp_path)
        with (workdir / "events.jsonl").open("a") as file:
            file.write('{"event": "resu')
        names = [event["event"] for event in kill_test.events_of(workdir)]
        assert names == ["start", "growth", "save", "save", "complete"]

    @pytest.mark.parametrize(
        ("kind", "status", "expected"),
        [
            ("SIGKILL", -9, True),
            ("SIGKILL", 75, False),
            ("SIGTERM", 75, True),
            ("SIGTERM", -15, True),
            ("SIGTERM", 1, False),
            ("SIGINT", 130, True),
            ("SIGINT", 0, True),
            ("SIGINT", 2, False),
            ("SIGINT twice", -11, False),
            ("SIGINT twice", "hung", False),
        ],
    )
    def test_exit_statuses_that_a_signal_explains(self, kill_test, kind, status, expected):
        assert kill_test.Kill(kind, 1.0, status, "the start").is_as_expected == expected

    def test_a_process_that_hangs(self, kill_test):
        with mock.patch.object(kill_test, "_TIMEOUT", 0.1), subprocess.Popen(["sleep", "60"]) as process:
            assert kill_test.wait(process) == kill_test.HUNG
            assert process.returncode == -signal.SIGKILL

    def test_the_table_counts_every_kill(self, kill_test, capsys):
        kills = [kill_test.Kill("SIGKILL", 1.0, -9, "the start"), kill_test.Kill("SIGTERM", 2.0, 75, "kimg 1.0")] * 3
        kill_test.print_table(kills, 2, problems=[])
        out = capsys.readouterr().out
        assert "| SIGKILL | 3 | 0 | 0 | 3 |" in out
        assert "| SIGTERM | 3 | 3 | 0 | 0 |" in out
        assert "6 kills in 2 runs, continued at 2 places; problems: none" in out
