"""One Cassandra node: small, fast to start, and safe against a kill at any moment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from polysite.lab.engines.probes import Standing, ask_cassandra
from polysite.lab.engines.specs import Installation, check_folder, logback_xml, small_jvm

MAIN_CLASS = "org.apache.cassandra.service.CassandraDaemon"

# From Cassandra 5.0's conf/jvm17-server.options; a package that a Java lacks costs a line in its output, no more.
EXPORTS = """
java.base/java.lang.ref java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry
java.rmi/sun.rmi.server java.sql/java.sql jdk.attach/sun.tools.attach jdk.compiler/com.sun.tools.javac.file jdk.unsupported/sun.misc
"""
OPENS = """
java.base/java.io java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.nio java.base/java.util
java.base/java.util.concurrent java.base/java.util.concurrent.atomic java.base/jdk.internal.loader java.base/jdk.internal.math
java.base/jdk.internal.module java.base/jdk.internal.ref java.base/jdk.internal.reflect java.base/jdk.internal.util.jar
java.base/sun.nio.ch jdk.compiler/com.sun.tools.javac jdk.management/com.sun.management.internal
"""

PROPERTIES = {
    # Nothing here makes a killed process lose what it acknowledged: `unsafesystem` and `test.flush_local_schema_changes=false` would.
    "cassandra.skip_wait_for_gossip_to_settle": "0",
    "cassandra.ring_delay_ms": "0",
    "cassandra.consistent.rangemovement": "false",
    "cassandra.superuser_setup_delay_ms": "-1",
    "cassandra.skip_schema_check": "true",
    # Measured by the engine at every start otherwise, for 2.6 s.
    "cassandra.memtable.row_overhead_size": "181",
    "cassandra.test.ignore_sigar": "true",
    "cassandra.shutdown_announce_in_ms": "0",
    "cassandra-foreground": "yes",
    "io.netty.tryReflectionSetAccessible": "true",
    "jdk.attach.allowAttachSelf": "true",
}


class CassandraSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A Cassandra node as a value; durations are milliseconds.

    `seeds` empty: it is its own and only seed. `initial_token` None: it draws one, and keeps it; Cassandra nodes that are started side by side
    need fixed ones that differ. `settings` are more lines of cassandra.yaml; they win over ours. `commitlog_sync` `batch` waits for the
    disk. With `periodic` a process that is killed forgets up to a tenth of a second of what it acknowledged, promises of Paxos
    too: what is replayed ends at the last marker in the log, which is written so often (`AbstractCommitLogService`).
    """

    engine: ClassVar[str] = "cassandra"

    folder: str
    address: str
    seeds: tuple[str, ...] = ()
    data_center: str = "dc1"
    rack: str = "rack1"
    cluster_name: str = "polysite"
    initial_token: int | None = None
    native_port: int = 9042
    storage_port: int = 7000
    heap_mib: int = 256
    commitlog_sync: Literal["periodic", "batch"] = "batch"
    paxos_variant: Literal["v1", "v2"] = "v2"
    paxos_state_purging: Literal["legacy", "gc_grace", "repaired"] = "repaired"
    hints: bool = True
    hints_flush_ms: int = 1000
    phi_convict_threshold: float = 8.0
    answer_ms: int = 3000
    contention_ms: int = 3000
    log_level: Literal["DEBUG", "INFO", "WARN"] = "INFO"
    settings: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_folder(self.folder)

    @property
    def port(self) -> int:
        return self.native_port

    def yaml(self) -> dict[str, Any]:
        """What stands in cassandra.yaml."""
        found = {**self._identity(), **self._places(), **self._behaviour(), **SMALL}
        if self.initial_token is not None:
            found["initial_token"] = str(self.initial_token)
        if self.commitlog_sync == "periodic":
            found |= {"commitlog_sync_period": "10s", "periodic_commitlog_sync_lag_block": "10s"}
        return {**found, **self.settings}

    def files(self) -> dict[str, str]:
        """cassandra.yaml (each value as JSON, which YAML contains), the place in the cluster, the logging."""
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in self.yaml().items()]
        return {
            "conf/cassandra.yaml": "".join(lines),
            "conf/cassandra-rackdc.properties": f"dc={self.data_center}\nrack={self.rack}\n",
            "conf/logback.xml": logback_xml(self.folder, self.log_level),
            "scratch/.keep": "",
        }

    def command(self, installation: Installation, *, jvm: Sequence[str] = ()) -> list[str]:
        """The command line. No agent, no JMX, no sigar: they are not needed and slow the start."""
        folder = Path(self.folder)
        properties = {
            **self.properties(),
            "jna.tmpdir": f"{folder}/scratch",
            "cassandra.config": (folder / "conf" / "cassandra.yaml").as_uri(),
            "cassandra-rackdc.properties": (folder / "conf" / "cassandra-rackdc.properties").as_uri(),
            "cassandra.storagedir": str(folder),
            "cassandra.logdir": str(folder),
        }
        return [
            *small_jvm(installation, heap_mib=self.heap_mib, folder=self.folder),
            *(part for package in EXPORTS.split() for part in ("--add-exports", f"{package}=ALL-UNNAMED")),
            *(part for package in OPENS.split() for part in ("--add-opens", f"{package}=ALL-UNNAMED")),
            *(f"-D{name}={value}" for name, value in properties.items()),
            *jvm,
            "-cp",
            installation.classpath,
            MAIN_CLASS,
        ]

    def properties(self) -> Mapping[str, str]:
        """Of the Java machine, the same for all of them."""
        return PROPERTIES

    def ask(self) -> Standing:
        return ask_cassandra(self.address, self.native_port)

    def _identity(self) -> dict[str, Any]:
        seeds = ",".join(self.seeds or (self.address,))
        provider = {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seeds}]}
        return {
            "cluster_name": self.cluster_name,
            "num_tokens": 1,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "auto_bootstrap": False,
            "seed_provider": [provider],
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "listen_address": self.address,
            "rpc_address": self.address,
            "storage_port": self.storage_port,
            "native_transport_port": self.native_port,
            "start_native_transport": True,
        }

    def _places(self) -> dict[str, Any]:
        return {
            "data_file_directories": [f"{self.folder}/data"],
            "commitlog_directory": f"{self.folder}/commitlog",
            "saved_caches_directory": f"{self.folder}/saved_caches",
            "hints_directory": f"{self.folder}/hints",
            "cdc_raw_directory": f"{self.folder}/cdc_raw",
        }

    def _behaviour(self) -> dict[str, Any]:
        return {
            "authenticator": "AllowAllAuthenticator",
            "authorizer": "AllowAllAuthorizer",
            "paxos_variant": self.paxos_variant,
            "paxos_state_purging": self.paxos_state_purging,
            "commitlog_sync": self.commitlog_sync,
            "disk_failure_policy": "stop",
            "commit_failure_policy": "stop",
            "dynamic_snitch": False,
            "hinted_handoff_enabled": self.hints,
            "hints_flush_period": f"{self.hints_flush_ms}ms",
            "phi_convict_threshold": self.phi_convict_threshold,
            "read_request_timeout": f"{self.answer_ms}ms",
            "write_request_timeout": f"{self.answer_ms}ms",
            "cas_contention_timeout": f"{self.contention_ms}ms",
            # Who was superseded waits for at most 100 ms otherwise: between sites far apart that is less than the winner needs, who is
            # then superseded himself, and nobody gets through (`ContentionStrategy`).
            "paxos_contention_max_wait": CONTENTION_WAIT,
            # A connection that cannot be made is tried again a second after it was given up: two packets ask in this time, the next
            # one 1.3 s later, where the default of 2 s leaves two seconds without any.
            "internode_tcp_connect_timeout": "1300ms",
            # What was sent into a cut is repeated less and less often: after 20 s of it the next packet may come another 20 s later, and
            # nothing passes until then. A connection whose packets nobody acknowledges is given up and made anew.
            "internode_tcp_user_timeout": "3s",
            "range_request_timeout": "10s",
            "request_timeout": "10s",
            "truncate_request_timeout": "60s",
            "auto_snapshot": False,
        }


CONTENTION_WAIT = "10ms <= p50(rw)*1.8^attempts <= 1000ms"

SMALL: dict[str, Any] = {
    "commitlog_segment_size": "32MiB",
    "memtable_heap_space": "32MiB",
    "memtable_offheap_space": "32MiB",
    "file_cache_size": "32MiB",
    "key_cache_size": "1MiB",
    "row_cache_size": "0MiB",
    "counter_cache_size": "0MiB",
    "networking_cache_size": "16MiB",
    "concurrent_reads": 16,
    "concurrent_writes": 16,
    "concurrent_counter_writes": 4,
    "concurrent_compactors": 1,
    "native_transport_max_threads": 32,
    # A fortieth and a tenth of the heap otherwise: too little for a value of 8 MiB.
    "native_transport_max_request_data_in_flight_per_ip": "32MiB",
    "native_transport_max_request_data_in_flight": "64MiB",
    "slow_query_log_timeout": "0ms",
}
"""What keeps a Cassandra node near 235 MiB."""
