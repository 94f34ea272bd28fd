"""Files as other programs write them: pickles of the authors' networks, and PyTorch checkpoints of pytorch_GAN_zoo."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@contextmanager
def class_in(module: str, name: str):
    """A class that pickles as `module.name`, while the block runs."""
    parts = module.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    added = [one for one in names if one not in sys.modules]
    for one in added:
        sys.modules[one] = types.ModuleType(one)
    made = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        delattr(sys.modules[module], name)
        for one in added:
            del sys.modules[one]


def write_official(path: Path, states: list[Mapping[str, Any]], *, module: str = "tfutil", protocol: int = 4) -> Path:
    """Write a pickle of one network, or of a tuple of them."""
    with class_in(module, "Network") as network:
        objects = []
        for state in states:
            one = network()
            one.__dict__.update(state)
            objects.append(one)
        path.write_bytes(pickle.dumps(objects[0] if len(objects) == 1 else tuple(objects), protocol=protocol))
    return path


def official_state(kind: str, variables: Mapping[str, np.ndarray], *, lod: float = 0.0, **options: Any) -> dict[str, Any]:
    """The state of a network of the authors' TensorFlow program."""
    return {
        "version": 2,
        "name": kind,
        "static_kwargs": options,
        "build_module_src": "import os\nos.system('false')",
        "build_func_name": f"{kind}_paper",
        "variables": [("lod", np.float32(lod)), *variables.items()],
    }


def write_small_official(path: Path, *, lod: float = 0.0, label_size: int = 0) -> Path:
    """Write G, D and Gs for images of 8x8 pixels, with 4 feature maps and latents of 5 numbers."""
    rng, options = np.random.RandomState(0), {"num_channels": 3, "resolution": 8, "fmap_base": 64, "fmap_max": 4}
    shapes = {
        "G": {
            "4x4/Dense": (5 + label_size, 64),
            "4x4/Conv": (3, 3, 4, 4),
            "ToRGB_lod0": (1, 1, 4, 3),
            "ToRGB_lod1": (1, 1, 4, 3),
        },
        "D": {"4x4/Conv": (3, 3, 5, 4), "4x4/Dense0": (64, 4), "4x4/Dense1": (4, 1 + label_size)},
    }
    shapes["D"] |= {f"FromRGB_lod{lod}": (1, 1, 3, 4) for lod in (0, 1)}
    for own in shapes.values():
        own |= {f"8x8/Conv{number}": (3, 3, 4, 4) for number in (0, 1)}
    states = []
    for network in ("G", "D", "G"):
        variables = {}
        for layer, shape in shapes[network].items():
            features = 4 if layer == "4x4/Dense" else shape[-1]
            variables[f"{layer}/weight"] = rng.randn(*shape).astype(np.float32)
            variables[f"{layer}/bias"] = 0.1 * rng.randn(features).astype(np.float32)
        more = {"latent_size": 5} if network == "G" else {}
        states.append(official_state(network, variables, lod=lod, label_size=label_size, **options, **more))
    return write_official(path, states)


def write_torch(path: Path, content: Any, *, container: str = "zip", config: Mapping[str, Any] | None = None) -> Path:
    """Write what torch.save would for nested dicts of arrays, float32.

    Args:
        path: of the file.
        content: its arrays become tensors.
        container: "zip" or "legacy".
        config: attributes of an object of models.utils.config.BaseConfig, stored as `config`.
    """
    storages: list[np.ndarray] = []

    class Pickler(pickle._Pickler):
        """Writes arrays as tensors."""

        def persistent_id(self, value):
            if isinstance(value, Storage):
                return "storage", storage_type, value.key, "cpu", value.count
            return None

        def reducer_override(self, value):
            if isinstance(value, TensorOfTensor):
                return rebuild, (value.tensor, 0, (1000,), (1,), False, OrderedDict())
            if not isinstance(value, np.ndarray):
                return NotImplemented
            storages.append(np.ascontiguousarray(value, np.float32))
            strides = tuple(step // 4 for step in storages[-1].strides)
            arguments = (Storage(str(len(storages) - 1), value.size), 0, value.shape, strides, False, OrderedDict())
            return rebuild, arguments

    with (
        class_in("models.utils.config", "BaseConfig") as base_config,
        class_in("torch", "FloatStorage") as storage_type,
        class_in("torch._utils", "_rebuild_tensor_v2") as rebuild,
    ):
        if config is not None:
            stored = base_config()
            stored.__dict__.update(config)
            content = {"config": stored, **content}
        buffer = io.BytesIO()
        Pickler(buffer, protocol=2).dump(content)
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", buffer.getvalue())
            for number, storage in enumerate(storages):
                archive.writestr(f"archive/data/{number}", storage.tobytes())
        return path
    header = b"".join(pickle.dumps(one, protocol=2) for one in (MAGIC, PROTOCOL, {"little_endian": True}))
    keys = pickle.dumps([str(number) for number in range(len(storages))], protocol=2)
    elements = b"".join(struct.pack("<q", storage.size) + storage.tobytes() for storage in storages)
    path.write_bytes(header + buffer.getvalue() + keys + elements)
    return path


class Storage:
    """The elements of a tensor, referred to by key."""

    def __init__(self, key: str, count: int):
        self.key, self.count = key, count


class TensorOfTensor:
    """Written as a tensor whose storage is a tensor, which PyTorch never does."""

    def __init__(self, tensor: np.ndarray):
        self.tensor = tensor
