"""What is said about a wrong flag."""

from __future__ import annotations

import pytest
from absl import flags

from pggan_jax.flag_help import flag_problem


@pytest.mark.parametrize(
    ("word", "expected"),
    [("--json=maybe", "flag --json=maybe: must be true or false"), ("--jsn", "Unknown command line flag 'jsn'")],
)
def test_a_wrong_flag_is_named_with_what_is_allowed(word, expected):
    values = flags.FlagValues()
    flags.DEFINE_bool("json", False, "print JSON", flag_values=values)
    with pytest.raises(flags.Error) as caught:
        values(["launch.py", word])
    assert flag_problem(caught.value).startswith(expected)
