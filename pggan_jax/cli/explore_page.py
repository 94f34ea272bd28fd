"""The page of `explore`, by Gradio."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.images import as_pillow, nearest_upscale, write_png

if TYPE_CHECKING:
    from pggan_jax.generation.explorer import Explorer

HOST = "127.0.0.1"
_OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": f"{HOST},localhost",
    "no_proxy": f"{HOST},localhost",
}
"""Gradio reads these when it is imported; it asks its own page whether it is there, which no proxy can answer."""
_SHOWN_PIXELS, _LEVEL_PIXELS = 512, 128


def require_gradio() -> Any:
    """Import Gradio, told to ask for nothing outside.

    Raises:
        UserError: it is not installed.
    """
    os.environ.update(_OFFLINE)
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"explore needs the package {error.name}; pip install -r requirements-optional.txt") from None
    return gradio


def serve(explorer: Explorer, *, port: int, opens_browser: bool) -> None:
    """Serve the page on this machine until Ctrl-C.

    Args:
        explorer: what it draws with.
        port: on 127.0.0.1.
        opens_browser: whether to open it in a browser, too.

    Raises:
        UserError: Gradio is missing, or the port is taken.
    """
    gradio = require_gradio()
    with tempfile.TemporaryDirectory(prefix="pggan_jax_explore_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(explorer, Path(folder))
        options = {"inbrowser": opens_browser, "prevent_thread_lock": True, **_launch_options(gradio)}
        try:
            _, url, _ = page.launch(server_name=HOST, server_port=port, **options)
        except OSError:
            raise UserError(f"--port={port}: is taken; give another one, such as --port={port % 65535 + 1}") from None
        print(f"{explorer.model.name} at {url} (Ctrl-C ends it)", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def _launch_options(gradio: Any) -> dict[str, Any]:
    """Return how the page is served: with nothing from outside."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    off = dict.fromkeys(("share", "ssr_mode", "pwa", "enable_monitoring", "mcp_server", "run_history"), False)
    return {"theme": gradio.themes.Default(**fonts), "quiet": True, "footer_links": [], **off}


def build_page(explorer: Explorer, folder: Path) -> Any:
    """Return the page.

    Args:
        explorer: what it draws with.
        folder: for what is saved, until the browser has fetched it.
    """
    gradio, model = require_gradio(), explorer.model
    draw, save = _functions(gradio, explorer, folder)
    names = list(model.class_names) or [str(number) for number in range(model.label_size)]
    with gradio.Blocks(title=f"explore {model.name}", analytics_enabled=False) as page:
        gradio.Markdown(f"## {model.name}\n{_about(explorer)}")
        with gradio.Row():
            with gradio.Column(scale=1):
                with gradio.Row():
                    seed = gradio.Number(0, label="seed", precision=0, elem_id="seed", min_width=100)
                    random = gradio.Button("random seed", elem_id="random", min_width=100)
                number = gradio.Dropdown(
                    [(name, index) for index, name in enumerate(names)] or [("none", 0)],
                    value=next(iter(model.present_classes), 0),
                    label="class",
                    visible=model.label_size > 0,
                    elem_id="class",
                )
                other = gradio.Number(1, label="walk to seed", precision=0, elem_id="other")
                share = gradio.Slider(0, 1, 0, step=0.01, label="share of the walk", elem_id="walk")
                with gradio.Row():
                    sliders = _sliders(gradio, explorer)
                still = gradio.Button("all directions to 0", elem_id="still")
            with gradio.Column(scale=2):
                picture = {"format": "png", "interactive": False, "buttons": ["fullscreen"]}
                image = gradio.Image(label=_label(model), height=_SHOWN_PIXELS + 40, elem_id="image", **picture)
                with gradio.Row(visible=len(explorer.levels) > 1):
                    lower = [
                        gradio.Image(
                            label=_label(level), height=_LEVEL_PIXELS + 60, min_width=100, elem_id=f"level{index}", **picture
                        )
                        for index, level in enumerate(explorer.levels[:-1])
                    ]
                button = gradio.Button("save image and latent", elem_id="save")
                files = gradio.File(label="saved", file_count="multiple", interactive=False, elem_id="saved")
        controls = [seed, number, other, share, *sliders]
        moves = [page.load, *(control.change for control in controls)]
        gradio.on(moves, draw, controls, [*lower, image], show_progress="hidden", trigger_mode="always_last", api_name="draw")
        button.click(save, controls, files, api_name="save")
        random.click(lambda: secrets.randbelow(2**32), None, seed, api_visibility="private")
        still.click(lambda: [0.0] * len(sliders), None, sliders, api_visibility="private")
    return page


def _sliders(gradio: Any, explorer: Explorer) -> list[Any]:
    """Return a slider for each direction."""
    from pggan_jax.generation.explorer import LARGEST_STRENGTH

    return [
        gradio.Slider(-LARGEST_STRENGTH, LARGEST_STRENGTH, 0, step=0.1, label=name, min_width=150, elem_id=f"direction{index}")
        for index, name in enumerate(explorer.directions)
    ]


def _functions(gradio: Any, explorer: Explorer, folder: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the functions that draw and save what the controls say; a bad value is shown on the page."""
    from pggan_jax.generation.explorer import Point

    def point_of(seed: Any, number: Any, other: Any, share: Any, *strengths: float) -> Point:
        return Point(seed, number, other, share, strengths)

    def draw(*controls: Any) -> Any:
        try:
            images = explorer.images(point_of(*controls))
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from None
        sizes = [_LEVEL_PIXELS] * (len(images) - 1) + [_SHOWN_PIXELS]
        shown = [_shown(image, pixels) for image, pixels in zip(images, sizes, strict=True)]
        return shown if len(shown) > 1 else shown[0]  # Gradio takes a list for one component as its value

    def save(*controls: Any) -> list[str]:
        try:
            arrays = explorer.arrays(point_of(*controls))
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from None
        name = f"seed{int(controls[0]):010d}"
        place = Path(tempfile.mkdtemp(dir=folder))
        write_png(place / f"{name}.png", arrays["image"])
        with (place / f"{name}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return [str(place / f"{name}.png"), str(place / f"{name}.npz")]

    return draw, save


def _about(explorer: Explorer) -> str:
    """Say what the model is, and why there may be no other levels."""
    model = explorer.model
    kept = "" if len(explorer.levels) > 1 else "; of one resolution alone, so without its growth"
    return f"{model.shape[0]}x{model.shape[1]} pixels, {model.kimg:g} kimg{kept}"


def _label(level: Any) -> str:
    return f"{level.shape[0]}x{level.shape[1]}, {level.kimg:g} kimg"


def _shown(image: np.ndarray, pixels: int) -> np.ndarray:
    """Enlarge a small image by a whole factor to about so many pixels, in RGB."""
    enlarged = nearest_upscale(image[None], max(1, pixels // max(image.shape[:2])))[0]
    return np.asarray(as_pillow(enlarged).convert("RGB"))
