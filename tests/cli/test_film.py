"""The command `film`: what its films show, and what it refuses."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

import pggan_jax as pg
from pggan_jax.cli import film
from pggan_jax.cli.film_images import SampleGridFiles
from pggan_jax.generation.films.frames import add_caption, caption_height, default_zoom, enlarge_to, loop_frames, show_in_turn
from pggan_jax.generation.walks import Loop
from pggan_jax.images import nearest_upscale
from tests.helpers.runs import copy_of, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")


def read_film(path) -> list[np.ndarray]:
    with Image.open(path) as frames:
        return [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(frames)]


@pytest.fixture(scope="module")
def growing(tmp_path_factory, quick_compilation):
    """A run that keeps checkpoints of two resolutions, and has a grid in the fade."""
    workdir = tmp_path_factory.mktemp("film") / "run"
    run_small(workdir, small_config(schedule__stable_kimg=1.2, run__keep_last=9))
    return workdir


def steps_of(frames: list[np.ndarray]) -> np.ndarray:
    """Mean change to the next frame, and from the last to the first."""
    values = np.asarray(frames, np.float32)
    return np.abs(np.roll(values, -1, axis=0) - values).mean(axis=tuple(range(1, values.ndim)))


class TestWalk:
    def test_stations_are_the_images_of_the_seeds(self, launch, finished, tmp_path):
        words = ("--kind=walk", "--seeds=5,2,9", "--seconds=0.5", "--fps=10", f"--out={tmp_path}/w.png")
        status, out, err = launch("film", f"--from={finished}", *words)
        assert (status, err) == (0, "")
        assert "0.5 s at 10 frames per second, 256x256 pixels, 3 seeds of" in out
        frames = read_film(tmp_path / "w.png")
        wanted = nearest_upscale(pg.load(finished).sample([5, 2, 9]), 32)[..., 0]
        assert len(frames) == 5
        assert all(np.array_equal(frames[2 * number], wanted[number]) for number in range(3))

    def test_classes_are_interpolated(self, launch, labelled, tmp_path):
        words = (
            "--kind=walk",
            "--seeds=3,3",
            "--class=1,7",
            "--seconds=0.3",
            "--fps=10",
            "--zoom=1",
            f"--out={tmp_path}/w.png",
        )
        assert launch("film", f"--from={labelled}", *words)[0] == 0
        model, between = pg.load(labelled), np.zeros((1, 10), np.float32)
        between[0, [1, 7]] = 0.5
        frames = read_film(tmp_path / "w.png")
        assert np.array_equal(frames[0], model.sample([3], 1)[0, ..., 0])
        assert np.array_equal(frames[1], model.sample([3], between)[0, ..., 0])
        assert np.array_equal(frames[2], model.sample([3], 7)[0, ..., 0])


class TestLoop:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_seam_is_no_larger_than_the_median_step(self, finished, seed):
        model = pg.load(finished)
        loop = Loop(60, 2, model.latent_size, 8.0, seed)
        steps = steps_of(list(loop_frames(model, loop, labels=np.zeros((2, 0), np.float32), columns=2)))
        assert len(steps) == 60
        assert steps[-1] <= np.median(steps)
        assert steps.max() < 5 * np.median(steps)

    def test_more_smoothing_is_slower(self, launch, finished, tmp_path):
        speeds = []
        for seconds in (0.1, 0.5):
            words = ("--seconds=4", "--fps=10", "--zoom=1", f"--smooth={seconds}", f"--out={tmp_path}/{seconds}.png")
            assert launch("film", f"--from={finished}", *words)[0] == 0
            speeds.append(np.median(steps_of(read_film(tmp_path / f"{seconds}.png"))))
        assert speeds[1] < 0.5 * speeds[0]

    def test_loops_of_a_grid_show_the_classes_in_turn(self, launch, labelled, tmp_path):
        words = ("--kind=grid", "--grid=2x1", "--seconds=2", "--fps=5", "--zoom=1", f"--out={tmp_path}/g.png")
        assert launch("film", f"--from={labelled}", *words)[0] == 0
        assert {frame.shape for frame in read_film(tmp_path / "g.png")} == {(4, 8)}


class TestGrowth:
    def test_from_checkpoints_of_two_resolutions(self, launch, growing, tmp_path):
        words = ("--kind=growth", "--seeds=50,3", "--seconds=3", "--fps=10", "--zoom=32", f"--out={tmp_path}/g.png")
        status, out, err = launch("film", f"--from={growing}", *words)
        assert (status, err) == (0, "")
        assert "note" not in out
        frames = read_film(tmp_path / "g.png")
        assert f"{frames[0].shape[0]}x512 pixels, by " in out
        assert len(frames[0]) == 256 + caption_height(256, 512, 2)
        first, last = (pg.load(growing, checkpoint=which) for which in ("1.008", "latest"))
        assert (first.resolution, last.resolution) == (4, 8)
        for model, frame, factor in ((first, frames[0], 64), (last, frames[-1], 32)):
            assert np.array_equal(frame[:256], np.concatenate(nearest_upscale(model.sample([50, 3]), factor)[..., 0], axis=1))
            assert frame[256:].max() == 255

    def test_classes_are_chosen_once(self, launch, growing, tmp_path, monkeypatch):
        """Not for each checkpoint: a class without training images gives one warning."""
        calls, choose = [], film._labels
        monkeypatch.setattr(film, "_labels", lambda *arguments: calls.append(arguments) or choose(*arguments))
        words = ("--kind=growth", "--seeds=1", "--seconds=1", "--fps=5", f"--out={tmp_path}/g.png")
        assert launch("film", f"--from={growing}", *words)[0] == 0
        assert len(calls) == 1

    def test_from_the_sample_grids(self, launch, finished, tmp_path):
        """The checkpoints kept have one resolution; the last grid has the images of the last checkpoint."""
        words = ("--kind=growth", "--seeds=5,2", "--seconds=3", "--fps=10", f"--out={tmp_path}/g.png")
        status, out, _ = launch("film", f"--from={finished}", *words)
        assert status == 0
        assert "keeps checkpoints of one resolution, 8x8 (run.keep_every_kimg keeps more)" in out
        assert "cut out of the sample grids" in out
        wanted = np.concatenate(nearest_upscale(pg.load(finished).sample([5, 2]), 32)[..., 0], axis=1)
        assert np.array_equal(read_film(tmp_path / "g.png")[-1][:256], wanted)

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("--seeds=77", "seed 77 is not in the sample grids"),
            ("--network=raw", "its sample grids show no other class or network"),
            ("--seeds=0-64", "65 seeds are more than 64"),
        ],
    )
    def test_what_the_grids_do_not_show(self, launch, finished, tmp_path, word, message):
        status, _, err = launch("film", f"--from={finished}", "--kind=growth", word, f"--out={tmp_path}/g.png")
        assert status == 2
        assert message in err
        assert not list(tmp_path.iterdir())


class TestTraining:
    def test_shows_each_grid_and_holds_the_last(self, launch, finished, tmp_path):
        words = ("--kind=training", "--seconds=4", "--fps=10", f"--out={tmp_path}/t.png")
        status, out, _ = launch("film", f"--from={finished}", *words)
        assert status == 0
        frames = read_film(tmp_path / "t.png")
        height, width = frames[0].shape
        assert f"{height}x{width} pixels" in out
        assert height == 256 + caption_height(256, width, 4)
        grids = sorted(finished.glob("fakes*.png"))
        assert len(frames) == len(grids)
        for frame, path in zip(frames, grids, strict=True):
            with Image.open(path) as grid:
                wanted = np.asarray(grid)
            factor = 256 // len(wanted)
            assert np.array_equal(frame[:256], wanted.repeat(factor, 0).repeat(factor, 1))
        with Image.open(tmp_path / "t.png") as image:
            image.seek(len(frames) - 1)
            assert image.info["duration"] == 1000

    def test_text(self, growing, tmp_path):
        """The fade is from 1.2 to 2.16 kimg, a tick ends at 2.016."""
        workdir = copy_of(growing, tmp_path)
        lines = [{**line, "seconds_per_tick": 40.0 * (number + 1)} for number, line in enumerate(stats(workdir))]
        (workdir / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = SampleGridFiles(workdir).whole()
        assert [text for _, text in found.images] == [
            ("kimg 0", "4x4", "alpha 1.00", "0.0 s"),
            ("kimg 1", "4x4", "alpha 1.00", "40.0 s"),
            ("kimg 2", "8x8", "alpha 0.83", "2m 00s"),
            ("kimg 3", "8x8", "alpha 1.00", "6m 40s"),
        ]
        assert found.parts == 4

    def test_text_without_times(self, growing, tmp_path):
        """Also without the lines of the ticks: the schedule says the rest, of the kimg in the name of the grid."""
        workdir = copy_of(growing, tmp_path)
        (workdir / "stats.jsonl").write_text('{"tick": 1, "kimg": 1.008}\n')
        found = SampleGridFiles(workdir).whole()
        texts = [text for _, text in found.images]
        assert found.parts == 3
        assert texts[1:3] == [("kimg 1", "4x4", "alpha 1.00"), ("kimg 2", "8x8", "alpha 0.83")]

    def test_a_part_of_the_grids(self, finished):
        whole, part = SampleGridFiles(finished).whole(), SampleGridFiles(finished).whole((3, 1))
        assert (whole.height, whole.width) == (16, 32)
        assert (part.height, part.width) == (8, 24)
        for (image, _), (cut, _) in zip(whole.images, part.images, strict=True):
            assert np.array_equal(image[:8, :24], cut)

    def test_grids_of_other_sizes_and_damaged_ones(self, finished, tmp_path, capsys):
        workdir = copy_of(finished, tmp_path)
        grids = sorted(workdir.glob("fakes*.png"))
        with Image.open(grids[0]) as image:
            image.reduce(2).save(grids[0])
        (workdir / "fakes000009.png").write_bytes(b"\x89PNG")
        images = [image for image, _ in SampleGridFiles(workdir).whole().images]
        assert {image.shape for image in images} == {(16, 32, 1)}
        assert np.array_equal(images[0], images[0][::2, ::2].repeat(2, 0).repeat(2, 1))
        assert "fakes000009.png is left out" in capsys.readouterr().err

    def test_large_grids_are_halved(self, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        for path in workdir.glob("fakes*.png"):
            with Image.open(path) as image:
                image.resize((4000, 2000)).convert("RGB").save(path)
        found = SampleGridFiles(workdir).whole()
        assert (found.height, found.width) == (500, 1000)
        assert next(found.images)[0].shape == (500, 1000, 3)


class TestFrames:
    @pytest.mark.parametrize(("count", "frames"), [(3, 40), (1, 30), (50, 20), (2, 3), (34, 300)])
    def test_images_fill_the_film(self, count, frames):
        shown = [
            int(image[0, 0, 0]) for image in show_in_turn(np.arange(count).reshape(-1, 1, 1, 1), count, frames=frames, fps=10)
        ]
        assert len(shown) == frames
        assert shown == sorted(shown)
        assert (shown[0], shown[-1]) == (0, count - 1)
        assert shown.count(count - 1) == (min(10, frames // 2) if count > 1 else frames)
        if frames > 2 * count:
            times = [shown.count(number) for number in range(count - 1)]
            assert not times or max(times) - min(times) <= 1

    def test_fewer_images_than_expected(self):
        shown = list(show_in_turn(np.arange(2).reshape(-1, 1, 1, 1), 5, frames=20, fps=5))
        assert len(shown) == 20

    @pytest.mark.parametrize("channels", [1, 3])
    def test_text_is_in_a_band_of_one_height(self, channels):
        image = np.full((256, 300, channels), 100, np.uint8)
        first, second = add_caption(image, ["kimg 1", "4x4"]), add_caption(image, ["kimg 12345", "1024x1024"])
        assert first.shape == second.shape
        assert np.array_equal(first[:256], image)
        assert first[256:].max() == second[256:].max() == 255
        # The text does not reach the border or the next part.
        assert not second[256:, 148:150].any()
        assert not second[256:, -3:].any()
        assert not second[[256, -1]].any()

    def test_zoom(self):
        assert [default_zoom(32, 32), default_zoom(100, 100), default_zoom(256, 256), default_zoom(1024, 1024)] == [8, 3, 1, 1]
        assert default_zoom(32, 320) == 6
        assert default_zoom(512, 64, lowest_width=256) == 4
        assert default_zoom(64, 512) == 3

    def test_enlarging_fills_up(self):
        image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1) + 1
        large = enlarge_to(image, 5, 6)
        assert large.shape == (5, 6, 1)
        assert np.array_equal(large[:4], nearest_upscale(image, 2))
        assert not large[4:].any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--kind=walk --seeds=1", "a walk needs at least two seeds"),
        ("--kind=walk --seeds=1,b", "neither a number nor a range"),
        ("--kind=walk --seeds=0-50 --seconds=1 --fps=10", "51 seeds are more than the frames of this film"),
        ("--kind=walk --seeds=1,2 --class=2", "trained without labels"),
        ("--kind=walk --smooth=1", "--smooth: has no effect on --kind=walk"),
        ("--kind=loop --seeds=1,2", "takes one seed"),
        ("--kind=loop --closed", "--closed: has no effect on --kind=loop; remove it, or choose --kind=walk"),
        ("--kind=loop --seconds=2 --smooth=1", "at most a quarter of the film, here 0.5 s"),
        ("--kind=grid --grid=4", "must be COLUMNSxROWS"),
        ("--kind=grid --grid=1080p", "must be COLUMNSxROWS"),
        ("--kind=grid --grid=0x4", "COLUMNSxROWS"),
        ("--kind=grid --grid=600x600", "a frame would have 4,800x4,800 pixels"),
        ("--zoom=64 --kind=grid --grid=9x9", "choose a smaller --zoom or --grid"),
        ("--kind=training --seeds=3", "--seeds: has no effect on --kind=training"),
        ("--kind=training --checkpoint=latest", "--checkpoint: has no effect"),
        ("--kind=training --grid=9x9", "the sample grids have 4x2 images"),
        ("--kind=film", "--kind=film"),
        ("--seconds=0", "--seconds=0"),
        ("--seconds=3601", "--seconds=3601"),
        ("--seconds=nan", "--seconds=nan"),
        ("--fps=0", "--fps=0"),
        ("--fps=121", "--fps=121"),
        ("--fps=60 --out={tmp}/f.gif", "a GIF shows at most 50 frames per second"),
        ("--colors=16", "--colors: has no effect on .png"),
        ("--out={tmp}/f.avi", "must end in .mp4 or .gif or .webp or .png"),
        ("--out=", "--out="),
        ("--from={tmp}/nowhere", "no such folder"),
        ("--kind=training --from={run}@1.008", "names one checkpoint, and --kind=training shows the whole run"),
    ],
)
def test_one_line_and_nothing_written(launch, finished, tmp_path, words, message):
    words = [word.format(tmp=tmp_path, run=finished) for word in words.split()]
    status, _, err = launch("film", f"--from={finished}", f"--out={tmp_path}/f.png", *words)
    assert status == 2
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(launch, finished, tmp_path):
    (tmp_path / "f.gif").write_bytes(b"mine")
    status, _, err = launch("film", f"--from={finished}", f"--out={tmp_path}/f.gif")
    assert (status, "exists; choose another name, or add --overwrite" in err) == (2, True)
    assert (tmp_path / "f.gif").read_bytes() == b"mine"


def test_a_run_without_grids(launch, finished, tmp_path):
    workdir = copy_of(finished, tmp_path)
    for path in workdir.glob("fakes*.png"):
        path.unlink()
    for kind in ("training", "growth"):
        status, _, err = launch("film", f"--from={workdir}", f"--kind={kind}", f"--out={tmp_path}/f.png")
        assert (status, "has no sample grids (fakes*.png)" in err) == (2, True)
    assert not (tmp_path / "f.png").exists()


def test_a_damaged_description_of_the_grids(launch, finished, tmp_path):
    workdir = copy_of(finished, tmp_path)
    for text in ("{", json.dumps({"seeds": [[]]}), json.dumps({"seeds": 3})):
        (workdir / "grid.json").write_text(text)
        status, _, err = launch("film", f"--from={workdir}", "--kind=growth", f"--out={tmp_path}/f.png")
        assert status == 2
        assert "grid.json, which names the seeds of its sample grids, is absent or damaged" in err


def test_video_without_its_package(launch, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, err = launch("film", f"--from={finished}", f"--out={tmp_path}/f.mp4")
    assert (status, "run pip install -r requirements-optional.txt" in err) == (2, True)
    assert not list(tmp_path.iterdir())
