"""Does `plan` tell the memory that training takes? Predicted and measured, side by side, in processes of their own.

    python experiments/benchmarks/memory.py
    python experiments/benchmarks/memory.py --case=64x64:64:16:1 --case=64x64:64:16:4 --case=32x32:128:16:1

A case is resolution, fmap_max, batch size and parts. A process compiles the step as training does, lays state and batch out,
and takes a few steps while it watches its own memory. Measured is the most it holds during the steps less what it held before
the state was laid out: the compiler's own memory is no part of a step. On a GPU the allocator's peak is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("case", ["64x64:64:16:1", "64x64:64:16:4", "32x32:128:32:1"], "RESOLUTION:FMAP_MAX:BATCH:PARTS")
flags.DEFINE_integer("steps", 3, "steps to take", lower_bound=1)
flags.DEFINE_boolean("child", False, "measure the one case here")


def main(_: list[str]) -> None:
    """Print one line per case; status 1 if a prediction is more than 15 % off."""
    if FLAGS.child:
        print(json.dumps(measure(FLAGS.case[0], FLAGS.steps)))
        return
    worst = 0.0
    print(f"{'case':>16}  predicted MB  measured MB  predicted/measured")
    for case in FLAGS.case:
        command = [sys.executable, __file__, "--child", f"--case={case}", f"--steps={FLAGS.steps}"]
        # Freed memory goes back to the system, so that what is held is what is used.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        result = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
        ratio = result["predicted"] / result["measured"]
        worst = max(worst, abs(ratio - 1))
        print(f"{case:>16}  {result['predicted'] / 1e6:12.1f}  {result['measured'] / 1e6:11.1f}  {ratio:.3f}", flush=True)
    sys.exit(worst > 0.15)


def measure(case: str, steps: int) -> dict[str, int]:
    """Bytes per process that `plan` predicts, and that are held at most while stepping."""
    import jax

    from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, RunConfig, ScheduleConfig
    from pggan_jax.distributed import devices
    from pggan_jax.loop import step_cost
    from pggan_jax.networks.build import build_networks
    from pggan_jax.training.train_state import create_train_state
    from pggan_jax.xla_options import prefer_fast_convolutions

    prefer_fast_convolutions()
    size, fmap_max, batch_size, parts = case.split(":")
    resolution = int(size.split("x")[0])
    config = Config(
        data=DataConfig(resolution=resolution),
        generator=GeneratorConfig(fmap_max=int(fmap_max)),
        discriminator=DiscriminatorConfig(fmap_max=int(fmap_max)),
        schedule=ScheduleConfig(batch_size=int(batch_size)),
        run=RunConfig(microbatch=int(batch_size) // jax.device_count() // int(parts)),
    )
    networks = build_networks(config, resolution, channels=3, label_size=0, axis_name=devices.AXIS)
    mapped, compiled = step_cost.compile_step(config, networks, step_cost.choose_parts(config, networks))
    predicted = step_cost.peak_bytes(compiled)
    state = jax.device_get(create_train_state(config.optimizer, networks, 1))
    # The first call may compile again, which must not be taken for memory of the step.
    jax.block_until_ready(mapped(devices.replicate(state), *step_cost.step_arguments(config, networks)))
    with Watch() as watch:
        state, shared = devices.replicate(state), step_cost.step_arguments(config, networks)
        for _ in range(steps):
            state, sums = mapped(state, *shared)
            jax.block_until_ready(sums)
    on_gpu = devices.device_memory_bytes()
    return {"predicted": predicted * (1 if on_gpu else jax.local_device_count()), "measured": on_gpu or watch.growth}


class Watch:
    """The growth of this process's memory at its height, looked at every two milliseconds."""

    def __enter__(self) -> Watch:
        from pggan_jax.run_logs.console import process_memory_bytes

        self._held = process_memory_bytes
        self._done = threading.Event()
        self._before = self._highest = self._held()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.is_set():
            self._highest = max(self._highest, self._held())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes."""
        return self._highest - self._before


if __name__ == "__main__":
    app.run(main)
