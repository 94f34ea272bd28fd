"""What lies around the program: streams, home folders, systems that lack something, notebooks, and a JAX without a device."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

from pggan_jax import cli
from pggan_jax.cli.terminal import Terminal, streams
from pggan_jax.cli.train import StopRequest
from pggan_jax.config.io import load_config
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.distributed import backend, devices
from pggan_jax.errors import LONGEST_MESSAGE, UserError
from pggan_jax.run_logs.console import Log
from pggan_jax.system.paths import cache_root, user_path
from pggan_jax.system.portability import _NoLocks, block_interrupts, pread
from tests.helpers.command_line import ROOT, SMOKE, environment, one_line_error, small_flags
from tests.helpers.runs import copy_of, run_small, small_config, small_loader, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Recorder:
    """No more of a stream than `print` needs, as notebooks have it; it may fail."""

    def __init__(self, failure=None):
        self.text, self.failure = "", failure

    def write(self, text):
        if self.failure:
            raise self.failure
        self.text += text

    def flush(self):
        if self.failure:
            raise self.failure


FULL, BROKEN = OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(errno.EPIPE, "Broken pipe")


class TestTerminal:
    def test_all_that_print_needs_is_enough(self):
        stream = Recorder()
        print("one\ttwo", flush=True, file=Terminal(stream))
        assert stream.text == "one\ttwo\n"

    @pytest.mark.parametrize("failure", [FULL, BROKEN, ValueError("I/O operation on closed file")])
    def test_a_failure_is_noted_and_what_follows_goes_nowhere(self, failure):
        terminal = Terminal(Recorder(failure))
        for _ in range(3):
            print("x", file=terminal, flush=True)
        assert isinstance(terminal.failure, OSError)
        assert not terminal.isatty()

    def test_or_it_is_raised(self):
        with pytest.raises(BrokenPipeError):
            print("x", file=Terminal(Recorder(BROKEN), raises=True))

    def test_one_that_is_forgotten_leaves_its_stream_alone(self):
        flushed = []
        stream = Recorder()
        stream.flush = lambda: flushed.append(True)
        terminal = Terminal(stream, raises=True)
        del terminal
        gc.collect()
        assert not flushed

    def test_a_stream_that_is_not_there(self):
        terminal = Terminal(None)
        print("x", file=terminal, flush=True)
        assert terminal.failure.errno == errno.EBADF
        assert not terminal.isatty()
        with pytest.raises(OSError, match="fileno"):
            terminal.fileno()

    def test_letters_that_the_encoding_lacks(self):
        stream = io.TextIOWrapper(io.BytesIO(), "ascii")
        print("ko\u010dka \ud800", file=Terminal(stream), flush=True)
        assert stream.buffer.getvalue() == b"ko\\u010dka \\ud800\n"

    @pytest.mark.parametrize("code", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\u202e"])
    def test_codes_do_not_reach_it(self, code):
        stream = Recorder()
        print(f"a{code}b", file=Terminal(stream))
        assert code[0] not in stream.text
        assert stream.text.startswith("a\\")

    def test_a_bar_may_return_to_the_start_of_its_line(self):
        stream = Recorder()
        for text in ("\r 50%", "\r    \r", "\n\x1b[A", "error: a\rb\x1b[A\x1b[2J"):
            Terminal(stream, has_bars=True).write(text)
        assert stream.text == "\r 50%\r    \r\n\x1b[Aerror: a\\rb\\x1b[A\\x1b[2J"

    def test_python_s_last_flush_finds_a_place(self, tmp_path):
        """Else it complains when the program ends, and the exit status is 120."""
        with open("/dev/full", "w") as full:
            terminal = Terminal(full)
            print("x" * 100_000, file=terminal, flush=True)
            assert terminal.failure.errno == errno.ENOSPC
            full.flush()

    def test_streams_are_put_back(self):
        before = sys.stdout, sys.stderr
        seen = []

        def use():
            with streams():
                seen.append(sys.stdout)
                raise UserError("x")

        with pytest.raises(UserError, match="x"):
            use()
        assert seen[0] is not before[0]
        assert (sys.stdout, sys.stderr) == before


class TestCommandsWithoutATerminal:
    WORDS = ("explain", SMOKE, "--kimg=1")

    def run(self, monkeypatch, words, out):
        error = Recorder()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", error)
        try:
            return cli.main(cli.parse(["launch.py", *words])), error.text
        except SystemExit as stop:
            return stop.code, error.text
        finally:
            monkeypatch.undo()

    @pytest.mark.parametrize("words", [WORDS, ("--help",), ("sample", "--help"), ("settings",)], ids=lambda words: words[0])
    def test_a_result_that_is_lost_is_an_error(self, monkeypatch, words):
        monkeypatch.chdir(ROOT)
        for out, reason in ((Recorder(FULL), "No space left on device"), (None, "Bad file descriptor")):
            status, error = self.run(monkeypatch, words, out)
            assert status == 2
            assert error.startswith(f"error: standard output: {reason}: ")
            assert error.count("\n") == 1

    @pytest.mark.parametrize("words", [WORDS, ("--help",), ("settings",)], ids=lambda words: words[0])
    def test_a_reader_that_has_seen_enough_is_none(self, monkeypatch, words):
        monkeypatch.chdir(ROOT)
        assert self.run(monkeypatch, words, Recorder(BROKEN)) == (0, "")

    def test_a_mistake_is_reported_where_it_can_be(self, monkeypatch):
        status, error = self.run(monkeypatch, ["xyzzy"], None)
        assert status == 2
        assert "is not a command" in error

    def test_a_notebook_s_stream_is_enough(self, monkeypatch):
        out = Recorder()
        assert self.run(monkeypatch, self.WORDS, out) == (0, "")
        assert "at kimg 1 (" in out.text

    @pytest.mark.slow
    def test_training_needs_no_terminal(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "stdout", None)
        monkeypatch.setattr(sys, "stderr", None)
        is_complete = run_small(tmp_path / "run", small_config())
        monkeypatch.undo()
        assert is_complete
        assert "tick 2" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_descriptors_that_the_shell_has_closed(tmp_path, closing):
    """Nothing that is opened later takes their numbers."""
    script = f"{sys.executable} launch.py sample --workdir={tmp_path}/none --out={tmp_path}/out {closing}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == (not closing.count("2>"))


def test_no_file_takes_the_number_of_a_closed_one(tmp_path):
    """Libraries write their messages into 2, whatever that is."""
    code = (
        "from pggan_jax.cli.terminal import streams\n"
        "with streams():\n"
        f"    with open('{tmp_path}/file', 'w') as file:\n"
        "        print(file.fileno())\n"
    )
    for closing in ("2>&-", "<&- 2>&-"):
        script = f'{sys.executable} -c "$CODE" {closing}'
        env = os.environ | {"CODE": code}
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert int(done.stdout) > 2


@pytest.mark.slow
@pytest.mark.parametrize("closing", ["2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full", "| head -1"])
def test_a_run_whose_terminal_is_gone_goes_on(tmp_path, closing):
    words = " ".join(f"'{word}'" for word in small_flags())
    script = f"set -o pipefail; {sys.executable} launch.py {words} --workdir={tmp_path}/run {closing}"
    subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment(), timeout=300, check=True)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "tick 2" in log


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_help_without_docstrings(flag):
    script = (
        "from pggan_jax import cli\n"
        "for name in cli.COMMANDS:\n"
        "    try:\n"
        "        cli.parse(['launch.py', name, '--help'])\n"
        "    except SystemExit as stop:\n"
        "        print('status', stop.code)\n"
    )
    done = subprocess.run([sys.executable, flag, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.count("status 0\n") == len(cli.COMMANDS)
    assert "Writes to the workdir: config.json" in done.stdout
    assert done.stdout.count("\nflags:") == len(cli.COMMANDS)


class TestNotebook:
    """One process, several command lines, perhaps in a thread."""

    def test_flags_of_an_earlier_command_line_are_forgotten(self, monkeypatch, tmp_path, capsys):
        cli.parse(["launch.py", "sample", "--seeds=7", "--zoom=3"])
        values = cli.parse(["launch.py", "sample", "--columns=2"]).values
        assert (values["seeds"].value, values["zoom"].value, values["columns"].value) == (None, 1, 2)

    def test_training_in_a_thread(self, finished, tmp_path, launch):
        workdir, results = copy_of(finished, tmp_path), []
        thread = threading.Thread(target=lambda: results.append(launch(*small_flags(), f"--workdir={workdir}")))
        thread.start()
        thread.join()
        ((status, out, err),) = results
        assert (status, err) == (0, "")
        assert "the run is complete at kimg 1.9" in out

    def test_handlers_are_put_back(self, finished, tmp_path, launch):
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        assert launch(*small_flags(), f"--workdir={copy_of(finished, tmp_path)}")[0] == 0
        assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before

    def test_a_request_in_a_thread_is_never_made(self):
        requests = []
        thread = threading.Thread(target=lambda: requests.append(StopRequest()))
        thread.start()
        thread.join()
        assert not requests[0]()


COMMANDS_WITH_JAX = ("train", "plan", "sample", "inspect", "evaluate", "convert_inception")


class TestBackend:
    @pytest.mark.parametrize("command", COMMANDS_WITH_JAX)
    @pytest.mark.parametrize("failure", [RuntimeError("Unable to initialize\nbackend"), AssertionError()])
    def test_each_command_reports_it_in_one_line(self, launch, finished, tmp_path, monkeypatch, command, failure):
        def fail():
            raise failure

        monkeypatch.setattr(devices, "device_count", fail)
        monkeypatch.setenv("JAX_PLATFORMS", "rubbish")
        workdir = copy_of(finished, tmp_path)
        words = {
            "train": [*small_flags(), f"--workdir={workdir}"],
            "plan": small_flags(),
            "convert_inception": ["in.npz", f"{tmp_path}/out.npz"],
        }.get(command, [f"--workdir={workdir}"])
        err = one_line_error(launch(command, *words))
        assert err.startswith("error: JAX_PLATFORMS=rubbish: JAX has no such device here")
        assert "installed: cpu" in err
        assert "unset JAX_PLATFORMS, or install JAX for the device" in err
        assert len(err) <= LONGEST_MESSAGE + 1

    def test_whatever_asks_jax_first(self, monkeypatch):
        """The reason is looked for where an exception has come through JAX."""

        def fail():
            raise RuntimeError("no backend")

        with pytest.raises(TypeError) as of_jax:
            jax.numpy.zeros("x")
        assert backend.describe_backend_error(of_jax.value) == ""
        monkeypatch.setattr(devices, "device_count", fail)
        assert "no backend" in backend.describe_backend_error(of_jax.value)
        monkeypatch.undo()
        assert backend.describe_backend_error(RuntimeError("of another")) == ""

    def test_a_library_that_is_absent(self):
        assert "the library orbax is not installed" in backend.describe_backend_error(
            ModuleNotFoundError("No module", name="orbax")
        )
        assert backend.describe_backend_error(ModuleNotFoundError("No module", name="pggan_jax.mistyped")) == ""

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("JAX_PLATFORMS", "cuda"),
            pytest.param("JAX_PLATFORMS", "tpu", marks=pytest.mark.slow),
            pytest.param("JAX_PLATFORMS", "rubbish", marks=pytest.mark.slow),
            pytest.param("JAX_PLATFORM_NAME", "rubbish", marks=pytest.mark.slow),
            pytest.param("JAX_LOG_COMPILES", "banana", marks=pytest.mark.slow),
        ],
    )
    def test_in_earnest(self, finished, variable, value):
        if value in {device.platform for device in jax.devices()} | {"cuda"} & {os.environ.get("JAX_PLATFORMS")}:
            pytest.skip("it is there")
        env = {name: text for name, text in os.environ.items() if name != "JAX_PLATFORMS"} | {variable: value}
        command = [sys.executable, "launch.py", "inspect", f"--workdir={finished}"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1, done.stderr
        assert f"{variable}={value}" in done.stderr


class TestPaths:
    @pytest.fixture(autouse=True)
    def without_caches(self, monkeypatch):
        for name in ("PGGAN_JAX_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)

    def test_home(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        assert user_path("~/x", named="") == Path("/home/me/x")
        assert user_path("x/~", named="") == Path("x/~")
        assert cache_root() == Path("/home/me/.cache/pggan_jax")

    def test_variables(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv("XDG_CACHE_HOME", "~/elsewhere")
        assert cache_root() == Path("/home/me/elsewhere/pggan_jax")
        monkeypatch.setenv("PGGAN_JAX_CACHE", "~/mine")
        assert cache_root() == Path("/home/me/mine")
        monkeypatch.setenv("PGGAN_JAX_CACHE", " ")
        assert cache_root() == Path("/home/me/elsewhere/pggan_jax")

    def test_no_home(self, monkeypatch):
        monkeypatch.setenv("HOME", "")
        with pytest.raises(UserError, match=r"^--out=~/x: the home folder is not known, set HOME"):
            user_path("~/x", named="--out=")
        with pytest.raises(UserError, match="set PGGAN_JAX_CACHE to a folder"):
            cache_root()

    def test_no_user(self):
        with pytest.raises(UserError, match=r"^--out=~nobody_of_this_name/x: there is no user nobody_of_this_name"):
            user_path("~nobody_of_this_name/x", named="--out=")

    HOMELESS = "~nobody_of_this_name/x"

    @pytest.mark.parametrize("kind", ["folder", "zip", "tfrecords", "prepared", "stacked:folder"])
    def test_of_sources(self, kind):
        with pytest.raises(UserError, match="there is no user nobody_of_this_name"):
            open_source(f"{kind}:{self.HOMELESS}")

    @pytest.mark.parametrize(
        "words",
        [
            ["train", "--workdir=~"],
            ["train", "--config=~"],
            ["train", "--init_from=~", "--workdir=TMP/new"],
            ["sample", "--workdir=~"],
            ["sample", "--out=~", "--workdir=FINISHED"],
            ["inspect", "--workdir=~"],
            ["report", "--workdir=~"],
            ["report", "--out=~", "--workdir=FINISHED"],
            ["evaluate", "--workdir=~"],
            ["evaluate", "--out=~", "--workdir=FINISHED"],
            ["evaluate", "--images=~", "--data=digits"],
            ["prepare", "digits", "--resolution=8", "--out=~"],
            ["prepare", "folder:~", "--resolution=8", "--out=TMP/out"],
            ["show", "digits", "--out=~.png"],
            ["extract", "digits", "--out=~"],
            ["compare", "digits", "folder:~"],
            ["check", "zip:~"],
            ["convert_inception", "~", "TMP/out.npz"],
            ["convert_inception", "in.pth", "~.npz"],
            ["plan", "--config=~"],
            ["explain", "--config=~", "--kimg=1"],
            ["settings", "--config=~"],
        ],
        ids=" ".join,
    )
    def test_of_every_command(self, launch, finished, tmp_path, words):
        replaced = {"FINISHED": str(finished), "TMP": str(tmp_path)}
        for short, long in replaced.items():
            words = [word.replace(short, long) for word in words]
        words = [word.replace("~", self.HOMELESS) for word in words]
        if "--init_from" in words[1]:
            words[1:1] = small_flags()
        status, _, err = launch(*words)
        assert status == 2
        assert "there is no user nobody_of_this_name" in err.splitlines()[-1]
        assert err.count("error: ") == 1

    def test_a_cache_that_cannot_be_written_is_named(self, launch, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("PGGAN_JAX_CACHE", f"{tmp_path}/file/x")
        config = ["--set", "data.source=synthetic:20", "--set", "data.resolution=8"]
        status, _, err = launch(*small_flags(), *config, f"--workdir={tmp_path}/run")
        assert status == 2
        assert err.startswith("error: ")
        assert "set PGGAN_JAX_CACHE to a folder with write permission" in err


class TestSystems:
    """Windows has neither fcntl, os.pread nor pthread_sigmask."""

    HIDING = (
        "import os, signal, sys\n"
        "sys.modules['fcntl'] = None\n"
        "del os.pread, os.sched_getaffinity, signal.pthread_sigmask, signal.SIG_BLOCK, signal.SIGHUP\n"
    )

    def test_every_module_can_be_imported(self, tmp_path):
        """And images are read and checked in other processes."""
        (tmp_path / "sitecustomize.py").write_text(self.HIDING)
        modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "pggan_jax").rglob("*.py")]
        script = (
            f"import importlib\nfor name in {modules}:\n    importlib.import_module(name)\n"
            "from pggan_jax import cli\n"
            "if __name__ == '__main__':\n"
            "    print(cli.main(cli.parse(['launch.py', 'check', 'digits', '--max_images=2', '--resolution=8'])))\n"
        )
        env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        # JAX takes the package filelock where it is installed, and that warns.
        env |= {"PYTHONWARNINGS": "ignore:only soft file lock"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
        assert done.stderr == ""
        assert done.stdout.endswith("\n0\n")

    def test_a_lock_that_cannot_be_had_is_an_error_of_the_system(self):
        with pytest.raises(OSError, match="no file locks") as failed:
            _NoLocks().flock(3, _NoLocks.LOCK_EX | _NoLocks.LOCK_NB)
        assert failed.value.errno == errno.ENOTSUP
        assert not isinstance(failed.value, BlockingIOError)

    def test_reads_at_a_place(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_bytes(bytes(range(200)))
        with (tmp_path / "file").open("rb") as file:
            expected = [pread(file.fileno(), 7, place) for place in range(0, 210, 10)]
            monkeypatch.delattr(os, "pread")
            assert [pread(file.fileno(), 7, place) for place in range(0, 210, 10)] == expected
        assert expected[3] == bytes(range(30, 37))

    def test_interrupts(self, monkeypatch):
        with block_interrupts():
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        monkeypatch.delattr(signal, "pthread_sigmask")
        with block_interrupts():
            pass


class TestExperimentFiles:
    @pytest.mark.parametrize(
        "body",
        [
            "import sys\nsys.exit()",
            "raise SystemExit(0)",
            "raise GeneratorExit",
            "import asyncio\nraise asyncio.CancelledError",
            "class E(BaseException):\n    pass\nraise E('\\x1b[2J\\nx')",
            "def f():\n    f()\nf()",
            "raise MemoryError",
            "raise ValueError('x' * 100_000)",
            "\0",
        ],
    )
    @pytest.mark.parametrize("inside", [False, True])
    def test_whatever_they_raise_is_their_failure(self, launch, tmp_path, body, inside):
        path = tmp_path / "mine.py"
        if inside:
            body = "def get_config():\n" + "".join(f"    {line}\n" for line in body.splitlines())
        path.write_text(body)
        err = one_line_error(launch("settings", f"--config={path}"))
        assert "mine.py: " in err
        assert "cannot be run" in err or "get_config() failed" in err
        assert "\x1b" not in err
        assert len(err) <= LONGEST_MESSAGE + 1

    def test_ctrl_c_is_not(self, tmp_path):
        (tmp_path / "mine.py").write_text("raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            load_config(str(tmp_path / "mine.py"))

    def test_a_folder_named_like_one(self, launch, tmp_path):
        (tmp_path / "mine.py" / "other.py").mkdir(parents=True)
        assert "is a folder; name an experiment file in it" in one_line_error(
            launch("settings", f"--config={tmp_path}/mine.py")
        )
        assert "no such file" in one_line_error(launch("settings", f"--config={tmp_path}/mine.py/none.py"))


def test_names_from_files_cannot_write_on_the_terminal(launch, tmp_path, finished):
    """Neither classes nor settings nor the report of a divergence, wherever they are printed."""
    workdir = copy_of(finished, tmp_path)
    (workdir / "rollbacks.json").write_text('{"rollbacks": 99, "images_seen": 1920, "report": "\\u001b[2Jgone"}')
    status, out, err = launch(*small_flags(), f"--workdir={workdir}")
    assert status == 2
    assert "\x1b" not in out + err
    assert "\\x1b[2Jgone" in err


@pytest.mark.parametrize("stream", [None, "closed", Recorder(FULL), Recorder(BROKEN)])
def test_a_log_needs_no_stream_and_holds_no_codes(tmp_path, monkeypatch, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    log = Log(tmp_path / "log.txt")
    log("class \x1b[2Jcat")
    log.close()
    monkeypatch.undo()
    assert (tmp_path / "log.txt").read_text() == "class \\x1b[2Jcat\n"


def test_one_checkpoint_is_meant(launch, finished, tmp_path):
    words = ["sample", f"--workdir={finished}", "--checkpoint=all", f"--out={tmp_path}/out"]
    assert "--checkpoint=all: names more than one checkpoint" in one_line_error(launch(*words))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="--checkpoint=all"):
        run_small(tmp_path / "run", small_config(run__init_from=f"{finished}@all"))


def test_a_run_that_lost_lines_says_so(finished, tmp_path):
    workdir = copy_of(finished, tmp_path)
    lines = (workdir / "stats.jsonl").read_text().splitlines(keepends=True)
    (workdir / "stats.jsonl").write_text(lines[1])
    run_small(workdir, small_config())
    assert "the lines of 1 finished ticks are missing" in (workdir / "log.txt").read_text()


def test_images_per_second_are_of_the_time_that_was_trained(tmp_path):
    """Compiling, drawing and saving, which take most of these runs, are no training."""
    small_loader.cache_clear()
    run_small(tmp_path / "run", small_config(), shared=False)
    for line in stats(tmp_path / "run"):
        apart = sum(line[f"{phase}_seconds"] for phase in ("compile", "grow", "snapshot", "evaluate", "save"))
        training = line["seconds_per_tick"] - apart
        assert apart > 0
        assert line["images_per_second"] * training == pytest.approx(line["steps"] * 16, rel=1e-3)
