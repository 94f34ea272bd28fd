"""MODEL.md: what an exported model is, how good it is, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pggan_jax.config import Config


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        name: of the model.
        config: its settings.
        shape: (height, width, channels) of its images.
        latent_size: length of a latent.
        classes: names or numbers of the classes; empty without labels.
        kimg: thousands of real images shown to the discriminator; 0 if it is not known.
        alpha: weight of the newest layers.
        data: what it was trained on.
        licence: of the weights.
        metrics: lines of metric-NAME.jsonl about this checkpoint, each with values and their floors.
        picture: name of the file with samples.
        notes: more lines.
    """

    name: str
    config: Config
    shape: tuple[int, int, int]
    latent_size: int
    classes: Sequence[str]
    kimg: float
    alpha: float
    data: str
    licence: str
    metrics: Sequence[Mapping[str, Any]]
    picture: str
    notes: Sequence[str] = ()


def model_card(facts: CardFacts, loading: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        facts: about the model.
        loading: names of files, with a program in Python that draws images from each.
    """
    height, width, channels = facts.shape
    rows = {
        "images": f"{height}x{width} pixels, {channels} channel{'s' * (channels > 1)}",
        "data": facts.data,
        "classes": ", ".join(facts.classes) or "none",
        "shown to the discriminator": f"{facts.kimg:,.0f} thousand images" if facts.kimg else "not recorded",
        "newest layers": "at full weight" if facts.alpha >= 1 else f"in mid-fade, weight {facts.alpha:.3g}",
        "latents": f"{facts.latent_size} normal numbers",
        "networks": _networks(facts.config),
        "loss": facts.config.loss.name,
        "licence": facts.licence or "not stated",
    }
    parts = [f"# {facts.name}", f"![samples of seeds 0 to 15]({facts.picture})", _table(("", ""), rows.items())]
    if facts.metrics:
        parts += ["## Quality", _table(("metric", "value", "reals against other reals"), _metric_rows(facts.metrics))]
    else:
        parts += ["## Quality", "Not measured. `launch.py evaluate` measures it."]
    parts += ["## How to load it"]
    for name, program in loading.items():
        parts += [f"`{name}`:", f"```python\n{program.strip()}\n```"]
    if facts.notes:
        parts += ["## Notes", "\n".join(f"* {note}" for note in facts.notes)]
    return "\n\n".join(parts) + "\n"


def _networks(config: Config) -> str:
    generator = config.generator
    return f"{config.networks.name}, fmap_base {generator.fmap_base}, fmap_max {generator.fmap_max}"


def _metric_rows(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    rows = []
    for record in metrics:
        floor = record.get("floor") or {}
        for name, value in record["values"].items():
            label = f"{record.get('label') or record.get('metric')}, {name}"
            rows.append((label, _number(value), _number(floor[name]) if name in floor else ""))
    return rows


def _number(value: Any) -> str:
    """Format a value of a record, which is None where it was not finite."""
    return f"{value:.4g}" if isinstance(value, int | float) else "not finite"


def _table(heading: Sequence[str], rows: Any) -> str:
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)])
