"""One iteration: what it counts and skips, when the moving average moves, and every loss."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.networks import layers, resample
from pggan_jax.networks.resample import convolve, downscale
from pggan_jax.training import losses
from pggan_jax.training.rng import sample_noise
from pggan_jax.training.train_step import prepare_reals
from tests.helpers.train_steps import SAMPLES, Trainer, config_of

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def trainer():
    return Trainer(config_of())


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def broken(tree):
    """The tree with one number of its first leaf replaced by not-a-number."""
    leaves, structure = jax.tree.flatten(tree)
    leaves[0] = np.array(leaves[0])
    leaves[0].ravel()[0] = np.nan
    return structure.unflatten(leaves)


class TestCounters:
    def test_one_iteration(self, trainer):
        before = trainer.start()
        after, totals = trainer(before)
        assert int(after.step) == 1
        assert int(after.images_seen) == SAMPLES
        assert int(after.discriminator_moments.count) == int(after.generator_moments.count) == 1
        assert int(after.skipped_generator) == int(after.skipped_discriminator) == 0
        assert not equal(before.generator, after.generator)
        assert not equal(before.discriminator, after.discriminator)
        assert sorted(totals.sums) == ["fake_score", "gradient_penalty", "loss_d", "loss_g", "real_score"]
        assert all(np.isfinite(value) for value in totals.sums.values())
        assert (totals.skipped_steps, totals.skipped_in_a_row, totals.longest_row) == (0, 0, 0)

    def test_several_critic_steps(self):
        trainer = Trainer(config_of(schedule__critic_steps=2))
        after, _ = trainer(trainer.start())
        assert int(after.step) == 1
        assert int(after.images_seen) == 2 * SAMPLES
        assert int(after.discriminator_moments.count) == 2
        assert int(after.generator_moments.count) == 1

    def test_a_padded_call_makes_only_the_steps_asked_for(self, trainer):
        """Three single steps, and a call of four of which three count, agree."""
        state = trainer.start()
        singles = []
        for _ in range(3):
            state, totals = trainer(state)
            singles.append(totals.sums)
        together, totals = trainer(trainer.start(), steps=4, count=3)
        assert int(together.step) == 3
        assert int(together.images_seen) == 3 * SAMPLES
        for name, total in totals.sums.items():
            np.testing.assert_allclose(total, sum(sums[name] for sums in singles), rtol=1e-4, atol=1e-4)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), state, together)

    def test_every_step_samples_anew(self, trainer):
        """The same parameters in another step give other losses; without a learning rate nothing else changes."""
        state = trainer.start()
        first, one = trainer(state, learning_rate=0.0)
        again, same = trainer(state, learning_rate=0.0)
        _, other = trainer(first.replace(images_seen=state.images_seen), learning_rate=0.0)
        assert equal(first, again)
        assert one == same
        assert other.sums["fake_score"] != one.sums["fake_score"]
        assert equal(state.generator, first.generator)


def assert_is_share_of(tree, share, whole):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, share * b, rtol=1e-6), tree, whole)


class TestMovingAverage:
    def test_uses_the_generator_before_its_update(self, trainer):
        """Official timing: the average moves between the critic's update and the generator's."""
        state = trainer.start()
        state = state.replace(generator_ema=jax.tree.map(np.zeros_like, state.generator_ema))
        after, _ = trainer(state, ema_decay=0.75, learning_rate=0.1)
        assert_is_share_of(after.generator_ema, 0.25, state.generator)
        assert not equal(after.generator, state.generator)

    def test_moves_once_per_critic_step(self):
        trainer = Trainer(config_of(schedule__critic_steps=2))
        state = trainer.start()
        state = state.replace(generator_ema=jax.tree.map(np.zeros_like, state.generator_ema))
        after, _ = trainer(state, ema_decay=0.5)
        assert_is_share_of(after.generator_ema, 0.75, state.generator)


class TestNotFinite:
    """Only the update of the network with the bad gradient is skipped, and it is counted."""

    def test_in_the_discriminators_loss(self):
        with mock.patch.object(losses, "discriminator_loss", lambda config, scores, *_, **__: scores.mean() * jnp.nan):
            trainer = Trainer(config_of())
            before = trainer.start()
            after, totals = trainer(before)
        assert (int(after.skipped_discriminator), int(after.skipped_generator)) == (1, 0)
        assert equal(before.discriminator, after.discriminator)
        assert equal(before.discriminator_moments, after.discriminator_moments)
        assert not equal(before.generator, after.generator)
        assert not any(totals.sums.values()), "left out of the sums"
        assert (totals.skipped_steps, totals.skipped_in_a_row, totals.longest_row) == (1, 1, 1)
        assert int(after.step) == 1

    def test_in_the_generators_loss(self):
        with mock.patch.object(losses, "generator_loss", lambda config, scores, *_, **__: scores.mean() / 0.0 * 0.0):
            trainer = Trainer(config_of())
            before = trainer.start()
            after, totals = trainer(before)
        assert (int(after.skipped_discriminator), int(after.skipped_generator)) == (0, 1)
        assert equal(before.generator, after.generator)
        assert equal(before.generator_moments, after.generator_moments)
        assert not equal(before.discriminator, after.discriminator)
        assert not any(totals.sums.values()), "left out of the sums"
        assert (totals.skipped_steps, totals.skipped_in_a_row, totals.longest_row) == (1, 1, 1)

    def test_everywhere_after_a_broken_parameter(self, trainer):
        before = trainer.start()
        before = before.replace(generator=broken(before.generator))
        middle, _ = trainer(before)
        after, totals = trainer(middle)
        assert (totals.skipped_steps, totals.skipped_in_a_row, totals.longest_row) == (1, 2, 2)
        assert (int(after.skipped_discriminator), int(after.skipped_generator)) == (2, 2)
        assert equal(before.discriminator, after.discriminator)
        assert int(after.discriminator_moments.count) == 0
        assert int(after.step) == 2

    def test_one_bad_number_is_enough(self, trainer):
        """A single leaf of the discriminator's gradient overflows; none of its leaves moves."""
        before = trainer.start()
        leaves, structure = jax.tree.flatten(before.discriminator)
        leaves[-1] = np.full_like(leaves[-1], 1e38)
        before = before.replace(discriminator=structure.unflatten(leaves))
        after, _ = trainer(before)
        assert int(after.skipped_discriminator) == 1
        assert equal(before.discriminator, after.discriminator)


class TestLosses:
    @pytest.mark.parametrize(
        "changes",
        [
            {"loss__name": "wgan_gp", "data__labels": True},
            {"loss__name": "lsgan"},
            {"loss__name": "logistic"},
            {"loss__name": "hinge", "data__mirror": True, "loss__penalize": "both"},
            {"loss__name": "rpgan", "data__labels": True},
        ],
        ids=["wgan_gp with labels", "lsgan", "logistic", "hinge with R1 and R2", "rpgan with labels"],
    )
    def test_two_finite_steps_at_8x8(self, changes):
        trainer = Trainer(config_of(**changes), resolution=8)
        state = trainer.start()
        for _ in range(2):
            before = state
            state, totals = trainer(state, alpha=0.5)
            assert all(np.isfinite(value) for value in totals.sums.values())
            assert not equal(before.generator, state.generator)
            assert not equal(before.discriminator, state.discriminator)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        assert int(state.skipped_generator) == int(state.skipped_discriminator) == 0
        assert (totals.sums["gradient_penalty"] > 0) == (changes["loss__name"] != "lsgan")
        assert (state.lsgan_average > 0) == (changes["loss__name"] == "lsgan")


class TestFormulations:
    """One whole step at 8x8 in a fade gives the same gradients, as Adam's second moments tell, and losses in each form."""

    def step(self, config):
        trainer = Trainer(config, resolution=8)
        return trainer(trainer.start(), alpha=0.5)

    def assert_equal(self, first, second):
        """Adam's direction is a sign on the first step, so parameters would hide the gradients' size and show their noise."""
        (one, one_metrics), (two, two_metrics) = first, second
        for name, value in one_metrics.sums.items():
            np.testing.assert_allclose(value, two_metrics.sums[name], rtol=1e-4, atol=1e-5, err_msg=name)
        for moments in ("generator_moments", "discriminator_moments"):
            for a, b in zip(*(jax.tree.leaves(getattr(state, moments).second) for state in (one, two)), strict=True):
                np.testing.assert_allclose(np.sqrt(a), np.sqrt(b), rtol=1e-3, atol=1e-4 * np.sqrt(b.max()))

    def test_a_fused_generator_is_the_separate_one(self):
        separate = self.step(config_of(generator__fused_scale=False))
        self.assert_equal(self.step(config_of(generator__fused_scale=True)), separate)

    def test_a_fused_discriminator_is_its_definition(self):
        """Convolve, average, and only then bias and activation; in the plain operations and their own derivatives."""
        fused = self.step(config_of())
        plain_down = lambda x, kernel: downscale(convolve(x, kernel))  # noqa: E731
        with mock.patch.dict(layers._CONVOLUTIONS, {"down": plain_down}):
            self.assert_equal(fused, self.step(config_of()))

    def test_the_form_for_accelerators_is_the_one_for_cpus(self):
        on_cpu = self.step(config_of())
        with mock.patch.object(resample, "_enlarge_by_pixel_shuffle", resample._enlarge_by_transposition):
            self.assert_equal(on_cpu, self.step(config_of()))

    def test_the_comparison_can_fail(self):
        """A separate discriminator is another function (spec 1.5)."""
        with pytest.raises(AssertionError):
            self.assert_equal(self.step(config_of()), self.step(config_of(discriminator__fused_scale=False)))


class TestDiscriminatorNoise:
    def noise(self, pass_number, **changes):
        keys = jax.random.split(jax.random.key(0), 3)
        return losses.discriminator_noise(config_of(**changes).loss, 0.9, keys, pass_number=pass_number)

    def test_every_pass_and_sample_has_its_own(self):
        keys = [jax.random.key_data(self.noise(number, loss__name="lsgan").keys) for number in range(2)]
        assert len(np.unique(np.concatenate(keys), axis=0)) == 6

    def test_belongs_to_lsgan_alone(self):
        assert self.noise(0) is None


class TestReals:
    IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)

    def test_range(self):
        reals = np.asarray(prepare_reals(jnp.asarray([[[[0], [255]]]], jnp.uint8), flip=None, alpha=None))
        assert reals.tolist() == [[[[-1.0], [1.0]]]]

    def test_mirror_only_the_chosen(self):
        flip = np.array([True, False, True])
        reals = np.asarray(prepare_reals(self.IMAGES, flip=flip, alpha=None))
        plain = np.asarray(prepare_reals(self.IMAGES, flip=None, alpha=None))
        np.testing.assert_array_equal(reals[0], plain[0, :, ::-1])
        np.testing.assert_array_equal(reals[1], plain[1])
        np.testing.assert_array_equal(reals[2], plain[2, :, ::-1])

    def test_fade(self):
        plain = np.asarray(prepare_reals(self.IMAGES, flip=None, alpha=None))
        blocks = plain.reshape(3, 4, 2, 4, 2, 2).mean(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
        for alpha in (0.0, 0.3, 1.0):
            faded = np.asarray(prepare_reals(self.IMAGES, flip=None, alpha=np.float32(alpha)))
            np.testing.assert_allclose(faded, alpha * plain + (1 - alpha) * blocks, atol=1e-6)


class TestNoise:
    def sample(self, sample_index, step=4, update=0, seed=1):
        sample_index = np.asarray(sample_index, np.uint32)
        return sample_noise(np.uint32(seed), np.int32(step), sample_index, updates=2, latent_size=5)[update]

    def test_depends_on_the_sample_index_alone(self):
        together, alone = self.sample(range(8)), self.sample([6])
        np.testing.assert_array_equal(together.latents[6], alone.latents[0])
        np.testing.assert_array_equal(together.uniforms[6], alone.uniforms[0])

    def test_steps_streams_seeds_and_samples_differ(self):
        first = range(4)
        noises = [self.sample(first), self.sample(first, step=5), self.sample(first, update=1), self.sample(first, seed=2)]
        latents = np.concatenate([np.asarray(noise.latents) for noise in noises])
        assert len(np.unique(latents.round(6), axis=0)) == len(latents)

    def test_distributions(self):
        noise = self.sample(range(4000))
        assert abs(np.mean(noise.latents)) < 0.02
        assert abs(np.std(noise.latents) - 1) < 0.02
        uniforms = np.asarray(noise.uniforms)
        assert uniforms.min() >= 0
        assert uniforms.max() <= 1
        np.testing.assert_allclose(np.quantile(uniforms, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
