"""The page of `explore`, by Gradio."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.explorer import Explorer

_HOST = "127.0.0.1"
_STRENGTH = 6.0
_OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def serve(explorer: Explorer, *, port: int, opens_browser: bool) -> None:
    """Serve the page on this machine until Ctrl-C.

    Raises:
        UserError: Gradio is missing, or the port is taken.
    """
    os.environ.update(_OFFLINE)
    with tempfile.TemporaryDirectory(prefix="pggan_jax_explore_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        gradio = _gradio()
        page = build_page(explorer, Path(folder))
        try:
            _, url, _ = page.launch(**launch_options(gradio, port), inbrowser=opens_browser, prevent_thread_lock=True)
        except OSError:
            raise UserError(f"--port={port}: is taken; give another one, such as --port={port + 1}") from None
        print(f"{explorer.model.name} at {url}; end with Ctrl-C", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def launch_options(gradio: Any, port: int) -> dict[str, Any]:
    """Return how the page is served: to this machine alone, with nothing from outside."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    quiet = {"quiet": True, "share": False, "footer_links": [], "ssr_mode": False, "pwa": False, "enable_monitoring": False}
    return {"server_name": _HOST, "server_port": port, "theme": gradio.themes.Default(**fonts), **quiet}


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"explore needs the package {error.name}; pip install -r requirements-optional.txt") from None
    return gradio


def build_page(explorer: Explorer, folder: Path) -> Any:
    """Return the page; what it saves goes to `folder` first."""
    gradio, model = _gradio(), explorer.model
    names = list(model.class_names) or [str(number) for number in range(model.label_size)]
    choices = [(name, number) for number, name in enumerate(names)] or [("none", 0)]

    def latent_of(seed: Any, other: Any, t: float, strengths: tuple[float, ...]) -> np.ndarray:
        try:
            latent = explorer.latent(seed, strengths)
            return explorer.between(latent, explorer.latent(other, strengths), t) if t else latent
        except UserError as error:
            raise gradio.Error(str(error)) from None

    def draw(seed: Any, number: int, other: Any, t: float, *strengths: float) -> tuple[np.ndarray, np.ndarray]:
        latent = latent_of(seed, other, t, strengths)
        return _shown(explorer.image(latent, number)), _shown(explorer.growth(latent, number))

    def save(seed: Any, number: int, other: Any, t: float, *strengths: float) -> list[str]:
        from pggan_jax.images import write_png

        latent = latent_of(seed, other, t, strengths)
        png, npy = folder / f"seed{int(seed)}.png", folder / f"seed{int(seed)}.npy"
        write_png(png, explorer.image(latent, number))
        np.save(npy, latent)
        return [str(png), str(npy)]

    with gradio.Blocks(title=f"explore {model.name}", analytics_enabled=False) as page:
        gradio.Markdown(f"## {model.name}\n{model.shape[0]}x{model.shape[1]} pixels, kimg {model.kimg:g}")
        with gradio.Row():
            with gradio.Column(scale=1):
                seed = gradio.Number(0, label="seed", precision=0, minimum=0, elem_id="seed")
                number = gradio.Dropdown(choices, value=0, label="class", visible=model.label_size > 0, elem_id="class")
                other = gradio.Number(1, label="walk to seed", precision=0, minimum=0, elem_id="other")
                t = gradio.Slider(0, 1, 0, step=0.01, label="how far to walk", elem_id="walk")
                sliders = [
                    gradio.Slider(-_STRENGTH, _STRENGTH, 0, step=0.1, label=name, elem_id=f"direction{index}")
                    for index, name in enumerate(explorer.directions)
                ]
                button = gradio.Button("save image and latent", elem_id="save")
                files = gradio.File(label="saved", file_count="multiple", interactive=False)
            with gradio.Column(scale=2):
                image = gradio.Image(label="image", format="png", interactive=False, elem_id="image", height=512)
                growth = gradio.Image(label="levels of the growth", format="png", interactive=False, elem_id="growth")
        controls = [seed, number, other, t, *sliders]
        for control in controls:
            control.change(draw, controls, [image, growth], show_progress="hidden", api_name=False)
        page.load(draw, controls, [image, growth], api_name="draw")
        button.click(save, controls, files, api_name=False)
    return page


def _shown(image: np.ndarray) -> np.ndarray:
    """Enlarge an image to about 512 pixels, in RGB."""
    from pggan_jax.images import nearest_upscale

    factor = max(1, 512 // max(image.shape[:2]))
    enlarged = nearest_upscale(image[None], factor)[0]
    return enlarged if enlarged.shape[-1] == 3 else np.repeat(enlarged[..., :1], 3, axis=-1)
