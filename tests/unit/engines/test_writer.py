"""The writer: groups, what a failing job does to the others, failing commits, bounds, and an orderly end."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from polysite.engines.sqlite import MEMORY, Connection, DriverName, SqliteEngine
from polysite.engines.sqlite.driver import ApswConnection, connect, driver_names
from polysite.engines.sqlite.writer import GROUP_JOBS_MAX, Writer, run_group
from polysite.errors import BadRequest, OutcomeUnknown, Overloaded, PolysiteError, StoreFull, Unavailable, UnknownKey

CREATE = "create table if not exists notes (name text primary key, value integer)"
ADD = "insert into notes values (?, ?)"


def adding(name: str, value: int = 1) -> Callable[[Connection], int]:
    return lambda connection: connection.change(ADD, (name, value))


def notes(connection: Connection) -> dict[str, int]:
    return dict(connection.all("select name, value from notes"))


@pytest.fixture(params=driver_names())
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a database in memory that has a table."""
    connection = connect(MEMORY, busy_wait_s=0.1, driver=request.param)
    connection.run(CREATE)
    yield connection
    connection.close()


@pytest.fixture(params=[False, True], ids=["thread", "inline"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    """An engine on a file, with its thread or inline, that has a table."""
    engine = SqliteEngine(tmp_path / "polysite.db", inline=request.param)
    await engine.start()
    await engine.writer.submit(lambda connection: connection.run(CREATE))
    yield engine
    await engine.close()


def test_a_job_that_fails_before_it_changed_anything_fails_alone(connection: Connection) -> None:
    """Three jobs, the middle one refuses: the others are committed in the one transaction."""

    def refuse(_: Connection) -> None:
        raise UnknownKey

    answers = run_group(connection, [adding("a"), refuse, adding("b")])
    assert [type(answer.error) for answer in answers] == [type(None), UnknownKey, type(None)]
    assert notes(connection) == {"a": 1, "b": 1}
    assert connection.transaction_number == 1


def test_a_job_that_fails_later_takes_only_its_own_changes_back(connection: Connection) -> None:
    """The middle one writes and then raises: its write is gone, those of the others are there."""

    def spoil(connection: Connection) -> None:
        connection.change(ADD, ("spoilt", 1))
        raise RuntimeError("a bug")

    answers = run_group(connection, [adding("a"), spoil, adding("b")])
    assert [type(answer.error) for answer in answers] == [type(None), RuntimeError, type(None)]
    assert notes(connection) == {"a": 1, "b": 1}


def test_a_driver_error_is_translated_and_leaves_the_others_alone(connection: Connection) -> None:
    """A job that breaks a rule of the database, and one that names a table that is gone."""
    gone = lambda connection: connection.change("insert into gone values (?)", (1,))  # noqa: E731
    answers = run_group(connection, [adding("a"), gone, adding("a"), adding("b")])
    assert [type(answer.error) for answer in answers] == [type(None), UnknownKey, Unavailable, type(None)]
    assert notes(connection) == {"a": 1, "b": 1}


class FailingConnection(ApswConnection):
    """A connection whose COMMIT fails with a driver's error, after or before it took effect."""

    fails_with: type[apsw.Error] | None = None
    after_commit = False

    def run(self, sql: str, values: Any = ()) -> None:
        if sql == "commit" and self.fails_with is not None:
            if self.after_commit:
                super().run(sql)
            error = self.fails_with("from the disk")
            vars(error).update(extendedresult=getattr(apsw, _CODES[self.fails_with]))
            raise error
        super().run(sql, values)


_CODES = {apsw.FullError: "SQLITE_FULL", apsw.BusyError: "SQLITE_BUSY", apsw.IOError: "SQLITE_IOERR"}


@pytest.mark.parametrize(
    ("driver_error", "ours"),
    [(apsw.FullError, StoreFull), (apsw.BusyError, Unavailable), (apsw.IOError, OutcomeUnknown)],
)
def test_a_commit_that_fails(driver_error: type[apsw.Error], ours: type[PolysiteError]) -> None:
    """Full and busy are refused, since nothing can have been committed; any other error is unknown. Nobody is told done."""
    connection = FailingConnection(MEMORY, busy_wait_s=0.1)
    connection.run(CREATE)
    connection.fails_with = driver_error
    answers = run_group(connection, [adding("a"), adding("b")])
    assert [type(answer.error) for answer in answers] == [ours, ours]
    connection.fails_with = None
    assert notes(connection) == {}
    assert run_group(connection, [adding("c")])[0].error is None
    connection.close()


async def test_the_writer_lives_on_after_a_lost_connection(tmp_path: Path) -> None:
    """A commit that took effect and failed all the same: unknown for its group; the next group has a new connection."""
    made: list[FailingConnection] = []

    def open_one() -> Connection:
        connection = FailingConnection(str(tmp_path / "polysite.db"), busy_wait_s=0.1)
        connection.run(CREATE)
        made.append(connection)
        return connection

    writer = Writer(open_one, inline=False)
    await writer.start()
    made[0].fails_with, made[0].after_commit = apsw.IOError, True
    lost = [writer.submit(adding(name)) for name in "ab"]
    for future in lost:
        with pytest.raises(OutcomeUnknown):
            await future
    assert await writer.submit(adding("c")) == 1
    assert len(made) == 2
    assert await writer.submit(notes) == {"a": 1, "b": 1, "c": 1}
    await writer.close()


async def test_a_connection_is_given_up_whichever_job_of_its_group_lost_its_commit(tmp_path: Path) -> None:
    """Goal: after a commit whose outcome is unknown nobody reads through its connection again. Method: a group that is spoilt by
    its second job, so that each has a transaction of its own; the last one's commit fails."""
    made: list[FailingConnection] = []

    def open_one() -> Connection:
        connection = FailingConnection(str(tmp_path / "polysite.db"), busy_wait_s=0.1)
        connection.run(CREATE)
        made.append(connection)
        return connection

    def spoil(connection: Connection) -> None:
        connection.change(ADD, ("b", 1))
        raise UnknownKey

    def lose_the_commit(connection: Connection) -> int:
        made[0].fails_with = apsw.IOError
        return connection.change(ADD, ("c", 1))

    writer = Writer(open_one, inline=False)
    await writer.start()
    asked = [writer.submit(job) for job in (adding("a"), spoil, lose_the_commit)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, UnknownKey, OutcomeUnknown]
    assert await writer.submit(adding("d")) == 1
    assert len(made) == 2
    await writer.close()


async def test_what_is_submitted_together_is_committed_together(engine: SqliteEngine) -> None:
    """A hundred jobs of one round of the loop: one group, answered in order, each seeing those before it."""
    before = engine.writer.groups_committed

    def count(connection: Connection) -> int:
        connection.change(ADD, (f"n{len(notes(connection))}", 1))
        return len(notes(connection))

    answers = await asyncio.gather(*(engine.writer.submit(count) for _ in range(100)))
    assert answers == list(range(1, 101))
    assert engine.writer.groups_committed == before + 1


async def test_more_than_a_group_takes_turns(engine: SqliteEngine) -> None:
    """Three groups' worth of jobs are all answered."""
    futures = [engine.writer.submit(adding(f"n{at}")) for at in range(3 * GROUP_JOBS_MAX)]
    assert sum(await asyncio.gather(*futures)) == 3 * GROUP_JOBS_MAX


async def test_a_cancelled_caller_disturbs_nobody(engine: SqliteEngine) -> None:
    """Its job is carried out all the same, and the others are answered."""
    futures = [engine.writer.submit(adding(name)) for name in "abc"]
    futures[1].cancel()
    assert await futures[0] == await futures[2] == 1
    assert notes(engine.reader) == {"a": 1, "b": 1, "c": 1}


async def test_a_posted_job_is_answered_by_a_call(engine: SqliteEngine, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs without a task: each is told its result or its error, in order; a callback that fails harms neither those behind it
    nor the writer, and is logged."""
    told: list[tuple[Any, type[BaseException] | None]] = []

    def answered(result: Any, error: BaseException | None) -> None:
        told.append((result, None if error is None else type(error)))
        if len(told) == 1:
            raise RuntimeError("a bug of the caller")

    def refuse(_: Connection) -> None:
        raise UnknownKey

    engine.writer.post(adding("a"), answered)
    engine.writer.post(refuse, answered)
    engine.writer.post(adding("b"), answered)
    assert not told
    assert await engine.writer.submit(adding("c")) == 1
    assert told == [(1, None), (None, UnknownKey), (1, None)]
    assert engine.writer.unanswered == 0
    assert "callback of a write failed" in caplog.text
    assert notes(engine.reader) == {"a": 1, "b": 1, "c": 1}


async def test_a_read_sees_what_was_answered(engine: SqliteEngine) -> None:
    """On the loop's connection and in the pool."""
    for at in range(50):
        await engine.writer.submit(adding(f"n{at}"))
        assert len(notes(engine.reader)) == at + 1
        assert len(await engine.in_pool(notes)) == at + 1


@pytest.mark.parametrize("inline", [False, True])
async def test_a_full_queue_refuses(tmp_path: Path, inline: bool) -> None:
    """Past the bound it is Overloaded, to be tried again; what was taken is carried out; then there is room."""
    engine = SqliteEngine(tmp_path / "polysite.db", jobs_max=3, inline=inline)
    await engine.start()
    await engine.writer.submit(lambda connection: connection.run(CREATE))
    futures = [engine.writer.submit(adding(name)) for name in "abc"]
    with pytest.raises(Overloaded):
        engine.writer.submit(adding("d"))
    assert await asyncio.gather(*futures) == [1, 1, 1]
    assert await engine.writer.submit(adding("d")) == 1
    await engine.close()


@pytest.mark.parametrize("driver", driver_names())
async def test_a_file_that_another_process_keeps_locked(tmp_path: Path, driver: DriverName) -> None:
    """While another connection holds the write lock past the wait, writes are refused and reads work; then all is well."""
    engine = SqliteEngine(tmp_path / "polysite.db", busy_wait_s=0.02, driver=driver)
    await engine.start()
    await engine.writer.submit(lambda connection: connection.run(CREATE))
    other = connect(str(tmp_path / "polysite.db"), busy_wait_s=0.02, driver=driver)
    other.run("begin immediate")
    with pytest.raises(Unavailable):
        await engine.writer.submit(adding("a"))
    assert notes(engine.reader) == {}
    other.run("rollback")
    other.close()
    assert await engine.writer.submit(adding("a")) == 1
    await engine.close()


async def test_closing_answers_everything_first(engine: SqliteEngine) -> None:
    """Submit and close at once: the jobs are done; afterwards nothing is taken."""
    await engine.start()
    futures = [engine.writer.submit(adding(name)) for name in "abc"]
    await engine.close()
    await engine.writer.close()
    assert [future.result() for future in futures] == [1, 1, 1]
    with pytest.raises(Unavailable):
        engine.writer.submit(adding("d"))


async def test_an_engine_is_closed_by_its_last_user(tmp_path: Path) -> None:
    """Started twice, closed once: it still works; closed twice: it does not; and it can be started again."""
    engine = SqliteEngine(tmp_path / "polysite.db")
    await engine.start()
    await engine.start()
    await engine.close()
    await engine.writer.submit(lambda connection: connection.run(CREATE))
    await engine.close()
    with pytest.raises(Unavailable):
        engine.reader.all("select 1")
    await engine.start()
    assert notes(engine.reader) == {}
    await engine.close()


async def test_the_file_is_for_its_owner_alone(engine: SqliteEngine, tmp_path: Path) -> None:
    """The database and the log beside it have mode 0600."""
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    assert modes["polysite.db"] == 0o600
    assert set(modes.values()) == {0o600}


async def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """A database of another application, one of a later format, and what is no database: refused, and not changed."""
    foreign, later, nothing = (tmp_path / name for name in ("foreign.db", "later.db", "nothing.db"))
    connection = connect(str(foreign), busy_wait_s=0.1)
    connection.run("create table theirs (x)")
    connection.close()
    engine = SqliteEngine(later)
    await engine.start()
    await engine.close()
    connection = connect(str(later), busy_wait_s=0.1)
    connection.run("pragma user_version = 99")
    connection.close()
    nothing.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    for path, error in ((foreign, BadRequest), (later, BadRequest), (nothing, Unavailable)):
        engine = SqliteEngine(path)
        with pytest.raises(error) as caught:
            await engine.start()
        assert str(tmp_path) not in str(caught.value)
    assert nothing.read_bytes().startswith(b"no database")


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file stands where the folder would be."""
    (tmp_path / "taken").write_text("")
    engine = SqliteEngine(tmp_path / "taken" / "polysite.db")
    with pytest.raises(Unavailable) as caught:
        await engine.start()
    assert os.sep not in str(caught.value)
