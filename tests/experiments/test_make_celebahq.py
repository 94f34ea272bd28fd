"""The script that makes the images of CelebA-HQ, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.celebahq.geometry import read_landmarks, render

ROOT = Path(__file__).parents[2]


@pytest.fixture
def celeba(tmp_path) -> Path:
    """Three photographs of a hundred pixels, the last one damaged, and their landmarks."""
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, (90, 100, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    (tmp_path / "photos" / "3.jpg").write_bytes(b"no photograph")
    lines = [f"{number}.jpg 45 40 55 40 50 45 46 50 54 50" for number in (1, 2, 3)]
    (tmp_path / "landmarks.txt").write_text("\n".join(["3", "the names of the columns", *lines, ""]))
    return tmp_path


def make_celebahq(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "experiments" / "celebahq" / "make.py"
    paths = ("--celeba=photos", "--landmarks=landmarks.txt", "--out=faces", "--size=16", "--workers=1")
    return subprocess.run([sys.executable, str(script), *paths, *flags], cwd=folder, capture_output=True, text=True)


def test_script_makes_images_and_continues(celeba):
    first = make_celebahq(celeba, "--limit=1")
    assert first.returncode == 0, first.stderr
    assert [path.name for path in (celeba / "faces").iterdir()] == ["1.png"]
    made = (celeba / "faces" / "1.png").stat().st_mtime_ns

    rest = make_celebahq(celeba)
    assert rest.returncode == 1, "one photograph is damaged"
    assert "left out: 3.jpg is not an image" in rest.stderr
    assert "2 of 3 images are in faces" in rest.stdout
    assert sorted(path.name for path in (celeba / "faces").iterdir()) == ["1.png", "2.png"]
    assert (celeba / "faces" / "1.png").stat().st_mtime_ns == made, "a finished image was made again"
    with Image.open(celeba / "faces" / "2.png") as face, Image.open(celeba / "photos" / "2.jpg") as photo:
        landmarks = read_landmarks(celeba / "landmarks.txt")["2.jpg"]
        np.testing.assert_array_equal(np.asarray(face), np.asarray(render(photo, landmarks, size=16, transform_size=64)))


def test_script_takes_the_images_of_a_list(celeba):
    (celeba / "names.txt").write_text("2.jpg\n\n")
    assert make_celebahq(celeba, "--images=names.txt").returncode == 0
    assert [path.name for path in (celeba / "faces").iterdir()] == ["2.png"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--celeba=nowhere", "--celeba=nowhere: cannot be listed (No such file or directory)"),
        ("--celeba=faces", "--celeba=faces: 3 of 3 photographs are missing, first 1.jpg"),
        ("--landmarks=nowhere.txt", "landmarks 'nowhere.txt': cannot be read (No such file or directory)"),
        ("--images=names.txt", "--images=names.txt, line 2: '9.jpg' has no landmarks"),
        ("--images=nowhere.txt", "--images=nowhere.txt: cannot be read"),
        ("--out=photos/1.jpg", "--out=photos/1.jpg: cannot be created (File exists)"),
    ],
)
def test_script_refuses_wrong_input_in_one_line(celeba, flag, message):
    (celeba / "names.txt").write_text("2.jpg\n9.jpg\n")
    (celeba / "faces").mkdir()
    refused = make_celebahq(celeba, flag)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {message}"), refused.stderr
    assert refused.stderr.count("\n") == 1
