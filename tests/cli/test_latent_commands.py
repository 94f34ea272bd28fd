"""The commands `directions`, `edit` and `arithmetic`: what they write, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.cli.edit import parse_strengths
from pggan_jax.errors import UserError
from pggan_jax.generation.editing.arithmetic import evaluate, parse_expression
from pggan_jax.generation.editing.direction_files import read_directions
from pggan_jax.generation.editing.directions import moved, normalized
from pggan_jax.generation.model import Model
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks, initialize
from tests.helpers.command_line import one_line_error
from tests.helpers.runs import small_config
from tests.helpers.sheets import shows

pytestmark = pytest.mark.usefixtures("quick_compilation")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def sefa(launch, finished, tmp_path):
    path = tmp_path / "sefa.npz"
    status, _, err = launch("directions", f"--from={finished}", "--count=3", "--seeds=5", f"--out={path}")
    assert status == 0, err
    return path


class TestDirections:
    def test_sefa_writes_a_file_and_its_sheet(self, sefa, finished):
        found = read_directions(sefa, named="-")
        model = pg.load(finished)
        assert found.names == ("sefa_0", "sefa_1", "sefa_2")
        assert found.method == "sefa"
        source = {"run": "finished", "kimg": 1.92, "network": "ema", "latent_size": model.latent_size}
        assert found.source == source | {"weights": model.digest}
        assert np.all(found.image_change > 0)
        sheet = pixels(sefa.with_suffix(".png"))
        points = moved(model.latents([5]), found.directions[2], (-3, 0, 3))[0]
        assert all(shows(sheet, image) for image in model.synthesize(points))
        assert sorted(path.name for path in sefa.parent.iterdir()) == ["sefa.npz", "sefa.png"]

    def test_pca_of_a_run_with_labels(self, launch, labelled, tmp_path):
        out = tmp_path / "pca.npz"
        words = "--method=pca", "--num_samples=300", "--class=3", f"--out={out}", "--seeds=0"
        status, printed, err = launch("directions", f"--from={labelled}", *words)
        assert status == 0, err
        found = read_directions(out, named="-")
        assert found.directions.shape == (8, 8)
        assert found.source["class"] == 3
        assert found.source["num_samples"] == 300
        assert np.all(np.diff(found.values) <= 0)
        assert printed.count("\npca_") == 8
        assert shows(pixels(out.with_suffix(".png")), pg.load(labelled).sample([0], labels=3)[0], tolerance=1)

    def test_classes_of_a_run_without_labels(self, launch, finished, tmp_path):
        """On a folder with a subfolder per class, and on the data of the run."""
        status, _, err = launch("extract", "digits", "--resolution=8", "--max_images=200", f"--out={tmp_path / 'folder'}")
        assert status == 0, err
        for source in ("", f"--data=folder:{tmp_path / 'folder'}"):
            out = tmp_path / "classes.npz"
            words = [f"--from={finished}", "--method=classes", "--num_samples=400", "--seeds=0", "--overwrite", f"--out={out}"]
            status, printed, err = launch("directions", *words, *filter(None, [source]))
            assert status == 0, err
            found = read_directions(out, named="-")
            assert set(found.names) <= {f"class_{number}" for number in range(10)}
            assert found.effect.shape == (len(found.names), len(found.strengths))
            # A step towards a class leads to it more often than none.
            assert found.effect[:, -1].mean() > found.effect[:, 0].mean() + 0.2
            assert "its accuracy is" in printed

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--method=sefa", "--num_samples=200"], "--num_samples: has no effect on --method=sefa"),
            (["--method=classes", "--count=3"], "--count: has no effect on --method=classes"),
            (["--orthogonal=3"], "--orthogonal: has no effect on --method=sefa"),
            (["--count=9"], "--count=9: the latent size is 8"),
            (["--class=3"], "--class=3: this run was trained without labels"),
            (["--seeds=0-16"], "--seeds=0-16: 17 seeds"),
            (["--method=classes", "--data=photos"], "photos has no classes"),
            (["--method=fft"], "sefa"),
        ],
    )
    def test_refused(self, launch, finished, tmp_path, words, message):
        status, _, err = launch("directions", f"--from={finished}", f"--out={tmp_path / 'd.npz'}", *words)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_classes_of_a_run_with_labels_are_refused(self, launch, labelled, tmp_path):
        status, _, err = launch("directions", f"--from={labelled}", "--method=classes", f"--out={tmp_path / 'd.npz'}")
        assert status == 2
        assert "was trained with labels" in err

    @pytest.mark.parametrize("words", [["--count=8"], ["--method=pca"], ["--method=classes"]], ids=str)
    def test_a_sheet_that_is_too_large_is_refused_at_once(self, launch, finished, tmp_path, monkeypatch, words):
        monkeypatch.setattr("pggan_jax.data.images.decode.MAX_PIXELS", 2_000_000)
        monkeypatch.setattr(pg.generation.model.Model, "synthesize", None)
        error = launch("directions", f"--from={finished}", "--seeds=0-15", f"--out={tmp_path / 'd.npz'}", *words)
        line = one_line_error(error)
        assert "--seeds" in line
        assert "the sheet would be " in line
        assert not list(tmp_path.iterdir())

    def test_an_interruption_leaves_no_file(self, launch, finished, tmp_path, monkeypatch):
        def stop(*_arguments, **_more):
            raise KeyboardInterrupt

        monkeypatch.setattr("pggan_jax.images.write_png", stop)
        assert launch("directions", f"--from={finished}", "--seeds=0", f"--out={tmp_path / 'd.npz'}")[0] == 130
        assert not list(tmp_path.iterdir())

    def test_a_class_without_images_is_noted_once(self, launch, labelled, tmp_path, monkeypatch):
        model = dataclasses.replace(pg.load(labelled), present_classes=(0, 1))
        monkeypatch.setattr("pggan_jax.checkpointing.open_model.load", lambda *_arguments, **_more: model)
        words = "--method=pca", "--num_samples=100", "--class=3", "--seeds=0", "--count=1", f"--out={tmp_path / 'd.npz'}"
        _, _, err = launch("directions", f"--from={labelled}", *words)
        assert err.count("WARNING: --class=3") == 1

    @pytest.mark.parametrize("existing", ["d.npz", "d.png"])
    def test_existing_files_stay(self, launch, finished, tmp_path, existing):
        (tmp_path / existing).write_bytes(b"mine")
        status, _, err = launch("directions", f"--from={finished}", f"--out={tmp_path / 'd.npz'}")
        assert status == 2
        assert "exists" in err
        assert (tmp_path / existing).read_bytes() == b"mine"


class TestEdit:
    def test_a_row_per_direction_and_seed(self, launch, finished, sefa, tmp_path):
        out = tmp_path / "edit.png"
        words = [f"--direction={sefa}:0", f"--direction={sefa}:sefa_2", "--seeds=4,9", "--strength=-1,4", f"--out={out}"]
        status, printed, err = launch("edit", f"--from={finished}", *words)
        assert status == 0, err
        assert "4 rows of 2 images" in printed
        model, found = pg.load(finished), read_directions(sefa, named="-")
        for number in (0, 2):
            points = moved(model.latents([4, 9]), found.directions[number], (-1, 4)).reshape(4, -1)
            assert all(shows(pixels(out), image) for image in model.synthesize(points))

    def test_directions_of_other_weights_are_noted(self, launch, finished, sefa, tmp_path):
        words = f"--direction={sefa}:0", "--seeds=1", f"--out={tmp_path / 'edit.png'}", "--overwrite"
        assert launch("edit", f"--from={finished}", *words)[2] == ""
        status, _, err = launch("edit", f"--from={finished}@1.008", *words)
        assert status == 0
        assert "was found with run finished, kimg 1.92, network ema, and" in err
        assert "has other weights" in err

    def test_classes_of_a_run_with_labels(self, launch, labelled, sefa, tmp_path):
        out = tmp_path / "edit.png"
        words = f"--direction={sefa}:0", "--seeds=4", "--strength=2", "--class=7", f"--out={out}"
        status, _, err = launch("edit", f"--from={labelled}", *words)
        assert status == 0, err
        model, found = pg.load(labelled), read_directions(sefa, named="-")
        image = model.synthesize(moved(model.latents([4]), found.directions[0], [2.0])[0], 7)
        assert shows(pixels(out), image[0])

    def test_colons_in_names_and_paths(self, launch, finished, sefa, tmp_path):
        path = tmp_path / "a:b.npz"
        shutil.copy(sefa, path)
        status, _, err = launch("edit", f"--from={finished}", f"--direction={path}:1", f"--out={tmp_path / 'e.png'}")
        assert status == 0, err

    @pytest.mark.parametrize(
        ("direction", "message"),
        [
            ("{sefa}:3", "has no direction '3'; give a number from 0 to 2, or one of sefa_0, sefa_1, sefa_2"),
            ("{sefa}:smile", "has no direction 'smile'"),
            ("{sefa}", "names no direction; add a number or a name"),
            ("{tmp}/none.npz:0", "no such file"),
            ("", "no such file"),
            ("{tmp}/broken.npz:0", "is damaged or not a file of directions"),
            ("{tmp}/foreign.npz:0", "is damaged or not a file of directions"),
            ("{tmp}/other.npz:0", "is for latents of size 5"),
        ],
    )
    def test_directions_that_are_refused(self, launch, finished, sefa, tmp_path, direction, message):
        (tmp_path / "broken.npz").write_bytes(sefa.read_bytes()[:500])
        np.savez(tmp_path / "foreign.npz", weights=np.ones(3))
        with np.load(sefa, allow_pickle=False) as archive:
            arrays = dict(archive)
        np.savez(tmp_path / "other.npz", **arrays | {"directions": np.eye(3, 5, dtype=np.float32)})
        words = f"--direction={direction.format(sefa=sefa, tmp=tmp_path)}", f"--out={tmp_path / 'e.png'}"
        status, _, err = launch("edit", f"--from={finished}", *words)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
        assert not (tmp_path / "e.png").exists()

    def test_a_missing_direction_is_refused(self, launch, finished, tmp_path):
        status, _, err = launch("edit", f"--from={finished}", f"--out={tmp_path / 'e.png'}")
        assert status == 2
        assert "--direction: is missing" in err

    @pytest.mark.parametrize(
        ("text", "values"), [("-3:3:7", [-3, -2, -1, 0, 1, 2, 3]), ("0:1:3", [0, 0.5, 1]), ("2", [2]), ("3,-1.5", [3, -1.5])]
    )
    def test_strengths(self, text, values):
        assert parse_strengths(text) == values

    @pytest.mark.parametrize(
        "text",
        ["", ":", "1:2", "1:2:0", "1:2:3:4", "1:2:-1", "a", "1,", "nan", "inf", "0:1:1e3", "1e9", "0:1:99999", "0:nan:3"],
    )
    def test_other_strengths_are_refused(self, text):
        with pytest.raises(UserError, match="must be FIRST:LAST:COUNT"):
            parse_strengths(text)


class TestArithmetic:
    def test_operands_and_result(self, launch, finished, tmp_path):
        out, expression = tmp_path / "sum.png", "mean(1,2) - 0.5*3"
        status, printed, err = launch("arithmetic", expression, f"--from={finished}", f"--out={out}")
        assert status == 0, err
        assert expression in printed
        model = pg.load(finished)
        result = evaluate(parse_expression(expression), model.latent_size)
        mean = model.latents([1, 2])
        mean = normalized((mean / np.linalg.norm(mean, axis=1, keepdims=True)).mean(axis=0)[None])[0]
        images = np.concatenate([model.sample([1, 2, 3]), model.synthesize(np.stack([result, mean]))])
        assert all(shows(pixels(out), image) for image in images)

    def test_a_mean_with_labels_is_normalised(self, launch, labelled, tmp_path):
        """As the sum of the terms is: with a label, the length of a latent changes the image."""
        out = tmp_path / "sum.png"
        status, _, err = launch("arithmetic", "mean(12,3,25,41) + 7", f"--from={labelled}", f"--out={out}")
        assert status == 0, err
        model = pg.load(labelled)
        mean = normalized(model.latents([12, 3, 25, 41])).mean(axis=0)[None]
        assert shows(pixels(out), model.synthesize(normalized(mean), 2)[0])

    def test_a_sheet_that_is_too_large_is_refused(self, launch, finished, tmp_path, monkeypatch):
        monkeypatch.setattr("pggan_jax.data.images.decode.MAX_PIXELS", 10_000)
        line = one_line_error(launch("arithmetic", "1 + 2", f"--from={finished}", f"--out={tmp_path / 'sum.png'}"))
        assert "1 + 2: the sheet would be" in line

    def test_the_class_of_the_result(self, launch, labelled, tmp_path):
        model, latent = pg.load(labelled), evaluate(parse_expression("12 + 3"), 8)[None]
        for words, number in (([], 2), (["--class=7"], 7)):
            out = tmp_path / f"{number}.png"
            status, _, err = launch("arithmetic", "12 + 3", f"--from={labelled}", f"--out={out}", *words)
            assert status == 0, err
            assert shows(pixels(out), model.synthesize(latent, number)[0])
            assert shows(pixels(out), model.sample([3])[0])

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["mean(1,2"], "position 9: expected , or ), not the end"),
            (["1 - 1"], "add up to 0"),
            (["1", "--class=2"], "--class=2: this run was trained without labels"),
            ([], "arithmetic needs EXPRESSION"),
        ],
    )
    def test_refused(self, launch, finished, tmp_path, words, message):
        status, _, err = launch("arithmetic", *words, f"--from={finished}", f"--out={tmp_path / 'sum.png'}")
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_an_existing_file_stays(self, launch, finished, tmp_path):
        (tmp_path / "sum.png").write_bytes(b"mine")
        status, _, err = launch("arithmetic", "1 + 2", f"--from={finished}", f"--out={tmp_path / 'sum.png'}")
        assert status == 2
        assert "exists" in err
        assert (tmp_path / "sum.png").read_bytes() == b"mine"


def test_images_that_are_not_square(launch, monkeypatch, tmp_path):
    """Networks of base 3x4 with random weights, through all three commands."""
    config = small_config(data__base_shape="3x4")
    networks = build_networks(config, 8, image_spec=ImageSpec(6, 8, 1))
    model = Model("wide", config, networks, *initialize(networks, 0), alpha=1.0, kimg=0.0)
    monkeypatch.setattr("pggan_jax.checkpointing.open_model.load", lambda *_arguments, **_more: model)
    names = {"pca": tmp_path / "pca.npz", "edit": tmp_path / "e.png", "sum": tmp_path / "s.png"}
    for words in (
        ["directions", "--method=pca", "--num_samples=300", "--count=2", "--seeds=5", f"--out={names['pca']}"],
        ["edit", f"--direction={names['pca']}:1", "--seeds=5", "--strength=2", f"--out={names['edit']}"],
        ["arithmetic", "5 + mean(1,2)", f"--out={names['sum']}"],
    ):
        status, _, err = launch(*words, "--from=wide")
        assert status == 0, err
    found = read_directions(names["pca"], named="-")
    points = moved(model.latents([5]), found.directions[1], (-3, 2))[0]
    first, second = model.synthesize(points)
    assert shows(pixels(names["pca"].with_suffix(".png")), first)
    assert shows(pixels(names["edit"]), second)
    assert shows(pixels(names["sum"]), model.sample([5])[0])


def test_a_written_file_names_nothing_of_the_machine(sefa):
    with np.load(sefa, allow_pickle=False) as archive:
        assert set(json.loads(str(archive["source"]))) == {"run", "kimg", "network", "latent_size", "weights"}
        assert str(sefa.parent) not in str(archive["source"])
