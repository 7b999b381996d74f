"""Lost connections to ZooKeeper, and lost sessions, through a proxy that goes deaf: what may have happened is never called refused,
what was not sent is never called unknown, and the cells are back by themselves."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, CellView
from polysite.cells.zookeeper import ALONE, ELSEWHERE, ZookeeperCells
from polysite.clock import Runtime
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.bridge import Result
from polysite.engines.zookeeper.failures import Against
from polysite.engines.zookeeper.session import Answered, ZookeeperSession
from polysite.engines.zookeeper.znodes import Found
from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, Unavailable
from polysite.lab.engines import Engine
from tests.support.proxy import Proxy

LIMIT_S = 30.0
KEY, OTHER = b"sessions/key", b"sessions/other"


async def within(work: Awaitable[object]) -> object:
    return await asyncio.wait_for(work, LIMIT_S)


async def until(session: ZookeeperSession, holds: Callable[[], bool]) -> None:
    """Wait for a session to come to where `holds`."""

    async def look() -> None:
        while not holds():
            await session.next_move()

    await within(look())


async def lost(cells: ZookeeperCells) -> None:
    await until(cells._session, lambda: not cells._session.is_connected)


async def back(cells: ZookeeperCells, connections: int = 1) -> None:
    """Connected more often than so many times, and the server has said what it is."""
    session = cells._session
    await until(session, lambda: session.connections > connections and session.standing is not None)


def make_cells(address: str, folder: str, *, session_ms: int = 1_000, request_ms: int = 10_000) -> ZookeeperCells:
    settings = ZookeeperSettings(servers=(address,), folder=folder, session_ms=session_ms, request_ms=request_ms)
    return ZookeeperCells(ZookeeperSession(settings, Runtime()))


@pytest.fixture
def folder() -> str:
    return f"/sessions/{uuid.uuid4().hex}"


@pytest.fixture
async def proxy(zookeeper_server: Engine) -> AsyncIterator[Proxy]:
    async with Proxy(zookeeper_server.spec.address, zookeeper_server.spec.port) as proxy:
        yield proxy


@pytest.fixture
async def direct(zookeeper_server: Engine, folder: str) -> AsyncIterator[ZookeeperCells]:
    """The same cells as another process sees them, whose connection is sound."""
    cells = make_cells(f"{zookeeper_server.spec.address}:{zookeeper_server.spec.port}", folder)
    await cells.start()
    yield cells
    await cells.close()


@pytest.fixture
async def cells(proxy: Proxy, direct: ZookeeperCells, folder: str) -> AsyncIterator[ZookeeperCells]:
    cells = make_cells(proxy.address, folder)
    await cells.start()
    yield cells
    await cells.close()


async def removed(cells: ZookeeperCells, path: str) -> None:
    await cells._session.ask(lambda client: client.delete_async(path), changes=True)


async def shown(cells: ZookeeperCells, version: int) -> None:
    """Wait until a cell has that version."""
    changed = asyncio.Event()
    stop = cells.watch(KEY, changed.set)
    while (await cells.read_local(KEY)).version < version:
        await within(changed.wait())
        changed.clear()
    stop()


async def test_a_change_whose_answer_is_lost_is_unknown(
    cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy
) -> None:
    """The server carries it out, the connection is dropped before the answer passes: unknown, and the cell has it. Afterwards
    the cells are connected again and read it."""
    proxy.answers.clear()
    sent = asyncio.ensure_future(cells.compare_and_set(KEY, 0, b"mine"))
    await shown(direct, 1)
    assert not sent.done()
    connections = cells._session.connections
    proxy.drop()
    with pytest.raises(OutcomeUnknown) as caught:
        await within(sent)
    assert caught.value.reason == "connection_lost"
    proxy.answers.set()
    await back(cells, connections)
    assert await cells.read(KEY) == CellView(1, b"mine")


async def test_a_change_that_no_answer_came_for_may_still_apply(
    proxy: Proxy, direct: ZookeeperCells, folder: str
) -> None:
    """Requests are kept on their way for longer than an answer is waited for: unknown, and not carried out yet. When they go on
    it is carried out after all, as the contract allows."""
    cells = make_cells(proxy.address, folder, session_ms=10_000, request_ms=500)
    await cells.start()
    proxy.requests.clear()
    with pytest.raises(OutcomeUnknown) as caught:
        await within(cells.compare_and_set(KEY, 0, b"mine"))
    assert caught.value.reason == "no_answer"
    assert await direct.read(KEY) == NEVER_WRITTEN
    with pytest.raises(Unavailable):
        await within(cells.read(KEY))
    proxy.requests.set()
    await shown(direct, 1)
    assert await direct.read(KEY) == CellView(1, b"mine")
    await cells.close()


async def test_a_late_change_does_not_apply_once_the_cell_moved_on(
    proxy: Proxy, direct: ZookeeperCells, folder: str
) -> None:
    """As above, but somebody else changes the cell meanwhile: what comes late is refused by its version."""
    cells = make_cells(proxy.address, folder, session_ms=10_000, request_ms=500)
    await cells.start()
    await direct.compare_and_set(KEY, 0, b"first")
    proxy.requests.clear()
    with pytest.raises(OutcomeUnknown):
        await within(cells.compare_and_set(KEY, 1, b"mine"))
    await direct.compare_and_set(KEY, 1, b"theirs")
    proxy.requests.set()
    # In order behind the late one, so that what is read was there after it.
    assert await within(cells.read(KEY)) == CellView(2, b"theirs")
    await cells.close()


async def test_nothing_is_sent_without_a_connection(
    cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy
) -> None:
    """Turned away by the server: every call ends at once with Unavailable, costs are taken to be the higher ones, and once the
    server lets it in again all of it works, without what was refused before."""
    assert cells.costs == ALONE
    proxy.refuses = True
    proxy.drop()
    await lost(cells)
    assert cells.costs == ELSEWHERE
    with pytest.raises(Unavailable):
        await cells.compare_and_set(KEY, 0, b"refused")
    with pytest.raises(Unavailable):
        cells.begin(KEY, 0, b"refused", lambda _answer: pytest.fail("it was not sent, so it has no answer"))
    for read in (cells.read, cells.read_local):
        with pytest.raises(Unavailable):
            await read(KEY)
    with pytest.raises(Unavailable):
        await cells.keys(b"", 10)
    proxy.refuses = False
    await back(cells)
    assert cells.costs == ALONE
    assert await cells.read(KEY) == NEVER_WRITTEN
    assert (await cells.compare_and_set(KEY, 0, b"later")).applied


async def test_a_server_that_says_nothing_is_left(cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy) -> None:
    """The proxy keeps everything the server says. Goal: what is under way ends before its own limit, because the connection is
    given up, as unknown or Unavailable; then the cells are back."""
    proxy.answers.clear()
    change = asyncio.ensure_future(cells.compare_and_set(KEY, 0, b"mine"))
    read = asyncio.ensure_future(cells.read(KEY))
    await lost(cells)
    with pytest.raises(OutcomeUnknown) as caught:
        await within(change)
    assert caught.value.reason == "connection_lost"
    with pytest.raises(Unavailable):
        await within(read)
    proxy.answers.set()
    await back(cells)
    assert await cells.read(KEY) == CellView(1, b"mine")


async def test_the_end_of_a_session_costs_nothing_more(
    cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy
) -> None:
    """Kept away until the server ends the session, which the removal of an ephemeral znode shows. The cells go on in a new
    session, with the versions they had, and tell a change that was made meanwhile."""
    await cells.compare_and_set(KEY, 0, b"one")
    session, other = cells._session, direct._session
    before = session._client.client_id[0]
    mark = f"{session.settings.folder}/mark"
    await session.ask(lambda client: client.create_async(mark, b"", ephemeral=True), changes=True)
    gone = asyncio.Event()
    await other.ask(lambda client: client.exists_async(mark, lambda _event: gone.set()))
    changed = asyncio.Event()
    cells.watch(KEY, changed.set)
    await cells.read_local(KEY)
    connections = session.connections
    proxy.refuses = True
    proxy.drop()
    await within(gone.wait())
    await direct.compare_and_set(KEY, 1, b"two")
    assert not changed.is_set()
    proxy.refuses = False
    await back(cells, connections)
    assert session._client.client_id[0] != before
    await within(changed.wait())
    for version in (2, 3):
        # Behind the watch that was set again.
        await cells.read_local(KEY)
        changed.clear()
        await direct.compare_and_set(KEY, version, b"more")
        await within(changed.wait())
    assert await cells.compare_and_set(KEY, 4, b"five") == CellAnswer(True, CellView(5, b"five"))


async def test_another_client_is_made_when_one_ends(cells: ZookeeperCells) -> None:
    """kazoo's client ends for good when it is not let in or meets an answer it does not know; here it is stopped by hand. The
    session makes another one."""
    client = cells._session._client
    await asyncio.to_thread(client.stop)
    await lost(cells)
    await back(cells)
    assert cells._session._client is not client
    assert (await cells.compare_and_set(KEY, 0, b"x")).applied


async def test_what_reads_does_not_wait_for_a_change(
    cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy
) -> None:
    """Goal: while the change of one key is under way, local reads, listings and watches are answered. Method: the proxy has an answer take long, and with it all later ones of
    its connection, as ZooKeeper does it; another process makes changes meanwhile."""
    assert (await direct.compare_and_set(KEY, 0, b"one")).applied
    assert (await direct.compare_and_set(OTHER, 0, b"one")).applied
    proxy.slow = b"takes long"
    change = asyncio.ensure_future(cells.compare_and_set(KEY, 1, b"takes long"))
    await within(proxy.slow_arrived.wait())
    moved = asyncio.Event()
    cells.watch(OTHER, moved.set)
    assert await within(cells.read_local(OTHER)) == CellView(1, b"one")
    await direct.compare_and_set(OTHER, 1, b"two")
    await within(moved.wait())
    assert await within(cells.read_local(OTHER)) == CellView(2, b"two")
    assert sorted(await cells.keys(b"", 10)) == sorted([KEY, OTHER])
    # What it has changed itself it may see before it is told that it has.
    assert await within(cells.read_local(KEY)) in (CellView(1, b"one"), CellView(2, b"takes long"))
    assert not change.done()
    proxy.done.set()
    assert await within(change) == CellAnswer(True, CellView(2, b"takes long"))
    assert await within(cells.read_local(KEY)) == CellView(2, b"takes long")


async def test_the_session_for_reads_is_lost_alone(cells: ZookeeperCells, direct: ZookeeperCells) -> None:
    """Goal: changes go on, and a refused one says what stood against it; local reads are refused until there is another session; then a watch
    tells what was missed. Method: its client is stopped by hand."""
    await cells.compare_and_set(KEY, 0, b"one")
    changed = asyncio.Event()
    cells.watch(KEY, changed.set)
    await cells.read_local(KEY)
    reading, connections = cells._reading, cells._reading.connections
    await asyncio.to_thread(reading._client.stop)
    await until(reading, lambda: not reading.is_connected)
    with pytest.raises(Unavailable):
        await cells.read_local(KEY)
    assert (await direct.compare_and_set(KEY, 1, b"two")).applied
    assert await cells.compare_and_set(KEY, 1, b"mine") == CellAnswer(False, CellView(2, b"two"))
    assert cells.costs == ALONE
    await until(reading, lambda: reading.connections > connections and reading.is_connected)
    await within(changed.wait())
    assert await cells.read_local(KEY) == CellView(2, b"two")


async def test_what_stood_against_a_change_is_newer_than_what_was_expected(
    cells: ZookeeperCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the session for reads may have met another server, which has not heard of the latest changes; what is told of a refused change is
    newer than what was expected all the same. Method: its reads answer with a state of the past, that there is none, or with an error."""
    for version, content in enumerate((b"one", b"two", b"three")):
        await cells.compare_and_set(KEY, version, content)
    past: list[tuple[Found | Against | None, PolysiteError | None]] = [
        (Found(0, b"one"), None), (Against.ABSENT, None), (None, Unavailable("lost"))
    ]  # fmt: skip
    for answer in past:

        def read(_path: str, found: Answered, answer: Any = answer) -> None:
            found(*answer)

        monkeypatch.setattr(cells._reads, "get", read)
        for expected in (1, 2, 9):
            assert await cells.compare_and_set(KEY, expected, b"x") == CellAnswer(False, CellView(3, b"three"))


@pytest.mark.parametrize("told_first", ["change", "watch"])
async def test_a_watch_that_is_set_too_late_for_an_own_change(
    cells: ZookeeperCells, monkeypatch: pytest.MonkeyPatch, told_first: str
) -> None:
    """Goal: watches and changes go through two sessions, and a change that is made here after `watch` is told although the watch reaches the
    server after it; once. Method: the watch is sent late, and either answer comes first."""
    held: list[Callable[[], None]] = []
    send = cells._reading.send

    def late(*arguments: Any, **named: Any) -> None:
        held.append(partial(send, *arguments, **named))

    monkeypatch.setattr(cells._reading, "send", late)
    told: list[int] = []
    cells.watch(KEY, lambda: told.append(1))
    monkeypatch.undo()
    if told_first == "watch":
        changed = cells.changed_here
        sent: list[tuple[bytes, int]] = []
        cells.changed_here = lambda key, version: sent.append((key, version))  # type: ignore[method-assign]
        await cells.compare_and_set(KEY, 0, b"x")
        held.pop()()
        await cells.read_local(KEY)
        changed(*sent[0])
        del cells.changed_here
    else:
        await cells.compare_and_set(KEY, 0, b"x")
        held.pop()()
        await cells.read_local(KEY)
    await asyncio.sleep(0)
    assert told == [1]
    await cells.compare_and_set(KEY, 1, b"y")
    await cells.read_local(KEY)
    await asyncio.sleep(0)
    assert told == [1, 1]
    assert KEY not in cells._first


async def test_closing_waits_for_what_is_under_way(
    cells: ZookeeperCells, direct: ZookeeperCells, proxy: Proxy, folder: str
) -> None:
    """Changes begun before `close` are answered before it returns: done where the server answers, unknown where it does not."""
    closing = make_cells(proxy.address, folder)
    await closing.start()
    answers: list[CellAnswer | BaseException] = []
    closing.begin(KEY, 0, b"one", answers.append)
    await within(closing.close())
    assert answers == [CellAnswer(True, CellView(1, b"one"))]
    with pytest.raises(Unavailable):
        await closing.read(KEY)

    # An answer that kazoo loses, as it may when the connection breaks while a request is queued.
    closing = make_cells(proxy.address, folder)
    await closing.start()
    told: list[PolysiteError | None] = []
    closing._session.send(lambda _client: Result(), lambda _value, error: told.append(error), changes=True)
    await within(closing.close())
    assert [type(error) for error in told] == [OutcomeUnknown]

    closing = make_cells(proxy.address, folder)
    await closing.start()
    proxy.answers.clear()
    closing.begin(KEY, 1, b"two", answers.append)
    closed = asyncio.ensure_future(closing.close())
    await shown(direct, 2)
    await within(closed)
    assert isinstance(answers[1], OutcomeUnknown)
    assert len(answers) == 2
    proxy.answers.set()


@pytest.mark.parametrize("content", [b"something else", b"polysite cells 2", b""])
async def test_a_folder_that_is_not_ours(zookeeper_server: Engine, folder: str, content: bytes) -> None:
    """Its marker is missing or of another format: the start is refused with the setting's name, and nothing is changed."""
    address = f"{zookeeper_server.spec.address}:{zookeeper_server.spec.port}"
    other = ZookeeperSession(ZookeeperSettings(servers=(address,)), Runtime())
    await other.start()
    for path in ("/sessions", folder):
        await other.ask(lambda client, path=path: client.create_async(path, b""), changes=True)  # type: ignore[misc]
    await other.ask(lambda client: client.create_async(f"{folder}/cells", content), changes=True)
    cells = make_cells(address, folder)
    with pytest.raises(BadRequest, match=r"zookeeper\.folder"):
        await cells.start()
    with pytest.raises(Unavailable):
        await cells.read(KEY)
    data, _ = await other.ask(lambda client: client.get_async(f"{folder}/cells"))
    assert data == content
    await other.close()


async def test_only_the_user_may_use_what_he_made(zookeeper_server: Engine, folder: str, tmp_path: Path) -> None:
    """Cells made under a name: the same name and password may use them, another password and nobody may neither change nor read
    them, and are told which setting to see. The password stands in no message."""
    address = f"{zookeeper_server.spec.address}:{zookeeper_server.spec.port}"

    def as_user(password: str) -> ZookeeperCells:
        file = tmp_path / password
        file.write_text(f"{password}\n")
        settings = ZookeeperSettings(servers=(address,), folder=folder, user="ana", password_file=str(file))
        return ZookeeperCells(ZookeeperSession(settings, Runtime()))

    made, same = as_user("open-sesame"), as_user("open-sesame")
    await made.start()
    assert (await made.compare_and_set(KEY, 0, b"one")).applied
    await made.close()
    await same.start()
    assert await same.compare_and_set(KEY, 1, b"two") == CellAnswer(True, CellView(2, b"two"))
    await same.close()
    for stranger in (as_user("open-barley"), make_cells(address, folder)):
        with pytest.raises(Unavailable, match=r"zookeeper\.user") as caught:
            await stranger.start()
        assert "open" not in str(caught.value)


async def test_what_was_removed_by_hand(cells: ZookeeperCells) -> None:
    """Somebody removes what is never removed. A folder is made again; a cell that is gone while it is changed is told as
    Unavailable or as never written, and nothing hangs."""
    await cells.compare_and_set(KEY, 0, b"x")
    path = cells._path(KEY)
    for gone in (path, path.rpartition("/")[0]):
        await removed(cells, gone)
    assert await cells.compare_and_set(KEY, 1, b"y") == CellAnswer(False, NEVER_WRITTEN)
    assert await cells.compare_and_set(KEY, 0, b"y") == CellAnswer(True, CellView(1, b"y"))
    told: asyncio.Future[CellAnswer | BaseException] = asyncio.get_running_loop().create_future()
    cells.begin(KEY, 0, b"z", told.set_result)
    await removed(cells, path)
    assert isinstance(await within(told), CellAnswer | Unavailable)
    assert await cells._session.ask(lambda client: client.get_async(path)) is Against.ABSENT
