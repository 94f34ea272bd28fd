"""Check that the files, commands, flags, settings and functions that the documentation names exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from pggan_jax.cli import COMMANDS
from pggan_jax.config import Config
from pggan_jax.config.io import settings_of

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")))}
del PAGES["CHANGELOG.md"]  # its older entries name what existed then

FOLDERS = (ROOT, ROOT / "pggan_jax", ROOT / "experiments")
SETTINGS = {path for path, _ in settings_of(Config())}
GROUPS = "|".join(sorted({path.partition(".")[0] for path in SETTINGS if "." in path}))
OFFICIAL_FLAGS = {"num_images", "random_seed", "cx", "cy", "num_threads", "num_tasks", "shuffle", "ignore_labels"}
"""Flags of the authors' dataset tool, which section 4.3 of the specification lists."""

CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
FILE = re.compile(
    r"(?<![\w./~<:-])((?:[\w.-]+/)*[\w-]+\.(?:py|md)|(?:docs|tests|experiments|pggan_jax|\.ci)/[\w./-]*\w)(?![\w/*])"
)
SETTING = re.compile(rf"(?<![\w./])({GROUPS})\.([a-z]\w*)")
NAMES_IN_FILE = re.compile(r"((?:`\w+`(?:, | and ))*`\w+`) (?:in|of|from)\s+`([\w/]+\.py)`")


def code_of(text: str) -> list[str]:
    """Code of a page: the lines of its blocks, and its spans."""
    return [line for block, span in CODE.findall(text) for line in (block or span).splitlines()]


def find_file(name: str) -> Path | None:
    return next((folder / name for folder in FOLDERS if (folder / name).exists()), None)


@cache
def defined_flags(path: Path) -> set[str]:
    """Names of the flags that a script defines, or a module of `experiments` that it imports."""
    text = path.read_text(encoding="utf-8")
    modules = re.findall(r"^from (experiments\.[\w.]+) import", text, re.MULTILINE)
    shared = [defined_flags(ROOT / f"{module.replace('.', '/')}.py") for module in modules if module.endswith(".command")]
    return set(re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", text)).union(*shared)


@cache
def command_flags(command: str) -> set[str]:
    return set(importlib.import_module(f"pggan_jax.cli.{command}").FLAGS)


@cache
def all_flags() -> frozenset[str]:
    scripts = (ROOT / "experiments").rglob("*.py")
    return frozenset({"help"}).union(*map(command_flags, COMMANDS), *map(defined_flags, scripts))


def flags_in(words: list[str]) -> set[str]:
    return {word.partition("=")[0][2:] for word in words if re.match(r"--[a-z]", word)}


def command_problems(line: str) -> list[str]:
    """What is wrong with a command line of launch.py or of a script."""
    try:
        words = shlex.split(line.replace("\\", ""), comments=True)
    except ValueError:
        return []
    scripts = [number for number, word in enumerate(words) if word.endswith(".py") and "=" not in word]
    if not scripts or not (words[0].endswith("python") or words[0].endswith(".py")):
        # `sample --seeds=0-9`, as the README's table of commands has it
        known = command_flags(words[0]) if words and words[0] in COMMANDS else None
        return [f"{words[0]} has no --{flag}" for flag in flags_in(words) - known] if known else []
    script, rest = words[scripts[0]], words[scripts[0] + 1 :]
    if Path(script).name == "launch.py":
        command = rest[0] if rest and re.fullmatch(r"[a-z_]+", rest[0]) else "train"
        if command not in COMMANDS:
            return [f"launch.py has no command {command}"]
        known = command_flags(command)
    else:
        path = find_file(script)
        known = defined_flags(path) if path else flags_in(rest)
    return [f"{script} has no --{flag}" for flag in flags_in(rest) - known - {"help"}]


def is_defined(name: str, path: Path) -> bool:
    """Whether a module defines a function, class, constant or field of that name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
    return False


TO_BE_WRITTEN = {"pggan_jax/evaluation/metrics/brightness.py"}
"""Files that a page asks the reader to write."""


def problems(text: str) -> list[str]:
    """What a page names that does not exist."""
    text = re.sub(r"https?://\S+", "", text)
    found = []
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)#\s]+)\)", text)]
    found += [f"no file {target}" for target in links if not any((ROOT / at / target).exists() for at in ("", "docs"))]
    for line in code_of(text):
        files = [name for name in FILE.findall(line) if not re.search("[A-Z]{2}|mine|my_", Path(name).stem)]
        found += [f"no file {name}" for name in files if not find_file(name) and name not in TO_BE_WRITTEN]
        settings = [".".join(parts) for parts in SETTING.findall(line) if parts[1] not in ("npz", "py", "json", "md")]
        found += [f"no setting {name}" for name in settings if name not in SETTINGS]
        flags = re.findall(r"(?<![\w-])--([a-z]\w*)", line)
        known = all_flags() | OFFICIAL_FLAGS | {"no"}  # pip's --no-deps
        found += [f"no flag --{flag}" for flag in flags if flag not in known and not flag.startswith("xla_")]
        found += command_problems(line)
    for names, file in NAMES_IN_FILE.findall(text):
        path = find_file(file)
        found += [f"no {name} in {file}" for name in re.findall(r"`(\w+)`", names) if path and not is_defined(name, path)]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_everything_a_page_names_exists(page):
    assert problems(PAGES[page]) == []


def test_the_pages_are_found():
    assert {"README.md", "CONTRIBUTING.md", "performance.md", "spec.md"} <= PAGES.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`python experiments/benchmark.py`", "no file experiments/benchmark.py"),
        ("see [this](docs/absent.md)", "no file docs/absent.md"),
        ("`training/absent.py`", "no file training/absent.py"),
        ("`tests/golden/absent.npz`", "no file tests/golden/absent.npz"),
        ("```bash\npython launch.py draw --seeds=1\n```", "launch.py has no command draw"),
        ("```bash\npython launch.py sample --kimg=1   # one image\n```", "launch.py has no --kimg"),
        ("`sample --kimg=1`", "sample has no --kimg"),
        ("`python experiments/check_digits.py --seeds=1`", "experiments/check_digits.py has no --seeds"),
        ("with `--sedes`", "no flag --sedes"),
        ("`--set run.sede=1`", "no setting run.sede"),
        ("| `Absent` in `networks/layers.py` |", "no Absent in networks/layers.py"),
    ],
)
def test_a_wrong_name_is_found(text, expected):
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "```bash\n.venv/bin/python launch.py --config=experiments/smoke.py --set run.seed=3  # a run\n```",
        "`data.npz`, `config.json`, `runs/mine`, `experiments/results/NAME.json` and `https://example.org/absent.py`",
        "`python experiments/benchmarks/train_step.py --quick`",
        "`pixel_norm` in `networks/layers.py`",
    ],
)
def test_a_right_name_is_accepted(text):
    assert problems(text) == []
