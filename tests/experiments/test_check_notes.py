"""experiments/check_notes.py on waves that another program could have made."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.notes_formula import notes
from tests.helpers.source_code import ROOT


def check(*arguments):
    command = [sys.executable, str(ROOT / "experiments" / "check_notes.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_real_waves_meet_the_aims_and_noise_does_not(tmp_path):
    waves, pitches = notes(range(4160, 4160 + 130))
    np.savez(tmp_path / "good.npz", waves=waves.astype(np.float32), pitches=pitches)
    np.savez(tmp_path / "bad.npz", waves=0.2 * np.random.RandomState(0).standard_normal(waves.shape), pitches=pitches)
    good, bad = (check(f"--waves={tmp_path / name}.npz") for name in ("good", "bad"))
    assert (good.returncode, bad.returncode) == (0, 1), good.stderr + bad.stderr
    assert "aims met" in good.stdout
    assert bad.stdout.count("missed") >= 5


@pytest.mark.slow
def test_what_cannot_be_checked_is_one_line(tmp_path):
    np.savez(tmp_path / "strange.npz", waves=np.zeros((3, 100)), pitches=np.zeros(2, int))
    for name, reason in (("strange", "must be [count, samples]"), ("missing", "cannot be read")):
        found = check(f"--waves={tmp_path / name}.npz")
        assert found.returncode == 2
        assert reason in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1
