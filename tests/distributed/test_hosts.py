"""Two processes with two devices each, over gloo on this machine: they train what one process with four devices trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.distributed.processes import EXIT_LOST_PROCESS
from pggan_jax.stats_fields import HELD_OUT_FIELDS
from tests.helpers.command_line import environment, free_port, small_flags
from tests.helpers.damage import truncate
from tests.helpers.runs import (
    BOUNDARY,
    assert_states_close,
    copy_of,
    data_lines,
    digest,
    lasting,
    run_small,
    small_config,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).parents[2]
TIMEOUT = 400


def start(workdir, *more, **variables):
    """Both processes of a run; their output goes to files beside the workdir."""
    coordinator = f"127.0.0.1:{free_port()}"
    processes = []
    for number in range(2):
        words = [f"--coordinator={coordinator}", "--num_processes=2", f"--process_id={number}", f"--workdir={workdir}"]
        env = environment() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} | variables
        output = (workdir.parent / f"output{number}.txt").open("w")
        command = [sys.executable, "launch.py", *small_flags(), *words, *more]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT))
    return processes


def finish(workdir, processes):
    """Exit statuses, and what each process said."""
    try:
        statuses = [process.wait(TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return statuses, [(workdir.parent / f"output{number}.txt").read_text() for number in range(2)]


@pytest.mark.slow
class TestTwoProcesses:
    def test_stop_together_continue_and_equal_one_process(self, tmp_path):
        """Through a growth: stopped in mid-fade by a signal to the second process alone, continued by the same command.

        With an epsilon that matters: without, Adam moves a weight whose gradient is 0 up to rounding by a whole step, in a
        direction that rounding chooses, and the order in which devices add up is not the same. What is left is less than 1e-6.
        """
        workdir = tmp_path / "run"
        changes = {"schedule.fade_kimg": 0.48, "schedule.total_kimg": 0.8, "optimizer.epsilon": 0.01}
        brief = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
        processes = start(workdir, *brief)
        log = workdir / "log.txt"
        while all(process.poll() is None for process in processes):
            if log.exists() and "growing to 8x8" in log.read_text():
                processes[1].send_signal(signal.SIGTERM)
                break
        statuses, said = finish(workdir, processes)
        assert statuses == [75, 75], said
        stopped_at = load_trained_model(workdir).metadata.images_seen
        assert BOUNDARY < stopped_at < 800

        statuses, said = finish(workdir, start(workdir, *brief))
        assert statuses == [0, 0], said
        assert "4 x cpu on 2 hosts" in said[0]
        assert f"continuing at kimg {stopped_at / 1000:.1f}" in said[0]
        # Gloo's threads tear each other's lines.
        of_gloo = ("[Gloo]", "connected to", "peer ranks")
        spoken = [line for line in said[1].splitlines() if line and not any(word in line for word in of_gloo)]
        assert spoken == [], "only the first process speaks"

        alone = tmp_path / "alone"
        assert run_small(alone, small_config(**{name.replace(".", "__"): value for name, value in changes.items()}))
        ours, theirs = load_trained_model(workdir), load_trained_model(alone)
        assert ours.metadata.images_seen == theirs.metadata.images_seen == 800
        assert int(ours.state.step) == 50
        assert_states_close(ours.state.generator_ema, theirs.state.generator_ema, 1e-5)
        assert len(stats(workdir)) == len(stats(alone)) == 1
        for name in ("loss_d", "loss_g", "real_score", "fake_score", "gradient_penalty"):
            assert stats(workdir)[0][name] == pytest.approx(stats(alone)[0][name], abs=1e-5), name
        assert log.read_text().count("growing to 8x8") == 1
        assert {path.name for path in workdir.iterdir()} == {path.name for path in alone.iterdir()}

    def test_time_ends_the_run_at_the_same_step(self, tmp_path):
        """With a budget that is over in the first steps; the vote of the first process arrives two chunks later."""
        workdir = tmp_path / "run"
        limit = ("--set", "schedule.total_minutes=0.00001")
        for _ in range(2):
            statuses, said = finish(workdir, start(workdir, *limit))
            assert statuses == [0, 0], said
            assert load_trained_model(workdir).metadata.images_seen == 48
        assert "the run is complete at kimg 0.0, as schedule.total_minutes = 1e-05 minutes" in said[0]
        assert len(stats(workdir)) == 1

    def test_held_out_images_are_those_of_one_process(self, tmp_path):
        changes = {"data.held_out": 0.2, "data.max_images": 200, "schedule.total_kimg": 0.16, "optimizer.epsilon": 0.01}
        brief = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
        together, alone = tmp_path / "run", tmp_path / "alone"
        statuses, said = finish(together, start(together, *brief))
        assert statuses == [0, 0], said
        assert run_small(alone, small_config(**{name.replace(".", "__"): value for name, value in changes.items()}))
        ours, theirs = (load_trained_model(folder).metadata.data_record for folder in (together, alone))
        assert ours == theirs
        assert ours.held_out == 40
        for name in HELD_OUT_FIELDS:
            assert stats(together)[-1][name] == pytest.approx(stats(alone)[-1][name], abs=1e-5), name
        assert abs(stats(alone)[-1]["held_out_gap"]) > 1e-4

    def test_data_on_the_devices_train_as_streamed(self, tmp_path):
        """To the bit, through a growth."""
        brief = ("--set", "schedule.stable_kimg=0.08", "--set", "schedule.fade_kimg=0.08")
        for name, size in (("streamed", 0), ("resident", 1)):
            workdir = tmp_path / name / "run"
            workdir.parent.mkdir()
            statuses, said = finish(workdir, start(workdir, *brief, "--set", f"run.device_data_mb={size}"))
            assert statuses == [0, 0], said
        assert digest(tmp_path / "streamed/run") == digest(tmp_path / "resident/run")
        assert [line.split("MB")[1] for line in data_lines(tmp_path / "streamed/run")] == [", streamed"] * 2
        assert [line.split("MB")[1] for line in data_lines(tmp_path / "resident/run")] == [" on each device"] * 2

    def test_a_run_of_one_process_continues_on_two(self, tmp_path):
        config = small_config(schedule__stable_kimg=0.16, schedule__fade_kimg=0.16)
        flags = ("--set", "schedule.stable_kimg=0.16", "--set", "schedule.fade_kimg=0.16")
        workdir = tmp_path / "run"
        assert not run_small(workdir, config, stop_at=240)
        statuses, said = finish(workdir, start(workdir, *flags))
        assert statuses == [0, 0], said
        assert load_trained_model(workdir).metadata.images_seen == 480

    def test_what_the_first_refuses_stops_both(self, tmp_path):
        workdir = tmp_path / "run"
        assert not run_small(workdir, small_config(), stop_at=16)
        statuses, said = finish(workdir, start(workdir, "--set", "loss.name=hinge"))
        assert statuses == [2, 2], said
        assert all("loss.name: 'wgan_gp' -> 'hinge'" in output for output in said)
        assert not any("Traceback" in output for output in said)


FAILING_ONCE = """
from pggan_jax.evaluation.evaluator import Evaluator
measure, failed = Evaluator.__call__, []
def fail_once(evaluator, fakes):
    if not failed:
        failed.append(1)
        raise OSError(5, "Input/output error", "reals.bin")
    return measure(evaluator, fakes)
Evaluator.__call__ = fail_once
"""


@pytest.mark.slow
class TestMeasuring:
    """Only the first process measures."""

    def test_what_cannot_be_measured_stops_both_before_training(self, tmp_path):
        workdir = tmp_path / "run"
        processes = start(workdir, "--set", "eval.metrics=fid", PGGAN_INCEPTION_WEIGHTS="")
        statuses, said = finish(workdir, processes)
        assert statuses == [2, 2], said
        assert all("eval.metrics = 'fid': cannot be measured while training: this metric needs" in one for one in said)
        assert not any("Traceback" in one or "compiling" in one for one in said)
        assert [path.name for path in workdir.iterdir()] == ["lock"]

    def test_one_that_fails_stops_neither(self, tmp_path):
        workdir, hook = tmp_path / "run", tmp_path / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(FAILING_ONCE)
        settings = ("eval.metrics=swd_small", "eval.ticks=1", "eval.num_images=64", "schedule.total_kimg=1.2")
        flags = [word for one in settings for word in ("--set", one)]
        processes = start(workdir, *flags, PYTHONPATH=f"{hook}:{ROOT}")
        statuses, said = finish(workdir, processes)
        assert statuses == [0, 0], said
        log = (workdir / "log.txt").read_text()
        assert log.count("WARNING: going on without measuring at kimg 1.0: reals.bin: Input/output error\n") == 1
        assert ["metric_swd_small" in record for record in stats(workdir)] == [False, True]
        assert (workdir / "metric-swd_small.jsonl").read_text().count("\n") == 1


def wait_for(log, words, processes):
    """Until the log has these words; fails if a process ends before."""
    end = time.monotonic() + TIMEOUT
    while words not in (log.read_text() if log.exists() else ""):
        assert all(process.poll() is None for process in processes), "ended too soon"
        assert time.monotonic() < end
        time.sleep(0.02)


LONGER = ("--set", "schedule.fade_kimg=40", "--set", "schedule.total_kimg=3.5")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    statuses, said = finish(workdir, start(workdir, *LONGER))
    assert statuses == [0, 0], said
    assert "growing to 8x8" in said[0]
    return workdir


@pytest.mark.slow
class TestALostProcess:
    @pytest.mark.parametrize("victim", [1, 0])
    def test_the_other_stops_in_time_and_both_continue(self, undisturbed, tmp_path, victim):
        """Killed in mid-fade, after a checkpoint: the survivor says so within a minute, and the end is that of one process."""
        workdir, survivor = tmp_path / "run", 1 - victim
        processes = start(workdir, *LONGER)
        wait_for(workdir / "log.txt", "tick 2 ", processes)
        processes[victim].kill()
        killed_at = time.monotonic()
        status = processes[survivor].wait(60)
        assert time.monotonic() - killed_at < 60
        _, said = finish(workdir, processes)
        # Where process 0, the coordinator, is lost, JAX's own thread may abort the survivor before its step fails.
        is_ended_by_jax = victim == 0 and status == -signal.SIGABRT
        if not is_ended_by_jax:
            assert status == EXIT_LOST_PROCESS, said[survivor]
            assert f"error: process {survivor} of 2 exits, as another process is lost or cannot be reached" in said[survivor]
            assert "start all processes again with the same commands" in said[survivor]
            assert "Traceback" not in said[survivor]

        statuses, said = finish(workdir, start(workdir, *LONGER))
        assert statuses == [0, 0], said
        assert "continuing at kimg " in said[0]
        assert digest(workdir) == digest(undisturbed)
        assert lasting(stats(workdir)) == lasting(stats(undisturbed))


def slurm(number, job):
    """What SLURM sets for each process."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "localhost",
    }


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_by_both(undisturbed, tmp_path):
    workdir = copy_of(undisturbed, tmp_path)
    newest = load_trained_model(workdir).metadata.images_seen
    truncate(workdir / "checkpoints" / str(newest))
    statuses, said = finish(workdir, start(workdir, *LONGER))
    assert statuses == [0, 0], said
    assert f"/damaged_checkpoints/{newest}" in said[0]
    assert digest(workdir) == digest(undisturbed)


@pytest.mark.slow
def test_a_cluster_gives_the_processes_their_numbers(tmp_path):
    """A simulated SLURM; the job's number gives the port."""
    workdir = tmp_path / "run"
    flags = ["--cluster", "--set", "schedule.stable_kimg=0.08", "--set", "schedule.fade_kimg=0.08", f"--workdir={workdir}"]
    job, processes = free_port(), []
    for number in range(2):
        env = environment() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} | slurm(number, job)
        output = (tmp_path / f"output{number}.txt").open("w")
        command = [sys.executable, "launch.py", *small_flags(), *flags]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT))
    statuses, said = finish(workdir, processes)
    assert statuses == [0, 0], said
    assert "4 x cpu on 2 hosts" in said[0]
    assert load_trained_model(workdir).metadata.images_seen == 240


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cluster", "--num_processes=2"], "--cluster reads --coordinator, --num_processes and --process_id from"),
        (["--cluster", "--coordinator=localhost:1", "--num_processes=2", "--process_id=0"], "remove these flags"),
        (["--coordinator=localhost:1", "--num_processes=2"], "a run over several hosts needs all of --coordinator=HOST:PORT"),
        (["--num_processes=2", "--process_id=2", "--coordinator=localhost:1"], "--process_id=2: must be from 0 to 1"),
        (["--cluster"], "--cluster: cannot join the processes: "),
    ],
)
def test_flags_that_do_not_fit_are_one_line(tmp_path, flags, words):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "KUBERNETES"))}
    command = [sys.executable, "launch.py", *small_flags(), f"--workdir={tmp_path / 'run'}", *flags]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
