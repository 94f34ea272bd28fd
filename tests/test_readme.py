"""What README.md says of the code exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## How the code maps to the paper$(.*?)^## ", README, re.M | re.S).group(1)
ROWS = [line.split("|")[2] for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| paper")]


def named_in(cell: str) -> list[tuple[str, str]]:
    """(module, name) of every `name` that a cell gives in front of "in `file`"."""
    pairs, names = [], []
    for word, is_file in re.findall(r"`([\w/]+(\.py)?)`", cell):
        if is_file:
            module = "pggan_jax." + word.removesuffix(".py").replace("/", ".")
            pairs += [(module, name) for name in names]
            names = []
        else:
            names.append(word)
    assert not names, f"no file is given for {names}"
    return pairs


@pytest.mark.parametrize("cell", ROWS)
def test_every_name_of_the_table_exists(cell):
    pairs = named_in(cell)
    assert pairs, "the row names nothing"
    for module, name in pairs:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


def test_the_table_covers_the_paper():
    assert len(ROWS) >= 8
