"""The page of `explore`, by Gradio."""

from __future__ import annotations

import secrets
import signal
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pggan_jax.cli.explore_guard import HOST, Guard, clean_environment
from pggan_jax.errors import UserError, first_line
from pggan_jax.images import as_pillow, nearest_upscale, write_png

if TYPE_CHECKING:
    from pggan_jax.generation.explorer import Explorer, Point

_SHOWN_PIXELS, _LEVEL_PIXELS = 512, 128
_CACHE = 60, 600
"""Seconds between two looks for old files, and until they are old."""


def require_gradio() -> Any:
    """Import Gradio, which takes seconds.

    Raises:
        UserError: it is not installed.
    """
    _require_installed()
    import gradio

    return gradio


def _require_installed() -> None:
    if find_spec("gradio") is None:
        raise UserError("explore needs the package gradio; pip install -r requirements-optional.txt")


def serve(make_explorer: Callable[[], Explorer], *, port: int, opens_browser: bool) -> None:
    """Serve the page on this machine until Ctrl-C.

    Args:
        make_explorer: gives what it draws with.
        port: on 127.0.0.1.
        opens_browser: whether to open it in a browser, too.

    Raises:
        UserError: Gradio is missing, the port is taken, or Gradio cannot serve.
    """
    with tempfile.TemporaryDirectory(prefix="pggan_jax_explore_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _require_installed()
        _require_port(port)
        explorer = make_explorer()
        with clean_environment(folder):
            gradio = require_gradio()
            page = build_page(explorer, folder)
            try:
                _, url, _ = page.launch(server_name=HOST, server_port=port, **_launch_options(gradio))
            except Exception as error:
                raise UserError(f"--port={port}: Gradio cannot serve the page ({first_line(error)})") from error
        print(f"{explorer.model.name} at {url} (Ctrl-C ends it)", flush=True)
        if opens_browser:
            webbrowser.open(url)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(1)
        finally:
            page.close(verbose=False)


def _require_port(port: int) -> None:
    """Raise `UserError` if a port is taken."""
    with closing(socket.socket()) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            other = port + 1 if port < 65535 else 7860
            raise UserError(f"--port={port}: is taken; give another one, such as --port={other}") from None


def _launch_options(gradio: Any) -> dict[str, Any]:
    """Return how the page is served: with nothing from outside."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    off = ("inbrowser", "share", "ssr_mode", "pwa", "enable_monitoring", "mcp_server", "run_history", "debug")
    return {
        "theme": gradio.themes.Default(**fonts),
        "app_kwargs": {"middleware": [_middleware()]},
        "prevent_thread_lock": True,
        "quiet": True,
        "footer_links": [],
        "root_path": "",
        **dict.fromkeys(off, False),
    }


def _middleware() -> Any:
    from starlette.middleware import Middleware

    return Middleware(Guard)


def build_page(explorer: Explorer, folder: Path) -> Any:
    """Return the page.

    Args:
        explorer: what it draws with.
        folder: for what is saved, until the browser has fetched it.
    """
    gradio, model = require_gradio(), explorer.model
    draw, save = _functions(gradio, explorer, folder)
    names = list(model.class_names) or [str(number) for number in range(model.label_size)]
    with gradio.Blocks(title=f"explore {model.name}", analytics_enabled=False, delete_cache=_CACHE) as page:
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
                button = gradio.Button("save image and latent", elem_id="save")
                files = gradio.File(label="saved", file_count="multiple", interactive=False, elem_id="saved", height=120)
            with gradio.Column(scale=2):
                shown = {"format": "png", "interactive": False, "buttons": ["fullscreen"]}
                image = gradio.Image(label=_label(model), height=_SHOWN_PIXELS + 40, elem_id="image", **shown)
                with gradio.Row(visible=len(explorer.levels) > 1):
                    lower = [
                        gradio.Image(
                            label=_label(level), height=_LEVEL_PIXELS + 60, min_width=100, elem_id=f"level{index}", **shown
                        )
                        for index, level in enumerate(explorer.levels[:-1])
                    ]
        controls = [seed, number, other, share, *sliders]
        moves = [page.load, *(control.change for control in controls)]
        # `Point` checks the values as they come: Gradio would print a traceback, or round them.
        raw = {"preprocess": False, "show_progress": "hidden"}
        gradio.on(moves, draw, controls, [*lower, image], trigger_mode="always_last", api_name="draw", **raw)
        button.click(save, controls, files, api_name="save", **raw)
        random.click(lambda: secrets.randbelow(2**32), None, seed, api_visibility="private")
        still.click(lambda: _several([0.0] * len(sliders)), None, sliders, api_visibility="private")
    return page


def _sliders(gradio: Any, explorer: Explorer) -> list[Any]:
    """Return a slider for each direction."""
    from pggan_jax.generation.explorer import LARGEST_STRENGTH

    return [
        gradio.Slider(-LARGEST_STRENGTH, LARGEST_STRENGTH, 0, step=0.1, label=name, min_width=150, elem_id=f"direction{index}")
        for index, name in enumerate(explorer.directions)
    ]


def _functions(gradio: Any, explorer: Explorer, folder: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the functions that draw and save; what is wrong is shown on the page."""
    from pggan_jax.generation.explorer import Point

    one_at_a_time = threading.Lock()

    def on_page(act: Callable[[Point], list[Any]]) -> Callable[..., Any]:
        def function(seed: Any, number: Any, other: Any, share: Any, *strengths: Any) -> Any:
            try:
                with one_at_a_time:
                    return _several(act(Point(seed, number, other, share, strengths)))
            except UserError as error:
                raise gradio.Error(str(error), print_exception=False) from None
            except OSError as error:
                raise gradio.Error(f"cannot be saved: {error.strerror or error}", print_exception=False) from None

        return function

    def draw(point: Point) -> list[np.ndarray]:
        images = explorer.images(point)
        sizes = [_LEVEL_PIXELS] * (len(images) - 1) + [_SHOWN_PIXELS]
        return [_enlarged(image, pixels) for image, pixels in zip(images, sizes, strict=True)]

    def save(point: Point) -> list[list[str]]:
        arrays = explorer.arrays(point)
        place = Path(tempfile.mkdtemp(dir=folder)) / _file_name(point, has_class=explorer.model.label_size > 0)
        png, npz = (place.with_name(f"{place.name}.{suffix}") for suffix in ("png", "npz"))
        write_png(png, arrays["image"])
        np.savez(npz, allow_pickle=False, **arrays)
        return [[str(png), str(npz)]]

    return on_page(draw), on_page(save)


def _file_name(point: Point, *, has_class: bool) -> str:
    """Name what is saved of a point, such as seed0000000003_class2_walk-0.25-to-7_moved."""
    parts = [f"seed{int(point.seed):010d}"]
    parts += [f"class{point.number}"] * has_class
    parts += [f"walk-{point.share:g}-to-{int(point.other)}"] * (point.share > 0)
    return "_".join([*parts, *["moved"] * any(point.strengths)])


def _several(values: list[Any]) -> Any:
    """Return the values of components; Gradio takes a list for one component as its value."""
    return values if len(values) > 1 else values[0]


def _about(explorer: Explorer) -> str:
    """Say what the model is."""
    from pggan_jax.checkpointing.open_model import is_model_file

    model = explorer.model
    is_alone = len(explorer.levels) == 1 and not is_model_file(model.name)
    kept = "; no checkpoint of a lower resolution (run.keep_levels keeps them)" * is_alone
    return f"{model.shape[0]}x{model.shape[1]} pixels, {model.kimg:g} kimg{kept}"


def _label(level: Any) -> str:
    return f"{level.shape[0]}x{level.shape[1]}, {level.kimg:g} kimg"


def _enlarged(image: np.ndarray, pixels: int) -> np.ndarray:
    """Enlarge a small image by a whole factor to about so many pixels, in RGB."""
    enlarged = nearest_upscale(image[None], max(1, pixels // max(image.shape[:2])))[0]
    return np.asarray(as_pillow(enlarged).convert("RGB"))
