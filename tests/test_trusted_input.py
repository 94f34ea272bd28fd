"""Input is only data: no pickle without an allow-list, no code from files, and one module that decodes images."""

from __future__ import annotations

import ast

import pytest

from tests.helpers.source_code import FILES, PACKAGE, ROOT, TREES, attribute_names, imported_names, module_name

PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
ATTRIBUTE_PICKLERS = ("pandas.read_pickle", "torch.load", "numpy.lib.format.read_array")
READERS = (f"{PACKAGE}.interop.state_dict", f"{PACKAGE}.interop.foreign.unpickler")
MAY_LOAD = {f"{PACKAGE}.config.io": {"run_path"}, **{module: {"pickle"} for module in READERS}}
"""Experiment files are programs; the other modules read pickles through an allow-list."""


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


@pytest.mark.parametrize("module", READERS)
def test_pickles_are_read_by_an_allow_list_alone(module):
    """The only thing that is taken of pickle is a class whose find_class is replaced."""
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
IMAGE_HOME = f"{PACKAGE}.system.image_files"


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


AUDIO_HOME = f"{PACKAGE}.data.sounds.audio_files"
# Reads the WAV files of a run's own folder, with SciPy's reader, which is Python and gives data only.
WAVE_HOME = f"{PACKAGE}.reporting.wave_clips"


@pytest.mark.parametrize("module", sorted({*FILES, *OUTSIDE}))
def test_audio_files_are_opened_in_one_place(module):
    """That place looks at the first bytes before it calls the library."""
    tree = TREES.get(module) or ast.parse(OUTSIDE[module].read_text(encoding="utf-8"))
    readers = {name.split(".")[0] for name in imported_names(tree, module)} & {"soundfile", "librosa", "audioread", "pydub"}
    readers |= {"wavfile.read"} if any(name.endswith("wavfile.read") for name in attribute_names(tree, module)) else set()
    assert readers == {AUDIO_HOME: {"soundfile"}, WAVE_HOME: {"wavfile.read"}}.get(module, set())
