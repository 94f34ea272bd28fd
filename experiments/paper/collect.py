"""Put the results of finished studies into the repository and into docs/experiments.md.

    python experiments/paper/collect.py runs/paper            # every folder below runs/paper that has a results.json
    python experiments/paper/collect.py runs/paper/ablation   # one of them

Copies results.json to experiments/results/paper/NAME.json, and figure.svg and contact_sheet.png beside it; NAME is that of the
folder. In docs/experiments.md, what stands between `<!-- results NAME -->` and `<!-- end -->` becomes the table, with links to
these files. Results of --quick are refused.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pggan_jax.errors import UserError, one_line
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import parse_json

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "experiments.md"
RESULTS = ROOT / "experiments" / "results" / "paper"
_FILES = {"figure.svg": ".svg", "contact_sheet.png": ".png"}


def folders_below(path: Path) -> list[Path]:
    """Return the folders of studies in a folder, or the folder itself.

    Raises:
        UserError: there is none.
    """
    found = [path] if (path / "results.json").is_file() else sorted(one.parent for one in path.glob("*/results.json"))
    if not found:
        raise UserError(f"{path}: holds no results.json, nor does a folder in it; give the --out of a study")
    return found


def read_results(folder: Path) -> dict[str, Any]:
    """Read results.json.

    Raises:
        UserError: it is no result, or one of --quick.
    """
    try:
        results = parse_json((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/results.json: cannot be read ({error}); run the study again") from None
    if not isinstance(results, dict) or "variants" not in results:
        raise UserError(f"{folder}/results.json: is no result of a study; give the --out of one")
    if results["quick"]:
        raise UserError(f"{folder}: was made with --quick, which is no result; run the study without it")
    return results


def section(name: str, table: str, results: dict[str, Any]) -> str:
    """Return what the page shows of a study."""
    base = f"../experiments/results/paper/{name}"
    files = f"[{name}.json]({base}.json)"
    pictures = f"![curves]({base}.svg)\n\n![samples, a row per variant]({base}.png)\n"
    return f"{table.strip()}\n\nMade by `{results['command']}` on {results['date']}; all values: {files}.\n\n{pictures}"


def insert(page: str, name: str, text: str) -> str:
    """Replace what stands between the markers of a study.

    Raises:
        UserError: the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- results {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise UserError(f"docs/experiments.md: has no line <!-- results {name} -->; add it, and <!-- end --> below")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n{match[2]}", page)


def collect(path: Path, *, page: Path = PAGE, results_folder: Path = RESULTS) -> list[str]:
    """Copy the results below a folder and rewrite the page; return the names of the studies."""
    text, names = page.read_text(encoding="utf-8"), []
    studies = [(folder, read_results(folder)) for folder in folders_below(path)]
    for folder, results in studies:
        table = (folder / "table.md").read_text(encoding="utf-8")
        text = insert(text, folder.name, section(folder.name, table, results))
        names.append(folder.name)
    results_folder.mkdir(parents=True, exist_ok=True)
    for folder, _ in studies:
        write_atomically(results_folder / f"{folder.name}.json", (folder / "results.json").read_bytes())
        for file, suffix in _FILES.items():
            if (folder / file).exists():
                shutil.copyfile(folder / file, results_folder / f"{folder.name}{suffix}")
    write_atomically(page, text.encode())
    return names


def main(argv: list[str]) -> int:
    """Collect; return the exit status."""
    if len(argv) != 2 or argv[1].startswith("-"):
        print((__doc__ or "").strip())
        return 0 if argv[1:] in (["--help"], ["-h"]) else 2
    try:
        print(f"collected: {', '.join(collect(Path(argv[1])))}")
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
