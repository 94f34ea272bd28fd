"""Progressive Growing of GANs in JAX and Flax (Karras et al., ICLR 2018, arXiv 1710.10196).

    import pggan_jax as pg
    model = pg.load("runs/digits")
    images = model.sample(seeds=range(8), labels=3)

The names below are imported when they are first used, so that `import pggan_jax` takes no time and loads no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pggan_jax.checkpointing.open_model import load as load
    from pggan_jax.errors import UserError as UserError
    from pggan_jax.generation.model import Model as Model

_MODULES = {
    "Model": "generation.model",
    "UserError": "errors",
    "load": "checkpointing.open_model",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
