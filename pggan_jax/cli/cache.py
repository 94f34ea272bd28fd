"""python launch.py cache [--clear=data|features|compiled|all] [--limit=KIND:SIZE,...]

List or remove cached files, with size and time of the last use. There are three kinds: data (prepared images), features (of
reals, for metrics) and compiled (programs of XLA). They lie in ~/.cache/pggan_jax, or where PGGAN_JAX_CACHE says.

Example: python launch.py cache --clear=compiled --limit=data:500GB

Each kind has a limit. When files are added, those that were used longest ago are removed until the rest is within the limit.
Files that a running process uses are never removed, neither then nor by --clear. Removed files are made again when needed.
Writes nothing else; exit status 1 if something that should be removed could not be.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.errors import UserError
from pggan_jax.system.paths import cache_root

if TYPE_CHECKING:
    from pggan_jax.data.cache import Cache, Entry

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_KINDS = ("data", "features", "compiled")
_LARGEST = 10**18
FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "clear",
    None,
    [*_KINDS, "all"],
    "remove all files of that kind that are not in use, without confirmation",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "limit",
    [],
    "new limits of the kinds, as data:500GB,compiled:none; kinds: "
    f"{', '.join(_KINDS)}; sizes: a number with B, kB, MB, GB or TB, or none for no limit",
    flag_values=FLAGS,
)


def run(values: flags.FlagValues) -> int:
    """Print the list or the removed files; 1 if something could not be removed."""
    from pggan_jax.data.cache import Cache

    cache = Cache(cache_root())
    limits = dict(_parse_limit(text) for text in flag_value(values, "limit") or [])
    if limits:
        try:
            cache.set_limits(limits)
        except OSError as error:
            raise UserError(
                f"{cache.root}: cannot be written ({error.strerror}); set PGGAN_JAX_CACHE to another folder"
            ) from None
        for kind in limits:
            cache.trim(kind, print)
    clear = flag_value(values, "clear")
    if clear is None:
        _list(cache)
        return 0
    is_done = [_clear(cache, kind) for kind in (_KINDS if clear == "all" else (clear,))]
    return int(not all(is_done))


def _parse_limit(text: str) -> tuple[str, int | None]:
    kind, _, size = text.strip().partition(":")
    if kind not in _KINDS:
        raise UserError(f"--limit={text}: has no kind; write it as {' or '.join(f'{one}:20GB' for one in _KINDS)}")
    if size == "none":
        return kind, None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*(B|kB|MB|GB|TB)", size)
    if not match or float(match[1]) * _UNITS[match[2]] > _LARGEST:
        raise UserError(
            f"--limit={text}: must be a number with {', '.join(_UNITS)}, at most 1000000TB, as {kind}:20GB, or {kind}:none"
        )
    return kind, int(float(match[1]) * _UNITS[match[2]])


def _list(cache: Cache) -> None:
    from pggan_jax.data.cache import format_bytes

    print(f"{cache.root}\n{'size':>10}  {'last used':16}  what")
    limits = cache.limits()
    totals = []
    for kind in _KINDS:
        entries = cache.entries(kind)
        total = sum(entry.bytes for entry in entries)
        totals.append(f"{kind} {format_bytes(total)} of {format_bytes(limits[kind])}")
        for size, used, what in _rows(cache, kind, entries):
            print(f"{format_bytes(size):>10}  {_date(used):16}  {what}")
    print("; ".join(totals))


def _rows(cache: Cache, kind: str, entries: list[Entry]) -> list[tuple[int, float, str]]:
    """Rows of (bytes, last use, text): data one by one, features and programs by folder."""
    if kind == "data":
        in_use = [" (in use)" if cache.is_in_use(entry) else "" for entry in entries]
        return [
            (entry.bytes, entry.last_used, f"data: {entry.what}{mark}; {entry.path.name}")
            for entry, mark in zip(entries, in_use, strict=True)
        ]
    by_folder: dict[Path, list[Entry]] = {}
    for entry in entries:
        by_folder.setdefault(entry.path.parent, []).append(entry)
    rows = []
    for folder, group in by_folder.items():
        mark = " (in use)" if any(cache.is_in_use(entry) for entry in group[:1]) else ""
        where = f" of machine {folder.name}" if kind == "compiled" else ""
        size, used = sum(entry.bytes for entry in group), max(entry.last_used for entry in group)
        rows.append((size, used, f"{kind}: {len(group):,} files{where}{mark}"))
    return rows


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _clear(cache: Cache, kind: str) -> bool:
    """Remove all files of a kind and print them; False if something could not be removed."""
    from pggan_jax.data.cache import format_bytes

    is_done, freed, count, used = True, 0, 0, 0
    for entry in cache.entries(kind):
        try:
            if not cache.remove(entry):
                used += 1
                continue
        except OSError as error:
            is_done = False
            print(f"error: {entry.path}: cannot be removed ({error.strerror})", file=sys.stderr)
            continue
        freed, count = freed + entry.bytes, count + 1
        if kind == "data":
            print(f"removed {format_bytes(entry.bytes)}: {entry.what}; {entry.path}")
    print(f"{kind}: removed {format_bytes(freed)} in {count:,} entries")
    if used:
        reason = "in use by a running process, or on a disk without locks"
        print(f"{kind}: {used:,} entries are kept: {reason}", file=sys.stderr)
    return is_done and not used
