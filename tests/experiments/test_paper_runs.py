"""Each study of experiments/paper once from start to end, with --quick; a stopped one continues."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.command_line import environment

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SCRIPTS = [path.stem for path in sorted((ROOT / "experiments" / "paper").glob("[!rc]*.py"))] + ["conditional"]
ALONE = {
    "ablation": ("--variants=b",),
    "hyperparameters": ("--variants=critic-2",),
    "stacked_modes": ("--variants=k2-growing",),
}
"""Studies of which one variant is run: the others differ in settings alone."""


def start(name: str, out: Path, *flags: str) -> subprocess.Popen:
    words = [f"experiments/paper/{name}.py", "--quick", f"--out={out}", *flags]
    one_device = environment() | {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}  # which compiles in less time
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=one_device, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", sorted(set(SCRIPTS)))
def test_a_quick_study_writes_everything(name, tmp_path):
    process = start(name, tmp_path / "out", *ALONE.get(name, ()))
    printed, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["quick"]
    assert found["study"] == name
    for variant in found["variants"]:
        (run,) = variant["runs"]
        assert found["headline"] in run["values"]
        assert run["seconds"] > 0
    assert "**Made with `--quick`" in printed
    assert (tmp_path / "out" / "figure.svg").read_text().startswith("<svg")
    assert Image.open(tmp_path / "out" / "contact_sheet.png").height > 32 * len(found["variants"])
    for run in (tmp_path / "out" / "runs").iterdir():
        assert len([path for path in (run / "checkpoints").iterdir() if path.name.isdecimal()]) == 1


def test_a_stopped_study_continues_with_the_same_command(tmp_path):
    out, flags = tmp_path / "out", ("--variants=labels", "--scale=20")
    process = start("conditional", out, *flags)
    deadline = time.monotonic() + 120
    while not (out / "runs" / "labels-0" / "stats.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=120)
    assert process.returncode == 130, problems
    assert "this continues: python experiments/paper/conditional.py" in problems
    before = (out / "runs" / "labels-0" / "stats.jsonl").read_text().splitlines()
    process = start("conditional", out, *flags)
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    log = (out / "logs" / "labels-0.txt").read_text()
    assert "resum" in log or "continu" in log
    after = (out / "runs" / "labels-0" / "stats.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) > len(before)
