"""Directions in the latent space, their files, and steps along them."""

from __future__ import annotations

import json
import zipfile
from unittest import mock

import numpy as np
import pytest

import pggan_jax as pg
from pggan_jax.errors import UserError
from pggan_jax.generation.editing.direction_files import Directions, find_direction, read_directions, save_directions
from pggan_jax.generation.editing.directions import (
    Activations,
    base_activations,
    first_kernel,
    image_change,
    moved,
    normalized,
    orthogonalized,
    principal_directions,
    sefa,
    separating_direction,
)
from pggan_jax.generation.sampling import latents_for_seeds

pytestmark = pytest.mark.usefixtures("quick_compilation")


def no_progress(_count):
    pass


class TestSefa:
    def test_is_the_eigenvectors_of_the_normalised_weight(self):
        kernel = np.random.RandomState(0).randn(5, 32).astype(np.float32)
        found = sefa(kernel, 5, count=3)
        columns = kernel.astype(np.float64) / np.linalg.norm(kernel, axis=0)
        product = columns @ columns.T
        for direction, value in zip(found.directions, found.values, strict=True):
            np.testing.assert_allclose(product @ direction, value * direction, atol=1e-5)
        assert np.all(np.diff(found.values) < 0)
        assert found.values[0] == pytest.approx(np.linalg.norm(columns, 2) ** 2)
        np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(3), atol=1e-6)

    def test_the_scale_of_a_unit_and_of_the_layer_does_not_matter(self):
        kernel = np.random.RandomState(0).randn(4, 16)
        scaled = 0.3 * kernel * np.random.RandomState(1).uniform(0.1, 9, 16)
        np.testing.assert_allclose(sefa(scaled, 4, count=4).directions, sefa(kernel, 4, count=4).directions, atol=1e-6)

    def test_rows_of_labels_are_left_out(self):
        kernel = np.random.RandomState(0).randn(7, 16)
        assert np.array_equal(sefa(kernel, 4, count=2).directions, sefa(kernel[:4], 4, count=2).directions)

    def test_the_first_weight_of_the_conditional_dcgan_is_that_of_its_hidden_layer(self):
        kernels = [np.zeros((14, 6)), np.zeros((16, 96))]
        layers = {"block_4x4": {"dense": {"kernel": kernels[1]}, "norm": {}}, "hidden": {"kernel": kernels[0]}}
        assert first_kernel(mock.Mock(generator=layers)) is kernels[0]

    def test_the_weight_of_a_run_with_labels(self, labelled):
        model = pg.load(labelled)
        kernel = first_kernel(model)
        assert kernel.shape == (model.latent_size + 10, 16 * 8)
        assert sefa(kernel, model.latent_size, count=4).directions.shape == (4, model.latent_size)


class TestPrincipalDirections:
    def batches(self, latents, features, classes):
        parts = [slice(start, start + 64) for start in range(0, len(latents), 64)]
        return [Activations(latents[part], features[part], classes[part]) for part in parts]

    def test_equals_the_decomposition_of_all_activations(self):
        rng = np.random.RandomState(0)
        latents = rng.randn(1000, 6)
        features = np.tanh(latents @ rng.randn(6, 30)) + 3
        found = principal_directions(self.batches(latents, features, np.zeros(1000, int)), count=4)
        centred = features - features.mean(axis=0)
        _, values, components = np.linalg.svd(centred, full_matrices=False)
        coordinates = centred @ components[:4].T
        slopes = np.linalg.lstsq(np.c_[coordinates, np.ones(1000)], latents, rcond=None)[0][:4]
        slopes /= np.linalg.norm(slopes, axis=1, keepdims=True)
        np.testing.assert_allclose(np.abs((found.directions * slopes).sum(axis=1)), 1, atol=1e-5)
        np.testing.assert_allclose(found.values, (values**2 / (values**2).sum())[:4], rtol=1e-6)

    def test_large_activations_with_many_classes(self):
        """More samples than components are kept, and classes whose share changes from batch to batch."""
        rng = np.random.RandomState(0)
        latents, classes = rng.randn(1500, 12), np.sort(rng.randint(0, 5, 1500))
        scales = np.exp(-np.arange(12) / 4)[:, None]
        features = latents @ (scales * rng.randn(12, 600)) + 0.1 * rng.randn(1500, 600) + 3 * rng.randn(5, 600)[classes]
        found = principal_directions(self.batches(latents, features, classes), count=5)
        for number in range(5):
            features[classes == number] -= features[classes == number].mean(axis=0)
        _, values, components = np.linalg.svd(features, full_matrices=False)
        slopes = components[:5] @ features.T @ latents
        slopes /= np.linalg.norm(slopes, axis=1, keepdims=True)
        np.testing.assert_allclose(np.abs((found.directions * slopes).sum(axis=1)), 1, atol=1e-4)
        np.testing.assert_allclose(found.values, (values**2 / (values**2).sum())[:5], rtol=1e-3)

    def test_no_more_directions_than_the_activations_have_dimensions(self):
        rng = np.random.RandomState(0)
        latents = rng.randn(300, 6)
        features = latents[:, :3] @ rng.randn(3, 40) + 7
        found = principal_directions(self.batches(latents, features, np.zeros(300, int)), count=6)
        assert found.directions.shape == (3, 6)
        assert np.isfinite(found.directions).all()
        assert found.values.sum() == pytest.approx(1)
        assert not len(principal_directions(self.batches(latents, features * 0, np.zeros(300, int)), count=6).values)

    def test_differences_between_classes_are_no_direction(self):
        rng = np.random.RandomState(0)
        latents, classes = rng.randn(2000, 3), np.arange(2000) % 2
        features = latents @ np.diag([1.0, 2.0, 0.5])
        features[:, 0] += 50 * classes
        found = principal_directions(self.batches(latents, features, classes), count=1)
        assert abs(found.directions[0, 1]) > 0.99

    def test_activations_are_those_of_the_base(self, finished):
        model = pg.load(finished)
        batches = list(base_activations(model, range(300), classes=np.zeros_like))
        assert [len(batch.features) for batch in batches] == [256, 44]
        assert batches[0].features.shape[1] == 16 * 8
        # Pixel norm is the last operation of the block.
        np.testing.assert_allclose(np.square(batches[1].features.reshape(44, 16, 8)).mean(axis=-1), 1, atol=1e-4)


class TestSteps:
    def test_moved_latents_keep_their_length(self):
        latents = latents_for_seeds(range(3), 8)
        direction = np.eye(8)[2]
        points = moved(latents, direction, (-3, 0, 3))
        assert points.shape == (3, 3, 8)
        lengths = np.linalg.norm(latents, axis=-1)[:, None].repeat(3, axis=1)
        np.testing.assert_allclose(np.linalg.norm(points, axis=-1), lengths, rtol=1e-6)
        np.testing.assert_allclose(points[:, 1], latents, rtol=1e-5, atol=1e-6)
        unscaled = normalized(latents) + 3 * direction
        np.testing.assert_allclose(normalized(points[:, 2]), normalized(unscaled), rtol=1e-5)

    def test_a_step_to_zero_is_refused(self):
        with pytest.raises(UserError, match="moved to 0"):
            moved(np.eye(4)[:1], np.eye(4)[0], (-2.0,))

    def test_change_is_the_mean_difference_of_half_a_step_to_both_sides(self, finished):
        model = pg.load(finished)
        direction = np.eye(model.latent_size, dtype=np.float32)[:1]
        (change,) = image_change(model, direction, classes=np.asarray, progress=no_progress)
        ends = moved(model.latents(range(32)), direction[0], (-0.5, 0.5))
        before, after = (model.synthesize(ends[:, side]).astype(float) for side in (0, 1))
        assert change == pytest.approx(np.abs(after - before).mean())
        assert change > 0


class TestClassDirections:
    def test_the_normal_of_a_plane_is_found(self):
        latents = np.random.RandomState(0).randn(4000, 10)
        normal = np.arange(10) / np.linalg.norm(np.arange(10))
        found = separating_direction(latents, latents @ normal > 1)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
        assert found @ normal > 0.99

    def test_orthogonal_to_all_others(self):
        directions = np.random.RandomState(0).randn(3, 6)
        directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
        found, left = orthogonalized(directions, "abc", against=range(3))
        products = np.abs(found @ directions.T)
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-6)
        np.testing.assert_allclose(np.diag(products), left, rtol=1e-5)

    def test_orthogonal_to_one_of_them(self):
        directions = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], np.float32)
        found, left = orthogonalized(directions, "abc", against=[0])
        np.testing.assert_allclose(found, [[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8]], atol=1e-6)
        np.testing.assert_allclose(left, [1, 0.8, 1], rtol=1e-6)

    def test_nothing_left(self):
        directions = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
        with pytest.raises(UserError, match="a lies in the span of the 2 other directions"):
            orthogonalized(directions, "abc", against=[0, 1, 2])


def some_directions(**changes):
    fields = {
        "directions": np.eye(3, 5, dtype=np.float32),
        "names": ("a", "b:c", "ü"),
        "method": "sefa",
        "image_change": np.ones(3, np.float32),
        "values": np.arange(3.0),
        "source": {"run": "digits", "kimg": 1.5},
    }
    return Directions(**fields | changes)


class TestFiles:
    def test_what_is_written_is_read(self, tmp_path):
        save_directions(tmp_path / "d.npz", some_directions())
        found = read_directions(tmp_path / "d.npz", named="d")
        assert found.names == ("a", "b:c", "ü")
        assert found.source == {"run": "digits", "kimg": 1.5}
        assert np.array_equal(found.directions, np.eye(3, 5))
        assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]

    def test_arrays_have_no_pickles(self, tmp_path):
        save_directions(tmp_path / "d.npz", some_directions())
        with np.load(tmp_path / "d.npz", allow_pickle=False) as archive:
            assert archive["directions"].dtype == np.float32
            assert json.loads(str(archive["source"]))["run"] == "digits"
            assert {archive[name].dtype.kind for name in archive.files} == {"f", "U"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"directions": np.ones((3, 5))},
            {"directions": np.full((3, 5), np.nan)},
            {"directions": np.zeros((0, 5))},
            {"names": ("a",)},
            {"source": [1]},
            {"values": np.zeros(2)},
        ],
        ids=str,
    )
    def test_files_with_other_content_are_refused(self, tmp_path, changes):
        save_directions(tmp_path / "d.npz", some_directions(**changes))
        with pytest.raises(UserError, match=r"--direction=d\.npz: is damaged or not a file of directions"):
            read_directions(tmp_path / "d.npz", named="--direction=d.npz")

    def test_damaged_and_foreign_files_are_refused(self, tmp_path):
        path = tmp_path / "d.npz"
        save_directions(path, some_directions())
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[200] ^= 0xFF
        for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-10], b"PK\3\4" + whole[50:], bytes(flipped)):
            path.write_bytes(content)
            with pytest.raises(UserError, match="damaged"):
                read_directions(path, named="d")
        np.savez(path, directions=np.array([{}], object), allow_pickle=True)
        with pytest.raises(UserError, match="damaged"):
            read_directions(path, named="d")

    def test_a_file_that_unpacks_to_gigabytes_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(5):
                archive.writestr(f"{number}.npy", bytes(2**26))
        with pytest.raises(UserError, match="too large"):
            read_directions(tmp_path / "d.npz", named="d")

    def test_by_number_or_name(self):
        found = some_directions()
        assert [find_direction(found, one, named="-") for one in ("1", "b:c", "a", "ü")] == [1, 1, 0, 2]
        for wanted in ("3", "-1", "b", "", "9" * 30, "²"):
            with pytest.raises(UserError, match=r"give a number from 0 to 2, or one of a, b:c, ü"):
                find_direction(found, wanted, named="-")
