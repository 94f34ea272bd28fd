"""Asked for where it is known to be understood and of use; XLA ends the process for a word it does not know."""

from __future__ import annotations

import os
import subprocess
import sys

import jaxlib
import pytest

from pggan_jax.system import xla_options
from pggan_jax.system.xla_options import describe_unknown_jaxlib, prefer_fast_compilation, prefer_fast_convolutions

OPTION = "--xla_cpu_experimental_ynn_fusion_type="
EMITTERS = "--xla_cpu_use_fusion_emitters"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(xla_options, "version", lambda _: "0.10.2")
    monkeypatch.setattr(xla_options, "find_spec", lambda _: None)


def flags_after(monkeypatch, before):
    monkeypatch.setenv("XLA_FLAGS", before)
    prefer_fast_convolutions()
    return os.environ["XLA_FLAGS"]


@pytest.mark.parametrize(
    ("before", "after"), [("", OPTION), ("--xla_a=1", f"--xla_a=1 {OPTION}"), (f"{OPTION}x", f"{OPTION}x")]
)
def test_is_added_unless_the_user_has_chosen(monkeypatch, before, after):
    assert flags_after(monkeypatch, before) == after
    prefer_fast_convolutions()
    assert os.environ["XLA_FLAGS"] == after


@pytest.mark.parametrize("before", ["", OPTION, f"{EMITTERS}=true"])
def test_one_option_does_not_stand_for_another(monkeypatch, before):
    monkeypatch.setenv("XLA_FLAGS", before)
    prefer_fast_compilation()
    added = "" if EMITTERS in before else f"{EMITTERS}=false"
    assert os.environ["XLA_FLAGS"].split() == [*before.split(), *added.split()]


def test_other_versions_are_left_alone(monkeypatch):
    monkeypatch.setattr(xla_options, "version", lambda _: "0.11.0")
    assert flags_after(monkeypatch, "--xla_a=1") == "--xla_a=1"


@pytest.mark.parametrize(
    ("installed", "is_measured"), [("0.10.2", True), ("0.12.0.1", True), ("0.13.0", False), ("1.0", False)]
)
def test_a_version_without_measurements_is_named(monkeypatch, installed, is_measured):
    monkeypatch.setattr(xla_options, "version", lambda _: installed)
    assert (installed in describe_unknown_jaxlib()) != is_measured


def test_so_is_a_machine_with_tpus(monkeypatch):
    monkeypatch.setattr(xla_options, "find_spec", lambda name: name == "libtpu")
    assert flags_after(monkeypatch, "") == ""


@pytest.mark.slow
@pytest.mark.skipif(not jaxlib.__version__.startswith("0.10."), reason="the option is of jaxlib 0.10")
def test_xla_listens():
    """In processes of their own: a compiled convolution is YNNPACK's, and no longer is when it is asked."""
    program = (
        "import sys; from pggan_jax.system.xla_options import prefer_fast_convolutions\n"
        "if len(sys.argv) > 1: prefer_fast_convolutions()\n"
        "import jax, numpy as np; from pggan_jax.networks.resample import convolve\n"
        "x, k = np.ones((16, 16, 16, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)\n"
        "print('ynn' in jax.jit(convolve).lower(x, k).compile().as_text())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    found = [
        subprocess.run(
            [sys.executable, "-c", program, *words], env=environment, check=True, capture_output=True, text=True
        ).stdout
        for words in ([], ["prefer"])
    ]
    assert found == ["True\n", "False\n"]
