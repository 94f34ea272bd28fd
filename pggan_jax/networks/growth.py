"""Growing: copy all leaves with equal paths into the tree of the next resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict


@dataclass(frozen=True)
class GrowthReport:
    """Paths such as 'block_8x8/conv0/kernel', sorted.

    Attributes:
        kept: in both trees, copied.
        new: only in the grown tree, freshly initialised.
        dropped: only in the old tree.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        layers = sorted({path.rpartition("/")[0] for path in self.new})
        gone = sorted({path.rpartition("/")[0] for path in self.dropped})
        line = f"kept {len(self.kept)} leaves, new {len(self.new)} ({', '.join(layers)})"
        return line + (f", dropped {len(self.dropped)} ({', '.join(gone)})" if gone else "")


def transfer(old: Mapping[str, Any], fresh: Mapping[str, Any]) -> tuple[dict[str, Any], GrowthReport]:
    """`fresh` with every leaf replaced that `old` has under the same path.

    Args:
        old: nested dict of arrays, the smaller network's parameters, averages or moments.
        fresh: the same for the grown network: its initialisation, or zeros for moments.

    Raises:
        ValueError: a path has another shape in each tree.
    """
    source, target = flatten_dict(old, sep="/"), flatten_dict(fresh, sep="/")
    for path in source.keys() & target.keys():
        if source[path].shape != target[path].shape:
            raise ValueError(f"{path} has shape {source[path].shape} but {target[path].shape} in the grown network")
    merged = {path: source.get(path, leaf) for path, leaf in target.items()}
    report = GrowthReport(
        kept=tuple(sorted(source.keys() & target.keys())),
        new=tuple(sorted(target.keys() - source.keys())),
        dropped=tuple(sorted(source.keys() - target.keys())),
    )
    return unflatten_dict(merged, sep="/"), report
