"""The judge, the bins of timbres and the summary of notes, against golden values and on spoiled notes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.feature_stats import FeatureStats
from pggan_jax.evaluation.metrics.fid import frechet_distance
from pggan_jax.evaluation.sounds import features
from pggan_jax.evaluation.sounds.bins import TimbreBins, compare_counts
from pggan_jax.evaluation.sounds.judge import judgement, train_judge
from pggan_jax.evaluation.sounds.summary import Comparison, Notes, pitch_values, summarize_notes
from tests.helpers.notes_formula import notes

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sound_reference_values.json").read_text(encoding="utf-8"))
RATE = 8000
FEW, MANY = 52 * 3, 52 * 20


def test_counts_of_bins():
    golden = GOLDEN["ndb"]
    found = compare_counts(golden["counts_real"], golden["counts_fake"])
    np.testing.assert_allclose(found.z, golden["z"], rtol=1e-8)
    np.testing.assert_allclose(found.p, golden["p"], rtol=1e-8)
    assert (found.different, found.bins) == (golden["ndb"], golden["bins"])
    assert found.divergence == pytest.approx(golden["jsd_nats"], rel=1e-9)


def test_a_bin_that_is_empty_on_both_sides_does_not_differ():
    found = compare_counts([10, 0], [20, 0])
    assert (found.different, found.divergence) == (0, 0)
    assert np.isfinite(found.z).all()


def test_equal_timbres_share_one_bin():
    assert TimbreBins(np.zeros((100, 8, 32))).compare(np.zeros((40, 8, 32))).bins == 1


def test_judgement():
    golden = GOLDEN["classifier"]
    logits = np.array(golden["logits"])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = judgement(probabilities, np.array(golden["asked"]))
    assert found.accuracy == pytest.approx(golden["pitch_accuracy_exact"])
    assert found.accuracy_within_1 == pytest.approx(golden["pitch_accuracy_within_1"])
    assert found.entropy == pytest.approx(golden["pitch_entropy_nats"], rel=1e-9)
    assert found.score == pytest.approx(golden["inception_score"], rel=1e-9)
    assert found.marginal_entropy == pytest.approx(golden["marginal_entropy_nats"], rel=1e-9)


def test_sure_and_unknown_classes():
    found = judgement(np.eye(3), np.array([0, 1, -1]))
    assert (found.accuracy, found.entropy) == (pytest.approx(2 / 3), 0)
    assert found.score == pytest.approx(3)


def test_frechet_distance():
    golden = GOLDEN["fid"]
    first, second = (FeatureStats.of(np.array(golden[name])) for name in "ab")
    assert frechet_distance(first, second) == pytest.approx(golden["value"], rel=1e-8)


def test_a_judge_of_two_pitches_and_of_one():
    waves, pitches = notes([number for number in range(13 * 24) if number % 13 in (0, 7)])
    held_out = features.tonal(waves[:8], RATE), pitches[:8]
    judge = train_judge(waves, pitches, sample_rate=RATE, held_out=held_out)
    assert judge.accuracy == 1
    assert judge.probabilities(held_out[0]).shape == (8, 2)
    with pytest.raises(UserError, match="at least two pitches"):
        train_judge(waves[::2], np.full(24, 60), sample_rate=RATE, held_out=held_out)


def test_a_judge_that_learns_nothing_withholds_its_numbers():
    waves, pitches = notes(range(FEW))
    shuffled = np.random.RandomState(0).permutation(pitches)
    found = summarize_notes(Notes(waves[:26], pitches[:26]), Notes(waves, shuffled), sample_rate=RATE)
    assert "of held-out reals only, below 90%" in found.judge_problem
    assert "fid" not in found.values
    assert "ndb" in found.values
    assert found.values["within_50_cents"] == 1


def spoiled(reals: np.ndarray) -> dict[str, np.ndarray]:
    """Sets of notes that are worse than the reals, in ways that different measures tell."""
    random = np.random.RandomState(0)
    noise = random.standard_normal(reals.shape)
    return {"noisy": reals + 0.3 * noise, "noise": 0.2 * noise, "semitone": reals, "silence": reals * 0}


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_orientation(count):
    """Reals and spoiled notes are on different sides of all limits."""
    waves, pitches = notes(range(3 * count))
    comparison = Comparison(
        Notes(waves[:count], pitches[:count]), Notes(waves[count : 2 * count], pitches[count : 2 * count]), sample_rate=RATE
    )
    tested, asked = waves[2 * count :], pitches[2 * count :]
    found = {}
    for name, one in {"real": tested, **spoiled(tested)}.items():
        own = Notes(one, asked + (name == "semitone"))
        found[name] = {**pitch_values(own, RATE), **comparison.values(own)}
    good, noisy, semitone = found["real"], found["noisy"], found["semitone"]
    assert comparison.judge.accuracy >= 0.95
    assert good["pitch_accuracy"] >= 0.95
    assert good["fid"] <= 2
    assert good["hnr"] >= 20
    assert good["within_50_cents"] >= 0.98
    assert good["coherence"] > 0.99
    assert good["ndb"] <= 0.16 * good["bins"]
    assert noisy["hnr"] <= 6
    assert noisy["fid"] >= 2
    for name in ("noise", "silence"):
        values = found[name]
        assert values["pitch_accuracy"] <= 0.5
        assert values["fid"] >= 10
        assert values["hnr"] <= 0
        assert values["ndb"] >= 0.6 * values["bins"]
        assert values["within_50_cents"] < 0.1
    assert semitone["pitch_accuracy"] <= 0.5
    assert semitone["within_50_cents"] < 0.1
    assert semitone["pitch_accuracy_within_1"] > 0.85


def test_notes_of_one_family_differ_in_timbre():
    """The bins tell families only if they are more than the pitches."""
    waves, _ = notes(range(MANY))
    timbres = features.timbre(waves, RATE)
    bins = TimbreBins(timbres)
    organs = timbres[[number for number in range(MANY) if number // 13 % 4 == 0]]
    random = timbres[np.random.RandomState(0).permutation(MANY)[: len(organs)]]
    assert bins.compare(random).different <= 8
    assert bins.compare(organs).different >= 30
    assert bins.compare(organs).divergence > 0.3


@pytest.mark.parametrize("count", [1, 2])
def test_what_cannot_be_measured_is_refused(count):
    waves, pitches = notes(range(65))
    broken = Notes(np.where(np.arange(4096) == 7, np.nan, waves[:2]), pitches[:2])
    few = {1: (Notes(waves[:1], pitches[:1]), Notes(waves, pitches)), 2: (broken, Notes(waves, pitches))}[count]
    with pytest.raises(UserError, match={1: "at least 2 notes", 2: "not finite"}[count]):
        summarize_notes(*few, sample_rate=RATE)
