"""A run whose gradients stop being numbers: it goes back, draws other noise, goes on; or stops with a report.

The trouble is injected: one iteration's latents are not numbers where the feed sends a certain noise seed.
"""

from __future__ import annotations

import shutil
from functools import cache
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config import Config
from pggan_jax.errors import UserError
from pggan_jax.loop import divergence
from pggan_jax.loop.divergence import seed_after
from pggan_jax.loop.input_feed import InputFeed
from pggan_jax.run_logs import console
from pggan_jax.training import diagnosis, train_step
from pggan_jax.training.rng import sample_noise
from tests.helpers import runs
from tests.helpers.runs import digest, events, lasting, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
POISON = np.uint32(0xDEADBEEF)
SEED = Config().run.seed
FIRST, SECOND, THIRD = (seed_after(SEED, rollbacks) for rollbacks in range(3))
STEP = 128
TICKS = [1280, 2560, 3840, 5120, 6400, 7680]
_poisoned_programs = {}


def poisoned_noise(noise_seed, step, sample_index, **sizes):
    bad = jnp.where(noise_seed == POISON, jnp.nan, 0.0)
    return [one._replace(latents=one.latents + bad) for one in sample_noise(noise_seed, step, sample_index, **sizes)]


def ten_step_ticks(**changes):
    """60 steps at 4x4 in ticks of 10; 5 skipped in a row are a divergence."""
    lengths = {"schedule__batch_size": STEP, "schedule__stable_kimg": 7.68, "schedule__tick_kimg": 1.28}
    widths = {"generator__fmap_max": 4, "discriminator__fmap_max": 4, "run__grid": "1x1"}
    return small_config(data__resolution=4, **widths, **lengths, **({"run__patience": 5} | changes))


def run_poisoned(workdir, is_bad, config=None, **options):
    """`is_bad(step, noise_seed)` says which iterations have no finite gradient."""
    shared_inputs = InputFeed._shared_inputs

    def sent(feed, call):
        plain = shared_inputs(feed, call)
        seed = int(plain.noise_seed)
        return plain._replace(noise_seed=POISON) if is_bad(call.start // STEP + 1, seed) else plain

    with (
        mock.patch.object(train_step, "sample_noise", poisoned_noise),
        mock.patch.object(diagnosis, "sample_noise", poisoned_noise),
        mock.patch.object(InputFeed, "_shared_inputs", sent),
        mock.patch.object(runs, "_programs", _poisoned_programs),
    ):
        return run_small(workdir, config or ten_step_ticks(), **options)


def log_of(workdir):
    return (workdir / "log.txt").read_text()


def checkpoints_of(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def bad_from_34_on(number, seed):
    return number >= 34 and seed == FIRST


@cache
def rolled_back_run(folder):
    """A complete run that went back once, for reading only; `folder` is the session's."""
    workdir = folder / "rolled_back"
    assert run_poisoned(workdir, bad_from_34_on)
    return workdir


class TestRollback:
    def test_goes_back_draws_anew_and_finishes(self, tmp_path, tmp_path_factory):
        run = rolled_back_run(tmp_path_factory.getbasetemp())
        assert [record["images_seen"] for record in stats(run)] == TICKS
        assert [record["skipped_steps"] for record in stats(run)] == [0] * 6
        assert len(events(run, "divergence")) == 1
        (rollback,) = events(run, "rollback")
        assert (rollback["rollbacks"], rollback["images_seen"]) == (1, 3840)
        trained = load_trained_model(run)
        assert trained.metadata.rollbacks == 1
        assert int(trained.state.step) == 60

        uninterrupted = tmp_path / "uninterrupted"
        assert run_poisoned(uninterrupted, lambda number, seed: False)
        ours, theirs = (lasting(stats(workdir)) for workdir in (run, uninterrupted))
        assert ours[:3] == theirs[:3]
        assert ours[3]["loss_d"] != theirs[3]["loss_d"], "the noise is another one"

    @pytest.mark.parametrize("stop_at", [36 * STEP, 40 * STEP, 45 * STEP])
    def test_a_stop_inside_the_streak_or_after_the_rollback_changes_nothing(self, tmp_path, tmp_path_factory, stop_at):
        """The count of rollbacks is part of what is saved."""
        whole = rolled_back_run(tmp_path_factory.getbasetemp())
        assert not run_poisoned(tmp_path / "run", bad_from_34_on, stop_at=stop_at)
        assert run_poisoned(tmp_path / "run", bad_from_34_on)
        assert digest(tmp_path / "run") == digest(whole)
        assert lasting(stats(tmp_path / "run")) == lasting(stats(whole))
        assert load_trained_model(tmp_path / "run").metadata.rollbacks == 1

    def test_goes_back_to_where_it_was_stopped_before_the_streak(self, tmp_path):
        """The newest checkpoint outside the streak, so this run need not equal the one that was not stopped."""
        assert not run_poisoned(tmp_path, bad_from_34_on, stop_at=32 * STEP)
        assert run_poisoned(tmp_path, bad_from_34_on)
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert log_of(tmp_path).count("continuing at kimg 4.1") == 2
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS

    def test_two_in_a_row_draw_different_noise(self, tmp_path, tmp_path_factory):
        assert run_poisoned(tmp_path / "two", lambda number, seed: number >= 34 and seed in (FIRST, SECOND))
        assert load_trained_model(tmp_path / "two").metadata.rollbacks == 2
        assert digest(rolled_back_run(tmp_path_factory.getbasetemp())) != digest(tmp_path / "two")
        assert [record["images_seen"] for record in stats(tmp_path / "two")] == TICKS

    def test_before_the_first_checkpoint_back_to_the_beginning(self, tmp_path):
        assert run_poisoned(tmp_path, lambda number, seed: seed == FIRST)
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert [event["images_seen"] for event in events(tmp_path, "rollback")] == [0]

    def test_also_if_the_cause_cannot_be_found(self, tmp_path):
        """The program that repeats the step needs more memory than the step."""
        failing = mock.patch.object(divergence, "first_nonfinite_gradient", side_effect=RuntimeError("RESOURCE_EXHAUSTED"))
        with failing:
            assert run_poisoned(tmp_path, bad_from_34_on)
        assert "first not finite: unknown, as the step could not be repeated (RESOURCE_EXHAUSTED)" in log_of(tmp_path)
        assert load_trained_model(tmp_path).metadata.rollbacks == 1

    def test_trouble_in_the_last_steps_is_seen(self, tmp_path):
        """The host runs ahead of the devices, but not past the end."""
        assert run_poisoned(tmp_path, lambda number, seed: number >= 56 and seed == FIRST)
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert stats(tmp_path)[-1]["skipped_steps"] == 0


class TestPatience:
    def test_single_skipped_updates_are_no_divergence(self, tmp_path):
        assert run_poisoned(tmp_path, lambda number, seed: number % 5 != 0 and number > 20)
        assert not events(tmp_path, "divergence", "rollback")
        state = load_trained_model(tmp_path).state
        assert int(state.skipped_discriminator) == int(state.skipped_generator) == 32
        assert int(state.skipped_in_a_row) == 0

    def test_no_checkpoint_inside_a_trouble(self, tmp_path):
        assert run_poisoned(tmp_path, lambda number, seed: 39 <= number <= 42, ten_step_ticks(run__keep_last=9))
        assert checkpoints_of(tmp_path) == [1280, 2560, 3840, 6400, 7680]
        assert log_of(tmp_path).count("no checkpoint here: the last update was skipped") == 1
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS

    def test_but_at_the_end(self, tmp_path):
        assert run_poisoned(tmp_path, lambda number, _: number >= 58)
        assert checkpoints_of(tmp_path)[-1] == 7680

    @pytest.mark.slow
    def test_a_stop_inside_a_trouble_loses_no_good_checkpoint(self, tmp_path):
        """Even if one is all that is to be kept; what was saved inside is set aside when the run goes back."""
        config = ten_step_ticks(run__keep_last=1)
        for stop_at in (34 * STEP, 35 * STEP):
            assert not run_poisoned(tmp_path, bad_from_34_on, config, stop_at=stop_at)
            assert load_trained_model(tmp_path).metadata.skipped_in_a_row > 0
        assert checkpoints_of(tmp_path) == [3840, 35 * STEP]
        assert run_poisoned(tmp_path, bad_from_34_on, config)
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert [path.name for path in (tmp_path / "damaged_checkpoints").iterdir()] == [f"{35 * STEP}"]
        assert "lies inside a streak of skipped steps; moved to" in log_of(tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("still_bad", [True, False])
    def test_a_stop_inside_a_trouble_continued_with_less_patience(self, tmp_path, still_bad):
        """Three in a row are too many now, but only if the trouble goes on."""
        assert not run_poisoned(tmp_path, bad_from_34_on, stop_at=36 * STEP)
        assert load_trained_model(tmp_path).metadata.skipped_in_a_row == 3
        config = ten_step_ticks(run__patience=2)
        is_bad = bad_from_34_on if still_bad else lambda number, seed: False
        assert run_poisoned(tmp_path, is_bad, config, allow_config_change=True)
        assert load_trained_model(tmp_path).metadata.rollbacks == still_bad
        assert ["4 iterations in a row" in event["message"] for event in events(tmp_path, "divergence")] == [True] * still_bad


class TestMeans:
    """What is skipped is counted, and has no part in the means of its tick."""

    def test_one_skipped_step_leaves_the_means_of_the_others(self, tmp_path):
        assert run_poisoned(tmp_path / "one", lambda number, seed: number == 15)
        assert run_poisoned(tmp_path / "none", lambda number, seed: False)
        ours, theirs = stats(tmp_path / "one"), stats(tmp_path / "none")
        assert [record["skipped_steps_in_tick"] for record in ours] == [0, 2, 0, 0, 0, 0]
        for name in ("loss_d", "loss_g", "real_score", "fake_score", "gradient_penalty"):
            assert ours[0][name] == theirs[0][name]
            # The skipped update itself is missing, so the networks differ a little from there on.
            assert ours[1][name] == pytest.approx(theirs[1][name], rel=0.3, abs=0.05), name
            assert None not in [record[name] for record in ours]

    def test_a_tick_of_nothing_but_skipped_steps_has_none(self, tmp_path):
        assert run_poisoned(tmp_path, lambda number, seed: 11 <= number <= 20, ten_step_ticks(run__patience=50))
        assert [record["loss_d"] is None for record in stats(tmp_path)] == [False, True] + [False] * 4

    def test_a_stop_in_the_tick_changes_nothing(self, tmp_path):
        is_bad = lambda number, seed: number in (13, 18)  # noqa: E731
        assert run_poisoned(tmp_path / "whole", is_bad)
        assert not run_poisoned(tmp_path / "stopped", is_bad, stop_at=15 * STEP)
        assert load_trained_model(tmp_path / "stopped").metadata.tick_left_out == 1
        assert run_poisoned(tmp_path / "stopped", is_bad)
        assert lasting(stats(tmp_path / "stopped")) == lasting(stats(tmp_path / "whole"))


class TestStreaks:
    """What decides is how many iterations in a row were skipped, not where calls, ticks and stops lie."""

    @pytest.mark.parametrize("steps_per_call", [1, pytest.param(10, marks=pytest.mark.slow)])
    def test_one_that_has_ended_counts(self, tmp_path, steps_per_call):
        """In the middle of a call of ten steps; of single ones, where the host looks two calls late."""

        def poisoned(noise_seed, step, sample_index, **sizes):
            bad = jnp.where((noise_seed == np.uint32(FIRST)) & (step >= 33) & (step < 38), jnp.nan, 0.0)
            return [one._replace(latents=one.latents + bad) for one in sample_noise(noise_seed, step, sample_index, **sizes)]

        with mock.patch.object(train_step, "sample_noise", poisoned), mock.patch.object(runs, "_programs", {}):
            assert run_small(tmp_path, ten_step_ticks(run__steps_per_call=steps_per_call))
        (divergence,), (rollback,) = events(tmp_path, "divergence"), events(tmp_path, "rollback")
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert "5 iterations in a row had no finite update (run.patience = 5); " in divergence["message"]
        assert rollback["images_seen"] == 3840
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS

    @pytest.mark.slow
    @pytest.mark.parametrize("first", [31, 33, 36])
    def test_wherever_it_ends_in_a_tick(self, tmp_path, first):
        assert run_poisoned(tmp_path, lambda number, seed: first <= number < first + 5 and seed == FIRST)
        assert load_trained_model(tmp_path).metadata.rollbacks == 1
        assert "5 iterations in a row" in events(tmp_path, "divergence")[0]["message"]
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS

    def test_the_report_is_of_the_longest(self, tmp_path):
        """By the time it is written, the state may be finite again."""
        with pytest.raises(
            UserError, match=r"5 iterations in a row .* first not finite: discriminator/.*; at kimg 3.1, 4x4 stable"
        ):
            run_poisoned(tmp_path, lambda number, seed: 20 <= number <= 24, ten_step_ticks(run__max_rollbacks=0))


class TestCount:
    """How often a run went back is known to the next process, too."""

    @pytest.mark.slow
    def test_killed_right_after_a_rollback(self, tmp_path, tmp_path_factory):
        class Killed(BaseException):
            pass

        def die(run, line):
            if line.startswith("rollback 1"):
                raise Killed

        with mock.patch.object(console.Log, "__call__", die), pytest.raises(Killed):
            run_poisoned(tmp_path / "run", bad_from_34_on)
        assert run_poisoned(tmp_path / "run", bad_from_34_on)
        assert len(events(tmp_path / "run", "divergence")) == 1, "the second process draws the other noise at once"
        whole = rolled_back_run(tmp_path_factory.getbasetemp())
        assert digest(tmp_path / "run") == digest(whole)
        assert lasting(stats(tmp_path / "run")) == lasting(stats(whole))

    def test_a_run_that_gave_up_says_so_again_at_once(self, tmp_path):
        always = lambda number, seed: number >= 34  # noqa: E731
        config = ten_step_ticks(run__max_rollbacks=1)
        said = []
        for _ in range(2):
            with pytest.raises(UserError, match="stopped after 1 rollbacks") as caught:
                run_poisoned(tmp_path, always, config)
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert len(events(tmp_path, "rollback")) == 1
        assert log_of(tmp_path).count("4.0 of 7.7") == 0
        other = ten_step_ticks(run__max_rollbacks=1, schedule__learning_rate=1e-4)
        assert run_poisoned(tmp_path, lambda number, seed: False, other, allow_config_change=True)
        assert not (tmp_path / "rollbacks.json").exists()


class TestRollbackTarget:
    @pytest.mark.slow
    def test_survives_any_number_of_stops(self, tmp_path):
        """Checkpoints of stops inside a streak push it out of the newest ones, process after process."""
        config = ten_step_ticks(run__keep_last=2, run__checkpoint_ticks=3)
        is_bad = lambda number, seed: number >= 32 and seed == FIRST  # noqa: E731
        for stop_at in range(31 * STEP, 36 * STEP, STEP):
            assert not run_poisoned(tmp_path, is_bad, config, stop_at=stop_at)
        assert checkpoints_of(tmp_path) == [31 * STEP, 34 * STEP, 35 * STEP]
        assert run_poisoned(tmp_path, is_bad, config)
        assert log_of(tmp_path).count("continuing at kimg 4.0") == 2
        assert load_trained_model(tmp_path).metadata.rollbacks == 1

    def test_that_was_removed_is_no_reason_to_start_over(self, tmp_path):
        config = ten_step_ticks(run__keep_last=1, run__checkpoint_ticks=3)
        assert not run_poisoned(tmp_path, bad_from_34_on, config, stop_at=35 * STEP)
        shutil.rmtree(tmp_path / "checkpoints" / str(30 * STEP))
        with pytest.raises(UserError, match="the run has diverged, and no intact checkpoint from before that is left"):
            run_poisoned(tmp_path, bad_from_34_on, config)
        assert checkpoints_of(tmp_path) == [35 * STEP]


class TestReport:
    def test_after_too_many_rollbacks(self, tmp_path):
        with pytest.raises(UserError) as caught:
            run_poisoned(tmp_path, lambda number, seed: number >= 34, ten_step_ticks(run__max_rollbacks=2))
        message = str(caught.value)
        assert "\n" not in message
        for words in (
            "the run has diverged and stopped after 2 rollbacks: ",
            "iterations in a row had no finite update (run.patience = 5)",
            "first not finite: discriminator/block_4x4/",
            " and generator/block_4x4/",
            ", 4x4 stable, alpha 1.000; ",
            "last statistics: kimg 3.84, resolution 4, alpha 1, loss_g ",
        ):
            assert words in message
        assert len(events(tmp_path, "divergence")) == 2
        assert checkpoints_of(tmp_path) == TICKS[:3]
        assert [record["images_seen"] for record in stats(tmp_path)] == TICKS[:3]

    def test_without_any_rollback_allowed(self, tmp_path):
        with pytest.raises(UserError, match=r"stopped after 0 rollbacks: .*last statistics: none yet"):
            run_poisoned(tmp_path, lambda number, seed: True, ten_step_ticks(run__max_rollbacks=0))

    def test_steps_that_leave_every_float(self, tmp_path):
        """No injection: parameters of 1e30 do it."""
        config = ten_step_ticks(schedule__learning_rate=1e30, run__max_rollbacks=1)
        with pytest.raises(UserError, match="stopped after 1 rollbacks"):
            run_small(tmp_path, config)


@pytest.mark.parametrize("seed", [0, SEED, 2**32 - 1])
def test_every_rollback_has_a_seed_of_its_own(seed):
    own = {seed_after(seed, rollbacks) for rollbacks in range(100)}
    neighbours = {seed_after((seed + 1) % 2**32, rollbacks) for rollbacks in range(100)}
    assert seed_after(seed, 0) == seed
    assert len(own) == 100
    assert not own & neighbours
    assert all(0 <= one < 2**32 for one in own)
