"""The cell contract as tests, run as those of `polysite.testing.store_contract` with a fixture `cells`."""

import asyncio

import pytest

from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, Cells, CellView


class CellContract:
    """Every sentence of `polysite.cells.contract`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def prefix(self) -> bytes:
        """What the keys of one test begin with; where cells outlive a test, override it with one that is new for each."""
        return b"contract/"

    @pytest.fixture
    def key(self, prefix: bytes) -> bytes:
        return prefix + b"key"

    @pytest.fixture
    def other(self, prefix: bytes) -> bytes:
        return prefix + b"other"

    async def test_a_cell_that_was_never_written(self, cells: Cells, key: bytes) -> None:
        """Version 0, no content, both ways to read."""
        assert await cells.read(key) == NEVER_WRITTEN
        assert await cells.read_local(key) == NEVER_WRITTEN

    async def test_each_change_adds_one(self, cells: Cells, key: bytes, other: bytes) -> None:
        """Versions 1, 2, 3, whatever the content, the same or none at all; other cells stay."""
        for version, content in enumerate([b"one", b"one", b"", b"\x00" * 70_000]):
            answer = await cells.compare_and_set(key, version, content)
            assert answer == CellAnswer(True, CellView(version + 1, content))
            assert await cells.read(key) == answer.view
        assert await cells.read(other) == NEVER_WRITTEN

    async def test_what_stood_against_it_is_told(self, cells: Cells, key: bytes, other: bytes) -> None:
        """A version that is too low, too high, or 0 for a cell that is there: not applied, and the current cell comes back."""
        await cells.compare_and_set(key, 0, b"one")
        current = (await cells.compare_and_set(key, 1, b"two")).view
        for expected in (0, 1, 3, 99):
            assert await cells.compare_and_set(key, expected, b"x") == CellAnswer(False, current)
        assert await cells.read(key) == CellView(2, b"two")
        assert await cells.compare_and_set(other, 1, b"x") == CellAnswer(False, NEVER_WRITTEN)

    async def test_the_same_call_again_does_not_apply_twice(self, cells: Cells, key: bytes) -> None:
        """As after an unknown outcome: the second is refused and shows the caller its own content."""
        await cells.compare_and_set(key, 0, b"mine")
        assert await cells.compare_and_set(key, 0, b"mine") == CellAnswer(False, CellView(1, b"mine"))

    async def test_an_answer_given_up_can_be_found_out(self, cells: Cells, prefix: bytes) -> None:
        """Cancel a change as soon as it was sent: afterwards the cell either has it or never will once it moved on."""
        for at in range(10):
            key = prefix + b"given-up-%d" % at
            sent = asyncio.ensure_future(cells.compare_and_set(key, 0, b"mine"))
            await asyncio.sleep(0)
            sent.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sent
            moved = await cells.compare_and_set(key, 0, b"theirs")
            assert moved.view in (CellView(1, b"theirs"), CellView(1, b"mine"))
            assert moved.applied is (moved.view.content == b"theirs")
            assert await cells.read(key) == moved.view

    async def test_of_many_at_once_one_applies(self, cells: Cells, key: bytes) -> None:
        """Fifty changes of one version: one applies, and every other is told a cell that it led to."""
        answers = await asyncio.gather(*(cells.compare_and_set(key, 0, b"%d" % at) for at in range(50)))
        (applied,) = [answer.view for answer in answers if answer.applied]
        assert {answer.view for answer in answers} == {applied}

    async def test_counting_at_once(self, cells: Cells, key: bytes) -> None:
        """Twenty tasks add one ten times each: content and version agree and nothing is lost."""

        async def add() -> None:
            view = await cells.read_local(key)
            for _ in range(10):
                while True:
                    count = int(view.content or b"0") + 1
                    answer = await cells.compare_and_set(key, view.version, b"%d" % count)
                    view = answer.view
                    if answer.applied:
                        break

        await asyncio.gather(*(add() for _ in range(20)))
        assert await cells.read(key) == CellView(200, b"200")

    async def test_a_read_sees_what_was_answered_before_it(self, cells: Cells, key: bytes) -> None:
        """Readers beside a writer: no read is older than the last change answered before it began, and none goes back."""
        answered = 0
        done = False

        async def change() -> None:
            nonlocal answered, done
            for version in range(50):
                await cells.compare_and_set(key, version, b"x")
                answered = version + 1
            done = True

        async def look() -> None:
            last = 0
            while not done:
                least = answered
                view = await cells.read(key)
                assert view.version >= max(least, last)
                last = view.version
                await asyncio.sleep(0)

        await asyncio.gather(change(), look(), look())

    async def test_a_change_that_no_task_waits_for(self, cells: Cells, key: bytes) -> None:
        """`begin` answers once, later, what `compare_and_set` would: applied, or what stood against it; of many that are begun at
        once on one version one applies."""
        if not cells.begins:
            pytest.skip(f"{cells.name} begins no change by itself")
        told: asyncio.Queue[CellAnswer | BaseException] = asyncio.Queue()

        async def answers(count: int) -> "list[CellAnswer | BaseException]":
            async with asyncio.timeout(10):
                return [await told.get() for _ in range(count)]

        cells.begin(key, 0, b"one", told.put_nowait)
        assert told.empty()
        assert await answers(1) == [CellAnswer(True, CellView(1, b"one"))]
        assert await cells.read(key) == CellView(1, b"one")
        cells.begin(key, 0, b"x", told.put_nowait)
        assert await answers(1) == [CellAnswer(False, CellView(1, b"one"))]
        for at in range(20):
            cells.begin(key, 1, b"%d" % at, told.put_nowait)
        found = [answer for answer in await answers(20) if isinstance(answer, CellAnswer)]
        assert len(found) == 20
        (applied,) = [answer.view for answer in found if answer.applied]
        assert {answer.view for answer in found} == {applied} == {await cells.read(key)}
        assert told.empty()

    async def test_keys_in_one_order(self, cells: Cells, prefix: bytes) -> None:
        """Every key once, any bytes, however they are paged, and after each of them those that came after it before, also when
        others were made meanwhile."""
        names = (b"k\x00", b"k", b"k\xff", b"ka", b".", b"..", b"/", b"%41", b"k" * 2_000)
        keys = [prefix + name for name in names] + [b".", b"..", b"/"]
        for key in keys:
            await cells.compare_and_set(key, 0, b"x")
        whole = await cells.keys(b"", 10_000)
        assert set(keys) <= set(whole)
        assert len(set(whole)) == len(whole)
        paged = await cells.keys(b"", 2)
        while page := await cells.keys(paged[-1], 2):
            assert len(page) <= 2
            assert not set(page) & set(paged)
            paged += page
        assert paged == whole
        await cells.compare_and_set(prefix + b"made-meanwhile", 0, b"x")
        for key in keys:
            rest = [found for found in await cells.keys(key, 10_000) if found in whole]
            assert rest == whole[whole.index(key) + 1 :]

    async def test_watching(self, cells: Cells, key: bytes, other: bytes) -> None:
        """A change calls; one of another cell does not; none does after the watch was ended."""
        if "watch" not in cells.capabilities:
            pytest.skip(f"{cells.name} lacks the capability watch")
        told = asyncio.Event()
        stop = cells.watch(key, told.set)
        await cells.compare_and_set(key, 0, b"x")
        async with asyncio.timeout(10):
            await told.wait()
        told.clear()
        await cells.compare_and_set(other, 0, b"x")
        await asyncio.sleep(0)
        assert not told.is_set()
        stop()
        await cells.compare_and_set(key, 1, b"y")
        await asyncio.sleep(0)
        assert not told.is_set()
