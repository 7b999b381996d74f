"""What the ZooKeeper session decides by plain values: outcomes of errors, standings, settings, and how answers come to the loop."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest
from kazoo import exceptions as zk
from kazoo.exceptions import EXCEPTIONS

from polysite.clock import Runtime
from polysite.engines.zookeeper import ZookeeperSettings
from polysite.engines.zookeeper.bridge import Bridge, LoopHandler, Result
from polysite.engines.zookeeper.failures import AGAINST, NOT_DONE, Against, told, unanswered
from polysite.engines.zookeeper.session import ZookeeperSession
from polysite.engines.zookeeper.standing import NotTold, parse_standing
from polysite.errors import BadRequest, OutcomeUnknown, Overloaded, StoreFull, Unavailable

SRVR = """Zookeeper version: 3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on 2024-10-17 23:21 UTC
Latency min/avg/max: 0/0.0/0
Received: 1
Sent: 0
Connections: 1
Outstanding: 0
Zxid: 0x100000000
Mode: {}
Node count: 5
"""


class TestFailures:
    """The table of outcomes."""

    @pytest.mark.parametrize(
        ("error", "meaning"),
        [
            (zk.NoNodeError, Against.ABSENT),
            (zk.NodeExistsError, Against.EXISTS),
            (zk.BadVersionError, Against.MOVED),
        ],
    )
    @pytest.mark.parametrize("changes", [True, False])
    def test_what_stood_against_it(self, error: type[Exception], meaning: Against, changes: bool) -> None:
        """Three answers are no failures: they say what is there."""
        assert told(error(), changes=changes) is meaning

    @pytest.mark.parametrize(
        ("error", "ours"),
        [
            (zk.SessionExpiredError, Unavailable),
            (zk.SessionMovedError, Unavailable),
            (zk.AuthFailedError, Unavailable),
            (zk.NoAuthError, Unavailable),
            (zk.InvalidACLError, Unavailable),
            (zk.SessionClosedRequireSaslError, Unavailable),
            (zk.NotReadOnlyCallError, Unavailable),
            (zk.QuotaExceededError, StoreFull),
            (zk.ThrottledOpError, Overloaded),
        ],
    )
    def test_what_was_certainly_not_carried_out(self, error: type[Exception], ours: type[Exception]) -> None:
        """Errors from before the transaction are passing refusals, with the cause kept, and the table has no other."""
        found = told(error(), changes=True)
        assert type(found) is ours
        assert isinstance(found.__cause__, error)
        assert len(NOT_DONE) == 9

    def test_everything_else_may_have_happened(self) -> None:
        """A change that ended by any other error of ZooKeeper or of the client is unknown; a read is to be tried again. A closed
        connection is among them, though kazoo makes it a kind of expired session."""
        others = {*EXCEPTIONS.values(), zk.ConnectionClosedError, RuntimeError} - {*AGAINST, *NOT_DONE}
        assert {zk.ConnectionLoss, zk.OperationTimeoutError, zk.ConnectionClosedError} < others
        for error in others:
            change, read = told(error(), changes=True), told(error(), changes=False)
            assert isinstance(change, OutcomeUnknown)
            assert change.reason == "connection_lost"
            assert type(read) is Unavailable

    @pytest.mark.parametrize("reason", ["connection_lost", "no_answer", "closing"])
    def test_without_an_answer(self, reason: str) -> None:
        """A change without an answer is unknown and says why; a read is Unavailable."""
        change = unanswered(reason, changes=True)
        assert isinstance(change, OutcomeUnknown)
        assert change.reason == reason
        assert type(unanswered(reason, changes=False)) is Unavailable


class TestStanding:
    """What a server says it is."""

    @pytest.mark.parametrize("standing", ["leader", "follower", "observer", "standalone"])
    def test_it_is_read_from_srvr(self, standing: str) -> None:
        """The mode among the other lines, whatever ends them."""
        assert parse_standing(SRVR.format(standing)) == standing
        assert parse_standing(SRVR.format(standing).replace("\n", "\r\n")) == standing

    @pytest.mark.parametrize(
        ("answer", "final"),
        [
            ("srvr is not executed because it is not in the whitelist.\n", True),
            ("This ZooKeeper instance is not currently serving requests\n", False),
            (SRVR.format("leader")[:-30], False),
            (SRVR.format("read-only"), False),
            ("", False),
        ],
    )
    def test_what_says_nothing_is_no_standing(self, answer: str, final: bool) -> None:
        """A server that may not answer never will; one that does not serve yet, or was cut short, is asked again."""
        with pytest.raises(NotTold) as caught:
            parse_standing(answer)
        assert caught.value.final is final


class TestSettings:
    """What an operator may write down."""

    @pytest.mark.parametrize(
        ("wrong", "name"),
        [
            ({"servers": ()}, "servers"),
            ({"servers": ("one",)}, "servers"),
            ({"servers": ("one:0",)}, "servers"),
            ({"servers": ("one:70000",)}, "servers"),
            ({"servers": ("one:2181,two:2181",)}, "servers"),
            ({"servers": ("one:2181/chroot",)}, "servers"),
            ({"folder": "polysite"}, "folder"),
            ({"folder": "/"}, "folder"),
            ({"folder": "/a//b"}, "folder"),
            ({"folder": "/a/"}, "folder"),
            ({"folder": "/a/../b"}, "folder"),
            ({"folder": "/zookeeper/a"}, "folder"),
            ({"user": "ana"}, "password_file"),
            ({"password_file": "x"}, "user"),
            ({"user": "a:b", "password_file": "x"}, "user"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, wrong: dict[str, Any], name: str) -> None:
        """By name, before anything is connected."""
        with pytest.raises(BadRequest, match=rf"zookeeper\.{name}"):
            ZookeeperSession(ZookeeperSettings(**wrong), Runtime())

    @pytest.mark.parametrize("server", ["localhost:2181", "10.0.0.1:1", "[::1]:65535", "zk-1.example.org:2181"])
    def test_what_can_be_meant(self, server: str) -> None:
        """Names, addresses of both kinds, nested folders."""
        settings = ZookeeperSettings(servers=(server,), folder="/a/b.c/d-e_f")
        assert settings.checked() is settings

    async def test_the_password_is_read_when_it_connects(self, tmp_path: Any) -> None:
        """A file that is not there, or is empty, is named by its setting, never by its path or content."""
        path = tmp_path / "secret-place"
        session = ZookeeperSession(ZookeeperSettings(user="ana", password_file=str(path)), Runtime())
        for content in (None, "", "\nx"):
            if content is not None:
                path.write_text(content)
            with pytest.raises(BadRequest, match=r"zookeeper\.password_file") as caught:
                await session.start()
            assert "secret-place" not in str(caught.value)

    async def test_nothing_is_sent_before_the_start(self) -> None:
        """Unavailable, not unknown."""
        with pytest.raises(Unavailable):
            ZookeeperSession(ZookeeperSettings(), Runtime()).send(lambda _client: Result(), print, changes=True)

    def test_they_are_read_without_the_library(self) -> None:
        """Whoever keeps cells elsewhere need not install kazoo: the server's settings have this section all the same."""
        script = "import sys; sys.modules['kazoo'] = None; import polysite.server.settings, polysite._open.backends"
        subprocess.run([sys.executable, "-c", script], check=True)


class TestBridge:
    """From the connection thread to the loop."""

    async def test_one_wake_for_what_arrived_meanwhile(self) -> None:
        """A thread posts a hundred calls while the loop is busy: they are made in order, after one wake-up; a later one wakes
        it again. A call that raises does not keep the others."""
        bridge = Bridge(asyncio.get_running_loop())
        made: list[int] = []
        all_made = asyncio.Event()

        def post(numbers: range) -> None:
            for number in numbers:
                bridge.post(made.append, number)
                bridge.post(int, "no number")
            bridge.post(all_made.set)

        for count, numbers in enumerate((range(100), range(100, 101)), start=1):
            all_made.clear()
            thread = threading.Thread(target=post, args=(numbers,))
            thread.start()
            thread.join()
            await asyncio.wait_for(all_made.wait(), 10)
            assert bridge.wakes == count
        assert made == list(range(101))

    async def test_a_call_posted_by_a_call_is_made(self) -> None:
        """The flag is down before anything is taken out, so nothing is left behind without a wake-up."""
        bridge = Bridge(asyncio.get_running_loop())
        done = asyncio.Event()
        bridge.post(lambda: bridge.post(done.set))
        await asyncio.wait_for(done.wait(), 10)

    def test_a_loop_that_is_gone(self) -> None:
        """The connection thread may outlive the loop; it is not to die of that."""
        loop = asyncio.new_event_loop()
        bridge = Bridge(loop)
        loop.close()
        bridge.post(print)

    @pytest.mark.parametrize("linked_first", [True, False])
    def test_a_result_calls_back_once(self, linked_first: bool) -> None:
        """Whether it is linked before or after it is set, and with an error as with a value."""
        for error in (None, ValueError("no")):
            result = Result()
            calls: list[Result] = []

            def link(result: Result = result, calls: list[Result] = calls) -> None:
                result.rawlink(calls.append)

            def finish(result: Result = result, error: ValueError | None = error) -> None:
                result.set(5) if error is None else result.set_exception(error)

            for step in (link, finish) if linked_first else (finish, link):
                step()
            assert calls == [result]
            assert result.ready()
            assert result.exception is error
            if error is None:
                assert result.get() == 5
            else:
                with pytest.raises(ValueError, match=r"^no$"):
                    result.get()

    def test_a_result_is_linked_and_set_at_once(self) -> None:
        """Two threads, many times: each callback is called exactly once."""
        for _ in range(500):
            result = Result()
            calls: list[Result] = []
            both = threading.Barrier(2)

            def finish(result: Result = result, both: threading.Barrier = both) -> None:
                both.wait()
                result.set()

            thread = threading.Thread(target=finish)
            thread.start()
            both.wait()
            result.rawlink(calls.append)
            thread.join()
            assert calls == [result]

    async def test_no_threads_but_the_connection(self) -> None:
        """The handler starts none; watches are called on the loop."""
        before = threading.active_count()
        bridge = Bridge(asyncio.get_running_loop())
        handler = LoopHandler(bridge)
        handler.start()
        assert handler.running
        assert threading.active_count() == before
        assert isinstance(handler.async_result(), Result)
        called = asyncio.Event()
        handler.dispatch_callback(type("Callback", (), {"func": lambda flag: flag.set(), "args": (called,)}))
        await asyncio.wait_for(called.wait(), 10)
        handler.stop()
        assert not handler.running
