"""One HTML file that draws a model's samples, without a server or a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

from pggan_jax.generation.model import Model
from pggan_jax.generation.web.program import Program

_FOLDER = Path(__file__).parent
_QUICK = 50e6
"""Multiply-adds up to which a page begins with 16 images."""


def sample_page(model: Model, program: Program, *, title: str, facts: Mapping[str, str]) -> str:
    """Return the page.

    It has the weights, a small interpreter, and NumPy's generator of random numbers: a seed gives the image that `sample` makes
    of it, up to rounding.

    Args:
        model: whose generator draws.
        program: of that generator.
        title: of the page, and of the images that it saves.
        facts: what the page says of the model, such as its licence.
    """
    names = model.class_names or [str(number) for number in range(model.label_size)]
    described = {
        "name": title,
        "latentSize": model.latent_size,
        "labelSize": model.label_size,
        "presentClasses": list(model.present_classes),
        "firstCount": 16 if program.multiply_adds < _QUICK else 1,
        "operations": [{name: value for name, value in one.items() if name != "multiply_adds"} for one in program.operations],
        "weights": base64.b64encode(program.weights.astype("<f4").tobytes()).decode(),
    }
    classes = "".join(f'<option value="{number}">{html.escape(name)}</option>' for number, name in enumerate(names))
    rows = {**facts, "arithmetic": f"{program.multiply_adds / 1e6:,.1f} million multiply-adds per image"}
    return Template(_read("page.html")).substitute(
        title=html.escape(title),
        style=_read("page.css").strip(),
        hidden="" if model.label_size else " hidden",
        classes=classes,
        facts="\n".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in rows.items()),
        # A class name may hold `</script>`.
        model=json.dumps(described).replace("<", "\\u003c"),
        program=_read("page.js").strip(),
        controls=_read("ui.js").strip().removeprefix('"use strict";\n'),
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
