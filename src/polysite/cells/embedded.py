"""Lock cells in the database file of the embedded engine."""

from collections.abc import Callable

from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, CellCapability, CellCosts, Cells, CellView
from polysite.engines.sqlite import SqliteEngine
from polysite.engines.sqlite.cells import change_cell, read_cell
from polysite.engines.sqlite.driver import Connection
from polysite.engines.sqlite.failures import translated

_KEYS = "select key from cells where key > ? order by key limit ?"


class EmbeddedCells(Cells):
    """The cells of one file. Every process on it sees every change at once, so a local read is a linearizable one."""

    name = "embedded"
    costs = CellCosts()
    begins = True

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self._writer = engine.writer
        capabilities: set[CellCapability] = {"joint", "watch", "local_view"}
        if engine.is_durable:
            capabilities.add("durable")
        self.capabilities = frozenset(capabilities)

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    async def read_local(self, key: bytes) -> CellView:
        with translated:
            found = read_cell(self._engine.reader, key)
        return NEVER_WRITTEN if found is None else CellView(*found)

    async def read(self, key: bytes) -> CellView:
        """As `read_local`: the file has one state. A change left unanswered applies later only if the version still fits."""
        return await self.read_local(key)

    async def compare_and_set(self, key: bytes, expected_version: int, content: bytes) -> CellAnswer:
        answer = await self._writer.submit(_change(key, expected_version, content))
        if answer.applied:
            self._engine.tell(key)
        return answer

    def begin(
        self,
        key: bytes,
        expected_version: int,
        content: bytes,
        answered: Callable[[CellAnswer | BaseException], None],
    ) -> None:
        def told(answer: CellAnswer, error: BaseException | None) -> None:
            if error is not None:
                answered(error)
                return
            if answer.applied:
                self._engine.tell(key)
            answered(answer)

        self._writer.post(_change(key, expected_version, content), told)

    async def keys(self, after: bytes, limit: int) -> list[bytes]:
        with translated:
            return [row[0] for row in self._engine.reader.all(_KEYS, (after, limit))]

    def watch(self, key: bytes, changed: Callable[[], None]) -> Callable[[], None]:
        """Tells of changes made through this process's engine, never of those of other processes on the file: SQLite has no
        notice of them but a counter to be asked. They are theirs to push, and `read` shows them at once."""
        return self._engine.watch(key, changed)


def _change(key: bytes, expected_version: int, content: bytes) -> Callable[[Connection], CellAnswer]:
    def job(connection: Connection) -> CellAnswer:
        applied, version, current = change_cell(connection, key, expected_version, content)
        return CellAnswer(applied, CellView(version, current))

    return job
