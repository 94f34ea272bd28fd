"""Results as a table in Markdown, with what the numbers allow to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.paper.study.noise import Difference, Mean, best
from experiments.paper.study.results import values_of

QUICK = "**Made with `--quick`: a test of the program, not a result.**"


def table(results: Mapping[str, Any], remarks: Sequence[str] = ()) -> str:
    """Return the table, the machine, and a line about each difference from the first variant.

    Args:
        results: as `results.collect` returns them.
        remarks: more lines.
    """
    columns, variants = results["columns"], results["variants"]
    head = ["variant", *columns.values(), "kimg", "minutes"]
    lines = [QUICK, ""] if results["quick"] else []
    lines += [results["question"], "", _row(head), "|" + "---|" * len(head)]
    winners = {name: _winner(results, name) for name in columns}
    for variant in variants:
        cells = [_cell(variant, name, is_best=winners[name] == variant["name"]) for name in columns]
        lines.append(_row([_named(variant, seeds=len(results["seeds"])), *cells, *_cost(variant)]))
    if results["floor"]:
        cells = [f"{results['floor'][name]:.4g}" if name in results["floor"] else "" for name in columns]
        lines.append(_row(["*reals against other reals*", *cells, "", ""]))
    lines += ["", conditions(results), *verdicts(results)]
    lines += [f"* `{name}` was left out: it {reason}." for name, reason in results["left_out"].items()]
    if remarks:
        lines += ["", *(f"* {remark}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _named(variant: Mapping[str, Any], *, seeds: int) -> str:
    complete = sum("values" in run for run in variant["runs"])
    count = "" if complete == seeds else f" ({complete} of {seeds} seeds)"
    return f"`{variant['name']}` {variant['about']}{count}"


def _winner(results: Mapping[str, Any], name: str) -> str:
    """Name the best of the variants that are compared; other images have other distances."""
    if name in results["neutral"]:
        return ""
    pairs = [{one["name"], one["against"]} for one in results["variants"]]
    compared = set().union(*(pair for pair in pairs if len(pair) > 1))
    values = {one["name"]: values_of(one, name) for one in results["variants"] if one["name"] in compared}
    return best(values, larger=name in results["larger"])


def _cell(variant: Mapping[str, Any], name: str, *, is_best: bool) -> str:
    values = values_of(variant, name)
    if not values:
        return "-"
    return f"**{Mean.of(values)}**" if is_best else str(Mean.of(values))


def _cost(variant: Mapping[str, Any]) -> tuple[str, str]:
    complete = [run for run in variant["runs"] if "values" in run]
    if not complete:
        return f"{variant['kimg']:g}", "-"
    kimg, minutes = Mean.of([run["kimg"] for run in complete]), Mean.of([run["seconds"] / 60 for run in complete])
    return f"{kimg.value:.4g}", f"{minutes.value:.3g}"


def conditions(results: Mapping[str, Any]) -> str:
    """Describe in one paragraph how the numbers were made."""
    machine, seeds = results["machine"], len(results["seeds"])
    where = machine["devices"] or f"{machine['cores']} cores"
    scale = "" if results["scale"] == 1 else f" All lengths of the schedule were multiplied by {results['scale']:g}."
    together = "" if results["jobs"] == 1 else f" {results['jobs']} runs shared the machine, so minutes are longer than alone."
    counts = f"{results['num_fakes']:,} samples of the moving average against {results['num_reals']:,} reals"
    return (
        f"Mean ± standard error over {seeds} seed{'s' * (seeds > 1)}; bold: better than each other variant by Welch's 95 % "
        f"interval. {counts}. Minutes of training, without compilation and evaluation, on {where} ({machine['processor']})."
        f"{scale}{together}"
    )


def verdicts(results: Mapping[str, Any]) -> list[str]:
    """Say whether each variant differs from the first one beyond the noise."""
    variants = {variant["name"]: variant for variant in results["variants"]}
    name = results["headline"]
    larger = name in results["larger"]
    heading = results["columns"].get(name, name)
    lines = []
    for variant in variants.values():
        against = variant["against"]
        values, reference = values_of(variant, name), values_of(variants.get(against, {"runs": []}), name)
        if against == variant["name"] or not values or not reference:
            continue
        difference = Difference.of(values, reference)
        if min(len(values), len(reference)) < 2:
            verdict = "one seed says nothing about the noise"
        elif not difference.is_clear:
            verdict = "inside the noise"
        elif name in results["neutral"]:
            verdict = "different"
        else:
            verdict = "better" if (difference.value > 0) == larger else "worse"
        lines.append(f"* `{variant['name']}` against `{against}`, {heading}: {difference}: {verdict}.")
    if not lines:
        return []
    return ["", "Differences with 95 % intervals; of twenty without any effect, one looks clear by chance:", "", *lines]
