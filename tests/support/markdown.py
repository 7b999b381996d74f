"""Example blocks of a page: what to run, and what it must print."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^```[ ]*$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.*?) -->\s*\Z")
FILE = re.compile(r"<!-- file: (?P<name>[\w./-]+) -->\s*\Z")


@dataclass(frozen=True)
class Example:
    """A runnable block. `expected` None: whatever it prints is fine. `file` not None: it is only written there, for later blocks."""

    page: str
    line: int
    kind: str
    body: str
    expected: str | None
    file: str | None


def examples(page: str, text: str) -> Iterator[Example]:
    """The `python` and `sh` blocks of `text` in order, but those marked `<!-- not run: REASON -->`.

    A `text` block directly after one is what it prints; `...` in it stands for anything. A block under `<!-- file: NAME -->` is
    written to that file instead of being run.
    """
    blocks = list(FENCE.finditer(text))
    for number, block in enumerate(blocks):
        before = text[: block.start()]
        if block["kind"] not in ("python", "sh") or NOT_RUN.search(before):
            continue
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        is_output = following and following["kind"] == "text" and not text[block.end() : following.start()].strip()
        named = FILE.search(before)
        yield Example(
            page=page,
            line=before.count("\n") + 2,
            kind=block["kind"],
            body=block["body"],
            expected=following["body"] if following and is_output else None,
            file=named["name"] if named else None,
        )


def agrees(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, where `...` stands for anything and the space at line ends does not count."""
    parts = [re.escape(part) for part in _trimmed(expected).split("...")]
    return re.fullmatch(".*".join(parts), _trimmed(printed), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
