"""Headless Chromium, for tests of pages; where it is not installed they are skipped, with its name as the reason."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
"""With which every test starts it."""
_DUMP = ("--virtual-time-budget=60000", "--dump-dom")


def chromium() -> str:
    """Path of the browser; skips the test without one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: one of {', '.join(NAMES)}")
    return found


def result_of(page: str, script: str, folder: Path) -> Any:
    """Open a page with a script added at its end; return what the script's `result()` returns, through JSON."""
    path = folder / "page.html"
    show = "document.body.textContent = 'RESULT' + JSON.stringify(result()) + 'END';"
    added = f"addEventListener('load', () => setTimeout(() => {{ {show} }}, 200));"
    path.write_text(page.replace("</body>", f"<script>{script}\n{added}</script></body>"), encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium(), *FLAGS, *_DUMP, profile, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = re.search("RESULT(.*)END", done.stdout, re.DOTALL)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1]))
