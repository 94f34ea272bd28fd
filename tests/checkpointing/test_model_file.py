"""Model files: the run's images and scores, one file for ever, and one line for each kind of damage."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save

import pggan_jax as pg
from pggan_jax.checkpointing.model_file import Origin, read_model_file, write_model_file
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from tests.helpers.array_source import refusal
from tests.helpers.runs import finished_labelled_run

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The folder of a complete run with labels, for reading only."""
    return finished_labelled_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def path(labelled, tmp_path):
    """A model file of a small run with labels."""
    path = tmp_path / "model.safetensors"
    write_model_file(path, load_trained_model(labelled), Origin(licence="CC0", notes=["a note"]))
    return path


def test_gives_the_images_and_scores_of_the_run(path, labelled):
    for network in ("ema", "raw"):
        run, file = pg.load(labelled, network=network), pg.load(path, network=network)
        np.testing.assert_array_equal(file.sample(range(6)), run.sample(range(6)))
        assert file.digest == run.digest
        assert (file.kimg, file.alpha, file.class_names, file.present_classes) == (
            *(run.kimg, run.alpha),
            *(run.class_names, run.present_classes),
        )
    images = run.sample(range(8))
    np.testing.assert_array_equal(file.discriminate(images), run.discriminate(images))


def test_keeps_settings_and_origin(path, labelled):
    trained, origin = read_model_file(path)
    source = load_trained_model(labelled)
    assert trained.config == source.config
    assert trained.metadata.data == source.metadata.data
    assert origin == Origin(licence="CC0", notes=["a note"])
    assert not origin.is_foreign


def test_equal_models_give_equal_bytes(path, labelled, tmp_path):
    write_model_file(tmp_path / "again.safetensors", *read_model_file(path))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def change(path, *, document=None, tensors=None):
    """Write the file again with changes of its description and its arrays; None removes an array."""
    arrays = load_file(path) | (tensors or {})
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    text = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["pggan_jax"])
    text = {name: value for name, value in (text | (document or {})).items() if value is not None}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    path.write_bytes(save(arrays, metadata={"pggan_jax": json.dumps(text)}))


NUMBERS = {"images_seen": 0, "resolution": 4, "alpha": 1.0, "channels": 1, "label_size": 10}
LEAF = "generator_ema/block_4x4/dense/bias"


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (LEAF, lambda bias: None, "lacks block_4x4/dense/bias"),
        (LEAF, lambda bias: bias[:3], "has block_4x4/dense/bias of shape (3,), and its settings make"),
        (LEAF, lambda bias: bias.astype(np.float64), "has type F64, not F32"),
        (LEAF, lambda bias: bias * np.inf, "has NaN or infinite values"),
        ("../../passwd", lambda bias: bias, "has an array for .., which is none of"),
        ("classifier/kernel", lambda bias: bias, "has an array for classifier"),
    ],
)
def test_arrays_that_do_not_fit(path, name, make, message):
    change(path, tensors={name: make(1 + load_file(path)[LEAF])})
    assert message in refusal(read_model_file, path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"version": 2}, "is of version 2, and this program reads 1; update pggan_jax"),
        ({"version": None}, "its description is damaged"),
        ({"config": None}, "its description is damaged"),
        ({"config": {"generator": {"fmap_max": 4, "no_such": 1}}}, "unknown setting generator.no_such"),
        ({"config": []}, "is not a JSON object of settings"),
        ({"checkpoint": {"resolution": 8}}, "its description is damaged"),
        ({"checkpoint": {"images_seen": 0, "resolution": "8", "alpha": 1.0, "channels": 1, "label_size": 0}}, "damaged"),
        ({"checkpoint": {"images_seen": 0, "resolution": 5, "alpha": 1.0, "channels": 1, "label_size": 0}}, "impossible"),
        ({"checkpoint": {"images_seen": 0, "resolution": 4, "alpha": 7.0, "channels": 1, "label_size": 0}}, "impossible"),
        ({"origin": 3}, "its description is damaged"),
        ({"origin": {"licence": 5}}, "its licence is a int"),
        ({"origin": {"notes": [5]}}, "a note is no text"),
        ({"origin": {"metrics": [{}]}}, "a metric has no values"),
        ({"checkpoint": {**NUMBERS, "images_seen": 10**400}}, "its description is damaged"),
        ({"checkpoint": {**NUMBERS, "images_seen": 2**60}}, "its images_seen is impossible"),
        ({"checkpoint": {**NUMBERS, "channels": -1}}, "its channels is impossible"),
        ({"checkpoint": {**NUMBERS, "representation": {"x": 1}}}, "its description is damaged"),
    ],
)
def test_descriptions_that_do_not_fit(path, document, message):
    change(path, document=document)
    assert message in refusal(read_model_file, path)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.9, 0.9999])
def test_truncated_files(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "is damaged or no safetensors file" in refusal(read_model_file, path)


@pytest.mark.parametrize("declared", [2**40, 2**63 - 1])
def test_a_header_that_declares_more_than_the_file_has(path, declared):
    path.write_bytes(struct.pack("<Q", declared) + path.read_bytes()[8:])
    assert "is damaged or no safetensors file" in refusal(read_model_file, path)


def test_an_array_that_declares_more_than_the_file_has(path):
    header = json.dumps({LEAF: {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64)
    assert "is damaged or no safetensors file" in refusal(read_model_file, path)


def test_files_of_other_programs(path):
    path.write_bytes(save({"weight": np.zeros(2, np.float32)}, metadata={"format": "pt"}))
    assert "holds arrays of another program" in refusal(read_model_file, path)


def test_a_file_holds_one_model(path):
    with pytest.raises(UserError, match=r"is a model file, which holds one model; remove --checkpoint=3"):
        pg.load(path, checkpoint="3")


def test_a_model_without_discriminator(path, labelled):
    source = load_trained_model(labelled)
    trained, _ = read_model_file(path)
    write_model_file(path, replace(trained, state=trained.state._replace(discriminator=None)), Origin())
    model = pg.load(path)
    assert model.discriminator is None
    np.testing.assert_array_equal(model.sample([3]), pg.load(labelled).sample([3]))
    assert source.state.discriminator
    with pytest.raises(UserError, match="has no discriminator"):
        model.discriminate(model.sample([3]))
