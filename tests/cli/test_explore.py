"""launch.py explore: what is refused before it serves; the page itself, in headless Chromium, is a slow test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.cli.explore_guard import clean_environment, is_allowed
from pggan_jax.images import nearest_upscale
from tests.helpers.command_line import free_port, one_line_error
from tests.helpers.runs import finished_labelled_run, run_small, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")
ROOT = Path(__file__).parents[2]
# Every address that the process connects to, or looks up.
WATCHED = """
import runpy, sys
connected = sys.argv.pop(1)
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(connected, "a") as file:
            print(repr(arguments[1] if event == "socket.connect" else arguments[0]), file=file)
sys.addaudithook(note)
sys.argv[0] = "launch.py"
runpy.run_path("launch.py", run_name="__main__")
"""
IMAGE = "document.querySelector('#{} img')?.src"


class TestRefusals:
    @pytest.fixture(autouse=True)
    def not_served(self, monkeypatch):
        """Nothing is served, and Gradio is not needed."""
        monkeypatch.setattr("pggan_jax.cli.explore_page.require_gradio", lambda: None)
        monkeypatch.setattr("pggan_jax.cli.explore_page._require_installed", lambda: None)
        monkeypatch.setattr("pggan_jax.cli.explore_page.build_page", lambda *_: pytest.fail("served"))

    def test_directions_of_another_model(self, launch, finished, tmp_path):
        from pggan_jax.generation.editing.direction_files import Directions, save_directions

        fields = {"names": ("a",), "method": "sefa", "source": {}, "image_change": np.ones(1), "values": np.ones(1)}
        save_directions(tmp_path / "wide.npz", Directions(np.eye(1, 9), **fields))
        error = one_line_error(launch("explore", f"--from={finished}", f"--directions={tmp_path}/wide.npz"))
        assert "is for latents of 9 numbers" in error
        assert "takes 8; make a file by `directions --from=" in error

    def test_no_such_directions(self, launch, finished, tmp_path):
        error = one_line_error(launch("explore", f"--from={finished}", f"--directions={tmp_path}/none.npz"))
        assert "none.npz: no such file" in error

    @pytest.mark.parametrize("port", ["80", "70000", "x"])
    def test_impossible_ports(self, launch, finished, port):
        assert "--port" in one_line_error(launch("explore", f"--from={finished}", f"--port={port}"))

    def test_sound(self, launch, sound_run):
        assert "makes sound" in one_line_error(launch("explore", f"--from={sound_run}"))

    def test_a_port_that_is_taken(self, launch, finished):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            error = one_line_error(launch("explore", f"--from={finished}", f"--port={port}"))
        assert f"--port={port}: is taken; give another one, such as --port=" in error


def test_gradio_is_missing(launch, finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    error = one_line_error(launch("explore", f"--from={finished}"))
    assert "explore needs the package gradio; pip install -r requirements-optional.txt" in error


def test_environment_is_clean_and_comes_back(monkeypatch, tmp_path):
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "HTTPS_PROXY", "all_proxy", "HF_HUB_OFFLINE", "OTHER"):
        monkeypatch.setenv(name, "x")
    former = dict(os.environ)
    with clean_environment(tmp_path):
        assert os.environ["OTHER"] == "x"
        assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        assert not {"GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "HTTPS_PROXY", "all_proxy"} & set(os.environ)
    assert dict(os.environ) == former


@pytest.mark.parametrize(
    ("path", "headers", "allowed"),
    [
        ("/", {"host": "127.0.0.1:7860"}, True),
        ("/", {"host": "localhost:7860", "origin": "http://localhost:7860"}, True),
        ("/", {"host": "attacker.example:7860"}, False),
        ("/", {"host": ""}, False),
        ("/", {}, False),
        ("/", {"host": "[bad"}, False),
        ("/gradio_api/queue/join", {"host": "127.0.0.1:7860", "origin": "http://attacker.example"}, False),
        ("/gradio_api/queue/join", {"host": "127.0.0.1:7860", "origin": "null"}, False),
        ("/gradio_api/queue/join", {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8000"}, False),
        ("/gradio_api/file=https://attacker.example/a.png", {"host": "127.0.0.1:7860"}, False),
        ("/gradio_api/FILE=HTTP://attacker.example/a.png", {"host": "127.0.0.1:7860"}, False),
        ("/gradio_api/proxy=https://attacker.example", {"host": "127.0.0.1:7860"}, False),
        ("/gradio_api/upload", {"host": "127.0.0.1:7860"}, False),
        ("/gradio_api/file=/tmp/page/image.png", {"host": "127.0.0.1:7860"}, True),
    ],
)
def test_which_requests_are_answered(path, headers, allowed):
    """Those of the page itself: no name of another site, none that fetches from elsewhere or takes files."""
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_allowed({"type": "http", "path": path, "headers": lines}) is allowed


@contextmanager
def served(source, connected):
    """Serve the page in a process, in an environment that would open Gradio to others; give its address."""
    port = free_port()
    words = [sys.executable, "-c", WATCHED, str(connected), "explore", f"--from={source}", f"--port={port}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    hostile = {"GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ALLOWED_PATHS": "/"}
    hostile |= {"GRADIO_ANALYTICS_ENABLED": "True", "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    with subprocess.Popen(words, cwd=ROOT, env={**os.environ, **hostile}, **pipes) as process:
        try:
            line = process.stdout.readline()
            assert f"http://127.0.0.1:{port}/ (Ctrl-C ends it)" in line, line + process.stdout.read()
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert (process.returncode, rest) == (0, "")
    known = ("'127.0.0.1'", "('127.0.0.1'", "'localhost'", "None")
    lines = connected.read_text().splitlines()
    assert lines
    assert [line for line in lines if not line.startswith(known)] == []


def fetched(url: str, **headers: str) -> bytes:
    with build_opener(ProxyHandler({})).open(Request(url, headers=headers), timeout=60) as answer:
        return answer.read()


def status_of(url: str, **headers: str) -> int:
    try:
        fetched(url, **headers)
    except HTTPError as error:
        return error.code
    return 200


class Shown:
    """The page as it is used.

    Args:
        page: open in a browser.
    """

    def __init__(self, page):
        self.page, self._last = page, None

    def image(self) -> np.ndarray:
        """The next image that differs from the one before."""
        last = self._last
        self._last = self.page.wait_for(IMAGE.format("image"), lambda value: value and value != last)
        with Image.open(BytesIO(fetched(self._last))) as image:
            return np.asarray(image)[..., :1]

    def level(self, index: int) -> np.ndarray:
        """The image of a lower level, as it is now."""
        with Image.open(BytesIO(fetched(self.page.value(IMAGE.format(f"level{index}"))))) as image:
            return np.asarray(image)[..., :1]


@pytest.fixture
def show(tmp_path):
    """Serve a run, and open its page."""
    pytest.importorskip("gradio", reason="needs Gradio (requirements-optional.txt)")
    from tests.helpers.devtools import opened

    @contextmanager
    def run(workdir):
        with served(workdir, tmp_path / "connected.txt") as url, opened(url, tmp_path) as page:
            yield Shown(page), url
            assert page.requests
            assert [one for one in page.requests if not one.startswith((url, "data:", "blob:"))] == []

    return run


@pytest.mark.slow
def test_seeds_and_what_is_saved(show, tmp_path_factory):
    """A seed changes the image and gives it again, a bad one is shown, other files and sites are refused."""
    workdir = finished_labelled_run(tmp_path_factory.getbasetemp())
    model = pg.load(workdir)
    with show(workdir) as (shown, url):
        page = shown.page

        def wanted(seed):
            return nearest_upscale(model.sample([seed], 0), 128)[0]

        assert np.array_equal(shown.image(), wanted(0))
        for seed in (5, 0):
            page.write("#seed input", str(seed))
            assert np.array_equal(shown.image(), wanted(seed))
        for text in ("-4", "1.5"):
            page.write("#seed input", text)
            page.wait_for("document.body.innerText", lambda found, text=text: f"seed {text}: must be a whole number" in found)
        page.write("#seed input", "5")
        assert np.array_equal(shown.image(), wanted(5))
        page.value("document.querySelector('#save').click()")
        links = page.wait_for("[...document.querySelectorAll('#saved a')].map(a => a.href)", lambda found: len(found) == 2)
        png, npz = sorted(links, key=lambda link: link.endswith(".npz"))
        assert png.endswith("/seed0000000005_class0.png")
        with Image.open(BytesIO(fetched(png))) as image:
            assert np.array_equal(np.asarray(image), model.sample([5], 0)[0, ..., 0])
        with np.load(BytesIO(fetched(npz)), allow_pickle=False) as arrays:
            assert np.array_equal(arrays["latent"], model.latents([5])[0])
            assert json.loads(str(arrays["controls"]))["network"] == "ema"
        page.choose("#class input", 3)
        assert np.array_equal(shown.image(), nearest_upscale(model.sample([5], 3), 128)[0])
        assert status_of(url) == 200
        assert status_of(url, Host="attacker.example") == 403
        assert status_of(url, Origin="http://attacker.example") == 403
        for private in ("etc/passwd", str(ROOT / "launch.py").lstrip("/")):
            assert status_of(f"{url}gradio_api/file=/{private}") in (403, 404)


@pytest.mark.slow
def test_levels_walks_and_directions(show, tmp_path):
    workdir = tmp_path / "run"
    run_small(workdir, small_config(schedule__stable_kimg=1.2, run__keep_levels=True, run__keep_last=1))
    model, lower = pg.load(workdir), pg.load(f"{workdir}@1.008")
    assert (model.resolution, lower.resolution) == (8, 4)
    with show(workdir) as (shown, _):
        page = shown.page
        assert np.array_equal(shown.image(), nearest_upscale(model.sample([0]), 64)[0])
        assert np.array_equal(shown.level(0), nearest_upscale(lower.sample([0]), 32)[0])
        page.write("#walk input[type=number]", "1")
        assert np.array_equal(shown.image(), nearest_upscale(model.sample([1]), 64)[0])
        page.write("#direction0 input[type=number]", "3")
        shown.image()
        page.value("document.querySelector('#still').click()")
        assert np.array_equal(shown.image(), nearest_upscale(model.sample([1]), 64)[0])
