"""What every engine's specification offers, and what it takes to start one: the installed files and a Java."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple, Protocol

from polysite.lab.engines.probes import Standing
from polysite.lab.engines.tools import Java

SYSTEM_LOG = "system.log"
"""What the engine itself logs."""

OUTPUT_LOG = "output.log"
"""What its JVM writes to its standard streams."""

LOGBACK = """\
<configuration scan="false">
  <appender name="file" class="ch.qos.logback.core.FileAppender">
    <file>{file}</file>
    <encoder><pattern>%d{{HH:mm:ss.SSS}} %-5level [%thread] %logger{{0}} - %msg%n</pattern></encoder>
  </appender>
  <root level="{level}"><appender-ref ref="file"/></root>
</configuration>
"""


class Installation(NamedTuple):
    """An engine's jars in the order of their list, the Java that runs it, and its archive of loaded classes if there is one."""

    jars: tuple[Path, ...]
    java: Java
    archive: Path | None = None

    @property
    def classpath(self) -> str:
        return ":".join(str(jar) for jar in self.jars)


class EngineSpec(Protocol):
    """One engine process as a value: where it keeps things, where it listens, how it behaves."""

    @property
    def engine(self) -> str:
        """`cassandra`, `accord` or `zookeeper`."""
        ...

    @property
    def folder(self) -> str:
        """Absolute; data, configuration and logs are kept in it."""
        ...

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int:
        """Where its clients speak to it."""
        ...

    def files(self) -> Mapping[str, str]:
        """Path under the folder → content, of everything that must be written before it starts."""
        ...

    def command(self, installation: Installation, *, jvm: Sequence[str] = ()) -> list[str]:
        """The command line; `jvm` are more options for the Java machine."""
        ...

    def ask(self) -> Standing:
        """How it stands, asked from this process."""
        ...


def check_folder(folder: str) -> None:
    """ValueError for a folder that the engine would look for elsewhere than we do."""
    if not Path(folder).is_absolute():
        raise ValueError(f"the folder of an engine must be an absolute path, not {folder!r}")


def logback_xml(folder: str, level: str) -> str:
    """A logging configuration that writes one file, which grows until the engine is removed."""
    return LOGBACK.format(file=escape(f"{folder}/{SYSTEM_LOG}"), level=level)


def small_jvm(installation: Installation, *, heap_mib: int, folder: str) -> list[str]:
    """A Java machine that starts fast and stays small, with the archive of loaded classes where there is one."""
    options = [
        f"-Xms{min(heap_mib, 64)}m",
        f"-Xmx{heap_mib}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xss384k",
        "-XX:-UsePerfData",
        # Out of memory it would go on in part, which looks like a machine that hangs.
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={folder}/scratch",
        # Outside the classpath, because an archive of loaded classes refuses folders on it.
        f"-Dlogback.configurationFile={Path(folder, 'conf', 'logback.xml').as_uri()}",
    ]
    if installation.archive is not None:
        options.append(f"-XX:SharedArchiveFile={installation.archive}")
    return [installation.java.command, *options]
