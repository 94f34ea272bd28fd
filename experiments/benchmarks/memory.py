"""Compare the predicted memory of a train step (`plan`) with the measured memory.

    python experiments/benchmarks/memory.py
    python experiments/benchmarks/memory.py --case=64x64:64:16:1 --case=64x64:64:16:4 --case=32x32:128:16:1

A case is RESOLUTION:FMAP_MAX:BATCH_SIZE:MICROBATCHES. Each case runs in a process of its own, which compiles the step as
training does, places state and batch on the devices, and runs a few steps while it watches its own memory. The measured value
is the peak during the steps minus the memory before the state was placed, because the memory of the compiler is not part of a
step. On a GPU it is the peak of the allocator.

Prints one line per case. The exit status is 1 if a prediction is more than 15 % off.
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
flags.DEFINE_multi_string(
    "case", ["64x64:64:16:1", "64x64:64:16:4", "32x32:128:32:1"], "RESOLUTION:FMAP_MAX:BATCH_SIZE:MICROBATCHES; repeatable"
)
flags.DEFINE_integer("steps", 3, "steps to run", lower_bound=1)
flags.DEFINE_boolean("child", False, "measure one case in this process (internal)")


def main(_: list[str]) -> None:
    """Print one line per case; exit with status 1 if a prediction is more than 15 % off."""
    if FLAGS.child:
        print(json.dumps(measure(FLAGS.case[0], FLAGS.steps)))
        return
    worst = 0.0
    print(f"{'case':>16}  predicted MB  measured MB  predicted/measured")
    for case in FLAGS.case:
        command = [sys.executable, __file__, "--child", f"--case={case}", f"--steps={FLAGS.steps}"]
        # Return freed memory to the system at once, so that the memory of the process is the memory in use.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        result = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
        ratio = result["predicted"] / result["measured"]
        worst = max(worst, abs(ratio - 1))
        print(f"{case:>16}  {result['predicted'] / 1e6:12.1f}  {result['measured'] / 1e6:11.1f}  {ratio:.3f}", flush=True)
    sys.exit(worst > 0.15)


def measure(case: str, steps: int) -> dict[str, int]:
    """Run a few steps of one case in this process.

    Returns:
        predicted: bytes per process, as `plan` predicts.
        measured: bytes per process at the peak of the steps.
    """
    import jax

    from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, RunConfig, ScheduleConfig
    from pggan_jax.distributed import devices
    from pggan_jax.images import ImageSpec
    from pggan_jax.loop import step_cost
    from pggan_jax.networks.build import build_networks
    from pggan_jax.system.xla_options import prefer_fast_convolutions
    from pggan_jax.training.train_state import create_train_state

    prefer_fast_convolutions()
    size, fmap_max, batch_size, microbatches = case.split(":")
    resolution = int(size.split("x")[0])
    config = Config(
        data=DataConfig(resolution=resolution),
        generator=GeneratorConfig(fmap_max=int(fmap_max)),
        discriminator=DiscriminatorConfig(fmap_max=int(fmap_max)),
        schedule=ScheduleConfig(batch_size=int(batch_size)),
        run=RunConfig(microbatch=int(batch_size) // jax.device_count() // int(microbatches)),
    )
    networks = build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, 3), axis_name=devices.AXIS)
    microbatches = step_cost.choose_microbatches(config, networks)
    mapped, compiled = step_cost.compile_step(config, networks, microbatches=microbatches)
    predicted = step_cost.peak_bytes(compiled)
    state = jax.device_get(create_train_state(config.optimizer, networks, 1))
    # The first call may compile again; that memory does not belong to the step.
    jax.block_until_ready(mapped(devices.replicate(state), *step_cost.step_arguments(config, networks)))
    with MemoryPeak() as peak:
        state, shared = devices.replicate(state), step_cost.step_arguments(config, networks)
        for _ in range(steps):
            state, sums = mapped(state, *shared)
            jax.block_until_ready(sums)
    on_gpu = devices.device_memory_bytes()
    return {"predicted": predicted * (1 if on_gpu else jax.local_device_count()), "measured": on_gpu or peak.growth}


class MemoryPeak:
    """Context manager that samples the memory of this process every two milliseconds."""

    def __enter__(self) -> MemoryPeak:
        from pggan_jax.run_logs.console import process_memory_bytes

        self._memory = process_memory_bytes
        self._done = threading.Event()
        self._before = self._highest = self._memory()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._done.is_set():
            self._highest = max(self._highest, self._memory())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Peak minus the memory at the start, in bytes."""
        return self._highest - self._before


if __name__ == "__main__":
    app.run(main)
