"""The whole train step, lowered for CPU, CUDA and TPU without any of them: types, convolutions, and nothing that calls back.

`jax.pmap` cannot be exported ("must be the result of `jit`"). It is `jit(shard_map(..., check_vma=False))`, so the per-device
function is exported in just that form, over two fake devices, with the arguments' shapes that `plan` compiles for.
"""

from __future__ import annotations

import re
from functools import cache

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, RunConfig, ScheduleConfig
from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import abstract_train_state

PLATFORMS = ("cpu", "cuda", "tpu")
DEVICES, STEPS = 2, 2
CASES = [(size, *kind) for size in (4, 8, 16, 32) for kind in (("float32", False), ("bfloat16", True))]
CASES += [(8, "float32", True), (8, "bfloat16", False)]
OFFICIAL = (128, "bfloat16", False)


def config_of(resolution: int, dtype: str, *, labels: bool, fmap_max: int) -> Config:
    return Config(
        data=DataConfig(resolution=resolution, labels=labels, mirror=True),
        generator=GeneratorConfig(fmap_max=fmap_max, dtype=dtype),
        discriminator=DiscriminatorConfig(fmap_max=fmap_max, dtype=dtype),
        schedule=ScheduleConfig(batch_size=16),
        run=RunConfig(steps_per_call=STEPS),
    )


def array(dtype, *shape):
    return jax.ShapeDtypeStruct(shape, dtype)


@cache
def exported(resolution: int, dtype: str, labels: bool, *, platforms: tuple[str, ...] = PLATFORMS, fmap_max: int = 8):
    """The exported step of one resolution: a fade and what follows it are one program."""
    config = config_of(resolution, dtype, labels=labels, fmap_max=fmap_max)
    label_size = 10 if labels else 0
    image_spec = ImageSpec(resolution, resolution, 3, label_size)
    networks = build_networks(config, resolution, image_spec=image_spec, axis_name=devices.AXIS)
    multi_step = make_multi_step(config, networks)
    leading = DEVICES, STEPS, config.schedule.critic_steps, 16 // DEVICES
    batch = Batch(
        images=array(np.uint8, *leading, resolution, resolution, 3),
        labels=array(np.float32, *leading, label_size),
        sample_index=array(np.uint32, *leading),
    )
    points = TracedSchedulePoint(*3 * [array(np.float32, STEPS)])
    shared = points, SharedInputs(array(np.uint32), array(np.int32, 10)), array(np.int32)

    def per_device(state, batch, *shared):
        return multi_step(state, jax.tree.map(lambda leaf: leaf[0], batch), *shared)

    whole = PartitionSpec()
    mapped = jax.shard_map(
        per_device,
        mesh=Mesh(np.array(jax.local_devices()[:DEVICES]), (devices.AXIS,)),
        in_specs=(whole, PartitionSpec(devices.AXIS), whole, whole, whole),
        out_specs=whole,
        check_vma=False,
    )
    state = abstract_train_state(config.optimizer, networks)
    step = jax.export.export(jax.jit(mapped, donate_argnums=0), platforms=platforms)(state, batch, *shared)
    return step, step.mlir_module(), state


def lines_with(text: str, operation: str) -> list[str]:
    """Lines of an operation, without where in the source it comes from."""
    return [line.split(" loc(")[0] for line in text.splitlines() if f"stablehlo.{operation}" in line]


def float_types(lines: list[str]) -> set[str]:
    return set(re.findall(r"(?:x|<)(b?f\d+)>", "\n".join(lines)))


def narrow_sums(text: str) -> list[str]:
    """Sums of more than one number in bfloat16."""

    def adds_up(line: str) -> bool:
        shape = re.search(r": \(tensor<([\dx]+)xbf16>", line)
        axes = re.search(r"dimensions = \[([\d, ]*)\]", line)
        if not shape or not axes:
            return False
        sizes = shape[1].split("x")
        return any(int(sizes[int(axis)]) > 1 for axis in axes[1].split(","))

    return [line for line in lines_with(text, "reduce") if "applies stablehlo.add" in line and adds_up(line)]


class Everywhere:
    """What holds for every program."""

    def test_is_one_program_for_all_platforms(self, case, options):
        step, _, _ = exported(*case, **options)
        assert step.platforms == PLATFORMS

    def test_no_float64(self, case, options):
        _, text, _ = exported(*case, **options)
        assert float_types(text.splitlines()) <= {"f32", "bf16"}

    def test_no_callbacks(self, case, options):
        """Each would be a custom call, such as `xla_ffi_python_cpu_callback`."""
        _, text, _ = exported(*case, **options)
        assert lines_with(text, "custom_call") == []

    def test_one_all_reduce_per_update(self, case, options):
        """Of gradients, loss and metrics together."""
        _, text, _ = exported(*case, **options)
        assert len(lines_with(text, "all_reduce")) == 2

    def test_state_and_metrics_keep_their_types(self, case, options):
        step, _, state = exported(*case, **options)
        new_state, totals = jax.tree.unflatten(step.out_tree, step.out_avals)
        dtypes = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree)]  # noqa: E731
        assert dtypes(new_state) == dtypes(state)
        assert set(dtypes(state)) == {np.dtype(np.float32), np.dtype(np.int32)}
        assert {leaf.shape for leaf in jax.tree.leaves(totals)} == {()}
        assert (set(dtypes(totals.sums)), set(dtypes(totals[1:]))) == ({np.dtype(np.float32)}, {np.dtype(np.int32)})

    def test_convolutions_and_products_are_in_the_dtype_asked_for(self, case, options):
        _, text, _ = exported(*case, **options)
        wanted = {"float32": {"f32"}, "bfloat16": {"bf16"}}[case[1]]
        assert float_types(lines_with(text, "convolution")) == float_types(lines_with(text, "dot_general")) == wanted

    def test_sums_are_in_float32(self, case, options):
        """Losses, penalty norm, statistics of pixel norm and minibatch stddev, and the biases' gradients."""
        _, text, _ = exported(*case, **options)
        assert narrow_sums(text) == []

    def test_the_penalty_norm_is_summed_in_float32(self, case, options):
        _, text, _ = exported(*case, **options)
        resolution = case[0]
        image = rf"dimensions = \[1, 2, 3\] : \(tensor<8x{resolution}x{resolution}x3x(\w+)>"
        assert set(re.findall(image, text)) == {"f32"}

    def test_the_moments_are_f32_and_there_is_one_per_parameter(self, case, options):
        _, _, state = exported(*case, **options)
        assert state.generator_moments.first == {}
        for moments, params in (
            (state.generator_moments, state.generator),
            (state.discriminator_moments, state.discriminator),
        ):
            assert {leaf.dtype for leaf in jax.tree.leaves(moments.second)} == {np.dtype(np.float32)}
            assert jax.tree.structure(moments.second) == jax.tree.structure(params)


@pytest.mark.parametrize("options", [{}], ids=[""])
@pytest.mark.parametrize("case", CASES, ids=str)
class TestSmall(Everywhere):
    """Each resolution of a small run up to 32, in both types, with labels and without."""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"fmap_max": 512}], ids=["fmap_max 512"])
@pytest.mark.parametrize("case", [OFFICIAL], ids=str)
class TestOfficialSize(Everywhere):
    """128x128 with the authors' feature maps."""


class TestFusedConvolutions:
    """The form of each platform, which `platform_dependent` picks when the platform is known."""

    def forms(self, platform):
        """How often the three maps of `resample` occur: small kernels of the pixel shuffle, dilated inputs, dilated kernels."""
        _, text, _ = exported(8, "bfloat16", False, platforms=(platform,))
        convolutions = lines_with(text, "convolution")
        return {
            "shuffled": sum("tensor<2x2x8x32x" in line for line in convolutions),
            "transposed": sum("lhs_dilate = [2, 2]" in line for line in convolutions),
            "strided": sum("stride = [2, 2]" in line for line in convolutions),
            "kernels": sum("rhs_dilate = [2, 2]" in line for line in convolutions),
        }

    def test_on_a_cpu(self):
        forms = self.forms("cpu")
        assert forms["shuffled"] >= 4
        assert forms["transposed"] == 0
        assert min(forms["strided"], forms["kernels"]) >= 4

    @pytest.mark.parametrize("platform", ["cuda", "tpu"])
    def test_on_an_accelerator(self, platform):
        forms = self.forms(platform)
        assert forms["transposed"] == self.forms("cpu")["shuffled"]
        assert forms["shuffled"] == 0
        assert min(forms["strided"], forms["kernels"]) >= 4


class TestTheReader:
    def test_sees_narrow_sums(self):
        add = "stablehlo.reduce(%1 init: %c) applies stablehlo.add across dimensions"
        assert narrow_sums(f"%2 = {add} = [0, 1] : (tensor<4x1x8xbf16>, tensor<bf16>) -> tensor<8xbf16> loc(#loc1)")
        assert not narrow_sums(f"%2 = {add} = [1] : (tensor<4x1x8xbf16>, tensor<bf16>) -> tensor<4x8xbf16> loc(#loc1)")
        assert not narrow_sums(f"%2 = {add} = [0, 1] : (tensor<4x1x8xf32>, tensor<f32>) -> tensor<8xf32> loc(#loc1)")

    def test_sees_float64(self):
        assert float_types(["tensor<2x3xf64>", "tensor<bf16>"]) == {"f64", "bf16"}
