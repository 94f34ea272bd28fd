"""Values that nobody means: every numeric flag and setting has limits, and whatever is typed is answered by one short line."""

from __future__ import annotations

import importlib
import math
from typing import get_args

import pytest
from absl import flags

from pggan_jax import cli
from pggan_jax.cli.shared_flags import parse_seeds
from pggan_jax.config import Config
from pggan_jax.config.io import load_config
from pggan_jax.config.validation import walk
from pggan_jax.errors import LONGEST_MESSAGE, ConfigError, UserError, one_line
from pggan_jax.source_kinds import parse_source

LONG = "7" * 5000
ABSURD = (
    "0",
    "-1",
    "1000000000000",
    "1000000007",
    "99999999999",
    "nan",
    "inf",
    "-inf",
    "1e999",
    LONG,
    "-" + LONG,
    "",
    " ",
    "x" * 5000,
)
MODULES = {name: importlib.import_module(f"pggan_jax.cli.{name}") for name in cli.COMMANDS}
ARGUMENTS = {
    "check": ["digits"],
    "prepare": ["digits"],
    "show": ["digits"],
    "extract": ["digits"],
    "compare": ["digits", "digits"],
    "project": ["image.png"],
    "arithmetic": ["1"],
    "import": ["network.pkl"],
}
ARGUMENTS["convert_inception"] = ["in.pth", "out.npz"]


def numeric_flags():
    for command, module in MODULES.items():
        for name in module.FLAGS:
            parser = module.FLAGS[name].parser
            # The limits of a class number are those of the run.
            if isinstance(parser, flags.IntegerParser | flags.FloatParser) and name != "class":
                yield command, name


def text_flags():
    for command, module in MODULES.items():
        for name in module.FLAGS:
            if type(module.FLAGS[name].parser) is flags.ArgumentParser and name not in ("set", "helpxml"):
                yield command, name


def numeric_settings():
    for path, _, hint, limits in walk(Config()):
        types = tuple(one for one in get_args(hint) if one is not Ellipsis) or (hint,)
        if types[-1] in (int, float):
            yield path, types, limits


def refusal(capsys, words):
    """The line that a command line is refused with; None if it is understood."""
    capsys.readouterr()
    try:
        parsed = cli.parse(["launch.py", *words])
    except SystemExit as stop:
        status = stop.code
    else:
        assert capsys.readouterr().err == ""
        return parsed and None
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert len(err) <= LONGEST_MESSAGE + 1
    return err


def test_there_are_flags_and_settings():
    assert len(list(numeric_flags())) > 20
    assert len(list(numeric_settings())) > 30
    assert ("train", "init_from") in text_flags()


@pytest.mark.parametrize(("command", "name"), list(numeric_flags()))
def test_every_numeric_flag_has_limits(capsys, command, name):
    parser = MODULES[command].FLAGS[name].parser
    assert math.isfinite(parser.lower_bound)
    assert math.isfinite(parser.upper_bound)
    for value in ABSURD:
        line = refusal(capsys, [command, *ARGUMENTS.get(command, []), f"--{name}={value}"])
        if line is None:
            assert parser.lower_bound <= float(value) <= parser.upper_bound
        else:
            assert f"--{name}" in line
            assert value not in ("0", "-1") or not parser.lower_bound <= int(value) <= parser.upper_bound


@pytest.mark.parametrize(("path", "types", "limits"), list(numeric_settings()))
def test_every_numeric_setting_has_limits(path, types, limits):
    assert limits.keys() & {"minimum", "above"}
    assert limits.keys() & {"maximum", "below"}
    for value in ABSURD:
        try:
            load_config("experiments/smoke.py", [f"{path}={'4:' * (len(types) - 1)}{value}"])
        except ConfigError as error:
            message = f"error: {error}"
            # What the door would shorten has lost its words already.
            assert len(message) <= LONGEST_MESSAGE, message
            assert "\n" not in message
        else:
            if not value.strip():  # of a tuple: none of its numbers
                continue
            number = float(value)
            assert limits.get("minimum", -math.inf) <= number <= limits.get("maximum", math.inf)


@pytest.mark.parametrize(("command", "name"), list(text_flags()))
def test_no_flag_of_text_ends_in_a_traceback(capsys, command, name, tmp_path, monkeypatch):
    """Empty, and too long for any path. Every other flag that is a place is one where nothing is."""
    monkeypatch.chdir(tmp_path)
    for value in ("", "y" * 5000):
        words = [command, *ARGUMENTS.get(command, [])]
        flags_of = MODULES[command].FLAGS
        if "workdir" in flags_of and name != "workdir":
            words.append(f"--workdir={tmp_path / 'none'}")
        if "config" in flags_of and name != "config":
            words.append("--config=nowhere.py")
        if "resolution" in flags_of and command == "prepare":
            words.append("--resolution=8")
        if command == "train" and name == "workdir":
            words.append("--set=data.source=folder:/nowhere")
        capsys.readouterr()
        try:
            status = cli.main(cli.parse(["launch.py", *words, f"--{name}={value}"]))
        except SystemExit as stop:
            status = stop.code
        err = capsys.readouterr().err
        assert status in (0, 2), (words, value, err)
        *warnings, last = err.splitlines() or [""]
        assert status == 0 or last.startswith("error: "), err
        assert all(line.startswith("WARNING: ") for line in warnings)
        assert all(len(line) <= LONGEST_MESSAGE for line in (*warnings, last)), err


@pytest.mark.parametrize(
    "text", ["", ",", "nan", LONG, f"0-{LONG}", "0-9999999,0", "0-99999999999", "5-3", "\u00b2", "1-", "-1"]
)
def test_seeds(text):
    with pytest.raises(UserError, match="--seeds="):
        parse_seeds(text)


@pytest.mark.parametrize(
    "source", ["stacked:" * 1500 + "digits", f"synthetic:{LONG}", "folder:" + "x" * 10_000, "stacked:", ":"]
)
def test_sources(capsys, source):
    if not source.startswith("synthetic"):
        with pytest.raises(ValueError, match=r"write|most|must"):
            parse_source(source)
    try:
        status = cli.main(cli.parse(["launch.py", "check", source]))
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2
    assert err.count("\n") == 1
    assert len(err) <= LONGEST_MESSAGE + 1


@pytest.mark.parametrize("grid", [f"{LONG}x2", f"2x{LONG}", "0x0", "\u00b2x2", "99999999999x1", "x", "nanx2"])
def test_grids(grid):
    with pytest.raises(ConfigError, match=r"^run\.grid"):
        load_config("experiments/smoke.py", [f"run.grid={grid}"])


@pytest.mark.parametrize("crop", [f"{LONG},0,1,1", "-1,0,1,1", "0,0,0,0", "nan,0,1,1"])
def test_crops(crop):
    with pytest.raises(ConfigError, match=r"^data\.crop"):
        load_config("experiments/smoke.py", [f"data.crop={crop}"])


def test_what_has_no_end_is_not_read(capsys, tmp_path):
    for words in (
        ["convert_inception", "/dev/zero", str(tmp_path / "out.npz")],
        ["check", "zip:/dev/zero"],
        ["check", "folder:/dev/zero"],
        ["check", "prepared:/dev/zero"],
        ["check", "tfrecords:/dev/zero"],
        ["settings", "--config=/dev/zero"],
        ["report", "--workdir=/dev/zero"],
    ):
        assert cli.main(cli.parse(["launch.py", *words])) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "/dev/zero" in err


class TestOneLine:
    def test_short_lines_stay(self):
        assert one_line("data.crop = 'x': must be\n  center") == "data.crop = 'x': must be center"

    def test_the_remedy_survives_a_long_value(self):
        line = one_line(f"--out={'x' * 5000}: cannot be written; choose another folder")
        assert len(line) == LONGEST_MESSAGE
        assert line.startswith("--out=xxx")
        assert line.endswith("xxx: cannot be written; choose another folder")

    def test_both_ends_of_many_words_survive(self):
        line = one_line("first " + "a b c " * 10_000_000 + "last")
        assert len(line) <= LONGEST_MESSAGE
        assert line.startswith("first a b")
        assert line.endswith("b c last")

    @pytest.mark.parametrize("control", ["\x1b[31m", "\x07", "\x9b", "\u202e", "\u2066", "\ud800", "\x7f", "\x00"])
    def test_controls_are_shown(self, control):
        line = one_line(f"a{control}b")
        assert control[0] not in line
        assert line.startswith("a\\")
        assert line.isprintable()
