"""Several processes of the operating system on one database file, also when they are killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from polysite.cells.embedded import EmbeddedCells
from polysite.engines.sqlite import SqliteEngine
from polysite.stores.embedded import EmbeddedStore
from polysite.testing.store_contract.support import FLAT, KEYSPACE, flat, made, put
from polysite.values.tables import ColumnSpec, TableSpec
from tests.support.counting_process import KEY
from tests.support.source import ROOT

LATE = TableSpec(keyspace=KEYSPACE, name="late", columns=(ColumnSpec("name", "text"),), partition_key=("name",))
COUNT = 300
KILLS = 6


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.counting_process", str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def told(lines: list[str], kind: str) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith(kind + " ")]


async def test_counting_from_two_processes_is_exact(tmp_path: Path) -> None:
    """Two processes add to one cell at once, while a third one makes a table: no version was given twice, none is missing,
    the content is the count, every row of a joint step is there, and both saw the table."""
    path = tmp_path / "polysite.db"
    engine = SqliteEngine(path)
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    await store.start()
    await cells.start()
    await made(store, FLAT)
    processes = [start(path, name, COUNT) for name in "ab"]
    await made(store, LATE)
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    lines = outputs[0] + outputs[1]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(int(version) for version in told(lines, "cas")) == list(range(1, 2 * COUNT + 1))
    view = await cells.read(KEY)
    assert (view.version, view.content) == (2 * COUNT, b"%d" % (2 * COUNT))
    assert told(lines, "seen") == ["late", "late"]
    for name in told(lines, "row"):
        assert (await store.read(FLAT, flat(name), "majority")).present
    page = await store.scan(FLAT, "majority", limit=10_000)
    assert {row.key.partition[0].decode() for row in page.rows} == set(told(lines, "row"))
    await store.close()
    await cells.close()


@pytest.mark.slow
async def test_nothing_answered_is_lost_to_a_kill(tmp_path: Path) -> None:
    """A process is killed after some answers, again and again, while another one counts on: every answered version was
    given once, every answered row is there, and the cell's content is its version."""
    path = tmp_path / "polysite.db"
    engine = SqliteEngine(path)
    store, cells = EmbeddedStore(engine), EmbeddedCells(engine)
    await store.start()
    await cells.start()
    await made(store, FLAT)
    steady = start(path, "steady", COUNT)
    lines: list[str] = []
    for kill in range(KILLS):
        process = start(path, f"killed{kill}", 1_000_000)
        assert process.stdout is not None
        lines += [process.stdout.readline() for _ in range(3 + 7 * kill % 20)]
        process.kill()
        lines += process.communicate()[0].splitlines()[:-1]
        version = (await cells.read(KEY)).version
        assert version >= max(map(int, told(lines, "cas")))
    lines += steady.communicate(timeout=60)[0].splitlines()
    versions = [int(version) for version in told(lines, "cas")]
    assert len(versions) == len(set(versions))
    view = await cells.read(KEY)
    assert view.content == b"%d" % view.version
    for name in told(lines, "row"):
        assert (await store.read(FLAT, flat(name), "majority")).present
    await store.write(FLAT, [put(flat("after"), 5)], "majority")
    await store.close()
    await cells.close()
