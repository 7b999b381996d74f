"""How a process reaches its site's Cassandra, and how its keyspaces are replicated: the section `[cassandra]`.

[cassandra]
contact_points = ["10.1.0.5"]                 # this site's Cassandra nodes only
data_center = "ams"
replicas = { ams = 3, bei = 3, irv = 3 }

Credentials are never settings: a setting names the environment variable that holds one.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from polysite.engines.cassandra.port import Consistency
from polysite.errors import BadRequest

DriverName = Literal["cassandra-driver", "acsylla"]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=600_000)]
DataCenter = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Prefix = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z][A-Za-z0-9_]{0,15})?$")]
Variable = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")]


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in PEM. `certificate` and `key` only where Cassandra asks its clients for one."""

    authority: str
    """Who signed the certificates of the Cassandra nodes."""
    certificate: str = ""
    key: str = ""
    check_names: bool = True
    """Whether the certificate must name the contact point."""


class CassandraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Cassandra is and what is kept there. Nothing outside `contact_points` is ever connected to."""

    contact_points: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)]
    """Addresses of the Cassandra nodes of this site."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 9042
    data_center: DataCenter
    """This site's data center, as Cassandra calls it (`cassandra-rackdc.properties`)."""
    replicas: dict[DataCenter, Annotated[int, msgspec.Meta(ge=1, le=16)]] = {}
    """Copies per data center of the keyspaces polysite makes. Empty: one copy at `data_center`."""
    one_site: bool = False
    """Agree within `data_center` alone (LOCAL_SERIAL): locks wait for no other site, and only this site may use them."""
    keyspace_prefix: Prefix = ""
    """What the names of polysite's keyspaces start with at Cassandra, where several share one cluster."""
    create: bool = True
    """Make missing keyspaces and tables; False: a missing one is an error at start."""
    driver: DriverName = "cassandra-driver"
    user_variable: Variable = ""
    """The environment variable that holds the user's name; "" is no authentication."""
    password_variable: Variable = ""
    """The environment variable that holds the password."""
    tls: TlsSettings | None = None
    commit: Literal["LOCAL_QUORUM", "LOCAL_ONE"] = "LOCAL_QUORUM"
    """Who must have stored a change of a lock cell when it is answered, after all sites agreed on it."""
    connect_ms: Milliseconds = 5_000
    request_ms: Milliseconds = 12_000
    """How long an answer is waited for; above every limit of the server, or its better errors are never seen."""
    reconnect_ms: Milliseconds = 500
    requests_max: Annotated[int, msgspec.Meta(ge=1, le=30_000)] = 8_192
    """Requests under way at once; beyond it the answer is `overloaded`."""

    @property
    def replication(self) -> dict[str, int]:
        """Data center to copies, with the default filled in."""
        return dict(self.replicas) or {self.data_center: 1}

    @property
    def serial(self) -> Consistency:
        """The scope in which conditional writes are agreed."""
        return Consistency.LOCAL_SERIAL if self.one_site else Consistency.SERIAL

    @property
    def commit_level(self) -> Consistency:
        """`commit` as a level."""
        return Consistency[self.commit]

    def keyspace(self, name: str) -> str:
        """What polysite's keyspace `name` is called at Cassandra."""
        return self.keyspace_prefix + name


class Credentials(NamedTuple):
    """Who polysite is at Cassandra."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def cassandra_settings_from(raw: Mapping[str, Any]) -> CassandraSettings:
    """Decode the section (without its `engine`); BadRequest names the setting and what it takes."""
    try:
        settings = msgspec.convert(dict(raw), CassandraSettings)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the Cassandra settings do not hold: {error}") from error
    return checked(settings)


def checked(settings: CassandraSettings) -> CassandraSettings:
    """These settings, if they go together. BadRequest says which do not, and what they may be."""
    if settings.data_center not in settings.replication:
        raise BadRequest(
            f"replicas names no copy at this site's data_center {settings.data_center!r}; "
            "local reads would have nobody to ask"
        )
    if settings.one_site and set(settings.replication) != {settings.data_center}:
        raise BadRequest("with one_site the only data center in replicas is this site's data_center")
    if bool(settings.user_variable) != bool(settings.password_variable):
        raise BadRequest("user_variable and password_variable go together: set both or neither")
    if settings.tls is not None and bool(settings.tls.certificate) != bool(settings.tls.key):
        raise BadRequest("tls.certificate and tls.key go together: set both or neither")
    return settings


def credentials_from(settings: CassandraSettings, environ: Mapping[str, str]) -> Credentials | None:
    """What the two variables hold; None without authentication. BadRequest names a variable that is not set."""
    if not settings.user_variable:
        return None
    for variable in (settings.user_variable, settings.password_variable):
        if not environ.get(variable):
            raise BadRequest(f"the variable {variable}, which holds a credential for Cassandra, is not set")
    return Credentials(environ[settings.user_variable], environ[settings.password_variable])
