"""Every setting refuses what cannot be run, in one line that names the setting, the value and what is allowed."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from pggan_jax.config import Config, DataConfig, ScheduleConfig
from pggan_jax.config.io import replace_setting
from pggan_jax.config.schedule import OFFICIAL_TICKS
from pggan_jax.config.validation import check_single, is_resolution, validate, walk
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.metric_kinds import METRIC_KINDS

RESOLUTION_RULE = "must be 4*2^k"
MAPPING_RULE = "is not a resolution"
KIMG = "at least 0 and at most 2147483"
METRIC_RULE = "must be one of " + ", ".join(name for name, kind in METRIC_KINDS.items() if kind.during_training)
BEST_RULE = f'must be one of "" (none), {", ".join(METRIC_KINDS)}'
DTYPE_RULE = "must be one of float32, bfloat16"

# For every setting: (a bad value, what the message says is allowed).
BAD = {
    "preset": [("v3-1gpu", 'must be one of "" (none), v1-1gpu, v2-1gpu, v2-2gpus, v2-4gpus, v2-8gpus')],
    "data.source": [
        *[(bad, "must be one of digits, photos, folder:DIR, zip:FILE, tfds:NAME[:SPLIT]") for bad in ("", "cifar", "cifar:x")],
        *[(bad, "write it as folder:DIR") for bad in ("folder", "folder:")],
        *[(bad, "write it as digits") for bad in ("digits:", "digits:x")],
        ("synthetic:", "write it as synthetic[:COUNT[:SEED]]"),
    ],
    "data.resolution": [
        (2, "at least 4 and at most 8192"),
        (16384, "at least 4 and at most 8192"),
        (0, "at least 4"),
        (-32, "at least 4"),
        (33, "near it are 32 and 64"),
        (48, RESOLUTION_RULE),
    ],
    "data.held_out": [(0.6, "must be at least 0 and at most 0.5"), (-0.1, "at least 0"), (100, "at most 0.5")],
    "data.held_out_source": [
        ("nosuch:thing", "must be one of digits, photos"),
        ("digits", "is the source of the training images; name other images"),
        ("folder:", "write it as folder:DIR"),
    ],
    "sound.representation": [("mp3", "must be one of if, if_mel")],
    "sound.phase_reference": [("end", "must be one of centre, start")],
    "sound.eps": [(0, "must be greater than 0")],
    "sound.sample_rate": [(0, "must be at least 1000")],
    "sound.n_fft": [(4, "must be at least 8")],
    "sound.hop": [(0, "must be at least 1")],
    "sound.frames": [(0, "must be at least 1")],
    "sound.length": [(-1, "must be at least 0")],
    "sound.mel_bins": [(-1, "must be at least 0")],
    "sound.magnitude_range": [(3, "must be text")],
    "sound.take": [("last", "must be one of first, loudest, slices")],
    "sound.channel": [(1, "must be text")],
    "sound.level": [("loud", "must be one of keep, peak, rms")],
    "sound.keep_silence": [("perhaps", "must be true or false")],
    "sound.label_by": [("colour", "must be one of auto")],
    "sound.pitches": [(60, "must be text")],
    "sound.instrument_sources": [(1, "must be text")],
    "data.base_shape": [
        (bad, "must be HEIGHTxWIDTH with 8 to 64 pixels in all, such as 4x4, 3x4 or 2x16")
        for bad in ("", "3", "x", "3x", "0x4", "100x100", "1x7", "5x13", "-3x-4", "3x4x5", "3X4", "٣x4", "9" * 5000 + "x1")
    ],
    "data.channels": [(-1, "at least 0 and at most 16"), (17, "at least 0 and at most 16")],
    "data.labels": [("yes", "must be true or false")],
    "data.mirror": [(1, "must be true or false")],
    "data.augment": [
        (("flip",), "must be one of color, translation, cutout"),
        (("color", ""), "must be one of color"),
        (("color", "color"), "must name each only once"),
    ],
    "data.crop": [
        (bad, "must be center, none, pad, fit, or a window LEFT,TOP,WIDTH,HEIGHT")
        for bad in ("", "middle", "1,2,3", "1,2,3,x", "0,0,0,5", "-1,0,5,5")
    ],
    "data.range": [(bad, "must be full, auto, or LOW,HIGH") for bad in ("", "all", "5", "9,3", "0,65536", "-1,3", "0,1.5")],
    "data.resample": [("cubic", "must be one of lanczos, bicubic, bilinear, box, nearest")],
    "data.modes": [("drop", "must be one of convert, refuse")],
    "data.max_images": [(-1, "at least 0")],
    "data.shuffle_seed": [(-2, "at least -1"), (2**32, "at most 4294967295")],
    "generator.fmap_base": [(0, "at least 1")],
    "generator.fmap_decay": [(-0.1, "at least 0 and at most 16"), (16.5, "at most 16")],
    "generator.fmap_max": [(0, "at least 1")],
    "generator.latent_size": [(-1, "at least 0")],
    "generator.first_bias": [("pixel", "must be one of channel, position")],
    "generator.normalize_latents": [(0, "must be true or false")],
    "generator.use_wscale": [("on", "must be true or false")],
    "generator.use_pixelnorm": [(None, "must be true or false")],
    "generator.pixelnorm_epsilon": [(0.0, "greater than 0"), (-1e-8, "greater than 0")],
    "generator.use_leakyrelu": [(0.2, "must be true or false")],
    "generator.fused_scale": [("false", "must be true or false")],
    "generator.blur": [("StyleGAN", "must be true or false")],
    "generator.normalization": [("layer", "must be one of none, batch")],
    "networks.name": [("stylegan", "must be one of pggan, dcgan, dcgan_mnist, tiny")],
    "networks.kernel_size": [(3, "at least 4 and at most 5")],
    "networks.outer_biases": [(1, "must be true or false")],
    "generator.latents": [("cauchy", "must be one of normal, uniform")],
    "generator.output_activation": [("sigmoid", "must be one of linear, tanh")],
    "generator.dtype": [("float64", DTYPE_RULE), ("", DTYPE_RULE)],
    "discriminator.fmap_base": [(0, "at least 1")],
    "discriminator.fmap_decay": [(-1.0, "at least 0 and at most 16"), (1e300, "at most 16")],
    "discriminator.fmap_max": [(-512, "at least 1")],
    "discriminator.use_wscale": [(1, "must be true or false")],
    "discriminator.minibatch_stddev": [("paper", "must be one of strided, whole_batch, contiguous, none")],
    "discriminator.mbstd_group_size": [(1, "at least 2"), (0, "at least 2")],
    "discriminator.fused_scale": [("true", "must be true or false")],
    "discriminator.blur": [(1, "must be true or false")],
    "discriminator.normalization": [("group", "must be one of none, layer, batch")],
    "discriminator.minibatch_discrimination": [
        (-1, "at least 0 and at most 65536"),
        (100, "discriminator.minibatch_stddev=strided has groups; set that to none, or to whole_batch for both"),
    ],
    "discriminator.dtype": [("float16", DTYPE_RULE)],
    "schedule.start_resolution": [
        (3, "at least 4 and at most 8192"),
        (12, "near it are 8 and 16"),
        (64, "must not exceed data.resolution, which is 32"),
    ],
    "schedule.stable_kimg": [(-1.0, KIMG), (1e306, KIMG)],
    "schedule.stable_kimg_at": [({4: -1.0}, KIMG), ({5: 10.0}, MAPPING_RULE), ({2: 10.0}, MAPPING_RULE)],
    "schedule.fade_kimg": [(-0.5, KIMG), (3e6, KIMG)],
    "schedule.fade_kimg_at": [({8: -1.0}, KIMG), ({0: 10.0}, MAPPING_RULE)],
    "schedule.total_kimg": [(-1.0, KIMG), (2147484.0, KIMG)],
    "schedule.batch_size": [(0, "at least 1 and at most 65536"), (65537, "at most 65536"), (18, "such as 16 or 20")],
    "schedule.batch_size_at": [
        ({4: 0}, "at least 1 and at most 65536"),
        ({24: 16}, MAPPING_RULE),
        ({-4: 16}, MAPPING_RULE),
    ],
    "schedule.learning_rate": [(0.0, "greater than 0"), (-0.001, "greater than 0")],
    "schedule.learning_rate_at": [({8: 0.0}, "greater than 0"), ({10: 0.001}, MAPPING_RULE)],
    "schedule.total_minutes": [(-1.0, "at least 0 and at most 10000000"), (1e8, "at least 0 and at most 10000000")],
    "schedule.rampup_kimg": [(-40.0, KIMG)],
    "schedule.anneal_kimg": [(-1.0, KIMG), (5.0, "has nothing to move; set schedule.learning_rate_end")],
    "schedule.learning_rate_end": [(-0.001, "at least 0")],
    "schedule.r1_gamma_end": [(-1.0, "at least 0"), (1.0, "loss.name=wgan_gp has no R1; set 0")],
    "schedule.ema_half_life_kimg_end": [(-1.0, KIMG)],
    "schedule.critic_steps": [(0, "at least 1 and at most 1024"), (1025, "at most 1024")],
    "schedule.repeats": [(0, "at least 1 and at most 65536"), (2**17, "at most 65536")],
    "schedule.tick_kimg": [(0.5, "at least 1 and at most 2147483"), (0.0, "at least 1")],
    "schedule.tick_kimg_at": [({4: 0.0}, "at least 1"), ({7: 10.0}, MAPPING_RULE)],
    "optimizer.weight_decay": [(-1e-5, "at least 0")],
    "optimizer.beta1": [(1.0, "at least 0 and less than 1"), (-0.1, "at least 0 and less than 1")],
    "optimizer.beta2": [(1.0, "at least 0 and less than 1"), (1.5, "less than 1")],
    "optimizer.epsilon": [(0.0, "greater than 0")],
    "optimizer.on_new_phase": [("keep", "must be one of reset, carry")],
    "optimizer.ema_decay": [(1.0, "at least 0 and less than 1"), (-0.999, "at least 0")],
    "optimizer.ema_half_life_kimg": [(-10.0, KIMG)],
    "optimizer.freeze_discriminator": [(-1, "at least 0"), (17, "at most 16")],
    "loss.name": [("wgan", "must be one of wgan_gp, lsgan, logistic, hinge, rpgan"), ("", "must be one of wgan_gp")],
    "loss.gp_weight": [(-10.0, "at least 0")],
    "loss.gp_target": [(0.0, "greater than 0")],
    "loss.drift": [(-0.001, "at least 0")],
    "loss.r1_gamma": [(-1.0, "at least 0")],
    "loss.penalize": [("r1", "must be one of auto, reals, fakes, both"), ("", "must be one of auto")],
    "loss.penalty_scale": [("full", "must be one of full_resolution, current")],
    "loss.label_weight": [(-1.0, "at least 0")],
    "loss.label_fakes": [(0, "must be true or false")],
    "loss.gp_channel_scale": [((0.0,), "greater than 0"), ((1.0, -1.0), "greater than 0"), ((1e10, 1.0), "at most")],
    "run.seed": [(-1, "at least 0 and at most 4294967295"), (2**32, "at most 4294967295")],
    "run.microbatch": [(-1, "at least 0 and at most 65536")],
    "run.microbatch_at": [({4: -1}, "at least 0 and at most 65536"), ({5: 4}, MAPPING_RULE)],
    "run.steps_per_call": [(-1, "at least 0 and at most 1024"), (1025, "at most 1024")],
    "run.device_data_mb": [(-2.0, "at least -1")],
    "run.grid": [
        *[
            (bad, "must be 1080p, 4k, or columns x rows")
            for bad in ("", "8k", "10", "10x", "x10", "0x4", "4x0", "-1x4", "4x4x4", "1.5x2", "²x2")
        ],
        ("4096x1", "at most 65535 pixels wide and high; this one would have 131072"),
    ],
    "run.checkpoint_ticks": [(0, "at least 1")],
    "run.keep_last": [(0, "at least 1")],
    "run.tensorboard": [("yes", "must be true or false")],
    "run.init_from": [(1, "must be text")],
    "run.patience": [(0, "at least 1")],
    "run.max_rollbacks": [(-1, "at least 0")],
    "run.keep_every_kimg": [(-1.0, KIMG)],
    "run.keep_levels": [("yes", "must be true or false")],
    "eval.metrics": [
        (("swd", "no such metric"), METRIC_RULE),
        (("",), METRIC_RULE),
    ],
    "eval.ticks": [(0, "at least 1")],
    "eval.num_images": [(15, "at least 16")],
    "eval.best": [("no such metric", BEST_RULE), ("swd", "must be among eval.metrics, or empty")],
    "eval.inception_weights": [(1, "must be text")],
}
BAD_CASES = [(path, bad, rule) for path, cases in BAD.items() for bad, rule in cases]

HUGE = 10**400  # a whole number beyond every float
WRONG_TYPES = {
    "bool": [0, 1, 1.0, "true", "", None, [], {}],
    "int": [True, "4", 4.0, math.nan, math.inf, None, [4], {}],
    "float": [True, "0.5", math.nan, math.inf, -math.inf, HUGE, -HUGE, None, [0.5], {}],
    "str": [1, 0.5, True, None, ["digits"], {}],
    "tuple[str, ...]": ["swd", ["swd"], None, 5, (1,), {}],
    "tuple[float, ...]": ["0.5", 0.5, [0.5], None, ("0.5",), (True,), (1.0, math.nan), (math.inf,), (HUGE,), {}],
    "Mapping[int, int]": [
        [],
        None,
        5,
        "4:8",
        {"4": 8},
        {4: "8"},
        {4: 8.0},
        {4: True},
        {True: 8},
        {4.0: 8},
        {None: 8},
        {4: None},
    ],
    "Mapping[int, float]": [
        [],
        None,
        5.0,
        "4:8",
        {"4": 8.0},
        {4: "8"},
        {4: True},
        {4: math.nan},
        {4: math.inf},
        {4: HUGE},
        {4: {}},
    ],
}


def kind_of(hint) -> str:
    return getattr(hint, "__name__", "") if isinstance(hint, type) else str(hint).replace("collections.abc.", "")


def refusal(config: Config) -> ConfigError:
    """The error for a configuration that cannot be run; its message is one line."""
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert "\n" not in str(caught.value)
    return caught.value


def scheduled(resolution: int = 32, **changes) -> Config:
    return Config(data=DataConfig(resolution=resolution), schedule=ScheduleConfig(**changes))


def test_default_is_possible():
    validate(Config())


def test_bad_table_covers_every_setting():
    settings = {path for path, *_ in walk(Config())}
    for path in settings - {path for path, cases in BAD.items() if cases}:
        pytest.fail(f"{path}: add a wrong value and the start of its message to the table BAD in {__file__}")
    for path in BAD.keys() - settings:
        pytest.fail(f"{path}: there is no such setting any more; remove it from the table BAD in {__file__}")


@pytest.mark.parametrize(("path", "bad", "rule"), BAD_CASES)
def test_bad_value_is_refused(path, bad, rule):
    error = refusal(replace_setting(Config(), path, bad))
    assert (error.path, error.value) == (path, bad)
    assert rule in error.rule


def test_wrong_types_cover_every_kind():
    assert {kind_of(hint) for _, _, hint, _ in walk(Config())} == set(WRONG_TYPES)


@pytest.mark.parametrize("path", [path for path, *_ in walk(Config())])
def test_wrong_type_is_refused(path):
    (hint,) = [hint for name, _, hint, _ in walk(Config()) if name == path]
    for bad in WRONG_TYPES[kind_of(hint)]:
        error = refusal(replace_setting(Config(), path, bad))
        assert (error.path, error.value) == (path, bad)
        assert error.rule.startswith("must be ")


@pytest.mark.parametrize("path", [path for path, *_ in walk(Config())])
def test_limits_are_inclusive_where_they_say_so(path):
    ((_, default, hint, limits),) = [row for row in walk(Config()) if row[0] == path]

    def accepts(value) -> bool:
        try:
            wrapped = {dict: lambda: {4: value}, tuple: lambda: (value,)}.get(type(default), lambda: value)()
            check_single(path, wrapped, hint, limits)
        except ConfigError:
            return False
        return True

    for name in ("minimum", "maximum"):
        assert name not in limits or accepts(limits[name])
    for name in ("above", "below"):
        assert name not in limits or not accepts(limits[name])
    assert all(accepts(choice) for choice in limits.get("choices", ()))
    assert limits["help"]


def test_whole_number_passes_as_number():
    validate(scheduled(stable_kimg=600, fade_kimg_at={8: 5}))


def test_every_section_is_frozen():
    config = Config()
    for node in [config, *[getattr(config, field.name) for field in fields(config)]]:
        if is_dataclass(node):
            with pytest.raises(FrozenInstanceError):
                setattr(node, fields(node)[0].name, "changed")


def test_default_mappings_are_not_shared():
    first, second = ScheduleConfig(), ScheduleConfig()
    for field in fields(first):
        if isinstance(getattr(first, field.name), dict):
            getattr(first, field.name)[2**20] = 1.0
            assert 2**20 not in getattr(second, field.name)
            assert 2**20 not in getattr(ScheduleConfig(), field.name)
    assert 2**20 not in OFFICIAL_TICKS


@pytest.mark.parametrize("wrong", [{"resolution": 32}, None, ScheduleConfig(), DataConfig])
def test_section_of_another_class_is_refused(wrong):
    error = refusal(Config(data=wrong))
    assert (error.path, error.value) == ("data", wrong)
    assert "DataConfig" in error.rule


@pytest.mark.parametrize("resolution", [4, 8, 16, 1024, 8192])
def test_possible_resolutions(resolution):
    assert is_resolution(resolution)
    validate(scheduled(resolution))
    validate(scheduled(resolution, start_resolution=resolution))


@pytest.mark.parametrize("resolution", [-4, 0, 1, 2, 3, 5, 6, 12, 24, 1023])
def test_impossible_resolutions(resolution):
    assert not is_resolution(resolution)


def test_resolution_below_the_start_is_refused():
    error = refusal(scheduled(8, start_resolution=16))
    assert (error.path, error.value) == ("schedule.start_resolution", 16)
    assert "data.resolution, which is 8" in error.rule


@pytest.mark.parametrize(
    ("schedule", "path"),
    [
        ({"stable_kimg": 0.0, "fade_kimg": 0.0, "total_kimg": 100.0}, "schedule.fade_kimg"),
        ({"stable_kimg": 0.0, "fade_kimg_at": {16: 0.0}, "total_kimg": 100.0}, "schedule.fade_kimg_at"),
        ({"stable_kimg_at": {8: 0.0}, "fade_kimg_at": {16: 0}}, "schedule.fade_kimg_at"),
        ({"stable_kimg_at": {8: 0.0}, "fade_kimg": 0.0}, "schedule.fade_kimg"),
    ],
)
def test_resolution_without_any_training_is_refused(schedule, path):
    error = refusal(scheduled(**schedule))
    assert (error.path, error.value) == (path, 0)
    assert "nothing is trained at" in error.rule


def test_one_empty_phase_of_two_is_possible():
    validate(scheduled(stable_kimg=0.0, total_kimg=3000.0))
    validate(scheduled(fade_kimg=0.0))
    validate(scheduled(start_resolution=32, fade_kimg=0.0))


@pytest.mark.parametrize(
    "schedule",
    [
        {"stable_kimg": 0.0, "start_resolution": 32},
        {"stable_kimg": 0.0, "start_resolution": 32, "fade_kimg": 0.0},
        {"stable_kimg_at": {32: 0.0}, "start_resolution": 32},
    ],
)
def test_run_without_length_is_refused(schedule):
    error = refusal(scheduled(**schedule))
    assert (error.path, error.value) == ("schedule.total_kimg", 0.0)
    assert "length" in error.rule


def test_run_beyond_31_bits_is_refused():
    error = refusal(scheduled(stable_kimg=1e6))
    assert (error.path, error.value) == ("schedule.total_kimg", 0.0)
    assert "2147483 kimg" in error.rule
    validate(scheduled(stable_kimg=2e6, total_kimg=100.0))


def test_last_look_beyond_31_bits_is_refused():
    error = refusal(scheduled(start_resolution=32, total_kimg=2147483.0, batch_size=2**16, repeats=2**10))
    assert (error.path, error.value) == ("schedule.batch_size", 65536)
    assert "2,147,483,647" in error.rule


@pytest.mark.parametrize(
    ("schedule", "path", "batch"),
    [
        ({"batch_size": 512}, "schedule.batch_size", 512),
        ({"batch_size_at": {4: 512}}, "schedule.batch_size_at", 512),
        ({"critic_steps": 32}, "schedule.batch_size", 16),
        ({"repeats": 128}, "schedule.batch_size", 16),
    ],
)
def test_look_over_a_whole_resolution_is_refused(schedule, path, batch):
    config = scheduled(stable_kimg=0.5, fade_kimg=0.5, total_kimg=20.0, **schedule)
    error = refusal(config)
    assert (error.path, error.value) == (path, batch)
    assert "8x8" in error.rule
    validate(scheduled(stable_kimg=0.5, fade_kimg=0.5, total_kimg=20.0))


@pytest.mark.parametrize(
    ("schedule", "path", "batch", "near"),
    [
        ({"batch_size": 6}, "schedule.batch_size", 6, "4 or 8"),
        ({"batch_size_at": {8: 10}}, "schedule.batch_size_at", 10, "8 or 12"),
        ({"batch_size": 5, "batch_size_at": {4: 4, 8: 4, 16: 4}}, "schedule.batch_size", 5, "4 or 8"),
    ],
)
@pytest.mark.parametrize("stddev", ["strided", "contiguous"])
def test_batch_that_splits_a_group_is_refused(schedule, path, batch, near, stddev):
    config = replace_setting(scheduled(**schedule), "discriminator.minibatch_stddev", stddev)
    error = refusal(config)
    assert (error.path, error.value) == (path, batch)
    assert near in error.rule
    assert "discriminator.mbstd_group_size = 4" in error.rule


@pytest.mark.parametrize("stddev", ["none", "whole_batch"])
def test_any_batch_goes_without_groups(stddev):
    validate(replace_setting(scheduled(batch_size=7), "discriminator.minibatch_stddev", stddev))


@pytest.mark.parametrize("stddev", ["none", "whole_batch"])
def test_minibatch_discrimination_is_over_the_batch(stddev):
    config = replace_setting(scheduled(batch_size=7), "discriminator.minibatch_stddev", stddev)
    config = replace_setting(config, "discriminator.minibatch_discrimination", 100)
    validate(config)
    assert config.discriminator.stddev_groups.form == "whole_batch"


def test_batch_smaller_than_a_group_and_unused_resolutions_are_possible():
    validate(scheduled(batch_size=3))
    validate(scheduled(batch_size_at={1024: 6}))


def test_photos_have_no_labels():
    config = Config(data=DataConfig(source="photos", labels=True))
    error = refusal(config)
    assert (error.path, error.value) == ("data.labels", True)
    validate(replace(config, data=DataConfig(source="photos")))
    validate(replace(config, data=DataConfig(source="digits", labels=True)))
    validate(replace(config, data=DataConfig(source="folder:/some where/a:b", labels=True)))


@pytest.mark.parametrize("grid", ["1080p", "4k", "1x1", "10x8"])
def test_possible_grids(grid):
    for resolution in (4, 8192):
        if resolution == 4 or "x8" not in grid:
            validate(replace_setting(scheduled(resolution), "run.grid", grid))


class TestConfigError:
    def test_message_names_setting_value_origin_and_rule(self):
        error = ConfigError("run.seed", -1, "must be at least 0")
        assert isinstance(error, UserError)
        assert str(error) == "run.seed = -1: must be at least 0"
        error.origin = "--set run.seed=-1"
        assert str(error) == "run.seed = -1 (from --set run.seed=-1): must be at least 0"

    @pytest.mark.parametrize("value", [HUGE, "x\n" * 1000, list(range(10000)), pytest.param(10**5000, id="too long")])
    def test_message_of_a_long_value_is_one_short_line(self, value):
        message = str(ConfigError("run.seed", value, "is refused"))
        assert len(message) < 120
        assert "\n" not in message


@pytest.mark.parametrize(
    ("start", "levels", "rule"),
    [(4, 1, "needs a run that does not grow"), (32, 4, "must be at most 3: the discriminator of 32x32 has"), (32, 3, "")],
)
def test_frozen_blocks(start, levels, rule):
    config = scheduled(start_resolution=start)
    config = replace_setting(replace_setting(config, "run.init_from", "runs/a"), "optimizer.freeze_discriminator", levels)
    if rule:
        assert f"optimizer.freeze_discriminator={levels}: {rule}" in str(refusal(config)).replace(" = ", "=")
    else:
        validate(config)
