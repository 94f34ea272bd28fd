"""The source `tfds:NAME[:SPLIT]`.

A prepared data set of tensorflow_datasets, with random access and without TensorFlow.

Nothing is downloaded and no server is contacted: a missing data set is an error that says how to prepare it.
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
UNREAD = -2
"""In the place of a label that is not read yet; TFDS writes -1 for examples without a label."""


class TfdsSource:
    """The images of one split as they are stored, with the classes of a feature `label`.

    A subclass may take another feature than images; the methods with one underscore are meant for it.
    """

    problems: tuple[str, ...] = ()
    kind = "tfds"
    """How the source begins in `data.source`."""

    def __init__(self, argument: str) -> None:
        """Find the data set on the disk, in $TFDS_DATA_DIR or else ~/tensorflow_datasets.

        Args:
            argument: "NAME", "NAME/CONFIG", or either with ":SPLIT", such as "cifar10:test" or "lsun/bedroom:train[:10%]".
                The default split is "train".

        Raises:
            UserError: data set, configuration or split do not exist, are not prepared for random access, or have no images.
        """
        self.name = f"{self.kind}:{argument}"
        name, _, split = argument.partition(":")
        self._split = split or "train"
        builder = self._find_builder(name)
        features = builder.info.features
        self._feature, self.channels = self._choose_feature(features)
        self._examples = self._open_split(builder, name)
        self.class_names = self._class_names(features)
        self._labels = np.full(len(self._examples), UNREAD, np.int32)

    def __len__(self) -> int:
        return len(self._examples)

    def item_name(self, index: int) -> str:
        """Return a name such as "record 17"."""
        return f"record {index}"

    def label(self, index: int) -> int:
        """Return the class of image `index`.

        0 where there are no classes, and for an unreadable record.

        The record is read, not decoded, unless the image was read before.
        """
        if not self.class_names:
            return 0
        if self._labels[index] == UNREAD:
            try:
                self.read(index)
            except UnusableImageError:
                return 0
        return int(self._labels[index])

    def read(self, index: int) -> bytes | np.ndarray:
        """Return image `index` as an encoded file, or as uint8 `[height, width, channels]`.

        Raises:
            UnusableImageError: the record is damaged, or its label is none of the classes.
        """
        example = self._read_example(index)
        if self.class_names:
            label = int(example["label"])
            if not 0 <= label < len(self.class_names):
                raise UnusableImageError(f"has label {label}, which is none of the {len(self.class_names)} classes")
            self._labels[index] = label
        return example[self._feature]

    def fingerprint(self) -> str:
        """Return a digest of the version and of name, size, time and record range of every file."""
        info = self._examples.dataset_info
        digest = hashlib.sha256(f"{info.full_name}\0".encode())
        # A data set of `tfds.testing.mock_data` has no files.
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
        except Exception as error:  # The reader raises RuntimeError on damage; protobuf and TFDS raise other errors.
            raise UnusableImageError(f"record cannot be read ({first_line(error)}); prepare the data set again") from None

    def _error(self, problem: str) -> UserError:
        return UserError(f"data.source = {self.name!r}: {problem}")

    def _find_builder(self, name: str) -> DatasetBuilder:
        """Return the builder, which has features and files; importing TFDS takes about a second."""
        tfds = import_optional("tensorflow_datasets", package="tensorflow-datasets", needed_by=f"data.source = {self.name!r}")
        visibility = tfds.core.visibility
        # Read the variable now; TFDS uses its value at import.
        folder = {"data_dir": os.environ.get("TFDS_DATA_DIR")}
        # Without community data sets, whose list is on a server.
        with visibility.set_availables_tmp([visibility.DatasetType.TFDS_PUBLIC]):
            try:
                base, options = tfds.core.naming.parse_builder_name_kwargs(name, **folder)
                # Files first: reading a prepared data set needs no package, such as TensorFlow, that preparing it does.
                return tfds.core.read_only_builder.builder_from_files(str(base), **options)
            except tfds.core.DatasetNotFoundError:
                return self._builder_from_code(name, folder)
            except Exception as error:  # An invalid name, or unreadable files.
                raise self._error(
                    f"{name!r} cannot be opened ({first_line(error)}); write it as {self.kind}:NAME[:SPLIT]"
                ) from None

    def _builder_from_code(self, name: str, folder: dict[str, str | None]) -> DatasetBuilder:
        """Return the builder of a data set that is not prepared, for its error message."""
        import tensorflow_datasets as tfds

        base, slash, _ = name.partition("/")
        known = tfds.list_builders(with_community_datasets=False)
        if base not in known:
            raise self._unknown("data set", base, known)
        try:
            configurations = [f"{base}/{one}" for one in tfds.builder_cls(base).builder_configs]
            if slash and not configurations:
                raise self._error(f"{base!r} has no configurations; write it as {self.kind}:{base}")
            if slash and name not in configurations:
                raise self._unknown("configuration", name, configurations)
            return tfds.builder(name, try_gcs=False, **folder)
        except UserError:
            raise
        except Exception as error:  # The code of a data set may fail in any way, for example for a missing package.
            raise self._error(
                f"is not prepared, and its code fails ({first_line(error)}); run {_how_to_prepare(name)}"
            ) from None

    def _unknown(self, what: str, wanted: str, known: list[str]) -> UserError:
        close = difflib.get_close_matches(wanted, known, n=_MOST_SUGGESTIONS, cutoff=0.5)
        if len(known) <= _MOST_SUGGESTIONS:
            hint = f"available: {', '.join(known)}"
        elif close:
            hint = f"similar: {', '.join(close)}"
        else:
            hint = "https://www.tensorflow.org/datasets/catalog lists all"
        return self._error(f"no {what} {wanted!r}; {hint}")

    def _choose_feature(self, features: Any) -> tuple[str, int]:
        """Return the name of the image feature and its number of channels."""
        from tensorflow_datasets.core import features as kinds

        names = sorted(features) if isinstance(features, kinds.FeaturesDict) else []
        images = [name for name in names if isinstance(features[name], kinds.Image)]
        chosen = "image" if "image" in names else images[0] if len(images) == 1 else None
        if chosen is None:
            listed = ", ".join(f"{name} ({type(features[name]).__name__})" for name in names) or type(features).__name__
            raise self._error(f"has no feature 'image', nor exactly one of images, but {listed}; choose another data set")
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
        """Open the records of the split; each is a dict of features with encoded images."""
        from tensorflow_datasets import decode
        from tensorflow_datasets.core import features as kinds

        features = builder.info.features
        # For all image features, as a mask, for example, would be decoded without use.
        encoded = {one: decode.SkipDecoding() for one in features if isinstance(features[one], kinds.Image)}
        try:
            return builder.as_data_source(self._split, decoders=encoded)
        except Exception as error:  # NotImplementedError, ValueError and others, with messages of many lines.
            raise self._why_not_opened(builder, name, error) from None

    def _why_not_opened(self, builder: DatasetBuilder, name: str, error: Exception) -> UserError:
        prepare = _how_to_prepare(name)
        if not builder.info.splits:
            return self._error(f"is not prepared in {builder.data_dir}; run {prepare}")
        if isinstance(error, NotImplementedError):
            written = builder.info.file_format.value
            return self._error(
                f"{builder.data_dir} has the format {written}, which has no random access; "
                f"remove that folder, or set TFDS_DATA_DIR to another, and run {prepare}"
            )
        splits = ", ".join(f"{split} ({info.num_examples:,} examples)" for split, info in builder.info.splits.items())
        return self._error(
            f"cannot open split {self._split!r} ({first_line(error)}); "
            f"available: {splits}, and slices with at least one example, such as train[:10%]"
        )

    def _class_names(self, features: Any) -> tuple[str, ...]:
        """Return the names of a class feature `label`.

        Empty where the split hides its labels, as -1 in some test sets.
        """
        from tensorflow_datasets.core import features as kinds

        if "label" not in features or not isinstance(features["label"], kinds.ClassLabel):
            return ()
        try:
            hidden = int(self._read_example(0)["label"]) == -1
        except UnusableImageError:
            hidden = False
        return () if hidden else tuple(features["label"].names)


def _how_to_prepare(name: str) -> str:
    """Return the command that prepares a data set in a format with random access."""
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()\" "
        "(it needs pip install tensorflow; TFDS_DATA_DIR chooses the folder)"
    )
