"""The source `tfds:NAME[:SPLIT]`: a prepared data set of tensorflow_datasets, read at random and without TensorFlow.

Opening downloads nothing and asks no server: what is not on the disk yet ends in a line that says how to prepare it.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.errors import UserError, first_line, import_optional

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

_MOST_SUGGESTIONS = 12
_UNREAD = -2  # TFDS itself writes -1 for examples without a label.


class TfdsSource:
    """The images of one split, encoded as they are stored, with their classes if there is a feature `label`."""

    complaints: tuple[str, ...] = ()

    def __init__(self, argument: str) -> None:
        """Find the data set on the disk, in $TFDS_DATA_DIR or else ~/tensorflow_datasets.

        Args:
            argument: "NAME", "NAME/CONFIG", or either with ":SPLIT", such as "cifar10:test" or "lsun/bedroom:train[:10%]".
                The split is "train" where nothing is said.

        Raises:
            UserError: there is no such data set, configuration or split, it is not prepared for random reading, or it holds
                no images.
        """
        self.name = f"tfds:{argument}"
        name, _, split = argument.partition(":")
        self._split = split or "train"
        builder = self._find_builder(name)
        features = builder.info.features
        self._image_name, self.channels = self._choose_image(features)
        self._examples = self._open_split(builder, name)
        self.class_names = self._class_names(features)
        self._labels = np.full(len(self._examples), _UNREAD, np.int32)

    def __len__(self) -> int:
        return len(self._examples)

    def item_name(self, index: int) -> str:
        """Such as "record 17"."""
        return f"record {index}"

    def label(self, index: int) -> int:
        """The class of image `index`; 0 where there are no classes, and for a record that cannot be read.

        Costs nothing for an image that has been read; else its record is read, and not decoded.
        """
        if not self.class_names:
            return 0
        if self._labels[index] == _UNREAD:
            try:
                self.read(index)
            except UnusableImageError:
                return 0
        return int(self._labels[index])

    def read(self, index: int) -> bytes | np.ndarray:
        """Image `index`: the bytes of a PNG or JPEG file, or uint8 `[height, width, channels]` from a tensor feature.

        Raises:
            UnusableImageError: the record is damaged, or has none of the classes.
        """
        example = self._read_example(index)
        if self.class_names:
            label = int(example["label"])
            if not 0 <= label < len(self.class_names):
                raise UnusableImageError(f"has label {label}, which is none of the {len(self.class_names)} classes")
            self._labels[index] = label
        return example[self._image_name]

    def fingerprint(self) -> str:
        """Of the data set's version, and the name, size, time of change and range of records of every file of the split."""
        info = self._examples.dataset_info
        digest = hashlib.sha256(f"{info.full_name}\0".encode())
        # A data set that `tfds.testing.mock_data` makes up has no files.
        for file in info.splits[self._split].file_instructions if info.splits else ():
            try:
                status = os.stat(file.filename)
            except OSError as error:
                raise self._error(f"cannot read {file.filename} ({error.strerror}); prepare the data set again") from None
            digest.update(os.fsencode(os.path.basename(file.filename)))
            digest.update(f"\0{status.st_size} {status.st_mtime_ns} {file.skip} {file.take}\0".encode())
        return digest.hexdigest()

    def _read_example(self, index: int) -> dict[str, Any]:
        try:
            return self._examples[index]
        except Exception as error:  # The reader raises RuntimeError on damage, protobuf and TFDS their own.
            raise UnusableImageError(f"record cannot be read ({first_line(error)}); prepare the data set again") from None

    def _error(self, problem: str) -> UserError:
        return UserError(f"data.source = {self.name!r}: {problem}")

    def _find_builder(self, name: str) -> DatasetBuilder:
        """What knows the data set's features and files. Imports TFDS, which takes most of a second."""
        tfds = import_optional("tensorflow_datasets", package="tensorflow-datasets", needed_by=f"data.source = {self.name!r}")
        visibility = tfds.core.visibility
        # The folder as it is set now; TFDS would take what was set when it was imported.
        folder = {"data_dir": os.environ.get("TFDS_DATA_DIR")}
        # Without the community's data sets, whose list lies on a server.
        with visibility.set_availables_tmp([visibility.DatasetType.TFDS_PUBLIC]):
            try:
                base, options = tfds.core.naming.parse_builder_name_kwargs(name, **folder)
                # Files first: what is prepared needs none of the packages, TensorFlow among them, that preparing it did.
                return tfds.core.read_only_builder.builder_from_files(str(base), **options)
            except tfds.core.DatasetNotFoundError:
                return self._builder_from_code(name, folder)
            except Exception as error:  # A name that cannot be parsed, or unreadable files of any kind.
                raise self._error(f"{name!r} cannot be opened ({first_line(error)}); write it as tfds:NAME[:SPLIT]") from None

    def _builder_from_code(self, name: str, folder: dict[str, str | None]) -> DatasetBuilder:
        """Of a data set that is not prepared, which can tell what it would be."""
        import tensorflow_datasets as tfds

        base, slash, _ = name.partition("/")
        known = tfds.list_builders(with_community_datasets=False)
        if base not in known:
            raise self._unknown("data set", base, known)
        try:
            configurations = [f"{base}/{one}" for one in tfds.builder_cls(base).builder_configs]
            if slash and not configurations:
                raise self._error(f"{base!r} has no configurations; write it as tfds:{base}")
            if slash and name not in configurations:
                raise self._unknown("configuration", name, configurations)
            return tfds.builder(name, try_gcs=False, **folder)
        except UserError:
            raise
        except Exception as error:  # The code of a data set may fail in any way, by a package that it misses for one.
            raise self._error(
                f"is not prepared, and its code fails ({first_line(error)}); type {_how_to_prepare(name)}"
            ) from None

    def _unknown(self, what: str, wanted: str, known: list[str]) -> UserError:
        close = difflib.get_close_matches(wanted, known, n=_MOST_SUGGESTIONS, cutoff=0.5)
        if len(known) <= _MOST_SUGGESTIONS:
            hint = f"there are {', '.join(known)}"
        elif close:
            hint = f"close to it are {', '.join(close)}"
        else:
            hint = "https://www.tensorflow.org/datasets/catalog lists all"
        return self._error(f"no {what} {wanted!r}; {hint}")

    def _choose_image(self, features: Any) -> tuple[str, int]:
        """The feature to read the images from, and their channels."""
        from tensorflow_datasets.core import features as kinds

        names = sorted(features) if isinstance(features, kinds.FeaturesDict) else []
        images = [name for name in names if isinstance(features[name], kinds.Image)]
        chosen = "image" if "image" in names else images[0] if len(images) == 1 else None
        if chosen is None:
            listed = ", ".join(f"{name} ({type(features[name]).__name__})" for name in names) or type(features).__name__
            raise self._error(f"has no feature 'image' nor a single one of images, but {listed}; choose another data set")
        feature = features[chosen]
        kind = np.dtype(feature.np_dtype)
        # TFDS stores floats as the four channels of a PNG.
        is_file = isinstance(feature, kinds.Image) and kind != np.float32
        if not is_file and (len(feature.shape) != 3 or kind != np.uint8):
            shape = "x".join("?" if side is None else str(side) for side in feature.shape)
            raise self._error(
                f"feature {chosen!r} is {shape} {kind}, not height x width x channels uint8; choose another data set"
            )
        return chosen, feature.shape[-1] or 3

    def _open_split(self, builder: DatasetBuilder, name: str) -> Any:
        """The split's records in order; each a dict of features, images still encoded."""
        from tensorflow_datasets import decode
        from tensorflow_datasets.core import features as kinds

        features = builder.info.features
        # All images, for a mask beside the image would be decoded for nothing.
        encoded = {one: decode.SkipDecoding() for one in features if isinstance(features[one], kinds.Image)}
        try:
            return builder.as_data_source(self._split, decoders=encoded)
        except Exception as error:  # NotImplementedError, ValueError and more, with messages of many lines.
            raise self._why_not_opened(builder, name, error) from None

    def _why_not_opened(self, builder: DatasetBuilder, name: str, error: Exception) -> UserError:
        prepare = _how_to_prepare(name)
        if not builder.info.splits:
            return self._error(f"is not prepared in {builder.data_dir}; type {prepare}")
        if isinstance(error, NotImplementedError):
            written = builder.info.file_format.value
            return self._error(
                f"{builder.data_dir} is in the format {written}, which cannot be read at random; "
                f"remove that folder, or set TFDS_DATA_DIR to another, and type {prepare}"
            )
        splits = ", ".join(f"{split} ({info.num_examples} images)" for split, info in builder.info.splits.items())
        return self._error(
            f"cannot open split {self._split!r} ({first_line(error)}); "
            f"there are {splits}, and parts with at least one image, such as train[:10%]"
        )

    def _class_names(self, features: Any) -> tuple[str, ...]:
        """Of the feature `label`, if it is one of classes and the split has them: test sets may hide theirs as -1."""
        from tensorflow_datasets.core import features as kinds

        if "label" not in features or not isinstance(features["label"], kinds.ClassLabel):
            return ()
        try:
            hidden = int(self._read_example(0)["label"]) == -1
        except UnusableImageError:
            hidden = False
        return () if hidden else tuple(features["label"].names)


def _how_to_prepare(name: str) -> str:
    """What to type so that a data set lies on the disk in a format that can be read at random."""
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()\" "
        "(only this may need pip install tensorflow; TFDS_DATA_DIR chooses the folder, for this program too)"
    )
