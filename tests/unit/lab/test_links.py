"""Which links an order means.

Method: orders on the book of three sites, and the links that are cut, lose or reorder afterwards.
"""

import pytest

from polysite.errors import BadRequest
from polysite.lab.keeper.links import LinkBook
from polysite.lab.topology import plan


@pytest.fixture
def book() -> LinkBook:
    return LinkBook(plan(lab="abc"))


def cut(book: LinkBook) -> set[str]:
    return {f"{link.source}>{link.target}" for link in book.status() if link.cut}


def test_cuts(book: LinkBook) -> None:
    """Goal: one site means its links to all others, two those between them, one way only the first direction."""
    book.cut(["bei"], one_way=False)
    assert cut(book) == {"bei>ams", "ams>bei", "bei>irv", "irv>bei"}
    book.heal([])
    book.cut(["ams", "irv"], one_way=False)
    assert cut(book) == {"ams>irv", "irv>ams"}
    book.heal(["ams", "irv"])
    book.cut(["ams", "irv"], one_way=True)
    assert cut(book) == {"ams>irv"}
    assert book.orders().cut == [(0, 2)]


def test_healing_one_site_leaves_the_others_cut(book: LinkBook) -> None:
    """Goal: healing ends what touches the sites named, and nothing else; a loss is a fault like a cut."""
    book.cut(["ams"], one_way=False)
    book.cut(["bei", "irv"], one_way=False)
    book.lose(0.5, ["ams", "bei"])
    book.heal(["ams"])
    assert cut(book) == {"bei>irv", "irv>bei"}
    assert book.orders().loss == []


def test_shares(book: LinkBook) -> None:
    """Goal: losses and reorderings are kept per link, 0 ends them, no site means everywhere."""
    book.lose(0.1, [])
    assert len(book.orders().loss or []) == 6
    book.lose(0.2, ["ams", "bei"])
    assert [entry for entry in book.orders().loss or [] if entry[2] == 0.2] == [(0, 1, 0.2), (1, 0, 0.2)]
    book.lose(0, [])
    book.reorder(1, ["irv"])
    assert book.orders().loss == []
    assert len(book.orders().reorder or []) == 4


@pytest.mark.parametrize(
    ("sites", "one_way", "said"),
    [
        ([], False, "name the site"),
        (["nyc"], False, "ams, bei, irv"),
        (["ams"], True, "name two"),
        (["ams", "ams"], False, "different"),
        (["ams", "bei", "irv"], False, "two different"),
    ],
)
def test_what_no_link_is(book: LinkBook, sites: list[str], one_way: bool, said: str) -> None:
    """Goal: a slip in the names cuts nothing and is told."""
    with pytest.raises(BadRequest, match=said):
        book.cut(sites, one_way=one_way)
    assert cut(book) == set()
    with pytest.raises(BadRequest, match="0 to 100"):
        book.lose(1.5, [])
