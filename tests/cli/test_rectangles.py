"""Images that are not square, from the collection to the report, through the command line."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.images import fitting_base, write_png
from tests.helpers.command_line import one_line_error, small_flags
from tests.helpers.runs import digest, events, lasting, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
STOP = 240
SHORT = {
    "data__resolution": 16,
    "schedule__start_resolution": 8,
    "schedule__stable_kimg": 0.16,
    "schedule__fade_kimg": 0.16,
    "schedule__tick_kimg": 1.0,
    "run__grid": "2x2",
}


def changes_for(source: str, base_shape: str, **more):
    return {"data__source": source, "data__base_shape": base_shape, **SHORT, **more}


def photographs(folder, count=24, size=(30, 50)):
    """Noise of another aspect than 3:4, so that a crop is needed; (height, width)."""
    folder.mkdir()
    for number in range(count):
        write_png(folder / f"{number}.png", np.random.RandomState(number).randint(0, 256, (*size, 3)).astype(np.uint8))
    return folder


def check_everything(launch, tmp_path, changes, *, small, large, with_plan=False):
    """Train, stop, resume, sample, measure and describe a run; `small` and `large` are its sizes at 8 and 16."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    status, out, _ = launch(*small_flags(**changes), f"--workdir={straight}")
    assert status == 0
    assert f"growing to {large}: G kept" in out
    assert f"(block_{large}/conv0, block_{large}/conv1, to_rgb_{large})" in out
    assert f" res {large}" in out
    assert not run_small(stopped, small_config(**changes), stop_at=STOP)
    status, out, _ = launch(*small_flags(**changes), f"--workdir={stopped}")
    assert status == 0
    assert f"continuing at kimg 0.2, resolution {large}" in out
    assert digest(straight) == digest(stopped)
    assert lasting(stats(straight)) == lasting(stats(stopped))
    assert stats(straight)[-1]["resolution"] == events(straight, "growth")[0]["resolution"] == 16
    check_images(launch, straight, tmp_path, large=large)
    check_reports(launch, straight, tmp_path, changes, large=large)
    if with_plan:
        status, out, _ = launch("plan", *small_flags(**changes), "--nomeasure")
        assert status == 0
        assert [row.split()[0] for row in out.splitlines()[2:4]] == [small, large]


def check_images(launch, workdir, tmp_path, *, large):
    height, width = map(int, large.split("x"))
    for name in ("reals.png", "fakes000000.png"):
        assert Image.open(workdir / name).size == (2 * width, 2 * height)
    status, out, _ = launch("sample", f"--workdir={workdir}", "--seeds=0-3", f"--out={tmp_path / 'samples'}")
    assert status == 0
    assert f"4 images of {large} from kimg 0.48" in out
    (sample,) = (tmp_path / "samples").glob("seed0002*.png")  # with labels, its name has the class
    assert Image.open(sample).size == (width, height)
    metrics = "--metrics=swd,swd_small,ms_ssim,neighbors"
    status, out, _ = launch("evaluate", f"--workdir={workdir}", metrics, "--num_images=16", f"--out={tmp_path / 'found'}")
    assert status == 0
    assert f"kimg 0.48, {large}, alpha 1" in out
    scales = 1 + min(4, *(int(math.log2(side & -side)) for side in (height, width)))
    assert (f"{scales} scales instead of 5, as images of {large}" in out) == (scales < 5)
    (line,) = (tmp_path / "found" / "metric-swd.jsonl").read_text().splitlines()
    assert list(json.loads(line)["values"]) == ["average", large]
    model = pg.load(str(workdir))
    assert model.shape[:2] == (height, width)
    assert model.sample(seeds=[1, 2]).shape == (2, *model.shape)
    np.testing.assert_array_equal(model.sample(seeds=[2])[0].squeeze(), np.asarray(Image.open(sample)))


def check_reports(launch, workdir, tmp_path, changes, *, large):
    status, out, _ = launch("inspect", f"--workdir={workdir}")
    assert status == 0
    assert out.splitlines()[-2].split()[:3] == ["0.480", large, "1.000"]
    status, out, _ = launch("inspect", f"--workdir={workdir}", "--json")
    entry = json.loads(out.splitlines()[-1])
    assert f"{entry['height']}x{entry['width']}" == large
    assert entry["resolution"] == 16
    status, out, _ = launch("report", f"--workdir={workdir}", f"--out={tmp_path / 'report.html'}")
    assert status == 0
    page = (tmp_path / "report.html").read_text()
    assert f"{large} stable" in page
    assert f"{large}, kimg 0, newest" in page
    assert "16x16" not in page
    status, out, _ = launch("explain", *small_flags(**changes), "--kimg=0.2")
    assert status == 0
    assert f"2 of 3: {large} fade" in out
    assert f"next           {large} stable at kimg 0.32" in out


def test_a_run_at_3x4_on_a_prepared_folder(launch, tmp_path):
    prepared = tmp_path / "prepared"
    words = ["prepare", f"folder:{photographs(tmp_path / 'files')}", "--resolution=16", "--base_shape=3x4", f"--out={prepared}"]
    status, out, _ = launch(*words)
    assert status == 0
    assert "24 rows of 3x4, 6x8, 12x16" in out
    assert f"--set data.source=prepared:{prepared} --set data.resolution=16 --set data.base_shape=3x4" in out
    check_everything(launch, tmp_path, changes_for(f"prepared:{prepared}", "3x4"), small="6x8", large="12x16")


@pytest.mark.slow
def test_a_run_at_2x16(launch, tmp_path):
    changes = changes_for("synthetic:24", "2x16", data__mirror=True, data__labels=True)
    check_everything(launch, tmp_path, changes, small="4x32", large="8x64", with_plan=True)


def test_a_run_at_2x16_in_short(launch, tmp_path):
    """Like a spectrogram: one level, the whole batch as one group, LSGAN's noise, and metrics during training."""
    more = {"data__labels": True, "data__resolution": 16, "schedule__start_resolution": 16, "loss__name": "lsgan"}
    more |= {"eval__metrics": ("swd",), "eval__num_images": 16, "discriminator__minibatch_stddev": "whole_batch"}
    workdir = tmp_path / "run"
    status, out, _ = launch(*small_flags(**changes_for("synthetic:24", "2x16", **more)), f"--workdir={workdir}")
    assert status == 0
    assert " res 8x64" in out
    assert math.isfinite(stats(workdir)[-1]["metric_swd"])
    assert Image.open(workdir / "fakes000000.png").size == (128, 16)


class TestRefusals:
    @pytest.mark.parametrize("bad", ["3", "0x4", "100x100", "1x7", "9x8"])
    def test_wrong_values(self, launch, bad):
        line = one_line_error(launch("explain", "--kimg=1", "--set", f"data.base_shape={bad}"))
        assert f"data.base_shape = {bad!r} (from --set data.base_shape={bad}): must be HEIGHTxWIDTH with 8 to 64 pixels" in line
        line = one_line_error(launch("prepare", "synthetic:5", "--resolution=8", "--out=x", f"--base_shape={bad}"))
        assert f"--base_shape={bad}: must be HEIGHTxWIDTH with 8 to 64 pixels in all, such as 4x4, 3x4 or 2x16" in line

    def test_another_prepared_folder(self, launch, tmp_path):
        prepared = tmp_path / "prepared"
        assert launch("prepare", "synthetic:16", "--resolution=8", "--base_shape=3x4", f"--out={prepared}")[0] == 0
        flags = small_flags(data__source=f"prepared:{prepared}")
        line = one_line_error(launch(*flags, f"--workdir={tmp_path / 'run'}"))
        assert f"data.base_shape = 4x4: prepared:{prepared} was prepared with --base_shape=3x4; set data.base_shape=3x4" in line
        assert one_line_error(launch("plan", *flags))

    def test_metrics_that_need_more_rows(self, launch):
        words = ["data.base_shape=1x16", "data.resolution=16", "eval.metrics=swd"]
        line = one_line_error(launch("explain", "--kimg=1", *(word for one in words for word in ("--set", one))))
        assert "swd needs at least 7x7 pixels at its smallest level, not the 4x64 of 4x64" in line

    def test_another_base_shape_on_the_way(self, launch, finished, tmp_path):
        workdir = shutil.copytree(finished, tmp_path / "run")
        flags = small_flags(data__base_shape="3x4", schedule__total_kimg=2.5)
        line = one_line_error(launch(*flags, f"--workdir={workdir}"))
        assert "data.base_shape: '4x4' -> '3x4'" in line
        line = one_line_error(launch(*flags, f"--workdir={workdir}", "--allow_config_change"))
        assert "holds other networks" in line
        assert digest(workdir) == digest(finished)

    def test_another_run_to_start_from(self, launch, finished, tmp_path):
        flags = small_flags(data__base_shape="3x4", run__init_from=str(finished))
        line = one_line_error(launch(*flags, f"--workdir={tmp_path / 'run'}"))
        assert "holds networks with data.base_shape = 4x4, and this run has 3x4" in line


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), ("4x4", 32)),
        ((4, 4), ("4x4", 4)),
        ((24, 32), ("3x4", 32)),
        ((128, 1024), ("2x16", 256)),
        ((48, 80), ("3x5", 64)),
        ((40, 40), ("5x5", 32)),
        ((31, 33), None),
        ((17, 17), None),
    ],
)
def test_base_shape_of_finished_images(size, expected):
    assert fitting_base(*size) == expected
