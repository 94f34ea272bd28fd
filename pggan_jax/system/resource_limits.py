"""Processors and memory that this process may use.

These are those of the machine within the limits of CPU affinity, control groups and `ulimit`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from pggan_jax.errors import UserError

_ROOT = Path("/")
_LEAST_FILES = 32
_LEAST_ADDRESS_SPACE = 3 * 10**9
"""Bytes. With 2 GB XLA exits when it starts its threads; with 4 GB a small run trains."""
_NO_LIMIT = 2**60
"""Control groups of version 1 report no limit as the largest multiple of a page."""


def available_cpus(root: Path = _ROOT) -> int:
    """Count processors within the affinity mask and the quotas of control groups.

    Args:
        root: folder with proc and sys; another one for tests.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder, version in _groups("cpu", root) if (quota := _cpu_quota(folder, version))]
    return max(1, min([count, *map(math.ceil, quotas)]))


def available_memory(root: Path = _ROOT) -> int:
    """Bytes that can be allocated now: free memory within control groups and `ulimit -v`.

    Cached files of a group count as free.
    """
    left = [psutil.virtual_memory().available, _address_space_left()]
    for folder, version in _groups("memory", root):
        limit = _memory_limit(folder, version)
        if limit:
            used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")) or 0
            left.append(limit - max(0, used - _cached(folder, version)))
    return max(0, min(left))


def total_memory(root: Path = _ROOT) -> int:
    """Bytes that can be allocated in total: of the machine or of the smallest control group."""
    limits = [limit for folder, version in _groups("memory", root) if (limit := _memory_limit(folder, version))]
    return min([psutil.virtual_memory().total, *limits])


def require_limits() -> None:
    """Refuse `ulimit` values with which libraries exit or fail without a useful message.

    Call it before JAX is imported. The limit on open files is raised first, if the process may.

    Raises:
        UserError: a limit is too small.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _LEAST_FILES:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < _LEAST_FILES:
            raise UserError(
                f"ulimit -n = {soft}: this process may open too few files; allow at least {_LEAST_FILES}, by ulimit -n 1024"
            )
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= space < _LEAST_ADDRESS_SPACE:
        raise UserError(
            f"ulimit -v = {space // 1024}: this process may have too little address space (JAX reserves more than it uses); "
            f"allow at least {_LEAST_ADDRESS_SPACE // 1024}, or ulimit -v unlimited"
        )


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's control group and its parents, with versions."""
    try:
        mounts = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
        memberships = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for version, inner in _memberships(memberships, controller):
        for mounted, top in _mounts(mounts, version, controller):
            # Inside a container the root of the mount may be the container's group, or its parents may be hidden.
            path = inner[len(mounted.rstrip("/")) :] if f"{inner}/".startswith(f"{mounted.rstrip('/')}/") else ""
            base = root / top.lstrip("/")
            folder = base / path.lstrip("/")
            for one in (folder, *folder.parents):
                if one.is_dir():
                    yield one, version
                if one == base or base not in one.parents:
                    break


def _memberships(lines: list[str], controller: str) -> Iterator[tuple[int, str]]:
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            yield 2, path
        elif controller in controllers.split(","):
            yield 1, path


def _mounts(lines: list[str], version: int, controller: str) -> Iterator[tuple[str, str]]:
    """Yield the group that is mounted and the mount point."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, details = before.split(), after.split()
        if len(fields) < 5 or len(details) < 3:
            continue
        is_wanted = (
            details[0] == "cgroup2" if version == 2 else (details[0] == "cgroup" and controller in details[-1].split(","))
        )
        if is_wanted:
            yield fields[3], fields[4].replace("\\040", " ")


def _cpu_quota(folder: Path, version: int) -> float:
    """Quota in processors; 0 without a quota."""
    if version == 2:
        words = _words(folder / "cpu.max")
        quota, period = [*words, "", ""][:2]
    else:
        quota, period = ("".join(_words(folder / f"cpu.cfs_{name}_us")[:1]) for name in ("quota", "period"))
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return 0.0
    return int(quota) / int(period)


def _memory_limit(folder: Path, version: int) -> int:
    """Limit in bytes; 0 without a limit."""
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    limits = [limit for name in names if (limit := _number(folder / name)) is not None and limit < _NO_LIMIT]
    return min(limits, default=0)


def _cached(folder: Path, version: int) -> int:
    """Bytes of cached files that the group can free at once."""
    wanted = "inactive_file" if version == 2 else "total_inactive_file"
    words = _words(folder / "memory.stat")
    values = dict(zip(words[::2], words[1::2], strict=False))
    value = values.get(wanted, "0")
    return int(value) if value.isdigit() else 0


def _number(path: Path) -> int | None:
    word = "".join(_words(path)[:1])
    return int(word) if word.isdigit() else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split()
    except OSError:
        return []


def _address_space_left() -> int:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        return _NO_LIMIT if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms
    except (ImportError, OSError, ValueError, psutil.Error):
        return _NO_LIMIT
