"""One digest per checkpoint, over all leaves of its state and over its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pggan_jax.networks.tree_digest import digest_of_leaves, named_leaves

REMOVED_LEAVES = ("bad_leaf_generator", "bad_leaf_discriminator")
"""Counters (int32) of the state in checkpoints of earlier versions; they are read, verified and dropped."""
_REMOVED_BEFORE = ".skipped_in_a_row"
_OPTIONAL_IN_SEAL = ("parts", "tick_left_out", "data", "arithmetic", "settings")


def state_digest(state: Any, removed: Mapping[str, Any] | None = None) -> str:
    """sha256 over path, type, shape and bytes of every leaf, in the order of the tree.

    Args:
        state: a pytree of arrays, on the host or on devices.
        removed: leaves by name that an earlier version had besides.
    """

    def leaves() -> Iterator[tuple[str, Any]]:
        for path, leaf in named_leaves(state):
            if path == _REMOVED_BEFORE:
                yield from ((f".{name}", former) for name, former in (removed or {}).items())
            yield path, leaf

    return digest_of_leaves(leaves())


def checkpoint_digest(leaves: str, document: Mapping[str, Any]) -> str:
    """sha256 over state and metadata.

    Args:
        leaves: `state_digest` of the state.
        document: the JSON of metadata; its own `digest` is left out.
    """
    return _sha256([leaves, {name: value for name, value in document.items() if name != "digest"}])


def is_intact(leaves: str, document: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds what was saved.

    Args:
        leaves: `state_digest` of the state that was read.
        document: the JSON of metadata that was read.
    """
    if "seal" not in document:
        return document.get("digest") == checkpoint_digest(leaves, document)
    # Earlier versions kept two sums, one over the leaves and one over the metadata with the first in it.
    sealed = {name: value for name, value in document.items() if name != "seal" and (value or name not in _OPTIONAL_IN_SEAL)}
    return document.get("digest") == leaves and document["seal"] == _sha256(sealed)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
