"""The worked examples of docs/extending.md, run as they stand on the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from pggan_jax.training import multi_step
from tests.helpers.command_line import environment, small_flags
from tests.helpers.runs import run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/extending.md has no section {heading!r}: change its name here, too"
    return found.group(1)


def with_diff(heading: str) -> dict[str, str]:
    """Sources by path, after the diffs in one section of the page."""
    sources = {}
    for path, lines in re.findall(r"```diff\n--- (\S+)\n(.*?)```", section(heading), re.S):
        rows = lines.splitlines()
        old = "".join(f"{row[1:]}\n" for row in rows if row[:1] in " -")
        new = "".join(f"{row[1:]}\n" for row in rows if row[:1] in " +")
        source = sources.get(path) or (ROOT / path).read_text(encoding="utf-8")
        problem = f"update the diff in docs/extending.md, section {heading!r}: {path} does not have these lines exactly once"
        assert source.count(old) == 1, f"{problem}:\n{old}"
        sources[path] = source.replace(old, new)
    return sources


def copy_program(folder: Path) -> None:
    shutil.copytree(ROOT / "pggan_jax", folder / "pggan_jax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", folder)


def launch_copy(folder: Path, *words: object) -> None:
    command = [sys.executable, "launch.py", *map(str, words)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=environment())
    assert ended.returncode == 0, f"update the example in docs/extending.md; it ends with:\n{ended.stderr}"


def test_a_new_loss_term(tmp_path):
    """It trains otherwise, and its scalar is in stats.jsonl and on the report page."""
    sources = with_diff("Example: a new loss term")
    path = "pggan_jax/training/train_step.py"
    assert list(sources) == [path], f"update this test: docs/extending.md now changes {', '.join(sources)}"
    source = sources[path]
    changed = types.ModuleType("changed_train_step")
    exec(compile(source, path, "exec"), vars(changed))
    config = small_config(data__resolution=4, schedule__stable_kimg=0.16)
    assert run_small(tmp_path / "plain", config, shared=False)
    with mock.patch.object(multi_step, "train_step", changed.train_step):
        assert run_small(tmp_path / "changed", config, shared=False)
    (plain,), (record,) = stats(tmp_path / "plain"), stats(tmp_path / "changed")
    assert record.keys() - plain.keys() == {"brightness"}
    assert np.isfinite(record["brightness"])
    assert record["loss_g"] != plain["loss_g"]
    pages = [render(gather(tmp_path / name, config)) for name in ("plain", "changed")]
    assert ["Other scalars" in page for page in pages] == [False, True]
    assert f"brightness: {record['brightness']:.5g} at kimg" in pages[1]


def test_a_new_metric(tmp_path, finished):
    """In a copy of the program, the file is all that `evaluate` needs."""
    path, source = re.search(r"```python\n# (\S+)\n(.*?)```", section("Example: a new metric"), re.S).groups()
    copy_program(tmp_path)
    (tmp_path / path).write_text(source, encoding="utf-8")  # also over one that a reader of the page has written
    words = ["evaluate", f"--workdir={finished}", "--metrics=brightness", "--num_images=32", f"--out={tmp_path / 'out'}"]
    launch_copy(tmp_path, *words)
    (record,) = map(json.loads, (tmp_path / "out" / "metric-brightness.jsonl").read_text().splitlines())
    assert 0.0 <= record["values"]["difference"] <= 255.0


def test_a_new_hook(tmp_path):
    """In a copy of the program, training writes its file, which has the last line of stats.jsonl."""
    copy_program(tmp_path)
    for path, source in with_diff("Example: a new hook").items():
        (tmp_path / path).write_text(source, encoding="utf-8")
    run = tmp_path / "run"
    settings = small_flags(data__resolution=4, schedule__stable_kimg=0.16)
    launch_copy(tmp_path, f"--workdir={run}", *settings)
    record = json.loads((run / "progress.json").read_text())
    *_, last = stats(run)
    assert record == last
