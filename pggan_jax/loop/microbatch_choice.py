"""Microbatches that no setting gives: chosen once by free memory, then kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.distributed.batch_sharding import microbatches_as_set
from pggan_jax.errors import ConfigError
from pggan_jax.loop.compiled_step import Program


class MicrobatchChoice:
    """Build programs, with the same microbatches at a resolution throughout a run.

    Args:
        config: of the run.
        build: builds the program of a resolution with given settings.
        log: of the run.
    """

    def __init__(self, config: Config, build: Callable[[Config, int], Program], *, log: Callable[[str], None]):
        self._config, self._build, self._log = config, build, log
        self._chosen: dict[str, Sequence[int]] = {}

    def take_over(self, stored: Mapping[str, Sequence[int]]) -> None:
        """Take over choices of an earlier process, except where this one has chosen."""
        # In place: the background thread may add a choice at the same time.
        for resolution, sizes in stored.items():
            self._chosen.setdefault(resolution, sizes)

    def record(self) -> dict[str, list[int]]:
        """Return by resolution: images of a batch per device, and images of a microbatch."""
        return {resolution: list(sizes) for resolution, sizes in self._chosen.copy().items()}

    def program(self, resolution: int) -> Program:
        """Build a program with the microbatches that are set, were chosen before, or fit now."""
        device_count = devices.device_count()
        if microbatches_as_set(self._config, resolution, devices=device_count):
            return self._build(self._config, resolution)
        share = self._config.schedule.batch_size_for(resolution) // device_count
        stored_share, at_once = self._chosen.get(str(resolution), (0, 0))
        config, origin = self._config, "fits into the free memory"
        if stored_share == share:
            microbatch_at = {**config.run.microbatch_at, resolution: at_once}
            as_before = replace(config, run=replace(config.run, microbatch_at=microbatch_at))
            try:
                microbatches_as_set(as_before, resolution, devices=device_count)
                config, origin = as_before, "was chosen when the run reached this resolution"
            except ConfigError:  # the groups of minibatch stddev have changed
                pass
        program = self._build(config, resolution)
        at_once = share // program.microbatches
        self._chosen[str(resolution)] = share, at_once
        if program.microbatches > 1:
            self._log(
                f"{program.networks.shape}: {at_once} of {share} images at once, as {origin}; kept for the rest of the run "
                f"(--set run.microbatch_at={resolution}:{at_once} chooses the same)"
            )
        return program
