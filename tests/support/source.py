"""Reading our own source as trees, for the tests that hold it to its rules."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "polysite"


def tracked_files() -> list[Path]:
    """Every file that is in the repository or about to be, text or not; none that is ignored or deleted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:  # an unpacked archive instead of a checkout
        return sorted(path for path in ROOT.rglob("*") if path.is_file() and not _is_hidden(path))
    return sorted({ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()})


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(ROOT).parts)


def python_files(under: Path) -> list[Path]:
    """The Python files below a folder."""
    return [path for path in tracked_files() if path.suffix == ".py" and path.is_relative_to(under)]


def module_name(path: Path) -> str:
    """`polysite.site.waiting` for src/polysite/site/waiting.py."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST) -> dict[str, str]:
    """What each name bound by an import means: {"now": "time.monotonic"} after `from time import monotonic as now`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(expression: ast.expr, names: dict[str, str]) -> str | None:
    """The full dotted meaning of `a.b.c` given what the imports bound; None for anything else than names and attributes."""
    if isinstance(expression, ast.Name):
        return names.get(expression.id, expression.id)
    if isinstance(expression, ast.Attribute):
        owner = dotted(expression.value, names)
        return f"{owner}.{expression.attr}" if owner else None
    return None


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
