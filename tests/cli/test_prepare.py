"""The command `prepare`: what it says, what it writes, and one line with exit status 2 for what cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.preparation.prepared_folder import open_prepared
from tests.helpers.array_source import noise
from tests.helpers.command_line import one_line_error

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path):
    """Six good images of two classes, and one that is none."""
    for index in range(6):
        path = tmp_path / "images" / ("cat" if index % 2 else "dog") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(1, (20, 16), seed=index)[0]).save(path)
    (tmp_path / "images/cat/text.png").write_text("hello")
    return f"folder:{tmp_path / 'images'}"


def test_a_folder_of_images(launch, images, tmp_path):
    status, out, err = launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'out'}", "--mirror", "--shuffle_seed=3")
    assert (status, err) == (0, "")
    prepared = open_prepared(tmp_path / "out")
    assert prepared.info["images"] == 12
    assert prepared.class_names == ("cat", "dog")
    assert prepared.info["options"]["shuffle_seed"] == 3
    level = prepared.level(8)
    np.testing.assert_array_equal(level[1::2], level[::2, :, ::-1])
    left_out, written, hint = out.strip().split("\n")
    assert left_out.startswith("skipped 1 unusable image: cat/text.png is not an image")
    assert str(tmp_path / "out/info.json") in left_out
    assert written == f"12 rows of 4x4, 8x8, {prepared.total_bytes():,} bytes -> {tmp_path / 'out'}"
    assert hint == (
        f"next: python launch.py --config=experiments/folder.py --set data.source=prepared:{tmp_path / 'out'} "
        "--set data.resolution=8 --set data.labels=true --workdir=runs/mine"
    )
    # Once more: nothing to do.
    assert launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'out'}", "--mirror", "--shuffle_seed=3")[0] == 0
    assert "prepared with other options" in one_line_error(
        launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'out'}")
    )


@pytest.mark.parametrize("enough", [False, True])
def test_dry_run_writes_nothing(launch, images, tmp_path, monkeypatch, enough):
    size, slots = 7 * (3 * (64 + 16) + 4), 7 * 3 * (64 + 16)
    free = size + slots - (not enough)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    status, out, err = launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'deep/out'}", "--dry_run")
    assert (status, err) == (0 if enough else 1, "")
    assert out == (
        f"{images}: would write at most 7 rows of 4x4, 8x8, 3 channel(s), {size:,} bytes to {tmp_path / 'deep/out'}, which "
        f"needs {size + slots:,} bytes meanwhile; {free:,} bytes are free there: {'enough' if enough else 'NOT ENOUGH'}\n"
    )
    assert os.listdir(tmp_path) == ["images"]
    real = launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'deep/out'}")
    assert real[0] == (0 if enough else 2)


def test_other_shapes_channels_and_limits(launch, images, tmp_path):
    words = ["--base_shape=5x4", "--channels=1", "--max_images=3", "--crop=none", "--resample=box", "--workers=1"]
    status, out, _ = launch("prepare", images, "--resolution=8", f"--out={tmp_path / 'out'}", *words)
    assert status == 0
    assert "train with" not in out, "networks start at 4x4"
    prepared = open_prepared(tmp_path / "out")
    assert [prepared.level(size).shape for size in prepared.resolutions] == [(3, 10, 8, 1), (3, 5, 4, 1)]
    assert json.loads((tmp_path / "out/info.json").read_text())["options"]["resample"] == "box"


def test_no_image_fits(launch, images, tmp_path):
    message = one_line_error(launch("prepare", images, "--resolution=64", f"--out={tmp_path / 'out'}"))
    assert "none of 7 images is usable" in message
    assert "smaller than 64x64" in message
    assert os.listdir(tmp_path) == ["images"]


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--out=x"], "prepare needs --resolution, such as --resolution=128"),
        (["--resolution=8"], "prepare needs --out, such as --out=data/mine"),
        (["--resolution=8", "--out="], "--out=: is empty"),
        (["--resolution=12", "--out=x"], "--resolution=12: must be 4*2^k"),
        (["--resolution=8", "--out=x", "--base_shape=4"], "--base_shape=4: must be HEIGHTxWIDTH"),
        (["--resolution=8", "--out=x", "--crop=1,2"], "--crop=1,2: must be center"),
        (["--resolution=8", "--out=x", "--workers=-1"], "workers"),
        (["--resolution=8", "--out=x", "--channels=5"], "channels = 5"),
        (["--resolution=8", "--out=/"], "/: is"),
    ],
)
def test_mistakes(launch, images, words, needle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert needle in one_line_error(launch("prepare", images, *words))
    assert os.listdir(tmp_path) == ["images"]


def test_ctrl_c_while_processes_start(tmp_path):
    """Nothing is printed by processes that are not up yet, and the same command goes on later."""
    command = [sys.executable, "launch.py", "prepare", "synthetic:200000", "--resolution=4", f"--out={tmp_path / 'out'}"]
    running = subprocess.Popen(
        [*command, "--workers=2"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 30
    while not list(tmp_path.glob("out.partial/scratch*/slot4")):
        assert time.monotonic() < limit
        assert running.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "")
    assert os.listdir(tmp_path) == ["out.partial"]
    assert not list(tmp_path.glob("out.partial/scratch*"))


def test_a_folder_inside_the_source_is_refused(launch, images):
    folder = images.removeprefix("folder:")
    status, out, err = launch("prepare", images, "--resolution=8", f"--out={folder}/prepared")
    assert (status, out) == (2, "")
    assert "lies inside" in err
    assert not (Path(folder) / "prepared").exists()
