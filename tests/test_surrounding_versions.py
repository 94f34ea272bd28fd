"""The installed versions of the libraries: no warning from a run, and no need of a library that the run does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
ABSENT = """
import sys
for name in ("tensorflow_datasets", "google_crc32c", "tensorboardX"):
    sys.modules[name] = None
sys.path.insert(0, {root!r})
"""
COMMAND = ABSENT + "from absl import app; from pggan_jax import cli; app.run(cli.main, flags_parser=cli.parse)"
EACH_LOSS = (
    ABSENT
    + """
from pathlib import Path
from pggan_jax.config import *
from pggan_jax.data.open_loader import open_loader
from pggan_jax.loop.run_setup import open_run
from pggan_jax.loop.train import train

for name in ("wgan_gp", "lsgan", "logistic", "hinge", "rpgan"):
    config = Config(
        data=DataConfig(source="synthetic:64", resolution=4),
        generator=GeneratorConfig(fmap_max=4),
        discriminator=DiscriminatorConfig(fmap_max=4),
        schedule=ScheduleConfig(total_kimg=0.008, batch_size=8, tick_kimg=1.0, tick_kimg_at={{}}),
        loss=LossConfig(name=name),
        run=RunConfig(grid="2x2"),
    )
    workdir = Path(sys.argv[1]) / name
    with open_run(workdir, config) as opened:
        assert train(opened, open_loader(config.data, seed=1))
    print("trained", name)
"""
)


def without_warnings(script: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a script in which every warning is an error and optional libraries are absent."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script.format(root=str(ROOT)), *arguments],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace("device_count=4", "device_count=1")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_one_step_of_each_loss_warns_of_nothing(tmp_path):
    done = without_warnings(EACH_LOSS, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained ") == 5
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_a_run_on_a_folder_of_images_needs_no_optional_library(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(16):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "images" / f"{index}.png")
    short = ("schedule.stable_kimg=0.016", "schedule.fade_kimg=0.016", "data.resolution=8", "generator.fmap_max=4")
    settings = [f"--set={one}" for one in (f"data.source=folder:{tmp_path}/images", *short, "discriminator.fmap_max=4")]
    workdir = tmp_path / "run"
    done = without_warnings(COMMAND, "train", "--config=experiments/smoke.py", f"--workdir={workdir}", *settings)
    assert done.returncode == 0, done.stderr
    assert list((workdir / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("source", "package"),
    [("tfds:mnist", "tensorflow-datasets"), ("tfrecords:{folder}", "google-crc32c")],
    ids=["tfds", "tfrecords"],
)
def test_a_source_names_the_library_that_it_needs(tmp_path, source, package):
    (tmp_path / "a-r02.tfrecords").write_bytes(bytes(64))
    done = without_warnings(COMMAND, "check", source.format(folder=tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install {package}" in done.stderr
