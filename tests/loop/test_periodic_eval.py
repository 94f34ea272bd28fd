"""Metrics while training, and evaluation afterwards by the command line."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pggan_jax.checkpointing.metadata import CheckpointMetadata, read_metadata
from pggan_jax.checkpointing.retention import Keep, Retention
from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.sources.builtin import DigitsSource
from pggan_jax.errors import UserError, one_line
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool
from pggan_jax.evaluation.inception.features import FeatureExtractor
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.registry import METRICS
from pggan_jax.loop import periodic_eval
from pggan_jax.run_logs import jsonl
from tests.helpers.command_line import one_line_error
from tests.helpers.runs import (
    FIRST_TICK,
    MID_FADE,
    TOTAL,
    copy_of,
    digest,
    lasting,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
MEASURED = {"eval__metrics": ("swd_small",), "eval__ticks": 1, "eval__num_images": 64}


class TestWhileTraining:
    def test_changes_nothing_and_is_reported_everywhere(self, finished, tmp_path, capsys):
        assert run_small(tmp_path / "run", small_config(**MEASURED))
        assert digest(tmp_path / "run") == digest(finished)
        values = [record["metric_swd_small"] for record in stats(tmp_path / "run")]
        assert len(values) == 2
        assert all(value > 0 for value in values)
        log = (tmp_path / "run" / "log.txt").read_text()
        assert all(f"swd_small {value:.4g}" in log for value in values)
        checkpoints = (tmp_path / "run" / "checkpoints" / str(images_seen) for images_seen in (FIRST_TICK, TOTAL))
        assert [read_metadata(one).scores for one in checkpoints] == [{"swd_small": value} for value in values]

        assert not run_small(tmp_path / "stopped", small_config(**MEASURED), stop_at=MID_FADE)
        assert run_small(tmp_path / "stopped", small_config(**MEASURED))
        assert lasting(stats(tmp_path / "stopped")) == lasting(stats(tmp_path / "run"))

    def test_every_measurement_is_on_record(self, tmp_path):
        """In the form that `evaluate` gives them, and once, wherever the run was stopped or killed."""
        assert run_small(tmp_path / "run", small_config(**MEASURED))
        reported = records(tmp_path / "run", "swd_small")
        assert [record["values"]["average"] for record in reported] == [
            record["metric_swd_small"] for record in stats(tmp_path / "run")
        ]
        first, last = reported
        about = {"kimg": 1.92, "images_seen": TOTAL, "resolution": 8, "alpha": 1.0, "network": "ema", "data": "digits"}
        about |= {"while": "training", "num_reals": 64, "num_fakes": 64, "label": "swd_small64", "seed": 1000, "mirror": False}
        assert {key: last[key] for key in about} == about
        assert (first["images_seen"], first["alpha"]) == (FIRST_TICK, stats(tmp_path / "run")[0]["alpha"])

        # As after a kill between the last line and its checkpoint; and somebody has evaluated meanwhile.
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(TOTAL))
        by_hand = {key: value for key, value in last.items() if key != "while"}
        with (tmp_path / "run" / "metric-swd_small.jsonl").open("a") as file:
            file.write(json.dumps(by_hand) + "\n")
        assert run_small(tmp_path / "run", small_config(**MEASURED))
        again = records(tmp_path / "run", "swd_small")
        of_the_clock = {"date": "", "seconds_for_all": 0}
        assert [one | of_the_clock for one in again] == [one | of_the_clock for one in (first, by_hand, last)]

    def test_a_full_disk_costs_no_record(self, tmp_path):
        append, failed = jsonl.append_durably, []

        def fail_once(path, content):
            if path.name.startswith("metric-") and not failed:
                failed.append(path)
                raise NO_SPACE
            append(path, content)

        with mock.patch.object(jsonl, "append_durably", fail_once):
            assert run_small(tmp_path, small_config(**MEASURED))
        assert [record["images_seen"] for record in records(tmp_path, "swd_small")] == [FIRST_TICK, TOTAL]
        log = (tmp_path / "log.txt").read_text()
        words = "WARNING: going on without its line in metric-swd_small.jsonl, which follows with the next: "
        assert log.count(words) == 1

    @pytest.mark.slow
    def test_a_record_survives_the_end_of_the_process(self, tmp_path):
        """It lies in the checkpoints until it can be written."""
        append = jsonl.append_durably

        def fail(path, content):
            if path.name.startswith("metric-"):
                raise NO_SPACE
            append(path, content)

        with mock.patch.object(jsonl, "append_durably", fail), pytest.raises(OSError, match="No space left"):
            run_small(tmp_path, small_config(**MEASURED), stop_at=FIRST_TICK + 32)
        assert not list(tmp_path.glob("metric-*"))
        assert run_small(tmp_path, small_config(**MEASURED))
        assert [record["images_seen"] for record in records(tmp_path, "swd_small")] == [FIRST_TICK, TOTAL]
        assert len(stats(tmp_path)) == 2

    @pytest.mark.parametrize(
        ("error", "reported"),
        [
            (OSError(errno.EIO, "Input/output error", "reals.bin"), "reals.bin: Input/output error"),
            (UserError("no weights"), "no weights"),
            (np.linalg.LinAlgError("no convergence"), "LinAlgError: no convergence"),
        ],
    )
    def test_one_that_fails_costs_a_line_and_nothing_else(self, finished, tmp_path, error, reported):
        call, calls = Evaluator.__call__, []

        def fail_first(evaluator, fakes):
            calls.append(fakes.shape.resolution)
            if len(calls) == 1:
                raise error
            return call(evaluator, fakes)

        with mock.patch.object(Evaluator, "__call__", fail_first):
            assert run_small(tmp_path, small_config(**MEASURED))
        assert digest(tmp_path) == digest(finished)
        assert digest(tmp_path, str(FIRST_TICK / 1000)) == digest(finished, str(FIRST_TICK / 1000))
        assert ["metric_swd_small" in record for record in stats(tmp_path)] == [False, True]
        assert [record["images_seen"] for record in records(tmp_path, "swd_small")] == [TOTAL]
        assert (tmp_path / "log.txt").read_text().count(f"WARNING: going on without measuring at kimg 1.0: {reported}\n") == 1

    @pytest.mark.parametrize(
        ("compute", "reported"),
        [
            (lambda *_: MetricResult({"average": 1 / 0}), "ZeroDivisionError: division by zero"),
            (lambda *_: MetricResult({"mean": 0.5}), "its headline 'average' must be one of its values, which are: mean"),
            (lambda *_: MetricResult({"average": "high"}), "ValueError: could not convert string to float: 'high'"),
            (
                lambda *_: MetricResult({"average": 0.5}, notes=(b"x",)),
                "TypeError: Object of type bytes is not JSON",
            ),
        ],
    )
    def test_a_wrong_metric_costs_a_line_each_time(self, finished, tmp_path, monkeypatch, compute, reported):
        monkeypatch.setitem(METRICS, "swd_small", replace(METRICS["swd_small"], compute=compute))
        assert run_small(tmp_path, small_config(**MEASURED))
        assert digest(tmp_path) == digest(finished)
        assert not any("metric_swd_small" in record for record in stats(tmp_path))
        assert not list(tmp_path.glob("metric-*"))
        log = (tmp_path / "log.txt").read_text()
        assert log.count("going on without measuring") == 2
        for kimg in ("1.0", "1.9"):
            assert f"WARNING: going on without measuring at kimg {kimg}: metric swd_small: {reported}" in log

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"eval__metrics": ("fid",)}, "this metric needs the Inception weights, which are not included; get "),
            ({"eval__metrics": ("fid",)}, "give it by eval.inception_weights=PATH or PGGAN_INCEPTION_WEIGHTS=PATH"),
            ({"eval__metrics": ("kid",), "eval__inception_weights": "none.pth"}, "eval.inception_weights=none.pth: cannot be"),
            ({"data__source": "synthetic:12"}, "swd_small needs at least 16 images on each side, not 12"),
        ],
    )
    def test_what_cannot_be_measured_is_refused_before_anything_is_compiled(self, tmp_path, monkeypatch, changes, expected):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("PGGAN_INCEPTION_WEIGHTS", raising=False)
        config = small_config(**MEASURED | changes)
        with mock.patch("pggan_jax.checkpointing.restore.create_train_state") as create, pytest.raises(UserError) as caught:
            run_small(tmp_path / "run", config)
        create.assert_not_called()
        message = str(caught.value)
        assert message.startswith(f"eval.metrics = '{config.eval.metrics[0]}': cannot be measured while training: ")
        assert expected in message
        assert one_line(f"error: {message}") == f"error: {message}"
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"], "another attempt may have other settings"

    def test_features_are_of_one_network_and_their_records_say_of_which(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        stand_in_network(monkeypatch)
        made, find = [], periodic_eval.find_weights
        monkeypatch.setattr(periodic_eval, "find_weights", lambda path, **names: made.append(path) or find(path, **names))
        changes = {"eval__metrics": ("kid", "fid"), "eval__inception_weights": "random"}
        changes |= {"schedule__stable_kimg": 1.12, "schedule__fade_kimg": 0.08, "schedule__total_kimg": 1.2}
        assert run_small(tmp_path / "run", small_config(**MEASURED | changes))
        assert made == ["random"]
        assert {"metric_kid_random", "metric_frd_random"} < stats(tmp_path / "run")[-1].keys()
        for name in ("kid_random", "frd_random"):
            reported = records(tmp_path / "run", name)
            assert [record["resolution"] for record in reported] == [4, 8]
            assert {(record["weights"], record["resize"]) for record in reported} == {("random", "tf1")}
            assert [record["uncertainty"] for record in reported] == [{}, {}], "it takes long, and is not recorded"

    def test_every_seed_can_be_measured(self, tmp_path):
        config = small_config(**MEASURED, run__seed=2**32 - 1, schedule__total_kimg=0.16)
        assert run_small(tmp_path, config)
        assert stats(tmp_path)[-1]["metric_swd_small"] > 0

    def test_every_so_many_ticks_and_at_the_end(self, tmp_path):
        ticks = {"schedule__tick_kimg": 1.0, "eval__ticks": 2, "schedule__total_kimg": 2.9}
        assert run_small(tmp_path, small_config(**MEASURED | ticks))
        assert ["metric_swd_small" in record for record in stats(tmp_path)] == [False, True, True]

    def test_not_where_images_are_too_small(self, tmp_path):
        larger = {"data__resolution": 16, "eval__metrics": ("ms_ssim",), "schedule__total_kimg": 0.16}
        assert run_small(tmp_path, small_config(**MEASURED | larger, schedule__stable_kimg=0.16))
        assert "metric_ms_ssim" not in stats(tmp_path)[-1]


class TestBest:
    def metadata(self, images_seen, score, resolution=8):
        return CheckpointMetadata(images_seen, resolution, 1.0, 1, 0, scores={} if score is None else {"swd": score})

    def test_of_the_largest_resolution_and_smallest_distance(self):
        policy = Retention(Keep(best_by="swd"))
        for images_seen, score, resolution in ((1, 1.0, 4), (2, 5.0, 8), (3, 3.0, 8), (4, 4.0, 8), (5, None, 16)):
            policy.note(self.metadata(images_seen, score, resolution))
        assert policy.best([1, 2, 3, 4, 5]) == 3
        assert policy.best([1, 2, 5]) == 2
        assert policy.best([5]) is None
        policy.forget(3)
        assert policy.best([1, 2, 3, 4]) == 4

    def test_larger_is_better_for_some(self):
        policy = Retention(Keep(best_by="inception_score"))
        for images_seen, score in ((1, 2.0), (2, 3.0)):
            policy.note(CheckpointMetadata(images_seen, 8, 1.0, 1, 0, scores={"inception_score": score}))
        assert policy.best([1, 2]) == 2

    def test_stays_on_the_disk(self, tmp_path, finished):
        config = small_config(**MEASURED | {"run__keep_last": 1, "schedule__tick_kimg": 1.0, "schedule__total_kimg": 4.0})
        assert run_small(tmp_path, config)
        scores = {record["images_seen"]: record["metric_swd_small"] for record in stats(tmp_path) if record["resolution"] == 8}
        best = min(scores, key=scores.get)
        kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal()}
        assert kept == {best, max(scores)}
        assert digest(tmp_path, "best") == digest(tmp_path, str(best))


def records(folder, metric):
    return [json.loads(line) for line in (folder / f"metric-{metric}.jsonl").read_text().splitlines()]


def stand_in_network(monkeypatch):
    """Pixels for features, as the network would take minutes here; the list grows by how many images each call is shown."""
    shown = []

    def start(extractor, images):
        shown.append(len(images))
        features, pixels = np.zeros((extractor.batch_size, 2048), np.float32), images.reshape(len(images), -1)
        features[: len(images), : pixels.shape[1]] = pixels
        return features, np.zeros((extractor.batch_size, 1008), np.float32)

    monkeypatch.setattr(FeatureExtractor, "start", start)
    return shown


class TestEvaluate:
    def test_a_run(self, launch, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        words = f"--workdir={workdir}", "--metrics=swd_small,neighbors", "--num_images=60"
        status, out, err = launch("evaluate", *words)
        assert (status, err) == (0, "")
        assert "kimg 1.92, 8x8, alpha 1; reals: digits" in out
        (record,) = records(workdir, "swd_small")
        assert record["label"] == "swd_small60"
        assert (record["num_reals"], record["num_fakes"], record["num_floor"]) == (60, 60, 60)
        assert record["values"]["average"] > 2 * record["floor"]["average"] > 0
        assert record["uncertainty"]["average"] > 0
        assert record["images_seen"] == TOTAL
        (record,) = records(workdir, "neighbors")
        assert record["values"]["ratio"] > 0
        assert record["ratio_to"] == "leave_one_out"
        assert "held_out" not in record["values"]
        assert record["num_reals"] == 1797
        listed = json.loads((workdir / "neighbors000001.920.json").read_text())
        assert [one["fake"] for one in listed] == list(range(16))
        assert all(one["distances"] == sorted(one["distances"]) and len(set(one["training"])) == 3 for one in listed)
        with Image.open(workdir / "neighbors000001.920.png") as image:
            assert image.height == 16 * (8 + 2)
        launch("evaluate", *words)
        first, second = records(workdir, "swd_small")
        assert first["values"] == second["values"], "the same every time"

    def test_neither_batches_nor_other_metrics_change_a_value(self, launch, finished, tmp_path, monkeypatch):
        def values(metrics):
            workdir = copy_of(finished, tmp_path, name=f"run{len(list(tmp_path.iterdir()))}")
            assert launch("evaluate", f"--workdir={workdir}", f"--metrics={metrics}", "--num_images=50", "--nofloor")[0] == 0
            return records(workdir, "swd_small")[0]["values"]

        alone = values("swd_small")
        assert values("neighbors,swd_small") == alone
        monkeypatch.setattr("pggan_jax.evaluation.evaluator._BATCH_PIXELS", 8 * 8 * 7)
        assert values("swd_small") == alone

    def test_all_checkpoints(self, launch, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        words = "--metrics=swd_small", "--num_images=40", "--checkpoint=all", "--nofloor", f"--out={tmp_path / 'out'}"
        assert launch("evaluate", f"--workdir={workdir}", *words)[0] == 0
        assert [record["images_seen"] for record in records(tmp_path / "out", "swd_small")] == [FIRST_TICK, TOTAL]
        assert not list(workdir.glob("metric-*"))

    def test_classes(self, launch, labelled, tmp_path):
        workdir = copy_of(labelled, tmp_path)
        words = f"--workdir={workdir}", "--metrics=classes,train_test", "--num_images=300"
        status, out, err = launch("evaluate", *words)
        assert (status, err) == (0, "")
        (record,) = records(workdir, "classes")
        assert 0 <= record["values"]["as_asked"] <= 1
        assert "the classifier reads only" in out, "4x4 pixels do not distinguish digits"
        (record,) = records(workdir, "train_test")
        assert record["values"]["real"] > 0.5 > record["values"]["gan_test"]

    @pytest.mark.slow
    def test_images_of_another_program(self, launch, tmp_path, monkeypatch):
        """Real digits against digits score at the floor, noise far above."""
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        source = DigitsSource(height=16, width=16)
        random = np.random.RandomState(0)
        for name in ("digits", "noise"):
            (tmp_path / name).mkdir()
            for number in range(200):
                pixels = source.read(number)[..., 0] if name == "digits" else random.randint(0, 256, (16, 16)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / f"{number:04d}.png")
        found = {}
        for name in ("digits", "noise"):
            words = "--data=digits", "--metrics=swd,ms_ssim", "--num_images=200", f"--out={tmp_path / 'out'}"
            status, out, err = launch("evaluate", f"--images={tmp_path / name}", *words)
            assert (status, err) == (0, "")
            assert f"200 images of {tmp_path / name}, 16x16; reals: digits" in out
            found[name] = records(tmp_path / "out", "swd")[-1]
        floor = found["digits"]["floor"]["average"]
        assert found["digits"]["values"]["average"] < 1.5 * floor
        assert found["noise"]["values"]["average"] > 10 * floor

    @pytest.mark.slow
    def test_features_of_reals_are_computed_once(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        shown = stand_in_network(monkeypatch)
        monkeypatch.setattr("pggan_jax.evaluation.metrics.kid.SUBSETS", 3)
        words = f"--workdir={finished}", "--metrics=fid,kid,inception_score,precision_recall", "--num_images=40"
        words = *words, "--inception_weights=random", f"--out={tmp_path}"
        for expected in (2 * 40 + 40, 40, 40):
            shown.clear()
            status, out, err = launch("evaluate", *words)
            assert (status, err) == (0, "")
            assert sum(shown) == expected, "fakes; at first the reals and the other half for the floor"
        first, *_, last = records(tmp_path, "frd_random")
        assert set(first["values"]) == set(first["floor"]) == {"frd_random"}, "never called FID"
        assert not list(tmp_path.glob("metric-fid*"))
        assert first["values"] == last["values"]
        assert last["weights"] == "random"
        assert last["resize"] == "tf1"
        assert "features of a random network" in out
        for path in (tmp_path / "cache" / "features").iterdir():
            path.write_bytes(b"damaged")
        shown.clear()
        assert launch("evaluate", *words)[0] == 0
        assert sum(shown) == 3 * 40
        assert records(tmp_path, "frd_random")[-1]["values"] == first["values"]

    @pytest.mark.slow
    def test_neighbors_by_pixels_and_by_features(self, launch, finished, tmp_path, monkeypatch):
        """The stand-in's features are the pixels, three times: both spaces must have the same value, in units of their own."""
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        shown = stand_in_network(monkeypatch)
        assert launch("prepare", "synthetic:50", "--channels=1", "--resolution=8", f"--out={tmp_path / 'other'}")[0] == 0
        held_out = f"prepared:{tmp_path / 'other'}"
        words = f"--workdir={finished}", "--metrics=neighbors,neighbors_features", "--num_images=40"
        words = *words, "--inception_weights=random", f"--held_out={held_out}", f"--out={tmp_path}"
        for expected in (1797 + 40 + 40, 40):
            shown.clear()
            status, _, err = launch("evaluate", *words)
            assert (status, err) == (0, "")
            assert sum(shown) == expected, "reals of both kinds only once"
        pixels, features = (records(tmp_path, name)[-1] for name in ("neighbors", "neighbors_features_random"))
        scale = np.sqrt(8 * 8 * 3)
        for name in ("fakes", "reals", "held_out"):
            assert features["values"][name] == pytest.approx(pixels["values"][name] * scale, rel=1e-5)
        assert features["values"]["ratio"] == pytest.approx(pixels["values"]["ratio"], rel=1e-5)
        for record in (pixels, features):
            values = record["values"]
            assert values["ratio"] == pytest.approx(values["fakes"] / values["held_out"])
            assert (record["ratio_to"], record["held_out"], record["num_held_out"]) == ("held_out", held_out, 40)
        assert features["weights"] == "random"
        pictures = [(tmp_path / f"{name}000001.920.png").read_bytes() for name in ("neighbors", "neighbors_features")]
        assert pictures[0] == pictures[1]

    def test_held_out_images_that_do_not_fit(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        # Messages of more than 300 characters lose their middle: short names.
        monkeypatch.chdir(tmp_path)
        for name, channels, side, count in (("small", 1, 4, 20), ("few", 1, 8, 15), ("colour", 3, 8, 20)):
            words = f"--channels={channels}", f"--resolution={side}", f"--out={name}"
            assert launch("prepare", f"synthetic:{count}", *words)[0] == 0
        for source, expected in (
            ("prepared:colour", "data.channels = 1: "),
            ("prepared:small", "data.resolution = 8: "),
            ("prepared:few", "has 15 images; at least 16 are needed"),
            ("digits", "is the source of the training images"),
            ("folder:nowhere", ""),
            ("", ""),
        ):
            status, _, err = launch("evaluate", f"--workdir={finished}", "--metrics=neighbors", f"--held_out={source}")
            assert status == 2
            assert err.startswith(f"error: --held_out={source}: {expected}")
            assert err.count("\n") == 1, err

    def test_refusals(self, launch, finished, tmp_path):
        for words, expected in (
            (("--metrics=swd",), "swd needs images of at least 16x16, not 8x8; use swd_small for smaller ones"),
            (("--metrics=swdd",), "'swdd' is not a metric; did you mean swd?"),
            (("--metrics=",), "--metrics=: is empty; choose from "),
            (("--metrics=classes",), "classes needs a run trained on data with classes, with data.labels=true"),
            (
                ("--metrics=swd_small,fid",),
                "--metrics=fid needs the Inception weights, which are not included; get pt_inception-",
            ),
            (("--metrics=fid", "--inception_weights=none.pth"), "--inception_weights=none.pth: cannot be read (No such file"),
            (
                ("--metrics=modes", "--num_images=9"),
                "modes is for stacked digits, such as data.source=stacked:digits, not digits",
            ),
            (("--seed=4294967296",), "--seed=4294967296"),
            (("--seed=-1",), "--seed=-1"),
            (("--metrics=neighbors_features",), "give it by --inception_weights=PATH or PGGAN_INCEPTION_WEIGHTS=PATH\n"),
            (
                ("--metrics=swd_small,fid", "--held_out=photos"),
                "--held_out=photos: has no effect on --metrics=swd_small,fid; add neighbors or neighbors_features or recovery",
            ),
            (("--checkpoint=best",), "--checkpoint=best: no checkpoint was measured while the run trained"),
            (("--checkpoint=7",), "--checkpoint=7: there is none at that kimg; there are: latest, 1.008, 1.92"),
            (("--resolution=8",), "--resolution=8: needs --images"),
            ((f"--images={tmp_path}",), f"--workdir={finished}: applies to a run, not to --images"),
        ):
            message = one_line_error(launch("evaluate", f"--workdir={finished}", *words))
            assert expected in message, message
        message = one_line_error(launch("evaluate", f"--images={tmp_path}"))
        assert f"--images={tmp_path}: needs the images to compare with" in message
        assert not list(finished.glob("metric-*"))

    def test_images_of_several_sizes(self, launch, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        for number, side in enumerate([16] * 17 + [32] * 3):
            Image.fromarray(np.full((side, side), 9 * number, np.uint8)).save(tmp_path / f"{number:02d}.png")
        words = "evaluate", f"--images={tmp_path}", "--data=digits", "--metrics=swd", "--num_images=20"
        message = one_line_error(launch(*words))
        assert "20 images are of 2 sizes, 17 of them 16x16; to resize them all, give --resolution" in message
        assert "--resolution=100: must be 4*2^k" in one_line_error(launch(*words, "--resolution=100"))
        status, out, err = launch(*words, "--resolution=16")
        assert (status, err) == (0, "")
        assert "nothing was written" in out

    def test_small_checkpoints_among_all(self, launch, finished, tmp_path):
        words = f"--workdir={finished}", "--checkpoint=all", "--num_images=40", "--nofloor", f"--out={tmp_path}"
        status, out, err = launch("evaluate", *words, "--metrics=swd,swd_small")
        assert (status, err) == (0, "")
        assert "8x8: too small for swd, skipped" in out
        assert len(records(tmp_path, "swd_small")) == 2
        assert not (tmp_path / "metric-swd.jsonl").exists()

    def test_copies_of_flipped_images_are_found(self, tmp_path):
        """With `data.mirror` the generator may copy either form of any training image."""
        pool = RealPool(open_loader(DataConfig("digits", 16), seed=0, report=print), 16, 0, mirror=True)
        plain = replace(pool, mirror=False).draw(0, 40)
        for copies in (plain, plain.flipped()):
            context = MetricContext(pool, DataConfig("digits", 16), show_progress=False)
            (evaluation,) = Evaluator(["neighbors"], context, num_images=40)(copies)
            assert evaluation.result.values["fakes"] == 0
            assert [one["training"][0] for one in evaluation.result.lists["neighbors"]] == list(range(16))

    def test_reals_of_another_kind(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path))
        status, _, err = launch("evaluate", f"--workdir={finished}", "--data=synthetic:40")
        assert status == 2
        assert err == ("error: --data=synthetic:40: has 3 colour channels and 0 classes; the run was trained on 1 and 0\n")
