"""Processors and memory that this process may use: what the machine has, less what affinity and control groups withhold."""

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
"""Bytes. With 2 GB XLA ends the process when it makes its threads; with 4 GB a small run trains."""
_NO_LIMIT = 2**60
"""Version 1 writes the largest multiple of a page instead of saying that there is no limit."""


def available_cpus(root: Path = _ROOT) -> int:
    """Processors that may be used at once, at least 1: by the affinity mask and the quotas of all control groups around.

    Args:
        root: where /proc and /sys are found.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder, version in _groups("cpu", root) if (quota := _cpu_quota(folder, version))]
    return max(1, min([count, *map(math.ceil, quotas)]))


def available_memory(root: Path = _ROOT) -> int:
    """Bytes that may be taken now: free on the machine, and left by the control groups and by `ulimit -v`.

    What a group holds of files that can be read again counts as free.
    """
    left = [psutil.virtual_memory().available, _address_space_left()]
    for folder, version in _groups("memory", root):
        limit = _memory_limit(folder, version)
        if limit:
            used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")) or 0
            left.append(limit - max(0, used - _cached(folder, version)))
    return max(0, min(left))


def total_memory(root: Path = _ROOT) -> int:
    """Bytes that may be taken in all: of the machine, or of the smallest control group around."""
    limits = [limit for folder, version in _groups("memory", root) if (limit := _memory_limit(folder, version))]
    return min([psutil.virtual_memory().total, *limits])


def require_limits() -> None:
    """Refuse limits under which libraries end the process or say nothing of use. To be called before JAX is loaded.

    A limit on open files is raised first, as far as the process may.

    Raises:
        UserError: naming the limit, its value, and what is needed.
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
    """Folders of this process's group and of all groups around it, each with the version of its control groups."""
    try:
        mounts = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
        memberships = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for version, inner in _memberships(memberships, controller):
        for mounted, top in _mounts(mounts, version, controller):
            # Inside a container the mount may show the group of the container as its root, or none of what lies above.
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
    """Which group is mounted, and where."""
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
    """Processors' worth of time; 0 without a quota."""
    if version == 2:
        words = _words(folder / "cpu.max")
        quota, period = [*words, "", ""][:2]
    else:
        quota, period = ("".join(_words(folder / f"cpu.cfs_{name}_us")[:1]) for name in ("quota", "period"))
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return 0.0
    return int(quota) / int(period)


def _memory_limit(folder: Path, version: int) -> int:
    """Bytes; 0 without a limit."""
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    limits = [limit for name in names if (limit := _number(folder / name)) is not None and limit < _NO_LIMIT]
    return min(limits, default=0)


def _cached(folder: Path, version: int) -> int:
    """Bytes of files that the group can let go of at once."""
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
