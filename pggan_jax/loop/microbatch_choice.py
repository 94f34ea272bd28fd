"""In how many parts a batch is worked through where no setting says so: chosen once by free memory, then the same for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.distributed.batch_sharding import microbatches_as_set
from pggan_jax.errors import ConfigError
from pggan_jax.loop.compiled_step import Program


class ChosenParts:
    """Makes programs; those of one run work through their batches in the same parts whenever they are made.

    Args:
        config: of the run.
        build: makes the program of a resolution with the settings that it is given.
        log: of the run.
    """

    def __init__(self, config: Config, build: Callable[[Config, int], Program], log: Callable[[str], None]):
        self._config, self._build, self._log = config, build, log
        self._chosen: dict[str, Sequence[int]] = {}

    def take_over(self, stored: Mapping[str, Sequence[int]]) -> None:
        """Choices of an earlier process, as `record` gave them. Those that were made in this one stay."""
        # In place: a program that is made in the background may be chosen at this moment.
        for resolution, sizes in stored.items():
            self._chosen.setdefault(resolution, sizes)

    def record(self) -> dict[str, list[int]]:
        """By resolution: images of a device's share of a batch, and how many of them it works on at once."""
        return {resolution: list(sizes) for resolution, sizes in self._chosen.copy().items()}

    def program(self, resolution: int) -> Program:
        """The program of a resolution, in the parts that are set, or were chosen before, or fit now."""
        device_count = devices.device_count()
        if microbatches_as_set(self._config, resolution, devices=device_count):
            return self._build(self._config, resolution)
        share = self._config.schedule.batch_size_for(resolution) // device_count
        stored_share, at_once = self._chosen.get(str(resolution), (0, 0))
        config, origin = self._config, "fits into the memory that is free"
        if stored_share == share:
            microbatch_at = {**config.run.microbatch_at, resolution: at_once}
            as_before = replace(config, run=replace(config.run, microbatch_at=microbatch_at))
            try:
                microbatches_as_set(as_before, resolution, devices=device_count)
                config, origin = as_before, "was chosen when the run first came here"
            except ConfigError:  # the groups of minibatch stddev have changed
                pass
        program = self._build(config, resolution)
        at_once = share // program.microbatches
        self._chosen[str(resolution)] = share, at_once
        if program.microbatches > 1:
            self._log(
                f"{resolution}x{resolution}: {at_once} of {share} images at once, as {origin}; kept for the rest of the run "
                f"(--set run.microbatch_at={resolution}:{at_once} chooses the same)"
            )
        return program
