"""Which driver carries the port: by name, imported when it is asked for."""

from polysite.engines.cassandra.port import CassandraPort
from polysite.engines.cassandra.settings import CassandraSettings, Credentials
from polysite.errors import BadRequest

EXTRAS = {"cassandra-driver": "cassandra", "acsylla": "fast"}
"""Driver → the extra of the package that installs it."""


def cassandra_port(settings: CassandraSettings, *, credentials: Credentials | None = None) -> CassandraPort:
    """A port that is not connected yet. BadRequest: the driver is not installed; the message says what to install."""
    try:
        if settings.driver == "acsylla":
            from polysite.engines.cassandra.acsylla import AcsyllaPort

            return AcsyllaPort(settings, credentials=credentials)
        from polysite.engines.cassandra.driver import CassandraDriverPort

        return CassandraDriverPort(settings, credentials=credentials)
    except ImportError as error:
        extra = EXTRAS[settings.driver]
        raise BadRequest(
            f"the driver {settings.driver} is not installed: install polysite with the extra [{extra}]"
        ) from error
