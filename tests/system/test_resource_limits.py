"""Processors and memory as control groups of both versions, affinity and limits leave them. The machines are folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from pggan_jax.system import resource_limits

ROOT = Path(__file__).parents[2]
MEBI = 2**20
V1 = "35 31 0:32 {root} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}\n"
V2 = "41 31 0:38 {root} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """16 processors, 1 GiB free of 2."""
    memory = namedtuple("Memory", "total available")(2048 * MEBI, 1024 * MEBI)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(resource_limits, "_address_space_left", lambda: resource_limits._NO_LIMIT)


def build(root, mounts, groups, files):
    for name, content in {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def version2(root, files, group="/", top="/"):
    return build(root, V2.format(root=top), f"0::{group}\n", {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def version1(root, files, group="/", top="/"):
    mounts = "".join(V1.format(root=top, name=name) for name in ("cpu", "memory"))
    groups = f"4:memory:{group}\n1:cpu,cpuacct:{group}\n0::/\n"
    return build(root, mounts, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


class TestProcessors:
    @pytest.mark.parametrize(
        ("quota", "expected"),
        [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("5000000 100000", 16), ("", 16)],
    )
    def test_a_quota_of_version_2(self, tmp_path, quota, expected):
        assert resource_limits.available_cpus(version2(tmp_path, {"cpu.max": quota})) == expected

    @pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("300000", 3), ("50000", 1), ("rubbish", 16)])
    def test_a_quota_of_version_1(self, tmp_path, quota, expected):
        files = {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": "100000"}
        assert resource_limits.available_cpus(version1(tmp_path, files)) == expected

    def test_the_tightest_group_around_counts(self, tmp_path):
        files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "800000 100000"}
        assert resource_limits.available_cpus(version2(tmp_path, files, group="/a/b")) == 3

    def test_affinity_counts(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5}, raising=False)
        assert resource_limits.available_cpus(version2(tmp_path, {"cpu.max": "800000 100000"})) == 2

    def test_without_groups_or_affinity(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: None)
        assert resource_limits.available_cpus(tmp_path) == 1


class TestMemory:
    def test_version_2_with_what_can_be_read_again(self, tmp_path):
        files = {
            "memory.max": str(500 * MEBI),
            "memory.current": str(450 * MEBI),
            "memory.stat": f"anon {300 * MEBI}\ninactive_file {100 * MEBI}\nactive_file 7\n",
        }
        assert resource_limits.available_memory(version2(tmp_path, files)) == 150 * MEBI
        assert resource_limits.total_memory(tmp_path) == 500 * MEBI

    def test_version_1(self, tmp_path):
        files = {
            "memory/memory.limit_in_bytes": str(500 * MEBI),
            "memory/memory.usage_in_bytes": str(450 * MEBI),
            "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MEBI}\n",
        }
        assert resource_limits.available_memory(version1(tmp_path, files)) == 150 * MEBI
        assert resource_limits.total_memory(tmp_path) == 500 * MEBI

    @pytest.mark.parametrize("make", [version1, version2])
    def test_without_a_limit(self, tmp_path, make):
        files = {"memory/memory.limit_in_bytes": "9223372036854771712", "memory.max": "max"}
        assert resource_limits.available_memory(make(tmp_path, files)) == 1024 * MEBI
        assert resource_limits.total_memory(tmp_path) == 2048 * MEBI

    def test_a_group_around_and_a_soft_limit(self, tmp_path):
        files = {"pod/memory.high": str(200 * MEBI), "pod/memory.current": str(50 * MEBI), "pod/one/memory.max": "max"}
        assert resource_limits.available_memory(version2(tmp_path, files, group="/pod/one")) == 150 * MEBI

    def test_in_a_container_that_sees_its_own_group_alone(self, tmp_path):
        """The group's name is that of the host, the mount shows the group at its top."""
        files = {"memory/memory.limit_in_bytes": str(300 * MEBI), "memory/memory.usage_in_bytes": "0"}
        root = version1(tmp_path, files, group="/docker/1234", top="/docker/1234")
        assert resource_limits.available_memory(root) == 300 * MEBI

    def test_a_group_whose_folder_cannot_be_seen(self, tmp_path):
        files = {"memory.max": str(300 * MEBI), "memory.current": "0"}
        assert resource_limits.available_memory(version2(tmp_path, files, group="/../elsewhere")) == 300 * MEBI

    def test_never_below_nothing(self, tmp_path):
        files = {"memory.max": str(MEBI), "memory.current": str(2 * MEBI)}
        assert resource_limits.available_memory(version2(tmp_path, files)) == 0


def test_a_limit_on_the_address_space():
    code = (
        "import resource, psutil; from pggan_jax.system import resource_limits; gibi = 2**30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (gibi, gibi)); print(resource_limits.available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert 0 < int(done.stdout) < 2**30


def under_limits(limits, *words):
    """launch.py in a process that may have no more than these."""
    code = (
        f"import resource, runpy, sys\n{limits}\nsys.argv = ['launch.py', *sys.argv[1:]]\n"
        "runpy.run_path('launch.py', run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        (
            "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
            "error: ulimit -n = 16: this process may open too few files; ",
        ),
        (
            "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))",
            "error: ulimit -v = 1048576: this process may have too little",
        ),
    ],
)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_limits_under_which_nothing_works_are_one_line(tmp_path, limits, line, command):
    words = [f"--workdir={tmp_path / 'run'}"] if command == "train" else []
    done = under_limits(limits, command, "--config=experiments/smoke.py", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr) <= 300
    assert not (tmp_path / "run").exists()


def test_a_limit_that_can_be_raised_is():
    code = (
        "import resource; from pggan_jax.system import resource_limits; _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, hard)); resource_limits.require_limits()\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize("path", sorted([*(ROOT / "pggan_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]), ids=str)
def test_nobody_else_counts(path):
    if path.name != "resource_limits.py":
        text = path.read_text(encoding="utf-8")
        assert "cpu_count" not in text
        assert "virtual_memory" not in text
        assert "sched_getaffinity" not in text
