"""What keeps the page of `explore` to itself: a clean environment, its own requests alone."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_FOREIGN = ("GRADIO_", "HF_", "FORWARDED_", "UVICORN_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CLOSED = ("/upload", "/process_recording", "/proxy=", "file=http:", "file=https:", "/component_server")
"""Parts of addresses by which Gradio takes files, or fetches them from elsewhere; the page needs none of them."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@contextmanager
def clean_environment(folder: Path) -> Iterator[None]:
    """Tell Gradio to ask for nothing, and to keep its files in a folder.

    It reads the environment when it is imported. Proxies, and what the user has set for other pages by Gradio, such as other
    folders to serve, do not count here.
    """
    former = dict(os.environ)
    for name in former:
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES or name == "SYSTEM":
            del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= former


class Guard:
    """Middleware of ASGI that answers only a browser which shows the page itself.

    Other sites could otherwise have a browser ask for it, under their own name (DNS rebinding) or as an image.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]):
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and is_allowed(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"refused: not a request of this page"})


def is_allowed(scope: Message) -> bool:
    """Whether a request comes from the page, and asks for something of it."""
    headers = {bytes(name).lower().decode("latin-1"): bytes(value).decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get("host", ""), headers.get("origin")
    if _host_of(f"//{host}") not in _NAMES or (origin is not None and origin.partition("//")[2] != host):
        return False
    return not any(part in str(scope["path"]).lower() for part in _CLOSED)


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
