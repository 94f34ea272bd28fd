"""The folder of a study: what is stored where, and how far each run has come."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.paper.study.plan import Lengths, Plan, Run
from pggan_jax.errors import UserError
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import parse_json

_TAIL = 4096


@dataclass(frozen=True)
class Folder:
    """Paths below --out."""

    path: Path

    def workdir(self, run: Run) -> Path:
        """Folder of the run itself."""
        return self.path / "runs" / run.name

    def settings(self, run: Run) -> Path:
        """Settings that the run is started with."""
        return self.path / "settings" / f"{run.name}.json"

    def order(self, name: str) -> Path:
        """What is to be measured."""
        return self.path / "orders" / f"{name}.json"

    def measured(self, name: str) -> Path:
        """What was measured of a run, or of reals."""
        return self.path / "measured" / f"{name}.json"

    def log(self, name: str) -> Path:
        """What the processes of a run have printed."""
        return self.path / "logs" / f"{name}.txt"

    @property
    def record(self) -> Path:
        """Flags that all runs of the folder share."""
        return self.path / "study.json"

    def make(self) -> None:
        """Make all folders.

        Raises:
            UserError: they cannot be made.
        """
        try:
            for name in ("runs", "settings", "orders", "measured", "logs"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--out={self.path}: cannot be written ({error.strerror}); choose a folder you may write to"
            ) from None

    def result(self, name: str) -> dict[str, Any] | None:
        """Return what was measured of a run; None if it is not complete."""
        try:
            found = parse_json(self.measured(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def images_seen(self, run: Run) -> int:
        """Return how many images a run has seen at the end of its last tick."""
        try:
            with (self.workdir(run) / "stats.jsonl").open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _TAIL))
                lines = file.read().decode(errors="replace").strip().splitlines()
            return int(json.loads(lines[-1])["images_seen"])
        except (OSError, ValueError, IndexError, KeyError, TypeError):
            return 0

    def last_line(self, name: str) -> str:
        """Return the last line that a run has printed."""
        try:
            lines = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].rpartition("\r")[2].strip() if lines else ""

    def drop_early_checkpoints(self, run: Run) -> None:
        """Remove all checkpoints of a measured run but the last, which take most of the space."""
        folder = self.workdir(run) / "checkpoints"
        numbered = sorted((path for path in folder.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name))
        for path in numbered[:-1]:
            shutil.rmtree(path, ignore_errors=True)


def claim(folder: Folder, plan: Plan) -> None:
    """Record what all runs of the folder share, or compare it with what is recorded.

    Raises:
        UserError: the folder holds another study, or runs of other lengths.
    """
    wanted = {"study": plan.study.name, **json.loads(json.dumps(asdict(plan.lengths)))}
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"--out={folder.path}: is a file; name a folder")
    stored = recorded(folder)
    if stored is None:
        if folder.path.is_dir() and any(folder.path.iterdir()):
            raise UserError(f"--out={folder.path}: is not empty and holds no study; name a new or an empty folder")
        folder.make()
        write_atomically(folder.record, (json.dumps(wanted, indent=1) + "\n").encode())
        return
    different = [name for name in wanted if stored.get(name) != wanted[name]]
    if different:
        listed = ", ".join(f"{name} {stored.get(name)!r}, not {wanted[name]!r}" for name in different)
        raise UserError(f"--out={folder.path}: holds runs with {listed}; use the same flags, or another --out")
    folder.make()


def recorded(folder: Folder) -> dict[str, Any] | None:
    """Return what `claim` has recorded; None for a new folder."""
    try:
        found = parse_json(folder.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def recorded_scale(folder: Folder) -> float | None:
    """Return the scale that the folder's runs have; None for a new folder."""
    found = recorded(folder)
    return float(found.get("scale", Lengths().scale)) if found else None
