"""Names and numbers of classes in flags and file names."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Sequence

import numpy as np

from pggan_jax.errors import UserError

_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_PART_BYTES = 80
_SHOWN = 5
_LONGEST_SHOWN = 40
_HIGHEST_PITCH = 127


def classes_of_seeds(seeds: Sequence[int] | np.ndarray, present: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the default class of each seed: the present class n modulo their number.

    Args:
        seeds: 0 or more.
        present: numbers of the classes that have images; empty without labels.

    Returns:
        int64 `[len(seeds)]`; all 0 without labels.
    """
    numbers = np.asarray(present if len(present) else [0], np.int64)
    return numbers[np.asarray(seeds, np.int64) % len(numbers)]


def find_class(wanted: str, names: Sequence[str], *, count: int) -> int:
    """Return the number of the class that `--class=WANTED` means.

    `name:X` means the class with the name X, `number:2` the one with that number. Without a prefix both are tried; a text that
    is the name of one class and the number of another is refused.

    Args:
        wanted: as the user wrote it.
        names: of the classes; empty if the checkpoint does not record them.
        count: number of classes, 1 or more.

    Raises:
        UserError: there is no such class, or there are several.
    """
    prefix, colon, rest = wanted.partition(":")
    by_name = [number for number, name in enumerate(names) if name == (rest if colon and prefix == "name" else wanted)]
    if colon and prefix in ("name", "number"):
        number = _only(by_name, wanted, names, count) if prefix == "name" else _number(rest, count)
        if number is None:
            raise _refuse(wanted, f"{_shortened(rest)} is not a number from 0 to {count - 1}")
        # The text with its prefix may be the name of another class.
        if wanted in names and names.index(wanted) != number:
            namesake = names.index(wanted)
            raise _refuse(
                wanted, f"means class {number}, and class {namesake} has this name; write name:{wanted} for class {namesake}"
            )
        return number
    number = _number(wanted, count)
    found = sorted({*by_name, *([] if number is None else [number])})
    if number is not None and by_name and by_name != [number]:
        raise _refuse(
            wanted,
            f"is the name of class {by_name[0]} and the number of class {_shortened(names[number])}; "
            f"write name:{wanted} or number:{wanted}",
        )
    return _only(found, wanted, names, count)


def classes_of_pitches(names: Sequence[str], label_kind: str) -> dict[int, int]:
    """Return the class number of each MIDI pitch; empty if the classes are no pitches.

    Args:
        names: of the classes.
        label_kind: what they are, as the data record it: folders may be named with numbers, too.
    """
    are_pitches = label_kind == "pitch" and all(
        name.isascii() and name.isdecimal() and len(name) <= 3 and int(name) <= _HIGHEST_PITCH for name in names
    )
    return {int(name): number for number, name in enumerate(names)} if are_pitches else {}


def number_of_class(wanted: int | str, names: Sequence[str], *, count: int) -> int:
    """Return the number of a class that a program names, by number or by its exact name.

    Raises:
        UserError: there is no such class.
    """
    if isinstance(wanted, str):
        try:
            return find_class(wanted, names, count=count)
        except UserError as error:
            raise UserError(str(error).replace("--class=", "label ", 1)) from None
    try:
        number = operator.index(wanted)
    except TypeError:
        raise UserError(f"label {str(wanted)[:40]}: must be a whole number from 0 to {count - 1}, or a name") from None
    if not 0 <= number < count:
        named = f'; the class of this name is label "{number}"' if str(number) in names else ""
        raise UserError(f"label {number}: must be from 0 to {count - 1}{named}")
    return number


def file_part(number: int, names: Sequence[str]) -> str:
    """Return the part of a file name for a class: "class2_dog", or "class2" without name."""
    name = names[number] if number < len(names) else str(number)
    safe = _UNSAFE.sub("_", name).strip("._")
    safe = safe.encode()[:_LONGEST_PART_BYTES].decode(errors="ignore")
    return f"class{number}" if safe in ("", str(number)) else f"class{number}_{safe}"


def _number(text: str, count: int) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) and 0 <= int(text) < count else None


def _only(found: Sequence[int], wanted: str, names: Sequence[str], count: int) -> int:
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(f"number:{number}" for number in found[:_SHOWN])
        raise _refuse(wanted, f"is the name of {len(found)} classes; choose one of {numbers}")
    if _NUMBER.fullmatch(wanted):
        listed = f"; there are {_listed(names)}" if names else ""
        raise _refuse(wanted, f"must be from 0 to {count - 1}, or the name of a class{listed}")
    if not names:
        raise _refuse(wanted, f"the checkpoint does not record class names; give a number from 0 to {count - 1}")
    text = wanted.removeprefix("name:")
    close = difflib.get_close_matches(text, names[:10_000], n=1) if len(text) <= _LONGEST_SHOWN else []
    hint = f"did you mean {_shortened(close[0])}?" if close else f"there are {_listed(names)}"
    raise _refuse(wanted, f"no class has this name; {hint}")


def _refuse(wanted: str, reason: str) -> UserError:
    shown = wanted if len(wanted) <= _LONGEST_SHOWN else f"{wanted[:_LONGEST_SHOWN]}..."
    return UserError(f"--class={shown}: {reason.replace(wanted, shown) if len(wanted) > _LONGEST_SHOWN else reason}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 20 else f"{name[:20]}..." for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _shortened(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}...")
