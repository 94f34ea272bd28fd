"""Archives: their last steps, and what an interruption there leaves."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.generation.archive_writers import journal_path, open_writer, partial_path
from pggan_jax.generation.image_writers import Plan, Sample, write_samples
from pggan_jax.system.stored_zip import StoredZip
from tests.helpers.image_samples import noise

COUNT, SHAPE = 20, (4, 6, 1)
FORMATS = {"x.zip": "png", "x.npz": "npz"}


def plan(**request):
    return Plan(
        range(COUNT),
        lambda seeds: np.array(seeds) % 3,
        name_of=lambda seed, _: f"seed{seed:04d}.png",
        has_labels=True,
        shape=SHAPE,
        request={"seeds": f"0-{COUNT - 1}", **request},
    )


def write(path):
    """Write what is missing; return the number of images that were there."""
    writer = open_writer(path, plan(), format=FORMATS[path.name])
    there = int(writer.done.sum())
    missing = (Sample(f"seed{seed:04d}.png", noise(*SHAPE) + np.uint8(seed)) for seed in np.flatnonzero(~writer.done))
    write_samples(missing, writer, at_once=3, progress=lambda _: None)
    return there


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", FORMATS)
class TestLastSteps:
    @pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), KeyboardInterrupt()])
    def test_a_file_that_does_not_get_its_name(self, tmp_path, monkeypatch, name, error):
        """The error is the one that is raised, and the next command has nothing to generate."""
        (tmp_path / "whole").mkdir()
        write(tmp_path / "whole" / name)
        out, replaced = tmp_path / name, Path.replace

        def failing(path, target):
            if path == partial_path(out):
                raise error
            return replaced(path, target)

        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(type(error)):
            write(out)
        monkeypatch.undo()
        assert not out.exists()
        assert write(out) == COUNT
        assert out.read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert names(tmp_path) == sorted(["whole", name])

    def test_interrupted_when_the_file_is_closed(self, tmp_path, monkeypatch, name):
        closing = StoredZip.close

        def interrupted(file):
            closing(file)
            raise KeyboardInterrupt

        monkeypatch.setattr(StoredZip, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name)
        monkeypatch.undo()
        assert write(tmp_path / name) == COUNT
        assert zipfile.ZipFile(tmp_path / name).testzip() is None

    def test_a_kill_between_the_name_and_the_end(self, tmp_path, name):
        """The journal stays then; the same command removes it and writes nothing."""
        out = tmp_path / name
        write(out)
        before = out.read_bytes()
        journal_path(out).write_text("{}")
        assert write(out) == COUNT
        assert out.read_bytes() == before
        assert names(tmp_path) == [name]
