"""The registry of metrics, and their descriptions, which are read without importing them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.evaluation import metrics
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool
from pggan_jax.evaluation.metric import Metric, MetricContext, RowCollector
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.evaluation.registry import METRICS, collect_metrics
from pggan_jax.metric_kinds import METRIC_KINDS, MetricKind, public_name, read_kinds

ROOT = Path(__file__).parents[2]
BRIGHTNESS = """
import numpy as np

from pggan_jax.evaluation.metric import Metric, collect_pixels
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind


def brightness(reals, fakes, context):
    return MetricResult({"difference": float(abs(reals["pixels"].mean() - fakes["pixels"].mean()))})


METRIC = Metric(
    MetricKind("brightness", help="difference of mean pixels", headline="difference", default_images=100),
    compute=brightness,
    collect={"pixels": collect_pixels},
)
"""


def test_descriptions_are_those_of_the_registered_metrics():
    assert {name: metric.kind for name, metric in METRICS.items()} == METRIC_KINDS
    assert len(METRIC_KINDS) == 12


def test_descriptions_are_read_without_jax():
    code = "import sys, pggan_jax.config; print('jax' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_new_metric_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "brightness.py").write_text(BRIGHTNESS)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    monkeypatch.setattr("pggan_jax.evaluation.metrics.brightness", None, raising=False)
    found = collect_metrics()
    assert found.keys() == METRICS.keys() | {"brightness"}
    assert read_kinds(tmp_path) == {"brightness": found["brightness"].kind}
    monkeypatch.setitem(METRICS, "brightness", found["brightness"])
    monkeypatch.setitem(METRIC_KINDS, "brightness", found["brightness"].kind)
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 0)
    context = MetricContext(pool, DataConfig("digits", 8), show_progress=False)
    (evaluation,) = Evaluator(["brightness"], context, num_images=50)(pool.draw(0, 50))
    assert evaluation.headline == 0
    assert evaluation.label == "brightness50"
    assert evaluation.floor.values["difference"] > 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("KIND = MetricKind('a', help=str(1), headline='a', default_images=1)", "a.py:1: MetricKind takes literal arguments"),
        ("\nKIND = MetricKind('a', colour='red')", "a.py:2: MetricKind takes literal arguments"),
        ("KINDS = MetricKind('a', 'b', 'c', 1), MetricKind('a', 'b', 'c', 1)", "a.py:1: there are two metrics of the name 'a'"),
    ],
)
def test_other_descriptions_are_refused(tmp_path, source, words):
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(ValueError, match=r"a\.py") as caught:
        read_kinds(tmp_path)
    assert words in str(caught.value)


def test_inception_outputs_must_be_declared():
    kind = MetricKind("a", "b", "a", 1)
    with pytest.raises(ValueError, match="metric a"):
        Metric(kind, compute=lambda reals, fakes, context: MetricResult({}), inception=frozenset({"features"}))


def test_random_features_do_not_get_the_published_name():
    assert public_name("fid", has_random_features=True) == "frd_random"
    assert public_name("kid", has_random_features=True) == "kid_random"
    assert public_name("fid", has_random_features=False) == "fid"
    assert public_name("swd", has_random_features=True) == "swd"


def test_results_are_finite_in_records():
    from pggan_jax.evaluation.metric_result import Evaluation
    from pggan_jax.evaluation.result_log import as_record, table

    result = MetricResult({"kl": np.inf, "smallest": 0.5}, {"smallest": 0.01}, ("a note",))
    evaluation = Evaluation("classes", "classes", "classes20", result, None, 20, 20, 0, {"seed": 3})
    record = as_record(evaluation, kimg=1.0)
    assert record["values"] == {"kl": None, "smallest": 0.5}
    assert (record["floor"], record["kimg"], record["seed"]) == ({}, 1.0, 3)
    assert table([evaluation]).splitlines()[-1] == "classes20: a note"


def test_metrics_share_collectors_and_sides_have_different_seeds(monkeypatch):
    made = []

    def collect(resolution, count, seed):
        made.append((resolution, count, seed))
        return RowCollector(pixel_rows, count)

    for name in ("first", "second"):
        kind = MetricKind(name, "mean", name, 100, has_floor=False)
        compute = lambda reals, fakes, context, name=name: MetricResult({name: float(fakes["rows"].mean())})  # noqa: E731
        monkeypatch.setitem(METRICS, name, Metric(kind, compute=compute, collect={"rows": collect}))
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 3)
    Evaluator(["first", "second"], MetricContext(pool, DataConfig("digits", 8), show_progress=False), num_images=50)(
        pool.draw(0, 50)
    )
    assert made == [(8, 50, 6), (8, 50, 7)]


def test_what_the_context_keeps_is_made_once():
    context, made = MetricContext(RealPool(None, 8, 0), DataConfig("digits", 8)), []
    assert [context.once("a", lambda: made.append(0) or 5) for _ in range(2)] == [5, 5]
    assert made == [0]
