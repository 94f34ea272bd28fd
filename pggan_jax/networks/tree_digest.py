"""Digest of all arrays of a tree, such as parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np


def named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path and the array of each leaf, in the order of the tree."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield jax.tree_util.keystr(path), leaf


def digest_of_leaves(leaves: Iterable[tuple[str, Any]]) -> str:
    """sha256 over path, type, shape and bytes of each array, on the host or on devices."""
    digest = hashlib.sha256()
    for path, leaf in leaves:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
