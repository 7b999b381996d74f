"""One Cassandra 6 server with Accord: the same as in `cassandra`, but for what the alpha release wants otherwise."""

from collections.abc import Mapping
from typing import Any, ClassVar

from polysite.lab.engines.cassandra import PROPERTIES, CassandraSpec

LEFT_OUT = ("cassandra.skip_schema_check", "cassandra.consistent.rangemovement")
"""What Cassandra 6 does not know any more: its metadata log keeps schema and tokens."""

COMES_BACK = {
    "stop_marker_failure_policy": "ALLOW_UNSAFE_STARTUP",
    "crc_failure_on_rebuild_policy": "IGNORE_CRC_ZERO_RECORDS",
}
"""What the section `accord.journal` needs so that a killed server starts again; as it is shipped it never does (decision 10)."""


class AccordSpec(CassandraSpec, frozen=True, kw_only=True):
    """A Cassandra node of version 6 as a value. Members of a cluster are started one after the other, with the first one as the only seed.

    `accord` is what its section `accord` holds besides `enabled` and the folder of its journal.
    """

    engine: ClassVar[str] = "accord"

    heap_mib: int = 512
    accord: dict[str, Any] = {}  # noqa: RUF012  # msgspec copies it

    def yaml(self) -> dict[str, Any]:
        """What stands in cassandra.yaml."""
        section = {"enabled": True, "journal_directory": f"{self.folder}/accord_journal", **self.accord}
        return {**super().yaml(), "accord": section, **self.settings}

    def properties(self) -> Mapping[str, str]:
        return {name: value for name, value in PROPERTIES.items() if name not in LEFT_OUT}
