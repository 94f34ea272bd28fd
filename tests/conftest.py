"""What every test file shares. The environment is set before any test imports JAX, which reads it once."""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pggan_jax.system.xla_options import prefer_fast_compilation, prefer_fast_convolutions

DEVICES = 4
_DEVICE_FLAG = "--xla_force_host_platform_device_count"
os.environ["NPROC"] = "16"
if _DEVICE_FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICE_FLAG}={DEVICES}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a run on a GPU overrides it
prefer_fast_convolutions()
if os.environ.get("PGGAN_JAX_TEST_COMPILATION") != "full":
    prefer_fast_compilation()  # and so do processes that tests start with these flags

# No test writes to the user's cache folder.
os.environ["PGGAN_JAX_CACHE"] = tempfile.mkdtemp(prefix="pggan_jax_tests_")
atexit.register(shutil.rmtree, os.environ["PGGAN_JAX_CACHE"], ignore_errors=True)

# What is compiled is kept while pytest runs, for all of its processes and for those that tests start; xdist's workers inherit
# the folder from the process that starts them. PGGAN_JAX_TEST_CACHE names one that stays for the next time: half of the suite's
# time goes into compiling.
if "PYTEST_XDIST_WORKER" not in os.environ:
    kept = os.environ.get("PGGAN_JAX_TEST_CACHE")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = kept or tempfile.mkdtemp(prefix="pggan_jax_compiled_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"  # for less, a file is not worth it
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    if not kept:
        atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# A shell starts its background jobs with Ctrl-C ignored, and nohup ignores a closed terminal; processes inherit both.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """Numbers computed once from the official code: layers, schedules, forward passes, losses, metrics."""
    return json.loads((GOLDEN / "reference_values.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def programs_end_with_their_file() -> Iterator[None]:
    """Let go of what a test file compiled.

    Every program holds a few memory maps, of which a process may have 65,530 by Linux's default (`vm.max_map_count`). The whole
    suite would use them up, and XLA then ends the process.
    """
    yield
    import jax  # after the environment above is set

    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Compile without optimising, and each program once per run of pytest; for one test file at a time."""
    from tests.helpers.compiling import compilation_cache_in, jax_settings

    with jax_settings(jax_disable_most_optimizations=True), compilation_cache_in(os.environ["JAX_COMPILATION_CACHE_DIR"]):
        yield


@pytest.fixture
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run 4x4 -> 8x8, for reading only; made once per process."""
    from tests.helpers.runs import finished_run

    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run at 4x4 alone with labels, for reading only; made once per process."""
    from tests.helpers.runs import finished_labelled_run

    return finished_labelled_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run on notes at 8x32 alone, with 13 pitches, for reading only; made once per process."""
    from tests.helpers.runs import finished_sound_run

    return finished_sound_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run 4x4 -> 8x8 whose samples show all digits, for slow tests and reading only; made once per process."""
    from tests.helpers.runs import learned_run

    return learned_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: (exit status, stdout, stderr)."""
    from pggan_jax import cli

    monkeypatch.chdir(Path(__file__).parents[1])

    def run(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        for name in cli.COMMANDS:  # flags keep their values from one command line to the next
            module = sys.modules.get(f"pggan_jax.cli.{name}")
            if module:
                module.FLAGS.unparse_flags()
                for flag in module.FLAGS:
                    module.FLAGS[flag].unparse()
        try:
            status = cli.main(cli.parse(["launch.py", *map(str, words)]))
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return run
