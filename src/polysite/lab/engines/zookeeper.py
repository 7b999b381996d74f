"""One ZooKeeper server, alone or as a member of an ensemble."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from polysite.lab.engines.probes import Standing, ask_zookeeper
from polysite.lab.engines.specs import Installation, check_folder, logback_xml, small_jvm

MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an ensemble; `number` is its own from 1 to 255. Between equals, the highest number is elected."""

    number: int
    address: str
    quorum_port: int = 2888
    election_port: int = 3888


class ZooKeeperSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A ZooKeeper server as a value. `members` empty: it stands alone; else `number` says which of them it is.

    `tick_ms` is ZooKeeper's unit of time: sessions are granted 2 to 20 of them, a follower may lag `sync_ticks` and take `init_ticks`
    to join.
    """

    engine: ClassVar[str] = "zookeeper"

    folder: str
    address: str
    client_port: int = 2181
    members: tuple[Member, ...] = ()
    number: int = 1
    heap_mib: int = 128
    tick_ms: int = 500
    init_ticks: int = 20
    sync_ticks: int = 10
    log_level: Literal["DEBUG", "INFO", "WARN"] = "INFO"
    settings: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_folder(self.folder)
        numbers = [member.number for member in self.members]
        if self.members and (numbers.count(self.number) != 1 or len(set(numbers)) != len(numbers)):
            raise ValueError(f"number {self.number} must be one of the members' numbers {numbers}, which must differ")

    @property
    def port(self) -> int:
        return self.client_port

    def properties(self) -> dict[str, str]:
        """What stands in zoo.cfg; `settings` win over ours."""
        found = {
            "tickTime": str(self.tick_ms),
            "initLimit": str(self.init_ticks),
            "syncLimit": str(self.sync_ticks),
            "dataDir": f"{self.folder}/data",
            "clientPort": str(self.client_port),
            "clientPortAddress": self.address,
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "srvr,ruok,stat,mntr",
        }
        for member in self.members:
            found[f"server.{member.number}"] = f"{member.address}:{member.quorum_port}:{member.election_port}"
        return {**found, **self.settings}

    def files(self) -> dict[str, str]:
        """zoo.cfg, the logging, and its own number, which ZooKeeper wants in its data folder."""
        lines = [f"{name}={value}\n" for name, value in self.properties().items()]
        files = {
            "conf/zoo.cfg": "".join(lines).replace("\\", "\\\\"),
            "conf/logback.xml": logback_xml(self.folder, self.log_level),
            "scratch/.keep": "",
            "data/.keep": "",
        }
        return {**files, "data/myid": f"{self.number}\n"} if self.members else files

    def command(self, installation: Installation, *, jvm: Sequence[str] = ()) -> list[str]:
        """The command line."""
        return [
            *small_jvm(installation, heap_mib=self.heap_mib, folder=self.folder),
            # Kibibytes set aside at a time for its log; 64 MiB by default, per server and at every start.
            "-Dzookeeper.preAllocSize=4096",
            *jvm,
            "-cp",
            installation.classpath,
            MAIN_CLASS,
            f"{self.folder}/conf/zoo.cfg",
        ]

    def ask(self) -> Standing:
        return ask_zookeeper(self.address, self.client_port)
