"""Write the blocking client from the asyncio one, so that there are never two bodies to keep equal by hand.

python scripts/generate_sync.py           write src/polysite/client/_sync
python scripts/generate_sync.py --check   say what differs, and fail if anything does

The method is that of unasync: tokens are replaced, nothing is parsed. What the two colours do differently (transports,
waiting, keeping a lock alive) lives in modules that hold both under names that differ by `Async`.
"""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "src" / "polysite" / "client"
API = ROOT / "src" / "polysite" / "api.py"

NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aiohttp_transport": "pool_transport",
    "AiohttpTransport": "PoolTransport",
    "AsyncIterator": "Iterator",
    "AsyncKeeper": "Keeper",
    "AsyncPace": "Pace",
    "AsyncTransport": "Transport",
    "_async": "_sync",
}
"""Names that the two colours spell differently."""

DROPPED = ("async", "await")
PROSE = (("async with", "with"), ("async for", "for"), ("await ", ""))
HEADER = "# Generated from {source} by scripts/generate_sync.py; change that file, not this one.\n"


def converted(source: str) -> str:
    """The blocking form of `source`: `async` and `await` fall away, names change, everything else stays."""
    out: list[str] = []
    lines = source.splitlines(keepends=True)
    row, column = 1, 0
    skip_blank = False
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        (start_row, start_column), (end_row, end_column) = item.start, item.end
        between = _text(lines, (row, column), (start_row, start_column))
        out.append(between.lstrip(" ") if skip_blank and between.strip(" ") == "" else between)
        skip_blank = False
        text = item.string
        if item.type == tokenize.NAME and text in DROPPED:
            skip_blank = True
            text = ""
        elif item.type == tokenize.NAME:
            text = NAMES.get(text, text)
        elif item.type in (tokenize.STRING, tokenize.COMMENT):
            text = _prose(text)
        elif item.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.NEWLINE, tokenize.NL):
            text = _text(lines, (start_row, start_column), (end_row, end_column))
        out.append(text)
        row, column = end_row, end_column
    return "".join(out)


def _prose(text: str) -> str:
    for old, new in (*PROSE, *NAMES.items()):
        text = text.replace(old, new)
    return text


def _text(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The source between two positions."""
    if start[0] > len(lines):
        return ""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = "".join(lines[start[0] : end[0] - 1])
    last = lines[end[0] - 1][: end[1]] if end[0] <= len(lines) else ""
    return lines[start[0] - 1][start[1] :] + middle + last


def protocol() -> str:
    """The blocking form of the `Coordinator` protocol alone; its values are those of `polysite.api`."""
    source = API.read_text()
    tree = ast.parse(source)
    found = next(part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == "Coordinator")
    used = {part.id for part in ast.walk(found) if isinstance(part, ast.Name)}
    from_api = sorted(
        name
        for part in tree.body
        if isinstance(part, ast.ClassDef | ast.Assign)
        for name in (
            [part.name]
            if isinstance(part, ast.ClassDef)
            else [target.id for target in part.targets if isinstance(target, ast.Name)]
        )
        if name in used
    )
    body = ast.get_source_segment(source, found) or ""
    return converted(
        '"""The coordinator protocol for callers that block: the same verbs, values and errors as `polysite.api`."""\n\n'
        "from collections.abc import AsyncIterator, Sequence\n"
        "from typing import Protocol\n\n"
        f"from polysite.api import {', '.join(from_api)}\n"
        "from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec\n\n\n"
        f"{body}\n"
    )


def generated() -> dict[Path, str]:
    """Every file of the blocking client and its content, formatted."""
    files = {}
    for path in sorted((CLIENT / "_async").glob("*.py")):
        if path.name == "protocol.py":
            continue
        source = path.read_text()
        text = converted(source)
        text = text.replace(
            "from polysite.api import Coordinator\n", "from polysite.client._sync.protocol import Coordinator\n"
        )
        files[CLIENT / "_sync" / path.name] = HEADER.format(source=path.relative_to(ROOT).as_posix()) + text
    files[CLIENT / "_sync" / "protocol.py"] = HEADER.format(source="src/polysite/api.py") + protocol()
    return {path: formatted(text, path) for path, text in files.items()}


def formatted(text: str, path: Path) -> str:
    """As ruff formats it, imports sorted."""
    ruff = Path(sys.executable).parent / "ruff"
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", path, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        text = done.stdout
    return text


def main(arguments: list[str]) -> int:
    """Write or check; 1 if a check finds a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__, file=sys.stderr)
        return 2
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    surplus = [path for path in (CLIENT / "_sync").glob("*.py") if path not in files]
    for path in [*stale, *surplus]:
        print(f"{path.relative_to(ROOT)} {'is not what' if check else 'written from'} its source")
        if not check:
            if path in files:
                path.write_text(files[path])
            else:
                path.unlink()
    return 1 if check and (stale or surplus) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
