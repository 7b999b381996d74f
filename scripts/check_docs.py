"""Check the documentation: links lead somewhere, every page can be reached, every example block is run or says why not.

A fenced block of `python` or `sh` is run by tests/docs; one that cannot be is preceded by a line `<!-- not run: REASON -->`.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```[^\n]*\n.*?^```\s*$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
PAGES_THAT_RUN = {
    "README.md",
    "docs/tutorial.md",
    "docs/client.md",
    "docs/cli.md",
    "docs/http.md",
    "docs/suites.md",
}
RUNNABLE = re.compile(r"^```(python|sh|bash|shell|console)\b", re.MULTILINE)
REASON = re.compile(r"<!-- not run: \S.* -->\s*\n\Z")


def main() -> int:
    """Print each problem on a line; 1 if there is any."""
    pages = {path.relative_to(ROOT).as_posix(): path.read_text() for path in page_paths()}
    problems = [
        problem for name, text in pages.items() for problem in (*broken_links(name, text), *dead_examples(name, text))
    ]
    problems += unreachable(pages)
    print("\n".join(problems) or f"{len(pages)} pages hold together")
    return 1 if problems else 0


def page_paths() -> list[Path]:
    """Every page: the Markdown files at the top and under docs/."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def targets(name: str, text: str) -> list[tuple[str, str]]:
    """Path and anchor of each relative link, the path relative to the root."""
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        found.append(
            (target.resolve().relative_to(ROOT).as_posix() if target.resolve().is_relative_to(ROOT) else link, anchor)
        )
    return found


def broken_links(name: str, text: str) -> list[str]:
    """Links to files or headings that do not exist."""
    problems = []
    for path, anchor in targets(name, text):
        if not (ROOT / path).exists():
            problems.append(f"{name}: link to {path}, which does not exist")
        elif anchor and anchor not in anchors((ROOT / path).read_text()):
            problems.append(f"{name}: link to {path}#{anchor}, which has no such heading")
    return problems


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    plain = (re.sub(r"[`*]", "", heading) for heading in HEADING.findall(FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def dead_examples(name: str, text: str) -> list[str]:
    """Runnable blocks on pages whose examples no test runs, without a reason."""
    if name in PAGES_THAT_RUN:
        return []
    return [
        f"{name}: a {match[1]} block that no test runs; say why in a line above it: <!-- not run: ... -->"
        for match in RUNNABLE.finditer(text)
        if not REASON.search(text[: match.start()])
    ]


def unreachable(pages: dict[str, str]) -> list[str]:
    """Pages that no path of links from README.md leads to."""
    seen, pending = {"README.md"}, ["README.md"]
    while pending:
        name = pending.pop()
        for path, _ in targets(name, pages.get(name, "")):
            if path in pages and path not in seen:
                seen.add(path)
                pending.append(path)
    return [f"{name}: no link from README.md leads here" for name in sorted(set(pages) - seen)]


if __name__ == "__main__":
    sys.exit(main())
