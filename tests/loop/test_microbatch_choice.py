"""What free memory has chosen once, a run keeps: it is stored with the checkpoints and says so."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.distributed import devices
from pggan_jax.distributed.batch_sharding import microbatches_as_set
from pggan_jax.loop import run_setup
from pggan_jax.loop.microbatch_choice import MicrobatchChoice
from tests.helpers.runs import run_small, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")


def chosen_parts(fitting, log=None, **changes):
    """With memory for so many parts at least."""

    def build(config, resolution):
        as_set = microbatches_as_set(config, resolution, devices=devices.device_count())
        shape = config.data.shape_at(resolution)
        return SimpleNamespace(microbatches=as_set or fitting, networks=SimpleNamespace(shape=shape))

    return MicrobatchChoice(small_config(**changes), build, log=(log if log is not None else []).append)


class TestChoice:
    @pytest.fixture(autouse=True)
    def one_device(self, monkeypatch):
        monkeypatch.setattr(devices, "device_count", lambda: 1)

    def test_is_kept_though_another_would_fit(self):
        first, log = chosen_parts(2), []
        assert first.program(8).microbatches == 2
        later = chosen_parts(1, log)
        later.take_over(first.record())
        assert later.program(8).microbatches == 2
        assert log == [
            "8x8: 8 of 16 images at once, as was chosen when the run reached this resolution; kept for the rest of the run "
            "(--set run.microbatch_at=8:8 chooses the same)"
        ]
        assert later.record() == first.record() == {"8": [16, 8]}

    def test_the_whole_is_kept_too_and_needs_no_word(self):
        first, log = chosen_parts(1, log := []), log
        first.program(4)
        later = chosen_parts(4, log)
        later.take_over(first.record())
        assert later.program(4).microbatches == 1
        assert log == []

    def test_a_setting_goes_before_it(self):
        parts = chosen_parts(1, run__microbatch=4)
        parts.take_over({"8": [16, 8]})
        assert parts.program(8).microbatches == 4
        assert parts.record() == {"8": [16, 8]}

    @pytest.mark.parametrize("stored", [{"8": [32, 8]}, {"4": [16, 8]}, {}, {"8": [16, 3]}])
    def test_what_belongs_to_another_batch_or_fits_no_group_does_not_count(self, stored):
        parts = chosen_parts(1)
        parts.take_over(stored)
        assert parts.program(8).microbatches == 1
        assert parts.record()["8"] == [16, 16]

    def test_what_this_process_has_chosen_stays_after_a_rollback(self):
        parts = chosen_parts(2)
        parts.program(8)
        parts.take_over({"8": [16, 16], "4": [16, 4]})
        assert parts.record() == {"8": [16, 8], "4": [16, 4]}


def test_a_run_stores_it_and_continues_with_it(tmp_path, monkeypatch):
    """The step itself is that of the whole batch: only what is passed on is looked at here."""
    changes = {"schedule__stable_kimg": 0.128, "data__resolution": 4, "schedule__batch_size": 32}
    config, asked = small_config(**changes), []
    build, fitting = run_setup.build_program, 2

    def note(config, resolution, *, loader):
        asked.append(config.run.microbatch_for(resolution))
        program = build(config, resolution, loader=loader)
        return program if asked[-1] else mock.Mock(wraps=program, **vars(program) | {"microbatches": fitting})

    monkeypatch.setattr("tests.helpers.runs._build_program", note)
    assert not run_small(tmp_path, config, shared=False, stop_at=32)
    assert load_trained_model(tmp_path).metadata.microbatches == {"4": [8, 4]}
    assert run_small(tmp_path, config, shared=False)
    assert asked == [0, 4]
    assert load_trained_model(tmp_path).metadata.microbatches == {"4": [8, 4]}
    assert "4x4: 4 of 8 images at once, as was chosen when the run reached" in (tmp_path / "log.txt").read_text()
