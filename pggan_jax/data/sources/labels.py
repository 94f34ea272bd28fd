"""The class of every image in a collection of files.

From `dataset.json` if it exists, else from the subfolders.

`dataset.json` has the common form `{"labels": [["path", 3], ...]}`, with paths relative to its own folder and class
numbers from 0; `"labels": null` means no labels.

A folder that contains all images is no class: `faces/cat/1.png` and `faces/dog/2.png` have the classes cat and dog, and
`dataset.json` may be in `faces` or beside it. So an archive of a folder has the same labels as the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_names import (
    IMAGES,
    CompactNames,
    FileKind,
    natural_order,
    printable,
    relative_path,
    summarize_names,
)
from pggan_jax.system.json_files import parse_json

LABELS_FILE = b"dataset.json"
# In `Labels.numbers`, for an image that `dataset.json` does not list.
NO_LABEL = -1
# A longer list is no list of classes; each class costs a row of network weights.
_MAX_CLASSES = 100_000
# At most so many images beside the subfolders are examined.
_MAX_EXAMINED = 1000
# A share of the images.
_FEW = 0.1
_FORM = '{"labels": [["path", 3], ...]}'


@dataclass(frozen=True)
class Labels:
    """The classes of a collection.

    Attributes:
        class_names: one per class, in the order of the numbers; empty without classes.
        numbers: int32 `[images]`, 0..classes-1 or `NO_LABEL`; 0 without classes.
        problems: labels without an image, images beside the class folders; one line each.
        origin: the content of `dataset.json`; empty where subfolders decide.
        former_class_names: the class names in the order of their bytes, which earlier versions used; empty where it is the
            same.
    """

    class_names: tuple[str, ...]
    numbers: np.ndarray
    problems: tuple[str, ...] = ()
    origin: bytes = b""
    former_class_names: tuple[str, ...] = ()


def find_labels(names: CompactNames, load: Callable[[bytes], bytes | None], *, kind: FileKind = IMAGES) -> Labels:
    """Find the labels of the images `names`.

    Args:
        names: paths of all images, sorted, at least one.
        load: returns the content of another file of the collection by its path, None if it does not exist; raises an
            UnusableImageError if it cannot be read.
        kind: of the files: images or sound.

    Raises:
        ValueError: `dataset.json` cannot be read, has another form or labels no image; the message names it.
    """
    shared = _shared_folder(names)
    parents = [shared[: end + 1] for end in range(len(shared)) if shared[end : end + 1] == b"/"]
    for parent in [b"", *parents]:
        try:
            content = load(parent + LABELS_FILE)
            if content is not None:
                return _from_json(content, names, parent, kind.noun)
        except (UnusableImageError, ValueError) as error:
            raise ValueError(f"{printable(parent + LABELS_FILE)} {error}") from None
    return _from_subfolders(names, load, below=len(shared), kind=kind)


def _shared_folder(names: CompactNames) -> bytes:
    """Return the deepest folder that contains all images, with a final "/".

    Empty at the top. `names` is sorted.
    """
    shared = os.path.commonpath([os.path.dirname(names[0]), os.path.dirname(names[-1])])
    return shared + b"/" if shared else b""


def _from_subfolders(names: CompactNames, load: Callable[[bytes], bytes | None], *, below: int, kind: FileKind) -> Labels:
    """Make one class of each subfolder, in natural order, if no image lies beside them.

    Args:
        names: paths of all images, sorted.
        load: as for `find_labels`.
        below: length of the path of the shared folder.
        kind: of the files.
    """
    subfolders: list[bytes] = []
    counts: list[int] = []
    own = 0
    for (subfolder, slash), images in groupby(names, lambda name: name[below:].partition(b"/")[:2]):
        if not slash:
            own += 1
            # A grid of this program is refused when it is decoded; it does not make the others lose their classes.
            if own > _MAX_EXAMINED or not _is_own(names[sum(counts)], load, kind):
                return _no_labels(names, problems=_lying_beside(names, below))
        subfolders.append(subfolder if slash else b"")
        counts.append(sum(1 for _ in images))
    former = sorted(filter(None, subfolders))
    if len(former) < 2:
        return _no_labels(names, problems=_lying_beside(names, below))
    classes = sorted(former, key=natural_order)
    number = {b"": 0} | {subfolder: position for position, subfolder in enumerate(classes)}
    numbers = np.repeat([number[subfolder] for subfolder in subfolders], counts)
    former_names = tuple(map(printable, former)) if former != classes else ()
    return Labels(tuple(map(printable, classes)), numbers.astype(np.int32), former_class_names=former_names)


def _is_own(path: bytes, load: Callable[[bytes], bytes | None], kind: FileKind) -> bool:
    """Return whether an image is a grid or similar image written by this program."""
    if kind.is_generated is None:
        return False
    try:
        content = load(path)
    except UnusableImageError:
        return False
    return content is not None and kind.is_generated(content)


def _lying_beside(names: CompactNames, below: int) -> tuple[str, ...]:
    """Report a few images beside many in subfolders: they make all others lose their class."""
    beside = [name for name in names if b"/" not in name[below:]]
    if len(beside) > _FEW * len(names):
        return ()
    more = f" and {len(beside) - 1:,} more" if len(beside) > 1 else ""
    return (
        f"{printable(beside[0])}{more}: beside the subfolders, which are no classes therefore; move it into one, or remove it",
    )


def _no_labels(names: CompactNames, origin: bytes = b"", problems: tuple[str, ...] = ()) -> Labels:
    return Labels((), np.zeros(len(names), np.int32), problems, origin)


def _from_json(content: bytes, names: CompactNames, parent: bytes, noun: str) -> Labels:
    """Read the class numbers of the files `names` from `dataset.json` in the folder `parent`."""
    wanted = _parse(content)
    if wanted is None:
        return _no_labels(names, content)
    largest = max(wanted.values())
    example = printable(next(iter(wanted)))
    labels = len(wanted)
    numbers = np.fromiter((wanted.pop(name[len(parent) :], NO_LABEL) for name in names), np.int32, len(names))
    if len(wanted) == labels:
        raise ValueError(
            f"labels {example!r}, but no {noun} has the path of any label; write paths relative to its folder, "
            f"such as {printable(names[0][len(parent) :])!r}"
        )
    problems = summarize_names(wanted, f"has a label in {printable(parent + LABELS_FILE)}, but no such {noun} exists")
    return Labels(tuple(str(number) for number in range(largest + 1)), numbers, tuple(problems), content)


def _parse(content: bytes) -> dict[bytes, int] | None:
    """Return the class number by path; None for `"labels": null`."""
    try:
        document = parse_json(content)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(document, dict) or "labels" not in document:
        raise ValueError(f"must have the form {_FORM}")
    entries = document["labels"]
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise ValueError(f"must have the form {_FORM}, not {type(entries).__name__} as labels")
    if not entries:
        raise ValueError("has no labels; write null instead of [] if there are none")
    labels: dict[bytes, int] = {}
    for position, entry in enumerate(entries):
        # Dropped at once, so that a million entries and the mapping are not in memory together.
        entries[position] = None
        path, number = _parse_entry(entry, position)
        if path in labels:
            raise ValueError(f"labels {printable(path)!r} twice; remove one")
        labels[path] = number
    return labels


def _parse_entry(entry: object, position: int) -> tuple[bytes, int]:
    """Return path and class number of one entry of "labels"."""
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
        raise ValueError(f'has {_shortened(entry)} as entry {position} of labels; write ["path", 3]')
    written, number = entry
    try:
        path = relative_path(written)
    except ValueError as error:
        raise ValueError(f"labels {_shortened(written)}, which {error}; write paths relative to its folder") from None
    # bool is a subclass of int, and true is no class.
    if type(number) is not int or not 0 <= number < _MAX_CLASSES:
        raise ValueError(
            f"labels {printable(path)!r} with {_shortened(number)}; write a whole number from 0 to {_MAX_CLASSES - 1:,}"
        )
    return path, number


def _shortened(value: object) -> str:
    """Return `value` as JSON, shortened to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
