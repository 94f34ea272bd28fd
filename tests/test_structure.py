"""The plan of the house, read from the source with `ast`: who may import whom, and where devices are known."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pggan_jax"
MAX_LINES = 330
MAY_IMPORT = {
    "ground": {"ground", "system"},
    "system": {"ground", "system"},
    "networks": {"ground", "system", "networks"},
    "interop": {"ground", "system", "interop"},
    "data": {"ground", "system", "interop", "data"},
    "generation": {"ground", "system", "networks", "generation"},
    "evaluation": {"ground", "system", "networks", "data", "interop", "generation", "run_logs", "evaluation"},
    "reporting": {"ground", "system", "run_logs", "reporting"},
    "run_logs": {"ground", "system", "run_logs"},
    "distributed": {"ground", "system", "distributed"},
    "training": {"ground", "networks", "distributed", "training"},
    "checkpointing": {
        *("ground", "system", "networks", "data", "distributed", "training", "run_logs", "generation", "checkpointing"),
    },
    "loop": {
        *("ground", "system", "networks", "data", "distributed", "training", "run_logs", "generation", "evaluation"),
        *("checkpointing", "loop"),
    },
}
MAY_IMPORT["cli"] = {*MAY_IMPORT, "cli"}
ALL_ROOMS = set(MAY_IMPORT)
DEVICE_NAMES = ("jax.pmap", "jax.devices", "jax.local_devices", "jax.process_index", "jax.distributed")
PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
ATTRIBUTE_PICKLERS = ("pandas.read_pickle", "torch.load", "numpy.lib.format.read_array")
MAY_LOAD = {f"{PACKAGE}.config_io": {"run_path"}, f"{PACKAGE}.interop.state_dict": {"pickle"}}
"""Experiment files are programs; the other reads pickles through an allow-list."""
DEVICE_HOMES = {f"{PACKAGE}.distributed.devices", f"{PACKAGE}.distributed.processes"}


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def room_of(module: str) -> str:
    """The folder of a module; files beside the folders are the ground."""
    parts = module.split(".")
    is_folder = len(parts) > 2 or FILES[module].name == "__init__.py"
    return parts[1] if is_folder and len(parts) > 1 else "ground"


def imported_names(tree: ast.AST, module: str, *, is_package: bool = False) -> set[str]:
    """Every dotted name that the tree imports, wherever the import stands; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def imports_of(module: str, tree: ast.AST | None = None) -> set[str]:
    is_package = FILES[module].name == "__init__.py"
    return imported_names(tree or TREES[module], module, is_package=is_package)


def own_imports(module: str, tree: ast.AST | None = None) -> set[str]:
    """Modules of the package that `module` imports; a package only where its own contents are asked for."""
    names = imports_of(module, tree)
    packages = {name for name in names if name in FILES and FILES[name].name == "__init__.py"}
    bare = {name for name in packages if not any(other.startswith(f"{name}.") and other in FILES for other in names)}
    return {name for name in names if name in FILES and name != module} - (packages - bare)


def attribute_names(tree: ast.AST, module: str) -> set[str]:
    """Dotted names such as jax.pmap that the tree reads or imports; `import jax as j` and `from jax import pmap` count too."""
    aliases = {"jax": "jax"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
    found = imported_names(tree, module)
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name):
            found.add(".".join([aliases.get(node.id, node.id), *reversed(parts)]))
    return found


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


def test_every_module_has_a_room():
    assert {room_of(module) for module in FILES} == ALL_ROOMS


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module):
    room = room_of(module)
    wrong = {name for name in own_imports(module) if room_of(name) not in MAY_IMPORT[room]}
    assert not wrong, f"{module} (room {room}) may import {sorted(MAY_IMPORT[room])}, not {sorted(wrong)}"


@pytest.mark.parametrize("module", FILES)
def test_imports_of_the_package_exist(module):
    for name in imports_of(module):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            assert name in FILES or name.rpartition(".")[0] in FILES, f"{module} imports {name}, which is nowhere"


def test_no_circles():
    graph = {module: own_imports(module, at_module_level(TREES[module])) for module in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_only_the_launcher_knocks_at_the_door():
    outside = [path for folder in (ROOT, ROOT / "experiments") for path in folder.glob("*.py")]
    trees = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in outside}
    door = f"{PACKAGE}.cli"
    knocking = {name for name, tree in trees.items() if any(one.startswith(door) for one in imported_names(tree, name))}
    knocking |= {
        module for module in FILES if room_of(module) != "cli" and any(one.startswith(door) for one in imports_of(module))
    }
    assert knocking <= {"launch"}


@pytest.mark.parametrize("module", FILES)
def test_files_are_short_and_named_for_a_job(module):
    assert FILES[module].stem not in ("util", "utils", "helpers", "misc", "common")
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{module} has {lines} lines: it is two rooms"


@pytest.mark.parametrize("module", FILES)
def test_devices_are_known_in_one_place(module):
    if module not in DEVICE_HOMES:
        assert not device_names(TREES[module], module)


def unsafe_loading(tree: ast.AST, module: str) -> set[str]:
    """What in the tree could run code that came with data: pickles, eval, exec."""
    found = {name.split(".")[0] for name in imported_names(tree, module)} & PICKLERS
    found |= {name for name in ATTRIBUTE_PICKLERS if name in attribute_names(tree, module)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.add("allow_pickle")
        elif isinstance(node, ast.Name) and node.id in ("eval", "exec", "__import__"):
            # A field of that name is only stored.
            found |= {node.id} if isinstance(node.ctx, ast.Load) else set()
        elif isinstance(node, ast.Attribute) and node.attr in ("exec_module", "run_path", "run_module"):
            found.add(node.attr)
    return found


def test_pickles_are_read_by_an_allow_list_alone():
    """The only thing that is taken of pickle is a class whose find_class is replaced."""
    module = f"{PACKAGE}.interop.state_dict"
    uses = {
        node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    }
    assert uses == {"Unpickler"}
    classes = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.ClassDef)]
    (reader,) = [node for node in classes if "pickle.Unpickler" in map(ast.unparse, node.bases)]
    assert {"find_class", "persistent_load"} <= {node.name for node in reader.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("module", FILES)
def test_nothing_that_is_read_can_run(module):
    assert unsafe_loading(TREES[module], module) == MAY_LOAD.get(module, set())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", {"pickle"}),
        ("def f():\n    from cloudpickle import loads", {"cloudpickle"}),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", {"allow_pickle"}),
        ("import numpy as np\nnp.load(f, allow_pickle=flag)", {"allow_pickle"}),
        ("import numpy as np\nnp.load(f, allow_pickle=False)", set()),
        ("import pandas\npandas.read_pickle(f)", {"pandas.read_pickle"}),
        ("eval('1')", {"eval"}),
        ("run = eval", {"eval"}),
        ("class A:\n    eval: int = 3", set()),
        ("run = exec", {"exec"}),
        ("spec.loader.exec_module(module)", {"exec_module"}),
        ("evaluate(x)", set()),
    ],
)
def test_the_reader_of_unsafe_loading_sees(source, expected):
    assert unsafe_loading(ast.parse(source), "a.b") == expected


IMAGE_READERS = {"skimage.io", "imageio", "cv2", "matplotlib.image", "torchvision", "tifffile", "PIL.ImageFile"}
IMAGE_HOME = f"{PACKAGE}.image_files"


def image_openers(tree: ast.AST, module: str) -> set[str]:
    """What in the tree could decode an image file by itself."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.asname and alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = imported_names(tree, module)
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name):
            found.add(".".join([names.get(node.id) or node.id, *reversed(parts)]))
    opens = {name for name in found if name == "PIL.Image.open" or name.startswith("PIL.Image.open.")}
    plugins = {name for name in found if name.startswith("PIL.") and "ImagePlugin" in name}
    plugins -= {"PIL.PngImagePlugin", "PIL.PngImagePlugin.PngInfo"}
    others = {name for name in found for reader in IMAGE_READERS if name == reader or name.startswith(f"{reader}.")}
    return opens | plugins | others


OUTSIDE = {module_name(path): path for folder in (ROOT, ROOT / "experiments") for path in folder.rglob("*.py")}
OUTSIDE = {name: path for name, path in OUTSIDE.items() if not name.startswith(("tests.", ".")) and "venv" not in str(path)}


@pytest.mark.parametrize("module", sorted({*FILES, *OUTSIDE}))
def test_images_are_opened_in_one_place(module):
    tree = TREES.get(module) or ast.parse(OUTSIDE[module].read_text(encoding="utf-8"))
    assert image_openers(tree, module) == ({"PIL.Image.open"} if module == IMAGE_HOME else set())


def test_that_place_names_the_formats():
    calls = [node for node in ast.walk(TREES[IMAGE_HOME]) if isinstance(node, ast.Call)]
    calls = [call for call in calls if ast.unparse(call.func) == "Image.open"]
    assert calls
    assert all("formats" in {keyword.arg for keyword in call.keywords} for call in calls)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from PIL import Image\nImage.open(f)", {"PIL.Image.open"}),
        ("import PIL.Image\nPIL.Image.open(f)", {"PIL.Image.open"}),
        ("import PIL.Image as I\nopener = I.open", {"PIL.Image.open"}),
        ("from PIL.Image import open as o", {"PIL.Image.open"}),
        ("def f():\n    from skimage.io import imread", {"skimage.io", "skimage.io.imread"}),
        ("from PIL import EpsImagePlugin", {"PIL.EpsImagePlugin"}),
        ("from PIL import Image\nImage.new('L', (1, 1))\nopen(f)", set()),
    ],
)
def test_the_reader_of_image_openers_sees(source, expected):
    assert image_openers(ast.parse(source), "a.b") == expected


@pytest.mark.parametrize("module", [module for module in FILES if room_of(module) == "ground"])
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
