"""The authors' pickles: golden images and scores from a file, both lineages, and refusal of all else."""

from __future__ import annotations

import math
import os
import pickle

import numpy as np
import pytest

from pggan_jax.interop.foreign.official import read_official_pickle
from pggan_jax.interop.foreign.theano import variables_of_parameters
from tests.helpers.array_source import refusal
from tests.helpers.foreign_files import official_state, write_official
from tests.helpers.foreign_models import close_to, outputs_of
from tests.helpers.official_networks import random_variables

OPTIONS = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 16, "fmap_decay": 1.0}
VARIANTS = ("fused_True_label_0", "fused_True_label_3", "fused_False_label_0", "fused_False_label_3")


def golden(reference, name):
    """Variables of G and of D, options, and inputs."""
    rng = np.random.RandomState(0)
    variables = random_variables(reference["golden_forward"]["cases"][name]["variables"], rng)
    latents, images = rng.randn(8, 16).astype(np.float32), rng.randn(8, 3, 16, 16).astype(np.float32).transpose(0, 2, 3, 1)
    parts = [{key[2:]: value for key, value in variables.items() if key.startswith(kind)} for kind in ("G/", "D/")]
    return *parts, {**OPTIONS, "label_size": int(name[-1])}, latents, images


@pytest.mark.parametrize("lod", [0.0, 0.25, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_gives_the_golden_images_and_scores(reference, tmp_path, name, lod):
    generator, discriminator, options, latents, images = golden(reference, name)
    zeros = {key: np.zeros_like(value) for key, value in generator.items()}
    states = [
        official_state("G", zeros, lod=lod, **options),
        official_state("D", discriminator, lod=lod, **options),
        official_state("G", generator, lod=lod, **options),
    ]
    model = read_official_pickle(write_official(tmp_path / "network.pkl", states))
    (case,) = [case for case in reference["golden_forward"]["cases"][name]["cases"] if case["lod"] == lod]
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3][:, : model.label_size]
    fakes, scores = outputs_of(model, latents, labels, images)
    close_to(fakes.mean(), case["G_mean"])
    close_to(fakes.std(), case["G_std"])
    close_to(fakes[0, 0, :4, 0], case["G_nchw_0_0_0_0to3"])
    close_to(fakes[7, 15, 12:, 2], case["G_nchw_7_2_15_12to15"])
    close_to(scores, case["D_scores"])
    assert not any(leaf.any() for leaf in model.raw_generator.values()), "G, the first of the three"
    assert "CC BY-NC" in model.licence


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_protocols_and_a_single_generator(reference, tmp_path, protocol):
    generator, _, options, *_ = golden(reference, VARIANTS[0])
    path = write_official(tmp_path / "g.pkl", [official_state("G", generator, **options)], protocol=protocol)
    if protocol == 0:
        assert "copy_reg" in refusal(read_official_pickle, path)
        return
    model = read_official_pickle(path)
    assert (model.resolution, model.alpha, model.raw_generator, model.discriminator) == (16, 1.0, None, None)
    np.testing.assert_array_equal(model.generator["to_rgb_16x16/kernel"], generator["ToRGB_lod0/weight"])


def theano_state(kind, variables, *, lod):
    """The inverse of the rules of spec 7.5: a flat list as the Theano program has it, with scales of its own."""
    rng = np.random.RandomState(1)
    order = {"G": ["4x4/Dense", "4x4/Conv", "8x8/Conv0", "8x8/Conv1", "16x16/Conv0", "16x16/Conv1"], "D": ["FromRGB_lod0"]}
    order["G"] += ["ToRGB_lod0", "ToRGB_lod1", "ToRGB_lod2"]
    order["D"] += ["16x16/Conv0", "16x16/Conv1", "FromRGB_lod1", "8x8/Conv0", "8x8/Conv1", "FromRGB_lod2"]
    order["D"] += ["4x4/Conv", "4x4/Dense0", "4x4/Dense1"]
    values = []
    for layer in order[kind]:
        weight, gain = variables[f"{layer}/weight"], math.sqrt(2)
        fan_in, scale = math.prod(weight.shape[:-1]), np.float32(rng.uniform(0.1, 2))
        if layer == "4x4/Dense":
            weight, gain = weight.reshape(len(weight), -1, 4, 4).transpose(1, 0, 2, 3), gain / 4
        elif layer == "4x4/Dense0":
            weight = weight.T.reshape(-1, weight.shape[0] // 16, 4, 4)[:, :, ::-1, ::-1]
        elif layer == "4x4/Dense1":
            gain = 1.0
        elif "RGB" in layer:
            weight, gain = weight[0, 0], 1.0 if kind == "G" else gain
        else:
            weight = weight[::-1, ::-1].transpose(3, 2, 0, 1)
        values += [weight * np.float32(gain / math.sqrt(fan_in)) / scale, scale, variables[f"{layer}/bias"]]
    spec = {"func": f"{kind}_progressive_8", **OPTIONS, "label_size": 0, "use_wscale": True, "tanh_at_end": None}
    spec |= {"use_gdrop": True, "mbstat_avg": "all"} if kind == "D" else {"normalize_latents": True}
    return {"build_func_spec": spec, "param_values": values, "toplevel_params": {"cur_lod": np.float32(lod)}}


@pytest.mark.parametrize("lod", [0.0, 0.25])
def test_theano_networks_are_the_separate_networks(reference, tmp_path, lod):
    """Their discriminators take groups of 16 samples, so of all 8 images; scores differ from the golden ones of groups of 4."""
    generator, discriminator, _, latents, images = golden(reference, "fused_False_label_0")
    states = [theano_state("G", generator, lod=lod), theano_state("D", discriminator, lod=lod)]
    model = read_official_pickle(write_official(tmp_path / "theano.pkl", states, module="network", protocol=2))
    (case,) = [case for case in reference["golden_forward"]["cases"]["fused_False_label_0"]["cases"] if case["lod"] == lod]
    fakes, scores = outputs_of(model, latents, np.zeros((8, 0), np.float32), images)
    close_to(fakes[7, 15, 12:, 2], case["G_nchw_7_2_15_12to15"])
    assert model.config.discriminator.mbstd_group_size == 16
    same = write_official(
        tmp_path / "tf.pkl",
        [
            official_state("G", generator, lod=lod, **OPTIONS),
            official_state("D", discriminator, lod=lod, mbstd_group_size=16, **OPTIONS),
        ],
    )
    expected, expected_scores = outputs_of(read_official_pickle(same), latents, np.zeros((8, 0), np.float32), images)
    close_to(fakes, expected)
    close_to(scores, expected_scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_batchnorm": True}, "use_batchnorm=True cannot be imported"),
        ({"label_size": 3}, "label_size=3 cannot be imported"),
        ({"func": "G_other"}, "unknown function G_other"),
        ({"resolution": 8}, "too many parameters"),
    ],
)
def test_theano_networks_that_cannot_be_imported(reference, change, message):
    generator, *_ = golden(reference, "fused_False_label_0")
    state = theano_state("G", generator, lod=0.0)
    state["build_func_spec"] |= change
    with pytest.raises(ValueError, match=message):
        variables_of_parameters(state)


def test_a_theano_network_without_its_last_parameter(reference):
    generator, *_ = golden(reference, "fused_False_label_0")
    state = theano_state("G", generator, lod=0.0)
    state["param_values"].pop()
    with pytest.raises(ValueError, match="too few parameters"):
        variables_of_parameters(state)


def test_nothing_in_a_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps((Evil(), Evil()), protocol=4))
    assert "system, which could run code" in refusal(read_official_pickle, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "module"), [("Network", "dnnlib.tflib.network"), ("eval", "builtins"), ("loads", "numpy"), ("Popen", "subprocess")]
)
def test_other_names_are_refused(tmp_path, name, module):
    path = tmp_path / "other.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    assert f"names {module}.{name}" in refusal(read_official_pickle, path)


class Declares:
    """An array that declares another shape than its bytes have."""

    def __init__(self, shape, code, data):
        self.shape, self.code, self.data = shape, code, data

    def __reduce__(self):
        rebuild, arguments, _ = np.zeros(1, np.float32).__reduce__()
        return rebuild, arguments, (1, self.shape, np.dtype(self.code), False, self.data)


@pytest.mark.parametrize(
    ("shape", "code", "data", "message"),
    [
        ((10**7, 10**7), "f4", b"\0" * 8, "declares 400,000,000,000,000 bytes, and the file holds 8"),
        ((4,), "f4", b"\0" * 8, "declares 16 bytes, and the file holds 8"),
        ((-1,), "f4", b"", "no shape, type and bytes"),
        ((1,), "O", [None], "elements of type O8, not numbers"),
        ((2,), "U1", b"\0" * 8, "elements of type U1, not numbers"),
        ((1,), [("a", "f4")], b"\0" * 4, "elements"),
        ((1,), "f4,O", b"\0" * 12, "elements"),
    ],
)
def test_declared_sizes_and_types_are_checked_before_memory_is_taken(tmp_path, shape, code, data, message):
    path = write_official(tmp_path / "wrong.pkl", [official_state("G", {"4x4/Dense/weight": Declares(shape, code, data)})])
    assert message in refusal(read_official_pickle, path)


@pytest.mark.parametrize("opcodes", [b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 5 + b"\0\0\0", b"B\xff\xff\xff\x7f"])
def test_a_short_file_that_asks_for_much_memory(tmp_path, opcodes):
    """Memo entry two billion, and two texts of bytes that the file does not hold."""
    path = tmp_path / "large.pkl"
    path.write_bytes(b"\x80\x04N" + opcodes + b".")
    assert "is refused" in refusal(read_official_pickle, path) or "damaged or truncated" in refusal(read_official_pickle, path)


@pytest.mark.parametrize("code", ["f4,O", "i8,O", "bytes", "f4,(9)f4", "O", "V4", "f", "c8", "M8[s]"])
def test_element_types_by_their_code(tmp_path, code):
    """A structure can hold addresses of objects."""
    path = tmp_path / "wrong.pkl"
    path.write_bytes(b"cnumpy\ndtype\n(V" + code.encode() + b"\nI0\nI1\ntR.")
    assert f"elements of type {code}, not numbers" in refusal(read_official_pickle, path)


def test_an_array_that_is_made_often_takes_no_more_than_the_file_has(tmp_path):
    array = Declares((1000,), "u1", b"\0" * 1000)
    many = [Declares((1000,), "u1", array.data) for _ in range(50)]
    path = tmp_path / "many.pkl"
    path.write_bytes(pickle.dumps(many, protocol=4))
    assert path.stat().st_size < 10_000
    assert "take more than the" in refusal(read_official_pickle, path)


def test_nested_pairs_end(tmp_path):
    """Forty pairs of the pair before are 2^40 leaves."""
    pair = ()
    for _ in range(40):
        pair = (pair, pair)
    path = tmp_path / "pairs.pkl"
    path.write_bytes(pickle.dumps([pair], protocol=2))
    assert "does not hold networks" in refusal(read_official_pickle, path)


def test_a_theano_scale_that_is_no_number(reference):
    generator, *_ = golden(reference, "fused_False_label_0")
    state = theano_state("G", generator, lod=0.0)
    state["param_values"][1] = np.ones(100_000, np.float32)
    with pytest.raises(ValueError, match="the scale of 4x4/Dense is not one number"):
        variables_of_parameters(state)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files(reference, tmp_path, share):
    generator, _, options, *_ = golden(reference, VARIANTS[0])
    path = write_official(tmp_path / "g.pkl", [official_state("G", generator, **options)])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "damaged or truncated" in refusal(read_official_pickle, path)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"4x4/Conv/bias": np.full(16, np.nan, np.float32)}, {}, "array 4x4/Conv/bias has NaN or infinite values"),
        ({"4x4/Conv/bias": np.zeros(16, np.int32)}, {}, "array 4x4/Conv/bias does not hold floating-point numbers"),
        ({"4x4/Other/bias": np.zeros(16, np.float32)}, {}, "not of the form of progressive_growing_of_gans"),
        ({"../../x": np.zeros(16, np.float32)}, {}, "not of the form of progressive_growing_of_gans"),
        ({}, {"latent_size": 3}, "first layer has 16 inputs, and its options 3 latents and 0 labels"),
        ({}, {"fmap_base": "many"}, "not of the form of progressive_growing_of_gans"),
        ({}, {"fmap_base": float("inf")}, "not of the form of progressive_growing_of_gans"),
    ],
)
def test_networks_that_cannot_be_computed(reference, tmp_path, change, options, message):
    generator, _, given, *_ = golden(reference, VARIANTS[0])
    state = official_state("G", {**generator, **change}, **{**given, **options})
    assert message in refusal(read_official_pickle, write_official(tmp_path / "g.pkl", [state]))


def test_other_contents(reference, tmp_path):
    generator, discriminator, options, *_ = golden(reference, VARIANTS[0])
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "does not hold networks of progressive_growing_of_gans" in refusal(read_official_pickle, path)
    write_official(path, [official_state("D", discriminator, **options)])
    assert "holds 0 generators" in refusal(read_official_pickle, path)
    write_official(path, [{**official_state("G", generator, **options), "version": 3}])
    assert "version 3; 2 can be read" in refusal(read_official_pickle, path)
    write_official(path, [{**official_state("G", generator, **options), "build_func_name": "G_style"}])
    assert "made by G_style" in refusal(read_official_pickle, path)


def test_options_that_the_authors_code_ignores_are_named(reference, tmp_path):
    generator, _, options, *_ = golden(reference, VARIANTS[0])
    state = official_state("G", generator, **options, dtype="float16", sparkle=3)
    notes = read_official_pickle(write_official(tmp_path / "g.pkl", [state])).notes
    assert any("sparkle" in note for note in notes)
    assert any("float16" in note for note in notes)
