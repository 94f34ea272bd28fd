"""FreezeD: frozen blocks and their moments stay as they are, and everything else trains as before."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks, parameter_shapes
from pggan_jax.training.freezing import frozen_modules, keep_frozen
from tests.helpers.runs import run_small, small_config
from tests.helpers.train_steps import Trainer, config_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

MODULES = ("block_4x4", "block_8x8", "block_16x16", "from_rgb_16x16")
FROZEN = ("block_8x8", "from_rgb_8x8")


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def at_eight(**changes):
    return config_of(schedule__start_resolution=8, run__init_from="runs/other", **changes)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (0, []),
        (1, ["from_rgb_16x16", "block_16x16"]),
        (2, ["from_rgb_16x16", "block_16x16", "block_8x8"]),
        (9, ["from_rgb_16x16", "block_16x16", "block_8x8"]),
    ],
)
def test_blocks_nearest_the_image(levels, expected):
    assert frozen_modules(dict.fromkeys(MODULES), levels) == expected


def test_blocks_are_ordered_by_their_size_and_not_their_names():
    assert (
        frozen_modules(dict.fromkeys(("block_6x8", "block_12x16", "block_96x128", "from_rgb_96x128")), 1)[1] == "block_96x128"
    )


def test_layer_norm_of_the_convolution_that_reads_the_image_is_frozen_with_it():
    config = at_eight(optimizer__freeze_discriminator=1, discriminator__normalization="layer")
    _, discriminator = parameter_shapes(build_networks(config, 8, image_spec=ImageSpec(8, 8, 1, 0)))
    assert frozen_modules(discriminator, 1) == ["from_rgb_8x8", "from_rgb_8x8_norm", "block_8x8"]


def test_keep_frozen_takes_over_whole_modules():
    old, new = ({name: {"kernel": value} for name in MODULES} for value in (1, 2))
    assert keep_frozen(new, old, 1) == {name: {"kernel": 1 if "16" in name else 2} for name in MODULES}


@pytest.mark.parametrize("microbatch", [0, 4])
def test_frozen_modules_and_moments_do_not_move(microbatch):
    trainer = Trainer(at_eight(optimizer__freeze_discriminator=1, run__microbatch=microbatch), resolution=8)
    before = trainer.start()
    second = jax.tree.map(lambda leaf: leaf + np.float32(0.5), before.discriminator_moments.second)
    before = before.replace(discriminator_moments=before.discriminator_moments._replace(second=second))
    after, _ = trainer(before)
    after, _ = trainer(after)
    for name in before.discriminator:
        is_frozen = name in FROZEN
        assert equal(before.discriminator[name], after.discriminator[name]) == is_frozen, name
        moments = before.discriminator_moments.second[name], after.discriminator_moments.second[name]
        assert equal(*moments) == is_frozen, name
    assert int(after.discriminator_moments.count) == 2
    assert not equal(before.generator, after.generator)


def test_the_other_modules_move_as_without_freezing():
    frozen, free = (Trainer(at_eight(optimizer__freeze_discriminator=levels), resolution=8) for levels in (1, 0))
    one, other = (trainer(trainer.start())[0] for trainer in (frozen, free))
    for name in one.discriminator.keys() - set(FROZEN):
        leaves = zip(*(jax.tree.leaves(state.discriminator[name]) for state in (one, other)), strict=True)
        for mine, theirs in leaves:
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_run_keeps_the_blocks_of_the_other_and_says_which(finished, tmp_path):
    config = small_config(
        schedule__start_resolution=8, run__init_from=str(finished), optimizer__freeze_discriminator=1, schedule__total_kimg=0.32
    )
    assert not run_small(tmp_path / "run", config, stop_at=96)
    assert run_small(tmp_path / "run", config)
    ours, theirs = load_trained_model(tmp_path / "run").state.discriminator, load_trained_model(finished).state.discriminator
    assert [equal(ours[name], theirs[name]) for name in ("block_4x4", *FROZEN)] == [False, True, True]
    assert "frozen in the discriminator: from_rgb_8x8, block_8x8" in (tmp_path / "run" / "log.txt").read_text()


def test_a_source_that_has_not_grown_so_far_is_refused(tmp_path):
    assert not run_small(tmp_path / "source", small_config(), stop_at=32)
    config = small_config(
        schedule__start_resolution=8, run__init_from=str(tmp_path / "source"), optimizer__freeze_discriminator=1
    )
    with pytest.raises(UserError, match=r"freeze_discriminator=1 would keep untrained; .* grown to 8x8, or set 0"):
        run_small(tmp_path / "run", config)


def test_a_source_without_a_frozen_layer_is_refused(finished, tmp_path):
    config = small_config(
        schedule__start_resolution=8,
        run__init_from=str(finished),
        optimizer__freeze_discriminator=1,
        discriminator__normalization="layer",
    )
    with pytest.raises(UserError, match=r"8x8 without block_8x8/conv0_norm/gain, which optimizer.freeze_discriminator=1"):
        run_small(tmp_path / "run", config)
