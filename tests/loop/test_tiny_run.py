"""The small networks of the test on 1,000 modes in the ordinary loop: growing, exact resume."""

from __future__ import annotations

import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from tests.helpers.runs import MID_FADE, digest, lasting, run_small, stats, tiny_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

OUR_NORM = {
    **{f"{network}__normalization": "none" for network in ("generator", "discriminator")},
    **{f"{network}__use_wscale": True for network in ("generator", "discriminator")},
    "generator__use_pixelnorm": True,
    "discriminator__minibatch_stddev": "whole_batch",
}


@pytest.mark.parametrize("changes", [{}, pytest.param(OUR_NORM, marks=pytest.mark.slow)], ids=["batch norm", "our norm"])
def test_grows_and_resumes_exactly(tmp_path, changes):
    """Stopped within the fade."""
    config = tiny_config(**changes)
    assert run_small(tmp_path / "whole", config)
    assert not run_small(tmp_path / "run", config, stop_at=MID_FADE)
    metadata = load_trained_model(tmp_path / "run").metadata
    assert (metadata.images_seen, metadata.resolution) == (MID_FADE, 8)
    assert run_small(tmp_path / "run", config)
    assert lasting(stats(tmp_path / "run")) == lasting(stats(tmp_path / "whole"))
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
