"""Expressions over latents, such as "mean(1,2,3) - mean(4,5,6) + mean(7,8,9)".

From the paper on DCGAN (Radford et al., 2016).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.editing.directions import normalized
from pggan_jax.generation.sampling import latents_for_seeds

NEIGHBORS = 8
_SPREAD = 0.25
_TOKEN = re.compile(r"\s*(\d+\.\d*|\.\d+|\d+|mean|[-+*(),])", re.ASCII)
_MOST_SEEDS, _LONGEST, _MOST_DIGITS = 64, 1000, 10
_SMALLEST_LENGTH = 1e-3


@dataclass(frozen=True)
class Term:
    """A factor times the mean of normalised latents.

    Attributes:
        factor: with its sign.
        seeds: of the latents.
        is_mean: whether it was written as mean(...).
    """

    factor: float
    seeds: tuple[int, ...]
    is_mean: bool = False

    def __str__(self) -> str:
        size = abs(self.factor)
        seeds = ",".join(map(str, self.seeds))
        return f"{'' if size == 1 else f'{size:g}*'}{f'mean({seeds})' if self.is_mean else seeds}"

    def latent(self, size: int) -> np.ndarray:
        """Return the mean of the seeds' normalised latents, without the factor: float64 `[size]`."""
        return normalized(latents_for_seeds(self.seeds, size)).astype(np.float64).mean(axis=0)


def parse_expression(text: str) -> list[Term]:
    """Parse a sum of terms: a seed, mean(SEED,SEED,...), or NUMBER*one of them.

    Raises:
        UserError: the text is something else; the message has the position, from 1.
    """
    if len(text) > _LONGEST:
        raise UserError(f"expression of {len(text):,} characters; write at most {_LONGEST}")
    return _Parser(text).terms()


def evaluate(terms: list[Term], size: int) -> np.ndarray:
    """Return the normalised sum of the terms, float32 `[size]`.

    Raises:
        UserError: the terms cancel.
    """
    total = sum((term.factor * term.latent(size) for term in terms), np.zeros(size))
    if not np.linalg.norm(total) > _SMALLEST_LENGTH:
        raise UserError("the terms of the expression add up to 0, which is no latent; change a seed or a factor")
    return normalized(total[None])[0]


def neighbors(latent: np.ndarray) -> np.ndarray:
    """Return 8 latents near one: float32 `[8, size]`.

    Each coordinate is changed by U(-0.25, 0.25), by the same noise at every call.
    """
    noise = np.random.RandomState(0).uniform(-_SPREAD, _SPREAD, (NEIGHBORS, len(latent)))
    return (latent + noise).astype(np.float32)


class _Parser:
    """A parser of one text; every method reads on from the current token."""

    def __init__(self, text: str):
        self._text, self._tokens, self._next = text, list[tuple[str, int]](), 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match:
                position += len(text[position:]) - len(text[position:].lstrip())
                raise self._refuse(position, f"{text[position]!r} is not part of an expression")
            self._tokens.append((match[1], match.start(1)))
            position = match.end()

    def terms(self) -> list[Term]:
        """Return the terms of the whole text."""
        found = [self._term(-1.0 if self._skip("+", "-") == "-" else 1.0)]
        while sign := self._skip("+", "-"):
            found.append(self._term(-1.0 if sign == "-" else 1.0))
        if self._next < len(self._tokens):
            raise self._expected("+ or -")
        if sum(len(term.seeds) for term in found) > _MOST_SEEDS:
            raise UserError(f"expression with more than {_MOST_SEEDS} seeds; write fewer")
        return found

    def _term(self, sign: float) -> Term:
        token, position = self._token()
        if token[:1].isdigit() or token[:1] == ".":
            self._next += 1
            if not self._skip("*"):
                return Term(sign, (self._seed(token, position),))
            sign *= self._factor(token, position)
        if self._skip("mean"):
            return Term(sign, self._arguments(), is_mean=True)
        token, position = self._token()
        if not token[:1].isdigit():
            raise self._expected("a seed or mean(...)")
        self._next += 1
        return Term(sign, (self._seed(token, position),))

    def _arguments(self) -> tuple[int, ...]:
        if not self._skip("("):
            raise self._expected("( after mean")
        seeds = []
        while True:
            token, position = self._token()
            if not token[:1].isdigit():
                raise self._expected("a seed")
            self._next += 1
            seeds.append(self._seed(token, position))
            if self._skip(")"):
                return tuple(seeds)
            if not self._skip(","):
                raise self._expected(", or )")

    def _seed(self, token: str, position: int) -> int:
        if not token.isdecimal() or len(token) > _MOST_DIGITS or int(token) >= 2**32:
            raise self._refuse(position, f"{token[:20]} is not a seed, a whole number from 0 to 2^32 - 1")
        return int(token)

    def _factor(self, token: str, position: int) -> float:
        if len(token) > _MOST_DIGITS or not 0 < float(token) <= 1000:
            raise self._refuse(position, f"the factor {token[:20]} must be above 0 and at most 1000")
        return float(token)

    def _token(self) -> tuple[str, int]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", len(self._text.rstrip()))

    def _skip(self, *wanted: str) -> str:
        token, _ = self._token()
        if token not in wanted:
            return ""
        self._next += 1
        return token

    def _expected(self, what: str) -> UserError:
        token, position = self._token()
        return self._refuse(position, f"expected {what}, not {repr(token) if token else 'the end'}")

    def _refuse(self, position: int, reason: str) -> UserError:
        return UserError(
            f"expression, position {position + 1}: {reason}; write a sum such as 'mean(1,2,3) - mean(4,5,6) + 0.5*7', where "
            "numbers are seeds"
        )
