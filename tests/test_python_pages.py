"""The code of docs/api.md and docs/first_steps.ipynb runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
SETTINGS = ["data.labels=true", "schedule.stable_kimg=0.16", "schedule.fade_kimg=0.16"]


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory, quick_compilation):
    """The folder of a short run at 16x16 with labels."""
    workdir = tmp_path_factory.mktemp("pages") / "run"
    pg.train(pg.read_config("experiments/smoke.py", SETTINGS), workdir)
    return workdir


def cells() -> list[str]:
    """The sources of the notebook's code cells."""
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict) -> object:
    """Execute a cell; the value of its last expression, as a notebook shows it."""
    lines = source.rstrip().split("\n")
    start_of_last = next(number for number in reversed(range(len(lines))) if not lines[number].startswith((" ", ")")))
    head, tail = "\n".join(lines[:start_of_last]), "\n".join(lines[start_of_last:])
    exec(compile(head, "cell", "exec"), names)
    try:
        return eval(compile(tail, "cell", "eval"), names)
    except SyntaxError:
        exec(compile(tail, "cell", "exec"), names)
        return None


def test_the_page(labelled_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(labelled_run)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) >= 7
    names: dict = {}
    for block in blocks:
        exec(compile(block.replace("total_kimg=1", "total_kimg=0.1"), "docs/api.md", "exec"), names)
    assert names["images"].shape == (8, 16, 16, 1)
    assert Image.open("threes.png").size == (48, 48)
    assert np.abs(names["gradient"]).max() > 0
    assert names["trained"].kimg >= 0.1
    assert "10 classes" in capsys.readouterr().out


def test_the_notebook(labelled_run, tmp_path, monkeypatch, capsys):
    """Each cell runs, and those that end with an image show one; in this process, on a shorter run."""
    sources = cells()
    assert len(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]) >= 10
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(pg, "train", lambda config, workdir: pg.load(labelled_run))
    names: dict = {}
    shown = []
    for source in sources:
        source = source.replace('ROOT / "runs" / "first_steps"', f"Path({str(labelled_run)!r})")
        shown.append(run_cell(source.replace("num_images=512", "num_images=64"), names))
    images = [one for one in shown if isinstance(one, Image.Image)]
    assert len(images) >= 6
    assert all(len(np.unique(np.asarray(image))) > 2 for image in images)
    assert "SWD" in capsys.readouterr().out


@pytest.mark.slow
def test_the_notebook_in_a_kernel(tmp_path):
    """As a reader runs it, with its own training."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    document = nbformat.read(NOTEBOOK, as_version=4)
    for cell in document.cells:
        cell.source = cell.source.replace('ROOT / "runs" / "first_steps"', f"Path({str(tmp_path / 'run')!r})")
    nbclient.NotebookClient(document, timeout=500, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
    outputs = [output for cell in document.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6
    assert not [output for output in outputs if output.output_type == "error"]
