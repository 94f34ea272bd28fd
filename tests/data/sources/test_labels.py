"""Labels from subfolders or dataset.json, and one line for every invalid form."""

import json

import numpy as np
import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_names import CompactNames
from pggan_jax.data.sources.labels import NO_LABEL, find_labels
from pggan_jax.images import encode_png


def label(names, at=()):
    """Labels of `names`; `at` maps folders to the content of the dataset.json in each, "" being the top."""
    contents = {f"{folder}dataset.json".encode(): content.encode() for folder, content in dict(at).items()}
    return find_labels(CompactNames(sorted(name.encode("utf-8", "surrogateescape") for name in names)), contents.get)


def document(*entries):
    return json.dumps({"labels": [list(entry) for entry in entries]})


class TestSubfolders:
    @pytest.mark.parametrize(
        ("names", "classes", "numbers"),
        [
            (["cat/1.png", "dog/2.png"], ("cat", "dog"), [0, 1]),
            (["cat/deep/1.png", "cat/2.png", "dog/3.png"], ("cat", "dog"), [0, 0, 1]),
            (["faces/cat/1.png", "faces/dog/2.png"], ("cat", "dog"), [0, 1]),
            (["a/b/cat/1.png", "a/b/dog/2.png", "a/b/dog/3.png"], ("cat", "dog"), [0, 1, 1]),
            # "a-b/" sorts before "a/", and "a" before "a-b".
            (["a-b/1.png", "a/2.png"], ("a", "a-b"), [1, 0]),
            # As people count.
            ([f"{number}/1.png" for number in range(12)], tuple(map(str, range(12))), [0, 1, 10, 11, *range(2, 10)]),
            (["img10/1.png", "img9/1.png", "b2c10/1.png", "b2c9/1.png"], ("b2c9", "b2c10", "img9", "img10"), [1, 0, 3, 2]),
            (["1/1.png", "01/1.png", "x/1.png", "2/1.png"], ("01", "1", "2", "x"), [0, 1, 2, 3]),
            ([f"{'9' * 5000}/1.png", f"1{'0' * 5000}/1.png"], ("9" * 5000, f"1{'0' * 5000}"), [1, 0]),
            (["\udcff/1.png", "ä/2.png"], ("ä", "\\xff"), [0, 1]),
        ],
    )
    def test_subfolders_are_classes(self, names, classes, numbers):
        labels = label(names)
        assert labels.class_names == classes
        assert labels.numbers.tolist() == numbers
        assert labels.numbers.dtype == np.int32

    def test_the_order_of_earlier_versions_is_known(self):
        assert label(["2/1.png", "10/1.png"]).former_class_names == ("10", "2")
        assert label(["a/1.png", "b/1.png"]).former_class_names == ()

    def test_a_few_images_beside_the_subfolders_are_named(self):
        """They cost all others their class; many of them are no oversight."""
        inside = [f"{folder}/{number}.png".encode() for folder in ("cat", "dog") for number in range(10)]
        labels = find_labels(CompactNames(sorted([*inside, b"root.png"])), lambda _path: None)
        assert labels.class_names == ()
        (complaint,) = labels.problems
        assert complaint.startswith("root.png: beside the subfolders")
        many = [f"root{number}.png".encode() for number in range(9)]
        assert find_labels(CompactNames(sorted([*inside, *many])), lambda _path: None).problems == ()

    def test_a_grid_of_this_program_beside_the_subfolders_costs_no_class(self):
        images = np.zeros((8, 8, 3), np.uint8)
        files = {b"grid.png": encode_png(images, holds="several images"), b"z.png": encode_png(images)}
        inside = [b"cat/1.png", b"cat/2.png", b"hare/1.png"]
        labels = find_labels(CompactNames(sorted([*inside, b"grid.png"])), files.get)
        assert labels.class_names == ("cat", "hare")
        assert labels.numbers.tolist() == [0, 0, 0, 1]
        # Neither does it make a class of the one folder, nor excuse an image of somebody else.
        assert find_labels(CompactNames(sorted([*inside[:2], b"grid.png"])), files.get).class_names == ()
        assert find_labels(CompactNames(sorted([*inside, b"grid.png", b"z.png"])), files.get).class_names == ()

    @pytest.mark.parametrize(
        "names", [["1.png"], ["only/1.png", "only/2.png"], ["cat/1.png", "dog/2.png", "3.png"], ["a/cat/1.png", "a/2.png"]]
    )
    def test_no_classes_where_one_folder_holds_all_images(self, names):
        labels = label(names)
        assert labels.class_names == ()
        assert labels.numbers.tolist() == [0] * len(names)


class TestDatasetJson:
    def test_wins_over_subfolders(self):
        labels = label(["cat/1.png", "dog/2.png"], at={"": document(("cat/1.png", 3), ("dog/2.png", 0))})
        assert labels.class_names == ("0", "1", "2", "3")
        assert labels.numbers.tolist() == [3, 0]
        assert labels.problems == ()

    def test_null_means_none(self):
        labels = label(["cat/1.png", "dog/2.png"], at={"": '{"labels": null}'})
        assert (labels.class_names, labels.numbers.tolist()) == ((), [0, 0])

    def test_may_lie_in_the_folder_that_holds_all_and_the_top_goes_first(self):
        inner = document(("1.png", 1), ("sub/2.png", 2))
        names = ["a/b/1.png", "a/b/sub/2.png"]
        assert label(names, at={"a/b/": inner}).numbers.tolist() == [1, 2]
        assert label(names, at={"a/": document(("b/1.png", 4), ("b/sub/2.png", 4))}).numbers.tolist() == [4, 4]
        assert label(names, at={"a/b/": inner, "": '{"labels": null}'}).class_names == ()
        assert label(["x.png", *names], at={"a/b/": inner}).class_names == ()

    @pytest.mark.parametrize("written", ["sub/1.png", "./sub/1.png", "sub\\1.png"])
    def test_forms_of_a_path(self, written):
        assert label(["sub/1.png"], at={"": document((written, 2))}).numbers.tolist() == [2]

    def test_names_that_are_no_utf8(self):
        assert label(["\udcff.png"], at={"": document(("\udcff.png", 2))}).numbers.tolist() == [2]

    def test_utf8_with_a_mark_at_its_beginning(self):
        assert label(["1.png"], at={"": "\ufeff" + document(("1.png", 1))}).numbers.tolist() == [1]

    def test_labels_without_image_are_problems_and_images_without_label_are_marked(self):
        labels = label(["1.png", "2.png"], at={"": document(("1.png", 1), ("gone\n.png", 7))})
        assert labels.numbers.tolist() == [1, NO_LABEL]
        [complaint] = labels.problems
        assert complaint.startswith("'gone")
        assert "has a label in dataset.json, but no such image exists" in complaint
        assert "\n" not in complaint
        assert len(labels.class_names) == 8

    def test_many_problems_are_summarised(self):
        entries = [("1.png", 0), *((f"gone{number}.png", 0) for number in range(1000))]
        problems = label(["1.png"], at={"": document(*entries)}).problems
        assert len(problems) < 50
        assert f"{1000 - len(problems) + 1} more" in problems[-1]

    @pytest.mark.parametrize(
        ("content", "needle"),
        [
            ("", "not JSON"),
            ('{"labels": [["1.png", 0]', "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("[]", "form"),
            ("{}", '"labels"'),
            ('{"labels": {"1.png": 0}}', "not dict"),
            ('{"labels": []}', "null"),
            ('{"labels": ["1.png", 0]}', "entry 0"),
            ('{"labels": [["1.png", 0], ["2.png"]]}', "entry 1"),
            ('{"labels": [[1, 0]]}', "entry 0"),
            ('{"labels": [["1.png", 0.5]]}', "0.5; write a whole number"),
            ('{"labels": [["1.png", 3.0]]}', "3.0; write a whole number"),
            ('{"labels": [["1.png", -1]]}', "-1; write a whole number"),
            ('{"labels": [["1.png", true]]}', "true; write a whole number"),
            ('{"labels": [["1.png", "3"]]}', "whole number"),
            ('{"labels": [["1.png", null]]}', "whole number"),
            ('{"labels": [["1.png", 99999999999]]}', "whole number from 0 to 99,999"),
            (json.dumps({"labels": [["1.png", [0.25] * 512]]}), "whole number"),
            (document(("1.png", 0), ("1.png", 0)), "twice"),
            (document(("1.png", 0), ("./1.png", 1)), "twice"),
            (document(("/1.png", 0)), "absolute"),
            (document(("..\\1.png", 0)), "leads out"),
            (document(("C:1.png", 0)), "absolute"),
            (document(("\ud800.png", 0)), "no file name"),
            (document(("other/1.png", 0)), "such as '1.png'"),
        ],
    )
    def test_what_cannot_be_meant_is_one_line(self, content, needle):
        with pytest.raises(ValueError, match=r"^dataset\.json ") as caught:
            label(["1.png", "2.png"], at={"": content})
        message = str(caught.value)
        assert needle in message
        assert "\n" not in message
        assert len(message) < 300
        message.encode()

    def test_bytes_that_are_no_text(self):
        with pytest.raises(ValueError, match="not JSON"):
            find_labels(CompactNames([b"1.png"]), {b"dataset.json": b"\xff\xfe\xfd"}.get)

    def test_a_file_that_cannot_be_read(self):
        def fail(_path):
            raise UnusableImageError("is empty")

        with pytest.raises(ValueError, match=r"^dataset\.json is empty$"):
            find_labels(CompactNames([b"1.png"]), fail)

    def test_messages_name_the_file_in_its_folder(self):
        with pytest.raises(ValueError, match=r"^faces/dataset\.json is not JSON"):
            label(["faces/1.png"], at={"faces/": "{"})
