"""launch.py export: each form gives the images of the run, its card says how, and nothing of others is replaced."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pggan_jax as pg
from tests.helpers.command_line import one_line_error
from tests.helpers.foreign_files import write_small_official
from tests.helpers.runs import copy_of, finished_labelled_run

pytestmark = pytest.mark.usefixtures("quick_compilation")
GOLDEN = Path(__file__).parents[1] / "golden"
FORBID = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pggan_jax", "flax"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The folder of a complete run with labels, for reading only."""
    return finished_labelled_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def exported(launch, labelled, tmp_path):
    """Export the run, and return the path of the file."""

    def run(name, source=labelled, *flags):
        status, out, err = launch("export", f"--from={source}", f"--out={tmp_path / name}", *flags)
        assert (status, err) == (0, "")
        assert str(tmp_path / name) in out
        return tmp_path / name

    return run


def programs(card: Path) -> dict[str, str]:
    """The programs of a card, by the names of their files."""
    return dict(re.findall(r"`([\w.]+)`:\n\n```python\n(.*?)```", card.read_text(), re.DOTALL))


def run_program(text: str, folder: Path) -> np.ndarray:
    """Run the program of a card in a process that cannot import this package; return its images."""
    (folder / "program.py").write_text(f"{FORBID}\n{text}\nnp.save('images.npy', images)\n")
    subprocess.run([sys.executable, "program.py"], cwd=folder, check=True, timeout=300)
    return np.load(folder / "images.npy")


def test_safetensors(exported, labelled):
    path = exported("gan.safetensors", labelled, "--licence=CC0")
    np.testing.assert_array_equal(pg.load(path).sample(range(16)), pg.load(labelled).sample(range(16)))
    card = path.with_suffix(".md").read_text()
    for part in ("# gan", "| licence | CC0 |", "gan-samples.png", "| latents | "):
        assert part in card
    assert list(programs(path.with_suffix(".md"))) == ["gan.safetensors"]


def test_stablehlo_needs_nothing_but_jax(exported, labelled):
    path = exported("gan.stablehlo")
    text = programs(path.with_suffix(".md"))["gan.stablehlo"]
    assert len(text.strip().splitlines()) <= 10
    images = run_program(text, path.parent)
    expected = pg.load(labelled).sample(range(16))
    assert images.shape == expected.shape
    assert np.abs(images.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_onnx(exported, labelled):
    pytest.importorskip("jax2onnx")
    path = exported("gan.onnx")
    images = run_program(programs(path.with_suffix(".md"))["gan.onnx"], path.parent)
    assert np.abs(images.astype(int) - pg.load(labelled).sample(range(16))).max() <= 1


def test_a_card_lists_all_forms(exported, labelled):
    exported("gan.safetensors")
    path = exported("gan.html")
    assert "gan.html" in path.with_suffix(".md").read_text()
    assert list(programs(path.with_suffix(".md"))) == ["gan.safetensors", "gan.html"]
    assert "const MODEL" in path.read_text()


def test_a_card_has_what_was_measured(exported, labelled, tmp_path):
    run = copy_of(labelled, tmp_path / "copy")
    empty = {"metric": "judge", "label": "judge", "values": {"quality": None}, "floor": {"quality": None}}
    record = {"metric": "swd", "label": "swd64", "images_seen": 0, "values": {"average": 3.25}, "floor": {"average": 1.5}}
    images_seen = round(1000 * pg.load(run).kimg)
    lines = [record, {**record, "images_seen": images_seen}, {**record, "images_seen": images_seen, "network": "raw"}]
    (run / "metric-swd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "metric-judge.jsonl").write_text(json.dumps({**empty, "images_seen": images_seen}) + "\n")
    path = exported("gan.safetensors", run)
    assert path.with_suffix(".md").read_text().count("| swd64, average | 3.25 | 1.5 |") == 1
    assert "| judge, quality | not finite | not finite |" in path.with_suffix(".md").read_text()
    # A model file keeps it.
    again = exported("again.safetensors", path)
    assert "| swd64, average | 3.25 | 1.5 |" in again.with_suffix(".md").read_text()


def test_an_imported_model_keeps_its_licence(exported, launch, tmp_path):
    write_small_official(tmp_path / "network.pkl")
    assert launch("import", tmp_path / "network.pkl", f"--out={tmp_path / 'model.safetensors'}")[0] == 0
    path = exported("gan.html", tmp_path / "model.safetensors")
    assert "CC BY-NC 4.0" in path.read_text()
    assert "CC BY-NC 4.0" in path.with_suffix(".md").read_text()


def test_a_card_that_was_changed_by_hand_is_kept(exported, launch, labelled):
    path = exported("gan.safetensors")
    card = path.with_suffix(".md")
    card.write_text(card.read_text() + "My words.\n")
    out = f"--out={path.with_suffix('.html')}"
    assert "gan.md: was changed by hand" in one_line_error(launch("export", f"--from={labelled}", out))
    assert "My words." in card.read_text()
    assert launch("export", f"--from={labelled}", out, "--overwrite")[0] == 0
    assert "My words." not in card.read_text()


def test_a_card_lists_files_of_its_model_alone(exported, launch, tmp_path):
    """gan.safetensors stays that of the run, and the card is now about the imported model."""
    exported("gan.safetensors")
    write_small_official(tmp_path / "network.pkl")
    assert launch("import", tmp_path / "network.pkl", f"--out={tmp_path / 'model.safetensors'}")[0] == 0
    path = exported("gan.html", tmp_path / "model.safetensors")
    assert list(programs(path.with_suffix(".md"))) == ["gan.html"]


@pytest.mark.parametrize("name", ["gan.HTML", "gan.Safetensors"])
def test_suffixes_in_capitals(launch, labelled, tmp_path, name):
    assert launch("export", f"--from={labelled}", f"--out={tmp_path / name}")[0] == 0
    assert (tmp_path / name.lower()).is_file()


@pytest.mark.parametrize("name", ["gan.md", "gan-samples.png"])
def test_files_of_others_are_not_replaced(launch, labelled, tmp_path, name):
    (tmp_path / name).write_text("mine")
    message = one_line_error(launch("export", f"--from={labelled}", f"--out={tmp_path / 'gan.safetensors'}"))
    assert f"{name}: exists" in message
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "gan.safetensors").exists()


@pytest.mark.parametrize(
    ("out", "parts"),
    [
        ("gan.pkl", ["must end in .safetensors or .stablehlo or .onnx or .html"]),
        ("there.html", ["exists", "--overwrite"]),
    ],
)
def test_mistakes(launch, labelled, tmp_path, out, parts):
    (tmp_path / "there.html").write_text("mine")
    message = one_line_error(launch("export", f"--from={labelled}", f"--out={tmp_path / out}"))
    for part in parts:
        assert part in message


def test_a_file_of_today_can_be_read_for_ever():
    """Written by the first version that wrote such files; it must load with these images."""
    model = pg.load(GOLDEN / "model.safetensors")
    assert (model.label_size, model.alpha, model.latent_size, model.kimg) == (2, 0.75, 5, 0.0)
    with np.load(GOLDEN / "model_images.npz") as golden:
        assert np.abs(model.sample(range(4)).astype(int) - golden["images"]).max() <= 1
        np.testing.assert_allclose(model.discriminate(golden["images"]), golden["scores"], atol=1e-3)
