"""python launch.py explore --from=SOURCE [--directions=FILE.npz] [--port=7860] [--browser]

Serve a page on this machine to explore a trained model: images by seed and class, a walk between two seeds, directions as
sliders, and the levels that the network has grown through, side by side. It saves images and latents.

Examples:
  python launch.py explore --from=runs/digits --browser
  python launch.py explore --from=digits.safetensors --directions=directions.npz

The page is served to 127.0.0.1 alone and asks for nothing outside; Ctrl-C ends it. Its sliders are the first directions of
SeFa, or of a file of `directions`. Needs Gradio (pip install -r requirements-optional.txt).
"""

from __future__ import annotations

import sys
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
flags.DEFINE_string("directions", None, "show these directions as sliders: a file that `directions` wrote", flag_values=FLAGS)
flags.DEFINE_integer("port", 7860, "port on 127.0.0.1", flag_values=FLAGS, lower_bound=1024, upper_bound=65535)
flags.DEFINE_boolean("browser", False, "also open the page in a browser", flag_values=FLAGS)

_SLIDERS = 8


def run(values: flags.FlagValues) -> None:
    """Serve the page until Ctrl-C."""
    from pggan_jax.cli.explore_page import serve

    serve(lambda: make_explorer(values), port=flag_value(values, "port"), opens_browser=flag_value(values, "browser"))


def make_explorer(values: flags.FlagValues) -> Explorer:
    """Return what the page draws with.

    Raises:
        UserError: there is no such model, or the directions cannot be read or are of another one.
    """
    from pggan_jax.checkpointing.open_model import lower_levels
    from pggan_jax.generation.explorer import Explorer

    def skip(images_seen: int, error: UserError) -> None:
        print(f"note: the checkpoint of kimg {images_seen / 1000:g} is left out: {error}", file=sys.stderr)

    model = open_model(values)
    directions, network = _directions(values, model), flag_value(values, "network")
    lower = lower_levels(flag_value(values, "from"), model, network=network, on_skip=skip)
    return Explorer(model, [*lower, model], directions, network=network)


def _directions(values: flags.FlagValues, model: Model) -> dict[str, np.ndarray]:
    """Return directions by name."""
    from pggan_jax.generation.editing.direction_files import read_directions
    from pggan_jax.generation.editing.directions import first_kernel, sefa
    from pggan_jax.system.paths import user_path

    text = flag_value(values, "directions")
    if text is None:
        found = sefa(first_kernel(model), model.latent_size, count=min(_SLIDERS, model.latent_size))
        return {f"sefa_{number}": direction for number, direction in enumerate(found.directions)}
    path = user_path(text, named="--directions=")
    if not path.is_file():
        raise UserError(f"--directions={text}: no such file; give an .npz that `directions` has written")
    stored = read_directions(path, named=f"--directions={text}")
    if stored.latent_size != model.latent_size:
        raise UserError(
            f"--directions={text}: is for latents of {stored.latent_size} numbers, and {model.name} takes {model.latent_size}; "
            f"make a file by `directions --from={model.name}`"
        )
    return dict(zip(stored.names[:_SLIDERS], stored.directions[:_SLIDERS], strict=True))
