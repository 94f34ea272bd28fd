"""Checkpoints: which are kept, that they restore what was saved, and one line for each kind of damage."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from dataclasses import asdict, replace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from pggan_jax.checkpointing import manager as checkpoint_module
from pggan_jax.checkpointing.integrity import checkpoint_digest, state_digest
from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.retention import Keep
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config import OptimizerConfig
from pggan_jax.config.io import replace_setting, to_json
from pggan_jax.distributed import devices
from pggan_jax.errors import UserError
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks
from pggan_jax.training.train_state import create_train_state
from tests.helpers.damage import (
    empty,
    flip,
    flip_bytes,
    garble_metadata,
    lose_state,
    make_foreign,
    truncate,
)
from tests.helpers.runs import (
    copy_of,
    digest,
    labelled_config,
    run_small,
    small_config,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
TOTAL = 160


@pytest.fixture(scope="module")
def networks():
    return build_networks(small_config(), 4, image_spec=ImageSpec(4, 4, 1))


@pytest.fixture(scope="module")
def state(networks):
    return jax.device_get(create_train_state(OptimizerConfig(), networks, 1))


def metadata_at(images_seen):
    return CheckpointMetadata(images_seen, 4, 1.0, 1, 0, tick_sums={"loss_g": 1.5}, tick_steps=3, tick_skipped=4)


def abstract_for(networks):
    return lambda _: jax.eval_shape(lambda: create_train_state(OptimizerConfig(), networks, 1))


class TestSaveAndRestore:
    def test_everything_comes_back(self, tmp_path, state, networks):
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        checkpoints.save(devices.replicate(state), metadata_at(160))
        assert checkpoints.finish() == []
        found, metadata = checkpoints.restore(160, abstract_for(networks))
        jax.tree.map(np.testing.assert_array_equal, found, state)
        assert replace(metadata, digest="") == metadata_at(160)
        assert metadata.digest == checkpoint_digest(state_digest(state), asdict(metadata))
        checkpoints.close()

    def test_a_state_may_be_donated_while_it_is_saved(self, tmp_path, state, networks):
        """The checkpoint holds the state at the call of `save`, although the buffers change afterwards."""
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        change = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 2, tree), donate_argnums=0)
        now = devices.replicate(state)
        for images_seen in (16, 32, 48):
            checkpoints.save(now, metadata_at(images_seen))
            for _ in range(3):
                now = change(now)
        assert checkpoints.finish() == []
        for index, images_seen in enumerate((16, 32, 48)):
            found, _ = checkpoints.restore(images_seen, abstract_for(networks))
            jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b * 8**index), found, state)  # noqa: B023
        checkpoints.close()

    def kept(self, folder, state, **options):
        checkpoints = Checkpoints(folder, **options)
        for images_seen in range(400, 4001, 400):
            checkpoints.save(devices.replicate(state), metadata_at(images_seen))
        checkpoints.close()
        return Checkpoints(folder, read_only=True).all_images_seen()

    def test_keep_last(self, tmp_path, state):
        assert self.kept(tmp_path / "few", state, keep=Keep(last=2)) == [3600, 4000]

    def test_keep_last_and_one_per_span(self, tmp_path, state):
        assert self.kept(tmp_path / "some", state, keep=Keep(last=1, every_kimg=1.5)) == [400, 2000, 3600, 4000]

    def test_the_newest_of_each_resolution(self, tmp_path, state):
        """Also by a manager that finds them: a run that continues remembers the resolutions of what is there."""
        folder = tmp_path / "levels"
        for resolutions, kept in (((4, 4, 8, 8), [2, 4]), ((8, 16, 16, 16), [2, 5, 8])):
            checkpoints = Checkpoints(folder, keep=Keep(last=1, levels=True))
            first = max(checkpoints.all_images_seen(), default=0) + 1
            for images_seen, resolution in enumerate(resolutions, first):
                metadata = CheckpointMetadata(images_seen, resolution, 1.0, 1, 0)
                assert checkpoints.save(devices.replicate(state), metadata) == []
            checkpoints.close()
            assert Checkpoints(folder, read_only=True).all_images_seen() == kept


class TestManagers:
    """Orbax's manager gathers something with each save: it is replaced after some saves, and closed."""

    @pytest.fixture
    def managers(self, monkeypatch):
        made = []

        class Noted(ocp.CheckpointManager):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                self.is_open, self.saves = True, 0
                made.append(self)

            def save(self, *arguments, **options):
                self.saves += 1
                return super().save(*arguments, **options)

            def close(self):
                super().close()
                self.is_open = False

        monkeypatch.setattr(ocp, "CheckpointManager", Noted)
        return made

    def test_what_is_remembered_does_not_grow_with_the_saves(self, tmp_path, managers, monkeypatch):
        monkeypatch.setattr(checkpoint_module, "SAVES_PER_MANAGER", 3)
        state = {"weight": np.ones(2, np.float32)}
        checkpoints = Checkpoints(tmp_path / "checkpoints", keep=Keep(last=2, every_kimg=0.006, best_by="swd"))
        known = []
        for images_seen in range(1, 14):
            metadata = CheckpointMetadata(images_seen, 4, 1.0, 1, 0, scores={"swd": 9.0 - (images_seen == 4)})
            assert checkpoints.save(state, metadata) == []
            known.append(len(checkpoints._retention.noted()))
        assert checkpoints.finish() == []
        assert checkpoints.all_images_seen() == [1, 4, 7, 12, 13]
        assert [manager.saves for manager in managers] == [3, 3, 3, 3, 1]
        assert [manager.is_open for manager in managers] == [False] * 4 + [True]
        assert max(known) <= 8
        checkpoints.close()
        assert not managers[-1].is_open

    def test_memory_does_not_grow_with_the_saves(self, tmp_path):
        """Counted in blocks of Python's allocator; TensorStore alone used to keep four for each leaf and save."""
        leaves, saves = 100, 12
        state = {str(number): np.ones(2, np.float32) for number in range(leaves)}
        checkpoints = Checkpoints(tmp_path / "checkpoints", keep=Keep(last=2))
        grown = []
        for images_seen in range(1, 2 * saves + 1):
            assert checkpoints.save(state, metadata_at(images_seen)) == []
            assert checkpoints.finish() == []
            if images_seen in (saves, 2 * saves):
                gc.collect()
                grown.append(sys.getallocatedblocks())
        checkpoints.close()
        assert (grown[1] - grown[0]) / saves < leaves

    def test_a_failed_save_leaves_no_second_manager_open(self, tmp_path, managers, monkeypatch):
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        state = {"weight": np.ones(2, np.float32)}
        with monkeypatch.context() as patched:
            patched.setattr(ocp.CheckpointManager, "save", mock.Mock(side_effect=OSError(28, "No space left on device")))
            (line,) = checkpoints.save(state, metadata_at(16))
        assert "could not be saved" in line
        assert [manager.is_open for manager in managers] == [False, True]
        assert checkpoints.save(state, metadata_at(32)) == []
        assert checkpoints.finish() == []
        assert checkpoints.all_images_seen() == [32]
        checkpoints.close()


class TestDigest:
    def test_covers_every_leaf_and_type(self, state):
        plain = state_digest(state)
        assert len(plain) == 64
        assert state_digest(jax.tree.map(jnp.asarray, state)) == plain
        leaves, structure = jax.tree.flatten(state)
        for index, leaf in enumerate(leaves):
            changed = [*leaves[:index], np.array(leaf) + np.ones((), leaf.dtype), *leaves[index + 1 :]]
            assert state_digest(structure.unflatten(changed)) != plain
        assert state_digest(state.replace(step=state.step.astype(np.int16))) != plain


class TestDamage:
    @pytest.mark.parametrize("damage", [flip_bytes, truncate, empty, make_foreign, lose_state, garble_metadata])
    def test_is_one_line_that_names_the_folder(self, labelled, tmp_path, damage):
        workdir = copy_of(labelled, tmp_path)
        checkpoint = workdir / "checkpoints" / str(TOTAL)
        damage(checkpoint)
        for read, start in (
            (lambda: load_trained_model(workdir), f"{checkpoint}: "),
            (lambda: run_small(workdir, labelled_config()), f"no checkpoint of 1 can be restored: {checkpoint}: "),
        ):
            with pytest.raises(UserError, match="cannot be restored") as caught:
                read()
            message = str(caught.value)
            assert "\n" not in message
            assert message.startswith(start)
        assert checkpoint.exists(), "nothing is moved where nothing is good"

    @pytest.mark.slow
    def test_no_flipped_byte_restores_anything_else(self, labelled, tmp_path, capfd):
        """Orbax notices few of them; the digest notices the rest. Bytes that nothing refers to do no harm."""
        workdir = copy_of(labelled, tmp_path)
        before, noticed = load_trained_model(workdir), []
        checkpoint = workdir / "checkpoints" / str(TOTAL)
        files = [file for file in checkpoint.rglob("*") if file.is_file() and file.stat().st_size]
        shares = dict.fromkeys(files, (0.1, 0.5, 0.9))
        shares[checkpoint / "position" / "metadata"] = np.linspace(0, 0.999, 40)
        capfd.readouterr()
        for file in files:
            for share in shares[file]:
                flip(file, share)
                try:
                    found = load_trained_model(workdir)
                    assert state_digest(found.state) == state_digest(before.state)
                    assert found.metadata == before.metadata
                except UserError as error:
                    noticed.append((file.name, str(error)))
                flip(file, share)
        assert all(str(checkpoint) in line and "\n" not in line for _, line in noticed)
        in_metadata = sum(name == "metadata" for name, _ in noticed)
        assert in_metadata > 30
        assert len(noticed) - in_metadata > 5
        assert capfd.readouterr().err == ""
        assert digest(workdir) == digest(labelled)

    @pytest.mark.parametrize("name", ["rollbacks", "tick_steps", "skipped_in_a_row", "alpha"])
    def test_a_changed_number_in_the_metadata_is_noticed(self, labelled, tmp_path, name):
        workdir = copy_of(labelled, tmp_path)
        file = workdir / "checkpoints" / str(TOTAL) / "position" / "metadata"
        document = json.loads(file.read_text())
        file.write_text(json.dumps(document | {name: document[name] + 1}))
        with pytest.raises(UserError, match="do not have the digest"):
            load_trained_model(workdir)

    def test_a_checkpoint_under_another_name(self, labelled, tmp_path):
        workdir = copy_of(labelled, tmp_path)
        shutil.copytree(workdir / "checkpoints" / str(TOTAL), workdir / "checkpoints" / "320")
        with pytest.raises(UserError, match=r"320: .*the checkpoint of kimg 0\.16 under another name"):
            load_trained_model(workdir)

    def test_other_folders_are_left_alone(self, labelled, tmp_path):
        workdir = copy_of(labelled, tmp_path)
        (workdir / "checkpoints" / "notes").mkdir()
        assert digest(workdir) == digest(labelled)


class TestOtherNetworks:
    """With --allow_config_change the shapes may not fit: one line names the leaf, and the run stays as it was."""

    @pytest.mark.parametrize(
        ("path", "value", "leaf"),
        [
            ("generator.fmap_max", 4, "generator/block_4x4/"),
            ("discriminator.fmap_max", 16, "discriminator/block_4x4/"),
            ("optimizer.beta1", 0.5, "discriminator_moments/first/"),
        ],
    )
    def test_names_the_leaf(self, labelled, tmp_path, path, value, leaf):
        workdir = copy_of(labelled, tmp_path)
        config = replace_setting(labelled_config(), path, value)
        with pytest.raises(UserError, match="holds other networks") as caught:
            run_small(workdir, config, allow_config_change=True)
        message = str(caught.value)
        assert "\n" not in message
        assert leaf in message
        assert "delete" not in message
        assert (workdir / "config.json").read_text() == to_json(labelled_config())
        assert run_small(workdir, labelled_config())


class TestChoose:
    def test_by_kimg(self, labelled):
        for name in ("latest", "0.16", "160"):
            assert load_trained_model(labelled, name).metadata.images_seen == TOTAL

    def test_unknown_kimg(self, labelled):
        with pytest.raises(UserError, match=r"--checkpoint=7: .*there are: latest, 0\.16"):
            load_trained_model(labelled, "7")
