"""A run on sound goes on bit-identically, also with other clips, and not with another representation."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest

from pggan_jax.checkpointing.provenance import check_data
from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.errors import UserError
from tests.helpers.runs import digest, lasting, run_small, small_loader, sound_config, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")
STOP, TOTAL = 80, 160


@pytest.fixture
def stopped(tmp_path):
    """A run on notes that was stopped half-way."""
    assert not run_small(tmp_path / "stopped", sound_config(), stop_at=STOP)
    return tmp_path / "stopped"


def test_stopped_and_resumed_it_is_bit_identical(sound_run, stopped):
    assert run_small(stopped, sound_config())
    assert lasting(stats(stopped)) == lasting(stats(sound_run))
    assert digest(stopped) == digest(sound_run)


def test_killed_and_resumed_it_is_bit_identical(sound_run, stopped):
    assert run_small(stopped, sound_config())
    shutil.rmtree(stopped / "checkpoints" / str(TOTAL))
    assert run_small(stopped, sound_config())
    assert digest(stopped) == digest(sound_run)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("sound__eps", 0.01, r"eps 0\.01, was 0\.001"),
        ("sound__representation", "phase", "name phase, was if"),
        ("sound__magnitude_range", "-9,9", r"log magnitudes -9,9, was .*; set sound\.magnitude_range=-6.*to keep its scale"),
    ],
)
def test_another_representation_is_refused_by_name(stopped, setting, value, words):
    with pytest.raises(UserError, match=words) as caught:
        run_small(stopped, sound_config(**{setting: value}), allow_config_change=True, allow_data_change=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_other_clips_are_accepted_at_the_scale_that_the_refusal_names(tmp_path):
    families = {"sound__label_by": "family"}
    assert not run_small(tmp_path, sound_config(**families), stop_at=STOP)
    fewer = families | {"sound__pitches": "60-63"}
    with pytest.raises(UserError, match="to keep its scale") as caught:
        run_small(tmp_path, sound_config(**fewer), allow_config_change=True)
    kept = re.search(r"sound\.magnitude_range=(\S+)", str(caught.value)).group(1)
    assert run_small(tmp_path, sound_config(**fewer, sound__magnitude_range=kept), allow_config_change=True)
    assert "data changed: 16 images, was 52" in (tmp_path / "log.txt").read_text()


def test_images_do_not_become_sound(sound_run):
    metadata = load_trained_model(sound_run).metadata
    loader = small_loader(sound_config().data, sound_config().run.seed)
    for other in (replace(metadata, representation={}), replace(metadata, representation={}, channels=3)):
        with pytest.raises(UserError, match="sound, was images"):
            check_data(other, loader, stored=sound_run / "data.npz", source="notes:52", is_accepted=True)
