"""Compilations of watching threads count; programs of the compilation cache do not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.run_logs.compile_counter import CompileCounter
from tests.helpers.compiling import compilation_cache_in


class TestCompileCounter:
    @pytest.fixture(autouse=True)
    def nothing_is_known(self, tmp_path):
        """What a cache has would not count."""
        with compilation_cache_in(tmp_path / "fresh"):
            yield

    def test_counts_while_it_watches(self):
        counter = CompileCounter()
        argument = np.ones(3, np.float32)
        try:
            jax.jit(lambda x: x * 3.25)(argument)
            assert counter.count == 0
            with counter.watch():
                doubled = jax.jit(lambda x: jnp.tanh(x) * 7.125)
                doubled(argument)
                assert counter.count == 1
                doubled(argument)
                assert counter.count == 1
            jax.jit(lambda x: x - 9.5)(argument)
            assert counter.count == 1
        finally:
            counter.close()

    def test_what_the_persistent_cache_has_does_not_count(self, tmp_path):
        counter = CompileCounter()
        try:
            with compilation_cache_in(tmp_path), counter.watch():
                for _ in range(2):
                    jax.jit(lambda x: jnp.tanh(x) * 17.125)(np.ones(7, np.float32))
                    assert counter.count == 1
                    jax.clear_caches()
                jax.jit(lambda x: jnp.tanh(x) * 19.125)(np.ones(7, np.float32))
                assert counter.count == 2
        finally:
            counter.close()

    def test_two_threads_can_watch(self):
        counter = CompileCounter()

        def watch():
            with counter.watch():
                jax.jit(lambda x: x * 21.5)(np.ones(6, np.float32))

        try:
            with counter.watch(), ThreadPoolExecutor() as pool:
                pool.submit(watch).result()
                jax.jit(lambda x: x * 23.5)(np.ones(6, np.float32))
            assert counter.count == 2
        finally:
            counter.close()

    def test_what_other_threads_compile_does_not_count(self):
        counter = CompileCounter()
        try:
            with counter.watch(), ThreadPoolExecutor() as pool:
                pool.submit(jax.jit(lambda x: x * 13.5), np.ones(6, np.float32)).result()
            assert counter.count == 0
        finally:
            counter.close()

    def test_deaf_after_close(self):
        counter = CompileCounter()
        counter.close()
        with counter.watch():
            jax.jit(lambda x: x * 11.5)(np.ones(5, np.float32))
        assert counter.count == 0
