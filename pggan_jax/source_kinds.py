"""The kinds of sources of images and sound, as written in `data.source`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceKind:
    """How a kind of source is written.

    Attributes:
        usage: as a user types it; brackets mark optional parts.
        help: what it reads, in a few words.
        needs_argument: whether an argument must follow the colon.
        takes_argument: whether an argument may follow the colon.
        is_sound: whether it gives sound, which becomes images by the settings `sound`.
    """

    usage: str
    help: str
    needs_argument: bool = True
    takes_argument: bool = True
    is_sound: bool = False


LONGEST_ARGUMENT = 8192
"""Characters; no path is longer, and Python makes no number of more than 4,300 digits."""
SOURCE_KINDS = {
    "digits": SourceKind("digits", "1,797 scanned digits, built-in", needs_argument=False, takes_argument=False),
    "photos": SourceKind("photos", "4,096 crops of ten photographs, built-in", needs_argument=False, takes_argument=False),
    "folder": SourceKind("folder:DIR", "every image below DIR; one subfolder per class, or dataset.json, gives labels"),
    "zip": SourceKind("zip:FILE", "every image in a zip archive, labelled like a folder"),
    "tfds": SourceKind("tfds:NAME[:SPLIT]", "a data set of tensorflow_datasets, such as tfds:cifar10:train"),
    "tfrecords": SourceKind("tfrecords:DIR", "the multi-resolution files that the authors' dataset tool writes"),
    "prepared": SourceKind("prepared:DIR", "a folder that `launch.py prepare` has written"),
    "stacked": SourceKind("stacked:SOURCE", "three random images of a grey source as red, green and blue, as in stacked MNIST"),
    "notes": SourceKind(
        "notes[:COUNT[:SEED]]", "5,200 synthesised notes of exact pitch, built-in sound", needs_argument=False, is_sound=True
    ),
    "sound": SourceKind(
        "sound:DIR|FILE.zip|tfds:NAME",
        "every audio file in a folder or a zip archive, or a data set such as sound:tfds:nsynth/gansynth_subset",
        is_sound=True,
    ),
    "synthetic": SourceKind("synthetic[:COUNT[:SEED]]", "generated patterns of any size, for tests", needs_argument=False),
}


def parse_source(spec: str) -> tuple[str, str]:
    """Split a source as written in `data.source` into (kind, argument).

    Raises:
        ValueError: the kind is unknown, or its argument is missing or not allowed; the message says what is allowed.
    """
    kind, colon, argument = spec.partition(":")
    if kind not in SOURCE_KINDS:
        usages = ", ".join(one.usage for one in SOURCE_KINDS.values())
        raise ValueError(f"must be one of {usages}")
    known = SOURCE_KINDS[kind]
    if (colon and not (argument and known.takes_argument)) or (known.needs_argument and not argument):
        raise ValueError(f"write it as {known.usage}")
    if kind == "stacked" and argument.partition(":")[0] == "stacked":
        raise ValueError("stacks images that are stacked already; write stacked: once")
    inner = argument.partition(":")[0]
    if kind == "stacked" and inner in SOURCE_KINDS and SOURCE_KINDS[inner].is_sound:
        raise ValueError(f"stacks images, and {inner} gives sound; write stacked: with a source of images")
    if len(argument) > LONGEST_ARGUMENT:
        raise ValueError(f"has {len(argument):,} characters after {kind}:, at most {LONGEST_ARGUMENT:,} are taken")
    return kind, argument
