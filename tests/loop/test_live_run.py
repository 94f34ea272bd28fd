"""Evaluation beside a run that trains: checkpoints that vanish, appear or are half removed while others are read."""

from __future__ import annotations

import json
import shutil
import threading
import time
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
import pytest
from PIL import Image

from pggan_jax.checkpointing import trained_model
from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader, open_singles
from pggan_jax.errors import UserError
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import RealPool
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.images import image_shape
from tests.helpers.command_line import one_line_error
from tests.helpers.damage import flip_bytes, zero_bytes
from tests.helpers.runs import (
    FIRST_TICK,
    TOTAL,
    copy_of,
    run_small,
    small_config,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
EVALUATE = "--metrics=swd_small", "--num_images=40", "--nofloor", "--checkpoint=all"


def records(folder, metric="swd_small"):
    return [json.loads(line) for line in (folder / f"metric-{metric}.jsonl").read_text().splitlines()]


def before_reading(monkeypatch, change):
    """Call `change` with the images seen of each checkpoint that is about to be read."""
    restore = Checkpoints.restore

    def restore_after(checkpoints, images_seen, abstract_state):
        change(images_seen)
        return restore(checkpoints, images_seen, abstract_state)

    monkeypatch.setattr(Checkpoints, "restore", restore_after)


def remove_slowly(folder):
    """As a run removes a checkpoint, file by file; the metadata is gone when this returns."""
    metadata = folder / "position" / "metadata"
    files = [metadata, *(path for path in folder.rglob("*") if path.is_file() and path != metadata)]
    files[0].unlink()

    def rest():
        for file in files[1:]:
            time.sleep(0.05)
            file.unlink()
        shutil.rmtree(folder)

    thread = threading.Thread(target=rest)
    thread.start()
    return thread


class TestRemovedMeanwhile:
    @pytest.mark.parametrize("remove", [shutil.rmtree, remove_slowly])
    @pytest.mark.parametrize("command", ["evaluate", "inspect"])
    def test_is_said_and_the_rest_is_evaluated(self, launch, finished, tmp_path, monkeypatch, command, remove):
        workdir = copy_of(finished, tmp_path)
        gone, removing = workdir / "checkpoints" / str(FIRST_TICK), []
        before_reading(monkeypatch, lambda seen: removing.append(remove(gone)) if seen == FIRST_TICK else None)
        more = EVALUATE if command == "evaluate" else ("--json",)
        status, out, err = launch(command, f"--workdir={workdir}", *more)
        for thread in filter(None, removing):
            thread.join()
        assert status == 0
        assert err.startswith(f"note: {gone}: was removed before it was read")
        assert err.count("\n") == 1, err
        listed = [json.loads(out)] if command == "inspect" else records(workdir)
        assert [one["images_seen"] for one in listed] == [TOTAL]

    def test_where_all_are_gone_nothing_is_pretended(self, launch, finished, tmp_path, monkeypatch):
        workdir = copy_of(finished, tmp_path)
        before_reading(monkeypatch, lambda seen: shutil.rmtree(workdir / "checkpoints" / str(seen)))
        status, _, err = launch("evaluate", f"--workdir={workdir}", *EVALUATE)
        assert status == 2
        assert err.splitlines()[-1].startswith(f"error: {workdir}/checkpoints: has no checkpoint any more")

    def test_of_a_run_that_is_faster_the_newest_is_evaluated(self, launch, finished, tmp_path, monkeypatch):
        workdir, reads = copy_of(finished, tmp_path), []
        kept = (workdir / "checkpoints" / str(TOTAL)).rename(tmp_path / "kept")

        def go_on(seen):
            reads.append(seen)
            if seen == FIRST_TICK:
                shutil.rmtree(workdir / "checkpoints" / str(seen))
                shutil.copytree(kept, workdir / "checkpoints" / str(TOTAL - 1))
            elif seen == TOTAL - 1:
                shutil.rmtree(workdir / "checkpoints" / str(seen))
                kept.rename(workdir / "checkpoints" / str(TOTAL))

        before_reading(monkeypatch, go_on)
        status, _, err = launch("evaluate", f"--workdir={workdir}", *EVALUATE)
        assert (status, err.count("note: ")) == (0, 2)
        assert reads == [FIRST_TICK, TOTAL - 1, TOTAL]
        assert [record["images_seen"] for record in records(workdir)] == [TOTAL]

    def test_the_newest_is_another_one_then(self, finished, tmp_path, monkeypatch):
        """A run with run.keep_last=1 removes the newest as soon as the next is there."""
        workdir = copy_of(finished, tmp_path)
        newest, kept = workdir / "checkpoints" / str(TOTAL), tmp_path / "kept"
        newest.rename(kept)

        def go_on(seen):
            if seen == FIRST_TICK:
                shutil.rmtree(workdir / "checkpoints" / str(seen))
                kept.rename(newest)

        before_reading(monkeypatch, go_on)
        assert load_trained_model(workdir).metadata.images_seen == TOTAL

    def test_one_asked_for_by_its_kimg_is_missed(self, launch, finished, tmp_path, monkeypatch):
        workdir = copy_of(finished, tmp_path)
        before_reading(monkeypatch, lambda seen: shutil.rmtree(workdir / "checkpoints" / str(seen)))
        status, _, err = launch("evaluate", f"--workdir={workdir}", *EVALUATE[:-1], "--checkpoint=1.008")
        assert status == 2
        assert "/1008: was removed before it was read" in err

    def test_while_the_folder_is_opened(self, finished, monkeypatch):
        """Orbax reads something of every checkpoint on the way."""
        opened, fails = Checkpoints.__init__, [FileNotFoundError(2, "No such file or directory")]

        def open_after_failing(*arguments, **options):
            if fails:
                raise fails.pop()
            opened(*arguments, **options)

        monkeypatch.setattr(Checkpoints, "__init__", open_after_failing)
        assert load_trained_model(finished).metadata.images_seen == TOTAL


class TestWrittenMeanwhile:
    @pytest.mark.parametrize("command", ["evaluate", "inspect"])
    def test_is_judged_at_the_end(self, launch, finished, tmp_path, monkeypatch, command):
        workdir = copy_of(finished, tmp_path)
        newest, kept = workdir / "checkpoints" / str(TOTAL), tmp_path / "kept"
        newest.rename(kept)
        # Half-written ones have such names.
        (workdir / "checkpoints" / f"{TOTAL}.orbax-checkpoint-tmp").mkdir()
        before_reading(monkeypatch, lambda seen: kept.rename(newest) if seen == FIRST_TICK else None)
        status, out, err = launch(command, f"--workdir={workdir}", *(EVALUATE if command == "evaluate" else ["--json"]))
        assert (status, err) == (0, "")
        listed = [json.loads(line) for line in out.splitlines()] if command == "inspect" else records(workdir)
        assert [one["images_seen"] for one in listed] == [FIRST_TICK, TOTAL]

    def test_does_not_go_on_for_ever(self, launch, finished, tmp_path, monkeypatch):
        """A run may write checkpoints faster than they are evaluated."""
        workdir, written = copy_of(finished, tmp_path), []

        def write(_seen):
            written.append(workdir / "checkpoints" / str(TOTAL + 1 + len(written)))
            assert len(written) < 9
            shutil.copytree(workdir / "checkpoints" / str(TOTAL), written[-1])

        before_reading(monkeypatch, write)
        launch("inspect", f"--workdir={workdir}")
        assert len(written) == 4


class TestDamaged:
    @pytest.mark.parametrize("damage", [flip_bytes, zero_bytes])
    def test_among_all_is_named_and_the_rest_is_evaluated(self, launch, finished, tmp_path, damage):
        workdir = copy_of(finished, tmp_path)
        damage(workdir / "checkpoints" / str(FIRST_TICK))
        status, _, err = launch("evaluate", f"--workdir={workdir}", *EVALUATE)
        assert status == 1
        assert err.startswith(f"error: {workdir}/checkpoints/{FIRST_TICK}: cannot be restored (")
        assert err.count("\n") == 1
        assert [record["images_seen"] for record in records(workdir)] == [TOTAL]


@pytest.mark.parametrize("command", ["evaluate", "inspect", "sample"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_checkpoints_are_closed_whatever_happens(launch, finished, tmp_path, monkeypatch, command, error):
    closed, close = [], Checkpoints.close

    def note_close(checkpoints):
        closed.append(checkpoints)
        close(checkpoints)

    def fail(_images_seen):
        raise error

    monkeypatch.setattr(Checkpoints, "close", note_close)
    before_reading(monkeypatch, fail)
    more = EVALUATE if command == "evaluate" else ("--seeds=1", f"--out={tmp_path}/out") if command == "sample" else ()
    if error is KeyboardInterrupt:
        assert launch(command, f"--workdir={finished}", *more)[0] == 130
    else:
        with pytest.raises(error):
            launch(command, f"--workdir={finished}", *more)
    assert len(closed) == 1


def test_checkpoints_are_closed_where_there_are_none(launch, finished, tmp_path, monkeypatch):
    closed, close = [], Checkpoints.close
    monkeypatch.setattr(Checkpoints, "close", lambda checkpoints: closed.append(checkpoints) or close(checkpoints))
    workdir = copy_of(finished, tmp_path)
    for folder in (workdir / "checkpoints").glob("[0-9]*"):
        shutil.rmtree(folder)
    assert "has no checkpoint yet" in one_line_error(launch("inspect", f"--workdir={workdir}"))
    assert len(closed) == 1


def test_all_checkpoints_share_what_is_compiled(launch, finished, tmp_path):
    """The second checkpoint at one resolution compiles nothing."""
    compiled: dict[int, list[str]] = {}
    evaluated = []

    def note(event, _seconds, *, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.setdefault(len(evaluated), []).append(fun_name)

    read_checkpoint = trained_model.read_checkpoint

    def note_reading(config, checkpoints, *, images_seen):
        evaluated.append(images_seen)
        return read_checkpoint(config, checkpoints, images_seen=images_seen)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        with mock.patch.object(trained_model, "read_checkpoint", note_reading):
            metrics = "--metrics=swd_small,neighbors"
            assert launch("evaluate", f"--workdir={finished}", *EVALUATE, metrics, f"--out={tmp_path}")[0] == 0
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert evaluated == [FIRST_TICK, TOTAL]
    assert compiled.keys() == {1}, compiled


class TestModesByCommand:
    """Greys of 28x28 with labels, stacked and padded to 32x32 as in the stacked-MNIST experiment."""

    @pytest.fixture
    def digits(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PGGAN_JAX_CACHE", str(tmp_path / "cache"))
        loader = open_loader(DataConfig("digits", 32, labels=True), seed=0)
        rows = np.arange(150)
        for number, pixels, label in zip(rows, loader.images(32, rows), loader.class_table()[rows], strict=True):
            folder = tmp_path / "digits" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[2:30, 2:30, 0]).save(folder / f"{number:04d}.png")
        return tmp_path / "digits"

    def config(self, digits):
        data = {"data__source": f"stacked:folder:{digits}", "data__resolution": 32, "data__crop": "pad"}
        data |= {"data__channels": 3, "data__max_images": 64}
        length = {"schedule__start_resolution": 16, "schedule__stable_kimg": 0.16, "schedule__total_kimg": 0.16}
        return small_config(**data | length, run__grid="2x2")

    @pytest.mark.slow
    def test_of_a_checkpoint_below_the_full_resolution(self, launch, digits, tmp_path):
        """Of 16x16 pixels, which images of 28x28 cannot be padded to."""
        assert run_small(tmp_path / "run", self.config(digits), shared=False)
        words = f"--workdir={tmp_path / 'run'}", "--metrics=modes", "--num_images=40", "--checkpoint=all"
        status, _, err = launch("evaluate", *words)
        assert (status, err) == (0, "")
        (record,) = records(tmp_path / "run", "modes")
        assert record["resolution"] == 16
        assert 1 <= record["values"]["modes"] <= 40
        assert record["values"]["classifier_accuracy"] > 0.8, "it sees whole digits, as the run does"

    def test_its_reader_sees_what_is_stacked(self, digits):
        data = self.config(digits).data
        stacks, singles = open_loader(data, seed=0), open_singles(data, seed=0)
        for side in (4, 16, 32):
            known = {image.tobytes() for image in singles.level(side)}
            assert all(stack[..., colour].tobytes() in known for stack in stacks.level(side)[:20] for colour in range(3))

    def test_sources_that_are_no_digits(self, tmp_path):
        for number in range(11):
            (tmp_path / "eleven" / str(number)).mkdir(parents=True)
            Image.new("L", (28, 28), number).save(tmp_path / "eleven" / str(number) / "0.png")
        (tmp_path / "none").mkdir()
        shutil.copy(tmp_path / "eleven/0/0.png", tmp_path / "none")
        for name, count in (("eleven", "11"), ("none", "no")):
            reals = RealPool(SimpleNamespace(shape_at=image_shape, representation=None), 32, 0)
            context = MetricContext(reals, DataConfig(f"stacked:folder:{tmp_path / name}", 32))
            with pytest.raises(UserError, match=f"{tmp_path / name} has {count} classes; name a source"):
                Evaluator(["modes"], context)
