"""The next resolution is compiled in the background: nothing else is different, whatever becomes of it."""

from __future__ import annotations

import sys
import threading
import time
from unittest import mock

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.loop import run_setup
from pggan_jax.loop.background_compile import BackgroundCompiler, GrowthGap, abstract_arguments
from pggan_jax.loop.input_feed import InputFeed, plan_chunks
from pggan_jax.networks.build import build_networks, initialize, parameter_shapes
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_state import create_train_state
from tests.helpers.compiling import compilation_cache_in
from tests.helpers.runs import (
    BOUNDARY,
    brief_config,
    digest,
    lasting,
    on_devices,
    run_and_listen,
    run_small,
    shared_program,
    small_config,
    small_loader,
    stats,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
NOT_AHEAD = mock.patch.object(BackgroundCompiler, "start", return_value=None)


def log_of(workdir):
    return (workdir / "log.txt").read_text()


class TestTrainsTheSame:
    def test_with_and_without(self, tmp_path):
        config = brief_config(data__labels=True)
        with on_devices(4):
            assert run_small(tmp_path / "with", config)
            with NOT_AHEAD:
                assert run_small(tmp_path / "without", config)
        assert digest(tmp_path / "with") == digest(tmp_path / "without")
        assert lasting(stats(tmp_path / "with")) == lasting(stats(tmp_path / "without"))
        assert "compiling the 8x8 step" not in log_of(tmp_path / "with")
        assert "compiling the 8x8 step" in log_of(tmp_path / "without")

    def test_new_layers_are_drawn_while_their_shapes_are_traced(self):
        """Two threads that trace the same function share one trace; notes that are taken on the way must not be lost."""
        networks = build_networks(small_config(), 8, image_spec=ImageSpec(8, 8, 1))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)
        try:
            for delay in range(12):
                thread = threading.Thread(target=parameter_shapes, args=(networks,))
                thread.start()
                time.sleep(0.003 * delay)
                drawn = initialize(networks, 1)
                thread.join()
                kernels = [
                    leaf for tree in drawn for path, leaf in flatten_dict(tree, sep="/").items() if path.endswith("kernel")
                ]
                assert all(np.any(kernel) for kernel in kernels)
        finally:
            sys.setswitchinterval(interval)


class TestAbstractArguments:
    @pytest.mark.parametrize(("labels", "critic_steps", "steps"), [(False, 1, 1), (True, 2, 3)])
    @pytest.mark.parametrize("resident_mb", [0.0, 1.0])
    def test_are_those_of_a_call(self, labels, critic_steps, steps, resident_mb):
        """In shape, type and place."""
        config = small_config(data__labels=labels, schedule__critic_steps=critic_steps, run__device_data_mb=resident_mb)
        schedule = Schedule(config.schedule, config.data.resolution)
        loader = small_loader(config.data, config.run.seed)
        networks = build_networks(config, 8, image_spec=loader.image_spec, axis_name=devices.AXIS)
        state = devices.replicate(create_train_state(config.optimizer, networks, 0))
        stage = next(stage for stage in schedule.stages if stage.resolution == 8)
        chunks = plan_chunks(schedule, start=stage.start, steps_per_call=steps)
        _, inputs = InputFeed(config, loader, steps_per_call=steps)(next(chunks))
        real = state, *inputs
        abstract = abstract_arguments(config, networks, loader=loader, steps=steps)
        assert jax.tree.structure(real) == jax.tree.structure(abstract)
        kind = lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "sharding", None))  # noqa: E731
        assert jax.tree.map(kind, real) == jax.tree.map(kind, abstract)


class TestWhatIsCompiled:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            pytest.param({"data__labels": True, "run__steps_per_call": 3, "run__device_data_mb": 1.0}, marks=pytest.mark.slow),
        ],
    )
    def test_the_call_and_the_image_need_nothing_more(self, tmp_path, changes):
        main = threading.get_ident()
        in_front = []

        def listen(event, seconds, **details):
            if event.endswith("backend_compile_duration") and threading.get_ident() == main:
                in_front.append(details.get("fun_name"))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            compiled = run_and_listen(tmp_path / "run", brief_config(**changes))
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        assert compiled.count("jit(_fun)") == 2
        assert in_front.count("jit(_fun)") == 1
        assert compiled.count("jit(<lambda>)") - in_front.count("jit(<lambda>)") == 1, "the images"
        assert stats(tmp_path / "run")[-1]["compiles"] == 2

    @pytest.mark.slow
    def test_a_second_run_compiles_nothing(self, tmp_path):
        misses = []

        def listen(event, **_):
            if event == "/jax/compilation_cache/cache_misses":
                misses.append(event)

        jax.monitoring.register_event_listener(listen)
        try:
            with compilation_cache_in(tmp_path / "cache"):
                for expected in (2, 0):
                    jax.clear_caches()
                    misses.clear()
                    assert run_small(tmp_path / f"run{expected}", brief_config(), shared=False)
                    assert stats(tmp_path / f"run{expected}")[-1]["compiles"] == expected
                    assert bool(misses) == bool(expected), len(misses)
        finally:
            jax.monitoring.unregister_event_listener(listen)
        assert digest(tmp_path / "run2") == digest(tmp_path / "run0")


class TestWhenItGoesWrong:
    def test_a_failure_is_reported_once_and_compiled_in_front(self, tmp_path):
        with mock.patch("pggan_jax.loop.run_setup.compile_program", side_effect=MemoryError("no memory")):
            assert run_small(tmp_path / "run", brief_config())
        log = log_of(tmp_path / "run")
        assert log.count("WARNING: the 8x8 step could not be compiled in the background: ") == 1
        assert "compiling the 8x8 step" in log
        with NOT_AHEAD:
            assert run_small(tmp_path / "other", brief_config())
        assert digest(tmp_path / "run") == digest(tmp_path / "other")

    def test_what_cannot_be_built_ahead_is_built_in_front(self, tmp_path):
        def build(*arguments, **options):
            if threading.current_thread() is not threading.main_thread():
                raise MemoryError("no memory")
            return shared_program(*arguments, **options)

        with mock.patch("tests.helpers.runs.shared_program", build):
            assert run_small(tmp_path / "run", brief_config())
        log = log_of(tmp_path / "run")
        assert log.count("WARNING: the 8x8 step could not be compiled in the background: ") == 1
        assert log.count("compiling the 8x8 step") == 1

    def test_nothing_is_begun_where_the_step_in_use_needs_the_memory(self):
        config = small_config()
        schedule = Schedule(config.schedule, config.data.resolution)
        build = mock.Mock(side_effect=MemoryError("no memory"))
        for used, expected in ((60, 0), (40, 1)):
            ahead = BackgroundCompiler(schedule, build=build, compile_ahead=mock.Mock(), warn=mock.Mock())
            with (
                mock.patch.object(devices, "device_memory_bytes", return_value=used),
                mock.patch.object(devices, "memory_limit_bytes", return_value=100),
            ):
                ahead.start(0, 4)
            ahead.close()
            assert build.call_count == expected

    def test_a_stop_waits_for_it(self, tmp_path):
        compile_program = run_setup.compile_program
        reported = "waiting until the 8x8 step is compiled"

        def when_told(*arguments, **options):
            deadline = time.monotonic() + 120
            while reported not in log_of(tmp_path / "run") and time.monotonic() < deadline:
                time.sleep(0.05)
            compile_program(*arguments, **options)

        with mock.patch.object(run_setup, "compile_program", when_told):
            assert not run_small(tmp_path / "run", small_config(), stop_at=32)
        assert not [thread for thread in threading.enumerate() if thread.name == "compile"]
        assert reported in log_of(tmp_path / "run")

    @pytest.mark.slow
    @pytest.mark.parametrize("stop_at", [BOUNDARY - 16, BOUNDARY])
    def test_continues_close_to_a_growth(self, tmp_path, stop_at):
        config = small_config(schedule__total_kimg=0.8)
        with NOT_AHEAD:
            assert run_small(tmp_path / "whole", config)
        assert not run_small(tmp_path / "run", config, stop_at=stop_at)
        assert run_small(tmp_path / "run", config)
        assert digest(tmp_path / "run") == digest(tmp_path / "whole")


class TestGap:
    def test_is_reported_where_it_was(self, tmp_path):
        """In the second tick of three."""
        assert run_small(tmp_path / "run", small_config(schedule__stable_kimg=1.2))
        gaps = [record["growth_gap_seconds"] for record in stats(tmp_path / "run")]
        assert [gap > 0 for gap in gaps] == [False, True, *[False] * (len(gaps) - 2)], gaps
        assert log_of(tmp_path / "run").count("the first 8x8 step started ") == 1

    def test_needs_a_last_step(self):
        gap = GrowthGap()
        assert gap.stop() is None
        assert gap.end_tick() == 0
        gap.start()
        assert gap.stop() == gap.end_tick() >= 0
        assert gap.stop() is None
