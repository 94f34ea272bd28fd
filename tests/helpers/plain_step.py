"""One train iteration written from the specification (sections 1 to 3) alone: it shares no code with the package.

Everything is at full resolution, as in the authors' code: smaller images are enlarged, the discriminator shrinks them again,
and the gradient penalty measures its norm on the large image. Parameters are flat dictionaries by path. Compiled only because
JAX is slower without.

The loss "gansynth" is WGAN-GP in GANSynth's form: tanh outputs, one group of minibatch stddev, averaging after activation, a
label weight of 10, D's classes from reals only, and a penalty on images in units of the data. "rpgan" has R1 and R2 on large
images, its generator compares with the reals of the last discriminator step, and all that D sees is augmented.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

R1_GAMMA = 30.0
DATA_SCALE = (0.0661371661726, 0.8, 1.5)
"""Image units per unit of the data, for the loss "gansynth"."""
Parameters = Mapping[str, jax.Array]
Noise = Callable[[jax.Array, int], jax.Array]


@dataclass(frozen=True)
class Settings:
    """What one iteration is made with; `full` and `side` are the full and the current resolution."""

    loss: str
    full: int
    side: int
    classes: int
    mirror: bool
    alpha: float
    learning_rate: float
    beta2: float
    epsilon: float
    ema_decay: float


@dataclass(frozen=True)
class Player:
    """A network's parameters, Adam's second moments and its number of updates."""

    params: Parameters
    squares: Parameters
    updates: int


@dataclass(frozen=True)
class Plain:
    """Both networks, the generator's moving average, and the average that drives LSGAN's noise."""

    generator: Player
    discriminator: Player
    ema: Parameters
    lsgan_average: float


def iterate(settings: Settings, state: Plain, reals: list, draws: list, table: np.ndarray) -> tuple[Plain, dict[str, float]]:
    """A discriminator step for every pair of `reals`, then one generator step (spec 2.7).

    Args:
        settings: constants.
        state: before.
        reals: uint8 images `[batch, side, side, channels]` and class numbers `[batch]` of each discriminator step.
        draws: random numbers of each step, the generator's last: `keys`, `latents` and `uniforms` `[batch, 2]`.
        table: the class of every image of the data set, which the generator draws from.

    Returns:
        The state after, and the means that are reported.
    """
    reported = []
    for (images, classes), own in zip(reals, draws[:-1], strict=True):
        state, terms = discriminator_step(settings, state, images, classes, own)
        reported.append(terms)
    state, loss = generator_step(settings, state, draws[-1], table, reals[-1])
    means = {name: float(np.mean([terms[name] for terms in reported])) for name in reported[0]}
    return state, means | {"loss_g": float(loss)}


def discriminator_step(settings: Settings, state: Plain, images: np.ndarray, classes: np.ndarray, draws: Any):
    labels = one_hot(classes, settings.classes)
    mixing, coin = np.asarray(draws.uniforms).T
    fakes = generate(settings, state.generator.params, np.asarray(draws.latents), labels)
    reals = real_images(settings, images, coin < 0.5)
    noise = draws.keys, noise_strength(state)
    gradients, terms = discriminator_gradients(settings, state.discriminator.params, reals, fakes, labels, mixing, noise)
    # The moving average follows the generator as it is before its own step.
    decay = settings.ema_decay
    ema = {path: decay * leaf + (1.0 - decay) * state.generator.params[path] for path, leaf in state.ema.items()}
    average = state.lsgan_average
    if settings.loss == "lsgan":
        average = 0.9 * average + 0.1 * min(max(float(terms["loss_d"]), 0.0), 1.0)
    player = adam(settings, state.discriminator, gradients)
    return replace(state, discriminator=player, ema=ema, lsgan_average=average), jax.device_get(terms)


@functools.partial(jax.jit, static_argnums=0)
def discriminator_gradients(settings: Settings, params: Parameters, reals, fakes, labels, mixing, noise):
    def loss(params):
        change = lambda x, number: augmented(settings, x, noise[0], number)  # noqa: E731
        (real, real_logits) = score(settings, params, change(reals, 0), noise_of(settings, 0, *noise))
        (fake, fake_logits) = score(settings, params, change(fakes, 1), noise_of(settings, 1, *noise))
        penalty = jnp.zeros(())
        terms = {}
        if settings.loss == "rpgan":
            slopes = [
                jax.grad(lambda x, number=number: score(settings, params, change(x, number))[0].sum())(images)
                for number, images in enumerate((reals, fakes))
            ]
            penalty = sum((one**2).sum(axis=(1, 2, 3)).mean() for one in slopes)
            value = -jax.nn.log_sigmoid(real - fake).mean() + R1_GAMMA / 2 * penalty
            terms = {"score_difference": real.mean() - fake.mean()}
        elif settings.loss != "lsgan":
            unit = jnp.array(DATA_SCALE if settings.loss == "gansynth" else (1.0, 1.0, 1.0))
            mixed = (reals + (fakes - reals) * mixing[:, None, None, None]) / unit
            slopes = jax.grad(lambda x: score(settings, params, x * unit)[0].sum())(mixed)
            penalty = ((jnp.sqrt((slopes**2).sum(axis=(1, 2, 3))) - 1.0) ** 2).mean()
            value = fake.mean() - real.mean() + 10.0 * penalty + 0.001 * (real**2).mean()
        else:
            value = (real**2).mean() + 0.1 * ((fake - 1.0) ** 2).mean()
        if settings.loss == "gansynth":
            value += 10.0 * cross_entropy(real_logits, labels)
        else:
            value += cross_entropy(real_logits, labels) + cross_entropy(fake_logits, labels)
        terms |= {"real_score": real.mean(), "fake_score": fake.mean(), "gradient_penalty": penalty}
        return value, {"loss_d": value, **terms}

    return jax.grad(loss, has_aux=True)(params)


def generator_step(settings: Settings, state: Plain, draws: Any, table: np.ndarray, shown: tuple[np.ndarray, np.ndarray]):
    choice, coin = np.asarray(draws.uniforms).T
    rows = (choice * np.float32(len(table))).astype(int)
    labels = one_hot(table[np.minimum(rows, len(table) - 1)], settings.classes)
    reals = None
    if settings.loss == "rpgan":
        reals, labels = real_images(settings, shown[0], coin < 0.5), one_hot(shown[1], settings.classes)
    noise = draws.keys, noise_strength(state)
    players = state.generator.params, state.discriminator.params
    value, gradients = generator_gradients(settings, *players, (np.asarray(draws.latents), reals), labels, noise)
    return replace(state, generator=adam(settings, state.generator, gradients)), value


@functools.partial(jax.jit, static_argnums=0)
def generator_gradients(settings: Settings, params: Parameters, discriminator: Parameters, inputs, labels, noise):
    latents, reals = inputs

    def loss(params):
        fakes = generate(settings, params, latents, labels)
        changed = augmented(settings, fakes, noise[0], 0)
        scores, logits = score(settings, discriminator, changed, noise_of(settings, 0, *noise))
        value = (scores**2).mean() if settings.loss == "lsgan" else -scores.mean()
        if settings.loss == "rpgan":
            of_reals, _ = score(settings, discriminator, augmented(settings, reals, noise[0], 1))
            value = -jax.nn.log_sigmoid(scores - of_reals).mean()
        return value + (10.0 if settings.loss == "gansynth" else 1.0) * cross_entropy(logits, labels)

    return jax.value_and_grad(loss)(params)


def adam(settings: Settings, player: Player, gradients: Parameters) -> Player:
    """beta1 = 0; epsilon is added before the bias is corrected (spec 2.8)."""
    updates = player.updates + 1
    rate = settings.learning_rate * math.sqrt(1.0 - settings.beta2**updates)
    params, squares = {}, {}
    for path, gradient in jax.device_get(gradients).items():
        squares[path] = settings.beta2 * player.squares[path] + (1.0 - settings.beta2) * gradient**2
        params[path] = player.params[path] - rate * gradient / (np.sqrt(squares[path]) + settings.epsilon)
    return Player(params, squares, updates)


def real_images(settings: Settings, images: np.ndarray, coin: np.ndarray) -> np.ndarray:
    """To [-1, 1], mirrored where the coin says so, blended with their half-resolution selves, enlarged."""
    reals = images.astype(np.float32) * np.float32(2.0 / 255.0) - 1.0
    if settings.mirror:
        reals = np.stack([image[:, ::-1] if is_mirrored else image for image, is_mirrored in zip(reals, coin, strict=True)])
    blurred = up(down(reals))
    return enlarge_to(settings.full, np.asarray(blurred + (reals - blurred) * settings.alpha))


def augmented(settings: Settings, images: jax.Array, keys: jax.Array, number: int) -> jax.Array:
    """Images at the current resolution after color, translation and cutout, with the numbers of a pass of the discriminator."""
    if settings.loss != "rpgan":
        return images
    while images.shape[1] > settings.side:
        images = down(images)
    most, half, places = settings.side // 8, settings.side // 2, jnp.arange(settings.side)

    def change(image, key):
        u = jax.random.uniform(jax.random.fold_in(key, 2**16 + number), (7,))
        image = image + u[0] - 0.5
        grey = image.mean(axis=-1, keepdims=True)
        image = grey + (image - grey) * 2 * u[1]
        image = image.mean() + (image - image.mean()) * (0.5 + u[2])
        for axis in (0, 1):
            shift = jnp.floor(u[3 + axis] * (2 * most + 1)) - most
            image = jnp.moveaxis(jnp.roll(image, shift.astype(int), axis), axis, 0)
            comes_from = places - shift
            image = jnp.moveaxis(image * ((comes_from >= 0) & (comes_from < settings.side))[:, None, None], 0, axis)
        first = jnp.floor(u[5:] * (settings.side + 1)) - half // 2
        is_cut = [(places >= start) & (places < start + half) for start in first]
        return image * ~(is_cut[0][:, None] & is_cut[1][None, :])[..., None]

    return jax.vmap(change)(images, keys)


def noise_strength(state: Plain) -> float:
    return 0.2 * max(state.lsgan_average - 0.5, 0.0) ** 2


def noise_of(settings: Settings, number: int, keys: jax.Array, strength: jax.Array) -> Noise:
    """Of one pass of the discriminator in a step: one number per sample and channel, anew for each pass and each layer."""

    def perturb(x, layer):
        own = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, number), layer), x.shape[-1:]))
        return x * (1.0 + strength * math.sqrt(x.shape[-1]) * own(keys)[:, None, None, :])

    return perturb if settings.loss == "lsgan" else no_noise


def no_noise(x: jax.Array, layer: int) -> jax.Array:
    return x


# The networks, with fused scaling in the discriminator: it averages before the activation, except with the loss "gansynth"


@functools.partial(jax.jit, static_argnums=0)
def generate(settings: Settings, params: Parameters, latents: np.ndarray, labels: np.ndarray) -> jax.Array:
    act = lambda x: pixel_norm(leaky(x))  # noqa: E731
    x = pixel_norm(jnp.concatenate([latents, labels], axis=1))
    dense = (x @ weight(params, "block_4x4/dense", math.sqrt(2) / 4)).reshape(len(x), 4, 4, -1)
    x = act(dense + params["block_4x4/dense/bias"])
    features = {4: act(layer(params, "block_4x4/conv", x))}
    while settings.side not in features:
        size = 2 * max(features)
        x = act(layer(params, f"block_{size}x{size}/conv0", up(features[size // 2])))
        features[size] = act(layer(params, f"block_{size}x{size}/conv1", x))
    old, new = (layer(params, f"to_rgb_{size}x{size}", features[size], 1.0) for size in (settings.side // 2, settings.side))
    old, new = (jnp.tanh(x) if settings.loss == "gansynth" else x for x in (old, new))
    return enlarge_to(settings.full, up(old) * (1.0 - settings.alpha) + new * settings.alpha)


def score(settings: Settings, params: Parameters, images: jax.Array, noise: Noise = no_noise):
    """Scores `[batch]` and logits `[batch, classes]` of images at full resolution."""
    while images.shape[1] > settings.side:
        images = down(images)
    size = settings.side
    x = leaky(layer(params, f"from_rgb_{size}x{size}", images))
    while size > 4:
        x = leaky(layer(params, f"block_{size}x{size}/conv0", noise(x, 2 * size)))
        if settings.loss == "gansynth":
            x = down(leaky(layer(params, f"block_{size}x{size}/conv1", x)))
        else:
            linear = down(convolve(noise(x, 2 * size + 1), weight(params, f"block_{size}x{size}/conv1")))
            x = leaky(linear + params[f"block_{size}x{size}/conv1/bias"])
        if size == settings.side:
            old = leaky(layer(params, f"from_rgb_{size // 2}x{size // 2}", down(images)))
            x = old * (1.0 - settings.alpha) + x * settings.alpha
        size //= 2
    x = leaky(layer(params, "block_4x4/conv", noise(with_stddev(x, len(x) if settings.loss == "gansynth" else 4), 8)))
    x = noise(x, 9).reshape(len(x), -1)
    x = leaky(x @ weight(params, "block_4x4/dense0") + params["block_4x4/dense0/bias"])
    x = x @ weight(params, "block_4x4/dense1", 1.0) + params["block_4x4/dense1/bias"]
    return x[:, 0], x[:, 1:]


def with_stddev(x: jax.Array, size: int) -> jax.Array:
    """Groups of `size`: sample n is in group n modulo their number (spec 1.7)."""
    groups = len(x) // size
    spread = jnp.stack([jnp.sqrt(x[first::groups].var(axis=0) + 1e-8).mean() for first in range(groups)])
    per_sample = spread[np.arange(len(x)) % groups]
    return jnp.concatenate([x, jnp.broadcast_to(per_sample[:, None, None, None], (*x.shape[:3], 1))], axis=3)


def layer(params: Parameters, path: str, x: jax.Array, gain: float = math.sqrt(2)) -> jax.Array:
    return convolve(x, weight(params, path, gain)) + params[f"{path}/bias"]


def weight(params: Parameters, path: str, gain: float = math.sqrt(2)) -> jax.Array:
    kernel = params[f"{path}/kernel"]
    return kernel * (gain / math.sqrt(math.prod(kernel.shape[:-1])))


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def leaky(x: jax.Array) -> jax.Array:
    return jnp.where(x >= 0, x, 0.2 * x)


def pixel_norm(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-8)


def up(x: jax.Array) -> jax.Array:
    return x.repeat(2, axis=1).repeat(2, axis=2)


def down(x: jax.Array) -> jax.Array:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def enlarge_to(full: int, x: jax.Array) -> jax.Array:
    while x.shape[1] < full:
        x = up(x)
    return x


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    return np.eye(max(count, 1), dtype=np.float32)[classes][:, :count]


def cross_entropy(logits: jax.Array, labels: np.ndarray) -> jax.Array:
    if not labels.shape[1]:
        return jnp.zeros(())
    return (jnp.log(jnp.exp(logits).sum(axis=1)) - (logits * labels).sum(axis=1)).mean()
