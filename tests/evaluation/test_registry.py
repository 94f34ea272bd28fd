"""The registry of metrics, and their descriptions, which are read without importing them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.errors import UserError
from pggan_jax.evaluation import metrics
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool
from pggan_jax.evaluation.metric import Metric, MetricContext, RowCollector, collect_rows
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.evaluation.registry import METRICS, collect_metrics
from pggan_jax.metric_kinds import METRIC_KINDS, MetricKind, public_name, read_kinds

ROOT = Path(__file__).parents[2]
MEAN_PIXEL = """
from pggan_jax.evaluation.metric import Metric, collect_pixels
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind


def mean_pixel(reals, fakes, context):
    return MetricResult({"difference": float(abs(reals["pixels"].mean() - fakes["pixels"].mean()))})


METRIC = Metric(
    MetricKind("mean_pixel", help="difference of mean pixels", headline="difference", default_images=100),
    compute=mean_pixel,
    collect={"pixels": collect_pixels},
)
"""


def test_descriptions_are_those_of_the_registered_metrics():
    assert {name: metric.kind for name, metric in METRICS.items()} == METRIC_KINDS
    assert len(METRIC_KINDS) >= 12


def test_descriptions_are_read_without_jax():
    code = "import sys, pggan_jax.config; print('jax' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_new_metric_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "mean_pixel.py").write_text(MEAN_PIXEL)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    monkeypatch.setattr("pggan_jax.evaluation.metrics.mean_pixel", None, raising=False)
    found = collect_metrics()
    assert found.keys() == METRICS.keys() | {"mean_pixel"}
    assert read_kinds(tmp_path) == {"mean_pixel": found["mean_pixel"].kind}
    monkeypatch.setitem(METRICS, "mean_pixel", found["mean_pixel"])
    monkeypatch.setitem(METRIC_KINDS, "mean_pixel", found["mean_pixel"].kind)
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 0)
    context = MetricContext(pool, DataConfig("digits", 8), show_progress=False)
    (evaluation,) = Evaluator(["mean_pixel"], context, num_images=50)(pool.draw(0, 50))
    assert evaluation.headline == 0
    assert evaluation.label == "mean_pixel50"
    assert evaluation.floor.values["difference"] > 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("KIND = MetricKind('a', help=str(1), headline='a', default_images=1)", "a.py:1: MetricKind takes literal arguments"),
        ("\nKIND = MetricKind('a', colour='red')", "a.py:2: MetricKind got an unexpected keyword argument 'colour'"),
        (
            "KIND: object = MetricKind('a', 'b', 'a')",
            "a.py:1: MetricKind missing 1 required positional argument: 'def",
        ),
        ("KINDS = MetricKind('a', 'b', 'c', 1), MetricKind('a', 'b', 'c', 1)", "a.py:1: there are two metrics of the name 'a'"),
    ],
)
def test_other_descriptions_are_refused(tmp_path, source, words):
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(ValueError, match=r"a\.py") as caught:
        read_kinds(tmp_path)
    assert words in str(caught.value)


def test_a_syntax_error_names_the_file(tmp_path):
    (tmp_path / "a.py").write_text("KIND = MetricKind('a'\n")
    with pytest.raises(SyntaxError) as caught:
        read_kinds(tmp_path)
    assert caught.value.filename == str(tmp_path / "a.py")


def by_rows(function):
    return {"rows": collect_rows(function)}


@pytest.mark.parametrize(
    ("collect", "compute", "problem"),
    [
        ({}, lambda *_: {"a": 1.0}, "compute must return MetricResult(values), values by name, not dict"),
        ({}, lambda *_: MetricResult(0.5), "compute must return MetricResult(values), values by name, not float"),
        ({}, lambda *_: MetricResult({"b": 1.0, "c": 2.0}), "its headline 'a' must be one of its values, which are: b, c"),
        (
            by_rows(lambda images: images.mean()),
            None,
            "one row per image, an array [50, ...] here, not an array []",
        ),
        (
            by_rows(lambda images: images.mean(0)),
            None,
            "one row per image, an array [50, ...] here, not an array [8,",
        ),
        (
            {"rows": lambda *_: 0.5},
            None,
            "`collect` must have factories of collectors, such as collect_rows(function), not of f",
        ),
    ],
)
def test_a_metric_that_does_not_follow_the_interface_is_refused(monkeypatch, collect, compute, problem):
    metric = Metric(MetricKind("mine", "b", "a", 100), compute=compute, collect=collect)
    monkeypatch.setitem(METRICS, "mine", metric)
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 0)
    context = MetricContext(pool, DataConfig("digits", 8), show_progress=False)
    with pytest.raises(UserError) as caught:
        Evaluator(["mine"], context, num_images=50)(pool.draw(0, 50))
    assert str(caught.value).startswith("metric mine: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("collect", [{}, by_rows(lambda images: 1 / 0)])
def test_another_exception_of_a_metric_has_a_note_with_its_name(monkeypatch, collect):
    monkeypatch.setitem(METRICS, "mine", Metric(MetricKind("mine", "b", "a", 100), compute=lambda *_: 1 / 0, collect=collect))
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 0)
    context = MetricContext(pool, DataConfig("digits", 8), show_progress=False)
    with pytest.raises(ZeroDivisionError) as caught:
        Evaluator(["mine"], context, num_images=50)(pool.draw(0, 50))
    assert caught.value.__notes__ == ["metric mine"]


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

    def collect(shape, count, seed):
        made.append((str(shape), count, seed))
        return RowCollector(pixel_rows, count)

    for name in ("first", "second"):
        kind = MetricKind(name, "mean", name, 100, has_floor=False)
        compute = lambda reals, fakes, context, name=name: MetricResult({name: float(fakes["rows"].mean())})  # noqa: E731
        monkeypatch.setitem(METRICS, name, Metric(kind, compute=compute, collect={"rows": collect}))
    pool = RealPool(open_loader(DataConfig("digits", 8), seed=0), 8, 3)
    Evaluator(["first", "second"], MetricContext(pool, DataConfig("digits", 8), show_progress=False), num_images=50)(
        pool.draw(0, 50)
    )
    assert made == [("8x8", 50, 6), ("8x8", 50, 7)]


def test_what_the_context_keeps_is_made_once():
    context, made = MetricContext(RealPool(None, 8, 0), DataConfig("digits", 8)), []
    assert [context.once("a", lambda: made.append(0) or 5) for _ in range(2)] == [5, 5]
    assert made == [0]
