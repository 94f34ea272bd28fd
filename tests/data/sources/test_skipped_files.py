"""Which files of a collection are images; all others are counted and named."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from pggan_jax.config import Config
from pggan_jax.config.io import to_json
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources import zip as archives
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.data.sources.zip import ArchiveSource
from pggan_jax.errors import UserError
from pggan_jax.system.own_output import MARKER, claim_output
from tests.helpers.image_samples import encoded, noise

PIXELS = noise(8, 8)
SETTINGS = to_json(Config()).encode()


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def open_as(kind, tmp_path, files):
    """The files as a folder, or packed."""
    if kind == "folder":
        write(tmp_path / "x", files)
        return FolderSource(str(tmp_path / "x"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return ArchiveSource(str(tmp_path / "x.zip"))


def names_of(source):
    return [source.item_name(index) for index in range(len(source))]


both = pytest.mark.parametrize("kind", ["folder", "zip"])


@both
@pytest.mark.parametrize("name", ["a", "a.jfif", "a.heic", "a.txt", "a.001", "a.PPM", "a.jpg_large", "a.tar"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_an_image_of_any_name_is_one(tmp_path, kind, name, form):
    content = encoded(PIXELS, form)
    source = open_as(kind, tmp_path, {"z.png": encoded(PIXELS), name: content})
    assert names_of(source) == [name, "z.png"]
    assert source.read(0) == content
    assert source.notes == source.problems == ()


@both
def test_everything_else_is_counted_and_named(tmp_path, kind):
    files = {
        "1.png": encoded(PIXELS),
        "notes.txt": b"hello",
        "more/list.csv": b"a,b",
        "more/empty": b"",
        "photo": b"\0\0\0\x18ftypheic" + bytes(20),
        ".DS_Store": b"x",
        "Thumbs.db": b"x",
        "more/._1.png": b"x",
        "__MACOSX/1.png": b"x",
    }
    source = open_as(kind, tmp_path, files)
    assert names_of(source) == ["1.png"]
    assert source.problems == ("1 file holds HEIC, which cannot be read (photo); convert it to PNG or JPEG",)
    files, hidden = source.notes
    assert files.startswith("skipped 3 files whose content is no image: ")
    for name in ("notes.txt", "more/list.csv", "more/empty"):
        assert name in files
    assert hidden == "skipped 4 hidden files or files of the operating system"


def test_pipes_and_links_are_not_waited_for(tmp_path):
    write(tmp_path, {"1.png": encoded(PIXELS)})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    source = FolderSource(str(tmp_path))
    assert names_of(source) == ["1.png"]
    assert "skipped 2 files" in source.notes[0]
    assert "pipe" in source.notes[0]


@both
@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ({MARKER: b"{}", "seed0000.png": encoded(PIXELS)}, "output of this program"),
        ({"config.json": SETTINGS, "fakes000001.png": encoded(PIXELS), "checkpoints/1/a": b"-"}, "the workdir of a run"),
        ({"info.json": b"{}", "r0004.npy": b"-", "mean.png": encoded(PIXELS)}, "a prepared folder"),
        ({"journal.json": b"{}", "r0004.npy": b"-", "mean.png": encoded(PIXELS)}, "a prepared folder"),
    ],
)
@pytest.mark.parametrize("place", ["own", "cat/own"])
def test_output_of_this_program_is_skipped_as_a_whole(tmp_path, kind, inside, what, place):
    files = {"cat/1.png": encoded(PIXELS), "dog/2.png": encoded(PIXELS)}
    more = {f"{place}/{name}": content for name, content in inside.items()} | {f"{place}/deep/er/3.png": encoded(PIXELS)}
    source = open_as(kind, tmp_path, files | more)
    assert names_of(source) == ["cat/1.png", "dog/2.png"]
    assert source.class_names == ("cat", "dog")
    assert source.notes[0] == f"skipped {place}/: it is {what}; move it elsewhere, or read it as a source of its own"


@both
def test_settings_of_other_programs_mark_nothing(tmp_path, kind):
    for number, content in enumerate((b"{}", b"[]", b"{", b"[" * 100_000, b"\xff", b'{"data": 1}')):
        (tmp_path / str(number)).mkdir()
        source = open_as(kind, tmp_path / str(number), {"a/config.json": content, "a/1.png": encoded(PIXELS), "2.png": b"-"})
        assert names_of(source) == ["2.png", "a/1.png"]


def test_what_is_named_itself_is_read_unless_it_is_a_run(tmp_path):
    write(tmp_path / "samples", {MARKER: b"{}", "seed0000.png": encoded(PIXELS)})
    assert names_of(FolderSource(str(tmp_path / "samples"))) == ["seed0000.png"]
    write(tmp_path / "run", {"config.json": SETTINGS, "fakes000001.png": encoded(PIXELS)})
    with pytest.raises(UserError, match="this is the workdir of a run"):
        FolderSource(str(tmp_path / "run"))


class TestClaim:
    def test_new_and_empty_folders_are_marked(self, tmp_path):
        for name in ("new/deep", "empty"):
            (tmp_path / "empty").mkdir(exist_ok=True)
            claim_output("out", tmp_path / name, f"folder:{tmp_path}", command="sample")
            assert json.loads((tmp_path / name / MARKER).read_text()) == {"program": "pggan_jax", "command": "sample"}
            claim_output("out", tmp_path / name, f"folder:{tmp_path}", command="sample")

    def test_folders_of_images_are_neither_marked_nor_written_to(self, tmp_path):
        write(tmp_path / "images", {"cat/1.png": encoded(PIXELS)})
        for source in (f"folder:{tmp_path / 'images'}", f"stacked:folder:{tmp_path / 'images'}"):
            for out in (tmp_path / "images", tmp_path / "images/cat"):
                with pytest.raises(UserError, match="lies inside"):
                    claim_output("out", out, "digits", source, command="sample")
        claim_output("out", tmp_path / "images/cat", "digits", command="sample")
        assert not (tmp_path / "images/cat" / MARKER).exists()

    def test_an_empty_source_is_no_place_for_output(self, tmp_path):
        with pytest.raises(UserError, match="lies inside"):
            claim_output("out", tmp_path, f"folder:{tmp_path}", command="sample")


class TestSize:
    """Nothing large is read before its beginning is that of an image."""

    def reason(self, source):
        tracemalloc.start()
        try:
            with pytest.raises(UnusableImageError) as caught:
                source.read(0)
            assert tracemalloc.get_traced_memory()[1] < 2**22
        finally:
            tracemalloc.stop()
        assert len(str(caught.value)) < 200
        return str(caught.value)

    def test_a_large_file_that_is_no_image(self, tmp_path):
        with (tmp_path / "1.png").open("wb") as file:
            file.truncate(2**29)
        assert self.reason(FolderSource(str(tmp_path))) == "is not an image; remove it or save it as PNG or JPEG"

    @pytest.mark.parametrize("start", [b"", b"%!PS", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
    def test_a_member_that_expands(self, tmp_path, start):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as packed, packed.open("1.png", "w") as member:
            member.write(start)
            for _ in range(40):
                member.write(bytes(2**20))
        reason = self.reason(ArchiveSource(str(tmp_path / "x.zip")))
        assert ("which no image of use does" in reason) == (start[:1] in (b"\xff", b"\x89"))

    def test_large_images_that_pack_well_are_read(self, tmp_path, monkeypatch):
        pixels = np.repeat(noise(1, 1500, 3), 1200, axis=0)
        content = encoded(pixels, "BMP")
        assert len(content) > archives.UNSEEN_BYTES
        source = open_as("zip", tmp_path, {"1.bmp": content})
        assert source.read(0) == content
        monkeypatch.setattr(archives, "_EXPANDED_BYTES", 2**20)
        monkeypatch.setattr(archives, "_MAX_EXPANSION", 2)
        assert "which no image of use does" in self.reason(source)
