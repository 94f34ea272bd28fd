"""`pg.evaluate` gives the values of the command `evaluate`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pggan_jax as pg
from tests.helpers.runs import copy_of

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_values_are_those_of_the_command(finished, tmp_path, launch):
    workdir = copy_of(finished, tmp_path)
    assert launch("evaluate", f"--workdir={workdir}", "--metrics=swd_small", "--num_images=64", "--seed=3")[0] == 0
    record = json.loads((workdir / "metric-swd_small.jsonl").read_text().splitlines()[-1])
    found = pg.evaluate(str(workdir), ["swd_small"], num_images=64, seed=3)["swd_small"]
    assert found.headline == pytest.approx(
        record["headline"] if "headline" in record else record["values"]["average"], rel=1e-5
    )
    assert found.floor is not None


def test_a_model_and_its_classes(labelled):
    model = pg.load(labelled)
    found = pg.evaluate(model, ["neighbors"], num_images=32, floor=False)["neighbors"]
    assert found.floor is None
    assert np.isfinite(list(found.result.values.values())).all()


def test_what_cannot_be_measured(finished):
    with pytest.raises(pg.UserError, match="'swdd' is not a metric"):
        pg.evaluate(finished, ["swdd"])
    with pytest.raises(pg.UserError, match="at least 16x16"):
        pg.evaluate(finished, ["swd"])
