"""A run whose newest checkpoints are damaged: they are named and set aside, and it ends like an uninterrupted one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pggan_jax.config.io import replace_setting
from pggan_jax.errors import UserError
from tests.helpers.command_line import environment
from tests.helpers.damage import (
    data_files,
    empty,
    flip_bytes,
    garble_metadata,
    largest_file,
    lose_half,
    lose_state,
    make_foreign,
    truncate,
    zero_bytes,
)
from tests.helpers.runs import (
    FIRST_TICK,
    TOTAL,
    copy_of,
    digest,
    finished_labelled_run,
    lasting,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]


COMMON = [flip_bytes, truncate, garble_metadata]
RARE = [empty, make_foreign, lose_state, lose_half, zero_bytes]
DAMAGES = [*COMMON, *(pytest.param(damage, marks=pytest.mark.slow) for damage in RARE)]


class TestDamagedNewest:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_run_ends_like_an_undamaged_one(self, finished, tmp_path, damage, capfd):
        workdir = copy_of(finished, tmp_path)
        newest = workdir / "checkpoints" / str(TOTAL)
        damage(newest)
        left = sorted(str(path.relative_to(newest)) for path in newest.rglob("*"))
        assert run_small(workdir, small_config())
        assert digest(workdir) == digest(finished)
        assert lasting(stats(workdir)) == lasting(stats(finished))
        log = (workdir / "log.txt").read_text()
        aside = workdir / "damaged_checkpoints" / str(TOTAL)
        assert log.count(f"WARNING: {newest}: cannot be restored (") == 1
        assert log.count(f"; moved to {aside}\n") == 1
        assert "continuing at kimg 1.0, resolution 8" in log
        assert sorted(str(path.relative_to(aside)) for path in aside.rglob("*")) == left
        captured = capfd.readouterr()
        assert captured.err == "", "damage is reported in the log and nowhere else"
        assert "Event loop" not in captured.out

    def test_of_other_networks(self, finished, tmp_path, tmp_path_factory):
        workdir = copy_of(finished, tmp_path)
        newest = workdir / "checkpoints" / str(TOTAL)
        other = finished_labelled_run(tmp_path_factory.getbasetemp()) / "checkpoints" / "160"
        shutil.rmtree(newest)
        shutil.copytree(other, newest)
        assert run_small(workdir, small_config())
        assert digest(workdir) == digest(finished)
        assert (workdir / "damaged_checkpoints" / str(TOTAL)).is_dir()

    def test_a_second_one_of_the_same_kimg_keeps_the_first(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        for _ in range(2):
            lose_state(workdir / "checkpoints" / str(TOTAL))
            assert run_small(workdir, small_config())
        assert {path.name for path in (workdir / "damaged_checkpoints").iterdir()} == {f"{TOTAL}", f"{TOTAL}_"}
        assert digest(workdir) == digest(finished)


READ_TWICE = """
import pathlib, sys, time
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config.io import replace_setting
from pggan_jax.errors import UserError
for _ in range(2):
    try:
        load_trained_model(pathlib.Path(sys.argv[1]))
    except UserError as error:
        print(error)
    time.sleep(0.3)
"""


def test_no_thread_prints_a_traceback(labelled, tmp_path):
    """Pytest would catch it in this process."""
    workdir = copy_of(labelled, tmp_path)
    for file in data_files(workdir / "checkpoints" / "160"):
        file.write_bytes(file.read_bytes()[:100])
    command = [sys.executable, "-c", READ_TWICE, str(workdir)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout.count(f"{workdir}/checkpoints/160: cannot be restored (") == 2
    assert "Traceback" not in done.stderr
    assert "Event loop" not in done.stderr


class TestSavedAgain:
    def test_a_number_that_was_set_aside_is_saved_and_restored_again(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        truncate(workdir / "checkpoints" / str(TOTAL))
        for _ in range(2):
            assert run_small(workdir, small_config())
        log = (workdir / "log.txt").read_text()
        assert log.count("WARNING: ") == 1
        assert log.count("the run is complete") == 3  # at the end of the copied run, and of both of these


class TestDamagedOlder:
    def test_changes_nothing(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        lose_state(workdir / "checkpoints" / str(FIRST_TICK))
        assert run_small(workdir, small_config())
        assert not (workdir / "damaged_checkpoints").exists()
        assert "WARNING" not in (workdir / "log.txt").read_text()


class TestNoneIsIntact:
    @pytest.mark.parametrize("damage", [flip_bytes, zero_bytes])
    def test_is_one_line_moves_nothing_and_never_starts_over(self, finished, tmp_path, damage):
        workdir = copy_of(finished, tmp_path)
        for images_seen in (FIRST_TICK, TOTAL):
            damage(workdir / "checkpoints" / str(images_seen))
        before = {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*") if path.is_file()}
        statistics = (workdir / "stats.jsonl").read_bytes()
        for _ in range(2):
            with pytest.raises(UserError, match=r"no checkpoint of 2 can be restored: .*1920: .*; .*1008: ") as caught:
                run_small(workdir, small_config())
            assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*") if path.is_file()} == before
        assert (workdir / "stats.jsonl").read_bytes() == statistics
        assert (workdir / "config.json").exists()
        assert not (workdir / "damaged_checkpoints").exists()


def test_the_largest_file_holds_most_of_a_checkpoint(finished):
    """So `truncate` removes most of the state."""
    folder = finished / "checkpoints" / str(TOTAL)
    assert largest_file(folder / "state").stat().st_size > 10_000


def test_settings_that_fit_an_early_level_alone_do_not_go_back_to_it(tmp_path):
    """They are refused: with `run.keep_levels`, training of the later levels would be lost."""
    workdir, config = tmp_path / "run", small_config(schedule__stable_kimg=1.2, run__keep_levels=True, run__keep_last=1)
    assert run_small(workdir, config)
    kept = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    assert {"1008", "3360"} < set(kept)
    narrow = replace_setting(config, "generator.fmap_base", 24)  # narrower at 8x8, equal at 4x4
    with pytest.raises(UserError, match=r"no checkpoint of 1 can be restored: .*: holds other networks: "):
        run_small(workdir, narrow, allow_config_change=True)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == kept
    assert not (workdir / "damaged_checkpoints").exists()
