"""ZooKeeper servers that are frozen, killed and elected: the cells tell what they cannot know, are back by themselves, and ask
each server that they meet whether it leads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from polysite.cells.contract import CellAnswer, CellView
from polysite.cells.zookeeper import BESIDE_THE_LEADER, CELL_BYTES_MAX, ELSEWHERE, ZookeeperCells
from polysite.clock import Runtime
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.session import ZookeeperSession
from polysite.errors import OutcomeUnknown, TooLarge, Unavailable
from polysite.lab.engines import Engine, Member, ZooKeeperSpec, free_address, start
from tests.support.engines import require, running

pytestmark = pytest.mark.engine("zookeeper")

LIMIT_S = 60.0
KEY, OTHER = b"servers/key", b"servers/other"
PORTS = (2181, 2182, 2183)


def make_cells(*ports: int, address: str, request_ms: int = 10_000) -> ZookeeperCells:
    servers = tuple(f"{address}:{port}" for port in ports)
    settings = ZookeeperSettings(servers=servers, session_ms=1_000, request_ms=request_ms)
    return ZookeeperCells(ZookeeperSession(settings, Runtime()))


async def lost(cells: ZookeeperCells) -> None:
    async with asyncio.timeout(LIMIT_S):
        while cells._session.is_connected:
            await cells._session.next_move()


async def back(cells: ZookeeperCells, connections: int = 1) -> None:
    """Connected more often than so many times, and the server has said what it is."""
    session = cells._session
    async with asyncio.timeout(LIMIT_S):
        while session.connections <= connections or session.standing is None:
            await session.next_move()


class TestAlone:
    """One server, which the test may do anything to."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Engine]:
        spec = ZooKeeperSpec(folder=str(tmp_path), address=free_address(PORTS[:1]))
        with running(start(spec, require("zookeeper"))) as server:
            yield server

    @pytest.fixture
    async def cells(self, server: Engine) -> AsyncIterator[ZookeeperCells]:
        cells = make_cells(server.spec.port, address=server.spec.address)
        await cells.start()
        yield cells
        await cells.close()

    async def test_frozen_past_the_session(self, server: Engine, cells: ZookeeperCells) -> None:
        """Stopped in the middle of it all for longer than the session lasts: the change under way is unknown, later ones are
        not sent, and after it goes on the cells do too, at a version that settles what became of the change."""
        await cells.compare_and_set(KEY, 0, b"before")
        server.freeze()
        sent = asyncio.ensure_future(cells.compare_and_set(KEY, 1, b"mine"))
        await lost(cells)
        with pytest.raises(OutcomeUnknown):
            await sent
        with pytest.raises(Unavailable):
            await cells.compare_and_set(KEY, 1, b"later")
        server.thaw()
        await back(cells)
        view = await cells.read(KEY)
        assert view in (CellView(1, b"before"), CellView(2, b"mine"))
        assert (await cells.compare_and_set(KEY, view.version, b"after")).applied

    async def test_killed_and_started_again(self, server: Engine, cells: ZookeeperCells) -> None:
        """What was answered before the kill is there after the start; in between nothing is sent."""
        assert (await cells.compare_and_set(KEY, 0, b"one")).applied
        assert (await cells.compare_and_set(KEY, 1, b"two")).applied
        server.kill()
        await lost(cells)
        with pytest.raises(Unavailable):
            await cells.compare_and_set(KEY, 2, b"lost")
        with running(start(server.spec, require("zookeeper"))):
            await back(cells)
            assert await cells.read(KEY) == CellView(2, b"two")
            assert await cells.compare_and_set(KEY, 2, b"three") == CellAnswer(True, CellView(3, b"three"))

    async def test_a_start_without_a_server_says_what_is_wrong(self, server: Engine) -> None:
        """Nobody listens: Unavailable within the limit, with the setting's name."""
        settings = ZookeeperSettings(servers=(f"{server.spec.address}:1",), connect_ms=300)
        with pytest.raises(Unavailable, match=r"zookeeper\.servers"):
            await ZookeeperCells(ZookeeperSession(settings, Runtime())).start()


class TestEnsemble:
    """Three servers on one address."""

    @pytest.fixture
    def servers(self, tmp_path: Path) -> Iterator[list[Engine]]:
        address = free_address((*PORTS, 2888, 2889, 2890, 3888, 3889, 3890))
        members = tuple(
            Member(number=number, address=address, quorum_port=2887 + number, election_port=3887 + number)
            for number in (1, 2, 3)
        )
        installation = require("zookeeper")
        with ExitStack() as stack:
            engines = [
                start(
                    ZooKeeperSpec(
                        folder=str(tmp_path / str(member.number)),
                        address=address,
                        client_port=port,
                        members=members,
                        number=member.number,
                    ),
                    installation,
                )
                for member, port in zip(members, PORTS, strict=True)
            ]
            for engine in engines:
                stack.callback(engine.kill)
            for engine in engines:
                engine.wait_ready(wait_s=LIMIT_S)
            yield engines

    async def test_a_read_does_not_wait_for_the_change_of_another_cell(self, servers: list[Engine]) -> None:
        """Goal: whoever comes for one key does not wait while the process has the change of another one under way: its local read, its
        watch and the janitor's listing are answered by this site's server alone. Method: the leader is frozen, so that the change
        certainly has no answer while they are asked."""
        modes = [server.standing().mode for server in servers]
        leader, follower = servers[modes.index("leader")], servers[modes.index("follower")]
        cells = make_cells(follower.spec.port, address=follower.spec.address)
        await cells.start()
        for key in (KEY, OTHER):
            assert (await cells.compare_and_set(key, 0, b"one")).applied
        leader.freeze()
        change = asyncio.ensure_future(cells.compare_and_set(KEY, 1, b"two"))
        await asyncio.sleep(0)
        assert await cells.read_local(OTHER) == CellView(1, b"one")
        assert sorted(await cells.keys(b"", 10)) == sorted([KEY, OTHER])
        moved = asyncio.Event()
        cells.watch(KEY, moved.set)
        assert await cells.read_local(KEY) == CellView(1, b"one")
        assert not change.done()
        assert not moved.is_set()
        leader.thaw()
        assert await change == CellAnswer(True, CellView(2, b"two"))
        async with asyncio.timeout(LIMIT_S):
            await moved.wait()
        assert await cells.read_local(KEY) == CellView(2, b"two")
        await cells.close()

    async def test_costs_follow_the_leader(self, servers: list[Engine]) -> None:
        """At the leader a change costs 1 and a read nothing, at a follower 2 and 1. The leader is killed: whoever was there
        is met by another server and asks it; the one that leads now is asked again as well. Nothing answered is lost, and
        what one site wrote the other reads, up to the largest cell there may be."""
        modes = [server.standing().mode for server in servers]
        at = modes.index("leader")
        leader, follower = servers[at], servers[modes.index("follower")]
        address = leader.spec.address
        ports = [server.spec.port for server in servers]
        # The leader's own site has only two servers in its list, so that it must ask again.
        here = make_cells(leader.spec.port, follower.spec.port, address=address)
        there = make_cells(follower.spec.port, address=address)
        await here.start()
        await there.start()
        assert here.costs == BESIDE_THE_LEADER
        assert there.costs == ELSEWHERE
        largest = b"x" * (CELL_BYTES_MAX - len(here._path(KEY)))
        assert (await here.compare_and_set(KEY, 0, largest)).applied
        assert await there.read(KEY) == CellView(1, largest)
        with pytest.raises(TooLarge):
            await here.compare_and_set(KEY, 1, largest + b"x")
        assert (await there.compare_and_set(KEY, 1, b"two")).applied
        # What stood against a refused change is told although the follower was told nothing before.
        for version in range(2, 20):
            await here.compare_and_set(KEY, version, b"%d" % version)
            assert await there.compare_and_set(KEY, version, b"x") == CellAnswer(
                False, CellView(version + 1, b"%d" % version)
            )

        # A read waits for what the follower has not heard yet; a local one does not.
        follower.freeze()
        assert (await here.compare_and_set(KEY, 20, b"unheard")).applied
        late = asyncio.ensure_future(there.read(KEY))
        await asyncio.sleep(0)
        follower.thaw()
        assert await late == CellView(21, b"unheard")

        connections = here._session.connections, there._session.connections
        leader.kill()
        await lost(here)
        assert here.costs == ELSEWHERE
        rest = [server for server in servers if server is not leader]
        for server in rest:
            server.wait_ready(wait_s=LIMIT_S)
        await back(here, connections[0])
        await back(there, connections[1])
        mode = follower.standing().mode
        assert mode in ("leader", "follower")
        expected = BESIDE_THE_LEADER if mode == "leader" else ELSEWHERE
        assert here.costs == expected
        assert there.costs == expected
        assert await here.read(KEY) == CellView(21, b"unheard")
        assert (await there.compare_and_set(KEY, 21, b"on")).applied
        other = make_cells(
            *(port for port in ports if port not in (leader.spec.port, follower.spec.port)), address=address
        )
        await other.start()
        assert {other.costs, there.costs} == {BESIDE_THE_LEADER, ELSEWHERE}
        for each in (here, there, other):
            await each.close()
