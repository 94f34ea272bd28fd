"""launch.py explore: what is refused before it serves; the page itself, in headless Chromium, is a slow test."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.images import nearest_upscale
from tests.helpers.command_line import one_line_error
from tests.helpers.runs import finished_labelled_run

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
IMAGE = "document.querySelector('#image img')?.src"


class TestRefusals:
    @pytest.fixture(autouse=True)
    def served(self, monkeypatch):
        """Nothing is served, and Gradio is not needed."""
        monkeypatch.setattr("pggan_jax.cli.explore_page.require_gradio", lambda: None)
        monkeypatch.setattr("pggan_jax.cli.explore_page.serve", lambda *_, **__: pytest.fail("served"))

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


def test_gradio_is_missing(launch, finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    error = one_line_error(launch("explore", f"--from={finished}"))
    assert "explore needs the package gradio; pip install -r requirements-optional.txt" in error


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def served(source, connected):
    """Serve the page in a process; give its address."""
    port = free_port()
    words = [sys.executable, "-c", WATCHED, str(connected), "explore", f"--from={source}", f"--port={port}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as process:
        try:
            line = process.stdout.readline()
            assert f"http://127.0.0.1:{port}/ (Ctrl-C ends it)" in line, line + process.stdout.read()
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


def fetched(url: str) -> bytes:
    with build_opener(ProxyHandler({})).open(url, timeout=60) as answer:
        return answer.read()


@pytest.mark.slow
def test_the_page(tmp_path, tmp_path_factory):
    """A seed changes the image and gives it again; a bad value is shown; what is saved is right; nothing goes elsewhere."""
    pytest.importorskip("gradio", reason="needs Gradio (requirements-optional.txt)")
    from tests.helpers.devtools import opened

    workdir = finished_labelled_run(tmp_path_factory.getbasetemp())
    model, connected = pg.load(workdir), tmp_path / "connected.txt"
    with served(workdir, connected) as url, opened(url, tmp_path) as page:

        def drawn(other_than=None):
            source = page.wait_for(IMAGE, lambda value: value and value != other_than)
            with Image.open(BytesIO(fetched(source))) as image:
                return source, np.asarray(image)

        def expected(seed, number):
            return nearest_upscale(model.sample([seed], number), 128)[0].repeat(3, axis=-1)

        first, image = drawn()
        assert np.array_equal(image, expected(0, 0))
        page.write("#seed input", "5")
        second, image = drawn(other_than=first)
        assert np.array_equal(image, expected(5, 0))
        page.write("#seed input", "0")
        third, _ = drawn(other_than=second)
        assert third == first

        page.write("#seed input", "-4")
        page.wait_for("document.body.innerText", lambda text: "seed -4: must be a whole number from 0 to 4294967295" in text)
        page.write("#seed input", "5")
        drawn(other_than=first)
        page.value("document.querySelector('#save').click()")
        links = page.wait_for("[...document.querySelectorAll('#saved a')].map(a => a.href)", lambda found: len(found) == 2)
        png, npz = sorted(links, key=lambda link: link.endswith(".npz"))
        with Image.open(BytesIO(fetched(png))) as image:
            assert np.array_equal(np.asarray(image), model.sample([5], 0)[0, ..., 0])
        with np.load(BytesIO(fetched(npz)), allow_pickle=False) as arrays:
            assert np.array_equal(arrays["latent"], model.latents([5])[0])
            assert json.loads(str(arrays["controls"]))["seed"] == 5

        for private in ("etc/passwd", str(ROOT / "launch.py")):
            with pytest.raises(HTTPError) as refused:
                fetched(f"{url}gradio_api/file=/{private.lstrip('/')}")
            assert refused.value.code in (403, 404)
        assert page.requests
        assert [one for one in page.requests if not one.startswith((url, "data:", "blob:"))] == []
    known = ("'127.0.0.1'", "('127.0.0.1'", "'localhost'", "None")
    lines = connected.read_text().splitlines()
    assert lines
    assert [line for line in lines if not line.startswith(known)] == []
