"""Recovery gap: projection errors of training images and of held-out images."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.errors import UserError
from pggan_jax.evaluation.metrics import recovery as module
from pggan_jax.evaluation.metrics.recovery import recovery
from pggan_jax.generation.projection import NearestSample, Projection
from tests.helpers.command_line import one_line_error

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_gap_and_its_error():
    random = np.random.RandomState(0)
    errors = {"training": random.normal(5, 1, 400), "held_out": random.normal(8, 2, 400), "samples": np.full(400, 1.0)}
    result = recovery(errors, seed=3)
    assert result.values["gap"] == pytest.approx(3, abs=0.3)
    assert result.values["gap"] == pytest.approx(np.median(errors["held_out"]) - np.median(errors["training"]))
    # The standard error of a median of normal numbers: sqrt(pi / 2) * deviation / sqrt(count).
    assert result.uncertainty["training"] == pytest.approx(np.sqrt(np.pi / 2) / 20, rel=0.3)
    assert result.uncertainty["gap"] == pytest.approx(
        np.hypot(result.uncertainty["training"], result.uncertainty["held_out"]), rel=0.1
    )
    assert result.uncertainty["samples"] == 0
    assert recovery(errors, seed=3) == result
    same = recovery({"training": errors["training"], "held_out": random.normal(5, 1, 400)}, seed=0)
    assert abs(same.values["gap"]) < 4 * same.uncertainty["gap"]


@pytest.fixture
def quick_projection(monkeypatch):
    """Each image is found but for its mean brightness divided by 16; what was projected is noted."""
    noted = []

    def project(model, images, *, show_progress):
        noted.append((model, images))
        for image in images:
            error = float(image.mean() / 16)
            yield Projection(np.zeros(8), 0, image, error, error, NearestSample(0, 0, 0.0), error)

    monkeypatch.setattr(module, "project", project)
    return noted


def test_the_command(launch, finished, tmp_path, quick_projection):
    out = tmp_path / "out"
    words = ("evaluate", f"--workdir={finished}", "--metrics=recovery", "--num_images=16", f"--out={out}")
    status, printed, err = launch(*words, "--held_out=synthetic:30:7", "--network=raw")
    assert status == 0, err
    assert "gap" in printed
    ((model, images),) = quick_projection
    assert images.shape == (48, 8, 8, 1)
    assert model.kimg == 1.92
    record = json.loads((out / "metric-recovery.jsonl").read_text())
    means = images.mean(axis=(1, 2, 3)) / 16
    for index, name in enumerate(("training", "held_out", "samples")):
        assert record["values"][name] == pytest.approx(np.median(means[16 * index : 16 * index + 16]))
    assert record["values"]["gap"] == pytest.approx(record["values"]["held_out"] - record["values"]["training"])
    assert record["held_out"] == "synthetic:30:7"
    with Image.open(out / "recovery000001.920.png") as image:
        # Eight rows of two pairs, each with a gap of 2 pixels; 2 pixels between the rows.
        assert image.size == (2 * (8 + 8 + 2) + 2, 8 * (8 + 2))
        assert np.array_equal(np.asarray(image)[:8, :8], images[0, ..., 0])
        assert np.array_equal(np.asarray(image)[:8, 18:26], images[16, ..., 0])
    listed = json.loads((out / "recovery000001.920.json").read_text())
    assert [len(one) for one in listed.values()] == [16, 16, 16]


def test_other_images_than_those_trained_on_are_refused(finished):
    model = pg.load(finished)
    context = SimpleNamespace(model=model, data=replace(model.config.data, source="folder:others"))
    with pytest.raises(UserError, match=r"images that were trained on, .*, not folder:others; remove --data"):
        module.METRIC.compute({}, {}, context)


def test_mistakes(launch, finished, tmp_path):
    words = ("evaluate", f"--workdir={finished}", "--metrics=recovery", f"--out={tmp_path / 'out'}")
    assert "add --held_out=SOURCE" in one_line_error(launch(*words))
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    words = ("evaluate", f"--images={tmp_path}", "--data=digits", "--metrics=recovery")
    assert "recovery measures the networks of a run; remove --images and give --workdir" in one_line_error(launch(*words))
