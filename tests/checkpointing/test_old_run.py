"""A run that was started by an earlier version, stopped in the middle of a fade and of a tick, continues with this one.

`golden/old_run/mid_fade.zip` is its folder: the settings below, stopped at 1,120 images, two sums in each checkpoint, checksums
of files beside them, and leaves in the state that there are no longer.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.checkpointing.integrity import state_digest
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from tests.helpers.damage import flip_bytes
from tests.helpers.runs import FIRST_TICK, TOTAL, assert_states_close, digest, lasting, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
ARCHIVE = Path(__file__).parents[1] / "golden" / "old_run" / "mid_fade.zip"
STOP = 1120


def config_then():
    return small_config(generator__fmap_max=4, discriminator__fmap_max=4, run__checkpoint_ticks=99)


@pytest.fixture
def old_run(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "old_run"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The same run by this version, stopped at the same place on the way; that changes nothing."""
    workdir = tmp_path_factory.mktemp("today")
    assert not run_small(workdir, config_then(), stop_at=STOP)
    stopped = load_trained_model(workdir)
    assert run_small(workdir, config_then())
    return workdir, stopped


def test_continues_to_the_same_end(old_run, whole_run):
    workdir, stopped = whole_run
    old = load_trained_model(old_run)
    assert run_small(old_run, config_then())
    assert "WARNING: " not in (old_run / "log.txt").read_text().replace("WARNING: results may differ", "")
    assert "continuing at kimg 1.1, resolution 8" in (old_run / "log.txt").read_text()
    assert [record["images_seen"] for record in stats(old_run)] == [FIRST_TICK, TOTAL]
    if state_digest(old.state) == state_digest(stopped.state):
        assert digest(old_run) == digest(workdir)
        assert lasting(stats(old_run)) == lasting(stats(workdir))
    else:  # another version, or a processor with other instructions, rounds otherwise from the first step on
        assert_states_close(load_trained_model(old_run).state, load_trained_model(workdir).state, 0.2)


def test_its_metadata_is_converted(old_run, whole_run):
    ours, theirs = whole_run[1].metadata, load_trained_model(old_run).metadata
    for name in ("images_seen", "resolution", "alpha", "channels", "label_size", "tick_steps", "microbatches", "data"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.tick_sums.keys() == theirs.tick_sums.keys()
    for name, value in ours.tick_sums.items():
        assert theirs.tick_sums[name] == pytest.approx(value, rel=0.05, abs=0.05)


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
