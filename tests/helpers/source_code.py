"""Read the package's own source with `ast`: modules, imports, and the dotted names that a tree uses."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "pggan_jax"


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported_names(tree: ast.AST, module: str, *, is_package: bool = False) -> set[str]:
    """Every dotted name that the tree imports, wherever the import stands; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def imports_of(module: str, tree: ast.AST | None = None) -> set[str]:
    is_package = FILES[module].name == "__init__.py"
    return imported_names(tree or TREES[module], module, is_package=is_package)


def own_imports(module: str, tree: ast.AST | None = None) -> set[str]:
    """Modules of the package that `module` imports; a package only where its own contents are asked for."""
    names = imports_of(module, tree)
    packages = {name for name in names if name in FILES and FILES[name].name == "__init__.py"}
    bare = {name for name in packages if not any(other.startswith(f"{name}.") and other in FILES for other in names)}
    return {name for name in names if name in FILES and name != module} - (packages - bare)


def attribute_names(tree: ast.AST, module: str) -> set[str]:
    """Dotted names such as jax.pmap that the tree reads or imports; `import jax as j` and `from jax import pmap` count too."""
    aliases = {"jax": "jax"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
    found = imported_names(tree, module)
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name):
            found.add(".".join([aliases.get(node.id, node.id), *reversed(parts)]))
    return found
