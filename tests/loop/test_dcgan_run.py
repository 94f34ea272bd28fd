"""DCGAN in the ordinary loop: exact resume, one compilation, microbatches, and a start from another run."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.distributed.batch_sharding import check_batches
from pggan_jax.errors import ConfigError, UserError
from tests.helpers.runs import dcgan_config, digest, lasting, run_and_listen, run_small, small_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("name", ["dcgan", pytest.param("dcgan_mnist", marks=pytest.mark.slow)])
def test_resumes_exactly(tmp_path, name):
    """Stopped within a tick; the state of a run has no statistics of batch norm that could be lost."""
    config = dcgan_config(networks__name=name)
    assert run_small(tmp_path / "whole", config)
    assert not run_small(tmp_path / "run", config, stop_at=224)
    assert load_trained_model(tmp_path / "run").metadata.images_seen == 224
    assert run_small(tmp_path / "run", config)
    assert lasting(stats(tmp_path / "run")) == lasting(stats(tmp_path / "whole"))
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_compiles_one_step(tmp_path):
    compiled = run_and_listen(tmp_path / "run", dcgan_config())
    assert compiled.count("jit(_fun)") == 1, sorted(set(compiled))
    assert stats(tmp_path / "run")[-1]["compiles"] == 1


@pytest.mark.parametrize(
    "config_of",
    [dcgan_config, functools.partial(small_config, generator__normalization="batch", discriminator__minibatch_stddev="none")],
)
def test_microbatches_are_refused(config_of):
    """Each would have statistics of its own, and their number would be part of the method."""
    check_batches(config_of(), devices=2)
    with pytest.raises(ConfigError, match=r"at once: 8, as batch norm, .* take the whole batch; allow at least 8, or 0"):
        check_batches(config_of(run__microbatch=4), devices=2)


@pytest.mark.slow
def test_starts_from_another_run(tmp_path):
    assert run_small(tmp_path / "first", dcgan_config())
    assert run_small(tmp_path / "second", dcgan_config(run__init_from=str(tmp_path / "first"), schedule__learning_rate=1e-30))
    first, second = (load_trained_model(tmp_path / name).state for name in ("first", "second"))
    for network in ("generator", "discriminator"):
        jax.tree.map(np.testing.assert_array_equal, getattr(first, network), getattr(second, network))


@pytest.mark.slow
def test_does_not_start_from_a_progressive_run(tmp_path, finished):
    config = dcgan_config(run__init_from=str(finished))
    with pytest.raises(UserError, match=r"another kind; set networks\.name=pggan as there, not dcgan") as caught:
        run_small(tmp_path / "run", config)
    assert "\n" not in str(caught.value)
