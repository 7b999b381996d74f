"""Fill the tables of routes, commands and exit codes in docs/ from the source; `--check` only tells whether they are current.

A page holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between is replaced. The prose around is written by hand.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def routes() -> str:
    """Method, path, right and meaning of every public route."""
    from polysite.server.app import ROUTES

    lines = ["| verb | path | right | what it does |", "|---|---|---|---|"]
    for route in ROUTES:
        if not route.internal:
            rights = ", ".join([*filter(None, [route.right]), *route.asks])
            right = "none" if route.open_to_all else "; ".join(filter(None, [rights, route.asks_also]))
            lines.append(f"| {route.method} | `{route.pattern}` | {right} | {_cell(route.about)} |")
    return "\n".join(lines)


def commands() -> str:
    """Every command with its arguments and its first sentence."""
    from polysite.cli.commands import polysite

    lines = ["| command | what it does |", "|---|---|"]
    lines += [
        f"| `{usage}` | {_cell(about)} |" for usage, about in _leaves(polysite, "polysite", click.Context(polysite))
    ]
    return "\n".join(lines)


def exit_codes() -> str:
    """Every exit code and its meaning."""
    from polysite.cli.exits import MEANINGS

    return "\n".join(
        ["| code | meaning |", "|---|---|", *(f"| {code} | {_cell(text)} |" for code, text in MEANINGS.items())]
    )


TABLES: dict[str, Callable[[], str]] = {"routes": routes, "commands": commands, "exit_codes": exit_codes}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _leaves(command: click.Command, usage: str, context: click.Context) -> Iterator[tuple[str, str]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _leaves(found, f"{usage} {name}", click.Context(found, parent=context, info_name=name))
        return
    arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield " ".join([usage, *arguments]), (command.help or "").split("\n\n")[0]


def current(text: str) -> str:
    """The page with its blocks filled anew."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


def stale_pages() -> list[Path]:
    """The pages whose tables are not what the source says."""
    return [path for path in sorted((ROOT / "docs").glob("**/*.md")) if current(path.read_text()) != path.read_text()]


def main(arguments: list[str]) -> int:
    """Write or check; 1 if a check finds a stale page."""
    for path in (stale := stale_pages()):
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is stale: python scripts/generate_reference.py")
        else:
            path.write_text(current(path.read_text()))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
