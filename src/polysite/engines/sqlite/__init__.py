"""The SQLite file: driver, writer with group commit, and the form in which rows are kept."""

from polysite.engines.sqlite.driver import Connection, DriverName, driver_names
from polysite.engines.sqlite.file import FILE_NAME, MEMORY, SqliteEngine
from polysite.engines.sqlite.writer import Writer

__all__ = ["FILE_NAME", "MEMORY", "Connection", "DriverName", "SqliteEngine", "Writer", "driver_names"]
