"""The blocking client is what its source says, and no body is kept twice by hand.

Method: generate anew and compare; convert small sources whose result is known; compare the public methods of both colours.
"""

import inspect

import pytest

import polysite.client
import polysite.sync
from polysite.api import Coordinator
from scripts import generate_sync


def test_generated_files_are_current() -> None:
    """`python scripts/generate_sync.py` mends it."""
    for path, text in generate_sync.generated().items():
        assert path.read_text() == text, f"{path.name} is not what its source generates"


@pytest.mark.parametrize(
    ("source", "result"),
    [
        (
            "async def get(self) -> int:\n    return await self.ask()\n",
            "def get(self) -> int:\n    return self.ask()\n",
        ),
        (
            "async with a as b, c:\n    async for d in e:\n        pass\n",
            "with a as b, c:\n    for d in e:\n        pass\n",
        ),
        ("x = [await f(y) async for y in z]\n", "x = [f(y) for y in z]\n"),
        ('"""Say `async with x` and await it."""\n', '"""Say `with x` and it."""\n'),
        ("from polysite.client._async.site import Site\n", "from polysite.client._sync.site import Site\n"),
        ("x = f'{await_count} awaits'  # async for us\n", "x = f'{await_count} awaits'  # for us\n"),
        ("class AsyncIterator: ...\n", "class Iterator: ...\n"),
        ("x = (\n    await f(\n        1,\n    )\n)\n", "x = (\n    f(\n        1,\n    )\n)\n"),
    ],
)
def test_conversion(source: str, result: str) -> None:
    """`async` and `await` fall away, with the blank behind them; names and prose change; layout stays."""
    assert generate_sync.converted(source) == result


@pytest.mark.parametrize("name", ["Site", "Table", "Section", "LockSet"])
def test_both_colours_have_the_same_verbs(name: str) -> None:
    """Same names, same parameters, so that a reader of one knows the other."""
    waiting, blocking = getattr(polysite.client, name), getattr(polysite.sync, name)
    verbs = {verb for verb in vars(waiting) if not verb.startswith("_")}
    assert verbs == {verb for verb in vars(blocking) if not verb.startswith("_")}
    for verb in verbs:
        if callable(vars(waiting)[verb]):
            assert list(inspect.signature(vars(waiting)[verb]).parameters) == list(
                inspect.signature(vars(blocking)[verb]).parameters
            )


def test_the_blocking_protocol_has_every_verb() -> None:
    """The protocol grows in one place."""
    waiting = {verb for verb in vars(Coordinator) if not verb.startswith("_")}
    assert waiting == {verb for verb in vars(polysite.sync.Coordinator) if not verb.startswith("_")}
    assert not any(inspect.iscoroutinefunction(verb) for verb in vars(polysite.sync.Coordinator).values())
