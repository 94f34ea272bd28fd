"""The door: every command in this process, every mistake as one line with exit status 2, and launch.py itself."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pggan_jax import cli
from pggan_jax.cli.plan import _end
from pggan_jax.cli.shared_flags import parse_seeds
from pggan_jax.cli.train import StopRequest, _default_workdir
from pggan_jax.config.io import settings_of
from pggan_jax.distributed import processes
from pggan_jax.errors import UserError
from pggan_jax.schedule import Schedule
from tests.helpers.command_line import ROOT, SMOKE, environment, one_line_error, small_flags
from tests.helpers.runs import (
    copy_of,
    digest,
    lasting,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


class TestHelp:
    @pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
    def test_overview_names_every_command(self, launch, words):
        status, out, err = launch(*words)
        assert status == 0
        assert err == ""
        for name, text in cli.COMMANDS.items():
            assert f"  {name}" in out
            assert text in out

    @pytest.mark.parametrize("name", cli.COMMANDS)
    def test_of_each_command_names_every_flag(self, launch, name):
        status, out, _ = launch(name, "--help")
        assert status == 0
        module = sys.modules[f"pggan_jax.cli.{name}"]
        for flag in module.FLAGS:
            if flag not in ("help", "helpshort", "helpfull", "helpxml"):
                assert f"--{flag}" in out
                assert module.FLAGS[flag].help in out

    def test_a_command_s_help_wins_over_its_other_flags(self, launch):
        assert launch("sample", "--seeds=wrong", "--help")[0] == 0


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "parts"),
        [
            (["trian"], ["'trian' is not a command", "did you mean train?"]),
            (
                ["xyzzy"],
                [
                    "'xyzzy' is not a command",
                    "commands: train, plan, explain, sample, project, directions, edit, arithmetic, film, explore, ",
                    "show, extract, compare, export, import, convert_inception, settings",
                ],
            ),
            (["train", "--wokdir=x"], ["wokdir", "workdir", "launch.py train --help"]),
            (["--confg=x"], ["confg", "config"]),
            (["sample", "extra"], ["'extra' is not a flag of sample"]),
            (["train", "--process_id=-1"], ["process_id", "-1"]),
            (["train", "--num_processes=two"], ["num_processes", "two"]),
            (["train", "--coordinator=localhost:1"], ["--coordinator=HOST:PORT, --num_processes=N and --process_id"]),
            (["explain", SMOKE, "--kimg=ten"], ["kimg", "ten"]),
            (["explain", SMOKE], ["explain needs --kimg, such as --kimg=", "kimg long"]),
            (["explain", SMOKE, "--kimg=-1"], ["--kimg=-1: -1.0 is not a number in the range [0, 2147483]"]),
            (["explain", SMOKE, "--kimg=99999"], ["--kimg=99999: must be from 0 to"]),
            (["explain", SMOKE, "--kimg=nan"], ["--kimg=nan: nan is not a number in the range [0, 2147483]"]),
            (
                ["settings", "--config=experiments/smok.py"],
                ["experiments/smok.py: no such file", "did you mean experiments/smoke.py?"],
            ),
            (
                ["settings", SMOKE, "--set", "generator.fmap_mx=3"],
                ["generator.fmap_mx = '3'", "no such setting", "generator.fmap_max"],
            ),
            (["settings", SMOKE, "--set", "generator.fmap_max"], ["must be name=value"]),
            (["settings", SMOKE, "--set", "generator.fmap_max=many"], ["'many'", "--set generator.fmap_max=many", "whole"]),
            (["train", SMOKE, "--set", "data.resolution=33"], ["33", "near it are 32 and 64"]),
            (["plan", SMOKE, "--set", "schedule.batch_size=-1"], ["-1", "at least 1"]),
            (["plan", SMOKE, "--seconds=0"], ["seconds", "0.1"]),
            (["plan", SMOKE, "--set=run.microbatch=1"], ["run.microbatch = 1", "(from --set run.microbatch=1)"]),
            (["train", SMOKE, "--set=run.microbatch=1"], ["run.microbatch = 1", "(from --set run.microbatch=1)"]),
            (["sample", "--workdir=/nowhere/at/all"], ["--from=/nowhere/at/all: no such folder"]),
            (["inspect", "--workdir=/nowhere/at/all"], ["--workdir=/nowhere/at/all: no such folder"]),
            (["sample", "--network=best"], ["network", "best", "ema"]),
            (["sample", "--zoom=0"], ["zoom"]),
            (["sample", "--columns=x"], ["columns"]),
        ],
        ids=lambda value: " ".join(value).replace(str(ROOT), "")[:50] if isinstance(value, list) else None,
    )
    def test_is_one_line(self, launch, words, parts):
        message = one_line_error(launch(*words))
        for part in parts:
            assert part in message

    @pytest.mark.parametrize("seeds", ["", "x", "1-", "-3", "1,,2", "5-1", "1.5", "0-4294967296", "0-20000000", "\u00b2"])
    def test_seeds(self, launch, finished, seeds):
        message = one_line_error(launch("sample", f"--workdir={finished}", f"--seeds={seeds}", "--out=/nowhere"))
        assert f"--seeds={seeds}: " in message

    def test_a_folder_without_a_run(self, launch, tmp_path):
        for command in ("sample", "inspect"):
            assert "holds no run" in one_line_error(launch(command, f"--workdir={tmp_path}"))

    def test_a_run_without_a_checkpoint(self, launch, finished, tmp_path):
        shutil.copy(finished / "config.json", tmp_path)
        for command in ("sample", "inspect"):
            assert "has no checkpoint yet" in one_line_error(launch(command, f"--workdir={tmp_path}"))
        (tmp_path / "checkpoints").mkdir()
        assert "has no checkpoint yet" in one_line_error(launch("inspect", f"--workdir={tmp_path}"))

    def test_a_workdir_with_other_things(self, launch, tmp_path):
        (tmp_path / "thesis.tex").write_text("")
        assert "is not empty and holds no run" in one_line_error(launch("train", SMOKE, f"--workdir={tmp_path}"))

    def test_ctrl_c_is_no_traceback(self, launch, monkeypatch):
        def interrupt(values):
            raise KeyboardInterrupt

        launch("settings", SMOKE)
        monkeypatch.setattr(sys.modules["pggan_jax.cli.settings"], "run", interrupt)
        assert launch("settings", SMOKE) == (130, "", "")


class TestSeeds:
    @pytest.mark.parametrize(
        ("text", "seeds"),
        [("7", [7]), ("0-3", [0, 1, 2, 3]), ("5,1-2, 9", [5, 1, 2, 9]), ("4294967295", [2**32 - 1]), ("3-3", [3])],
    )
    def test_good(self, text, seeds):
        assert list(parse_seeds(text)) == seeds
        assert len(parse_seeds(text)) == len(seeds)

    def test_bad(self):
        with pytest.raises(UserError, match="neither a number nor a range"):
            parse_seeds("a-b")


class TestSettings:
    def test_lists_all_with_values(self, launch):
        status, out, _ = launch("settings", SMOKE, "--set", "generator.fmap_max=12")
        assert status == 0
        for path, _ in settings_of(small_config()):
            assert f"\n{path} = " in out
        assert "\ngenerator.fmap_max = 12\n" in out
        assert "one of wgan_gp, lsgan, logistic, hinge" in out
        assert "at least 1" in out


class TestExplain:
    def test_names_the_time_that_ends_the_run(self, launch):
        _, out, _ = launch("explain", *small_flags(schedule__total_minutes=90.0), "--kimg=1")
        assert "after 90 minutes of training (schedule.total_minutes)" in out

    @pytest.mark.parametrize(
        ("kimg", "parts"),
        [
            ("0", ["(0 images shown of 1,920", "1 of 3: 4x4 stable", "alpha          1.000000", "8x8 fade at kimg 0.496"]),
            ("0.96", ["2 of 3: 8x8 fade", "alpha          0.500000", "lod 0.500000", "tick           1 of 2"]),
            ("1.92", ["3 of 3: 8x8 stable", "iteration      120 of 120", "the end, at kimg 1.92"]),
        ],
    )
    def test_reports_the_phase(self, launch, kimg, parts):
        status, out, err = launch("explain", *small_flags(), f"--kimg={kimg}")
        assert (status, err) == (0, "")
        for part in parts:
            assert part in out


class TestPlan:
    def test_one_row_per_resolution(self, launch):
        status, out, _ = launch("plan", *small_flags(schedule__total_minutes=1.0), "--nomeasure")
        lines = out.splitlines()
        assert status == 0
        assert lines[0] == "4 x cpu; digits, 1 channel(s)"
        rows = [line.split() for line in lines[2:4]]
        assert [row[0] for row in rows] == ["4x4", "8x8"]
        assert [row[1] for row in rows] == ["0.5", "1.4"]
        assert [row[2] for row in rows] == ["31", "89"]
        assert all(row[3] == "4" for row in rows)
        assert all(float(row[6]) > 0 for row in rows)
        assert lines[4].startswith("total: 1.9 kimg, 120 steps, time not measured")
        assert lines[5].startswith("schedule.total_minutes = 1 may end the run earlier")

    @pytest.mark.parametrize(
        ("minutes", "images", "seconds"), [(0.0, 1920, 33.44), (2.0, 1920, 33.44), (0.5, 1748, 30.0), (0.05, 300, 3.0)]
    )
    def test_the_end_of_a_run_that_time_ends(self, minutes, images, seconds):
        """496 images at 100 a second, and 1,424 at 50 a second."""
        schedule = Schedule.of(small_config(schedule__total_minutes=minutes))
        assert _end(schedule, {4: 100.0, 8: 50.0}) == (images, pytest.approx(seconds))


class TestSample:
    def read(self, path):
        with Image.open(path) as image:
            return np.asarray(image)

    def test_writes_one_file_per_seed_and_a_grid(self, launch, finished, tmp_path):
        out = tmp_path / "new" / "folder"
        status, printed, err = launch("sample", f"--workdir={finished}", "--seeds=0-4,40", f"--out={out}", "--zoom=2")
        assert (status, err) == (0, "")
        assert "6 images of 8x8 from kimg 1.92" in printed
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        assert names == {f"seed{seed:04d}.png" for seed in (0, 1, 2, 3, 4, 40)}
        assert self.read(out / "seed0040.png").shape == (16, 16)
        grid = self.read(tmp_path / "new" / "folder.png")
        assert grid.shape == (32, 48)
        np.testing.assert_array_equal(grid[16:, 32:], self.read(out / "seed0040.png"))

    def test_the_same_seed_gives_the_same_image(self, launch, finished, tmp_path):
        launch("sample", f"--workdir={finished}", "--seeds=7", f"--out={tmp_path / 'a'}")
        launch("sample", f"--workdir={finished}", "--seeds=5-8", f"--out={tmp_path / 'b'}")
        launch("sample", f"--workdir={finished}", "--seeds=7", "--network=raw", f"--out={tmp_path / 'c'}")
        a, b, c = (self.read(tmp_path / name / "seed0007.png").astype(int) for name in "abc")
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 1
        assert not np.array_equal(b, self.read(tmp_path / "b" / "seed0008.png"))

    def test_classes(self, launch, labelled, tmp_path):
        for name, flag in (("two", ["--class=2"]), ("three", ["--class=3"]), ("own", [])):
            status, _, err = launch("sample", f"--workdir={labelled}", "--seeds=13", *flag, f"--out={tmp_path / name}")
            assert (status, err) == (0, "")
        files = {"two": "seed0013_class2.png", "three": "seed0013_class3.png", "own": "seed0013_class3.png"}
        two, three, own = (self.read(tmp_path / name / file) for name, file in files.items())
        np.testing.assert_array_equal(three, own)
        assert not np.array_equal(two, three)

    @pytest.mark.parametrize("number", [-1, 10])
    def test_a_class_that_is_not_there(self, launch, labelled, tmp_path, number):
        result = launch("sample", f"--workdir={labelled}", f"--class={number}", f"--out={tmp_path}")
        assert f"--class={number}: must be from 0 to 9, or the name of a class" in one_line_error(result)

    def test_a_class_by_its_name(self, launch, labelled, tmp_path):
        for flag in ("7", "name:7", "number:7"):
            status, _, err = launch(
                "sample", f"--workdir={labelled}", "--seeds=1", f"--class={flag}", f"--out={tmp_path / flag}"
            )
            assert (status, err) == (0, "")
            assert [path.name for path in (tmp_path / flag).glob("[!.]*")] == ["seed0001_class7.png"]
        result = launch("sample", f"--workdir={labelled}", "--class=seven", f"--out={tmp_path / 'x'}")
        assert "--class=seven: no class has this name; there are 0, 1, 2, 3, 4 and 5 more" in one_line_error(result)

    @pytest.mark.parametrize("run", ["finished", "labelled"])
    def test_every_image_of_the_training_grid(self, launch, request, tmp_path, run):
        """By its seed alone, all together and one by one."""
        workdir = request.getfixturevalue(run)
        document = json.loads((workdir / "grid.json").read_text())
        seeds, columns = [seed for row in document["seeds"] for seed in row], document["columns"]
        assert len(set(seeds)) == len(seeds) == 8
        grid = self.read(max(workdir.glob("fakes*.png")))
        side = grid.shape[1] // columns
        one = seeds[5]
        for wanted in (seeds, [one]):
            out = tmp_path / str(len(wanted))
            status, *_ = launch("sample", f"--workdir={workdir}", f"--seeds={','.join(map(str, wanted))}", f"--out={out}")
            assert status == 0
            for seed in wanted:
                (file,) = out.glob(f"seed{seed:04d}*.png")
                row, column = divmod(seeds.index(seed), columns)
                cell = grid[row * side : (row + 1) * side, column * side : (column + 1) * side]
                np.testing.assert_array_equal(self.read(file), cell)
                if run == "labelled":
                    assert f"class{document['classes'][row][column]}" in file.name

    def test_many_are_written_and_the_first_hundred_shown(self, launch, labelled, tmp_path):
        status, printed, err = launch("sample", f"--workdir={labelled}", "--seeds=0-119", f"--out={tmp_path / 'out'}")
        assert (status, err) == (0, "")
        assert "120 images of 4x4" in printed
        assert f"the first 100 in {tmp_path / 'out.png'}" in printed
        assert self.read(tmp_path / "out.png").shape == (40, 40)
        assert len(list((tmp_path / "out").glob("[!.]*"))) == 120
        status, printed, err = launch("check", f"folder:{tmp_path / 'out'}")
        assert "120 usable of 120" in printed
        assert "120 of 4x4" in printed

    def test_a_grid_never_replaces_a_file_of_somebody_else(self, launch, finished, tmp_path):
        (tmp_path / "faces.png").write_bytes(b"mine")
        result = launch("sample", f"--workdir={finished}", "--seeds=1", f"--out={tmp_path / 'faces'}")
        assert "would replace" in one_line_error(result)
        assert (tmp_path / "faces.png").read_bytes() == b"mine"
        flags = "--seeds=1", f"--out={tmp_path / 'faces'}", f"--grid_out={tmp_path / 'faces' / 'grid.png'}"
        assert "holds single images only" in one_line_error(launch("sample", f"--workdir={finished}", *flags))
        for _ in range(2):
            assert launch("sample", f"--workdir={finished}", "--seeds=1", f"--out={tmp_path / 'own'}")[0] == 0
        (tmp_path / "own" / "grid.png").write_bytes(b"of an earlier version")
        _, printed, _ = launch("sample", f"--workdir={finished}", "--seeds=1", f"--out={tmp_path / 'own'}")
        assert "holds 1 other files" in printed

    def test_an_image_too_large_is_refused_before_the_work(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setattr("pggan_jax.data.images.decode.MAX_PIXELS", 400)
        result = launch("sample", f"--workdir={finished}", "--seeds=1", "--zoom=3", f"--out={tmp_path / 'out'}")
        assert "an image would have 24x24 pixels, at most 400 are written" in one_line_error(result)
        assert not (tmp_path / "out").exists()
        _, printed, _ = launch("sample", f"--workdir={finished}", "--seeds=0-8", f"--out={tmp_path / 'out'}")
        assert "the first 4 in" in printed

    def test_a_class_without_labels(self, launch, finished, tmp_path):
        result = launch("sample", f"--workdir={finished}", "--class=1", f"--out={tmp_path}")
        assert "trained without labels" in one_line_error(result)

    def test_another_checkpoint(self, launch, finished, tmp_path):
        _, printed, _ = launch("sample", f"--workdir={finished}", "--checkpoint=1.008", "--seeds=1", f"--out={tmp_path}")
        assert "from kimg 1.008" in printed
        result = launch("sample", f"--workdir={finished}", "--checkpoint=3", f"--out={tmp_path}")
        assert "there are: latest, 1.008, 1.92" in one_line_error(result)

    @pytest.mark.parametrize(("blocked", "flag"), [(".", "out"), ("seed0001.png", "out"), ("../grid.png", "grid_out")])
    def test_where_nothing_can_be_written(self, launch, finished, tmp_path, blocked, flag):
        out, grid = tmp_path / "out", tmp_path / "grid.png"
        if blocked == ".":
            out.write_text("a file")
        else:
            (out / blocked / "x").mkdir(parents=True)
        result = launch("sample", f"--workdir={finished}", "--seeds=1", f"--out={out}", f"--grid_out={grid}")
        assert f"--{flag}={out if flag == 'out' else grid}: " in one_line_error(result)


class TestInspect:
    def test_table(self, launch, finished):
        status, out, err = launch("inspect", f"--workdir={finished}")
        assert (status, err) == (0, "")
        *table, data = out.splitlines()[:2] + out.splitlines()[:1:-1]
        head, *rows = [line.split() for line in table]
        assert head == ["kimg", "resolution", "alpha", "MB", "sha256"]
        assert data.startswith("  data: 1,797 images, fingerprint ")
        assert [row[0] for row in rows] == ["1.008", "1.920"]
        assert [row[1] for row in rows] == ["8", "8"]
        assert rows[-1][4] == digest(finished)

    def test_json(self, launch, finished):
        status, out, _ = launch("inspect", f"--workdir={finished}", "--json")
        first, last = map(json.loads, out.splitlines())
        assert status == 0
        assert (last["kimg"], last["images_seen"], last["resolution"], last["alpha"]) == (1.92, 1920, 8, 1.0)
        assert last["sha256"] == digest(finished) != first["sha256"]
        assert last["bytes"] > 10_000
        assert Path(last["path"]).is_dir()

    def test_of_sound(self, launch, sound_run):
        _, out, _ = launch("inspect", f"--workdir={sound_run}")
        clips, waves = out.splitlines()[-2:]
        assert "8 frames of 32 bins" in clips
        assert waves == "  waves: reals-original.wav, reals.wav, fakes000000.wav"
        _, out, _ = launch("inspect", f"--workdir={sound_run}", "--json")
        assert json.loads(out)["representation"]["n_fft"] == 64

    def test_damage_is_named_beside_what_is_whole(self, launch, finished, tmp_path):
        workdir = copy_of(finished, tmp_path)
        shutil.rmtree(workdir / "checkpoints" / "1008" / "state")
        status, out, err = launch("inspect", f"--workdir={workdir}", "--json")
        assert status == 1
        assert [json.loads(line)["kimg"] for line in out.splitlines()] == [1.92]
        assert err.count("\n") == 1
        assert err.startswith(f"error: {workdir}/checkpoints/1008: cannot be restored")


class TestTrain:
    def test_default_workdirs(self):
        assert _default_workdir("experiments/digits.py") == "runs/digits"
        assert _default_workdir("/elsewhere/mine.py") == "runs/mine"

    def test_settings_of_a_run_need_a_workdir(self, launch, finished):
        message = one_line_error(launch(f"--config={finished}/config.json"))
        assert f"needs --workdir; give --workdir={finished}" in message

    def test_a_run_continues_with_its_stored_settings(self, launch, finished, tmp_path, monkeypatch):
        """Without its command line, also if an earlier version stored fewer settings."""
        monkeypatch.setattr("pggan_jax.cli.train.StopRequest", lambda: lambda: False)
        workdir = copy_of(finished, tmp_path)
        config = workdir / "config.json"
        command = (f"--config={config}", f"--workdir={workdir}")
        status, out, _ = launch(*command)
        assert status == 0
        assert "the run is complete" in out
        assert "lacks" not in out
        tree = json.loads(config.read_text())
        del tree["loss"]["drift"], tree["data"]["range"]
        config.write_text(json.dumps(tree))
        status, out, _ = launch(*command)
        assert status == 0
        assert out.count("config.json of an earlier version lacks data.range, loss.drift; the defaults are used\n") == 1
        message = one_line_error(launch(*command, "--set", "loss.drift=0.5"))
        assert "(stored -> now): loss.drift: 0.001 -> 0.5; " in message

    def test_a_complete_run_is_not_trained_again(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setattr("pggan_jax.cli.train.StopRequest", lambda: lambda: False)
        workdir = copy_of(finished, tmp_path)
        status, out, _ = launch(*small_flags(), f"--workdir={workdir}")
        assert status == 0
        assert "the run is complete at kimg 1.9" in out
        assert digest(workdir) == digest(finished)

    def test_another_configuration_is_refused_with_the_difference(self, launch, finished, monkeypatch):
        monkeypatch.setattr("pggan_jax.cli.train.StopRequest", lambda: lambda: False)
        status, _, err = launch(*small_flags(), f"--workdir={finished}", "--set", "loss.name=hinge")
        assert status == 2
        assert "(stored -> now): loss.name: 'wgan_gp' -> 'hinge'; use --config=" in err


@pytest.fixture
def signal_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class TestStopRequest:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_and_the_second_ends(self, signal_handlers, number):
        request = StopRequest()
        assert not request()
        signal.raise_signal(number)
        assert request()
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    @pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
    def test_further_hang_ups_do_not_end_the_run_that_is_saving(self, signal_handlers, first):
        request = StopRequest()
        signal.raise_signal(first)
        # As shells and systemd send them; by default the process would end here.
        signal.raise_signal(signal.SIGHUP)
        assert request()

    def test_a_hang_up_that_comes_twice_or_beside_others_ends_nothing(self, signal_handlers):
        """As the kernel and the shell send it when a terminal closes, and service managers after SIGTERM."""
        request = StopRequest()
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
            assert request()
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def test_under_nohup_a_hang_up_stays_ignored(self, signal_handlers):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        request = StopRequest()
        signal.raise_signal(signal.SIGHUP)
        assert not request()
        signal.raise_signal(signal.SIGTERM)
        assert request()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_ctrl_c_while_starting_up_cannot_be_swallowed(launch, tmp_path):
    """By a callback inside an import, where an exception would arrive."""
    seen = []

    def note_handler(*_, **__):
        seen.append(signal.getsignal(signal.SIGINT))
        raise UserError("far enough")

    before = signal.getsignal(signal.SIGINT)
    with mock.patch.object(processes, "initialize_hosts", note_handler):
        status, _, err = launch(*small_flags(), f"--workdir={tmp_path / 'run'}")
    assert (status, err) == (2, "error: far enough\n")
    assert seen == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) == before


class TestLauncher:
    """launch.py in a process of its own."""

    def run(self, *words):
        return subprocess.run([sys.executable, "launch.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)

    def test_help(self):
        done = self.run("--help")
        assert done.returncode == 0
        assert "usage: python launch.py [COMMAND] [FLAGS]" in done.stdout
        assert done.stderr == ""

    def test_a_bad_value(self):
        done = self.run(SMOKE, "--set", "data.resolution=33")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: data.resolution = 33 (from --set data.resolution=33): ")

    def test_ctrl_c_saves_and_the_same_command_continues(self, finished, tmp_path):
        """Stopped after its first tick and continued in another process, it ends as a run in this one that never stopped."""
        command = [sys.executable, "launch.py", *small_flags(), f"--workdir={tmp_path / 'run'}"]
        options = {"cwd": ROOT, "env": environment(), "text": True, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
            for line in process.stdout:
                if line.startswith("tick 1"):
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stdout.read()
            errors = process.stderr.read()
        assert process.returncode == 75, rest + errors
        assert "stopped and saved at kimg 1." in rest
        assert "the same command continues" in rest
        assert "Traceback" not in errors
        assert len(stats(tmp_path / "run")) == 1
        again = subprocess.run(command, stdout=subprocess.PIPE, timeout=120, **options)
        assert again.returncode == 0, again.stderr
        assert "continuing at kimg 1." in again.stdout
        assert lasting(stats(tmp_path / "run")) == lasting(stats(finished))
        assert digest(tmp_path / "run") == digest(finished)


@pytest.mark.slow
@pytest.mark.parametrize("is_ignored", [False, True], ids=["closed", "nohup"])
def test_a_terminal_that_is_closed(tmp_path, is_ignored):
    """The run saves and ends as after SIGTERM, though whatever it prints fails from then on; under nohup it goes on."""
    main, terminal = pty.openpty()
    command = [sys.executable, "launch.py", *small_flags(), f"--workdir={tmp_path / 'run'}"]

    def begin_session():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if is_ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    env = environment()
    process = subprocess.Popen(command, cwd=ROOT, env=env, preexec_fn=begin_session, **streams)
    os.close(terminal)
    said = b""
    while b"compiling the 4x4 step" not in said:
        said += os.read(main, 4096)
    os.close(main)
    assert process.wait(240) == (0 if is_ignored else 75)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert ("stopped and saved at kimg" in log) != is_ignored
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "words", [["train", "--workdir="], ["sample", "--workdir="], ["inspect", "--workdir= "]], ids=["train", "sample", "inspect"]
)
def test_an_empty_folder_name_is_refused(words, launch):
    status, _, complaint = launch(*words)
    assert status == 2
    assert f"--{'from' if words[0] == 'sample' else 'workdir'}=: is empty" in complaint


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8])
def test_ctrl_c_during_the_start_prints_no_traceback(delay, finished, tmp_path):
    command = [sys.executable, "launch.py", "sample", f"--from={finished}", "--num=100000", f"--out={tmp_path / 'out'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in err


def test_ctrl_c_inside_a_destructor_is_not_lost():
    code = """
import signal, sys, time
from pggan_jax import cli

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits that it is ignored
sys.unraisablehook = cli._report_unraisable
try:
    Interrupted()
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")
