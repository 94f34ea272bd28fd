"""launch.py import: networks of other programs become model files that every command takes; mistakes are one line."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.model_file import read_model_file
from pggan_jax.checkpointing.restore import restore_or_create
from pggan_jax.data.open_loader import open_loader
from pggan_jax.errors import UserError
from pggan_jax.generation.explorer import Point
from pggan_jax.images import write_png
from tests.helpers.command_line import one_line_error
from tests.helpers.foreign_files import write_small_official

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def imported(launch, tmp_path):
    """Import a small network, and return the path of its model file."""

    def run(**options):
        path = write_small_official(tmp_path / "network.pkl", **options)
        status, out, err = launch("import", path, f"--out={tmp_path / 'model.safetensors'}")
        assert (status, err) == (0, "")
        return tmp_path / "model.safetensors", out

    return run


def test_says_what_the_file_holds(imported):
    path, out = imported(lod=0.25, label_size=2)
    for part in ("8x8, 3 channels, 2 classes, alpha 0.75", "moving average of G", "D ", "CC BY-NC 4.0", str(path)):
        assert part in out
    _, origin = read_model_file(path)
    assert (origin.program[:27], origin.file, len(origin.sha256)) == ("progressive_growing_of_gans", "network.pkl", 64)
    assert origin.is_foreign


def test_the_model_is_sampled_and_scored(imported, launch, tmp_path):
    path, _ = imported(label_size=2)
    model = pg.load(path)
    assert (model.shape, model.label_size, model.latent_size) == ((8, 8, 3), 2, 5)
    images = model.sample(range(4))
    assert np.isfinite(model.discriminate(images)).all()
    assert not np.array_equal(images, pg.load(path, network="raw").sample(range(4)))
    status, _, err = launch("sample", f"--from={path}", "--seeds=0-3", f"--out={tmp_path / 'samples'}")
    assert (status, err) == (0, "")
    assert len(list((tmp_path / "samples").rglob("*.png"))) == 4


def test_a_level_below_the_full_resolution(imported):
    path, out = imported(lod=1.0)
    assert "4x4, 3 channels, alpha 1; full resolution 8" in out
    assert pg.load(path).sample([0]).shape == (1, 4, 4, 3)


def test_evaluation_needs_the_images_to_compare_with(imported, launch):
    path, _ = imported()
    message = one_line_error(launch("evaluate", f"--from={path}", "--metrics=swd_small"))
    assert "comes from progressive_growing_of_gans" in message
    assert "add --data=SOURCE" in message


def test_what_the_training_images_were_is_not_known(imported):
    path, _ = imported()
    with pytest.raises(UserError, match=r"progressive_growing_of_gans.*trained it, on images that are not known"):
        pg.evaluate(str(path), ["swd_small"])


EVALUATE = "evaluate --from={model} --metrics=swd_small --data=synthetic:64 --num_images=64 --out={tmp}/e"


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("film --from={model} --kind=walk --seeds=0,1 --seconds=0.3 --fps=10 --out={tmp}/walk.gif", "walk.gif"),
        ("directions --from={model} --out={tmp}/d.npz --seeds=0", "d.npz"),
        ("arithmetic 1+2 --from={model} --out={tmp}/sum.png", "sum.png"),
        (EVALUATE, "e/metric-swd_small.jsonl"),
        ("export --from={model} --out={tmp}/gan.html", "gan.html"),
    ],
)
def test_commands_take_an_imported_model(imported, launch, tmp_path, words, made):
    path, _ = imported()
    status, _, err = launch(*words.format(model=path, tmp=tmp_path).split())
    assert (status, err) == (0, "")
    assert (tmp_path / made).stat().st_size > 0


def test_an_imported_model_is_edited_and_projected(imported, launch, tmp_path):
    """An image of its own is found again; an edit of strength 0 is the sample."""
    path, _ = imported()
    model = pg.load(path)
    write_png(tmp_path / "own.png", model.sample([7])[0])
    few = ("--candidates=20", "--starts=2", "--steps=3")
    status, out, err = launch("project", tmp_path / "own.png", f"--from={path}", f"--out={tmp_path / 'found'}", *few)
    assert (status, err) == (0, "")
    assert "nearest sample: seed 7, RMSE 0.00" in out
    with np.load(tmp_path / "found" / "own.npz", allow_pickle=False) as found:
        assert model.synthesize(found["latent"][None]).shape == (1, 8, 8, 3)
    assert launch("directions", f"--from={path}", f"--out={tmp_path / 'd.npz'}", "--seeds=0")[0] == 0
    words = ("edit", f"--from={path}", f"--direction={tmp_path / 'd.npz'}:0", "--seeds=3", f"--out={tmp_path / 'edit.png'}")
    assert launch(*words)[0] == 0
    assert (tmp_path / "edit.png").stat().st_size > 0


def test_an_imported_model_is_explored(imported, launch, monkeypatch):
    seen = []
    monkeypatch.setattr("pggan_jax.cli.explore_page.serve", lambda make, **_: seen.append(make()))
    path, _ = imported(label_size=2)
    assert launch("explore", f"--from={path}")[0] == 0
    explorer = seen[0]
    assert len(explorer.levels) == 1
    assert len(explorer.directions) == 5
    point = Point(3, 1, strengths=(0.0, 2.0))
    wanted = pg.load(path).synthesize(explorer.latent(point)[None], 1)[0]
    assert np.array_equal(explorer.images(point)[0], wanted)


def test_images_without_classes_for_one_with_labels_are_refused(imported, launch):
    path, _ = imported(label_size=2)
    message = one_line_error(launch("evaluate", f"--from={path}", "--data=photos"))
    assert message.startswith("error: --data=photos: has no classes, which this model was trained with; ")
    assert "data.labels" not in message


def test_a_run_that_starts_from_it_is_told_of_another_form(imported, tmp_path):
    """Its discriminator is separate, and ours fused: equal parameters, another function."""
    path, out = imported()
    assert "settings  generator.fmap_base=64" in out
    config = read_model_file(path)[0].config
    data, run = replace(config.data, source="synthetic:64"), replace(config.run, init_from=str(path))
    config = replace(config, data=data, run=run, schedule=replace(config.schedule, start_resolution=8))
    fused = replace(config, discriminator=replace(config.discriminator, fused_scale=True))
    for one, is_told in ((config, False), (fused, True)):
        with closing(Checkpoints(tmp_path / f"checkpoints{is_told}")) as checkpoints:
            loader = open_loader(one.data, seed=0, progress=False)
            beginning = restore_or_create(one, loader, checkpoints=checkpoints, has_begun=False)
        told = [line for line in beginning.lines if "another form" in line]
        assert bool(told) == is_told
        assert not told or "discriminator.fused_scale: False -> True" in told[0]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["import"], ["import needs FILE"]),
        (["import", "{tmp}/none.pkl"], ["no such file"]),
        (["import", "{tmp}"], ["is a folder"]),
        (["import", "{tmp}/text.pkl", "--out={tmp}/new.safetensors"], ["is not a pickle, or is damaged"]),
        (["import", "{tmp}/network.pkl"], ["--out: is missing", "--out=network.safetensors"]),
        (["import", "{tmp}/network.pkl", "--out=x.npz"], ["--out=x.npz", ".safetensors"]),
        (["import", "{tmp}/network.pkl", "--out={tmp}/text.safetensors"], ["exists", "--overwrite"]),
        (["sample", "--from={tmp}/none.safetensors"], ["no such file", "import"]),
        (["sample", "--from={tmp}/text.safetensors"], ["is damaged or no safetensors file"]),
        (["sample", "--from={tmp}/text.pkl"], ["is a file", ".safetensors"]),
        (["sample", "--from={tmp}/text.safetensors@best"], ["is a model file, which holds one model; remove @best"]),
        (["evaluate", "--from={tmp}/none.safetensors"], ["no such file"]),
    ],
)
def test_mistakes(launch, tmp_path, words, parts):
    write_small_official(tmp_path / "network.pkl")
    for name in ("text.pkl", "text.safetensors"):
        (tmp_path / name).write_text("hello")
    message = one_line_error(launch(*(word.format(tmp=tmp_path) for word in words)))
    for part in parts:
        assert part in message
