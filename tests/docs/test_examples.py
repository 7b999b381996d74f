"""The examples of the README, the tutorial and other pages do what the pages say.

Method: each page gets an empty folder and a real server on a free port of loopback, and its blocks are run there in order
as a reader would: Python with this interpreter, shell with the command line on the path, `http://127.0.0.1:8390` standing
for the server. Exported shell variables live on from block to block.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.markdown import Example, agrees, examples
from tests.support.server import started_server
from tests.support.source import ROOT

PAGES = ["README.md", "docs/tutorial.md", "docs/client.md", "docs/cli.md", "docs/http.md", "docs/suites.md"]
WRITTEN_URL = "http://127.0.0.1:8390"
BLOCK_S_MAX = 60


@contextmanager
def reader(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server on `folder`, its URL, and the environment a reader would have there."""
    with started_server(folder / "polysite-data") as url:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment["POLYSITE_URL"] = url
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        yield url, environment


def run(example: Example, *, url: str, folder: Path, environment: dict[str, str]) -> str:
    """Run one block and return what it printed; its failure is the test's."""
    body = example.body.replace(WRITTEN_URL, url)
    if example.file is not None:
        (folder / example.file).write_text(body)
        return ""
    command = (
        [sys.executable, "-W", "error", "-c", body]
        if example.kind == "python"
        else ["bash", "-c", with_variables(body)]
    )
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=BLOCK_S_MAX)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    place = f"{example.page}:{example.line}"
    assert process.returncode == 0, f"{place} ended with {process.returncode}:\n{printed}"
    if example.expected is not None:
        assert agrees(example.expected, printed), f"{place} printed\n{printed}\nand not\n{example.expected}"
    return printed


def with_variables(body: str) -> str:
    """The shell block, between taking over the variables of the block before and leaving its own for the next."""
    return f"set -euo pipefail; [ ! -f .variables ] || . ./.variables; set -a\n{body}\ndeclare -px > .variables"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_examples(page: str, tmp_path: Path) -> None:
    """Every block of the page runs, in order, and prints what the page shows."""
    blocks = list(examples(page, (ROOT / page).read_text()))
    assert blocks, "a page without examples need not be here"
    with reader(tmp_path) as (url, environment):
        for example in blocks:
            run(example, url=url, folder=tmp_path, environment=environment)


def test_blocks_are_found() -> None:
    """The reader of pages sees order, expected output, reasons and files; a planted page has one of each."""
    text = "```sh\na\n```\n\n```text\nout\n```\n<!-- not run: no network -->\n```sh\nb\n```\n<!-- file: c.py -->\n```python\nc\n```\n"
    found = list(examples("page", text))
    assert [(example.body, example.expected, example.file) for example in found] == [
        ("a\n", "out\n", None),
        ("c\n", None, "c.py"),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n", "a  \n", True),
        ("a ... c", "a b c", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("x...", "x1\n2", True),
    ],
)
def test_output_is_compared(expected: str, printed: str, same: bool) -> None:
    """`...` stands for anything; everything else has to be there, and nothing more."""
    assert agrees(expected, printed) is same


def test_a_failing_block_is_seen(tmp_path: Path) -> None:
    """A block that ends with an error, or prints something else than shown, fails the page."""
    for body, expected in (("false\ntrue", None), ("echo a", "b")):
        example = Example(page="page", line=1, kind="sh", body=body, expected=expected, file=None)
        with pytest.raises(AssertionError, match="page:1"):
            run(example, url=WRITTEN_URL, folder=tmp_path, environment=dict(os.environ))


def test_variables_live_on(tmp_path: Path) -> None:
    """What one shell block sets, the next one has."""
    for body, expected in (("REF=abc", None), ('echo "$REF"', "abc")):
        example = Example(page="page", line=1, kind="sh", body=body, expected=expected, file=None)
        run(example, url=WRITTEN_URL, folder=tmp_path, environment=dict(os.environ))
