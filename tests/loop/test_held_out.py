"""Held-out images: what the loop logs of them, on any number of devices, with classes and sound, stopped and resumed."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.sources.builtin import DigitsSource
from pggan_jax.distributed import devices
from pggan_jax.errors import UserError
from pggan_jax.images import ImageSpec
from pggan_jax.loop.periodic_eval import HeldOutGap
from pggan_jax.networks.build import build_networks, initialize
from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from pggan_jax.stats_fields import HELD_OUT_FIELDS
from tests.helpers.runs import (
    MID_FADE,
    copy_of,
    dcgan_config,
    digest,
    lasting,
    on_devices,
    run_small,
    small_config,
    small_loader,
    sound_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
HELD_OUT = {"data__held_out": 0.2, "data__max_images": 200, "data__labels": True}


def digits_folder(path, *, per_class, classes=range(10)):
    """Write some digits as a folder of images, one subfolder per class."""
    source = DigitsSource(height=8, width=8)
    counts: Counter[int] = Counter()
    for index in range(len(source)):
        label = source.label(index)
        if label in classes and counts[label] < per_class:
            counts[label] += 1
            (path / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.read(index)[..., 0]).save(path / str(label) / f"{counts[label]}.png")
    return path


def plain_mean(trained, loader, *, count, start_resolution):
    """Mean score of the first `count` images, group by group: four images in the strided order of one batch."""
    images = loader.images(trained.networks.resolution, loader.rows(np.arange(count))) / 127.5 - 1
    _, discriminator = trained.networks.on_one_device()
    alpha = trained.metadata.alpha
    if trained.networks.resolution > start_resolution:
        halved = (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2]) / 4
        images = alpha * images + (1 - alpha) * halved.repeat(2, axis=1).repeat(2, axis=2)
    scores = []
    for batch in images.reshape(-1, 16, *images.shape[1:]):
        for group in range(4):
            scores.append(discriminator.apply({"params": trained.state.discriminator}, batch[group::4], alpha)[0])
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with 160 training images and 40 held-out ones, stopped in the fade and gone on with."""
    workdir = tmp_path_factory.mktemp("held_out")
    assert run_small(workdir / "whole", small_config(**HELD_OUT))
    assert not run_small(workdir / "stopped", small_config(**HELD_OUT), stop_at=MID_FADE)
    return workdir


def test_the_gap_is_the_difference_of_plain_means(whole):
    """32 images of each set: the largest number of whole batches. At the end, and in the middle of a fade."""
    config = small_config(**HELD_OUT)
    loader = small_loader(config.data, config.run.seed)
    assert (len(loader), len(loader.held_out)) == (160, 40)
    for folder in ("whole", "stopped"):
        trained = load_trained_model(whole / folder)
        sets = {"training_score": loader, "held_out_score": loader.held_out}
        means = {name: plain_mean(trained, one, count=32, start_resolution=4) for name, one in sets.items()}
        program = SimpleNamespace(networks=trained.networks)
        found = HeldOutGap(config, loader)(program, trained.state.discriminator, alpha=trained.metadata.alpha)
        assert set(found) == set(HELD_OUT_FIELDS)
        assert {name: found[name] for name in means} == pytest.approx(means, abs=1e-5)
        assert found["held_out_gap"] == pytest.approx(means["training_score"] - means["held_out_score"], abs=1e-5)
        assert abs(found["held_out_gap"]) > 1e-4, "or the test shows nothing"
        if folder == "whole":
            assert {name: stats(whole / folder)[-1][name] for name in found} == pytest.approx(found, abs=1e-5)
        else:
            assert 0 < trained.metadata.alpha < 1


def test_the_run_says_so_everywhere(whole):
    workdir = whole / "whole"
    record = load_trained_model(workdir).metadata.data_record
    assert (record.images, record.held_out, sum(record.class_counts)) == (200, 40, 160)
    log = (workdir / "log.txt").read_text()
    assert "160 images and 40 held out, 1 channel(s), 10 classes" in log
    for one in stats(workdir):
        assert f"held-out gap {one['held_out_gap']:.3f}" in log
    page = render(gather(workdir, small_config(**HELD_OUT)))
    assert "Held-out gap" in page
    assert "Scores of training and held-out images" in page
    assert "Other scalars" not in page


def test_a_resumed_run_is_the_undisturbed_one(whole, tmp_path):
    workdir = copy_of(whole / "stopped", tmp_path)
    assert run_small(workdir, small_config(**HELD_OUT))
    assert lasting(stats(workdir)) == lasting(stats(whole / "whole"))
    assert digest(workdir) == digest(whole / "whole")


def test_another_share_is_refused_on_resume(whole, tmp_path):
    workdir, other = copy_of(whole / "stopped", tmp_path), small_config(**{**HELD_OUT, "data__held_out": 0.3})
    with pytest.raises(UserError, match=r"data\.held_out: 0\.2 -> 0\.3"):
        run_small(workdir, other)


@pytest.mark.slow
def test_another_share_can_be_accepted(whole, tmp_path):
    workdir, other = copy_of(whole / "stopped", tmp_path), small_config(**{**HELD_OUT, "data__held_out": 0.3})
    assert run_small(workdir, other, allow_config_change=True)
    assert "data changed: 60 images held out, was 40" in (workdir / "log.txt").read_text()


def test_what_the_run_learns_from_is_the_training_images_alone(tmp_path):
    """With other held-out images the run is the same to the bit, but for the record of its data and the gap."""
    config = small_config(**HELD_OUT, schedule__total_kimg=0.16)
    loader = open_loader(config.data, seed=config.run.seed, progress=False)
    changed = open_loader(config.data, seed=config.run.seed, progress=False)
    for level in changed._pyramid.levels.values():
        level[changed._left_out] = 255 - level[changed._left_out]
    for name, one in (("as_is", loader), ("changed", changed)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.helpers.runs.small_loader", lambda data, seed, one=one: one)
            assert run_small(tmp_path / name, config)
    assert digest(tmp_path / "as_is") == digest(tmp_path / "changed")
    first, second = (stats(tmp_path / name)[-1] for name in ("as_is", "changed"))
    assert first["training_score"] == second["training_score"]
    assert first["held_out_score"] != second["held_out_score"]


@pytest.mark.parametrize("stddev", ["strided", "contiguous", "whole_batch", "none"])
def test_sets_of_any_size_are_scored_in_whole_groups(stddev):
    """18 and 22 images with batches of 16 in groups of 4: no batch mixes sets, none is empty."""
    config = small_config(data__max_images=40, data__held_out=0.45, discriminator__minibatch_stddev=stddev)
    loader = small_loader(config.data, 0)
    networks = build_networks(config, 8, image_spec=ImageSpec(8, 8, 1))
    _, params = initialize(networks, 0)
    found = HeldOutGap(config, loader)(SimpleNamespace(networks=networks), params, alpha=1.0)
    assert all(np.isfinite(value) for value in found.values())


def test_images_of_another_source(tmp_path, launch):
    """Training is that of all images; the run says which are held out, and metrics compare with them."""
    folder = digits_folder(tmp_path / "others", per_class=3)
    plain = {"data__labels": True, "schedule__total_kimg": 0.16}
    assert run_small(tmp_path / "plain", small_config(**plain))
    config = small_config(**plain, data__held_out_source=f"folder:{folder}")
    assert run_small(tmp_path / "run", config, shared=False)
    (tick,) = stats(tmp_path / "run")
    assert tick["held_out_gap"] == pytest.approx(tick["training_score"] - tick["held_out_score"], abs=1e-5)
    assert abs(tick["held_out_gap"]) > 1e-4
    trained, other = (load_trained_model(tmp_path / name) for name in ("run", "plain"))
    assert digest(tmp_path / "run") == digest(tmp_path / "plain")
    assert trained.metadata.data_record.held_out_images
    assert not other.metadata.data_record.held_out_images
    assert "1,797 images and 30 held out, 1 channel(s), 10 classes" in (tmp_path / "run" / "log.txt").read_text()
    command = ["evaluate", f"--workdir={tmp_path / 'run'}", "--num_images=16"]
    status, _, error = launch(*command, "--metrics=neighbors")
    assert status == 0, error
    status, out, _ = launch("inspect", f"--workdir={tmp_path / 'run'}")
    assert "data: 1,797 images, others held out, fingerprint" in out
    record = json.loads((tmp_path / "run" / "metric-neighbors.jsonl").read_text())
    assert (record["ratio_to"], record["held_out"], record["num_reals"]) == ("held_out", f"folder:{folder}", 1797)
    assert "reals" not in record
    # Other images in the same folder are noticed; metrics that do without them do not ask for them.
    shutil.copy(folder / "0" / "1.png", folder / "0" / "9.png")
    small_loader.cache_clear()
    with pytest.raises(UserError, match=r"not the data of this run: data\.held_out_source has other images"):
        run_small(tmp_path / "run", config, shared=False)
    shutil.rmtree(folder)
    assert launch(*command, "--metrics=neighbors")[0] == 2
    assert launch(*command, "--metrics=swd_small")[0] == 0


def test_classes_of_another_source_may_be_fewer(tmp_path):
    """They keep the numbers that they have in the training images."""
    folder = digits_folder(tmp_path / "others", classes=(7, 3), per_class=10)
    data = small_config(data__labels=True, data__held_out_source=f"folder:{folder}").data
    loader = open_loader(data, seed=0, progress=False)
    assert set(loader.held_out.class_table()) == {3, 7}
    assert loader.held_out.label_size == 10


def other_classes(path):
    digits_folder(path, classes=(0, 1), per_class=10)
    (path / "1").rename(path / "one")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(digits_folder, per_class=1), "has 10 images, and there must be at least 16"),
        (other_classes, "has the class 'one', which digits lacks; name images of the same classes, or set data.labels=false"),
        (lambda path: path, "no such folder; give the folder of the image files"),
    ],
)
def test_another_source_that_cannot_be_used(tmp_path, make, words):
    source = f"folder:{make(tmp_path / 'others')}"
    with pytest.raises(UserError, match=f"^{re.escape(f'data.held_out_source = {source!r}: {words}')}"):
        open_loader(small_config(data__labels=True, data__held_out_source=source).data, seed=0, progress=False)


def test_sound_cannot_be_held_out_of_images_nor_images_of_sound():
    data = small_config(data__held_out_source="notes:64").data
    with pytest.raises(
        UserError, match=r"^data\.held_out_source = 'notes:64': has sound, and digits has images; name a source of"
    ):
        open_loader(data, seed=0, progress=False)
    data = sound_config(data__held_out_source="synthetic:64").data
    with pytest.raises(UserError, match=r"^data\.held_out_source = 'synthetic:64': has images, and notes:52 has sound; name"):
        open_loader(data, seed=0, progress=False)


def test_the_same_images_cannot_be_held_out(tmp_path):
    digits_folder(tmp_path / "one", per_class=3)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    data = small_config(data__source=f"folder:{tmp_path / 'one'}", data__held_out_source=f"folder:{tmp_path / 'two'}").data
    with pytest.raises(UserError, match=r"has the same images as folder:.*/one; name others, or keep a share"):
        open_loader(data, seed=0, progress=False)


@pytest.mark.slow
def test_on_several_devices(whole, tmp_path):
    """Training differs by rounding, which grows: compared after ten steps."""
    config = small_config(**HELD_OUT, schedule__total_kimg=0.16)
    assert run_small(tmp_path / "one", config)
    with on_devices(2):
        assert devices.device_count() == 2
        assert run_small(tmp_path / "two", config, shared=False)
    one, two = (stats(tmp_path / name)[-1] for name in ("one", "two"))
    assert [two[name] for name in HELD_OUT_FIELDS] == pytest.approx([one[name] for name in HELD_OUT_FIELDS], abs=1e-3)


@pytest.mark.slow
def test_with_dcgan(tmp_path):
    assert run_small(tmp_path, dcgan_config(data__held_out=0.2, data__max_images=200))
    (tick,) = stats(tmp_path)
    assert tick["held_out_gap"] == pytest.approx(tick["training_score"] - tick["held_out_score"], abs=1e-5)
    assert abs(tick["held_out_gap"]) > 1e-4


@pytest.mark.slow
def test_with_sound(tmp_path):
    assert run_small(tmp_path, sound_config(data__held_out=0.4))
    assert np.isfinite(stats(tmp_path)[-1]["held_out_gap"])
    assert "31 images and 21 held out, 2 channel(s), 13 classes" in (tmp_path / "log.txt").read_text()


def test_a_failure_is_a_warning(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(HeldOutGap, "__call__", fail)
    assert run_small(tmp_path, small_config(**HELD_OUT, schedule__total_kimg=0.16))
    words = "WARNING: going on without held_out_gap at kimg 0.2: RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert words in (tmp_path / "log.txt").read_text()
    assert not set(HELD_OUT_FIELDS) & stats(tmp_path)[-1].keys()


def test_evaluate_compares_with_each_set(whole, launch, tmp_path):
    """Metrics with the training images; those that ask for held-out images with the run's own."""
    command = ["evaluate", f"--workdir={whole / 'whole'}", "--metrics=neighbors,swd_small", "--num_images=32"]
    status, out, _ = launch(*command, f"--out={tmp_path / 'own'}")
    assert status == 0
    assert "reals: digits, the 160 images trained on, without 40 held out" in out
    record = json.loads((tmp_path / "own" / "metric-neighbors.jsonl").read_text())
    assert (record["ratio_to"], record["held_out"], record["num_held_out"]) == ("held_out", "held-out images of digits", 32)
    assert record["num_reals"] == 160
    assert record["reals"] == "40 images held out"
    status, out, _ = launch(*command, "--data=digits", f"--out={tmp_path / 'all'}")
    assert status == 0
    record = json.loads((tmp_path / "all" / "metric-neighbors.jsonl").read_text())
    assert (record["ratio_to"], record["num_reals"]) == ("leave_one_out", 1797)
    assert "reals" not in record
    status, out, _ = launch("inspect", f"--workdir={whole / 'whole'}")
    assert "data: 200 images (40 of them held out), fingerprint" in out
