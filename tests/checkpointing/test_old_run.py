"""A run that was started by an earlier version, stopped in the middle of a fade and of a tick, continues with this one.

`golden/old_run/mid_fade.zip` is its folder, by `launch.py` with `flags()`: stopped at 1,120 images, with two sums in each
checkpoint, checksums of files beside them, and leaves in the state that were removed later.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from tests.helpers.command_line import small_flags
from tests.helpers.damage import flip_bytes
from tests.helpers.runs import FIRST_TICK, TOTAL, assert_states_close, digest, lasting, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "golden" / "old_run" / "mid_fade.zip"
STOP = 1120


def config_then():
    return small_config(generator__fmap_max=4, discriminator__fmap_max=4, run__checkpoint_ticks=99)


@pytest.fixture
def old_run(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "old_run"


def flags():
    """`config_then()` as a command line."""
    return [*small_flags(), "--set=generator.fmap_max=4", "--set=discriminator.fmap_max=4", "--set=run.checkpoint_ticks=99"]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The same run by this version, without a stop."""
    workdir = tmp_path_factory.mktemp("today") / "run"
    assert run_small(workdir, config_then())
    return workdir


def test_continues_to_the_same_end(old_run, whole_run):
    """Up to rounding: this process compiles otherwise, and for more devices."""
    assert run_small(old_run, config_then())
    assert "continuing at kimg 1.1, resolution 8" in (old_run / "log.txt").read_text()
    assert "moved to" not in (old_run / "log.txt").read_text()
    assert [record["images_seen"] for record in stats(old_run)] == [FIRST_TICK, TOTAL]
    for name in ("steps", "alpha", "skipped_steps"):
        assert stats(old_run)[1][name] == stats(whole_run)[1][name]
    for name in ("loss_d", "loss_g", "real_score"):
        assert stats(old_run)[1][name] == pytest.approx(stats(whole_run)[1][name], rel=0.05, abs=0.05)
    ours, theirs = load_trained_model(old_run).state, load_trained_model(whole_run).state
    assert int(ours.step) == int(theirs.step)
    assert_states_close(ours.generator_ema, theirs.generator_ema, 0.2)


@pytest.mark.slow
def test_continues_to_the_same_end_to_the_bit(old_run, tmp_path):
    """By commands, as a user compiles; on a processor that rounds as the one of the stored run does."""
    changed = ("XLA_FLAGS", "NPROC", "JAX_DISABLE_MOST_OPTIMIZATIONS")
    env = {name: value for name, value in os.environ.items() if name not in changed}
    for workdir in (old_run, tmp_path / "whole"):
        command = [sys.executable, "launch.py", *flags(), f"--workdir={workdir}"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    ours, theirs = lasting(stats(old_run)), lasting(stats(tmp_path / "whole"))
    if ours[0] != theirs[0]:
        pytest.skip("this processor rounds otherwise than that of the stored run")
    assert ours == theirs
    assert digest(old_run) == digest(tmp_path / "whole")


def test_its_metadata_is_converted(old_run):
    metadata = load_trained_model(old_run).metadata
    assert (metadata.images_seen, metadata.resolution, metadata.alpha) == (STOP, 8, pytest.approx(0.65))
    assert (metadata.channels, metadata.label_size, metadata.tick_steps) == (1, 0, 7)
    assert metadata.microbatches == {"4": [16, 16], "8": [16, 16]}
    assert metadata.tick_sums.keys() == {"loss_d", "loss_g", "real_score", "fake_score", "gradient_penalty"}
    assert metadata.tick_sums["gradient_penalty"] > 0
    assert metadata.data_record.images == 1797


@pytest.mark.parametrize("name", ["rollbacks", "tick_steps"])
def test_damage_to_its_metadata_is_noticed(old_run, name):
    file = old_run / "checkpoints" / str(STOP) / "position" / "metadata"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {name: document[name] + 1}))
    with pytest.raises(UserError, match="do not have the digest"):
        load_trained_model(old_run)


def test_damage_to_its_state_is_noticed(old_run):
    flip_bytes(old_run / "checkpoints" / str(STOP))
    with pytest.raises(UserError, match="cannot be restored"):
        load_trained_model(old_run)


def test_commands_read_it(old_run, launch, tmp_path):
    status, out, _ = launch("inspect", f"--workdir={old_run}", "--json")
    assert status == 0
    assert json.loads(out)["images_seen"] == STOP
    assert launch("sample", f"--workdir={old_run}", f"--out={tmp_path}/images", "--seeds=0-2")[0] == 0
    assert len(list((tmp_path / "images").glob("*.png"))) == 3
    measure = ("--metrics=swd_small", "--num_images=64")
    assert launch("evaluate", f"--workdir={old_run}", *measure, f"--out={tmp_path}/metrics")[0] == 0


def test_is_small_and_names_no_machine():
    assert ARCHIVE.stat().st_size < 150_000
    with zipfile.ZipFile(ARCHIVE) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert not any(path in content for path in (b"/tmp", b"/home", b"/work", b"/Users"))
    assert np.char.find(archive.namelist(), "lock").max() == -1
