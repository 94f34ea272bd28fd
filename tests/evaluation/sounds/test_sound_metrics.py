"""Metrics of sound on a run, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pggan_jax.api.evaluation import evaluate
from pggan_jax.checkpointing.open_model import load
from pggan_jax.cli.sample_sound_flags import has_pitches
from pggan_jax.config import DataConfig
from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.data_record import DataRecord
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import open_configured, open_loader
from pggan_jax.errors import UserError
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import ImageSet, RealPool, open_reals, use_classes_of
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.evaluation.sounds.clips import pitches_of_classes
from pggan_jax.metric_kinds import METRIC_KINDS

NAMES = [name for name, kind in METRIC_KINDS.items() if kind.measures_sound]


def sound_loader(count: int = 260, **changes):
    config = DataConfig(source=f"notes:{count}", resolution=64, base_shape="2x8", labels=True, sound=SoundConfig())
    config = replace(config, **changes)
    return open_loader(config, seed=0, report=print), config


def context_of(loader, config) -> MetricContext:
    return MetricContext(RealPool(loader, config.resolution, 0), config, show_progress=False)


def test_the_seven_metrics_are_known():
    assert {"pitch", "hnr", "coherence", "consistency", "judge", "ndb_sound", "fid_sound"} == set(NAMES)


def test_reals_and_noise():
    """Floats of the generator are decoded without rounding; noise is far from the reals in every metric."""
    loader, config = sound_loader(520)
    evaluator = Evaluator(NAMES, context_of(loader, config), num_images=104)
    reals = RealPool(loader, 64, 1).draw(0, 104)
    noise = np.random.RandomState(0).uniform(-1, 1, (104, 32, 128, 2)).astype(np.float32)

    def refuse(start, stop):
        raise AssertionError("generated sound must not pass through uint8")

    sets = {"reals": reals, "noise": replace(reals, read=refuse, read_floats=lambda start, stop: noise[start:stop])}
    values = {name: {one.metric: one for one in evaluator(images)} for name, images in sets.items()}
    good, bad = values["reals"], values["noise"]
    assert good["pitch"].headline >= 0.95
    assert bad["pitch"].headline < 0.2
    assert good["hnr"].headline > 30 > bad["hnr"].headline
    assert good["coherence"].headline > 0.99 > bad["coherence"].headline
    assert good["consistency"].headline < 0.05 < 0.4 < bad["consistency"].headline
    assert good["judge"].headline > 0.9 > 0.5 > bad["judge"].headline
    assert good["fid_sound"].headline < 10 < bad["fid_sound"].headline
    assert bad["ndb_sound"].headline > good["ndb_sound"].headline
    for metric in NAMES:
        assert good[metric].floor is not None
    assert good["judge"].result.values["judge_accuracy"] >= 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value):
    loader, config = sound_loader()
    broken = np.full((32, 32, 128, 2), value, np.float32)
    evaluator = Evaluator(["consistency"], context_of(loader, config), num_images=32, with_floor=False)
    fakes = ImageSet("fakes", 32, loader.shape_at(64), np.zeros(32, np.int32), None, lambda start, stop: broken[start:stop])
    with pytest.raises(UserError, match="diverged"):
        evaluator(fakes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fid", "measures images, not sound; take fid_sound instead"),
        ("ms_ssim", "take ndb_sound instead"),
        ("neighbors", "take ndb_sound instead"),
    ],
)
def test_metrics_of_images_name_their_counterpart(name, reason):
    with pytest.raises(UserError, match=reason):
        Evaluator([name], context_of(*sound_loader()))


@pytest.mark.parametrize("label_by", ["family", "none"])
def test_without_labels_of_pitch(label_by):
    loader, config = sound_loader(labels=label_by != "none", sound=SoundConfig(label_by=label_by))
    context = context_of(loader, config)
    for name in ("pitch", "hnr", "coherence", "judge", "fid_sound"):
        with pytest.raises(UserError, match=r"needs sound with labels of pitch; .*consistency, ndb_sound"):
            Evaluator([name], context)
    with pytest.raises(UserError, match="take ndb_sound instead"):
        Evaluator(["fid"], context)
    Evaluator(["consistency", "ndb_sound"], context, num_images=32)


class TestKindOfLabels:
    def test_folders_named_with_numbers_are_no_pitches(self, sound_run):
        loader, _ = sound_loader(52)
        assert pitches_of_classes(loader).tolist() == [*range(60, 73)]
        folders = Loader(replace(loader._pyramid, label_kind="folder"), seed=0, use_labels=True)
        assert folders.class_names == loader.class_names
        assert not pitches_of_classes(folders).size
        model = load(sound_run)
        assert (model.label_kind, has_pitches(model)) == ("pitch", True)
        assert not has_pitches(replace(model, label_kind="folder"))

    def test_a_prepared_folder_keeps_it(self, launch, tmp_path):
        for kind in ("pitch", "family"):
            words = "prepare", "notes:26", f"--out={tmp_path / kind}", f"--set=sound.label_by={kind}"
            assert launch(*words)[0] == 0
            config = DataConfig(f"prepared:{tmp_path / kind}", 64, "2x8", labels=True)
            assert open_loader(config, seed=0).label_kind == kind

    def test_records_of_images_do_not_have_it(self, digits_pool):
        record, sound = digits_pool.loader.record(), sound_loader(52)[0].record()
        assert "label_kind" not in record.to_json()
        for one in (record, sound):
            assert DataRecord.from_json(one.to_json()) == one


@pytest.mark.parametrize("name", NAMES)
def test_images_are_not_sound(digits_pool, name):
    with pytest.raises(UserError, match=f"{name} measures sound, and these are images"):
        Evaluator([name], MetricContext(digits_pool, DataConfig("digits", 16)))


@pytest.fixture(scope="module")
def digits_pool():
    return RealPool(open_loader(DataConfig("digits", 16), seed=0, report=print), 16, 0)


def test_swd_takes_two_channels():
    loader, config = sound_loader()
    pool = RealPool(loader, 64, 0)
    evaluator = Evaluator(["swd_small"], MetricContext(pool, config, show_progress=False), num_images=64, with_floor=False)
    same, other = pool.draw(0, 64), pool.draw(64, 64)
    dark = replace(other, read=lambda start, stop: 255 - other.read(start, stop))
    results = [evaluator(images)[0].headline for images in (same, other, dark)]
    assert 0 < max(results[:2]) < results[2] / 3


def test_evaluate_of_a_run(sound_run, monkeypatch):
    monkeypatch.setattr("pggan_jax.evaluation.sounds.judge.LEAST_ACCURACY", 1.1)
    done = evaluate(sound_run, metrics=NAMES, num_images=26)
    assert set(done) == set(NAMES)
    for name in ("judge", "fid_sound"):
        assert np.isnan(done[name].headline)
        assert "numbers are withheld" in done[name].result.notes[0]
    assert np.isfinite(done["consistency"].headline)


class TestOtherReals:
    """Reals of another source take the scale of the run: generated images mean the same beside them."""

    @pytest.mark.parametrize("source", ["notes:300:9", "notes:52"])
    def test_they_have_the_scale_of_the_run(self, sound_run, source):
        model = load(sound_run)
        data = replace(model.config.data, source=source)
        measured = open_loader(replace(data, source="notes:300:9"), seed=0).representation
        assert measured.scale != model.representation.scale
        reals = open_reals(data, seed=0, scale=model.representation, is_own=False)
        assert reals.representation == model.representation
        use_classes_of(model, reals, named=source)
        wave = open_configured(data).waves.read(3)
        np.testing.assert_allclose(reals.representation.decode(reals.images(16, np.array([3])))[0], wave, atol=0.05)

    def test_the_command(self, launch, sound_run, tmp_path):
        words = "--metrics=consistency", "--num_images=26", "--nofloor", f"--out={tmp_path / 'out'}"
        status, out, err = launch("evaluate", f"--workdir={sound_run}", "--data=notes:300:9", *words)
        assert (status, err) == (0, "")
        assert "reals: notes:300:9" in out

    def test_another_form_is_refused(self, sound_run):
        model = load(sound_run)
        data = model.config.data
        for changes in ({"eps": 1e-2}, {"sample_rate": 8000}):
            other = replace(data, sound=replace(data.sound, **changes))
            reals = open_reals(other, seed=0, scale=model.representation, is_own=False)
            with pytest.raises(UserError, match=f"is other sound than that of the run .*{next(iter(changes))}"):
                use_classes_of(model, reals, named="--data=other")

    def test_images_are_refused(self, sound_run):
        images = open_loader(DataConfig("digits", 16, labels=True), seed=0)
        with pytest.raises(UserError, match="has images, and the run was trained on sound"):
            use_classes_of(load(sound_run), images, named="--data=digits")
