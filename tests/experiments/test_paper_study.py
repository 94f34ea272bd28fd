"""The studies of experiments/paper: planning, noise, tables, figures, and what a stopped or failed study does."""

from __future__ import annotations

import json
import re
import runpy
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments.paper.measuring.measure import of_tick
from experiments.paper.measuring.measurements import as_requested
from experiments.paper.study import command, cost, noise, results, tables
from experiments.paper.study.figures import contact_sheet, figure, mean_curve
from experiments.paper.study.folder import Folder, claim
from experiments.paper.study.plan import Lengths, Measures, Plan, Run, Study, Variant, make_plan, unknown_setting, work_of
from experiments.paper.study.runner import Runner
from experiments.paper.study.settings import common_and_own, kimg_of, scale_for
from pggan_jax.config import Config
from pggan_jax.config.io import from_json, settings_of
from pggan_jax.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "experiments" / "paper").glob("[!rc]*.py"))
SMOKE = "experiments/smoke.py"
QUICK = ("schedule.stable_kimg=0.2", "schedule.fade_kimg=0.2", "schedule.repeats=1")


def study_of(*variants: Variant, **changes) -> Study:
    chosen = variants or (
        Variant("one", "the first", SMOKE),
        Variant("two", "another rate", SMOKE, ("schedule.learning_rate=0.001",)),
        Variant("three", "from the first", SMOKE, ("schedule.batch_size=8",), after="one", weights=True),
    )
    measures = Measures("fd8", {"fd8": "distance", "share": "share"}, ("fd8",), larger=("share",))
    return Study("test", "Which is better?", chosen, measures, QUICK, **changes)


def plan_of(study: Study | None = None, *, names=(), seeds=(0, 1), **lengths) -> Plan:
    return make_plan(study or study_of(), names=names, seeds=seeds, lengths=Lengths(**lengths))


# Planning


def test_runs_go_seed_by_seed():
    assert [run.name for run in plan_of().runs()] == ["one-0", "two-0", "three-0", "one-1", "two-1", "three-1"]


def test_the_seed_is_that_of_the_run():
    plan = plan_of(seeds=(5,))
    assert {plan.config(run).run.seed for run in plan.runs()} == {5}


def test_every_point_of_a_curve_has_a_checkpoint_that_stays():
    config = plan_of(study_of(points=4)).configs["one"]
    assert config.schedule.tick_kimg == pytest.approx(kimg_of(config) / 4, rel=0.02)
    assert config.run.checkpoint_ticks == 1
    assert config.run.keep_last > 1000


def test_scale_multiplies_all_lengths_and_nothing_else():
    whole, half = plan_of().configs["one"], plan_of(scale=0.5).configs["one"]
    changed = {path: (value, dict(settings_of(whole))[path]) for path, value in settings_of(half)}
    changed = {path: pair for path, pair in changed.items() if pair[0] != pair[1]}
    assert set(changed) <= {
        *("schedule.stable_kimg", "schedule.fade_kimg", "schedule.tick_kimg", "optimizer.ema_half_life_kimg"),
    }
    assert half.schedule.fade_kimg == whole.schedule.fade_kimg / 2
    assert kimg_of(half) == pytest.approx(kimg_of(whole) / 2, rel=0.1)


def test_longer_runs_keep_their_moving_average():
    assert plan_of(scale=3).configs["one"].optimizer == plan_of().configs["one"].optimizer


def test_not_growing_has_as_many_images():
    plan = plan_of(study_of(Variant("grows", "", SMOKE), Variant("not", "", SMOKE, grows=False)), scale=0.7)
    growing, whole = plan.configs["grows"], plan.configs["not"]
    assert whole.schedule.start_resolution == whole.data.resolution
    assert kimg_of(whole) == pytest.approx(kimg_of(growing), abs=0.1)


def test_not_growing_has_as_much_arithmetic():
    variants = Variant("grows", "", SMOKE), Variant("not", "", SMOKE, grows=False, same_work=True)
    for scale in (1.0, 0.7):
        plan = plan_of(study_of(*variants), scale=scale)
        growing, whole = plan.configs["grows"], plan.configs["not"]
        assert whole.schedule.start_resolution == whole.data.resolution
        assert kimg_of(whole) < 0.8 * kimg_of(growing)
        assert work_of(whole) == pytest.approx(work_of(growing), rel=0.05)


def test_a_variant_of_another_version_is_left_out_with_the_reason():
    study = study_of(Variant("one", "", SMOKE), Variant("later", "", SMOKE, ("loss.name=perfect",)))
    plan = plan_of(study)
    assert list(plan.configs) == ["one"]
    assert plan.left_out == {"later": "needs loss.name=perfect, which this version lacks"}
    with pytest.raises(UserError, match=r"later needs loss\.name=perfect"):
        plan_of(study, names=("later",))


def test_set_changes_every_run():
    plan = plan_of(settings=("generator.fmap_max=4",))
    assert {config.generator.fmap_max for config in plan.configs.values()} == {4}


def test_quick_takes_the_first_variants():
    assert list(plan_of(is_quick=True).configs) == ["one", "two"]


@pytest.mark.parametrize(
    ("names", "words"), [(("four",), "there is no four; choose from one, two, three"), (("three",), "continues from one")]
)
def test_wrong_variants_are_refused(names, words):
    with pytest.raises(UserError, match=words):
        plan_of(names=names)


def test_a_setting_that_cannot_be_used_names_its_variant():
    study = study_of(Variant("odd", "", SMOKE, ("schedule.batch_size=6",)))
    with pytest.raises(UserError, match=r"variant odd.*multiple of discriminator\.mbstd_group_size"):
        plan_of(study)


def test_settings_are_split_into_common_and_own():
    shared, own = common_and_own(plan_of().configs)
    assert shared["generator.fmap_max"] == 8
    assert own["one"] == {"schedule.batch_size": 16, "schedule.learning_rate": 0.003, "run.init_from": ""}
    assert own["two"]["schedule.learning_rate"] == 0.001
    assert "run.seed" not in shared


@pytest.mark.parametrize(("minutes", "estimate", "scale"), [(60, 120, 0.5), (100, 30, 3.3), (10, 300, 0.033), (90, 90, 1.0)])
def test_a_budget_becomes_a_scale(minutes, estimate, scale):
    assert scale_for(minutes, estimate) == pytest.approx(scale)
    assert scale_for(minutes, estimate) * estimate <= minutes * (1 + 1e-9)


def test_a_hopeless_budget_is_refused():
    with pytest.raises(UserError, match="less than 1 %"):
        scale_for(1, 1000)


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.3 s", 12.3), ("4m 05s", 245), ("3h 07m", 11220), ("2d 4h", 187200), ("?", float("nan"))]
)
def test_durations_are_read(text, seconds):
    assert cost.seconds_of(text) == pytest.approx(seconds, nan_ok=True)


# Noise


def test_mean_and_standard_error():
    mean = noise.Mean.of([1.0, 2.0, 3.0])
    assert (mean.value, mean.error) == (2.0, pytest.approx(1 / np.sqrt(3)))
    assert str(mean) == "2.00 ± 0.58"
    assert str(noise.Mean.of([0.25])) == "0.25"


def test_welch_interval_is_that_of_scipy():
    from scipy.stats import ttest_ind

    one, other = [1.0, 2.0, 4.0], [3.0, 9.0, 8.0, 7.0]
    interval = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    found = noise.Difference.of(one, other)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_a_single_seed_is_never_clear():
    assert not noise.Difference.of([1.0], [100.0, 101.0]).is_clear


def test_best_must_be_clear_against_every_other():
    clear = {"a": [1.0, 1.1, 0.9], "b": [5.0, 5.1, 4.9], "c": [7.0, 7.5, 7.2]}
    assert noise.best(clear, larger=False) == "a"
    assert noise.best(clear, larger=True) == "c"
    assert noise.best({**clear, "d": [1.0, 1.2, 0.8]}, larger=False) == ""
    assert noise.best({"a": [1.0, 1.1]}, larger=False) == ""


def test_crossing_is_interpolated():
    falling = [(10.0, 8.0), (20.0, 4.0), (30.0, 5.0)]
    assert noise.crossing(falling, 6.0) == 15.0
    assert noise.crossing(falling, 9.0) == 10.0
    assert np.isnan(noise.crossing(falling, 3.0))
    assert noise.crossing([(0.0, 0.2), (4.0, 0.6)], 0.5, larger=True) == pytest.approx(3.0)


def test_curves_over_time_are_compared_where_all_have_values():
    points, errors = mean_curve([[(1.0, 10.0), (2.0, 8.0), (4.0, 6.0)], [(1.0, 12.0), (3.0, 8.0)]])
    assert points == [(1.0, 11.0), (2.0, 9.0), (3.0, 7.5)]
    assert errors == pytest.approx([1.0, 1.0, 0.5])


def test_curves_with_the_same_checkpoints_are_averaged_by_checkpoint_to_the_last():
    points, errors = mean_curve([[(1.0, 10.0), (2.0, 8.0)], [(2.0, 12.0), (3.0, 6.0)]])
    assert points == [(1.5, 11.0), (2.5, 7.0)]
    assert errors == pytest.approx([1.0, 1.0])


# Results, tables, figures


def result_of(value: float, *, share: float = 0.5) -> dict:
    points = [[1.0, 10.0, {"fd8": 2 * value}], [2.0, 21.0, {"fd8": value, "share": share}]]
    return {"devices": "1 x cpu", "points": points, "stats": {}, "num_fakes": 100, "num_reals": 90}


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path / "study")
    claim(found, plan_of())
    return found


def filled(folder: Folder, plan: Plan, *, missing: tuple[str, ...] = ()) -> dict:
    """The results of a study in which `two` is clearly worse than `one`, and `three` is not."""
    for run in plan.runs():
        if run.name not in missing:
            level = {"one": 10.0, "two": 20.0, "three": 10.1}[run.variant.name] + 0.3 * run.seed
            folder.measured(run.name).write_text(json.dumps(result_of(level)))
            Image.fromarray(np.full((8, 64), 60, np.uint8)).save(folder.measured(run.name).with_suffix(".png"))
    folder.measured("floor").write_text(json.dumps({"values": {"fd8": 5.0}}))
    return results.collect(plan, folder, problems=dict.fromkeys(missing, "diverged"), command="python x.py", jobs=1)


def test_table_says_what_is_clear_and_what_is_noise(folder):
    found = filled(folder, plan_of(seeds=(0, 1, 2)))
    text = tables.table(found, ["a remark"])
    assert "| `one` the first | 10.30 ± 0.17 |" in text
    assert re.search(r"`two` against `one`, distance: \+10 .*: worse", text)
    assert re.search(r"`three` against `one`, distance: \+0\.1 .*: inside the noise", text)
    assert "**" not in text, "nothing is better than each other variant"
    assert "| *reals against other reals* | 5 |" in text
    assert text.endswith("* a remark\n")


def test_what_is_compared_with_nothing_is_never_the_best(folder):
    """Such as a run on other images, which other distances belong to."""
    found = filled(folder, plan_of(seeds=(0, 1, 2)))
    other = found["variants"][2]
    for run in other["runs"]:
        run["values"] = {**run["values"], "fd8": run["values"]["fd8"] - 8}
    assert re.search(r"\| `three` .*\*\*2\.\d", tables.table(found))
    other["against"] = "three"
    assert re.search(r"\| `one` .*\*\*10\.\d", tables.table(found))
    assert tables.table(found).count("**") == 2


def test_table_counts_seeds_that_have_failed(folder):
    text = tables.table(filled(folder, plan_of(seeds=(0, 1, 2)), missing=("two-1",)))
    assert "`two` another rate (2 of 3 seeds)" in text


def test_quick_results_are_marked(tmp_path):
    plan, folder = plan_of(is_quick=True), Folder(tmp_path / "quick")
    claim(folder, plan)
    found = filled(folder, plan)
    assert found["quick"]
    assert tables.table(found).startswith(tables.QUICK)
    assert "not a result" in figure(found)


def test_results_are_small_and_name_no_place(folder):
    found = filled(folder, plan_of(seeds=(0, 1, 2)))
    path = folder.path / "results.json"
    results.write(path, found)
    text = path.read_text()
    assert json.loads(text) == found
    assert len(text) < 5000
    assert str(ROOT) not in text
    assert str(folder.path) not in text


def test_figure_has_a_curve_per_variant_over_both_axes(folder):
    text = figure(filled(folder, plan_of(seeds=(0, 1, 2))))
    assert text.count('<polyline class="curve c0"') == text.count('<polyline class="curve c2"') == 2
    assert "distance over kimg" in text
    assert "distance over minutes of training" in text
    assert text.count("dashed: reals") == 1


def test_contact_sheet_has_a_row_per_variant(folder):
    plan = plan_of()
    filled(folder, plan)
    sheet = contact_sheet(plan, folder)
    assert sheet.shape[0] == 3 * (32 + 4)
    assert (sheet[4:32, 160:, 0] == 60).all()


# A folder belongs to one study


@pytest.mark.parametrize("lengths", [{"scale": 2.0}, {"is_quick": True}, {"settings": ("run.patience=3",)}])
def test_other_lengths_are_refused(folder, lengths):
    with pytest.raises(UserError, match="use the same flags, or another --out"):
        claim(folder, plan_of(**lengths))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds no study"):
        claim(Folder(tmp_path), plan_of())


# Running, with programs that stand for a run and its measurement

TRAINS = "import sys, pathlib, json; p = pathlib.Path(sys.argv[1]); p.mkdir(parents=True); (p / 'stats.jsonl').write_text('{}')"
FAILS = "import sys; print('error: no good'); sys.exit(2)"
WAITS = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(75)); time.sleep(60)"
MEASURES = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"


@pytest.fixture
def run_with(folder, monkeypatch):
    """Run a study with programs instead of runs; returns the runner and the names of what was started."""

    start = Runner._process
    monkeypatch.setattr("experiments.paper.study.runner._POLL_SECONDS", 0.02)

    def run(plan, programs=None, *, jobs=2, during=lambda runner: None):
        started = []
        programs = programs or {}
        runner = Runner(plan, folder, jobs, on_result=lambda: during(runner))

        def process(self, words, name):
            started.append(f"{name} {'measure' if words[0].endswith('measure.py') else 'train'}")
            if words[0].endswith("measure.py"):
                program = [MEASURES, str(folder.measured(name)), json.dumps(result_of(3.0) | {"values": {}})]
            else:
                program = [programs.get(name, TRAINS), words[2].removeprefix("--workdir=")]
            return start(self, ["-c", *program], name)

        monkeypatch.setattr(Runner, "_process", process)
        return runner, runner(), started

    return run


def test_each_run_trains_is_measured_and_is_not_repeated(run_with, folder, capsys):
    plan = plan_of(names=("one", "two"))
    _, is_complete, started = run_with(plan)
    first, *lines = capsys.readouterr().out.splitlines()
    total = len(list(plan.runs()))
    assert first.endswith(f"runs and their logs are in {folder.path} (0 of {total} runs)")
    assert len(lines) == total
    assert lines[-1].endswith(f"({total} of {total} runs)")
    assert is_complete
    assert sorted(started) == sorted(
        [f"{run.name} {what}" for run in plan.runs() for what in ("train", "measure")] + ["floor measure"]
    )
    _, is_complete, started = run_with(plan)
    assert (is_complete, started) == (True, [])


def test_a_failed_run_costs_itself_and_what_depends_on_it(run_with, capsys):
    runner, is_complete, started = run_with(plan_of(), {"one-0": FAILS})
    assert is_complete
    assert set(runner.problems) == {"one-0", "three-0"}
    printed = capsys.readouterr().err
    assert "one-0 has failed: train: exit status 2: error: no good" in printed
    assert "three-0 has failed: needs one-0" in printed
    assert "three-1 measure" in started
    _, _, started = run_with(plan_of())
    assert [name for name in started if "train" in name] == ["one-0 train", "three-0 train"], "failed runs are tried again"


def test_weights_come_from_the_run_with_the_same_seed(run_with, folder):
    run_with(plan_of())
    settings = from_json((folder.settings(Run(Variant("three", "", ""), 1))).read_text(), "settings")
    assert settings.run.init_from == str(folder.path / "runs" / "one-1")


def test_a_signal_lets_runs_save_and_is_no_failure(run_with):
    def stop(runner):
        if not runner.should_stop:
            signal.raise_signal(signal.SIGINT)

    runner, is_complete, started = run_with(plan_of(names=("one", "two")), {"two-0": WAITS}, during=stop)
    assert not is_complete
    assert not runner.problems
    assert "two-1 train" not in started
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "handlers are restored"


def test_progress_survives_half_written_lines(folder):
    run = Run(Variant("one", "", SMOKE), 0)
    assert folder.images_seen(run) == 0
    folder.workdir(run).mkdir(parents=True)
    (folder.workdir(run) / "stats.jsonl").write_text('{"images_seen": 1000}\n')
    assert folder.images_seen(run) == 1000
    (folder.workdir(run) / "stats.jsonl").write_text('{"images_seen": 1000}\n{"images_se')
    assert folder.images_seen(run) == 0


def test_early_checkpoints_are_dropped(folder):
    run = Run(Variant("one", "", SMOKE), 0)
    for name in ("500", "1000", "9", "1000.partial"):
        (folder.workdir(run) / "checkpoints" / name).mkdir(parents=True)
    folder.drop_early_checkpoints(run)
    assert {path.name for path in (folder.workdir(run) / "checkpoints").iterdir()} == {"1000", "1000.partial"}


# The command line


def run_script(*words, build=lambda values: study_of()):
    command.FLAGS.unparse_flags()
    for name in command.FLAGS:
        command.FLAGS[name].unparse()
    return command.run_script(build, "Help of the script.", ["experiments/paper/x.py", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sedes=1"], "Unknown command line flag 'sedes'"),
        (["--seeds=2-1"], "--seeds=2-1: must be 1 to 1000 different seeds"),
        (["--seeds=a"], "write seeds as 0-2,7"),
        (["--jobs=0"], "jobs"),
        (["runs"], "'runs' is not a flag"),
        (["--variants=four"], "there is no four"),
        (["--set", "generator.fmap=4"], "there is no such setting"),
        (["--set", "generator"], "must be name=value"),
        (["--minutes=5", "--scale=2"], "give one of them"),
    ],
)
def test_mistakes_are_one_line_and_status_two(words, message, capsys, tmp_path):
    assert run_script(f"--out={tmp_path}/out", *words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_prints_the_document_and_the_flags(capsys):
    assert run_script("--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Help of the script.")
    assert "--dry_run" in printed


def test_dry_run_prints_costs_and_writes_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cost, "planned_seconds", lambda plan, run: 90.0)
    assert run_script("--dry-run", f"--out={tmp_path}/out", "--seeds=0-3") == 0
    printed = capsys.readouterr().out
    assert "3 variants x 4 seeds" in printed
    assert "12 runs" in printed
    assert "about 18m 00s" in printed
    assert "launch.py plan estimates them" in printed
    assert not (tmp_path / "out").exists()


def test_minutes_choose_the_scale_once(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "estimated_minutes", lambda plan: 200.0)
    monkeypatch.setattr(Runner, "__call__", lambda self: False)
    words = [f"--out={tmp_path}/out", "--minutes=100"]
    assert run_script(*words) == 130
    assert json.loads((tmp_path / "out" / "study.json").read_text())["scale"] == 0.5
    monkeypatch.setattr(command, "estimated_minutes", lambda plan: 1000.0)
    assert run_script(*words, "--seeds=0-5") == 130, "the folder keeps its scale"


def test_a_stopped_study_prints_the_command_that_continues(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Runner, "__call__", lambda self: False)
    assert run_script(f"--out={tmp_path}/out", "--jobs=3") == 130
    assert f"this continues: python experiments/paper/x.py --out={tmp_path}/out --jobs=3" in capsys.readouterr().err


# The scripts themselves


@pytest.fixture
def own_flags():
    """Remove the flags that a script defines: another one has flags of the same names."""
    before = set(command.FLAGS)
    yield
    for name in set(command.FLAGS) - before:
        delattr(command.FLAGS, name)


@pytest.mark.usefixtures("own_flags")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_variant_of_a_script_can_be_run(path, monkeypatch):
    """Each is valid at full length and with --quick, and differs from the others."""
    monkeypatch.setattr(sys, "argv", [str(path)])
    command.FLAGS.unparse_flags()
    script = runpy.run_path(str(path))
    command.FLAGS([str(path)])
    study = script["study"](command.FLAGS)
    assert study.name == path.stem
    assert f"python experiments/paper/{path.name}" in script["__doc__"]
    for is_quick in (False, True):
        names = [variant.name for variant in study.variants if not unknown_setting(variant)]
        plan = make_plan(study, names=names, seeds=(0,), lengths=Lengths(is_quick=is_quick))
        if not is_quick:
            own = common_and_own(plan.configs)[1]
            kinds = [(repr(own[variant.name]), variant.after, variant.minutes) for variant in plan.variants]
            assert len(set(kinds)) == len(kinds), "two variants are the same"
        assert all(isinstance(config, Config) for config in plan.configs.values())
    assert study.measures.headline in study.measures.columns
    assert {*study.measures.larger, *study.measures.neutral} <= {*study.measures.columns}


# Ratios of experiment 1, collapses of experiment 3, results in the documentation


def script(name: str) -> dict:
    command.FLAGS.unparse_flags()
    return runpy.run_path(str(ROOT / "experiments" / "paper" / f"{name}.py"))


def variant_with(name: str, curves: list[list[float]], *, seconds: float) -> dict:
    runs = []
    for seed, values in enumerate(curves):
        kimg = [10.0 * (number + 1) for number in range(len(values))]
        curve = {"kimg": kimg, "seconds": [seconds * one for one in kimg], "fd8": values}
        runs.append(
            {"seed": seed, "kimg": kimg[-1], "seconds": curve["seconds"][-1], "values": {"fd8": values[-1]}, "curve": curve}
        )
    return {"name": name, "runs": runs}


def test_ratio_of_times_to_the_quality_that_the_worse_one_ends_with():
    """Growing reaches 6 after 15 kimg, the other after 30 kimg that take twice as long each."""
    first = variant_with("growing", [[8.0, 4.0, 2.0]], seconds=1.0)
    other = variant_with("from-start", [[9.0, 8.0, 6.0]], seconds=2.0)
    functions = script("growing_vs_not")
    ratios = functions["ratios_of"]
    assert ratios(first, other, "fd8", over="kimg", larger=False) == [2.0]
    assert ratios(first, other, "fd8", over="seconds", larger=False) == [4.0]
    lines = functions["speed"]({"variants": [first, other], "columns": {"fd8": "distance"}, "larger": []})
    assert "`from-start` takes 4 times the minutes and 2 times the images of `growing`" in lines[0]


def test_collapsed_runs_are_those_with_few_modes_and_those_that_diverged():
    runs = [
        {"values": {"modes.modes": 900.0}},
        {"values": {"modes.modes": 499.0}},
        {"problem": "train: exit status 2: error: 20 iterations in a row had no finite update"},
        {"problem": "not complete"},
    ]
    lines = script("stacked_modes")["collapses"]({"variants": [{"name": "one", "runs": runs}]})
    assert lines[0] == "`one`: 2 of 3 runs have collapsed."


@pytest.mark.usefixtures("own_flags")
def test_differences_from_row_a_are_added_up():
    variants = [{"name": name, "runs": [{"values": {"swd.average": value}}]} for name, value in (("a", 10.0), ("b", 4.0))]
    cumulated = script("ablation")["cumulated"]
    lines = cumulated({"variants": variants})
    assert lines[0] == "SWD on average against row `a`, here: b -60 %."
    assert lines[1].startswith("SWD on average against row `a`, the paper, CelebA: b -54 %, c +398 %,")
    assert "e-star +6 %" in lines[1]
    assert cumulated({"variants": variants[1:]}) == []


def test_results_are_put_between_the_markers_of_the_page(tmp_path):
    from experiments.paper import collect

    folder, page = Folder(tmp_path / "study"), tmp_path / "page.md"
    claim(folder, plan_of())
    results.write(folder.path / "results.json", filled(folder, plan_of()))
    (folder.path / "table.md").write_text("| new table |\n")
    page.write_text("before\n<!-- results study -->\nold\n<!-- end -->\nafter\n")
    assert collect.collect(tmp_path, page=page, results_folder=tmp_path / "kept") == ["study"]
    text = page.read_text()
    assert "| new table |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert (tmp_path / "kept" / "study.json").read_bytes() == (folder.path / "results.json").read_bytes()
    collect.collect(tmp_path, page=page, results_folder=tmp_path / "kept")
    assert page.read_text() == text, "again: nothing changes"


def test_quick_results_are_no_results(tmp_path):
    from experiments.paper import collect

    plan, folder = plan_of(is_quick=True), Folder(tmp_path / "study")
    claim(folder, plan)
    results.write(folder.path / "results.json", filled(folder, plan))
    with pytest.raises(UserError, match="--quick"):
        collect.collect(tmp_path, page=ROOT / "docs" / "experiments.md", results_folder=tmp_path / "kept")


def test_the_page_has_a_place_for_the_results_of_each_script():
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    missing = [path.stem for path in SCRIPTS if f"<!-- results {path.stem} -->" not in page]
    assert not missing
    assert page.count("<!-- results ") == page.count("<!-- end -->")


def test_digits_that_are_read_as_requested():
    """The reader sees the class in the first pixel; class 1 is right in one of two images."""
    reader = SimpleNamespace(probabilities=lambda rows: np.eye(3)[rows[:, 0].astype(int)])
    found = as_requested(reader, np.array([[0.0], [1], [2], [2]]), np.array([0, 1, 1, 2]))
    assert found == {"requested.0": 1.0, "requested.1": 0.5, "requested.2": 1.0, "requested.mean": 0.75, "requested.worst": 0.5}


def test_fields_of_the_tick_are_measured_at_its_checkpoint():
    records = [{"images_seen": 16, "held_out_gap": 0.5}, {"images_seen": 32, "held_out_gap": 1.5, "loss_d": 2.0}]
    assert of_tick(records, 32, ("held_out_gap",)) == {"held_out_gap": 1.5}
    assert of_tick(records, 16, ("held_out_gap", "loss_d")) == {"held_out_gap": 0.5}
    assert of_tick(records, 8, ("held_out_gap",)) == {}


@pytest.mark.usefixtures("own_flags")
@pytest.mark.parametrize(("size", "total", "held_out"), [(100, 200, 100), (300, 600, 300), (1000, 1500, 500)])
def test_few_images_trains_on_as_many_as_it_says(size, total, held_out):
    settings = dict(one.split("=") for one in script("few_images")["taken"](size))
    assert settings["data.max_images"] == str(total)
    assert round(float(settings["data.held_out"]) * total) == held_out
