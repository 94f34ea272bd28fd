"""launch.py convert_inception: by what it prints two users see that they have the same network; mistakes are one line."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile

import numpy as np
import pytest

from pggan_jax.evaluation.inception import features
from pggan_jax.evaluation.inception.weights import load_weights, random_weights, to_variables
from pggan_jax.interop import inception_files
from tests.helpers.command_line import one_line_error


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "source.npz"
    np.savez(path, **random_weights(1))
    return path


@pytest.fixture
def quick(monkeypatch):
    """Without the minute that the network takes to compile."""
    monkeypatch.setattr(features, "feature_mean", lambda weights: float(weights.variables["params"]["fc_bias"][0]))


@pytest.mark.slow
def test_by_the_real_network(launch, source, tmp_path):
    """The same numbers from the source and from what was made of it."""
    texts = []
    for name in (source, tmp_path / "one.npz"):
        target = tmp_path / ("one.npz" if name == source else "two.npz")
        status, out, err = launch("convert_inception", name, target)
        assert (status, err) == (0, "")
        *text, last = out.splitlines()
        assert last == f"-> {target}"
        texts.append(text)
    assert texts[0] == texts[1]
    digest, tensors, mean = texts[0]
    assert digest == f"sha256    {hashlib.sha256(source.read_bytes()).hexdigest()} (of the source)"
    assert tensors == "tensors   472"
    (number,) = re.findall(r"features  mean (\d+\.\d{5}) \(of a fixed 64x64 image, resized as tf1\)", mean)
    extractor = features.FeatureExtractor(load_weights(source), batch_size=1)
    assert float(number) == pytest.approx(extractor(features.fixed_image())[0].mean(), abs=2e-5)
    assert float(number) > 0.01
    assert (tmp_path / "one.npz").stat().st_size == pytest.approx(23_885_392 * 4, rel=0.01)


def test_the_fixed_image_never_changes():
    """Else numbers of two versions of the program would differ for the same network."""
    image = features.fixed_image()
    assert (image.shape, image.dtype) == ((1, 64, 64, 3), np.uint8)
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "2bb128fb04c54046"
    assert image.std() > 50


def test_an_existing_file_stays_without_the_flag(launch, quick, source, tmp_path):
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    message = one_line_error(launch("convert_inception", source, out))
    assert f"{out}: exists already; add --overwrite" in message
    assert out.read_bytes() == b"precious"
    status, _, err = launch("convert_inception", source, out, "--overwrite")
    assert (status, err) == (0, "")
    assert load_weights(out).source == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_file_may_be_replaced_by_itself(launch, quick, source, tmp_path):
    path = tmp_path / "same.npz"
    path.write_bytes(source.read_bytes())
    assert launch("convert_inception", path, path, "--overwrite")[0] == 0
    np.testing.assert_array_equal(
        load_weights(path).variables["params"]["fc_bias"], to_variables(random_weights(1))["params"]["fc_bias"]
    )


def test_an_unknown_digest_is_a_warning(launch, quick, tmp_path, monkeypatch):
    path = tmp_path / "pt_inception.pth"
    path.write_bytes(b"some bytes")
    monkeypatch.setattr(inception_files, "read_state_dict", lambda _: random_weights(1))
    status, out, _ = launch("convert_inception", path, tmp_path / "out.npz")
    assert status == 0
    assert "that of the published file begins with 6726825d" in out
    assert hashlib.sha256(b"some bytes").hexdigest() in out


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], "convert_inception needs IN: python launch.py convert_inception IN OUT.npz [FLAGS]"),
            (["w.pth"], "convert_inception needs OUT.npz: "),
            (["none.pth", "{tmp}/out.npz"], "none.pth: cannot be read (No such file or directory); give "),
            (["{tmp}", "{tmp}/out.npz"], "cannot be read (Is a directory)"),
            (["w.pth", "{tmp}/out.pth"], "out.pth: the output is an .npz file; choose a name that ends in .npz"),
            (["w.pth", ""], "OUT.npz: the output is an .npz file"),
            (["w.pth", "{tmp}/none/out.npz"], "none/out.npz: there is no folder {tmp}/none; create it"),
            (["w.pth", "{tmp}/folder.npz"], "folder.npz: is a folder; name a file in it"),
            (["{tmp}/evil.pkl", "{tmp}/out.npz"], "evil.pkl: a pickle can run any code and is never loaded"),
            (["{tmp}/evil.pth", "{tmp}/out.npz"], "system, which could run code"),
            (["{tmp}/program.pt", "{tmp}/out.npz"], "TorchScript program"),
            (["{tmp}/torchvision.npz", "{tmp}/out.npz"], "ImageNet checkpoint of torchvision"),
            (["{tmp}/damaged.npz", "{tmp}/out.npz"], "damaged.npz: is not an .npz of tensors"),
            (["{tmp}/damaged.pb", "{tmp}/out.npz"], "is not a frozen TensorFlow graph"),
        ],
    )
    def test_is_one_line_and_writes_nothing(self, launch, tmp_path, words, expected):
        class Evil:
            def __reduce__(self):
                return __import__("os").system, ("true",)

        (tmp_path / "folder.npz").mkdir()
        for name in ("evil.pkl", "evil.pth", "damaged.npz", "damaged.pb"):
            content = pickle.dumps({"weight": Evil()}, protocol=2)
            (tmp_path / name).write_bytes(
                b"".join(pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, {})) + content
            )
        with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:
            archive.writestr("archive/data.pkl", b"")
            archive.writestr("archive/code/__torch__.py", b"")
        np.savez(tmp_path / "torchvision.npz", **{"AuxLogits.fc.weight": np.zeros(1)})
        before = sorted(tmp_path.rglob("*"))
        message = one_line_error(launch("convert_inception", *(word.replace("{tmp}", str(tmp_path)) for word in words)))
        assert expected.replace("{tmp}", str(tmp_path)) in message
        assert "--inception_weights" not in message
        assert sorted(tmp_path.rglob("*")) == before
