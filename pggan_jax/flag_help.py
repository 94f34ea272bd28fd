"""The list of flags in `--help`, and what is wrong with a flag."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from absl import flags


def describe_flags(values: flags.FlagValues, *, obvious: Sequence[Any] = ()) -> str:
    """Describe each flag in two lines: its name, and its help with the default.

    The flags for help itself are left out.

    Args:
        values: the flags.
        obvious: defaults that are not printed, besides None, an empty list and false.
    """
    lines = []
    for name in values:
        flag = values[name]
        if name in ("help", "helpshort", "helpfull", "helpxml"):
            continue
        is_obvious = flag.default in (None, [], False, *obvious)
        default = "" if is_obvious else f" (default: {(flag.default_as_str or '').strip(chr(39))})"
        lines.append(f"\n  --{name}{'' if flag.boolean else '=...'}\n      {flag.help}{default}")
    return "".join(lines)


def flag_problem(error: flags.Error) -> str:
    """Say what absl refuses; it prints a wrong value of a switch as a tuple."""
    return re.sub(r"\('Non-boolean argument to boolean flag', .*\)$", "must be true or false", str(error))
