"""Data sets of tensorflow_datasets: small ones prepared here without TensorFlow, and mocked ones."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.tfds import TfdsSource
from pggan_jax.errors import UserError, one_line
from pggan_jax.images import encode_png

tfds = pytest.importorskip("tensorflow_datasets")
kinds = tfds.features

COUNT = 12


def png(index):
    return encode_png(np.full((6 + index, 6, 3), (index, 2 * index, 200), np.uint8))


def prepare(data_dir, name, features, examples, splits=("train",)):
    """Write a data set as array_record; the same examples in each split, in order."""

    class ListBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # tests/ is no package, which tensorflow_datasets looks for

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=kinds.FeaturesDict(features), disable_shuffling=True)

        def _split_generators(self, _manager):
            return {split: enumerate(examples) for split in splits}

        def _generate_examples(self):
            raise NotImplementedError

    ListBuilder.name = name
    ListBuilder(data_dir=data_dir, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    labelled = {"image": kinds.Image(), "label": kinds.ClassLabel(names=["cat", "dog", "hen"])}
    pictures = [{"image": png(index), "mask": png(0), "label": index % 3} for index in range(COUNT)]
    prepare(folder, "pictures", labelled | {"mask": kinds.Image(shape=(None, None, 3))}, pictures, ("train", "test"))
    prepare(folder, "unlabelled", labelled, [{"image": png(index), "label": -1} for index in range(2)])
    prepare(folder, "half", labelled, [{"image": png(index), "label": -index} for index in range(2)])
    prepare(folder, "numbered", labelled | {"label": kinds.ClassLabel(num_classes=3)}, [{"image": png(0), "label": 2}])
    prepare(
        folder, "only_one", {"photo": kinds.Image(shape=(None, None, 1)), "label": np.int64}, [{"photo": png(0), "label": 2}]
    )
    pixels = {"image": kinds.Tensor(shape=(4, 5, 2), dtype=np.uint8)}
    prepare(folder, "pixels", pixels, [{"image": np.full((4, 5, 2), index, np.uint8)} for index in range(3)])
    return folder


@pytest.fixture
def data_dir(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    return prepared


def refusal(argument):
    with pytest.raises(UserError) as caught:
        TfdsSource(argument)
    message = str(caught.value)
    assert message.startswith(f"data.source = {'tfds:' + argument!r}: ")
    assert "\n" not in message
    return message


def prepares(name):
    return (
        f'run python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
    )


def in_new_process(code, **environment):
    """What the code prints, in a Python that has imported nothing yet."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.usefixtures("data_dir")
class TestPrepared:
    def test_images_come_encoded_with_their_classes(self):
        source = TfdsSource("pictures")
        assert (len(source), source.name, source.channels) == (COUNT, "tfds:pictures", 3)
        assert source.class_names == ("cat", "dog", "hen")
        assert [source.read(index) for index in range(COUNT)] == [png(index) for index in range(COUNT)]
        assert [source.label(index) for index in range(COUNT)] == [0, 1, 2] * 4
        assert source.item_name(7) == "record 7"

    @pytest.mark.parametrize(("split", "first", "last"), [("test", 0, 11), ("train[:25%]", 0, 2), ("train[6:8]", 6, 7)])
    def test_splits_and_parts_of_them(self, split, first, last):
        source = TfdsSource(f"pictures:{split}")
        assert len(source) == last - first + 1
        assert source.read(0) == png(first)
        assert source.read(len(source) - 1) == png(last)

    def test_labels_of_images_read_cost_no_second_reading(self, monkeypatch):
        source = TfdsSource("pictures")
        source.read(4)
        monkeypatch.setattr(source, "_examples", None)
        assert source.label(4) == 1
        assert source.label(5) == 0  # Not read before, so it cannot be known now.

    def test_classes_without_names_have_numbers(self):
        source = TfdsSource("numbered")
        assert (source.class_names, source.label(0)) == (("0", "1", "2"), 2)

    def test_a_split_of_hidden_labels_has_no_classes(self):
        source = TfdsSource("unlabelled")
        assert (source.class_names, source.label(1), source.read(1)) == ((), 0, png(1))

    def test_a_single_label_that_is_no_class_makes_its_image_unusable(self):
        source = TfdsSource("half")
        assert source.read(0) == png(0)
        with pytest.raises(UnusableImageError, match="has label -1, which is none of the 3 classes"):
            source.read(1)
        assert source.label(1) == 0

    def test_the_only_feature_of_images_is_taken_and_a_plain_number_is_no_class(self):
        source = TfdsSource("only_one")
        assert (source.read(0), source.channels, source.class_names, source.label(0)) == (png(0), 1, (), 0)

    def test_tensors_come_as_arrays(self):
        source = TfdsSource("pixels")
        assert source.channels == 2
        image = source.read(2)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.full((4, 5, 2), 2))

    def test_threads_and_processes_read_the_same(self):
        source = TfdsSource("pictures")
        expected = [source.read(index) for index in range(COUNT)]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(TfdsSource("pictures").read, list(range(COUNT)) * 10)) == expected * 10
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            assert list(pool.map(source.read, range(COUNT), chunksize=COUNT)) == expected
            assert pool.submit(TfdsSource("pictures:test").label, 4).result() == 1

    def test_no_tensorflow_and_no_network(self):
        code = (
            "import socket, sys\n"
            "def refuse(*_, **__): raise SystemExit('a connection was tried')\n"
            "socket.socket.connect = socket.getaddrinfo = refuse\n"
            "from pggan_jax.data.sources.tfds import TfdsSource\n"
            "assert 'tensorflow_datasets' not in sys.modules\n"
            "from pggan_jax.errors import UserError\n"
            "source = TfdsSource('pictures')\n"
            "print(len(source.read(3)), source.label(3))\n"
            "for missing in ('cifar10', 'cifar11', 'lsun/kitch', 'nobody/nothing'):\n"
            "    try: TfdsSource(missing)\n"
            "    except UserError: print('refused')\n"
            "print('tensorflow' in sys.modules)\n"
        )
        assert in_new_process(code).split() == [str(len(png(3))), "0", *["refused"] * 4, "False"]

    def test_fingerprint_follows_the_files_and_the_split(self, data_dir):
        arguments = ["pictures", "pictures:train", "pictures:test", "pictures:train[:25%]", "pixels"]
        prints = [TfdsSource(argument).fingerprint() for argument in arguments]
        assert prints[0] == prints[1]
        assert len(set(prints)) == 4
        file = next((data_dir / "pixels/1.0.0").glob("*.array_record*"))
        os.utime(file, ns=(1, 1))
        assert TfdsSource("pixels").fingerprint() != prints[4]


class TestDamage:
    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        """The file of a data set that a test may spoil: five images of noise, which no compression changes."""
        labelled = {"image": kinds.Image(), "label": kinds.ClassLabel(num_classes=2)}
        noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
        prepare(tmp_path, "spoilt", labelled, [{"image": encode_png(pixels), "label": 1} for pixels in noise])
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        return next((tmp_path / "spoilt/1.0.0").glob("*.array_record*"))

    def test_a_flipped_bit_costs_one_record(self, file):
        whole = TfdsSource("spoilt")
        expected = [whole.read(index) for index in range(5)]
        content = bytearray(file.read_bytes())
        content[content.index(expected[3][1000:1020])] ^= 1
        file.write_bytes(content)
        source = TfdsSource("spoilt")
        with pytest.raises(UnusableImageError, match=r"^record cannot be read \(Corrupted .*\); prepare the data set again$"):
            source.read(3)
        assert [source.read(index) for index in (0, 1, 2, 4)] == [*expected[:3], expected[4]]
        assert [source.label(index) for index in range(5)] == [1, 1, 1, 0, 1]

    def test_a_lost_file(self, file):
        file.unlink()
        source = TfdsSource("spoilt")
        assert source.class_names == ("0", "1")
        with pytest.raises(UnusableImageError, match=r"record cannot be read \(.*No such file.*\); prepare the data set again"):
            source.read(0)
        assert source.label(0) == 0
        with pytest.raises(UserError, match=r"cannot read .*spoilt-train.*; prepare the data set again"):
            source.fingerprint()

    def test_another_file_format(self, file):
        info = file.parent / "dataset_info.json"
        info.write_text(info.read_text().replace("array_record", "tfrecord"))
        message = refusal("spoilt")
        assert f"{file.parent} has the format tfrecord, which has no random access; remove that folder" in message
        assert prepares("spoilt") in message
        assert "TFDS_DATA_DIR" in message


@pytest.mark.usefixtures("data_dir")
class TestRefusals:
    @pytest.mark.parametrize("name", ["cifar10", "lsun/bedroom", "celeb_a_hq/256"])
    def test_not_prepared_yet(self, name, data_dir):
        message = refusal(f"{name}:train")
        assert f"is not prepared in {data_dir}/{name}" in message
        assert prepares(name) in message
        assert "pip install tensorflow" in message
        assert "TFDS_DATA_DIR" in message

    def test_not_prepared_and_its_code_fails(self, monkeypatch):
        def fail(*_args, **_options):
            raise ImportError("No module named 'pycocotools'\nmore")

        monkeypatch.setattr(tfds, "builder", fail)
        message = refusal("mnist")
        assert "its code fails (No module named 'pycocotools')" in message
        assert prepares("mnist") in message

    @pytest.mark.parametrize(
        ("argument", "needle"),
        [
            ("cifar11", "no data set 'cifar11'; similar: cifar10"),
            ("xyzzyqqq", "https://www.tensorflow.org/datasets/catalog lists all"),
            ("lsun/kitch", "no configuration 'lsun/kitch'; similar: lsun/kitchen"),
            ("celeb_a_hq/300", "no configuration 'celeb_a_hq/300'; available: celeb_a_hq/1024"),
            ("mnist/large", "'mnist' has no configurations; write it as tfds:mnist"),
            ("../pictures", "write it as tfds:NAME[:SPLIT]"),
            ("pictures:nope", "cannot open split 'nope'"),
            ("pictures:nope", "available: train (12 examples), test (12 examples), and slices"),
            ("pictures:train[", "cannot open split 'train['"),
            ("pictures:train[:0]", "slices with at least one example, such as train[:10%]"),
            ("imdb_reviews", "has no feature 'image', nor exactly one of images, but label (ClassLabel), text (Text)"),
        ],
    )
    def test_unknown_names(self, argument, needle):
        assert needle in refusal(argument)

    @pytest.mark.parametrize(
        ("features", "example", "needle"),
        [
            (
                {"left": kinds.Image(), "right": kinds.Image()},
                {"left": png(0), "right": png(0)},
                "nor exactly one of images, but left (Image), right (Image)",
            ),
            (
                {"image": kinds.Tensor(shape=(4, None, 3), dtype=np.float32)},
                {"image": np.zeros((4, 7, 3), np.float32)},
                "feature 'image' is 4x?x3 float32, not height x width x channels uint8",
            ),
            (
                {"image": kinds.Tensor(shape=(4, 4), dtype=np.uint8)},
                {"image": np.zeros((4, 4), np.uint8)},
                "feature 'image' is 4x4 uint8, not height",
            ),
        ],
    )
    def test_features_that_are_no_images(self, features, example, needle, tmp_path, monkeypatch):
        prepare(tmp_path, "strange", features, [example])
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        assert needle in refusal("strange")

    def test_images_of_floats(self, tmp_path, monkeypatch):
        prepare(tmp_path, "depth", {"image": kinds.Image(shape=(4, 4, 1))}, [{"image": png(0)}])
        description = tmp_path / "depth/1.0.0/features.json"
        description.write_text(description.read_text().replace("uint8", "float32"))
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        assert "feature 'image' is 4x4x1 float32, not height" in refusal("depth")


class TestMocked:
    """Whole data sets of the paper, whose true features TFDS fills with random examples."""

    @pytest.fixture(autouse=True)
    def encode_with_pillow(self, monkeypatch):
        """TFDS would encode the arrays it makes up with TensorFlow."""
        from tensorflow_datasets.core.features import image_feature

        monkeypatch.setattr(image_feature._ImageEncoder, "_encode_image", lambda _self, pixels: encode_png(pixels))

    @pytest.mark.parametrize(
        ("argument", "channels", "classes", "size"),
        [
            ("mnist", 1, 10, (28, 28)),
            ("cifar10:test", 3, 10, (32, 32)),
            ("cifar100", 3, 100, (32, 32)),
            ("svhn_cropped", 3, 10, (32, 32)),
            ("lsun/bedroom", 3, 0, None),
            ("celeb_a", 3, 0, (178, 218)),
            ("celeb_a_hq/64", 3, 0, (64, 64)),
        ],
    )
    def test_data_sets_of_the_paper(self, argument, channels, classes, size, data_dir):
        with tfds.testing.mock_data(num_examples=6):
            source = TfdsSource(argument)
            assert (len(source), source.channels, len(source.class_names)) == (6, channels, classes)
            with Image.open(io.BytesIO(source.read(5))) as image:
                assert image.mode == {1: "L", 3: "RGB"}[channels]
                assert size in (None, image.size)
            assert 0 <= source.label(5) < max(classes, 1)
            assert source.fingerprint()


def test_the_printed_command_is_whole(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/nonexistent/tensorflow_datasets")
    assert prepares("mnist") in one_line(refusal("mnist:train"))
