"""Configurations in and out: experiment files, overrides with their origins, JSON, differences."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from pggan_jax.config import PRESETS, SOUND_PRESETS, Config, DataConfig, LossConfig, RunConfig, ScheduleConfig
from pggan_jax.config.io import (
    absent_settings,
    difference,
    from_json,
    load_config,
    parse_value,
    replace_setting,
    settings_of,
    to_json,
)
from pggan_jax.config.presets import apply_preset
from pggan_jax.errors import ConfigError, UserError, one_line

HEADER = "from pggan_jax.config import *\nfrom pggan_jax.config.presets import apply_preset\n"


@pytest.fixture
def experiment(tmp_path):
    """Writes an experiment file whose get_config() returns the given expression."""

    def write(expression: str = "Config()", *, text: str | None = None) -> str:
        path = tmp_path / "experiment.py"
        path.write_text(text if text is not None else f"{HEADER}def get_config():\n    return {expression}\n")
        return str(path)

    return write


def refusal(kind: type[UserError], function, *arguments):
    """The error of a call that is refused; its message is one line."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return caught.value


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("data.resolution=64", "data.resolution", 64),
        ("run.seed = 7 ", "run.seed", 7),
        ("schedule.stable_kimg=5", "schedule.stable_kimg", 5.0),
        ("schedule.stable_kimg=2.5", "schedule.stable_kimg", 2.5),
        ("optimizer.epsilon=1e-6", "optimizer.epsilon", 1e-6),
        *[(f"data.mirror={text}", "data.mirror", True) for text in ("true", "True", "1", "yes")],
        *[(f"generator.use_wscale={text}", "generator.use_wscale", False) for text in ("false", "FALSE", "0", "no")],
        ("data.source=photos", "data.source", "photos"),
        ("data.source='folder:/a b'", "data.source", "folder:/a b"),
        ('data.source="folder:/a=b"', "data.source", "folder:/a=b"),
        ("data.source=folder:/a=b", "data.source", "folder:/a=b"),
        ("schedule.batch_size_at=4:128,8:64", "schedule.batch_size_at", {4: 128, 8: 64}),
        ("schedule.batch_size_at={4: 128, 8: 64}", "schedule.batch_size_at", {4: 128, 8: 64}),
        ("schedule.batch_size_at=", "schedule.batch_size_at", {}),
        ("schedule.fade_kimg_at=8:1.5", "schedule.fade_kimg_at", {8: 1.5}),
    ],
)
def test_override_is_read_as_its_type(experiment, override, path, expected):
    loaded = load_config(experiment(), [override])
    value = dict(settings_of(loaded.config))[path]
    assert value == expected
    assert type(value) is type(expected)
    assert loaded.origins[path].startswith(f"--set {path}=")
    assert difference(Config(), loaded.config) in ([], [f"{path}: {dict(settings_of(Config()))[path]!r} -> {expected!r}"])


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("data.resolution=big", "must be a whole number"),
        ("data.resolution=64.0", "must be a whole number"),
        ("data.resolution=", "must be a whole number"),
        ("schedule.stable_kimg=long", "must be a number"),
        ("schedule.stable_kimg=nan", "must be a finite number"),
        ("schedule.stable_kimg=1e999", "must be a finite number"),
        ("data.mirror=maybe", "must be true or false"),
        ("data.mirror=2", "must be true or false"),
        ("schedule.batch_size_at=4", "must be pairs of a whole number:a whole number"),
        ("schedule.batch_size_at=4:8:16", "must be pairs"),
        ("schedule.batch_size_at=4:8.5", "must be pairs"),
        ("schedule.batch_size_at=four:8", "must be pairs"),
        ("schedule.batch_size_at=4:8,8:4,4:16", "names 4 twice; give it one value"),
        ("schedule.batch_size_at=12:8", "12 is not a resolution"),
        ("data.source='a', 'b'", "must be text"),
        ("loss.name=wgan", "must be one of wgan_gp"),
        ("optimizer.beta1=1", "at least 0 and less than 1"),
    ],
)
def test_wrong_override_names_setting_value_and_origin(experiment, override, rule):
    error = refusal(ConfigError, load_config, experiment(), [override])
    path, _, text = override.partition("=")
    assert (error.path, error.origin) == (path, f"--set {override}")
    assert text.strip("'")[:3] in str(error) or text in ("1e999", "")
    assert rule in error.rule


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("schedule.batchsize=4", "did you mean schedule.batch_size"),
        ("batch_size=4", "did you mean schedule.batch_size?"),
        ("fmap_max=4", "did you mean generator.fmap_max or discriminator.fmap_max?"),
        ("generator.fmap_mx=4", "generator.fmap_max"),
        ("qqqqqq=4", "launch.py settings lists them all"),
        ("=4", "launch.py settings lists them all"),
        ("data=4", "it is a section; did you mean one of data.source, data.resolution"),
        ("optimizer={}", "it is a section"),
        ("loss.gradient_norm=current", "there is no such setting; its name is loss.penalty_scale now"),
        ("data.resolution.side=4", "there is no such setting; did you mean data.resolution"),
    ],
)
def test_unknown_name_is_refused_with_a_suggestion(experiment, override, expected):
    error = refusal(ConfigError, load_config, experiment(), [override])
    path, _, text = override.partition("=")
    assert (error.path, error.value, error.origin) == (path, text, f"--set {override}")
    assert expected in error.rule


def test_override_without_equals_is_refused(experiment):
    assert "data.resolution" in str(refusal(UserError, load_config, experiment(), ["data.resolution"]))


def test_override_with_line_breaks_stays_one_line(experiment):
    refusal(ConfigError, load_config, experiment(), ["data.source=a\nb"])
    refusal(ConfigError, load_config, experiment(), ["data.nothing=a\nb"])


def test_last_of_two_overrides_wins(experiment):
    loaded = load_config(experiment(), ["run.seed=1", "data.resolution=8", "run.seed=2"])
    assert loaded.config.run.seed == 2
    assert loaded.origins["run.seed"] == "--set run.seed=2"


def test_origins(experiment):
    path = experiment("Config(run=RunConfig(seed=5, keep_last=7))")
    loaded = load_config(path, ["run.keep_last=8"])
    assert loaded.origins == {"run.seed": path, "run.keep_last": "--set run.keep_last=8"}


@pytest.mark.parametrize(
    ("expression", "overrides", "origin"),
    [
        ("Config(data=DataConfig(resolution=8))", ["schedule.start_resolution=16"], "--set schedule.start_resolution=16"),
        ("Config(data=DataConfig(resolution=8), schedule=ScheduleConfig(start_resolution=16))", [], "experiment.py"),
        ("Config(schedule=ScheduleConfig(start_resolution=32, stable_kimg=0.0))", [], "the default"),
    ],
)
def test_messages_tell_where_a_value_came_from(experiment, expression, overrides, origin):
    error = refusal(ConfigError, load_config, experiment(expression), overrides)
    assert origin in error.origin
    assert f"(from {error.origin})" in str(error)


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in SOUND_PRESETS])
@pytest.mark.parametrize("preset_first", [True, False])
def test_single_setting_wins_over_preset_in_any_order(experiment, name, preset_first):
    overrides = [f"preset={name}", "schedule.batch_size=64", "schedule.total_kimg=50"]
    loaded = load_config(experiment(), overrides if preset_first else overrides[::-1])
    official = apply_preset(Config(), name)
    assert loaded.config == replace(official, schedule=replace(official.schedule, batch_size=64, total_kimg=50.0))
    assert loaded.origins["schedule.batch_size"] == "--set schedule.batch_size=64"
    assert loaded.origins["schedule.batch_size_at"] == f"--set preset={name}"
    assert loaded.origins["preset"] == f"--set preset={name}"


def test_preset_replaces_the_schedule_of_the_experiment(experiment):
    path = experiment("Config(schedule=ScheduleConfig(fade_kimg_at={8: 1.0}, critic_steps=5, rampup_kimg=40.0))")
    assert load_config(path, ["preset=v2-1gpu"]).config == apply_preset(Config(), "v2-1gpu")


def test_unknown_preset_is_refused(experiment):
    error = refusal(ConfigError, load_config, experiment(), ["preset=v9"])
    assert (error.path, error.value, error.origin) == ("preset", "v9", "--set preset=v9")


def test_preset_of_an_experiment(experiment):
    path = experiment("apply_preset(Config(), 'v2-1gpu')")
    assert load_config(path).config == apply_preset(Config(), "v2-1gpu")


@pytest.mark.parametrize("extra", ["", ", schedule=ScheduleConfig(repeats=8)", ", data=DataConfig(resolution=64)"])
def test_preset_that_is_only_named_is_refused(experiment, extra):
    path = experiment(f"Config(preset='v1-1gpu'{extra})")
    error = refusal(ConfigError, load_config, path)
    assert (error.path, error.value, error.origin) == ("preset", "v1-1gpu", path)
    assert "apply_preset" in error.rule


def test_missing_experiment_names_the_files_beside_it(experiment, tmp_path):
    experiment()
    message = str(refusal(UserError, load_config, str(tmp_path / "expriment.py")))
    assert "no such file" in message
    assert f"did you mean {tmp_path / 'experiment.py'}?" in message
    elsewhere = str(refusal(UserError, load_config, str(tmp_path / "nowhere" / "xyzzyxyzzy.py")))
    assert "choose one of experiments/: celeba.py, " in elsewhere
    assert "digits.py" in elsewhere


@pytest.mark.parametrize("wanted", ["experiments/smok.py", "experiments/xyzzy.py", "smoke", "/somewhere/else/entirely/mine.py"])
def test_message_about_a_missing_experiment_is_whole(wanted):
    message = f"error: {refusal(UserError, load_config, wanted)}"
    assert one_line(message) == message


def test_experiments_of_the_project_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("experiments/smoke.py").config.data.resolution == 16
    assert "is a folder" in str(refusal(UserError, load_config, str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "defines no get_config()"),
        ("def config():\n    pass\n", "defines no get_config()"),
        ("def get_config(:\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "ModuleNotFoundError"),
        ("\nx = 1 / 0\n", "ZeroDivisionError: division by zero (line 2)"),
        ("get_config = 3\n", "not callable"),
        ("def get_config(seed):\n    pass\n", "seed"),
        ("def get_config():\n    return {}['x']\n", "KeyError: 'x' (line 2)"),
        ("def get_config():\n    raise ValueError('first\\nsecond')\n", "ValueError: first second (line 2)"),
        ("def get_config():\n    return nothing\n", "NameError"),
        ("def get_config():\n    pass\n", "returned NoneType"),
        ("def get_config():\n    return {'data': 1}\n", "returned dict"),
        (f"{HEADER}def get_config():\n    return Config\n", "returned type"),
        (f"{HEADER}def get_config():\n    return Config(run=RunConfig(sed=1))\n", "unexpected keyword argument 'sed'"),
        (f"{HEADER}def get_config():\n    return Config(data={{'resolution': 8}})\n", "data = {'resolution': 8}"),
        (f"{HEADER}def get_config():\n    return apply_preset(Config(), 'v9')\n", "v9"),
    ],
)
def test_broken_experiment_is_refused_in_one_line(experiment, text, expected):
    assert expected in str(refusal(UserError, load_config, experiment(text=text)))


def config_with(preset: str) -> Config:
    """A preset on data that it is for."""
    return apply_preset(Config(data=DataConfig(source="notes" if preset in SOUND_PRESETS else "digits")), preset)


def changed_everywhere() -> Config:
    """A possible config in which no setting has its default, but those of another kind of networks."""
    config = apply_preset(Config(), "v2-4gpus")
    others = {
        "data.source": "folder:/pictures",
        "run.grid": "3x2",
        "data.resolution": 64,
        "schedule.start_resolution": 64,
        "sound.eps": 0.5,
        "generator.normalization": "batch",
        "generator.first_bias": "channel",  # only without batch norm
        "discriminator.normalization": "layer",
        "networks.name": "pggan",  # with DCGAN most other settings must keep their defaults
        "networks.kernel_size": 5,
        "networks.outer_biases": False,
        "optimizer.weight_decay": 0.5,
        "data.held_out": 0.25,
        "data.held_out_source": "",  # only without a share
    }
    for path, value in settings_of(config):
        default = dict(settings_of(Config()))[path]
        if value != default:
            continue
        if isinstance(value, bool):
            new = not value
        elif isinstance(value, dict):
            new = {8: 3, 16: 5}
        elif isinstance(value, (int, float)):
            new = value / 2 if "beta" in path or "decay" in path else value + 2
            new = new if isinstance(value, float) else int(new)
        else:
            choices = {"preset": "v2-4gpus", "minibatch_stddev": "none", "on_new_phase": "carry", "name": "hinge"}
            choices |= {"augment": ("color", "cutout")}
            choices |= {"penalize": "fakes", "penalty_scale": "current"}
            choices |= {"dtype": "bfloat16", "crop": "pad", "resample": "box", "range": "auto"}
            choices |= {"modes": "refuse", "base_shape": "3x4", "init_from": "runs/other", "inception_weights": "here.npz"}
            choices |= {"metrics": ("swd", "ms_ssim"), "best": "ms_ssim"}
            choices |= {"representation": "phase", "phase_reference": "start", "magnitude_range": "-7,4", "take": "loudest"}
            choices |= {"channel": "left", "level": "peak", "label_by": "folder", "pitches": "60-72"}
            choices |= {"instrument_sources": "acoustic"}
            choices |= {"output_activation": "tanh", "latents": "uniform", "gp_channel_scale": (0.5, 2.0)}
            new = others[path] if path in others else choices[path.rpartition(".")[2]]
        config = replace_setting(config, path, others.get(path, new))
    config = replace_setting(config, "optimizer.beta1", 0.5)
    assert len(difference(Config(), config)) == len(settings_of(config)) - 5
    return config


@pytest.mark.parametrize("config", [Config(), *map(config_with, PRESETS), changed_everywhere()])
def test_json_round_trip(config):
    again = from_json(to_json(config), "config.json")
    assert again == config
    assert to_json(again) == to_json(config)
    for (path, value), (_, expected) in zip(settings_of(again), settings_of(config), strict=True):
        assert type(value) is type(expected), path
        if isinstance(value, dict):
            assert {type(key) for key in value} <= {int}


def test_json_is_plain():
    json.loads(to_json(Config()), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("text", ["", "{", "not json", '{"data": }', to_json(Config())[:-20]])
def test_text_that_is_not_json(text):
    assert str(refusal(UserError, from_json, text, "run/config.json")).startswith("run/config.json: is not JSON")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"'])
def test_json_that_is_no_object(text):
    assert str(refusal(UserError, from_json, text, "run/config.json")).startswith("run/config.json: is not a JSON object")


# Defaults that do not fit to the other values of `changed_everywhere()`.
UNFIT = {
    *("data.resolution", "run.init_from", "schedule.start_resolution", "discriminator.minibatch_stddev"),
    *("schedule.total_kimg", "eval.metrics", "loss.name"),
}


@pytest.mark.parametrize("path", [path for path, _ in settings_of(Config()) if path not in UNFIT])
def test_a_setting_that_json_lacks_has_its_default(path):
    config = changed_everywhere()
    tree = json.loads(to_json(config))
    *sections, leaf = path.split(".")
    sections = ["data", *sections] if sections == ["sound"] else sections
    node = tree
    for section in sections:
        node = node[section]
    del node[leaf]
    text = json.dumps(tree)
    assert absent_settings(text, "run/config.json") == [path]
    assert from_json(text, "run/config.json") == replace_setting(config, path, dict(settings_of(Config()))[path])


@pytest.mark.parametrize(
    ("name", "norm", "scale", "expected"),
    [
        ("wgan_gp", "full_resolution", "", "full_resolution"),
        ("wgan_gp", "current", "", "current"),
        ("wgan_gp", "full_resolution", "current", "full_resolution"),
        ("wgan_gp", "", "auto", "full_resolution"),
        ("logistic", "full_resolution", "", "current"),  # of no effect then, and R1 was measured at the current resolution
        ("logistic", "", "auto", "current"),
        ("rpgan", "", "auto", "current"),
        ("rpgan", "", "full_resolution", "full_resolution"),
        ("hinge", "full_resolution", "full_resolution", "full_resolution"),
        ("hinge", "full_resolution", "auto", "current"),
    ],
)
def test_penalties_are_measured_where_earlier_versions_did(name, norm, scale, expected):
    tree = json.loads(to_json(Config(loss=LossConfig(name=name))))
    del tree["loss"]["penalty_scale"]
    tree["loss"] |= {key: value for key, value in (("gradient_norm", norm), ("penalty_scale", scale)) if value}
    assert from_json(json.dumps(tree), "run/config.json").loss == LossConfig(name=name, penalty_scale=expected)
    assert absent_settings(json.dumps(tree), "run/config.json") == []


@pytest.mark.parametrize("value", ["none", None, 3])
def test_a_wrong_gradient_norm_of_earlier_versions_is_refused(value):
    tree = json.loads(to_json(Config()))
    tree["loss"]["gradient_norm"] = value
    assert f"loss.penalty_scale = {value!r}" in str(refusal(ConfigError, from_json, json.dumps(tree), "run/config.json"))


def test_a_section_that_json_lacks_has_its_defaults():
    tree = json.loads(to_json(Config(run=RunConfig(seed=3))))
    del tree["loss"]
    assert from_json(json.dumps(tree), "run/config.json") == Config(run=RunConfig(seed=3))
    assert absent_settings(json.dumps(tree), "run/config.json")[0] == "loss.name"
    assert absent_settings(to_json(Config()), "run/config.json") == []


class TestSettingsOfARun:
    """--config=WORKDIR/config.json."""

    @pytest.fixture
    def stored(self, tmp_path):
        def write(tree):
            path = tmp_path / "config.json"
            path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
            return str(path)

        return write

    @pytest.mark.parametrize("config", [Config(), apply_preset(Config(), "v2-8gpus"), changed_everywhere()])
    def test_is_the_same_configuration(self, stored, config):
        assert load_config(stored(to_json(config))).config == config

    def test_overrides_and_origins(self, stored):
        path = stored(to_json(Config(run=RunConfig(seed=5, keep_last=7))))
        loaded = load_config(path, ["run.keep_last=8"])
        assert loaded.config == Config(run=RunConfig(seed=5, keep_last=8))
        assert loaded.origins == {"run.seed": path, "run.keep_last": "--set run.keep_last=8"}

    @pytest.mark.parametrize(
        ("tree", "expected"),
        [
            ("{", "is not JSON"),
            ("[]", "is not a JSON object of settings"),
            ({}, "is not a JSON object of settings"),
            ({"data": {"novelty": 1}}, "unknown setting data.novelty"),
            ({"data": 5}, "data is not a JSON object of settings"),
            ({"": 5}, "unknown setting"),
        ],
    )
    def test_what_is_no_configuration(self, stored, tree, expected):
        path = stored(tree)
        message = str(refusal(UserError, load_config, path))
        assert message.startswith(f"--config={path}: ")
        assert expected in message

    @pytest.mark.parametrize(
        ("tree", "setting"),
        [
            ({"data": {"resolution": 33}}, "data.resolution"),
            ({"preset": {"a": 1}}, "preset"),
            ({"preset": "v2-1gpu"}, "preset"),
            ({"schedule": {"batch_size_at": {"four": 8}}}, "schedule.batch_size_at"),
        ],
    )
    def test_wrong_values_name_the_file(self, stored, tree, setting):
        path = stored(tree)
        error = refusal(ConfigError, load_config, path)
        assert (error.path, error.origin) == (setting, path)


@pytest.mark.parametrize("section", ["", "data", "schedule"])
def test_json_with_an_unknown_setting(section):
    tree = json.loads(to_json(Config()))
    (tree[section] if section else tree)["novelty"] = 1
    message = str(refusal(UserError, from_json, json.dumps(tree), "run/config.json"))
    assert f"unknown setting {section}{'.' if section else ''}novelty" in message


@pytest.mark.parametrize(
    ("section", "leaf", "bad"),
    [
        ("schedule", "batch_size_at", "4:8"),
        ("schedule", "batch_size_at", [4, 8]),
        ("schedule", "batch_size_at", None),
        ("schedule", "batch_size_at", 4),
        ("schedule", "batch_size_at", {"four": 8}),
        ("schedule", "batch_size_at", {"4.0": 8}),
        ("schedule", "batch_size_at", {"": 8}),
        ("schedule", "batch_size_at", {"4": "8"}),
        ("schedule", "batch_size_at", {"4": {"8": 1}}),
        ("schedule", "stable_kimg", "600"),
        ("schedule", "stable_kimg", math.nan),
        ("schedule", "batch_size", 16.0),
        ("data", "mirror", 1),
        ("data", "mirror", None),
        ("data", "source", ["digits"]),
        ("data", "resolution", 33),
        ("loss", "name", "wgan"),
    ],
)
def test_json_with_a_wrong_value(section, leaf, bad):
    tree = json.loads(to_json(Config()))
    tree[section][leaf] = bad
    error = refusal(ConfigError, from_json, json.dumps(tree), "run/config.json")
    assert (error.path, error.origin) == (f"{section}.{leaf}", "run/config.json")


@pytest.mark.parametrize(("path", "bad"), [("data", 5), ("data", None), ("data", []), ("preset", {"a": 1}), ("preset", {})])
def test_json_with_a_wrong_shape(path, bad):
    tree = json.loads(to_json(Config())) | {path: bad}
    assert str(refusal(UserError, from_json, json.dumps(tree), "run/config.json")).startswith(
        (f"run/config.json: {path} ", path)
    )


def test_difference():
    old = Config()
    new = Config(data=DataConfig(resolution=64), schedule=ScheduleConfig(batch_size_at={4: 8}))
    assert difference(old, old) == []
    assert difference(old, new) == ["data.resolution: 32 -> 64", "schedule.batch_size_at: {} -> {4: 8}"]
    assert difference(new, old) == ["data.resolution: 64 -> 32", "schedule.batch_size_at: {4: 8} -> {}"]


def test_replace_setting_leaves_the_original_alone():
    config = Config()
    changed = replace_setting(config, "data.resolution", 64)
    assert (config.data.resolution, changed.data.resolution) == (32, 64)
    assert replace_setting(changed, "data.resolution", 32) == config
    assert replace_setting(config, "preset", "v1-1gpu").preset == "v1-1gpu"


def test_parse_value_reads_back_what_a_message_prints():
    for path, value in settings_of(changed_everywhere()):
        assert parse_value(path, str(value)) == value
        assert parse_value(path, repr(value)) == value
