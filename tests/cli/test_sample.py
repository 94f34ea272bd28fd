"""`sample`: forms of the output, continuing after an interruption, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from pggan_jax.generation import archive_writers, image_writers
from pggan_jax.system import own_output
from tests.helpers.command_line import ROOT, environment, one_line_error
from tests.helpers.damage import truncate
from tests.helpers.runs import copy_of

pytestmark = pytest.mark.usefixtures("quick_compilation")
FORMS = {"folder": ("out", "png"), "webp": ("out", "webp"), "zip": ("out.zip", "png"), "npz": ("out.npz", "npz")}


@pytest.fixture
def sample(launch, labelled):
    """Run `sample` on the run with labels; the status must be 0 unless another one is given."""

    def run(*words, status=0, source=labelled):
        result = launch("sample", f"--from={source}", *words)
        assert result[0] == status, result
        return result

    return run


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def content(path):
    """Bytes of all files of an output, hidden ones of the folder included."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {file.name: file.read_bytes() for file in path.iterdir()}


def leftovers(folder):
    return [path.name for path in folder.rglob(".*") if path.name != own_output.MARKER]


class TestForms:
    def test_all_hold_the_same_images(self, sample, tmp_path):
        for name, format in FORMS.values():
            _, printed, _ = sample("--num=45", f"--out={tmp_path / format / name}", f"--format={format}")
            assert "45 images of 4x4 from kimg 0.16" in printed
        with np.load(tmp_path / "npz" / "out.npz") as arrays:
            assert set(arrays.files) == {"images", "seeds", "classes"}
            images, seeds, classes = (arrays[name] for name in ("images", "seeds", "classes"))
        assert (images.shape, images.dtype) == ((45, 4, 4, 1), np.uint8)
        assert seeds.tolist() == list(range(45))
        assert classes.tolist() == [seed % 10 for seed in range(45)]
        names = [f"seed{seed:04d}_class{seed % 10}" for seed in range(45)]
        for name, image in zip(names, images, strict=True):
            np.testing.assert_array_equal(read(tmp_path / "png" / "out" / f"{name}.png"), image[..., 0])
            np.testing.assert_array_equal(read(tmp_path / "webp" / "out" / f"{name}.webp"), image.repeat(3, axis=-1))
        with zipfile.ZipFile(tmp_path / "png" / "out.zip") as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [*(f"{name}.png" for name in names), "dataset.json"]
            for name in names:
                assert archive.read(f"{name}.png") == (tmp_path / "png" / "out" / f"{name}.png").read_bytes()
            labels = json.loads(archive.read("dataset.json"))["labels"]
        assert labels == [[f"{name}.png", seed % 10] for seed, name in enumerate(names)]
        assert not leftovers(tmp_path)
        grids = [read(tmp_path / format / "out.png") for format in ("png", "webp", "npz")]
        assert all(np.array_equal(grid, grids[0]) for grid in grids)

    def test_one_class_enlarged(self, sample, tmp_path):
        sample("--seeds=7,3", "--class=2", "--zoom=3", f"--out={tmp_path / 'x.npz'}")
        with np.load(tmp_path / "x.npz") as arrays:
            assert arrays["images"].shape == (2, 12, 12, 1)
            assert (arrays["seeds"].tolist(), arrays["classes"].tolist()) == ([7, 3], [2, 2])

    def test_an_archive_is_a_source_with_labels(self, sample, launch, tmp_path):
        sample("--num=40", f"--out={tmp_path / 'x.zip'}")
        status, printed, _ = launch("check", f"zip:{tmp_path / 'x.zip'}")
        assert status == 0
        assert "40 usable of 40" in printed
        assert "classes     10; number, name, images" in printed

    @pytest.mark.parametrize("name", ["x.zip", "x"])
    def test_evaluate_reads_it(self, sample, launch, finished, tmp_path, name):
        sample("--num=64", "--zoom=2", f"--out={tmp_path / name}", source=finished)
        words = ("--data=digits", "--metrics=ms_ssim", "--nofloor", "--resolution=16")
        status, printed, err = launch("evaluate", f"--images={tmp_path / name}", *words)
        assert (status, err) == (0, "")
        assert "64 images of" in printed

    def test_without_labels_there_is_no_list_of_them(self, sample, finished, tmp_path):
        sample("--num=3", f"--out={tmp_path / 'x.zip'}", source=finished)
        with zipfile.ZipFile(tmp_path / "x.zip") as archive:
            assert archive.namelist() == ["seed0000.png", "seed0001.png", "seed0002.png"]


class TestGrid:
    def test_size(self, sample, tmp_path):
        _, printed, _ = sample("--grid=5x3", "--gap=1", f"--out={tmp_path / 'a'}")
        assert "15 images of 4x4" in printed
        assert read(tmp_path / "a.png").shape == (15, 25)
        sample("--grid=2x3", "--num=9", f"--out={tmp_path / 'b'}", f"--grid_out={tmp_path / 'here' / 'g.png'}")
        assert read(tmp_path / "here" / "g.png").shape == (12, 8)
        assert not (tmp_path / "b.png").exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--grid=a.png"], "--grid=a.png: must be COLUMNSxROWS; name the file by --grid_out=a.png"),
            (["--grid=6"], "must be COLUMNSxROWS; such as 6x6"),
            (["--grid=4k"], "must be COLUMNSxROWS"),
            (["--grid=0x3"], "must be COLUMNSxROWS"),
            (["--grid=3x3", "--num=8"], "shows 9 images, and 8 are generated"),
            (["--grid=3x3", "--columns=2"], "remove --columns=2"),
            (["--grid=1000x1000"], "would show 1,000,000 images"),
            (["--grid_out=a.jpg"], "ends in .png"),
        ],
    )
    def test_refused(self, sample, tmp_path, words, message):
        assert message in one_line_error(sample(*words, f"--out={tmp_path / 'x'}", status=2))
        assert not any(tmp_path.iterdir())


class TestContinuing:
    @pytest.mark.parametrize("form", FORMS)
    def test_the_same_command_writes_what_is_missing(self, sample, tmp_path, monkeypatch, form):
        """Stopped after some images by each of Ctrl-C, an error of the disk, and both again."""
        name, format = FORMS[form]
        words = "--num=200", f"--format={format}"
        sample(*words, f"--out={tmp_path / 'whole' / name}")
        out = tmp_path / "parts" / name
        monkeypatch.setattr(archive_writers, "SECONDS_BETWEEN_JOURNALS", 0.0)
        counts = []
        for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):
            self.fail_after(monkeypatch, 40, error)
            status, printed, err = sample(*words, f"--out={out}", status=130 if isinstance(error, KeyboardInterrupt) else 2)
            assert err.count("\n") == 1
            assert "the same command continues" in err
            if status == 2:
                assert "No space left on device" in err
                assert "continuing: " in printed
            counts.append(int(err.partition(" of 200")[0].split()[-1]))
            assert out.suffix == "" or not out.exists()
        assert 0 < counts[0] < counts[1] < 200
        monkeypatch.undo()
        _, printed, _ = sample(*words, f"--out={out}")
        assert f"continuing: {counts[1]} of 200 images are there" in printed or form in ("folder", "webp")
        assert content(out) == content(tmp_path / "whole" / name)
        assert read(tmp_path / "parts" / "out.png").shape == (40, 40)
        assert not leftovers(tmp_path)

    def fail_after(self, monkeypatch, count, error):
        """Let the writing of image `count` raise an error, in the thread that stores."""
        monkeypatch.undo()
        monkeypatch.setattr(archive_writers, "SECONDS_BETWEEN_JOURNALS", 0.0)
        written = 0

        def failing(store):
            def run(writer, encoded, images):
                nonlocal written
                written += images
                if written > count:
                    raise error
                store(writer, encoded, images)

            return run

        for kind in (image_writers.FolderWriter, archive_writers.ArchiveWriter):
            monkeypatch.setattr(kind, "store", failing(kind.store))

    @pytest.mark.parametrize("form", FORMS)
    def test_nothing_is_generated_twice(self, sample, tmp_path, monkeypatch, form):
        name, format = FORMS[form]
        words = "--num=120", f"--format={format}", f"--out={tmp_path / name}"
        sample(*words)
        before = content(tmp_path / name)
        encoded = []
        for kind in (image_writers.FolderWriter, archive_writers.ZipWriter, archive_writers.ArraysWriter):
            monkeypatch.setattr(kind, "encode", lambda _writer, samples: encoded.extend(samples))
        _, printed, _ = sample(*words)
        assert "120 images of" in printed
        assert not encoded
        assert content(tmp_path / name) == before

    def test_damaged_and_removed_files_are_written_again(self, sample, tmp_path):
        words = "--num=30", f"--out={tmp_path / 'out'}"
        sample(*words)
        before = content(tmp_path / "out")
        (tmp_path / "out" / "seed0003_class3.png").write_bytes(b"")
        (tmp_path / "out" / "seed0004_class4.png").write_bytes(before["seed0004_class4.png"][:-3])
        (tmp_path / "out" / "seed0029_class9.png").unlink()
        (tmp_path / "out" / ".seed0007_class7.png.partial").write_bytes(b"half")
        _, printed, _ = sample(*words)
        assert "continuing: 27 of 30" in printed
        assert content(tmp_path / "out") == before

    def test_a_damaged_journal_starts_again(self, sample, tmp_path, monkeypatch):
        words = "--num=100", f"--out={tmp_path / 'x.zip'}"
        sample(*words)
        before = content(tmp_path / "x.zip")
        for text in ("", "{}", '{"images": 50}', "partial"):
            (tmp_path / "x.zip").unlink(missing_ok=True)
            self.fail_after(monkeypatch, 40, KeyboardInterrupt())
            sample(*words, status=130)
            monkeypatch.undo()
            if text == "partial":
                (tmp_path / ".x.zip.partial").write_bytes(b"")
            else:
                (tmp_path / ".x.zip.journal").write_text(text)
            sample(*words)
            assert content(tmp_path / "x.zip") == before
            assert not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_killed_at_any_time(labelled, tmp_path, form):
    """By SIGKILL, three times, while images are written; then equal to a result that was never interrupted."""
    name, format = FORMS[form]
    words = [sys.executable, "launch.py", "sample", f"--from={labelled}", "--num=5000", f"--format={format}"]
    options = {"cwd": ROOT, "env": environment(), "stdout": subprocess.DEVNULL}
    subprocess.run([*words, f"--out={tmp_path / 'whole' / name}"], check=True, timeout=200, **options)
    out, kills = tmp_path / "parts" / name, 0
    (tmp_path / "parts").mkdir()
    for pause in (0.0, 0.2, 0.6):
        process = subprocess.Popen([*words, f"--out={out}"], **options)
        deadline = time.monotonic() + 60
        while not (tmp_path / "parts" / "out.png").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        (tmp_path / "parts" / "out.png").unlink(missing_ok=True)
        time.sleep(pause)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert kills
    subprocess.run([*words, f"--out={out}"], check=True, timeout=200, **options)
    assert content(out) == content(tmp_path / "whole" / name)
    assert not leftovers(tmp_path)


class TestRefused:
    @pytest.mark.parametrize("name", ["out", "out.zip", "out.npz"])
    def test_another_request(self, sample, tmp_path, name, monkeypatch):
        out = tmp_path / name
        sample("--num=20", f"--out={out}")
        before = content(out)
        for words, message in (
            (["--num=21"], "(seeds: 0-19 there, 0-20 now)"),
            (["--num=20", "--class=3"], "(class: of each seed there, 3 now)"),
            (["--num=20", "--zoom=2"], "(zoom: 1 there, 2 now)"),
            (["--num=20", "--network=raw"], "(weights: "),
        ):
            error = one_line_error(sample(*words, f"--out={out}", status=2))
            assert "holds samples of another command" in error
            assert message in error
            assert "--overwrite" in error
        assert content(out) == before
        sample("--num=7", "--class=3", f"--out={out}", "--overwrite")
        sample("--num=7", "--class=3", f"--out={tmp_path / 'new' / name}")
        assert content(out) == content(tmp_path / "new" / name)

    def test_what_an_interrupted_command_has_left(self, sample, tmp_path, monkeypatch):
        out = tmp_path / "x.npz"
        TestContinuing().fail_after(monkeypatch, 40, KeyboardInterrupt())
        sample("--num=100", f"--out={out}", status=130)
        monkeypatch.undo()
        assert "seeds: 0-99 there, 0-49 now" in one_line_error(sample("--num=50", f"--out={out}", status=2))
        sample("--num=50", f"--out={out}", "--overwrite")
        with np.load(out) as arrays:
            assert len(arrays["images"]) == 50
        assert not leftovers(tmp_path)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--num=0"], "--num=0"),
            (["--num=3", "--seeds=0-5"], "means the seeds 0-2, and --seeds=0-5 others"),
            (["--seeds=0-5,3"], "names seed 3 twice"),
            (["--psi=0.5"], "normalises its latents (generator.normalize_latents), so there is no mean"),
            (["--psi=-1"], "psi"),
            (["--class=10"], "must be from 0 to 9"),
            (["--format=npz"], "does not hold --format=npz, only png or webp; name it FILE.npz"),
            (["--format=png", "--out={}/x.npz"], "does not hold --format=png, only npz"),
            (["--format=npz", "--out={}/x.zip"], "does not hold --format=npz"),
            (["--format=jpeg"], "format"),
            (["--out={}/x.png"], "is the name of an image"),
            (["--out={}/x.MP4"], "is the name of a film, which launch.py film makes"),
            (["--out={}/folder.zip"], "is a folder, and means a file"),
            (["--out={}/file"], "is a file, and means a folder"),
            (["--out={}/file/x.zip"], "cannot be written"),
            (["--out={}/theirs"], "holds files that sample has not written"),
            (["--out={}/theirs", "--overwrite"], "holds files that sample has not written"),
            (["--out={}/theirs.zip"], "exists; choose another place, or add --overwrite"),
            (["--from={}/nowhere"], "no such folder"),
        ],
    )
    def test_in_one_line_with_nothing_written(self, sample, tmp_path, words, message):
        (tmp_path / "folder.zip").mkdir()
        (tmp_path / "file").write_text("mine")
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs" / "notes.txt").write_text("mine")
        (tmp_path / "theirs.zip").write_text("mine")
        before = sorted(tmp_path.rglob("*"))
        words = [word.format(tmp_path) for word in words]
        result = sample(f"--out={tmp_path}/x", *words, status=2)
        assert message in one_line_error(result)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_truncated_checkpoint(self, sample, labelled, tmp_path):
        workdir = copy_of(labelled, tmp_path)
        for file in (workdir / "checkpoints").rglob("*"):
            if file.is_file() and file.stat().st_size > 1000:
                os.truncate(file, 500)
        error = one_line_error(sample("--num=1", f"--out={tmp_path}/x", source=workdir, status=2))
        assert "checkpoints" in error
        assert error.strip().endswith("it is the only one; bring an intact copy back")
        assert not (tmp_path / "x").exists()

    def test_a_damaged_checkpoint_beside_an_intact_one(self, sample, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        *others, newest = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())
        truncate(workdir / "checkpoints" / str(newest))
        error = one_line_error(sample("--num=1", f"--out={tmp_path}/x", source=workdir, status=2))
        listed = ", ".join(f"{one / 1000:g}" for one in others)
        assert error.strip().endswith(f"choose another one by its kimg: {listed}")
        sample("--num=1", f"--out={tmp_path}/x", f"--checkpoint={listed.partition(', ')[0]}", source=workdir)

    def test_a_second_command_at_the_same_time(self, sample, tmp_path):
        from pggan_jax.system.file_lock import FileLock

        with FileLock(tmp_path / ".x.zip.lock"):
            assert "writes there; wait for it" in one_line_error(sample("--num=1", f"--out={tmp_path}/x.zip", status=2))

    @pytest.mark.parametrize("name", ["x", "x.zip"])
    def test_a_command_that_ended_before_the_lock_was_taken(self, sample, tmp_path, monkeypatch, name):
        """What it has written stays, and a lock on a file that it has removed does not count."""
        from pggan_jax.system import file_lock

        class Late(file_lock.FileLock):
            calls = 0

            def __init__(self, path):
                Late.calls += 1
                if Late.calls == 1:
                    monkeypatch.setattr(file_lock, "FileLock", file_lock_class)
                    sample("--num=5", f"--out={tmp_path / name}")
                    monkeypatch.setattr(file_lock, "FileLock", Late)
                super().__init__(path)
                if Late.calls == 1:
                    path.unlink()

        file_lock_class = file_lock.FileLock
        monkeypatch.setattr(file_lock, "FileLock", Late)
        error = one_line_error(sample("--num=3", f"--out={tmp_path / name}", status=2))
        assert "(seeds: 0-4 there, 0-2 now)" in error
        assert Late.calls == 2
        monkeypatch.undo()
        assert not leftovers(tmp_path)

    def test_a_folder_of_an_earlier_version(self, sample, tmp_path):
        sample("--num=3", f"--out={tmp_path / 'x'}")
        (tmp_path / "x" / own_output.MARKER).write_text('{"program": "pggan_jax", "command": "sample"}')
        assert "exists; choose another place, or add --overwrite" in one_line_error(
            sample("--num=3", f"--out={tmp_path / 'x'}", status=2)
        )
        sample("--num=2", f"--out={tmp_path / 'x'}", "--overwrite")
        assert len(content(tmp_path / "x")) == 3


def test_psi_scales_latents_that_are_not_normalised(sample, launch, finished, tmp_path):
    """By 0.5 the images of the halved latents, by 0 one image for all seeds."""
    import pggan_jax as pg

    workdir = copy_of(finished, tmp_path, "free")
    settings = json.loads((workdir / "config.json").read_text())
    settings["generator"]["normalize_latents"] = False
    (workdir / "config.json").write_text(json.dumps(settings))
    for psi in ("0.5", "0"):
        sample("--num=6", f"--psi={psi}", f"--out={tmp_path / psi}.npz", source=workdir)
    model = pg.load(workdir)
    with np.load(tmp_path / "0.5.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], model.synthesize(model.latents(range(6)) * np.float32(0.5)))
        assert not np.array_equal(arrays["images"], model.sample(range(6)))
    with np.load(tmp_path / "0.npz") as arrays:
        assert (arrays["images"] == arrays["images"][:1]).all()


def test_is_part_of_no_training_set(sample, tmp_path, finished):
    """A folder of samples inside a folder of images is marked."""
    sample("--num=3", f"--out={tmp_path / 'x'}")
    mark = json.loads((tmp_path / "x" / own_output.MARKER).read_text())
    assert mark["program"] == "pggan_jax"
    assert mark["request"]["seeds"] == "0-2"
    shutil.rmtree(tmp_path / "x")


class TestGridOfAnotherCommand:
    """What another command has drawn is not replaced."""

    def test_is_refused(self, launch, finished, tmp_path):
        words = "sample", f"--from={finished}", "--seeds=0"
        assert launch(*words, f"--out={tmp_path / 'a'}")[0] == 0
        before = (tmp_path / "a.png").read_bytes()
        other = "sample", f"--from={finished}", "--seeds=1", f"--out={tmp_path / 'b'}", f"--grid_out={tmp_path / 'a.png'}"
        assert "would replace the existing" in one_line_error(launch(*other))
        assert (tmp_path / "a.png").read_bytes() == before
        assert not (tmp_path / "b").exists()
        assert launch(*words, f"--out={tmp_path / 'a'}")[0] == 0
        assert launch(*other, "--overwrite")[0] == 0

    def test_grids_of_the_run_stay(self, launch, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        before = (workdir / "reals.png").read_bytes()
        words = f"--from={workdir}", "--seeds=1", f"--out={tmp_path / 'b'}", f"--grid_out={workdir / 'reals.png'}"
        assert "would replace the existing" in one_line_error(launch("sample", *words))
        assert (workdir / "reals.png").read_bytes() == before


def test_two_sources_are_refused(launch, finished, labelled):
    result = launch("sample", f"--from={finished}", f"--workdir={labelled}", "--seeds=1")
    assert "two names of one flag" in one_line_error(result)
