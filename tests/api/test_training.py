"""`pg.train` and `pg.read_config`."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.api import training
from pggan_jax.config.io import replace_setting
from tests.helpers.runs import digest, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")

BRIEF = small_config(data__resolution=4, schedule__stable_kimg=0.16)


def test_a_run_trains_and_its_model_comes_back(tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT)
    model = pg.train(BRIEF, tmp_path / "run")
    assert model.kimg == 0.16
    assert model.sample([0, 1]).shape == (2, 4, 4, 1)
    assert signal.getsignal(signal.SIGINT) is before
    assert "the run is complete at kimg 0.2" in capfd.readouterr().out


def test_an_interrupted_call_continues(tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    config = small_config(data__resolution=4, schedule__stable_kimg=0.32)
    pg.train(config, whole)
    with monkeypatch.context() as patch:
        patch.setattr(training, "StopRequest", lambda: lambda: True)
        assert 0 < pg.train(config, halves).kimg < 0.32
    assert pg.train(config, halves).kimg == 0.32
    assert digest(halves) == digest(whole)
    assert stats(halves)[-1]["loss_d"] == stats(whole)[-1]["loss_d"]


def test_what_cannot_be_trained(tmp_path):
    with pytest.raises(pg.UserError, match=r"data\.resolution = 12"):
        pg.train(replace_setting(BRIEF, "data.resolution", 12), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(pg.UserError, match="workdir="):
        pg.train(BRIEF, "")


def test_experiments_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = pg.read_config("experiments/smoke.py", ["schedule.total_kimg=3"])
    assert (config.data.resolution, config.schedule.total_kimg) == (16, 3.0)
    with pytest.raises(pg.UserError, match=r"schedule\.total_kim"):
        pg.read_config("experiments/smoke.py", ["schedule.total_kim=3"])


def test_grids_are_about_square():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    assert pg.grid(images)[..., 0].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert pg.grid(images, 5)[..., 0].tolist() == [[0, 1, 2, 3, 4]]
