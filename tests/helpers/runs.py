"""Small runs that several test files train, stop, copy and compare."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from pggan_jax.checkpointing.integrity import state_digest
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)
from pggan_jax.config.io import replace_setting, to_json
from pggan_jax.config.sound import SoundConfig
from pggan_jax.config.validation import validate
from pggan_jax.data.open_loader import open_loader
from pggan_jax.loop import run_setup, train
from pggan_jax.stats_fields import VOLATILE_FIELDS
from tests.helpers.compiling import compilation_cache_in

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


def small_config(**changes):
    """4x4 to 8x8 with one fade: 31 steps, 60 in the fade, 29. Ticks end at 1,008 and 1,920 images. `__` stands for a dot."""
    config = Config(
        data=DataConfig(source="digits", resolution=8),
        generator=GeneratorConfig(fmap_max=8),
        discriminator=DiscriminatorConfig(fmap_max=8),
        schedule=ScheduleConfig(
            stable_kimg=0.48,
            fade_kimg=0.96,
            batch_size=16,
            learning_rate=0.003,
            repeats=1,
            tick_kimg=1.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=0.5),
        run=RunConfig(grid="4x2"),
    )
    for name, value in changes.items():
        config = replace_setting(config, name.replace("__", "."), value)
    validate(config)
    return config


BOUNDARY, MID_FADE, FIRST_TICK, TOTAL = 496, 800, 1008, 1920


@cache
def small_loader(data, seed):
    return open_loader(data, seed=seed, progress=False)


_build_program = run_setup.build_program


_programs = {}


def shared_program(config, resolution, *, loader):
    """Build a program; runs that differ only in length, saving and logging share what is compiled."""
    lengths = {"stable_kimg": 1.0, "fade_kimg": 1.0, "total_kimg": 0.0, "tick_kimg": 1.0, "learning_rate": 0.001}
    lengths |= {"total_minutes": 0.0}
    key = to_json(replace(config, run=RunConfig(), schedule=replace(config.schedule, **lengths))), resolution
    if key not in _programs:
        _programs[key] = _build_program(config, resolution, loader=loader)
    return _programs[key]


def run_small(workdir, config, *, stop_at=None, shared=True, allow_config_change=False, **options):
    """Train in this process; `stop_at` images asks for a stop after the chunk that ends there."""
    images_seen = -1

    def should_stop():
        return stop_at is not None and images_seen >= stop_at

    def note(chunk):
        nonlocal images_seen
        images_seen = chunk.end

    with mock.patch.object(run_setup, "build_program", shared_program if shared else _build_program), before_chunks(note):
        loader = small_loader(config.data, config.run.seed)
        with run_setup.open_run(workdir, config, allow_config_change=allow_config_change) as opened:
            return train.train(opened, loader, should_stop=should_stop, **options)


@contextmanager
def before_chunks(action):
    """Call `action(chunk)` before the steps of each chunk."""
    grow_if_needed = train.grow_if_needed

    def act(state, chunk, *, run):
        action(chunk)
        return grow_if_needed(state, chunk, run=run)

    with mock.patch.object(train, "grow_if_needed", act):
        yield


@cache
def finished_run(folder):
    """A complete run 4x4 -> 8x8, for reading only; `folder` is the session's."""
    workdir = folder / "finished"
    assert run_small(workdir, small_config())
    return workdir


@cache
def finished_labelled_run(folder):
    """A complete run at 4x4 alone with labels, for reading only; `folder` is the session's."""
    workdir = folder / "labelled"
    assert run_small(workdir, labelled_config())
    return workdir


@cache
def finished_sound_run(folder):
    """A complete run on notes at 8x32 alone, with 13 pitches as labels, for reading only; `folder` is the session's."""
    workdir = folder / "sound"
    assert run_small(workdir, sound_config())
    return workdir


def sound_config(**changes):
    """Clips of 0.064 s: 8 frames of 32 bins. Ten steps."""
    sound = SoundConfig(sample_rate=4000, n_fft=64, hop=32, frames=8)
    data = DataConfig(source="notes:52", resolution=16, base_shape="2x8", labels=True, sound=sound)
    config = replace(small_config(), data=data, run=RunConfig(grid="2x13"))
    lengths = {"schedule__start_resolution": 16, "schedule__stable_kimg": 0.16}
    for name, value in {**lengths, **changes}.items():
        config = replace_setting(config, name.replace("__", "."), value)
    validate(config)
    return config


@cache
def learned_run(folder):
    """A run without labels whose samples show all digits, for reading only: about a minute; `folder` is the session's."""
    workdir = folder / "learned"
    lengths = {"schedule__stable_kimg": 10.0, "schedule__fade_kimg": 4.0, "schedule__tick_kimg": 12.0}
    sizes = {"schedule__batch_size": 32, "generator__fmap_max": 16, "discriminator__fmap_max": 16}
    assert run_small(workdir, small_config(**lengths, **sizes, optimizer__ema_half_life_kimg=1.0))
    return workdir


def dcgan_config(**changes):
    """DCGAN at 16x16 with labels. Twenty steps, one tick."""
    options = {
        "data__resolution": 16,
        "data__labels": True,
        "networks__name": "dcgan",
        "generator__latent_size": 8,
        "generator__normalize_latents": False,
        "discriminator__minibatch_stddev": "none",
        "schedule__start_resolution": 16,
        "schedule__stable_kimg": 0.32,
        "optimizer__beta1": 0.5,
        "loss__name": "logistic",
        "loss__r1_gamma": 0.0,
    }
    return small_config(**options | changes)


def tiny_config(**changes):
    """The small networks of the test on 1,000 modes, with batch norm, growing to 8x8."""
    options = {
        "networks__name": "tiny",
        **{f"{network}__normalization": "batch" for network in ("generator", "discriminator")},
        **{f"{network}__use_wscale": False for network in ("generator", "discriminator")},
        "generator__use_pixelnorm": False,
        "generator__output_activation": "tanh",
        "discriminator__minibatch_stddev": "none",
    }
    return small_config(**options | changes)


def labelled_config():
    return small_config(data__resolution=4, data__labels=True, schedule__stable_kimg=0.16)


def copy_of(workdir, tmp_path, name="copy"):
    return Path(shutil.copytree(workdir, tmp_path / name))


def stats(workdir):
    return [json.loads(line) for line in (workdir / "stats.jsonl").read_text().splitlines()]


def events(workdir, *names):
    """The events of a run, in order; only those of the given names, if any."""
    found = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    return [event for event in found if not names or event["event"] in names]


def lasting(records):
    """What two runs of the same settings must agree on."""
    return [{key: value for key, value in record.items() if key not in VOLATILE_FIELDS} for record in records]


def digest(workdir, checkpoint="latest"):
    return state_digest(load_trained_model(workdir, checkpoint).state)


def assert_states_close(first, second, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), first, second)


def brief_config(resolution=8, **changes):
    """Phases of five steps."""
    lengths = {"schedule__stable_kimg": 0.08, "schedule__fade_kimg": 0.08, "schedule__learning_rate": 0.001}
    return small_config(data__resolution=resolution, **{**lengths, **changes})


@contextmanager
def on_devices(count):
    """Only the first `count` of this process's devices exist for the program."""
    devices = jax.local_devices()[:count]
    with (
        mock.patch.object(jax, "local_devices", return_value=devices),
        mock.patch.object(jax, "local_device_count", return_value=count),
        mock.patch.object(jax, "device_count", return_value=count),
    ):
        yield


def run_and_listen(workdir, config):
    """Run with nothing shared and nothing known; the names of all programs that XLA compiled meanwhile."""
    compiled = []

    def listen(event, seconds, **details):
        if event == COMPILE_EVENT:
            compiled.append(str(details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with compilation_cache_in(workdir.with_name(f"{workdir.name} compiled")):
            assert run_small(workdir, config, shared=False)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return compiled


def data_lines(workdir):
    return [line for line in (workdir / "log.txt").read_text().splitlines() if line.startswith("data ")]
