"""A run with relativistic pairing and augmentation, stopped and resumed, is the undisturbed one; its scalars are on record."""

from __future__ import annotations

import pytest

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from tests.helpers.runs import MID_FADE, digest, lasting, run_small, small_config, stats

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.slow]


def test_resumes_exactly(tmp_path):
    config = small_config(loss__name="rpgan", data__augment=("color", "translation", "cutout"), data__labels=True)
    assert run_small(tmp_path / "whole", config)
    assert not run_small(tmp_path / "run", config, stop_at=MID_FADE)
    assert load_trained_model(tmp_path / "run").metadata.images_seen == MID_FADE
    assert run_small(tmp_path / "run", config)
    assert lasting(stats(tmp_path / "run")) == lasting(stats(tmp_path / "whole"))
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
    for record in stats(tmp_path / "whole"):
        assert record["score_difference"] == pytest.approx(record["real_score"] - record["fake_score"], abs=1e-4)
    page = render(gather(tmp_path / "whole", config))
    assert "Score difference" in page
    assert "Other scalars" not in page
