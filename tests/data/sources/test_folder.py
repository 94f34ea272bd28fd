"""Folders: all images in order with their classes; a reason and a remedy for unreadable files."""

import json
import os
import pickle
import socket
from functools import partial
from pathlib import Path

import pytest

from pggan_jax.data.sources import file_collection
from pggan_jax.data.sources.folder import FolderSource
from tests.helpers import source_reasons
from tests.helpers.source_reasons import reason_for


def fill(folder, *names):
    """Files that hold their own name. A source hands out bytes, so that images are not needed."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names_of(source):
    return [source.item_name(index) for index in range(len(source))]


def labels_of(source):
    return [source.label(index) for index in range(len(source))]


refusal_of = partial(source_reasons.refusal_of, FolderSource, kind="folder")


class TestListing:
    def test_sorted_by_path_from_all_depths(self, tmp_path):
        names = ["a-b/1.png", "a.png", "a/1.bmp", "a/deep/er/2.PNG", "b.gif", "z/3.tif", "z0.webp"]
        fill(
            tmp_path,
            *names,
            "notes.txt",
            "a/info.json",
            ".hidden.png",
            ".thumbnails/a.png",
            "__MACOSX/a.png",
            "@eaDir/b.jpg/c.jpg",
        )
        source = FolderSource(str(tmp_path))
        assert names_of(source) == sorted(names)
        assert [source.read(index).decode() for index in range(len(source))] == sorted(names)
        assert (source.channels, source.class_names, source.problems) == (3, (), ())
        assert source.name == f"folder:{tmp_path}"

    def test_a_folder_named_like_an_image_is_a_folder(self, tmp_path):
        fill(tmp_path, "clip.gif/1.png", "2.png")
        assert names_of(FolderSource(str(tmp_path))) == ["2.png", "clip.gif/1.png"]

    def test_home_and_relative_paths(self, tmp_path, monkeypatch):
        fill(tmp_path, "faces/1.png")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert len(FolderSource("~/faces")) == 1
        monkeypatch.chdir(tmp_path)
        source = FolderSource("faces")
        monkeypatch.chdir("/")
        assert source.read(0) == b"faces/1.png"

    def test_images_of_unknown_formats_are_problems(self, tmp_path):
        fill(tmp_path, "1.png", "2.heic", "a/3.HEIC", "4.txt")
        assert FolderSource(str(tmp_path)).problems == (
            "2 files end in .heic, which cannot be read (such as 2.heic); convert them to PNG or JPEG",
        )

    def test_a_folder_that_cannot_be_listed_is_a_problem(self, tmp_path, monkeypatch):
        fill(tmp_path, "1.png", "closed/2.png")
        scandir = os.scandir

        def refuse_closed(path):
            if path.rstrip(b"/").endswith(b"closed"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse_closed)
        source = FolderSource(str(tmp_path))
        assert names_of(source) == ["1.png"]
        assert source.problems == ("closed/ cannot be listed (Permission denied); allow it with chmod +rx or remove it",)


class TestLinks:
    def test_files_and_folders_elsewhere_are_followed(self, tmp_path):
        fill(tmp_path / "store", "cat/1.png", "2.png")
        fill(tmp_path / "images", "dog/3.png")
        (tmp_path / "images/cat").symlink_to(tmp_path / "store/cat")
        (tmp_path / "images/dog/2.png").symlink_to(tmp_path / "store/2.png")
        source = FolderSource(str(tmp_path / "images"))
        assert names_of(source) == ["cat/1.png", "dog/2.png", "dog/3.png"]
        assert [source.read(index) for index in range(3)] == [b"cat/1.png", b"2.png", b"dog/3.png"]

    def test_circles_end(self, tmp_path):
        fill(tmp_path, "a/1.png", "b/2.png")
        for link, target in [("a/up", "."), ("a/b", "b"), ("b/a", "a"), ("a/self", "a")]:
            (tmp_path / link).symlink_to(tmp_path / target)
        assert names_of(FolderSource(str(tmp_path))) == ["a/1.png", "b/2.png"]

    def test_circles_outside_end(self, tmp_path):
        fill(tmp_path / "out", "1.png", "deep/2.png")
        (tmp_path / "out/deep/back").symlink_to(tmp_path / "out")
        (tmp_path / "in").mkdir()
        (tmp_path / "in/link").symlink_to(tmp_path / "out")
        (tmp_path / "in/other").symlink_to(tmp_path / "out")
        (tmp_path / "out/in").symlink_to(tmp_path / "in")
        assert names_of(FolderSource(str(tmp_path / "in"))) == ["link/1.png", "link/deep/2.png"]

    def test_an_image_keeps_its_own_class_beside_a_link_to_it(self, tmp_path):
        fill(tmp_path, "dog/1.png", "cat/2.png")
        (tmp_path / "animals").symlink_to(tmp_path / "dog")
        source = FolderSource(str(tmp_path))
        assert names_of(source) == ["cat/2.png", "dog/1.png"]
        assert source.class_names == ("cat", "dog")

    def test_what_only_a_link_shows_is_listed(self, tmp_path):
        fill(tmp_path, ".store/1.png")
        (tmp_path / "cat").symlink_to(tmp_path / ".store")
        assert names_of(FolderSource(str(tmp_path))) == ["cat/1.png"]

    def test_a_linked_top_folder(self, tmp_path):
        fill(tmp_path / "real", "1.png")
        (tmp_path / "link").symlink_to("real")
        assert names_of(FolderSource(str(tmp_path / "link"))) == ["1.png"]


class TestForeignNames:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = os.fsencode(tmp_path) + b"/\xe9t\xe9"
        for name in (b"\xff/1.png", b"ok/line\n2.png"):
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path))
            with open(path, "wb") as file:
                file.write(b"content of " + name)
        return os.fsdecode(folder)

    def test_they_are_read_and_printed(self, folder):
        source = FolderSource(folder)
        assert names_of(source) == ["ok/line\\n2.png", "\\xff/1.png"]
        assert source.class_names == ("ok", "\\xff")
        assert source.read(1) == b"content of \xff/1.png"
        for text in (source.name, *source.class_names, *names_of(source)):
            text.encode()
            assert text.isprintable()

    def test_they_are_labelled_by_dataset_json(self, folder):
        entries = [["\udcff/1.png", 1], ["ok/line\n2.png", 2]]
        with open(os.path.join(folder, "dataset.json"), "w") as file:
            json.dump({"labels": entries}, file)
        assert labels_of(FolderSource(folder)) == [2, 1]

    def test_messages_can_be_printed(self, tmp_path):
        assert "no such folder" in refusal_of(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
        empty = os.fsdecode(os.fsencode(tmp_path) + b"/\xfe")
        os.makedirs(os.path.join(empty, "sub"))
        fill(Path(empty), "faces.zip")
        assert "write zip:" in refusal_of(empty)


class TestLabels:
    def test_subfolders(self, tmp_path):
        fill(tmp_path, "dog/1.png", "cat/deep/2.png", "cat/3.png")
        source = FolderSource(str(tmp_path))
        assert source.class_names == ("cat", "dog")
        assert labels_of(source) == [0, 0, 1]

    def test_dataset_json(self, tmp_path):
        fill(tmp_path, "dog/1.png", "cat/2.png", "3.png")
        (tmp_path / "dataset.json").write_text('{"labels": [["cat/2.png", 4], ["dog/1.png", 1], ["gone.png", 0]]}')
        source = FolderSource(str(tmp_path))
        assert names_of(source) == ["3.png", "cat/2.png", "dog/1.png"]
        assert labels_of(source) == [0, 4, 1]
        assert source.class_names == ("0", "1", "2", "3", "4")
        assert source.problems == ("'gone.png' has a label in dataset.json, but no such image exists",)
        assert reason_for(source) == "has no label in dataset.json; add one or remove the image"
        assert source.read(1) == b"cat/2.png"

    def test_dataset_json_of_a_large_collection(self, tmp_path):
        """It is longer than what is read of a file before its kind is known."""
        fill(tmp_path, "a.png")
        entries = [["a.png", 1], *([f"{number:050d}.png", 0] for number in range(25_000))]
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": entries}))
        assert labels_of(FolderSource(str(tmp_path))) == [1]

    def test_dataset_json_that_cannot_be_used(self, tmp_path):
        fill(tmp_path, "1.png")
        (tmp_path / "dataset.json").write_text("{")
        assert "dataset.json is not JSON" in refusal_of(tmp_path)
        (tmp_path / "dataset.json").unlink()
        (tmp_path / "dataset.json").symlink_to("nowhere")
        assert "dataset.json is a broken link" in refusal_of(tmp_path)


class TestUnusableFiles:
    @pytest.fixture
    def file(self, tmp_path):
        fill(tmp_path, "1.png")
        return tmp_path / "1.png"

    @pytest.fixture
    def source(self, file):
        return FolderSource(str(file.parent))

    def test_gone(self, file, source):
        file.unlink()
        assert "was removed" in reason_for(source)

    def test_empty(self, file, source):
        file.write_bytes(b"")
        assert "is empty (0 bytes)" in reason_for(source)

    def test_too_large(self, file, source, monkeypatch):
        monkeypatch.setattr(file_collection, "MAX_FILE_BYTES", len("1.png"))
        assert source.read(0) == b"1.png"
        monkeypatch.setattr(file_collection, "MAX_FILE_BYTES", len("1.png") - 1)
        assert "too large (5 bytes, at most 4 are read)" in reason_for(source)

    def test_a_broken_link(self, tmp_path):
        (tmp_path / "1.png").symlink_to(tmp_path / "nowhere.png")
        assert "broken link" in reason_for(FolderSource(str(tmp_path)))

    def test_a_link_to_itself(self, tmp_path):
        (tmp_path / "1.png").symlink_to(tmp_path / "1.png")
        assert "cannot be read" in reason_for(FolderSource(str(tmp_path)))

    def test_a_folder_in_its_place(self, file, source):
        file.unlink()
        file.mkdir()
        assert "is a folder" in reason_for(source)

    def test_pipes_and_sockets_are_not_waited_for(self, tmp_path, monkeypatch):
        os.mkfifo(tmp_path / "1.png")
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("2.png")
            source = FolderSource(str(tmp_path))
            assert ["pipe or a device" in reason_for(source, index) for index in range(len(source))] == [True, True]

    def test_not_permitted(self, source, monkeypatch):
        """By a stand-in, as the superuser may read everything."""

        def refuse(*_args, **_options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
        assert "chmod +r" in reason_for(source)

    def test_a_failing_disk(self, source, monkeypatch):
        def fail(*_args, **_options):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("builtins.open", fail)
        assert "cannot be read (Input/output error)" in reason_for(source)


class TestRefusals:
    def test_no_folder(self, tmp_path):
        fill(tmp_path, "a.png", "a.zip")
        assert "no such folder" in refusal_of(tmp_path / "missing")
        assert "is a file, not a folder; give" in refusal_of(tmp_path / "a.png")
        assert f"write zip:{tmp_path}/a.zip" in refusal_of(tmp_path / "a.zip")
        refusal_of("null\0byte")

    def test_a_folder_that_may_not_be_listed(self, tmp_path, monkeypatch):
        def refuse(*_args):
            raise PermissionError(13, "Permission denied")

        fill(tmp_path, "1.png")
        monkeypatch.setattr(os, "scandir", refuse)
        monkeypatch.setattr(os, "listdir", refuse)
        assert "the folder itself cannot be listed (Permission denied); allow it with chmod +rx" in refusal_of(tmp_path)

    def test_no_images(self, tmp_path):
        fill(tmp_path, "notes.txt", "deep/.hidden.png")
        assert "no image file in it or below (JPEG, PNG, WebP, BMP, GIF" in refusal_of(tmp_path)
        fill(tmp_path, "a.heic")
        assert "1 file ends in .heic" in refusal_of(tmp_path)

    @pytest.mark.parametrize(("name", "instead"), [("faces.ZIP", "zip:{}/faces.ZIP"), ("x-r08.tfrecords", "tfrecords:{}")])
    def test_other_sources(self, tmp_path, name, instead):
        fill(tmp_path, name)
        assert f"write {instead.format(tmp_path)}" in refusal_of(tmp_path)
        fill(tmp_path, "image.png")
        assert len(FolderSource(str(tmp_path))) == 1

    def test_a_prepared_folder_in_spite_of_its_mean_image(self, tmp_path):
        fill(tmp_path, "info.json", "r0004.npy", "mean.png")
        assert f"this is a prepared folder: write prepared:{tmp_path}" in refusal_of(tmp_path)


class TestCopies:
    def test_workers_read_the_same(self, tmp_path):
        fill(tmp_path, "dog/1.png", "cat/2.png")
        source = FolderSource(str(tmp_path))
        copy = pickle.loads(pickle.dumps(source))
        assert names_of(copy) == names_of(source)
        assert labels_of(copy) == labels_of(source)
        assert [copy.read(index) for index in range(2)] == [source.read(index) for index in range(2)]
        assert copy.fingerprint() == source.fingerprint()

    def test_fingerprint_follows_files_and_labels_and_not_the_folder(self, tmp_path):
        fill(tmp_path / "old", "a.png", "b.png")
        seen = [FolderSource(str(tmp_path / "old")).fingerprint()]
        (tmp_path / "old").rename(tmp_path / "new")
        new = tmp_path / "new"
        assert FolderSource(str(new)).fingerprint() == seen[0]
        changes = [
            lambda: (new / "a.png").write_bytes(b"longer than before"),
            lambda: os.utime(new / "a.png", (1, 1)),
            lambda: (new / "a.png").rename(new / "c.png"),
            lambda: (new / "b.png").unlink(),
            lambda: (new / "dataset.json").write_text('{"labels": [["c.png", 0]]}'),
            lambda: (new / "dataset.json").write_text('{"labels": [["c.png", 1]]}'),
        ]
        for change in changes:
            change()
            seen.append(FolderSource(str(new)).fingerprint())
        assert len(set(seen)) == len(changes) + 1
