"""A page in headless Chromium that a test uses as a person does, by the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.browser import FLAGS, chromium

_PIPE = ("--hide-scrollbars", "--window-size=1280,1000", "--remote-debugging-pipe")
_SECONDS = 120.0


class Page:
    """An open page.

    Args:
        to_browser, from_browser: file descriptors of the pipes, which carry JSON that ends with a zero byte.

    Attributes:
        requests: addresses that the page has asked for.
    """

    def __init__(self, to_browser: int, from_browser: int):
        self._to_browser, self._from_browser = to_browser, from_browser
        self._unread, self._last, self._session = b"", 0, ""
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            readable, _, _ = select.select([self._from_browser], [], [], _SECONDS)
            part = os.read(self._from_browser, 2**16) if readable else b""
            assert part, "the browser does not answer"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str, is_right: Callable[[Any], Any] = bool) -> Any:
        """Wait until an expression has a value that is right, and return it."""
        until, value = time.monotonic() + _SECONDS, None
        while time.monotonic() < until:
            value = self.value(expression)
            if is_right(value):
                return value
            time.sleep(0.1)
        raise AssertionError(f"{expression}: still {value!r}")

    def write(self, selector: str, text: str) -> None:
        """Write a text into a field, as a person does."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.value(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)
        self.value("document.activeElement.blur()")

    def choose(self, selector: str, index: int) -> None:
        """Open a list of choices, and press the mouse on one of them."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        options = "[...document.querySelectorAll('[role=option]')]"
        self.wait_for(f"{options}.length", lambda count: count > index)
        self.value(f"{options}[{index}].dispatchEvent(new MouseEvent('mousedown', {{bubbles: true}}))")

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Page]:
    """Open a page.

    Args:
        url: address of it.
        folder: for the browser's files.
    """
    command = shlex.join([chromium(), *FLAGS, *_PIPE, f"--user-data-dir={folder / 'profile'}"])
    (for_browser, to_browser), (from_browser, by_browser) = os.pipe(), os.pipe()
    # The browser reads descriptor 3 and writes descriptor 4.
    words = ["bash", "-c", f"exec {command} 3<&{for_browser} 4>&{by_browser}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, pass_fds=(for_browser, by_browser), **quiet) as browser:
        os.close(for_browser)
        os.close(by_browser)
        try:
            page = Page(to_browser, from_browser)
            page.call("Page.navigate", url=url)
            yield page
        finally:
            browser.terminate()
            os.close(to_browser)
            os.close(from_browser)
