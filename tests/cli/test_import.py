"""launch.py import: networks of other programs become model files that every command takes; mistakes are one line."""

from __future__ import annotations

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.checkpointing.model_file import read_model_file
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


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["import"], ["import needs FILE"]),
        (["import", "{tmp}/none.pkl"], ["no such file"]),
        (["import", "{tmp}"], ["is a folder"]),
        (["import", "{tmp}/text.pkl"], ["is not a pickle, or is damaged"]),
        (["import", "{tmp}/network.pkl", "--out=x.npz"], ["--out=x.npz", ".safetensors"]),
        (["import", "{tmp}/network.pkl", "--out={tmp}/text.safetensors"], ["exists", "--overwrite"]),
        (["sample", "--from={tmp}/none.safetensors"], ["no such file", "import"]),
        (["sample", "--from={tmp}/text.safetensors"], ["is damaged or no safetensors file"]),
        (["sample", "--from={tmp}/text.pkl"], ["is a file", ".safetensors"]),
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
