"""A record of the checkpoints that were finished, and the sizes of their files: tells at a glance what was lost since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pggan_jax.files import write_atomically


class FinishedFiles:
    """The file `.finished` beside the checkpoints.

    A checkpoint that was finished just before its process died is not on record, and nothing is said of it here; its digest
    guards it all the same.

    Args:
        directory: the folder with one folder per checkpoint.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._path = directory / ".finished"

    def exists(self) -> bool:
        """Whether some checkpoint is known to have been finished."""
        return self._path.exists()

    def note(self, checkpoints: Sequence[int]) -> None:
        """Put those checkpoints on record, and forget all others; where there is no space for that, the next time."""
        known = self._read()
        sizes = {str(one): known.get(str(one)) or self._sizes(one) for one in checkpoints}
        if sizes and sizes != known:
            with suppress(OSError):
                write_atomically(self._path, json.dumps(sizes).encode())

    def differences(self, checkpoint: int) -> Iterator[str]:
        """What has become of the files of a checkpoint since, such as "its file state/x is missing"."""
        now = self._sizes(checkpoint)
        for name, size in self._read().get(str(checkpoint), {}).items():
            if name not in now:
                yield f"its file {name} is missing"
            elif now[name] != size:
                yield f"its file {name} has {now[name]:,} of {size:,} bytes"

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def _sizes(self, checkpoint: int) -> dict[str, int]:
        folder = self._directory / str(checkpoint)
        return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
