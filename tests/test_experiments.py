"""The experiment files: each can be run as it stands, and says how and at what cost."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pggan_jax.config_io import load_config
from pggan_jax.presets import PRESETS
from pggan_jax.schedule import Schedule

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "experiments").glob("*.py"))
TREES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
CONFIGS = [
    name
    for name, tree in TREES.items()
    if any(isinstance(node, ast.FunctionDef) and node.name == "get_config" for node in tree.body)
]


def stages_of(name, overrides=()):
    config = load_config(str(ROOT / "experiments" / f"{name}.py"), overrides).config
    return Schedule(config.schedule, config.data.resolution).stages


def test_the_promised_files_are_there():
    assert {"digits", "photos_64", "smoke", "celebahq_1024", "folder"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_is_valid(name):
    loaded = load_config(f"{ROOT}/experiments/{name}.py")
    assert stages_of(name)[-1].resolution == loaded.config.data.resolution


@pytest.mark.parametrize("name", TREES)
def test_docstring_tells_the_command(name):
    text = ast.get_docstring(TREES[name]) or ""
    if name == "digits":
        assert "python launch.py\n" in f"{text}\n"
    elif name in CONFIGS:
        assert f"python launch.py --config=experiments/{name}.py" in text
    else:
        assert f"python experiments/{name}.py" in text


@pytest.mark.parametrize("name", CONFIGS)
def test_docstring_tells_cost_and_result(name):
    text = ast.get_docstring(TREES[name]) or ""
    assert "Cost: " in text
    assert "Expect: " in text
    assert "COST_" not in text, "a placeholder"


def test_smoke_grows_to_sixteen_with_two_fades():
    stages = stages_of("smoke")
    assert [(stage.resolution, stage.fading) for stage in stages] == [
        (4, False),
        (8, True),
        (8, False),
        (16, True),
        (16, False),
    ]


def test_digits_goes_from_four_to_thirty_two():
    assert [stage.resolution for stage in stages_of("digits") if not stage.fading] == [4, 8, 16, 32]


@pytest.mark.parametrize("preset", PRESETS)
def test_celebahq_takes_every_official_preset(preset):
    stages = stages_of("celebahq_1024", [f"preset={preset}"])
    assert {stage.resolution for stage in stages} == {4, 8, 16, 32, 64, 128, 256, 512, 1024}
