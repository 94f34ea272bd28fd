"""Archives: the images and labels of the unpacked folder; no unsafe paths, no bombs."""

import json
import os
import pickle
import random
import struct
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources import file_collection
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.data.sources.zip import ArchiveSource
from pggan_jax.errors import UserError
from tests.helpers import source_reasons
from tests.helpers.source_reasons import reason_for

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def pack(path, contents, method=DEFLATED, **options):
    """A zip archive of `contents` by name; a list of pairs may name one twice."""
    pairs = contents.items() if isinstance(contents, dict) else contents
    with zipfile.ZipFile(path, "w", method, **options) as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return path


def patched(path, change):
    """The archive with its bytes changed in place."""
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def set_field(content, name, place, form, value, *, local=False):
    """Overwrite a field of the entry `name` in the list, or of its local header."""
    signature, name_place = (b"PK\3\4", 30) if local else (b"PK\1\2", 46)
    at = content.find(signature)
    while content[at + name_place : at + name_place + len(name)] != name:
        at = content.index(signature, at + 1)
    struct.pack_into(form, content, at + place, value)


def contents_of(source):
    return {source.item_name(index): source.read(index) for index in range(len(source))}


def outcome_of(source, index):
    """The bytes of an image, or why it is unusable."""
    try:
        return source.read(index)
    except UnusableImageError as error:
        return str(error)


refusal_of = partial(source_reasons.refusal_of, ArchiveSource, kind="zip")


class TestContents:
    def test_dataset_json_of_a_large_collection(self, tmp_path):
        """It is longer than what is read of a member before its kind is known."""
        entries = [["a.png", 1], *([f"{number:050d}.png", 0] for number in range(25_000))]
        document = json.dumps({"labels": entries})
        assert len(document) > file_collection.UNSEEN_BYTES
        path = pack(tmp_path / "x.zip", {"a.png": b"1", "dataset.json": document})
        assert ArchiveSource(str(path)).label(0) == 1

    @pytest.mark.parametrize("method", [STORED, DEFLATED])
    def test_images_come_sorted_and_whole(self, tmp_path, method):
        contents = {
            f"{name}.png": random.Random(name).randbytes(5000) + bytes(5000) for name in ("b", "a/deep/1", "a-b/1", "c")
        }
        others = {"notes.txt": b"-", ".hidden.png": b"-", "__MACOSX/c.png": b"-", "a/.cache/2.png": b"-", "d.png/": b""}
        path = pack(tmp_path / "x.zip", {**contents, **others}, method)
        source = ArchiveSource(str(path))
        assert list(contents_of(source).items()) == sorted(contents.items())
        assert (source.name, source.channels, source.problems) == (f"zip:{path}", 3, ())

    @pytest.mark.parametrize(
        "files",
        [
            {"dog/1.png": b"1", "cat/2.png": b"2", "cat/deep/3.jpg": b"3", "readme.txt": b"-"},
            {"faces/dog/1.png": b"1", "faces/cat/2.png": b"2"},
            {"faces/1.png": b"1", "faces/2.png": b"2", "faces/dataset.json": b'{"labels": [["1.png", 2], ["3.png", 0]]}'},
            {"a/1.png": b"1", "b/2.png": b"2", "dataset.json": b'{"labels": [["b/2.png", 1]]}'},
            {"a-b/1.png": b"1", "a/2.png": b"2", "x.heic": b"-", ".h/3.png": b"3", "c/\u00e4.png": b"4"},
        ],
    )
    def test_the_same_as_the_folder_that_it_unpacks_to(self, tmp_path, files):
        archive = ArchiveSource(str(pack(tmp_path / "x.zip", files)))
        with zipfile.ZipFile(tmp_path / "x.zip") as opened:
            opened.extractall(tmp_path / "x")
        folder = FolderSource(str(tmp_path / "x"))
        for index in range(max(len(folder), len(archive))):
            assert archive.item_name(index) == folder.item_name(index)
            assert archive.label(index) == folder.label(index)
            assert outcome_of(archive, index) == outcome_of(folder, index)
        assert archive.class_names == folder.class_names
        assert archive.problems == folder.problems

    def test_a_single_top_folder_does_not_hide_the_classes(self, tmp_path):
        source = ArchiveSource(str(pack(tmp_path / "x.zip", {"faces/dog/1.png": b"1", "faces/cat/2.png": b"2"})))
        assert source.class_names == ("cat", "dog")
        assert [source.label(index) for index in range(2)] == [0, 1]

    def test_names_of_other_programs(self, tmp_path):
        names = ["./cat/1.png", "dog\\2.png", "cat//3.png", "dog\\"]
        source = ArchiveSource(str(pack(tmp_path / "x.zip", dict.fromkeys(names, b"-"))))
        assert list(contents_of(source)) == ["cat/1.png", "cat/3.png", "dog/2.png"]
        assert source.class_names == ("cat", "dog")

    @pytest.mark.parametrize(
        ("raw", "flag", "shown"),
        [
            (b"\xc3\xa4x.png", 0x800, "äx.png"),
            (b"\xc3\xa4x.png", 0, "äx.png"),
            (b"\x84xx.png", 0, "äxx.png"),
            (b"\nxx.png", 0, "\\nxx.png"),
        ],
    )
    def test_encodings_of_names(self, tmp_path, raw, flag, shown):
        path = pack(tmp_path / "x.zip", {"N" * (len(raw) - 4) + ".png": b"1"})

        def rename(content):
            old = b"N" * (len(raw) - 4) + b".png"
            set_field(content, old, 8, "<H", flag)
            content[:] = content.replace(old, raw)

        source = ArchiveSource(str(patched(path, rename)))
        assert contents_of(source) == {shown: b"1"}

    def test_of_two_members_with_one_name_the_last_counts(self, tmp_path):
        with pytest.warns(UserWarning, match="Duplicate"):
            path = pack(tmp_path / "x.zip", [("1.png", b"old"), ("2.png", b"2"), ("1.png", b"new")])
        source = ArchiveSource(str(path))
        assert contents_of(source) == {"1.png": b"new", "2.png": b"2"}
        assert source.problems == ("'1.png' occurs more than once; the last one is used",)

    def test_bytes_around_the_archive(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"1.png": b"first", "2.png": b"second" * 100})
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = b"a comment" * 100
        path.write_bytes(b"#!/bin/sh a self-extracting program\n" + path.read_bytes())
        assert contents_of(ArchiveSource(str(path))) == {"1.png": b"first", "2.png": b"second" * 100}


class TestList:
    """Forms of the list of members that `zipfile` reads."""

    @pytest.mark.parametrize("seed", range(3))
    def test_random_archives(self, tmp_path, seed):
        """Bytes before the archive, comments, extra fields, wide sizes, both methods, names with and without the UTF-8 flag."""
        rng = random.Random(seed)
        path = tmp_path / "x.zip"
        path.write_bytes(rng.randbytes(rng.randrange(100)))
        contents = {}
        with zipfile.ZipFile(path, "a") as archive:
            for number in range(30):
                info = zipfile.ZipInfo(f"{'ä' * rng.randrange(3)}{number}.png")
                info.compress_type = rng.choice([STORED, DEFLATED])
                info.comment = rng.randbytes(rng.randrange(20))
                info.extra = struct.pack("<2H", 0x7777, 5) + rng.randbytes(5) if rng.random() < 0.5 else b""
                contents[info.filename] = rng.randbytes(rng.randrange(1, 200))
                with archive.open(info, "w", force_zip64=rng.random() < 0.5) as member:
                    member.write(contents[info.filename])
            archive.comment = rng.randbytes(rng.randrange(50))
        assert contents_of(ArchiveSource(str(path))) == dict(sorted(contents.items(), key=lambda item: item[0].encode()))

    def test_zip64(self, monkeypatch, tmp_path):
        """Forced by lower limits: every size, offset and the end itself take their wide forms."""
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
        contents = {f"{number}.png": bytes([number]) * 100 for number in range(10)}
        path = pack(tmp_path / "x.zip", contents, STORED)
        assert b"PK\6\6" in path.read_bytes()
        assert contents_of(ArchiveSource(str(path))) == contents
        path.write_bytes(b"before" + path.read_bytes())
        assert contents_of(ArchiveSource(str(path))) == contents


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [
            "/abs.png",
            "../up.png",
            "a/../../up.png",
            "..\\up.png",
            "\\abs.png",
            "C:\\x.png",
            "c:x.png",
            "\\\\host\\x.png",
            "../",
        ],
    )
    def test_one_member_that_leads_out_refuses_the_whole_archive(self, tmp_path, name):
        path = pack(tmp_path / "x.zip", {"good.png": b"1", name: b"2"})
        message = refusal_of(path)
        assert "member " in message
        assert "absolute path" in message or "leads out of the folder" in message

    def test_not_an_archive(self, tmp_path):
        (tmp_path / "x.zip").write_bytes(b"Rar!" * 100)
        assert "is not a zip archive; unpack it and write folder:DIR" in refusal_of(tmp_path / "x.zip")
        (tmp_path / "x.zip").write_bytes(b"")
        assert "is not a zip archive" in refusal_of(tmp_path / "x.zip")

    def test_no_cut_gets_through(self, tmp_path):
        """Wherever it is cut, the archive is refused."""
        path = pack(tmp_path / "x.zip", {"1.png": b"1" * 50, "2.png": b"2" * 50}, STORED)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert ("truncated" if length >= 4 else "not a zip archive") in refusal_of(path)
        path.write_bytes(whole[10:])
        assert "truncated" in refusal_of(path)
        path.write_bytes(whole)
        assert len(ArchiveSource(str(path))) == 2

    def test_the_list_of_an_inner_archive_is_not_taken_for_that_of_a_cut_one(self, tmp_path):
        inner = pack(tmp_path / "inner.zip", {"1.png": b"1"}).read_bytes()
        whole = pack(tmp_path / "x.zip", {"2.png": b"2", "inner.zip": inner}, STORED).read_bytes()
        end_of_inner = whole.index(inner) + len(inner)
        for length in (end_of_inner, end_of_inner + 30, len(whole) - 1):
            (tmp_path / "x.zip").write_bytes(whole[:length])
            assert "truncated" in refusal_of(tmp_path / "x.zip")
        (tmp_path / "x.zip").write_bytes(inner + inner)
        assert "several archives in one file" in refusal_of(tmp_path / "x.zip")

    def test_flipped_bytes_end_in_a_clear_line_or_in_the_right_images(self, tmp_path):
        contents = {"1.png": b"1" * 50, "2.png": b"2" * 50}
        path = pack(tmp_path / "x.zip", contents)
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
            try:
                source = ArchiveSource(str(path))
            except UserError:
                continue
            outcomes = [outcome_of(source, index) for index in range(len(source))]
            assert all(one in contents.values() if isinstance(one, bytes) else "; " in one for one in outcomes)

    @pytest.mark.parametrize(
        ("what", "place", "form", "value"),
        [
            ("a name that reaches beyond it", 28, "<H", 6),
            ("no entry", 0, "<L", 0),
        ],
    )
    def test_a_broken_list(self, tmp_path, what, place, form, value):
        path = pack(tmp_path / "x.zip", {"1.png": b"1", "2.png": b"2"})
        patched(path, lambda content: set_field(content, b"1.png", place, form, value))
        assert "is damaged or truncated" in refusal_of(path), what

    def test_a_name_that_is_no_utf_8_although_its_flag_says_so(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"xx.png": b"1"})

        def rename(content):
            set_field(content, b"xx.png", 8, "<H", 0x800)
            content[:] = content.replace(b"xx.png", b"\xffx.png")

        assert "is damaged or truncated" in refusal_of(patched(path, rename))

    def test_parts_of_a_split_archive(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"1.png": b"1"})
        patched(path, lambda content: set_field(content, b"1.png", 34, "<H", 3))
        assert "join the parts" in refusal_of(path)

    def test_no_file_a_folder_no_images(self, tmp_path):
        assert "no such file" in refusal_of(tmp_path / "missing.zip")
        assert f"write folder:{tmp_path}" in refusal_of(tmp_path)
        assert "no image file" in refusal_of(pack(tmp_path / "empty.zip", {}))
        message = refusal_of(pack(tmp_path / "x.zip", {"a.heic": b"-", ".b.png": b"-"}))
        assert "no image file in it or below (JPEG, PNG" in message
        assert "1 file ends in .heic" in message
        assert "no such file" in refusal_of("null\0byte")
        assert "no such file" in refusal_of(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.zip"))

    def test_not_permitted(self, tmp_path, monkeypatch):
        """By a stand-in, as the superuser may read everything."""

        def refuse(*_args, **_options):
            raise PermissionError(13, "Permission denied")

        path = pack(tmp_path / "x.zip", {"1.png": b"1"})
        monkeypatch.setattr("builtins.open", refuse)
        assert "cannot be read (Permission denied)" in refusal_of(path)

    def test_dataset_json_that_cannot_be_used(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"1.png": b"1", "dataset.json": b"[]"})
        assert "dataset.json must have the form" in refusal_of(path)
        path = pack(tmp_path / "x.zip", {"1.png": b"1", "dataset.json": b"[]"}, zipfile.ZIP_BZIP2)
        assert "dataset.json is packed with method 12" in refusal_of(path)


class TestUnusableMembers:
    @pytest.fixture
    def path(self, tmp_path):
        return pack(tmp_path / "x.zip", {"1.png": b"1" * 1000, "2.png": b"2"})

    @pytest.mark.parametrize(
        ("place", "form", "value", "needle"),
        [
            (8, "<H", 1, "is encrypted"),
            (10, "<H", 9, "method 9"),
            (10, "<H", 0, "sizes that contradict"),
            (16, "<L", 12345, "checksum"),
            (20, "<L", 5, "another size"),
            (20, "<L", 2**30, "sizes that contradict"),
            (20, "<L", 3000, "its end missing"),
            (24, "<L", 0, "is empty"),
            (24, "<L", 999, "another size"),
            (24, "<L", 1001, "another size"),
            (24, "<L", 2**30 + 1, "too large (1,073,741,825 bytes, at most 1,073,741,824 are read)"),
        ],
    )
    def test_only_the_one_member_is_unusable(self, path, place, form, value, needle):
        patched(path, lambda content: set_field(content, b"1.png", place, form, value))
        source = ArchiveSource(str(path))
        assert needle in reason_for(source)
        assert source.read(1) == b"2"

    @pytest.mark.parametrize("offset", [7, 2**31])
    def test_a_wrong_offset(self, path, offset):
        patched(path, lambda content: set_field(content, b"2.png", 42, "<L", offset))
        source = ArchiveSource(str(path))
        assert "no header at its offset" in reason_for(source, 1)
        assert source.read(0) == b"1" * 1000

    def test_damaged_data(self, path):
        patched(path, lambda content: content.__setitem__(36, content[36] ^ 0xFF))
        source = ArchiveSource(str(path))
        assert "is damaged in the archive" in reason_for(source)
        assert source.read(1) == b"2"

    def test_cut_after_it_was_listed(self, path):
        source = ArchiveSource(str(path))
        path.write_bytes(path.read_bytes()[:35])
        assert "its end missing" in reason_for(source, 0)
        assert "no header" in reason_for(source, 1)

    def test_gone_after_it_was_listed(self, path):
        source = ArchiveSource(str(path))
        # As in a worker process, which opens the file itself.
        elsewhere = pickle.loads(pickle.dumps(source))
        path.unlink()
        assert "cannot be read" in reason_for(elsewhere)

    def test_without_label(self, tmp_path):
        contents = {"1.png": b"1", "2.png": b"2", "dataset.json": json.dumps({"labels": [["2.png", 1]]})}
        source = ArchiveSource(str(pack(tmp_path / "y.zip", contents)))
        assert "has no label in dataset.json" in reason_for(source)
        assert (source.read(1), source.label(1)) == (b"2", 1)


class TestBombs:
    UNPACKED = 50 * 2**20

    @pytest.fixture
    def path(self, tmp_path):
        return pack(tmp_path / "x.zip", {"1.png": bytes(self.UNPACKED)})

    def peak_of(self, path):
        source = ArchiveSource(str(path))
        tracemalloc.start()
        reason = reason_for(source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reason, peak

    def test_one_of_true_size_is_refused_before_unpacking(self, path, monkeypatch):
        monkeypatch.setattr(file_collection, "MAX_FILE_BYTES", self.UNPACKED - 1)
        reason, peak = self.peak_of(path)
        assert "too large" in reason
        assert peak < 2**20

    def test_one_of_false_size_unpacks_no_further_than_stated(self, path):
        patched(path, lambda content: set_field(content, b"1.png", 24, "<L", 100_000))
        reason, peak = self.peak_of(path)
        assert "another size" in reason
        assert peak < 2**20


def read_all(source):
    return list(contents_of(source).values())


class TestCopies:
    @pytest.fixture
    def contents(self):
        return {f"{number:03}.png": random.Random(number).randbytes(3000) for number in range(200)}

    @pytest.fixture
    def source(self, tmp_path, contents):
        return ArchiveSource(str(pack(tmp_path / "x.zip", contents)))

    def test_threads_share_one(self, source, contents):
        together = threading.Barrier(8, timeout=10)

        def read(start):
            together.wait()
            return [source.read((start + step) % 200) for step in range(200)]

        wanted = list(contents.values())
        with ThreadPoolExecutor(8) as threads:
            for start, found in enumerate(threads.map(read, range(8))):
                assert found == wanted[start:] + wanted[:start]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_processes_read_at_once(self, source, contents, method):
        source.read(0)  # So that there is an open file, which a copy must not take along.
        with get_context(method).Pool(2) as pool:
            results = [pool.apply_async(read_all, (source,)) for _ in range(2)]
            for result in results:
                assert result.get(60) == list(contents.values())

    def test_a_copy_is_compact(self, source, contents):
        source.read(0)
        assert len(pickle.dumps(source)) < 64 * len(contents) + 2000

    def test_relative_paths_outlive_a_change_of_folder(self, tmp_path, monkeypatch):
        pack(tmp_path / "x.zip", {"1.png": b"1"})
        monkeypatch.chdir(tmp_path)
        source = ArchiveSource("x.zip")
        monkeypatch.chdir("/")
        assert source.read(0) == b"1"

    def test_fingerprint_follows_the_archive_and_not_its_name(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"1.png": b"1", "2.png": b"2"})
        os.utime(path, (1, 1))
        first = ArchiveSource(str(path)).fingerprint()
        assert ArchiveSource(str(path.rename(tmp_path / "y.zip"))).fingerprint() == first
        seen = {first}
        others = [
            {"1.png": b"1", "2.png": b"3"},
            {"1.png": b"1", "3.png": b"2"},
            {"1.png": b"1"},
            {"1.png": b"1", "2.png": b"2", "dataset.json": b'{"labels": null}'},
        ]
        for contents in others:
            os.utime(pack(path, contents), (1, 1))
            seen.add(ArchiveSource(str(path)).fingerprint())
        os.utime(path, (2, 2))
        seen.add(ArchiveSource(str(path)).fingerprint())
        assert len(seen) == 6

    def test_fingerprint_changes_when_the_archive_does(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"1.png": b"1"})
        source = ArchiveSource(str(path))
        before = source.fingerprint()
        assert source.fingerprint() == before
        os.utime(path, (1, 1))
        assert source.fingerprint() != before
        path.unlink()
        with pytest.raises(UserError, match="cannot be read any more"):
            source.fingerprint()
