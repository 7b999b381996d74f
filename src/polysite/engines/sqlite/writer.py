"""The one writer of a file: what is queued while a commit runs is committed as the next group.

A job is a function from the connection to a result. The writer runs the jobs of a group one after the other inside one
transaction, so each sees what those before it did, and answers them all after the commit, so that none is told of
anything that a crash could take back. A job may run more than once: it keeps no state but in the database.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.failures import is_full, refused, uncommitted
from polysite.errors import OutcomeUnknown, Overloaded, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[Connection], T]

GROUP_JOBS_MAX = 512
QUEUED_JOBS_MAX = 10_000


class Answer(NamedTuple):
    """What became of one job: `error` None means `result` holds."""

    result: Any
    error: BaseException | None = None


class _Waiting(NamedTuple):
    """A job and who is told: a future, or a callback with the result and the error."""

    job: Job[Any]
    future: "asyncio.Future[Any] | None"
    answered: Callable[[Any, BaseException | None], None] | None = None


def run_group(connection: Connection, jobs: Sequence[Job[Any]]) -> list[Answer]:
    """Carry out `jobs` as one transaction; an answer for each, in order.

    A job that raises before it changed anything fails alone. One that raises later spoils the transaction: it is rolled
    back and every job is carried out in a transaction of its own, so that the others do not suffer.
    """
    connection.transaction_number += 1
    try:
        connection.run("begin immediate")
    except Exception as error:  # noqa: BLE001 - every job is told, whatever it was
        return [Answer(None, refused(error))] * len(jobs)
    answers: list[Answer] = []
    for job in jobs:
        changed = connection.changed_total()
        try:
            answers.append(Answer(job(connection)))
        except Exception as error:  # noqa: BLE001 - the job's caller is told
            if connection.in_transaction() and connection.changed_total() == changed:
                answers.append(Answer(None, refused(error)))
                continue
            return _spoilt(connection, jobs, error)
    try:
        connection.run("commit")
    except Exception as error:  # noqa: BLE001 - every job is told
        _roll_back(connection)
        return [Answer(None, uncommitted(error))] * len(jobs)
    return answers


def _spoilt(connection: Connection, jobs: Sequence[Job[Any]], error: Exception) -> list[Answer]:
    _roll_back(connection)
    if len(jobs) == 1 or is_full(error):
        return [Answer(None, refused(error))] * len(jobs)
    return [run_group(connection, [job])[0] for job in jobs]


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction():
        connection.run("rollback")


class Writer:
    """Gathers jobs on the event loop and has them carried out in groups, in the order of their submission.

    With a thread of its own (`inline` False) the loop never waits for the disk. Inline, groups run on the loop itself,
    decided by nothing but the loop's order, for `:memory:` and for virtual time.
    """

    def __init__(self, connect: Callable[[], Connection], *, inline: bool, jobs_max: int = QUEUED_JOBS_MAX) -> None:
        self._connect = connect
        self._inline = inline
        self._jobs_max = jobs_max
        self._connection: Connection | None = None
        self._gathered: list[_Waiting] = []
        self._unanswered = 0
        self._closing = False
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.groups_committed = 0
        """Groups carried out so far, for benches and metrics."""

    @property
    def unanswered(self) -> int:
        """Jobs submitted and not yet answered."""
        return self._unanswered

    async def start(self) -> Connection | None:
        """Open the connection; it is returned when inline, for reads to share."""
        self._loop = asyncio.get_running_loop()
        self._closing = False
        if self._inline:
            self._connection = self._connect()
            return self._connection
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, args=(opened,), name="polysite-writer", daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            self._thread = None
            raise
        return None

    async def close(self) -> None:
        """Answer everything that was submitted, then close the connection."""
        if self._loop is None or self._closing:
            return
        self._closing = True
        self._flush()
        if self._thread is None:
            if self._connection is not None:
                self._connection.close()
        else:
            ended = self._loop.create_future()
            self._unanswered += 1
            self._queue.put([_Waiting(_nothing, ended)])
            self._queue.put(None)
            await ended
            self._thread.join()
        self._thread = self._connection = None

    def submit(self, job: Job[T]) -> "asyncio.Future[T]":
        """Have `job` carried out; the future is answered when its group is durable. Overloaded: the queue is full.

        On the thread of the loop that started the writer. Cancelling the future does not call the job back.
        """
        loop = self._open()
        future: asyncio.Future[T] = loop.create_future()
        self._unanswered += 1
        if not self._gathered:
            # Whatever the tasks of this round of the loop submit goes to the thread together.
            loop.call_soon(self._flush)
        self._gathered.append(_Waiting(job, future))
        return future

    def post(self, job: Job[T], answered: Callable[[T, BaseException | None], None]) -> None:
        """As `submit` for a caller that has no task: `answered` is called on the loop's thread with the result and None, or
        with anything and the error."""
        loop = self._open()
        self._unanswered += 1
        if not self._gathered:
            loop.call_soon(self._flush)
        self._gathered.append(_Waiting(job, None, answered))

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._unanswered >= self._jobs_max:
            raise Overloaded("too many writes wait for the disk")
        if self._closing or self._loop is None:
            raise Unavailable("the engine is closed")
        return self._loop

    def _flush(self) -> None:
        if not self._gathered:
            return
        waiting, self._gathered = self._gathered, []
        if not self._inline:
            self._queue.put(waiting)
            return
        for start in range(0, len(waiting), GROUP_JOBS_MAX):
            group = waiting[start : start + GROUP_JOBS_MAX]
            self._answer(group, self._carry_out(group))

    def _carry_out(self, group: list[_Waiting]) -> list[Answer]:
        try:
            if self._connection is None:
                self._connection = self._connect()
        except Exception as error:  # noqa: BLE001 - every job is told
            return [Answer(None, refused(error))] * len(group)
        try:
            self.groups_committed += 1
            answers = run_group(self._connection, [waiting.job for waiting in group])
            # Any of them: of a group that was spoilt each job had a transaction of its own.
            if any(isinstance(answer.error, OutcomeUnknown) for answer in answers):
                self._drop_connection()
        except Exception as error:  # noqa: BLE001 - the connection is lost; the thread lives on with a new one
            lost = OutcomeUnknown("the engine failed while it wrote", reason="engine_failed")
            lost.__cause__ = error
            answers = [Answer(None, lost)] * len(group)
            self._drop_connection()
        return answers

    def _drop_connection(self) -> None:
        if self._connection is None or self._inline:
            return
        connection, self._connection = self._connection, None
        with contextlib.suppress(Exception):
            connection.close()

    def _answer(self, group: list[_Waiting], answers: list[Answer]) -> None:
        self._unanswered -= len(group)
        for (_, future, answered), (result, error) in zip(group, answers, strict=True):
            if future is None:
                assert answered is not None
                try:
                    answered(result, error)
                except Exception:  # noqa: BLE001
                    # One callback's mistake must not leave the rest of the group without an answer.
                    _log.exception("the callback of a write failed")
            elif future.done():
                continue
            elif error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _main(self, opened: "asyncio.Future[None]") -> None:
        loop = self._loop
        assert loop is not None
        try:
            self._connection = self._connect()
        except Exception as error:  # noqa: BLE001 - whoever starts is told
            loop.call_soon_threadsafe(opened.set_exception, refused(error))
            return
        loop.call_soon_threadsafe(opened.set_result, None)
        ended = False
        while not ended:
            gathered = self._queue.get()
            group: list[_Waiting] = []
            while gathered is not None:
                group += gathered
                if len(group) >= GROUP_JOBS_MAX or self._queue.empty():
                    break
                gathered = self._queue.get()
            ended = gathered is None
            if group:
                answers = self._carry_out(group)
                try:
                    loop.call_soon_threadsafe(self._answer, group, answers)
                except RuntimeError:  # the loop is gone, and with it whoever waited
                    ended = True
        self._drop_connection()


def _nothing(connection: Connection) -> None:
    """A job that only marks its place in the queue."""
