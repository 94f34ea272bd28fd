"""PyTorch state_dict files in both containers: tensors are read, everything else is refused, no code is run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.interop.state_dict import read_state_dict
from tests.helpers.array_source import refusal

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_both_containers(container):
    """Written by PyTorch: plain, a strided view of the same elements, half precision, a single number."""
    found = read_state_dict(GOLDEN / f"state_dict_{container}.pth")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert list(found) == ["plain", "strided", "half", "count"]
    np.testing.assert_array_equal(found["plain"], base)
    np.testing.assert_array_equal(found["strided"], base.T[1:4:2, ::2])
    np.testing.assert_array_equal(found["half"], np.array([0.5, -2.0], np.float16))
    assert found["half"].dtype == np.float16
    assert found["count"].shape == ()
    assert found["count"] == 7


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_nothing_in_a_file_is_run(tmp_path, container):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "evil.pth"
    evil = pickle.dumps({"weight": Evil()}, protocol=2)
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", evil)
    else:
        path.write_bytes(b"".join(pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, {})) + evil)
    assert "system, which could run code" in refusal(read_state_dict, path)
    assert not (tmp_path / "ran").exists()


def test_a_torchscript_program(tmp_path):
    path = tmp_path / "inception-2015-12-05.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/code/__torch__.py", b"")
    assert "TorchScript program" in refusal(read_state_dict, path)


@pytest.mark.parametrize("content", [b"", b"not a file", b"\x80\x02}q\x00.", pickle.dumps([1, 2])])
def test_other_bytes(tmp_path, content):
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    assert str(path) in refusal(read_state_dict, path)


def test_truncated(tmp_path):
    for container in ("zip", "legacy"):
        path = tmp_path / "short.pth"
        path.write_bytes((GOLDEN / f"state_dict_{container}.pth").read_bytes()[:-30])
        assert str(path) in refusal(read_state_dict, path)


def test_a_tensor_beyond_its_storage(tmp_path):
    path = tmp_path / "far.pth"
    with zipfile.ZipFile(GOLDEN / "state_dict_zip.pth") as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            changed.writestr(
                name, content.replace(b"K\x04K\x06\x86", b"K\x28K\x06\x86") if name.endswith("data.pkl") else content
            )
    assert "exceeds its storage" in refusal(read_state_dict, path)
