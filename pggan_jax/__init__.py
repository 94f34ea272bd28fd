"""Progressive Growing of GANs in JAX and Flax (Karras et al., ICLR 2018, arXiv 1710.10196).

    import pggan_jax as pg
    model = pg.load("runs/digits")
    images = model.sample(seeds=range(8), labels=3)

The names below are imported when they are first used, so that `import pggan_jax` takes no time and loads no JAX; docs/api.md
describes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pggan_jax.api.evaluation import evaluate as evaluate
    from pggan_jax.api.training import read_config as read_config
    from pggan_jax.api.training import train as train
    from pggan_jax.checkpointing.open_model import load as load
    from pggan_jax.config import Config as Config
    from pggan_jax.errors import UserError as UserError
    from pggan_jax.generation.model import Model as Model
    from pggan_jax.generation.walks import slerp as slerp
    from pggan_jax.images import make_grid as grid
    from pggan_jax.images import write_png as write_png

_PLACES = {
    "Config": ("config", "Config"),
    "Model": ("generation.model", "Model"),
    "UserError": ("errors", "UserError"),
    "evaluate": ("api.evaluation", "evaluate"),
    "grid": ("images", "make_grid"),
    "load": ("checkpointing.open_model", "load"),
    "read_config": ("api.training", "read_config"),
    "slerp": ("generation.walks", "slerp"),
    "train": ("api.training", "train"),
    "write_png": ("images", "write_png"),
}
"""Public name to its module and its name there."""
__all__ = ["Config", "Model", "UserError", "evaluate", "grid", "load", "read_config", "slerp", "train", "write_png"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _PLACES[name]
    value = getattr(import_module(f"{__name__}.{module}"), own_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
