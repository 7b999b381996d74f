"""The pages hold together: links lead somewhere, every page is reachable, no example goes unnoticed.

Method: run the checker on the real pages, and each of its rules on a planted violation.
"""

import subprocess
import sys

import pytest

from scripts import check_docs
from tests.support.source import ROOT


def test_the_pages_hold_together() -> None:
    """The checker finds nothing to say about the repository as it is."""
    done = subprocess.run(
        [sys.executable, "scripts/check_docs.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[gone](docs/gone.md)", 1),
        ("[gone](docs/errors.md#no-such-heading)", 1),
        ("[gone](#nowhere)", 1),
        ("[here](docs/errors.md#lock_lost), [outside](https://example.com/x)", 0),
        ("[down](#more)", 0),
        ("```text\n[not a link](gone.md)\n```", 0),
    ],
)
def test_planted_links(text: str, problems: int) -> None:
    """A link to a file or heading that is not there is told; what only looks like a link, or leads outside, is not."""
    assert len(check_docs.broken_links("README.md", text)) == problems


@pytest.mark.parametrize(
    ("name", "text", "problems"),
    [
        ("docs/other.md", "```python\nx\n```", 1),
        ("docs/other.md", "<!-- not run: needs an engine -->\n```python\nx\n```", 0),
        ("docs/other.md", "```text\nx\n```", 0),
        ("README.md", "```python\nx\n```", 0),
    ],
)
def test_planted_examples(name: str, text: str, problems: int) -> None:
    """A runnable block on a page that no test runs needs a reason."""
    assert len(check_docs.dead_examples(name, text)) == problems


def test_a_page_nobody_links_is_told() -> None:
    """Reachability follows links from the README, through other pages."""
    pages = {
        "README.md": "[index](docs/index.md)",
        "docs/index.md": "[errors](errors.md)",
        "docs/errors.md": "",
        "docs/lost.md": "",
    }
    assert check_docs.unreachable(pages) == ["docs/lost.md: no link from README.md leads here"]
