"""Whole small runs: one program per resolution, stop and resume without a trace, and what is left in the folder.

The small runs that other files read are made here, once per session.
"""

from __future__ import annotations

import json
import shutil
import weakref

import jax
import numpy as np
import pytest

from pggan_jax.checkpointing.restore import restore_or_create
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config.io import to_json
from pggan_jax.errors import UserError
from pggan_jax.images import grid_size
from pggan_jax.loop import run_setup
from pggan_jax.networks.build import initialize
from pggan_jax.schedule import Schedule
from tests.helpers.runs import (
    BOUNDARY,
    FIRST_TICK,
    MID_FADE,
    TOTAL,
    assert_states_close,
    before_chunks,
    brief_config,
    copy_of,
    data_lines,
    digest,
    events,
    lasting,
    on_devices,
    run_and_listen,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


class TestOneProgramPerResolution:
    @pytest.mark.slow
    def test_two_fades_up_to_sixteen(self, tmp_path):
        """Five stages, three programs; a mapped function compiles under the name `_fun`."""
        stages = Schedule(brief_config(16).schedule, 16).stages
        assert [stage.name for stage in stages] == ["4x4 stable", "8x8 fade", "8x8 stable", "16x16 fade", "16x16 stable"]
        compiled = run_and_listen(tmp_path, brief_config(16))
        assert compiled.count("jit(_fun)") == 3, sorted(set(compiled))
        (record,) = stats(tmp_path)
        assert (record["compiles"], record["resolution"], record["images_seen"]) == (3, 16, 400)

    def test_several_steps_per_call(self, tmp_path):
        """Calls of 3 and 2 steps: as many programs, and the same training within rounding."""
        run_small(tmp_path / "one", brief_config())
        compiled = run_and_listen(tmp_path / "three", brief_config(run__steps_per_call=3))
        assert compiled.count("jit(_fun)") == 2, sorted(set(compiled))
        assert stats(tmp_path / "three")[-1]["compiles"] == 2
        one, three = (load_trained_model(tmp_path / name) for name in ("one", "three"))
        assert int(one.state.step) == int(three.state.step) == 15
        assert_states_close(one.state, three.state, 1e-3)
        for name in ("steps", "loss_g", "loss_d", "real_score", "fake_score", "gradient_penalty"):
            assert stats(tmp_path / "one")[0][name] == pytest.approx(stats(tmp_path / "three")[0][name], rel=1e-3, abs=1e-4)


class TestWhereTheDataLie:
    """On the devices or streamed: the same training to the bit, and no program of the step more."""

    @pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.slow)])
    def test_training_is_bit_identical(self, tmp_path, devices):
        # The second keeps 4x4 (0.03 MB) and streams 8x8 (0.12 MB): 10 of the 15 steps.
        sizes = {"streamed": 0.0, "mixed": 0.05, "resident": 1.0}
        with on_devices(devices):
            for name, size in sizes.items():
                assert run_small(tmp_path / name, brief_config(data__labels=True, run__device_data_mb=size))
        assert len({digest(tmp_path / name) for name in sizes}) == 1
        first, second, third = (lasting(stats(tmp_path / name)) for name in sizes)
        assert first == second == third
        reported = {name: data_lines(tmp_path / name) for name in sizes}
        assert reported == {
            "streamed": ["data 4x4: 0.03 MB, streamed", "data 8x8: 0.12 MB, streamed"],
            "mixed": ["data 4x4: 0.03 MB on each device", "data 8x8: 0.12 MB, streamed"],
            "resident": ["data 4x4: 0.03 MB on each device", "data 8x8: 0.12 MB on each device"],
        }

    @pytest.mark.slow
    def test_gathering_on_the_devices_compiles_no_step(self, tmp_path):
        compiled = run_and_listen(tmp_path, brief_config(run__device_data_mb=1.0))
        assert compiled.count("jit(_fun)") == 2, sorted(set(compiled))
        assert compiled.count("jit(gather_rows)") == 2
        assert stats(tmp_path)[-1]["compiles"] == 2

    def test_resumes_from_where_it_was_streamed(self, tmp_path):
        """A place to keep the data is no part of what was trained: it may change on the way."""
        streamed, resident = (brief_config(run__device_data_mb=size) for size in (0.0, 1.0))
        assert run_small(tmp_path / "whole", streamed)
        assert not run_small(tmp_path / "run", streamed, stop_at=160)
        assert run_small(tmp_path / "run", resident, allow_config_change=True)
        assert digest(tmp_path / "run") == digest(tmp_path / "whole")


class TestResume:
    @pytest.mark.parametrize(
        "stops",
        [(16,), (BOUNDARY,), (MID_FADE,), (FIRST_TICK,), (BOUNDARY - 16, BOUNDARY, BOUNDARY + 16, 1040, TOTAL - 16)],
        ids=["start", "growth boundary", "mid-fade and mid-tick", "end of a tick", "five times"],
    )
    def test_is_bit_identical(self, finished, tmp_path, stops):
        for stop_at in stops:
            assert not run_small(tmp_path / "run", small_config(), stop_at=stop_at)
            assert load_trained_model(tmp_path / "run").metadata.images_seen == stop_at
        assert run_small(tmp_path / "run", small_config())
        assert lasting(stats(tmp_path / "run")) == lasting(stats(finished))
        assert digest(tmp_path / "run") == digest(finished)
        stopped, resumed = ([event["images_seen"] for event in events(tmp_path / "run", name)] for name in ("stop", "resume"))
        assert stopped == resumed == list(stops)

    def test_the_restored_state_is_freed_when_training_starts(self, tmp_path, monkeypatch):
        """The copy on the host is as large as the state on the devices."""
        restored, are_freed = [], []

        def restore(*arguments, **options):
            start = restore_or_create(*arguments, **options)
            restored.append(weakref.ref(start.state))
            return start

        monkeypatch.setattr(run_setup, "restore_or_create", restore)
        with before_chunks(lambda chunk: are_freed.append(restored[0]() is None)):
            assert not run_small(tmp_path, small_config(), stop_at=32)
        assert are_freed == [True, True]

    def test_another_seed_is_another_run(self, tmp_path):
        """The digests above can differ."""
        for name, seed in (("a", 7), ("b", 8)):
            assert not run_small(tmp_path / name, small_config(run__seed=seed), stop_at=32)
        assert digest(tmp_path / "a") != digest(tmp_path / "b")

    def test_after_a_kill_goes_on_from_the_checkpoint_before(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        shutil.rmtree(workdir / "checkpoints" / str(TOTAL))
        with (workdir / "stats.jsonl").open("a") as file:
            file.write('{"tick": 3, "images_s')  # cut off while it was written
        assert run_small(workdir, small_config())
        assert lasting(stats(workdir)) == lasting(stats(finished))
        assert digest(workdir) == digest(finished)

    def test_without_any_checkpoint_left_refuses(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        shutil.rmtree(workdir / "checkpoints")
        with pytest.raises(UserError, match="no checkpoint is left"):
            run_small(workdir, small_config())

    def test_one_that_was_killed_before_its_first_checkpoint_begins_again(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        shutil.rmtree(workdir / "checkpoints")
        (workdir / "checkpoints").mkdir()
        assert run_small(workdir, small_config())
        assert lasting(stats(workdir)) == lasting(stats(finished))
        assert digest(workdir) == digest(finished)

    def test_one_whose_checkpoints_were_emptied_refuses(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        for checkpoint in (workdir / "checkpoints").glob("[0-9]*"):
            shutil.rmtree(checkpoint)
        with pytest.raises(UserError, match="no checkpoint is left"):
            run_small(workdir, small_config())

    def test_a_complete_run_says_so(self, finished, tmp_path, monkeypatch):
        workdir = copy_of(finished, tmp_path)
        monkeypatch.setattr(run_setup, "describe_unknown_jaxlib", lambda: "this jaxlib has not been measured")
        before = (workdir / "stats.jsonl").read_bytes()
        assert run_small(workdir, small_config())
        assert (workdir / "stats.jsonl").read_bytes() == before
        assert [event["event"] for event in events(workdir)][-2:] == ["resume", "complete"]
        assert "\nthis jaxlib has not been measured\n" in (workdir / "log.txt").read_text()

    def test_a_longer_run_goes_on(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        longer = small_config(schedule__total_kimg=2.0)
        assert run_small(workdir, longer, allow_config_change=True)
        assert load_trained_model(workdir).metadata.images_seen == 2000
        (change,) = events(workdir, "config_change")
        assert change["changes"] == ["schedule.total_kimg: 0.0 -> 2.0"]

    def test_a_new_batch_size_that_cuts_a_step_is_refused(self, tmp_path):
        assert not run_small(tmp_path / "run", small_config(), stop_at=MID_FADE - 16)
        with pytest.raises(UserError, match=r"checkpoints/784: .*batch") as caught:
            run_small(tmp_path / "run", small_config(schedule__batch_size=32), allow_config_change=True)
        assert "\n" not in str(caught.value)

    def test_a_schedule_that_would_shrink_the_networks_is_refused(self, tmp_path):
        assert not run_small(tmp_path / "run", small_config(), stop_at=MID_FADE)
        with pytest.raises(UserError, match=r"8x8.*4x4") as caught:
            run_small(tmp_path / "run", small_config(schedule__stable_kimg=0.96), allow_config_change=True)
        assert "\n" not in str(caught.value)


class TestPhases:
    """What happens between two calls when a phase begins."""

    @pytest.mark.parametrize("on_new_phase", ["reset", "carry"])
    def test_adam_begins_anew_where_a_fade_starts_and_where_it_ends(self, tmp_path, on_new_phase):
        """Each phase looked at after its second step."""
        config, counts = brief_config(optimizer__on_new_phase=on_new_phase), []
        begin = [stage.start for stage in Schedule(config.schedule, 8).stages][1:]
        for start in begin:
            assert not run_small(tmp_path, config, stop_at=start + 32)
            state = load_trained_model(tmp_path).state
            assert int(state.generator_moments.count) == int(state.discriminator_moments.count)
            counts.append(int(state.generator_moments.count))
        assert len(counts) == 2
        assert counts == [2 if on_new_phase == "reset" else start // 16 + 2 for start in begin]

    def test_new_layers_are_those_of_the_run_s_seed(self, tmp_path):
        """With steps too small to change a weight, all are still what the seed says after growing."""
        config = brief_config(run__seed=7, schedule__learning_rate=1e-30)
        grown = Schedule(config.schedule, 8).stages[1].start
        assert not run_small(tmp_path, config, stop_at=grown + 16)
        trained = load_trained_model(tmp_path)
        generator, discriminator = initialize(trained.networks, 7)
        assert "block_8x8" in generator
        for ours, seeded in ((trained.state.generator, generator), (trained.state.discriminator, discriminator)):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-20), ours, seeded)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-20), trained.state.generator_ema, generator
        )
        other, _ = initialize(trained.networks, 8)
        assert not np.array_equal(other["block_8x8"]["conv0"]["kernel"], generator["block_8x8"]["conv0"]["kernel"])


LOGS = {"log.txt", "events.jsonl", "stats.jsonl"}


class TestFolder:
    def test_has_everything(self, finished):
        names = {path.name for path in finished.iterdir()}
        images = {"reals.png", "fakes000000.png", "fakes000001.png"}
        assert names == images | {"config.json", "data.npz", "grid.json", "lock", "checkpoints"} | LOGS
        assert (finished / "config.json").read_text() == to_json(small_config())

    def test_stats_have_every_field(self, finished):
        wanted = (
            "tick kimg images_seen resolution alpha batch_size loss_g loss_d real_score fake_score gradient_penalty "
            "images_per_second seconds_per_tick wait_seconds wait_share skipped_steps compiles memory_bytes eta_seconds"
        )
        records = stats(finished)
        assert len(records) == 2
        for record in records:
            assert set(wanted.split()) <= set(record)
            assert all(record[name] is not None for name in wanted.split())
            assert 0 <= record["wait_share"] < 1
        assert [record["images_seen"] for record in records] == [FIRST_TICK, TOTAL]
        assert [record["steps"] for record in records] == [63, 57]
        assert [record["tick"] for record in records] == [1, 2]
        assert records[0]["alpha"] == pytest.approx((FIRST_TICK - 16 - 480) / 960)
        assert records[1]["alpha"] == 1.0
        assert records[-1]["eta_seconds"] == 0
        assert records[0]["eta_seconds"] > 0

    def test_every_tick_has_a_status_line(self, finished):
        lines = [line for line in (finished / "log.txt").read_text().splitlines() if line.startswith("tick ")]
        assert len(lines) == 2
        for word in ("kimg", "res 8", "alpha 1.00", "loss G", "score real", "gp", "img/s", "mem", "skipped 0", "left"):
            assert word in lines[1]

    def test_events(self, finished):
        names = [(event["event"], event["images_seen"]) for event in events(finished)]
        saves = [("save", FIRST_TICK), ("save", TOTAL)]
        assert names == [("start", 0), ("growth", BOUNDARY), *saves, ("complete", TOTAL)]
        (growth,) = events(finished, "growth")
        assert growth["resolution"] == 8
        assert growth["message"].startswith("growing to 8x8: G kept 6 leaves, new 6 (block_8x8/conv0")
        assert grid_size("4x2", height=8, width=8) == (4, 2)


class TestNotFinite:
    def test_skipped_updates_are_on_record(self, tmp_path):
        """Steps so long that the first ones leave every float: from then on nothing is updated, and the run goes on."""
        config = small_config(schedule__total_kimg=0.16, schedule__learning_rate=1e30)
        assert run_small(tmp_path, config)
        text = (tmp_path / "stats.jsonl").read_text()
        record = json.loads(text, parse_constant=pytest.fail)
        assert record["loss_d"] is None
        assert 10 <= record["skipped_steps"] == record["skipped_steps_in_tick"] < 20
        state = load_trained_model(tmp_path).state
        assert int(state.skipped_generator) + int(state.skipped_discriminator) == record["skipped_steps"]
        assert int(state.generator_moments.count) == 10 - int(state.skipped_generator)
        assert f"skipped {record['skipped_steps']}" in (tmp_path / "log.txt").read_text()


class TestDevicesCannotShare:
    def test_is_refused_before_a_folder_is_made(self, tmp_path):
        with pytest.raises(UserError, match=r"schedule\.batch_size = 6: at 4x4"):
            run_small(tmp_path / "run", small_config(schedule__batch_size=6, discriminator__minibatch_stddev="none"))
        assert not (tmp_path / "run").exists()
