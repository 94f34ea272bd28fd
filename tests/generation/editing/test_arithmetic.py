"""Expressions over latents."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.generation.editing.arithmetic import Term, evaluate, neighbors, parse_expression
from pggan_jax.generation.editing.directions import normalized
from pggan_jax.generation.sampling import latents_for_seeds


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("7", [Term(1, (7,))]),
        ("-7", [Term(-1, (7,))]),
        (" mean(1,2,3)-mean( 4 , 5 ) + 0 ", [Term(1, (1, 2, 3), True), Term(-1, (4, 5), True), Term(1, (0,))]),
        ("0.5*mean(1,1) - 2*9", [Term(0.5, (1, 1), True), Term(-2, (9,))]),
        (".5*4294967295", [Term(0.5, (4294967295,))]),
        ("mean(3)", [Term(1, (3,), True)]),
    ],
)
def test_terms(text, terms):
    assert parse_expression(text) == terms


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 1, "expected a seed or mean(...), not the end"),
        ("1 +", 4, "expected a seed or mean(...), not the end"),
        ("1 2", 3, "expected + or -, not '2'"),
        ("1 + x", 5, "'x' is not part of an expression"),
        ("__import__('os')", 1, "'_' is not part of an expression"),
        ("mean 1", 6, "expected ( after mean, not '1'"),
        ("mean(1;2)", 7, "';' is not part"),
        ("mean(1", 7, "expected , or ), not the end"),
        ("mean()", 6, "expected a seed, not ')'"),
        ("mean(1.5)", 6, "1.5 is not a seed"),
        ("4294967296", 1, "4294967296 is not a seed"),
        ("1 - 1.5", 5, "1.5 is not a seed"),
        ("0*1", 1, "the factor 0 must be above 0"),
        ("2*3*4", 4, "expected + or -, not '*'"),
        ("1 + ²", 5, "'²' is not part"),
        ("(1)", 1, "expected a seed or mean(...), not '('"),
    ],
)
def test_errors_have_a_position(text, position, reason):
    with pytest.raises(UserError) as caught:
        parse_expression(text)
    assert str(caught.value).startswith(f"expression, position {position}: {reason}")


@pytest.mark.parametrize("text", ["1+" * 600 + "1", "+".join(map(str, range(65)))])
def test_long_expressions_are_refused(text):
    with pytest.raises(UserError, match="write"):
        parse_expression(text)


def test_the_value_is_the_normalised_sum():
    one, two, three = normalized(latents_for_seeds((1, 2, 3), 16)).astype(np.float64)
    found = evaluate(parse_expression("mean(1,2) - 0.5*3"), 16)
    wanted = (one + two) / 2 - 0.5 * three
    np.testing.assert_allclose(found, wanted * 4 / np.linalg.norm(wanted), rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("text", ["1 - 1", "mean(2,3) - 0.5*2 - 0.5*3"])
def test_terms_that_cancel_are_refused(text):
    with pytest.raises(UserError, match="add up to 0"):
        evaluate(parse_expression(text), 16)


def test_neighbours_differ_by_at_most_a_quarter_in_each_coordinate():
    latent = evaluate(parse_expression("1"), 64)
    found = neighbors(latent)
    assert found.shape == (8, 64)
    noise = found - latent
    assert 0.2 < np.abs(noise).max() <= 0.25 + 1e-6
    assert abs(noise.std() - 0.5 / np.sqrt(12)) < 0.01
    assert np.array_equal(found, neighbors(latent))


def test_terms_are_printed_as_they_were_written():
    assert [str(term) for term in parse_expression("0.5*mean(1,2) - 3 + mean(4)")] == ["0.5*mean(1,2)", "3", "mean(4)"]
