"""The folder of a run: its files, its lock, and the configuration that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pggan_jax.config import Config
from pggan_jax.config.io import absent_settings, difference, from_json, to_json
from pggan_jax.errors import UserError
from pggan_jax.system.file_lock import FileLock, HeldError
from pggan_jax.system.files import write_atomically

_CHANGES_SHOWN = 3


@dataclass(frozen=True)
class Workdir:
    """Paths below one run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's settings."""
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        """Everything that was printed."""
        return self.path / "log.txt"

    @property
    def events(self) -> Path:
        """What happened besides the ticks, one JSON object per event."""
        return self.path / "events.jsonl"

    @property
    def stats(self) -> Path:
        """One JSON object per tick."""
        return self.path / "stats.jsonl"

    @property
    def rollbacks(self) -> Path:
        """The number of rollbacks to the point where the run continues."""
        return self.path / "rollbacks.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains here."""
        return self.path / "lock"

    @property
    def tensorboard(self) -> Path:
        """Log directory of TensorBoard."""
        return self.path / "tensorboard"

    @property
    def data(self) -> Path:
        """The record of the data that the run was last started with, and a checksum of each image."""
        return self.path / "data.npz"

    @property
    def grid(self) -> Path:
        """Seed and class of each image of the grids."""
        return self.path / "grid.json"

    @property
    def reals(self) -> Path:
        """A grid of real images."""
        return self.path / "reals.png"

    @property
    def originals(self) -> Path:
        """The first real clips as the source has them, before they became images."""
        return self.path / "reals-original.wav"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints, one folder each."""
        return self.path / "checkpoints"

    def metric(self, name: str) -> Path:
        """Measurements of one metric, one JSON object each."""
        return self.path / f"metric-{name}.jsonl"

    def fakes(self, images_seen: int) -> Path:
        """The sample grid at a point of the run, named by kimg."""
        return self.path / f"fakes{images_seen // 1000:06d}.png"

    def in_colour(self, grid: Path) -> Path:
        """Of a grid of spectrograms, the same in colour: "fakes000001-hue.png"."""
        return grid.with_name(f"{grid.stem}-hue.png")

    def heard(self, grid: Path) -> Path:
        """Of a grid of spectrograms, the first tiles as sound: "fakes000001.wav"."""
        return grid.with_suffix(".wav")

    def load_config(self) -> Config:
        """The configuration that the run was started with.

        Raises:
            UserError: there is no run here, or its config.json is broken.
        """
        if not self.config.is_file():
            raise UserError(
                f"--workdir={self.path}: holds no run (no config.json); give the --workdir that a run was started with"
            )
        return from_json(self._config_text(), str(self.config))

    def absent_settings(self) -> list[str]:
        """Settings that config.json lacks, as an earlier version wrote it; they have their defaults."""
        return absent_settings(self._config_text(), str(self.config))

    def _config_text(self) -> str:
        return self.config.read_text(encoding="utf-8", errors="replace")


@contextmanager
def claim_workdir(path: Path, config: Config, *, allow_config_change: bool = False) -> Iterator[list[str]]:
    """Lock the folder for a run with `config` inside the `with` block.

    Makes the folder, but does not store `config`.

    Args:
        path: the folder.
        config: what the run is about to use.
        allow_config_change: accept another configuration than the stored one. `store_config` replaces it, once it is known
            that the run can go on with the new one.

    Yields:
        One line per setting that differs from the stored configuration.

    Raises:
        UserError: the folder cannot be written, is in use, holds something that is not a run, or a run with another
            configuration. If a new run is refused in the block before it has begun, its configuration is removed.
    """
    workdir = Workdir(path)
    with _lock(workdir):
        changes = _compare_config(workdir, config, allow_config_change=allow_config_change)
        is_new = not workdir.config.exists()
        try:
            yield changes
        except UserError:
            has_begun = workdir.stats.exists() or workdir.reals.exists()
            if is_new and not has_begun:
                with suppress(OSError):
                    workdir.checkpoints.rmdir()
                for left_over in (workdir.log, workdir.events, workdir.data, workdir.config):
                    with suppress(OSError):
                        left_over.unlink()
            raise


@contextmanager
def _lock(workdir: Workdir) -> Iterator[None]:
    path = workdir.path
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Before the lock file is made; a process that was killed at its start leaves nothing but these files.
        if not workdir.config.exists() and any(
            entry.name.split(".")[0] != workdir.lock.name and entry.suffix != ".partial" for entry in path.iterdir()
        ):
            raise UserError(
                f"--workdir={path}: is not empty and holds no run (no config.json); choose a new or an empty folder"
            )
        _refuse_other_kinds_of_files(workdir)
        lock = FileLock(workdir.lock)
    except HeldError as owner:
        raise UserError(
            f"--workdir={path}: is in use by {owner}; wait for that run, stop it, or choose another --workdir"
        ) from None
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    with lock:
        yield


def _refuse_other_kinds_of_files(workdir: Workdir) -> None:
    """Refuse pipes, folders and sockets where the run writes files."""
    logs = workdir.log, workdir.events, workdir.stats
    files = (workdir.lock, *logs, workdir.data, workdir.rollbacks, workdir.grid, workdir.reals)
    for path in files:
        if path.exists() and not path.is_file() and not path.is_char_device():
            raise UserError(f"{path}: is a folder, a pipe or a socket; remove it, as the run writes a file of this name")


def _compare_config(workdir: Workdir, config: Config, *, allow_config_change: bool) -> list[str]:
    if not workdir.config.exists():
        return []
    try:
        changes = difference(workdir.load_config(), config)
    except OSError as error:
        raise _cannot_be_written(workdir.path, error) from error
    if changes and not allow_config_change:
        more = [f"and {len(changes) - _CHANGES_SHOWN:,} more"] if len(changes) > _CHANGES_SHOWN else []
        listed = "; ".join([*changes[:_CHANGES_SHOWN], *more])
        raise UserError(
            f"--workdir={workdir.path}: holds a run with another configuration (stored -> now): {listed}; "
            f"use --config={workdir.config}, a new --workdir, or --allow_config_change"
        )
    return changes


def _cannot_be_written(path: Path, error: OSError) -> UserError:
    return UserError(f"--workdir={path}: cannot be written ({error.strerror}); choose a folder you may write to")


def store_config(workdir: Workdir, config: Config) -> None:
    """Write config.json.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_atomically(workdir.config, to_json(config).encode())
    except OSError as error:
        raise _cannot_be_written(workdir.path, error) from error
