"""python launch.py explore --from=SOURCE [--directions=FILE.npz] [--port=7860] [--browser]

Open a page on this machine to explore a trained model: images by seed and class, a walk between two seeds, directions as sliders,
and the levels that the network has grown through, side by side. It saves images and latents.

Examples:
  python launch.py explore --from=runs/digits
  python launch.py explore --from=celebahq.safetensors --directions=directions.npz

The page is served to 127.0.0.1 alone, asks for nothing outside, and ends with Ctrl-C. Without --directions, its sliders are the
first directions of SeFa. Needs Gradio (requirements-optional.txt).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import define_model_flags, open_model
from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.explorer import Explorer
    from pggan_jax.generation.model import Model

FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
flags.DEFINE_string(
    "directions", None, "directions to show as sliders, a file of `directions` (default: SeFa)", flag_values=FLAGS
)
flags.DEFINE_integer("port", 7860, "port on 127.0.0.1", flag_values=FLAGS, lower_bound=1024, upper_bound=65535)
flags.DEFINE_boolean("browser", False, "also open the page in the browser", flag_values=FLAGS)

_SLIDERS = 6


def run(values: flags.FlagValues) -> None:
    """Serve the page until Ctrl-C."""
    from pggan_jax.cli.explore_page import serve

    explorer = make_explorer(values, open_model(values))
    serve(explorer, port=flag_value(values, "port"), opens_browser=flag_value(values, "browser"))


def make_explorer(values: flags.FlagValues, model: Model) -> Explorer:
    """Return what the page draws with.

    Raises:
        UserError: the directions cannot be read, or are of another model.
    """
    from pggan_jax.generation.explorer import Explorer

    return Explorer(model, _levels(values, model), _directions(values, model))


def _directions(values: flags.FlagValues, model: Model) -> dict[str, np.ndarray]:
    from pggan_jax.generation.editing.direction_files import read_directions
    from pggan_jax.generation.editing.directions import first_kernel, sefa
    from pggan_jax.system.paths import user_path

    text = flag_value(values, "directions")
    if text is None:
        found = sefa(first_kernel(model), model.latent_size, count=min(_SLIDERS, model.latent_size))
        return {f"SeFa {number}": direction for number, direction in enumerate(found.directions)}
    stored = read_directions(user_path(text, named="--directions="))
    if stored.directions.shape[1] != model.latent_size:
        raise UserError(
            f"--directions={text}: is for latents of {stored.directions.shape[1]} numbers, and {model.name} takes "
            f"{model.latent_size}; make a file by `directions --from={model.name}`"
        )
    return dict(zip(stored.names[:_SLIDERS], stored.directions[:_SLIDERS], strict=True))


def _levels(values: flags.FlagValues, model: Model) -> list[Model]:
    """Return the newest kept checkpoint of each lower resolution, then the model itself."""
    from pggan_jax.checkpointing.metadata import read_metadata
    from pggan_jax.checkpointing.open_model import is_model_file, model_of, split_source
    from pggan_jax.checkpointing.trained_model import CheckpointRemovedError, open_checkpoints, read_checkpoint

    source = flag_value(values, "from")
    if is_model_file(source):
        return [model]
    workdir, _ = split_source(source, named="--from=")
    config, checkpoints = open_checkpoints(workdir)
    with closing(checkpoints):
        newest: dict[int, int] = {}
        for images_seen in sorted(checkpoints.all_images_seen()):
            metadata = read_metadata(checkpoints.directory / str(images_seen))
            if metadata and metadata.resolution < model.resolution:
                newest[metadata.resolution] = images_seen
        lower = []
        for images_seen in newest.values():
            try:
                trained = read_checkpoint(config, checkpoints, images_seen=images_seen)
            except CheckpointRemovedError:
                continue
            lower.append(model_of(trained, name=str(Path(source)), network=flag_value(values, "network")))
    return [*sorted(lower, key=lambda one: one.resolution), model]
