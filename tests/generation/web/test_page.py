"""The page of a model: its program computes the generator, and a browser draws the images that `sample` makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from pggan_jax.config import Config, DataConfig, GeneratorConfig, NetworksConfig, ScheduleConfig
from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.generation.web.page import sample_page
from pggan_jax.generation.web.program import Program, generator_program
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks, initialize
from tests.helpers.browser import result_of

pytestmark = pytest.mark.usefixtures("quick_compilation")


def model_with(resolution: int = 8, *, alpha: float = 1.0, label_size: int = 0, base: str = "4x4", **options: Any) -> Model:
    """A small generator with random parameters; biases are not 0."""
    generator = GeneratorConfig(**{"fmap_base": 32, "fmap_max": 8, **options})
    config = Config(
        data=DataConfig("digits", 16, base, labels=label_size > 0),
        generator=generator,
        schedule=ScheduleConfig(start_resolution=4),
    )
    shape = config.data.shape_at(resolution)
    networks = build_networks(config, resolution, image_spec=ImageSpec(shape.height, shape.width, 3, label_size))
    params, _ = initialize(networks, 0)
    rng = np.random.RandomState(1)

    def filled(tree):
        return {
            name: filled(value)
            if isinstance(value, dict)
            else value + (0.2 * rng.randn(*value.shape).astype(np.float32) if name == "bias" else 0)
            for name, value in tree.items()
        }

    present = tuple(range(label_size))
    return Model("it", config, networks, filled(params), None, alpha, 1.0, present_classes=present)


def page_of(model: Model, *, title: str = "it", facts: Mapping[str, str] = MappingProxyType({})) -> str:
    return sample_page(model, generator_program(model), title=title, facts=facts)


def run_program(program: Program, row: np.ndarray) -> np.ndarray:
    """The operations in plain NumPy."""
    x, weights, kept = row.reshape(1, 1, -1), program.weights, []

    def padded(x):
        return np.pad(x, ((1, 1), (1, 1), (0, 0)))

    for op in program.operations:
        name = op["op"]
        if name == "norm":
            x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + op["epsilon"])
        elif name == "dense":
            outputs = op["height"] * op["width"] * op["channels"]
            kernel = weights[op["kernel"] : op["kernel"] + op["inputs"] * outputs].reshape(op["inputs"], outputs)
            x = (x.ravel() @ kernel).reshape(op["height"], op["width"], op["channels"])
        elif name == "upscale":
            x = x.repeat(2, axis=0).repeat(2, axis=1)
        elif name == "convolve":
            height, width, channels = x.shape
            size = 9 * channels * op["channels"]
            kernel = weights[op["kernel"] : op["kernel"] + size].reshape(3, 3, channels, op["channels"])
            taps = [padded(x)[dy : dy + height, dx : dx + width] @ kernel[dy, dx] for dy in range(3) for dx in range(3)]
            x = sum(taps)
        elif name == "blur":
            height, width, _ = x.shape
            filters = np.outer([1, 2, 1], [1, 2, 1]) / 16
            x = sum(filters[dy, dx] * padded(x)[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3))
        elif name == "bias":
            bias = weights[op["bias"] : op["bias"] + op["size"]]
            x = x + bias.reshape(-1, x.shape[-1] if op["size"] == x.shape[-1] else 1).reshape(
                (1, 1, -1) if op["size"] == x.shape[-1] else x.shape
            )
        elif name == "relu":
            x = np.where(x < 0, op["slope"] * x, x)
        elif name == "colours":
            kernel = weights[op["kernel"] : op["kernel"] + x.shape[-1] * op["channels"]].reshape(-1, op["channels"])
            image = x @ kernel + weights[op["bias"] : op["bias"] + op["channels"]]
            image = np.tanh(image) if op["tanh"] else image
            if op["keeps"]:
                kept.append(image)
            else:
                x = image
        elif name == "fade":
            old = kept.pop().repeat(2, axis=0).repeat(2, axis=1)
            x = old * (1 - op["alpha"]) + x * op["alpha"]
        else:
            raise AssertionError(name)
    return x


VARIANTS = {
    "plain": {},
    "first level": {"resolution": 4},
    "mid-fade": {"alpha": 0.3, "resolution": 16},
    "labels": {"label_size": 3, "alpha": 0.5},
    "separate": {"fused_scale": False},
    "blur": {"blur": True, "fused_scale": False},
    "fused blur": {"blur": True},
    "biases per position": {"first_bias": "position"},
    "tanh": {"output_activation": "tanh", "alpha": 0.6},
    "no pixel norm": {"use_pixelnorm": False, "normalize_latents": False},
    "relu": {"use_leakyrelu": False, "use_wscale": False},
    "rectangle": {"base": "3x4", "resolution": 16},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_program_computes_the_generator(name):
    model = model_with(**VARIANTS[name])
    latents, labels = model.latents([0, 7]), model.one_hot(None, count=2)
    expected, program = model.floats(latents), generator_program(model)
    for latent, label, image in zip(latents, labels, expected, strict=True):
        np.testing.assert_allclose(run_program(program, np.concatenate([latent, label])), image, atol=1e-5)


def test_multiply_adds():
    """Of the dense layer, three convolutions and the one to colours, by hand."""
    program = generator_program(model_with())
    assert program.multiply_adds == 8 * 16 * 8 + 16 * 9 * 64 + 2 * 64 * 9 * 64 + 64 * 8 * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": GeneratorConfig(normalization="batch")}, "has batch norm"),
        ({"generator": GeneratorConfig(latents="uniform")}, "latents that are not normal"),
        ({"networks": NetworksConfig(name="tiny")}, "networks of the kind tiny"),
    ],
)
def test_networks_that_the_page_does_not_know(change, message):
    model = model_with()
    with pytest.raises(UserError, match=f"it: .*{message}.*, which a page cannot draw; export to .stablehlo"):
        generator_program(replace(model, config=replace(model.config, **change)))


def test_the_page_asks_for_nothing_and_holds_no_markup_of_others():
    page = page_of(model_with(label_size=1), title="</script><b>", facts={"licence": "<i>a & b</i>"})
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc=|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", page)
    assert "<i>" not in page
    assert "<b>" not in page
    assert page.count("</script>") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_browser_draws_what_sample_makes(tmp_path, name):
    """Within 2 of 255, by seed; in another class, another image."""
    model = model_with(**VARIANTS[name])
    seeds = [0, 1, 7, 2**32 - 1]
    script = f"""
    function result() {{
      const images = {seeds}.map((seed) => Array.from(imageOfSeed(seed).data));
      const hidden = getComputedStyle(byId("class").parentElement).display === "none";
      return {{ images, hidden, requests: performance.getEntriesByType("resource").map((one) => one.name) }};
    }}"""
    found = result_of(page_of(model), script, tmp_path)
    for image, expected in zip(found["images"], model.sample(seeds), strict=True):
        assert np.abs(np.array(image) - expected.ravel().astype(int)).max() <= 2
    assert found["images"][0] != found["images"][1]
    assert found["requests"] == []
    assert found["hidden"] == (model.label_size == 0)


@pytest.mark.slow
def test_a_browser_refuses_bad_seeds(tmp_path):
    script = """
    function result() {
      const said = {};
      for (const text of ["", "-1", "1.5", "1e3", "4294967296", "<b>x</b>", "4294967295"]) {
        byId("seed").value = text;
        update();
        said[text] = byId("status").textContent;
      }
      return said;
    }"""
    said = result_of(page_of(model_with()), script, tmp_path)
    assert said.pop("4294967295") == "drawing ..."
    for text, message in said.items():
        assert message == f"seed: {text or 'empty'}; give a whole number from 0 to 4294967295"


@pytest.mark.slow
def test_a_walk_ends_at_its_seeds(tmp_path):
    """Half way it is neither."""
    script = """
    function result() {
      const at = (t) => Array.from(draw(between(latentOf(3), latentOf(4), t), oneHot(0)).data);
      const ends = [3, 4].map((seed) => Array.from(imageOfSeed(seed).data));
      return { ends, walked: [at(0), at(1)], middle: at(0.5) };
    }"""
    found = result_of(page_of(model_with()), script, tmp_path)
    np.testing.assert_allclose(found["walked"], found["ends"], atol=1)
    assert found["middle"] not in found["ends"]
