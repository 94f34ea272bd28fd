"""What checkpoints record of their data: other images, labels or classes are refused with the difference, equal ones go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest

from pggan_jax.checkpointing import provenance
from pggan_jax.checkpointing.metadata import CheckpointMetadata, read_metadata
from pggan_jax.checkpointing.provenance import check_data, store_data
from pggan_jax.config.io import to_json
from pggan_jax.data.data_record import DataRecord, create_record, differences, image_checksums
from pggan_jax.data.loader import Loader
from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.data.pyramid import Pyramid, level_shapes
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.run_logs.workdir import Workdir
from tests.helpers.runs import (
    copy_of,
    finished_labelled_run,
    labelled_config,
    run_small,
    small_config,
    small_loader,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
SOURCE = "folder:/data/animals"


def make_pyramid(count=60, names=("cats", "dogs", "owls"), *, seed=0, resolution=8):
    random = np.random.default_rng(seed)
    levels = {size: random.integers(0, 256, (count, *shape, 3), np.uint8) for size, shape in level_shapes(resolution).items()}
    return Pyramid(levels, (np.arange(count) % max(len(names), 1)).astype(np.int32), names)


def exchanged(pyramid, rows, size):
    """With other pixels in some rows of one level."""
    level = pyramid.levels[size].copy()
    level[rows] ^= 1
    return replace(pyramid, levels={**pyramid.levels, size: level})


def loader_of(pyramid, *, use_labels=True):
    return Loader(pyramid, seed=0, use_labels=use_labels)


@pytest.fixture
def make_run(tmp_path):
    """Makes a workdir with data.npz, and a checkpoint's metadata that records some data."""

    def make(pyramid, *, use_labels=True, is_recorded=True, has_side_file=True, held_out=0.0):
        paths, loader = Workdir(tmp_path / "run"), Loader(pyramid, seed=0, use_labels=use_labels, held_out=held_out)
        metadata = CheckpointMetadata(160, 8, 1.0, loader.channels, loader.label_size)
        if is_recorded:
            metadata = replace(metadata, data=loader.record().to_json())
        paths.path.mkdir()
        if has_side_file:
            store_data(paths, loader)
        return Run(paths, metadata)

    return make


class Run(NamedTuple):
    paths: Workdir
    metadata: CheckpointMetadata | None


def check(run, loader, *, source=SOURCE, is_accepted=False):
    return check_data(run.metadata, loader, stored=run.paths.data, source=source, is_accepted=is_accepted)


def refusal(run, loader, **options):
    with pytest.raises(UserError) as caught:
        check(run, loader, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= 300
    return message


CHANGES = [
    pytest.param(lambda old: exchanged(old, range(10), 8), "10 of 60 images differ", id="pixels of the largest level"),
    pytest.param(lambda old: exchanged(old, range(10), 4), "images differ at 4x4", id="pixels of another level"),
    pytest.param(lambda old: exchanged(old, [59], 8), "1 of 60 images differ", id="one image"),
    pytest.param(lambda old: make_pyramid(seed=1), "60 of 60 images differ", id="all images"),
    pytest.param(lambda old: make_pyramid(63), "63 images, was 60", id="more images"),
    pytest.param(
        lambda old: replace(old, class_names=("dogs", "owls", "zcats"), classes=(old.classes + 2) % 3),
        "class 0 is 'dogs', was 'cats', and 2 more changed",
        id="a renamed folder",
    ),
    pytest.param(
        lambda old: replace(old, classes=np.where(np.arange(60) < 2, 2, old.classes).astype(np.int32)),
        "the class of 2 of 60 images differs",
        id="labels",
    ),
    pytest.param(
        lambda old: replace(old, levels={size: level[::-1] for size, level in old.levels.items()}, classes=old.classes[::-1]),
        "60 of 60 images are in another order",
        id="order",
    ),
]


class TestOtherData:
    @pytest.mark.parametrize(("change", "words"), CHANGES)
    def test_is_refused_with_the_difference_and_goes_on_if_accepted(self, make_run, change, words):
        old = make_pyramid()
        run, other = make_run(old), loader_of(change(old))
        message = refusal(run, other)
        assert words in message
        assert "--allow_data_change" in message
        assert SOURCE in message
        lines = check(run, other, is_accepted=True)
        assert any(line.startswith("data changed: ") and words in line for line in lines)

    @pytest.mark.parametrize(("change", "words"), CHANGES)
    def test_is_noticed_by_the_checkpoint_alone(self, make_run, change, words):
        old = make_pyramid()
        assert "--allow_data_change" in refusal(make_run(old, has_side_file=False), loader_of(change(old)))

    @pytest.mark.parametrize("content", [b"", b"PK damaged", b"\0" * 100])
    def test_a_damaged_side_file_hides_nothing(self, make_run, content):
        old = make_pyramid()
        run = make_run(old)
        run.paths.data.write_bytes(content)
        assert check(run, loader_of(old)) == []
        assert "images differ at 8x8" in refusal(run, loader_of(exchanged(old, [0], 8)))

    def test_accepted_once_means_accepted_before_the_next_checkpoint(self, make_run):
        old = make_pyramid()
        run, other = make_run(old), loader_of(exchanged(old, [3], 8))
        check(run, other, is_accepted=True)
        store_data(run.paths, other)
        assert check(run, other) == []
        assert check(run, loader_of(old)) == []
        refusal(run, loader_of(exchanged(old, [4], 8)))

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (("cats", "dogs", "owls", "zebras"), "one class more: 'zebras' (4 classes, was 3)"),
            (("cats", "dogs"), "one class fewer: 'owls' (2 classes, was 3)"),
            ((), "3 classes fewer (no classes, was 3)"),
        ],
    )
    @pytest.mark.parametrize("is_accepted", [False, True])
    def test_another_number_of_classes_fits_no_network(self, make_run, names, words, is_accepted):
        run, other = make_run(make_pyramid()), loader_of(make_pyramid(names=names), use_labels=bool(names))
        message = refusal(run, other, is_accepted=is_accepted)
        assert words in message
        assert "networks" in message
        assert "--allow_data_change" not in message

    def test_that_is_noticed_in_old_checkpoints_too(self, make_run):
        run = make_run(make_pyramid(), is_recorded=False, has_side_file=False)
        assert "one class more (4 classes, was 3)" in refusal(run, loader_of(make_pyramid(names=tuple("abcd"))))

    def test_long_names_fit_into_one_line(self, make_run):
        names = tuple(f"{letter}{'x' * 500}" for letter in "abc")
        run, other = make_run(make_pyramid(names=names)), make_pyramid(names=tuple(f"y{name}" for name in names))
        refusal(run, loader_of(other), source=f"folder:{'/long' * 100}")


class TestHeldOut:
    """Which images are held out is part of the data."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"held_out": 0.0}, "0 images held out, was 30"),
            ({"held_out": 0.3}, "18 images held out, was 30"),
            ({"held_out": 0.5, "seed": 1}, "other images are held out"),
        ],
    )
    def test_another_split_is_refused(self, make_run, change, words):
        run = make_run(make_pyramid(), held_out=0.5)
        other = Loader(make_pyramid(), **{"seed": 0, "use_labels": True, **change})
        assert words in refusal(run, other)
        assert check(run, Loader(make_pyramid(), seed=0, use_labels=True, held_out=0.5)) == []
        assert check(run, other, is_accepted=True)[0].startswith("data changed: ")

    def test_a_run_that_held_nothing_out(self, make_run):
        run = make_run(make_pyramid())
        assert "30 images held out, was 0" in refusal(run, Loader(make_pyramid(), seed=0, use_labels=True, held_out=0.5))


class TestEqualData:
    def test_labels_that_are_not_used_do_not_matter(self, make_run):
        run = make_run(make_pyramid(), use_labels=False)
        other = loader_of(make_pyramid(names=("x", "y")), use_labels=False)
        assert check(run, other) == []

    def test_classes_keep_the_recorded_order(self, make_run):
        old = make_pyramid()
        run = make_run(old)
        new_order = old.in_class_order(("owls", "cats", "dogs"))
        assert new_order.classes.tolist() != old.classes.tolist()
        loader = loader_of(new_order)
        (line,) = check(run, loader)
        assert "keep the order" in line
        assert loader.class_names == old.class_names
        np.testing.assert_array_equal(loader.class_table(), old.classes)

    def test_old_checkpoints_go_on_once_with_the_order_of_their_time(self, make_run):
        old = make_pyramid(names=("1", "10", "2"))
        run = make_run(old, is_recorded=False, has_side_file=False)
        loader = loader_of(replace(old.in_class_order(("1", "2", "10")), former_class_names=("1", "10", "2")))
        lines = check(run, loader)
        assert any("does not record its data" in line for line in lines)
        np.testing.assert_array_equal(loader.class_table(), old.classes)
        store_data(run.paths, loader)
        assert check(run, loader_of(old)) == []

    def test_a_prepared_folder_that_has_moved(self, make_run, tmp_path):
        from pggan_jax.data.preparation.prepare import prepare
        from pggan_jax.data.preparation.spec import PreparationSpec

        source = open_source("synthetic:20", resolution=8)
        first = prepare(source, PreparationSpec(8), folder=tmp_path / "first", workers=0, progress=False).pyramid(8)
        run = make_run(first)
        shutil.move(tmp_path / "first", tmp_path / "moved")
        moved = open_prepared(tmp_path / "moved").pyramid(8)
        assert check(run, loader_of(moved), source="prepared:moved") == []
        # A part of it is read to compare.
        part = open_prepared(tmp_path / "moved").pyramid(8, 15)
        assert "15 images, was 20 (0 new, 5 gone)" in refusal(run, loader_of(part))
        source = open_source("synthetic:20:7", resolution=8)
        other = prepare(source, PreparationSpec(8), folder=tmp_path / "other", workers=0, progress=False).pyramid(8)
        assert "20 of 20 images differ" in refusal(run, loader_of(other))

    def test_a_record_does_not_depend_on_whether_checksums_are_stored(self):
        pyramid = make_pyramid()
        record = create_record(pyramid, use_labels=True)
        stored = replace(pyramid, checksums={size: int(record.levels[str(size)], 16) for size in pyramid.levels})
        assert create_record(stored, use_labels=True) == record
        wrong = replace(pyramid, checksums=dict.fromkeys(pyramid.levels, 7))
        assert differences(record, create_record(wrong, use_labels=True)) == ["images differ at 4x4, 8x8"]
        with mock.patch("pggan_jax.data.data_record.READ_BYTES", 0):
            assert image_checksums(pyramid).resolution == 4

    def test_records_survive_json(self):
        record = create_record(make_pyramid(), use_labels=True)
        assert DataRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
        assert DataRecord.from_json({}) is None
        assert DataRecord.from_json({**record.to_json(), "images": "many"}) is None

    def test_classes_without_images_are_logged_at_the_start(self, tmp_path):
        pyramid = replace(make_pyramid(names=("0", "1", "2")), classes=np.full(60, 1, np.int32))
        (line,) = check(Run(Workdir(tmp_path), None), loader_of(pyramid))
        assert line == "2 of 3 classes have no images and are never drawn: 0 ('0'), 2 ('2')"


class TestInARun:
    def train(self, workdir, loader, *, stop_at=None, config=None, **options):
        with mock.patch("tests.helpers.runs.small_loader", return_value=loader):
            return run_small(workdir, config or labelled_config(), stop_at=stop_at, **options)

    def digits(self, rows=()):
        config = labelled_config()
        pyramid = small_loader(config.data, config.run.seed)._pyramid
        return Loader(exchanged(pyramid, list(rows), 4), seed=config.run.seed, use_labels=True)

    def test_from_command_to_checkpoint(self, tmp_path):
        workdir = tmp_path / "run"
        assert not self.train(workdir, self.digits(), stop_at=32)
        other = self.digits(range(10))
        with pytest.raises(UserError, match=r"10 of 1,797 images differ; .*--allow_data_change"):
            self.train(workdir, other)
        assert not self.train(workdir, other, stop_at=64, allow_data_change=True)
        assert "data changed: 10 of 1,797 images differ" in (workdir / "log.txt").read_text()
        (workdir / "data.npz").unlink(missing_ok=True)
        newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdecimal() else 0)
        metadata = read_metadata(newest)
        assert metadata.data_record == other.record()
        assert metadata.data_record.class_names == list("0123456789")
        assert json.loads(metadata.settings)["data"]["labels"] is True
        assert metadata.arithmetic["jax"]
        assert self.train(workdir, other)

    def test_other_software_is_a_warning(self, tmp_path, tmp_path_factory):
        workdir = copy_of(finished_labelled_run(tmp_path_factory.getbasetemp()), tmp_path)
        assert self.train(workdir, self.digits())
        assert "WARNING" not in (workdir / "log.txt").read_text()
        described = provenance.describe_arithmetic() | {"jax": "9.9.9"}
        with mock.patch.object(provenance, "describe_arithmetic", return_value=described):
            assert self.train(workdir, self.digits())
        (line,) = [line for line in (workdir / "log.txt").read_text().splitlines() if "WARNING" in line]
        assert "-> '9.9.9'" in line

    def test_other_data_are_refused_before_a_damaged_checkpoint_is_moved(self, labelled, tmp_path):
        workdir = copy_of(labelled, tmp_path)
        shutil.copytree(workdir / "checkpoints" / "160", workdir / "checkpoints" / "320")
        with pytest.raises(UserError, match="images differ"):
            self.train(workdir, self.digits(range(10)))
        assert (workdir / "checkpoints" / "320").is_dir()
        assert self.train(workdir, self.digits())
        assert (workdir / "damaged_checkpoints" / "320").is_dir()

    def test_settings_changed_by_hand_are_logged(self, tmp_path, tmp_path_factory):
        workdir = copy_of(finished_labelled_run(tmp_path_factory.getbasetemp()), tmp_path)
        config = replace(labelled_config(), run=replace(labelled_config().run, keep_last=7))
        (workdir / "config.json").write_text(to_json(config))
        assert self.train(workdir, self.digits(), config=config)
        assert "settings of the checkpoint differ" in (workdir / "log.txt").read_text()

    @pytest.mark.parametrize(
        ("setting", "value", "words"),
        [("data__labels", False, "10 classes fewer"), ("data__channels", 3, r"3 colour channel\(s\), was 1")],
    )
    def test_settings_that_make_other_networks(self, tmp_path, tmp_path_factory, setting, value, words):
        workdir = copy_of(finished_labelled_run(tmp_path_factory.getbasetemp()), tmp_path)
        changes = {"data__resolution": 4, "data__labels": True, "schedule__stable_kimg": 0.16} | {setting: value}
        with pytest.raises(UserError, match=words):
            run_small(workdir, small_config(**changes), allow_config_change=True)
        assert run_small(workdir, labelled_config())

    @pytest.mark.parametrize(
        ("changes", "accepts"),
        [
            ([], False),
            (["data.resolution: 8 -> 16"], True),
            (["sound.level: 'keep' -> 'peak'"], True),
            (["sound.level: 'keep' -> 'peak'", "data.source: 'a' -> 'b'"], False),
            (["run.seed: 1 -> 2"], False),
            (["data.source: 'a' -> 'b'"], False),
            (["data.source: 'a' -> 'b'", "data.crop: 'center' -> 'pad'"], False),
        ],
    )
    def test_what_an_accepted_setting_accepts(self, changes, accepts):
        assert provenance.accepts_data_change(changes) is accepts
