"""The structure of the package, read from its source: layers of imports, sizes, and where devices may be named."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.helpers.source_code import (
    FILES,
    PACKAGE,
    ROOT,
    TREES,
    attribute_names,
    imported_names,
    imports_of,
    module_name,
    own_imports,
)

MAX_LINES, MAX_FILES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_ATTRIBUTES, MAX_SUMMARY = 300, 12, 60, 6, 12, 90
MAY_IMPORT = {
    "ground": {"ground", "system"},
    "system": {"ground", "system"},
    "networks": {"ground", "system", "networks"},
    "interop": {"ground", "system", "interop"},
    "sound": {"ground", "system", "sound"},
    "data": {"ground", "system", "interop", "sound", "data"},
    "generation": {"ground", "system", "networks", "sound", "generation"},
    "evaluation": {
        *("ground", "system", "networks", "sound", "data", "interop", "generation", "run_logs", "evaluation"),
    },
    "reporting": {"ground", "system", "sound", "run_logs", "reporting"},
    "run_logs": {"ground", "system", "run_logs"},
    "distributed": {"ground", "system", "distributed"},
    "training": {"ground", "networks", "distributed", "training"},
    "checkpointing": {
        *("ground", "system", "networks", "sound", "data", "interop", "distributed", "training", "run_logs", "generation"),
        *("checkpointing",),
    },
    "loop": {
        *("ground", "system", "networks", "sound", "data", "distributed", "training", "run_logs", "generation", "evaluation"),
        *("checkpointing", "loop"),
    },
}
MAY_IMPORT["api"] = {*MAY_IMPORT, "api"}
MAY_IMPORT["cli"] = {*MAY_IMPORT, "cli"}
DEVICE_NAMES = ("jax.pmap", "jax.devices", "jax.local_devices", "jax.process_index", "jax.distributed")
DEVICE_MODULES = {f"{PACKAGE}.distributed.devices", f"{PACKAGE}.distributed.processes"}
SCRIPTS = {module_name(path): path for path in sorted((ROOT / "experiments").rglob("*.py"))}
TESTS = {module_name(path): path for path in sorted((ROOT / "tests").rglob("*.py"))}
SOURCES = FILES | SCRIPTS


def folder_of(module: str) -> str:
    """The top folder of a module; files beside the folders and the settings are the ground, the package itself is above all."""
    if module == PACKAGE:
        return "cli"
    parts = module.split(".")
    if parts[1] == "config":
        return "ground"
    is_folder = len(parts) > 2 or FILES[module].name == "__init__.py"
    return parts[1] if is_folder and len(parts) > 1 else "ground"


def nodes(module: str, *kinds: type) -> list:
    tree = TREES.get(module) or ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def device_names(tree: ast.AST, module: str) -> set[str]:
    found = attribute_names(tree, module)
    return {name for name in DEVICE_NAMES if any(one == name or one.startswith(f"{name}.") for one in found)}


def at_module_level(tree: ast.Module) -> ast.Module:
    """The tree without the insides of functions: what runs when the module is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return ast.Pass()

        visit_AsyncFunctionDef = visit_FunctionDef

        def visit_If(self, node):
            if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                return ast.Pass()
            return self.generic_visit(node)

    return ast.fix_missing_locations(Strip().visit(ast.parse(ast.unparse(tree))))


def test_every_folder_has_a_layer():
    assert {folder_of(module) for module in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module):
    folder = folder_of(module)
    wrong = {name for name in own_imports(module) if folder_of(name) not in MAY_IMPORT[folder]}
    assert not wrong, f"{module} (folder {folder}) may import {sorted(MAY_IMPORT[folder])}, not {sorted(wrong)}"


def defined_in(module: str) -> set[str]:
    """Names that a module defines or imports at its top level, inside `if` and `try` too."""
    found = set()
    for node in ast.walk(at_module_level(TREES[module])):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    functions = [node.name for node in TREES[module].body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return found | set(functions)


@pytest.mark.parametrize("module", SOURCES | TESTS)
def test_what_is_imported_from_the_package_exists(module):
    """Scripts and tests count too: no other check reads the scripts' imports."""
    tree = TREES.get(module) or ast.parse((SOURCES | TESTS)[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
            assert node.module in FILES, f"{node.module} does not exist"
            names = {alias.name for alias in node.names}
            missing = {name for name in names - defined_in(node.module) if f"{node.module}.{name}" not in FILES}
            assert not missing, f"{node.module} has no {sorted(missing)}"


def test_no_circles():
    graph = {module: own_imports(module, at_module_level(TREES[module])) for module in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_only_the_launcher_imports_the_commands():
    cli = f"{PACKAGE}.cli"
    others = [(name, path) for name, path in (FILES | SCRIPTS).items() if not name.startswith(cli)]
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in others}
    assert not [name for name, tree in trees.items() if any(one.startswith(cli) for one in imported_names(tree, name))]


def test_the_mathematics_knows_no_files_and_no_threads():
    """Training holds what a researcher edits; disks, threads and logs belong to the loop."""
    forbidden = {"os", "pathlib", "threading", "shutil", "subprocess"}
    for module in FILES:
        if folder_of(module) in ("training", "networks"):
            assert not {name.partition(".")[0] for name in imports_of(module)} & forbidden, module


@pytest.mark.parametrize("module", SOURCES)
def test_files_are_short_and_named_for_a_job(module):
    assert SOURCES[module].stem not in ("util", "utils", "helpers", "misc", "common")
    assert len(SOURCES[module].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_folders_are_small():
    folders = {path.parent for path in SOURCES.values()} - {ROOT / "experiments", ROOT / PACKAGE / "cli"}
    for folder in folders:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, f"{folder} has {len(files)} files: {files}"


@pytest.mark.parametrize("module", SOURCES)
def test_functions_are_short_and_take_few_parameters(module):
    for node in nodes(module, ast.FunctionDef, ast.AsyncFunctionDef):
        lines = node.end_lineno - node.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
        assert len(names) <= MAX_PARAMETERS, f"{node.name} takes {names}"


@pytest.mark.parametrize("module", SOURCES)
def test_classes_have_few_attributes(module):
    for node in nodes(module, ast.ClassDef):
        stored = [one for one in ast.walk(node) if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)]
        names = {one.attr for one in stored if isinstance(one.value, ast.Name) and one.value.id == "self"}
        assert len(names) <= MAX_ATTRIBUTES, f"{node.name} stores {sorted(names)}"


@pytest.mark.parametrize("module", SOURCES)
def test_docstrings_begin_with_one_short_line(module):
    for node in nodes(module, ast.Module, ast.ClassDef, ast.FunctionDef):
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        assert len(first) <= MAX_SUMMARY, f"{getattr(node, 'name', module)}: {first}"


@pytest.mark.parametrize("module", FILES)
def test_public_functions_have_type_hints(module):
    for node in nodes(module, ast.FunctionDef):
        if node in TREES[module].body and not node.name.startswith("_"):
            assert node.returns is not None, f"{node.name} has no return type"
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert all(argument.annotation for argument in arguments), f"{node.name} has untyped parameters"


@pytest.mark.parametrize("module", FILES)
def test_devices_are_named_in_two_modules_only(module):
    if module not in DEVICE_MODULES:
        assert not device_names(TREES[module], module)


def test_no_test_imports_another_test():
    for module, path in TESTS.items():
        names = imported_names(ast.parse(path.read_text(encoding="utf-8")), module)
        assert not [name for name in names if any(part.startswith("test_") for part in name.split("."))], module


@pytest.mark.parametrize("module", [module for module in FILES if folder_of(module) in ("ground", "system")])
def test_ground_does_not_know_jax(module):
    roots = {name.split(".")[0] for name in imports_of(module)}
    assert not roots & {"jax", "jaxlib", "flax", "optax", "orbax"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax\njax.pmap(f)", {"jax.pmap"}),
        ("import jax as j\nn = len(j.local_devices())", {"jax.local_devices"}),
        ("from jax import devices", {"jax.devices"}),
        ("import jax.distributed", {"jax.distributed"}),
        ("def f():\n    import jax\n    jax.distributed.initialize()", {"jax.distributed"}),
        ("import jax\njax.process_index()", {"jax.process_index"}),
        ("import jax\njax.jit(f)\ndevices = mesh.devices", set()),
    ],
)
def test_the_reader_of_device_names_sees(source, expected):
    assert device_names(ast.parse(source), "a.b") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pggan_jax.cli", "pggan_jax.cli"),
        ("from pggan_jax import config", "pggan_jax.config"),
        ("from pggan_jax.config import Config", "pggan_jax.config"),
        ("from . import layers", "pggan_jax.networks.layers"),
        ("from .layers import x", "pggan_jax.networks.layers"),
        ("from ..config import Config", "pggan_jax.config"),
        ("def f():\n    from pggan_jax.loop import train", "pggan_jax.loop.train"),
    ],
)
def test_the_reader_of_imports_sees(source, expected):
    assert expected in imported_names(ast.parse(source), "pggan_jax.networks.generator")


def test_the_reader_of_module_level_skips_what_runs_later():
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\ndef f():\n    import b\nclass C:\n    import c\n"
    names = imported_names(at_module_level(ast.parse(late)), "m")
    assert names & {"a", "b", "c"} == {"c"}
