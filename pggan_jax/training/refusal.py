"""What one process must refuse, all processes refuse."""

from __future__ import annotations

from pggan_jax.errors import UserError
from pggan_jax.training import parallel


def refuse_everywhere(problem: str) -> None:
    """Raise if any process has a problem; empty means none. Every process must ask.

    Raises:
        UserError: with the same text on every process.
    """
    problem = parallel.first_text(problem)
    if problem:
        raise UserError(problem)
