"""The commands about collections: check, show, extract, compare. Mistakes are one line; what they say and write is right."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.sources.open_source import open_source
from tests.helpers.command_line import one_line_error
from tests.helpers.image_samples import bomb, encoded, landscape, noise, plain, quarters, stored_turned

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def good(tmp_path):
    """Twelve images of two classes, each upright in the file or turned."""
    files = {
        f"{'cat' if index % 3 else 'dog'}/{index:02d}.png": stored_turned(noise(40, 32 + index, seed=index), index % 8 + 1)
        for index in range(12)
    }
    return write(tmp_path / "good images", files)


@pytest.fixture
def bad(tmp_path):
    """Something of every kind that needs a decision."""
    files = {
        "cat/1.png": encoded(noise(40, 40, seed=1)),
        "cat/2.png": encoded(noise(70, 90, seed=2)),
        "cat/same.png": encoded(noise(70, 90, seed=2)),
        "cat/cut.png": encoded(noise(40, 40))[:2000],
        "dog/1.png": encoded(noise(40, 40, seed=1)),
        "dog/bomb.png": bomb(),
        "dog/\udcff\n.png": b"text",
    }
    return write(tmp_path / "bad", files)


def test_names_that_the_terminal_s_encoding_lacks(launch, tmp_path, monkeypatch):
    write(tmp_path, {f"{name}/1.png": encoded(noise(8, 8, seed=seed)) for seed, name in enumerate(("kočka", "pes"))})
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert launch("check", f"folder:{tmp_path}")[0] == 0
    terminal.flush()
    assert b"0  ko\\u010dka  1\n        1  pes    1\n" in terminal.buffer.getvalue()


def lines_of(result, status=0):
    assert result[0] == status
    assert result[2] == ""
    return result[1].splitlines()


def field(lines, name):
    """What the report says after a name."""
    (line,) = (line for line in lines if line.startswith(f"  {name} "))
    return line[len(name) + 2 :].strip()


class TestMistakes:
    @pytest.mark.parametrize("command", ["check", "show", "extract", "compare"])
    def test_a_folder_that_is_not_there(self, launch, tmp_path, command):
        words = [f"folder:{tmp_path}/nowhere"] * (2 if command == "compare" else 1)
        words += [f"--out={tmp_path}/new.png"] if command in ("show", "extract") else []
        message = one_line_error(launch(command, *words))
        assert "no such folder" in message
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("command", ["check", "show", "extract", "compare"])
    def test_no_source(self, launch, command):
        assert f"{command} needs SOURCE" in one_line_error(launch(command))

    @pytest.mark.parametrize("command", ["check", "show"])
    @pytest.mark.parametrize(
        ("word", "part"),
        [
            ("--resolution=33", "must be 4*2^k"),
            ("--resolution=0", "0 is not an integer in the range [4, 8192]"),
            ("--resolution=-8", "-8 is not an integer in the range [4, 8192]"),
            ("--resolution=16384", "8192"),
            ("--crop=foo", "must be center, none, pad, fit, or a window"),
            ("--crop=1,2,3", "must be center, none, pad, fit, or a window"),
            ("--base_shape=3", "must be HEIGHTxWIDTH"),
            ("--base_shape=0x4", "must be HEIGHTxWIDTH"),
            ("--channels=-1", "channels"),
            ("--resample=best", "lanczos"),
            ("--modes=what", "convert"),
            ("--max_images=-1", "max_images"),
            ("--rows=0", "rows"),
        ],
    )
    def test_values(self, launch, command, word, part, tmp_path):
        if command == "check" and word.startswith("--rows"):
            part = "Unknown command line flag 'rows'"
        more = ["--resolution=32"] if command == "check" and "resolution" not in word else []
        more += [f"--out={tmp_path / 'grid.png'}"] if command == "show" else []
        message = one_line_error(launch(command, "digits", word, *more))
        assert word.partition("=")[0].lstrip("-") in message
        assert part in message

    def test_flags_that_would_have_no_effect(self, launch):
        message = one_line_error(launch("check", "digits", "--crop=none"))
        assert "--crop=none: has an effect only on prepared images; add --resolution" in message

    def test_channels_that_a_source_cannot_give(self, launch, good):
        assert "channels = 7" in one_line_error(launch("check", f"folder:{good}", "--resolution=8", "--channels=7"))

    def test_first_too_large(self, launch, tmp_path):
        message = one_line_error(launch("show", "digits", "--first=1797", f"--out={tmp_path / 'grid.png'}"))
        assert "--first=1797: digits has 1,797 images; it must be less" in message

    @pytest.mark.parametrize(
        ("out", "part"),
        [
            ("file/grid.png", "cannot be written"),
            ("grid.jpg", "choose a name that ends in .png"),
            ("folder.png", "is a folder; name a file in it"),
            ("", "is empty"),
        ],
    )
    def test_show_where_nothing_can_be_written(self, launch, tmp_path, out, part):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder.png").mkdir()
        message = one_line_error(launch("show", "digits", f"--out={tmp_path / out if out else ''}"))
        assert "--out=" in message
        assert part in message

    def test_an_image_too_large_to_write(self, launch, tmp_path):
        words = ["synthetic:70000", "--columns=256", "--rows=256", "--resolution=1024", f"--out={tmp_path / 'grid.png'}"]
        assert "at most 134,217,728 are written" in one_line_error(launch("show", *words))

    def test_extract_where_nothing_can_be_written(self, launch, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.tex").write_text("")
        for out in ("file", "full"):
            message = one_line_error(launch("extract", "digits", f"--out={tmp_path / out}"))
            assert f"--out={tmp_path / out}: exists and is not an empty folder" in message
        assert "cannot be written" in one_line_error(launch("extract", "digits", f"--out={tmp_path}/file/below"))
        assert "extract needs --out" in one_line_error(launch("extract", "digits"))
        assert "--out=: is empty" in one_line_error(launch("extract", "digits", "--out="))
        assert (tmp_path / "full" / "thesis.tex").exists()


class TestCheck:
    def test_a_good_folder(self, launch, good):
        lines = lines_of(launch("check", f"folder:{good}"))
        assert lines[0] == f"folder:{good}"
        assert field(lines, "images") == "12 usable of 12"
        assert field(lines, "sizes") == "all different, 32x40 to 43x40"
        assert field(lines, "modes") == "RGB: 12"
        assert field(lines, "classes") == "2; number, name, images:"
        assert [line.split() for line in lines if line.startswith("    ")][:2] == [["0", "cat", "8"], ["1", "dog", "4"]]
        assert field(lines, "resolution") == "up to 32 for all"
        assert field(lines, "copies") == "none"
        assert lines[-2] == "  note: few images (12): below 1,000 the discriminator soon memorises them"
        assert not any("Traceback" in line for line in lines)

    def test_the_command_it_suggests_works(self, launch, good):
        """Quoted for a shell, with the flags that were given."""
        for flags, settings in (
            ([], ["data.resolution = 32", "data.labels = true"]),
            (["--resolution=8", "--channels=1", "--modes=convert"], ["data.resolution = 8", "data.channels = 1"]),
        ):
            last = lines_of(launch("check", f"folder:{good}", *flags))[-1]
            python, script, *rest = shlex.split(last.removeprefix("next: "))
            assert (python, script) == ("python", "launch.py")
            (workdir,) = (word for word in rest if word.startswith("--workdir="))
            rest.remove(workdir)
            status, out, err = launch("settings", *rest)
            assert (status, err) == (0, "")
            for setting in [f"data.source = folder:{good}", *settings]:
                assert f"{setting}\n" in out

    def test_base_shapes_are_trained(self, launch):
        last = lines_of(launch("check", "synthetic:5", "--resolution=16", "--base_shape=3x4"))[-1]
        assert "--set data.source=synthetic:5 --set data.resolution=16 --set data.base_shape=3x4" in last

    def test_a_bad_folder(self, launch, bad):
        status, out, err = launch("check", f"folder:{bad}")
        assert (status, err) == (1, "")
        lines = out.splitlines()
        assert field(lines, "images") == "4 usable of 7"
        assert field(lines, "sizes") == "2 of 40x40, 2 of 90x70"
        assert field(lines, "resolution") == "up to 32 for all, 64 for 2"
        assert field(lines, "copies") == "2 in 2 groups; each copy is used for training"
        assert "    cat/2.png = cat/same.png" in lines
        place = lines.index("  different labels on copies; keep one of each:")
        assert lines[place + 1] == "    cat/1.png = dog/1.png"
        assert out.count("cat/1.png = dog/1.png") == 1
        assert field(lines, "unusable") == "3"
        named = [line for line in lines if line.startswith(("    cat/cut", "    dog/"))]
        assert [line.split()[0] for line in named] == ["cat/cut.png", "dog/bomb.png", r"dog/\xff\n.png"]
        # Reasons stand below one another.
        assert len({len(line) - len(line[4:].split("  ", 1)[1].lstrip()) for line in named}) == 1
        assert lines[-1].startswith("needs a decision")

    def test_nothing_usable(self, launch, tmp_path):
        write(tmp_path, {"a.png": b"text", "b.png": b""})
        status, out, _ = launch("check", f"folder:{tmp_path}")
        assert status == 1
        assert out.splitlines()[-1] == "nothing to train on: none of the images can be used"
        assert field(out.splitlines(), "sizes") == "none"
        assert "note:" not in out

    def test_complaints_about_the_collection(self, launch, tmp_path):
        write(tmp_path, {"a.png": plain(), "b.png": plain(color="red")})
        (tmp_path / "dataset.json").write_text('{"labels": [["a.png", 0], ["gone.png", 1]]}')
        status, out, _ = launch("check", f"folder:{tmp_path}")
        assert status == 1
        assert "'gone.png' has a label in dataset.json, but no such image exists" in out
        assert "b.png  has no label in dataset.json" in out

    def test_resolution_judges(self, launch, bad):
        report = json.loads(launch("check", f"folder:{bad}", "--resolution=64", "--json")[1])
        reasons = {problem["name"]: problem["reason"] for problem in report["unusable"]}
        assert reasons["cat/1.png"] == "is 40x40, smaller than 64x64; remove it, or set a lower resolution"
        assert report["usable"] == 2

    def test_max_images_reads_so_many(self, launch, bad):
        report = json.loads(launch("check", f"folder:{bad}", "--resolution=8", "--max_images=2", "--json")[1])
        assert (report["images"], report["usable"], report["needs_decision"]) == (2, 2, False)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_json(self, launch, bad, workers):
        status, out, err = launch("check", f"folder:{bad}", "--json", f"--workers={workers}")
        report = json.loads(out)
        assert (status, err) == (1, "")
        assert report["images"] == 7
        assert report["sizes"] == {"40x40": 2, "90x70": 2}
        assert report["classes"] == {"cat": 3, "dog": 1}
        assert report["class_numbers"][1] == {"number": 1, "name": "dog", "images": 1}
        assert report["resolutions"]["64"] == 2
        assert report["duplicates"] == [["cat/1.png", "dog/1.png"], ["cat/2.png", "cat/same.png"]]
        assert report["conflicting_labels"] == [["cat/1.png", "dog/1.png"]]
        assert [problem["name"] for problem in report["unusable"]] == ["cat/cut.png", "dog/bomb.png", r"dog/\xff\n.png"]
        assert report["needs_decision"] is True

    def test_many_classes_and_copies_are_summed_up(self, launch, tmp_path):
        files = {f"c{number}/{twin}.png": plain(color=(number, 0, 0)) for number in range(110) for twin in "ab"}
        out = launch("check", f"folder:{write(tmp_path, files)}")[1]
        assert "110; number, name, images:" in out
        # As people count, and not c0, c1, c10.
        assert "        1  c1   2\n        2  c2   2\n" in out
        assert "       99  c99  2\n    and 10 more; --json lists all" in out
        assert "    and 105 groups more; --json lists all" in out

    def test_a_folder_whose_name_is_no_text(self, launch, tmp_path):
        folder = write(tmp_path / os.fsdecode(b"\xff"), {"a.png": plain()})
        out = lines_of(launch("check", f"folder:{folder}"))
        assert out[0] == rf"folder:{tmp_path}/\xff"
        "\n".join(out).encode()

    def test_terminal_in_a_process_of_its_own(self, bad):
        """With worker processes, nothing but the report: no warnings of libraries, no bar where there is no terminal."""
        cut_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"
        write(bad, {"cat/exif.jpg": encoded(quarters(), "JPEG", exif=cut_exif), "dog/large.png": bomb(11_000, 11_000)})
        command = [sys.executable, "launch.py", "check", f"folder:{bad}", "--workers=2"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr == ""
        assert "5 usable of 9" in done.stdout


class TestShow:
    def test_a_grid(self, launch, good, tmp_path):
        out = tmp_path / "new" / "grid.PNG"
        words = ["--resolution=32", "--columns=3", "--rows=2", "--first=7", f"--out={out}"]
        assert lines_of(launch("show", f"folder:{good}", *words)) == [f"5 images of 12 -> {out}"]
        with Image.open(out) as image:
            assert image.format == "PNG"
            assert image.size == (3 * 66, 2 * (64 + 14 + 2))

    def test_unusable_images_are_named(self, launch, bad, tmp_path):
        out = tmp_path / "grid.png"
        lines = lines_of(launch("show", f"folder:{bad}", "--resolution=32", f"--out={out}"), status=1)
        assert lines[0] == "cat/cut.png is truncated, its end is missing; copy it again or remove it"
        assert lines[-1] == f"4 images of 7 -> {out}"
        "\n".join(lines).encode()

    def test_the_order_of_a_preparation(self, launch, tmp_path):
        pictures = []
        for flags in ([], ["--shuffle_seed=1"], ["--shuffle_seed=1", "--max_images=3"]):
            lines_of(launch("show", "digits", "--rows=1", *flags, f"--out={tmp_path / 'grid.png'}"))
            pictures.append((tmp_path / "grid.png").read_bytes())
        assert len(set(pictures)) == 3


class TestExtract:
    def test_a_folder_comes_back_with_its_labels(self, launch, good, tmp_path):
        out = tmp_path / "out"
        assert lines_of(launch("extract", f"folder:{good}", f"--out={out}")) == [f"12 images, labels in dataset.json -> {out}"]
        first, second = open_source(f"folder:{good}"), open_source(f"folder:{out}")
        assert [second.label(index) for index in range(12)] == [first.label(index) for index in range(12)]
        assert second.problems == ()
        assert lines_of(launch("compare", f"folder:{good}", f"folder:{out}"))[-1] == "the same"
        assert sorted(path.name for path in out.iterdir())[:3] == [".pggan_jax", "dataset.json", "img00000000.png"]

    @pytest.mark.parametrize("source", ["digits", "photos", "synthetic:30"])
    def test_every_source(self, launch, tmp_path, source):
        words = ["--max_images=30", "--resolution=16", f"--out={tmp_path / 'out'}"]
        lines_of(launch("extract", source, *words))
        back, drawn = open_source(f"folder:{tmp_path / 'out'}"), open_source(source, resolution=16)
        assert len(back) == 30
        assert bool(back.class_names) == bool(drawn.class_names)
        for index in (0, 29):
            with Image.open(tmp_path / "out" / f"img{index:08d}.png") as image:
                np.testing.assert_array_equal(np.asarray(image).reshape(16, 16, -1), drawn.read(index))

    def test_unusable_images_are_left_out_and_named(self, launch, bad, tmp_path):
        status, out, _ = launch("extract", f"folder:{bad}", f"--out={tmp_path / 'out'}")
        assert status == 1
        assert "skipped cat/cut.png is truncated" in out
        assert out.splitlines()[-1].startswith("4 images, labels in dataset.json")
        labels = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
        assert [label for _, label in labels] == [0, 0, 0, 1]
        assert {name for name, _ in labels} == {path.name for path in (tmp_path / "out").glob("*.png")}

    def test_an_empty_folder_is_used(self, launch, tmp_path):
        lines_of(launch("extract", "digits", "--max_images=1", f"--out={tmp_path}"))
        assert (tmp_path / "img00000000.png").exists()


class TestCompare:
    @pytest.fixture
    def pair(self, tmp_path):
        files = {f"{'a' if index < 3 else 'b'}/{index}.png": encoded(noise(8, 8, seed=index)) for index in range(6)}
        return write(tmp_path / "one", files), write(tmp_path / "two", files)

    def test_the_same(self, launch, pair):
        assert lines_of(launch("compare", *(f"folder:{folder}" for folder in pair))) == [
            "images  6 of 6 are equal",
            "labels  6 of 6 are equal",
            "the same",
        ]

    def test_another_image(self, launch, pair):
        write(pair[1], {"b/4.png": plain((8, 8)), "b/5.png": b"text"})
        lines = lines_of(launch("compare", *(f"folder:{folder}" for folder in pair)), status=1)
        assert lines == [
            "images  4 of 6 are equal",
            "        the first difference is at 4: b/4.png and b/4.png",
            "labels  6 of 6 are equal",
            "different",
        ]

    def test_another_label(self, launch, pair):
        (pair[1] / "a" / "2.png").rename(pair[1] / "b" / "2.png")
        sources = [f"folder:{folder}" for folder in pair]
        assert lines_of(launch("compare", *sources), status=1)[1:] == ["labels  5 of 6 are equal", "different"]
        assert lines_of(launch("compare", *sources, "--ignore_labels")) == ["images  6 of 6 are equal", "the same"]

    def test_another_length(self, launch, pair):
        write(pair[1], {"b/6.png": encoded(noise(8, 8, seed=6))})
        lines = lines_of(launch("compare", *(f"folder:{folder}" for folder in pair)), status=1)
        assert lines[0] == "images  6 of 6 are equal"
        assert lines[-2] == f"length  folder:{pair[0]} has 6 images, folder:{pair[1]} has 7"
        assert lines[-1] == "different"

    def test_drawn_sources(self, launch):
        assert launch("compare", "synthetic:20", "synthetic:20", "--resolution=4")[0] == 0
        assert launch("compare", "synthetic:20", "synthetic:20:1", "--resolution=4")[0] == 1


def test_a_large_image_in_a_grid_looks_like_itself(launch, tmp_path):
    write(tmp_path / "in", {"a.jpg": encoded(landscape(512, 512), "JPEG", quality=95)})
    lines_of(launch("show", f"folder:{tmp_path / 'in'}", "--rows=1", "--columns=1", f"--out={tmp_path / 'grid.png'}"))
    with Image.open(tmp_path / "grid.png") as image:
        shown = np.asarray(image)[:64, :64].astype(int)
    means = landscape(512, 512).reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
    assert np.abs(shown - means).mean() < 3


def test_levels_of_a_prepared_folder(launch, tmp_path):
    """`show` takes what is there, `extract` the level that is asked for."""
    folder = tmp_path / "prepared"
    assert launch("prepare", "synthetic:6", "--resolution=16", f"--out={folder}")[0] == 0
    status, out, _ = launch("show", f"prepared:{folder}", f"--out={tmp_path / 'grid.png'}")
    assert (status, out.split()[:2]) == (0, ["6", "images"])
    for resolution in (16, 8):
        images = tmp_path / f"images{resolution}"
        assert launch("extract", f"prepared:{folder}", f"--out={images}", f"--resolution={resolution}")[0] == 0
        assert Image.open(images / "img00000003.png").size == (resolution, resolution)
        extracted = np.asarray(Image.open(images / "img00000003.png"))
        np.testing.assert_array_equal(extracted, np.load(folder / f"r{resolution:04d}.npy")[3])


def test_extract_onto_a_full_disk(launch, tmp_path, monkeypatch):
    def full(path, _picture):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pggan_jax.images.write_png", full)
    error = one_line_error(launch("extract", "synthetic:3", f"--out={tmp_path / 'images'}"))
    assert "No space left on device after 0 images" in error


def test_plan_refuses_what_training_would(launch, tmp_path):
    folder = tmp_path / "prepared"
    assert launch("prepare", "synthetic:6", "--resolution=16", "--base_shape=3x4", f"--out={folder}")[0] == 0
    settings = [f"--set=data.source=prepared:{folder}", "--set=data.resolution=16", "--set=data.labels=false"]
    assert "set data.base_shape=3x4" in one_line_error(launch("plan", "--config=experiments/smoke.py", *settings))
