"""Where a run starts: after a kill, on other devices, from another run's weights, beyond its former end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.checkpointing.integrity import state_digest
from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.model_file import Origin, write_model_file
from pggan_jax.checkpointing.restore import restore_or_create
from pggan_jax.checkpointing.trained_model import Weights, load_trained_model
from pggan_jax.config.io import settings_of
from pggan_jax.errors import UserError
from tests.helpers.command_line import environment
from tests.helpers.runs import (
    FIRST_TICK,
    TOTAL,
    assert_states_close,
    brief_config,
    copy_of,
    digest,
    finished_labelled_run,
    lasting,
    on_devices,
    run_small,
    small_config,
    small_loader,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]


class TestKilledBetweenStatisticsAndCheckpoint:
    """The statistics are written first: a kill between the two neither loses nor doubles a line."""

    @pytest.mark.parametrize("lines", [1, 2])
    def test_at_the_end_of_a_tick(self, finished, tmp_path, lines):
        """The last checkpoint is missing, the last line is there, or was not written either."""
        workdir = copy_of(finished, tmp_path)
        shutil.rmtree(workdir / "checkpoints" / str(TOTAL))
        lines_then = (workdir / "stats.jsonl").read_text().splitlines(keepends=True)
        (workdir / "stats.jsonl").write_text("".join(lines_then[:lines]))
        assert run_small(workdir, small_config())
        assert lasting(stats(workdir)) == lasting(stats(finished))
        assert digest(workdir) == digest(finished)

    def test_no_checkpoint_is_ever_ahead_of_the_statistics(self, tmp_path, monkeypatch):
        save, seen = Checkpoints.save, []

        def note(checkpoints, state, metadata):
            seen.append((metadata.images_seen, [record["images_seen"] for record in stats(tmp_path)]))
            return save(checkpoints, state, metadata)

        monkeypatch.setattr(Checkpoints, "save", note)
        assert run_small(tmp_path, small_config())
        assert seen == [(FIRST_TICK, [FIRST_TICK]), (TOTAL, [FIRST_TICK, TOTAL])]


class TestOtherDevices:
    STOP = 112  # in mid-fade and in mid-tick

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory):
        workdir = tmp_path_factory.mktemp("elastic") / "whole"
        assert run_small(workdir, brief_config())
        return workdir

    @pytest.mark.parametrize(
        ("first", "then"), [(4, 2), (1, 4), *(pytest.param(*counts, marks=pytest.mark.slow) for counts in ((4, 1), (2, 4)))]
    )
    def test_a_run_moves(self, whole, tmp_path, first, then):
        with on_devices(first):
            assert not run_small(tmp_path, brief_config(), stop_at=self.STOP)
        before = digest(tmp_path)
        with on_devices(then):
            assert run_small(tmp_path, brief_config())
        assert before != digest(tmp_path)
        ours, theirs = load_trained_model(tmp_path), load_trained_model(whole)
        assert int(ours.state.step) == int(theirs.state.step) == 15
        assert_states_close(ours.state, theirs.state, 1e-3)
        for name in ("steps", "loss_g", "loss_d", "real_score", "fake_score", "gradient_penalty"):
            assert stats(tmp_path)[0][name] == pytest.approx(stats(whole)[0][name], rel=1e-3, abs=1e-4)

    def test_an_impossible_count_is_refused_with_those_that_are_possible(self, whole, tmp_path):
        workdir = copy_of(whole, tmp_path)
        with on_devices(3), pytest.raises(UserError, match=r"set it to \d+ or 24, or use 1, 2 devices \(JAX_NUM_CPU_DEVICES=2"):
            run_small(workdir, brief_config())
        assert digest(workdir) == digest(whole)

    @pytest.mark.slow
    def test_from_eight_down_to_one_and_up_again(self, tmp_path):
        for name, plan in (("whole", {8: 0.96}), ("moved", {8: 0.192, 1: 0.48, 4: 0.96})):
            for count, total in plan.items():
                settings = dict(settings_of(small_config())) | {
                    "schedule.batch_size": 32,
                    "schedule.total_kimg": total,
                    "schedule.stable_kimg": 0.32,
                    "schedule.fade_kimg": 0.32,
                    "run.keep_last": 9,
                }
                known = {"data", "generator", "discriminator", "schedule", "run", "optimizer"}
                words = [
                    word
                    for path, value in settings.items()
                    if path.split(".")[0] in known and not isinstance(value, (dict, str))
                    for word in ("--set", f"{path}={value}")
                ]
                flags = ["--set", "schedule.tick_kimg_at=", "--set", "run.grid=4x2", "--allow_config_change"]
                command = [sys.executable, "launch.py", f"--config={ROOT}/experiments/smoke.py", *words, *flags]
                env = environment() | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
                done = subprocess.run(
                    [*command, f"--workdir={tmp_path / name}"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
                )
                assert done.returncode == 0, done.stdout + done.stderr
                assert f"{count} x cpu" in done.stdout
        ours, theirs = load_trained_model(tmp_path / "moved"), load_trained_model(tmp_path / "whole")
        assert ours.metadata.images_seen == theirs.metadata.images_seen == 960
        assert_states_close(ours.state, theirs.state, 2e-3)


@pytest.mark.parametrize(
    "changes", [{"schedule__total_kimg": 1.0}, {"schedule__stable_kimg": 0.16, "schedule__fade_kimg": 0.16}]
)
def test_a_schedule_that_ends_too_early_is_refused(finished, tmp_path, changes):
    """Nothing is changed: the former settings stay stored."""
    workdir = copy_of(finished, tmp_path)
    before = digest(workdir), (workdir / "config.json").read_bytes()
    with pytest.raises(UserError) as caught:
        run_small(workdir, small_config(**changes), allow_config_change=True)
    message = str(caught.value)
    assert ": the run has reached kimg 1.92, and the schedule now ends at " in message
    assert "set schedule.total_kimg to at least 1.92" in message
    assert "\n" not in message
    assert (digest(workdir), (workdir / "config.json").read_bytes()) == before


def begin(folder, config):
    """The starting point of a run in an empty or a used folder."""
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return restore_or_create(config, small_loader(config.data, config.run.seed), checkpoints=checkpoints, has_begun=False)
    finally:
        checkpoints.close()


def at_eight(source, **changes):
    return small_config(schedule__start_resolution=8, run__init_from=str(source), **changes)


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


class TestWarmStart:
    @pytest.mark.parametrize(("kimg", "checkpoint"), [("", "latest"), ("@1.008", "1.008")])
    def test_takes_weights_and_average_and_nothing_else(self, finished, tmp_path, kimg, checkpoint):
        source, beginning = load_trained_model(finished, checkpoint), begin(tmp_path, at_eight(f"{finished}{kimg}"))
        fresh = begin(tmp_path / "fresh", small_config(schedule__start_resolution=8)).state
        for name in ("generator", "discriminator", "generator_ema"):
            mine, theirs = (flatten_dict(getattr(state, name), sep="/") for state in (beginning.state, source.state))
            assert mine.keys() <= theirs.keys()
            assert all(np.array_equal(mine[path], theirs[path]) for path in mine)
        assert not equal(beginning.state.generator, beginning.state.generator_ema)
        for name in ("step", "images_seen", "generator_moments", "discriminator_moments", "skipped_generator"):
            assert equal(getattr(beginning.state, name), getattr(fresh, name))
        assert beginning.metadata.images_seen == beginning.metadata.rollbacks == 0
        line, *notes = beginning.lines
        assert line.startswith(f"starting from kimg {source.metadata.images_seen / 1000:g}, 8x8, of another run: G kept ")
        # A fade is not continued: the log says so, and which checkpoints to take instead.
        assert len(notes) == (source.metadata.alpha < 1)
        if notes:
            where = f"kimg {source.metadata.images_seen / 1000:g} of the other run is in the middle of fading in 8x8"
            assert where in notes[0]
            assert f"from alpha {source.metadata.alpha:.3f} to full weight (alpha 1)" in notes[0]
            assert notes[0].endswith("its checkpoints at full weight: @1.92")

    @pytest.mark.parametrize("has_discriminator", [True, False])
    def test_from_a_model_file(self, finished, tmp_path, has_discriminator):
        """As from the run itself; without a discriminator, that of the new run is fresh."""
        source, path = load_trained_model(finished, "1.92"), tmp_path / "model.safetensors"
        weights = Weights(source.state.generator_ema, source.state.generator, source.state.discriminator)
        weights = weights if has_discriminator else weights._replace(discriminator=None)
        write_model_file(path, replace(source, state=weights), Origin())
        from_file, from_run = begin(tmp_path / "a", at_eight(path)), begin(tmp_path / "b", at_eight(f"{finished}@1.92"))
        fresh = begin(tmp_path / "c", small_config(schedule__start_resolution=8)).state
        assert equal(from_file.state.generator, from_run.state.generator)
        assert equal(from_file.state.generator_ema, from_run.state.generator_ema)
        wanted = from_run.state if has_discriminator else fresh
        assert equal(from_file.state.discriminator, wanted.discriminator)
        assert ("without a discriminator" in from_file.lines[0]) != has_discriminator

    def test_at_a_lower_resolution_of_the_source(self, tmp_path):
        assert not run_small(tmp_path / "source", small_config(), stop_at=32)
        source = load_trained_model(tmp_path / "source").state
        beginning = begin(tmp_path / "new", at_eight(tmp_path / "source"))
        for name in ("generator", "discriminator", "generator_ema"):
            mine, theirs = (flatten_dict(getattr(state, name), sep="/") for state in (beginning.state, source))
            kept = mine.keys() & theirs.keys()
            assert {"block_4x4/conv/kernel", "block_4x4/conv/bias"} <= kept
            assert all(np.array_equal(mine[path], theirs[path]) for path in kept)
            assert {path.split("/")[0] for path in mine.keys() - kept} >= {"block_8x8"}

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (lambda source, _: at_eight(source.parent / "nowhere"), "holds no run"),
            (lambda source, _: at_eight(f"{source}@7"), "there is none at that kimg; there are: latest, 1.008, 1.92"),
            (
                lambda source, _: small_config(run__init_from=str(source)),
                "of 8x8, larger than where this run starts; set schedule",
            ),
            (lambda source, _: at_eight(source, generator__fmap_max=4), "of other widths "),
            (lambda source, _: at_eight(source, data__channels=3), "for 1 channels and 0 classes; these data have 3 and 0"),
            (lambda _, labelled: at_eight(labelled), "for 1 channels and 10 classes; these data have 1 and 0"),
        ],
        ids=["no run", "no such kimg", "larger", "widths", "channels", "classes"],
    )
    def test_what_does_not_fit_is_one_line_and_claims_no_folder(self, finished, tmp_path, tmp_path_factory, config, words):
        refused = config(finished, finished_labelled_run(tmp_path_factory.getbasetemp()))
        with pytest.raises(UserError) as caught:
            run_small(tmp_path / "run", refused)
        message = str(caught.value)
        assert message.startswith(f"run.init_from = {refused.run.init_from!r}: ")
        assert words in message
        assert "\n" not in message
        assert not (tmp_path / "run" / "config.json").exists()
        assert not run_small(tmp_path / "run", at_eight(finished), stop_at=16), "once that is fixed, the same folder works"

    def test_continues_by_the_same_command_without_its_source(self, finished, tmp_path):
        source = copy_of(finished, tmp_path, "source")
        config = at_eight(source, schedule__total_kimg=0.16)
        assert run_small(tmp_path / "whole", config)
        assert not run_small(tmp_path / "run", config, stop_at=48)
        shutil.rmtree(source)
        assert run_small(tmp_path / "run", config)
        assert digest(tmp_path / "run") == digest(tmp_path / "whole")
        log = (tmp_path / "run" / "log.txt").read_text()
        assert log.count("starting from kimg 1.92") == 1
        assert log.count("continuing at kimg 0.0") == 1


@pytest.mark.slow
class TestExtended:
    """A finished run continues from its last state."""

    @pytest.mark.parametrize("changes", [{"schedule__total_kimg": 3.0}, {"data__resolution": 16}])
    def test_begins_with_its_last_state(self, finished, tmp_path, changes):
        workdir = copy_of(finished, tmp_path)
        beginning = begin(workdir, small_config(**changes))
        assert state_digest(beginning.state) == digest(finished)
        assert beginning.metadata.images_seen == TOTAL

    def test_by_one_more_resolution(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        assert not run_small(workdir, small_config(data__resolution=16), stop_at=TOTAL + 32, allow_config_change=True)
        log = (workdir / "log.txt").read_text()
        assert "configuration changed: data.resolution: 8 -> 16" in log
        assert "growing to 16x16: G kept 10 leaves" in log
        trained = load_trained_model(workdir)
        assert (trained.metadata.resolution, trained.metadata.images_seen) == (16, TOTAL + 32)
        assert int(trained.state.step) == 122
        assert [json.loads(line)["images_seen"] for line in (workdir / "stats.jsonl").open()] == [FIRST_TICK, TOTAL]
