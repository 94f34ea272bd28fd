"""Interrupted preparation: killed, stopped, full disk; it continues, and nothing unfinished is used."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pggan_jax.data.preparation import prepare as prepare_module
from pggan_jax.data.preparation import resumable
from pggan_jax.data.preparation.npy_writer import ArrayFile
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import PreparationSpec
from tests.helpers.array_source import COUNT, ArraySource, content, labelled, names, noise, refusal

ROOT = Path(__file__).parents[3]
PLAIN = PreparationSpec(8)


PROGRAM = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    if __name__ == "__main__":
        from tests.helpers.array_source import COUNT, labelled
        from pggan_jax.data.preparation import resumable, worker_pool
        from pggan_jax.data.preparation.spec import PreparationSpec
        from pggan_jax.data.preparation.prepare import prepare
        from pggan_jax.errors import UserError
        folder = Path(sys.argv[1])
        log = folder.with_name("log")
        {body}
"""


def run_program(folder, body, **more):
    """Run a preparation in a process of its own."""
    text = textwrap.dedent(PROGRAM).format(tests=str(ROOT / "tests"), body=body)
    return subprocess.run(
        [sys.executable, "-c", text, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def is_running(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def fully_prepared(folder, preparation=PLAIN):
    """Return the files of an uninterrupted preparation."""
    prepare(labelled(), preparation, folder=folder, workers=0)
    return content(folder)


class TestInterrupted:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_killed(self, tmp_path, workers):
        """Whatever stood at the kill, the same command ends with the same bytes, and does not start over."""
        out = tmp_path / "out"
        done = run_program(
            out,
            "resumable.SECONDS_BETWEEN_JOURNALS = 0; "
            f"prepare(labelled(log=log, trouble={{580: 'kill'}}), PreparationSpec(8), folder=folder, workers={workers})",
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert names(tmp_path) == ["log", "out.partial"]
        assert "info.json" not in names(tmp_path / "out.partial")
        _, processes = ArraySource(noise(1, 4), log=tmp_path / "log").reads()
        assert 1 <= len(processes) <= max(workers, 1)
        limit = time.monotonic() + 10
        while any(map(is_running, processes)):
            assert time.monotonic() < limit, "workers outlive the program"
            time.sleep(0.05)

        reported = []
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=out, workers=0, report=reported.append)
        numbers, _ = again.reads()
        assert numbers == list(range(numbers[0], COUNT))
        assert 100 < numbers[0] <= 580
        assert reported == [f"continuing after {numbers[0]:,} finished images"]
        assert names(tmp_path) == ["again", "log", "out"]
        assert content(out) == fully_prepared(tmp_path / "whole")

    def test_killed_before_the_first_journal(self, tmp_path):
        done = run_program(
            tmp_path / "out", "prepare(labelled(trouble={580: 'kill'}), PreparationSpec(8), folder=folder, workers=0)"
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert "journal.json" not in names(tmp_path / "out.partial")
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(COUNT))
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    def interrupted(self, out, at=580, preparation=PLAIN, **more):
        """A folder in the state that Ctrl-C leaves, which is that of the last whole block."""
        with pytest.raises(KeyboardInterrupt):
            prepare(labelled(trouble={at: "interrupt"}, **more), preparation, folder=out, workers=0)
        assert names(out.parent) == ["out.partial"]
        return out.with_name("out.partial")

    @pytest.mark.parametrize("preparation", [PreparationSpec(8), PreparationSpec(8, copies_mirrored=True, shuffle_seed=6)])
    @pytest.mark.parametrize("bad", [set(), {3, 300, 599}, set(range(300))])
    def test_ctrl_c(self, tmp_path, preparation, bad):
        partial = self.interrupted(tmp_path / "out", preparation.order(COUNT)[580], preparation, bad=frozenset(bad))
        assert names(partial) == ["journal.json", "labels.npy", "lock", "r0004.npy", "r0008.npy"]
        again = labelled(log=tmp_path / "again", bad=frozenset(bad))
        prepare(again, preparation, folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == preparation.order(COUNT)[512:].tolist()
        prepare(labelled(bad=frozenset(bad)), preparation, folder=tmp_path / "whole", workers=0)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    def test_between_any_two_writes(self, tmp_path, monkeypatch):
        """An interruption inside a block drops that block, in every file."""
        expected = fully_prepared(tmp_path / "whole")
        whole_append = ArrayFile.append
        for stop in range(9):
            calls = []

            def append(self, rows, calls=calls, stop=stop):
                calls.append(0)
                if len(calls) == stop + 1:
                    whole_append(self, rows[: len(rows) // 2])
                    raise KeyboardInterrupt
                whole_append(self, rows)

            out = tmp_path / f"out{stop}"
            monkeypatch.setattr(ArrayFile, "append", append)
            with pytest.raises(KeyboardInterrupt):
                prepare(labelled(), PreparationSpec(8), folder=out, workers=0)
            monkeypatch.setattr(ArrayFile, "append", whole_append)
            again = labelled(log=tmp_path / f"again{stop}")
            prepare(again, PreparationSpec(8), folder=out, workers=0)
            assert again.reads()[0][0] == [0, 256, 512][stop // 3]
            assert content(out) == expected

    def test_before_a_written_block_counts(self, tmp_path, monkeypatch):
        """Its images that were left out must not be counted, or named twice."""
        progress, bad = resumable.JournalState, frozenset([5, 300])

        def interrupted(*args, **more):
            if args and args[0] > 256:
                raise KeyboardInterrupt
            return progress(*args, **more)

        monkeypatch.setattr(resumable, "JournalState", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(labelled(bad=bad), PLAIN, folder=tmp_path / "out", workers=0)
        monkeypatch.undo()
        again = labelled(log=tmp_path / "again", bad=bad)
        prepare(again, PLAIN, folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(256, COUNT))
        prepare(labelled(bad=bad), PLAIN, folder=tmp_path / "whole", workers=0)
        assert content(tmp_path / "out") == content(tmp_path / "whole")

    @pytest.mark.parametrize("other", ["options", "files"])
    def test_of_other_options_or_files_is_begun_anew(self, tmp_path, other):
        larger = PreparationSpec(8, channels=3, shuffle_seed=9) if other == "options" else PreparationSpec(8)
        self.interrupted(tmp_path / "out", larger.order(COUNT)[580], larger, state="old" if other == "files" else "")
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(COUNT))
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    def test_levels_of_a_larger_resolution_do_not_stay(self, tmp_path):
        images = noise(COUNT, 16)
        with pytest.raises(KeyboardInterrupt):
            prepare(ArraySource(images, trouble={580: "interrupt"}), PreparationSpec(16), folder=tmp_path / "out", workers=0)
        prepare(ArraySource(images), PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert names(tmp_path / "out") == ["info.json", "labels.npy", "mean.png", "r0004.npy", "r0008.npy"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text[: len(text) // 2],
            lambda text: "",
            lambda text: "[]",
            lambda text: json.dumps({**json.loads(text), "images_read": "many"}),
            lambda text: json.dumps({**json.loads(text), "images_read": 10**6}),
            lambda text: json.dumps({**json.loads(text), "skipped": 3}),
            lambda text: json.dumps({**json.loads(text), "skipped": ["x"] * 10**4}),
            lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != "images_read"}),
            lambda text: json.dumps({**json.loads(text), "checksums": {}}),
        ],
    )
    def test_a_damaged_journal_is_not_used(self, tmp_path, change):
        partial = self.interrupted(tmp_path / "out")
        (partial / "journal.json").write_text(change((partial / "journal.json").read_text()))
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(COUNT))
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    @pytest.mark.parametrize("name", ["r0008.npy", "r0004.npy", "labels.npy"])
    @pytest.mark.parametrize("is_gone", [False, True])
    def test_a_shortened_file_is_begun_anew(self, tmp_path, name, is_gone):
        partial = self.interrupted(tmp_path / "out")
        if is_gone:
            (partial / name).unlink()
        else:
            os.truncate(partial / name, 1000)
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(COUNT))
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    def test_after_the_last_image_nothing_is_read_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(prepare_module, "_mean_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert names(tmp_path) == ["out.partial"]
        monkeypatch.undo()
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == []
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    def test_a_worker_killed_for_lack_of_memory(self, tmp_path):
        message = refusal(prepare, labelled(trouble={580: "die"}), PreparationSpec(8), folder=tmp_path / "out", workers=1)
        assert message.startswith("a worker process was killed, most likely for lack of memory")
        assert names(tmp_path) == ["out.partial"]
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0][0] > 0
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")


class TestFullDisk:
    def test_a_file_that_may_not_grow(self, tmp_path):
        done = run_program(
            tmp_path / "out",
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
            "prepare(labelled(), PreparationSpec(8), folder=folder, workers=0)",
        )
        assert done.returncode == 1
        last = done.stderr.strip().split("\n")[-1]
        assert last.startswith(f"pggan_jax.errors.UserError: {tmp_path / 'out'}: the disk is full (File too large)")
        assert "run the same command again, which continues" in last
        assert names(tmp_path) == ["out.partial"]
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == list(range(512, COUNT))
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    @pytest.mark.parametrize("stop", [1, 5, 8])
    @pytest.mark.parametrize("workers", [0, 1])
    def test_in_the_middle_of_a_block(self, tmp_path, monkeypatch, stop, workers):
        append, calls = ArrayFile.append, []

        def full(self, rows):
            calls.append(0)
            if len(calls) > stop:
                append(self, rows[:3])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(self, rows)

        monkeypatch.setattr(ArrayFile, "append", full)
        message = refusal(prepare, labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=workers)
        assert message.startswith(f"{tmp_path / 'out'}: the disk is full (No space left on device); free some space")
        assert not _worker_children()
        monkeypatch.undo()
        prepare(labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    @pytest.mark.parametrize("name", ["write_png", "write_atomically"])
    def test_at_the_very_end(self, tmp_path, monkeypatch, name):
        def full(*_args, **_options):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(prepare_module, name, full)
        assert "the disk is full" in refusal(prepare, labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert names(tmp_path) == ["out.partial"]
        monkeypatch.undo()
        again = labelled(log=tmp_path / "again")
        prepare(again, PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert again.reads()[0] == []
        assert content(tmp_path / "out") == fully_prepared(tmp_path / "whole")

    def test_too_little_space_is_refused_before_any_work(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
        source = labelled(count=10, log=tmp_path / "log")
        rows = 10 * (3 * (64 + 16) + 4)
        slots = 10 * 3 * (64 + 16)
        message = refusal(prepare, source, PreparationSpec(8), folder=tmp_path / "deep/out")
        assert message.startswith(f"{tmp_path / 'deep/out'}: array needs {rows + slots:,} bytes and 1,000 are free")
        assert names(tmp_path) == ["deep"]
        assert names(tmp_path / "deep") == []

    def test_what_an_interrupted_run_has_written_counts_as_free(self, tmp_path, monkeypatch):
        TestInterrupted().interrupted(tmp_path / "out")
        present = sum(path.stat().st_size for path in (tmp_path / "out.partial").iterdir() if path.name != "lock")
        needed = COUNT * (3 * (64 + 16) + 4) + 256 * 3 * (64 + 16)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=needed - present - 1))
        assert "are free" in refusal(prepare, labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=0)
        assert "journal.json" in names(tmp_path / "out.partial")
        # 88 images are left, in one block.
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=needed - present))
        prepare(labelled(), PreparationSpec(8), folder=tmp_path / "out", workers=0)


def _worker_children():
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
