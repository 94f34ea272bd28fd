"""Weight files: each known kind gives the same tensors; everything else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception import weights as module
from pggan_jax.evaluation.inception.weights import (
    VARIABLE,
    expected_shapes,
    find_weights,
    load_weights,
    random_weights,
    write_npz,
)
from pggan_jax.interop import inception_files
from pggan_jax.interop.inception_files import graph_scopes
from tests.helpers.frozen_graph import node

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def tensors():
    return random_weights(1)


def refusal(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same_variables(first, second):
    import jax

    jax.tree.map(np.testing.assert_array_equal, first, second)


class TestFiles:
    def test_files_of_pytorch_if_installed(self, tmp_path, tensors):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        for is_zip in (True, False):
            state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
            torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
            assert_same_variables(load_weights(tmp_path / "w.pth").variables, module.to_variables(tensors))

    def test_scopes_name_every_unit_once(self):
        scopes = graph_scopes()
        units = {name.removesuffix(".conv.weight") for name in expected_shapes() if name.endswith(".conv.weight")}
        assert set(scopes.values()) == units
        assert len(scopes) == len(units) == 94
        assert scopes["mixed_10/tower_1/mixed/conv_1"] == "Mixed_7c.branch3x3dbl_3b"
        assert scopes["mixed_3/tower/conv_2"] == "Mixed_6a.branch3x3dbl_3"

    def test_a_graph_gives_what_the_state_dict_gives(self, tmp_path, tensors):
        names = {path: scope for scope, path in graph_scopes().items()}
        leaves = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        nodes = [node("softmax/weights", tensors["fc.weight"].T), node("softmax/biases", tensors["fc.bias"])]
        for name, tensor in tensors.items():
            unit, _, leaf = name.rpartition(".")
            unit, _, part = unit.rpartition(".")
            if part == "conv":
                nodes.append(node(f"{names[unit]}/conv2d_params", tensor.transpose(2, 3, 1, 0)))
            elif part == "bn":
                nodes.append(node(f"{names[unit]}/batchnorm/{leaves[leaf]}", tensor))
        path = tmp_path / "classify_image_graph_def.pb"
        path.write_bytes(b"".join(nodes))
        assert_same_variables(load_weights(path).variables, module.to_variables(tensors))


def saved(path, tensors):
    with path.open("wb") as file:
        np.savez(file, **tensors)
    return path


class TestChecks:
    def test_an_npz_keeps_the_digest_of_its_source(self, tmp_path, tensors):
        first = saved(tmp_path / "first.npz", tensors)
        written = write_npz(first, tmp_path / "second.npz")
        again = load_weights(tmp_path / "second.npz")
        assert again.source == written.source == load_weights(first).source
        assert_same_variables(written.variables, again.variables)
        assert_same_variables(again.variables, module.to_variables(tensors))

    def test_the_environment_variable(self, tmp_path, tensors, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        assert VARIABLE in refusal(find_weights, None)
        monkeypatch.setenv(VARIABLE, str(saved(tmp_path / "w.npz", tensors)))
        assert len(find_weights(None).source) == 64
        assert find_weights("random").source == "random"

    def test_a_missing_file(self, tmp_path):
        assert "--inception_weights=" in refusal(load_weights, tmp_path / "none.pth")

    @pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more"])
    def test_a_damaged_npz(self, tmp_path, content):
        (tmp_path / "w.npz").write_bytes(content)
        assert "w.npz: is not an .npz of tensors" in refusal(load_weights, tmp_path / "w.npz")

    def test_one_array_is_no_npz(self, tmp_path):
        with (tmp_path / "w.npz").open("wb") as file:
            np.save(file, np.zeros(3))
        assert "w.npz: is not an .npz of tensors" in refusal(load_weights, tmp_path / "w.npz")

    def test_an_npz_is_written_completely_or_not_at_all(self, tmp_path, tensors, monkeypatch):
        first, out = saved(tmp_path / "first.npz", tensors), tmp_path / "out.npz"
        out.write_bytes(b"old")

        def full(file, **arrays):
            file.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        assert "out.npz: cannot be written (No space left on device)" in refusal(write_npz, first, out)
        assert out.read_bytes() == b"old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["first.npz", "out.npz"]

    def test_tensors_are_written_in_single_precision(self, tmp_path, tensors):
        doubled = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        write_npz(saved(tmp_path / "first.npz", doubled), tmp_path / "second.npz")
        with np.load(tmp_path / "second.npz") as archive:
            assert {archive[name].dtype for name in tensors} == {np.dtype(np.float32)}

    def test_a_pickle_is_never_loaded(self, tmp_path):
        (tmp_path / "w.pkl").write_bytes(b"")
        assert "a pickle can run any code" in refusal(load_weights, tmp_path / "w.pkl")

    def test_torchvisions_network(self, tmp_path, tensors):
        path = saved(tmp_path / "w.npz", tensors | {"AuxLogits.fc.weight": np.zeros(1)})
        assert "ImageNet checkpoint of torchvision" in refusal(load_weights, path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: t.pop("fc.bias"), "1 names missing, such as fc.bias"),
            (lambda t: t.update(extra=np.zeros(1)), "1 names unknown, such as extra"),
            (lambda t: t.update({"fc.bias": np.zeros(1000, np.float32)}), r"fc.bias has shape (1000,), not (1008,)"),
            (lambda t: t.update({"fc.bias": np.full(1008, np.nan, np.float32)}), "fc.bias has impossible values"),
            (lambda t: t.update({"Mixed_5b.branch1x1.bn.running_var": np.zeros(64, np.float32)}), "has impossible values"),
        ],
    )
    def test_other_contents(self, tmp_path, tensors, change, words):
        changed = dict(tensors)
        change(changed)
        assert words in refusal(load_weights, saved(tmp_path / "w.npz", changed))

    def test_an_unknown_digest_is_a_warning(self, tmp_path, tensors, monkeypatch):
        path = tmp_path / "pt_inception.pth"
        path.write_bytes(b"some bytes")
        monkeypatch.setattr(inception_files, "read_state_dict", lambda _: tensors)
        assert "that of the published file begins with 6726825d" in load_weights(path).warning


def test_all_tensors_are_known():
    shapes = expected_shapes()
    assert len(shapes) == 472
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 23_885_392
    assert shapes["Mixed_6b.branch7x7_2.conv.weight"] == (128, 128, 1, 7)
    assert shapes["fc.weight"] == (1008, 2048)
