"""What a process is told: one TOML file, overlaid by POLYSITE_ variables, overlaid by flags.

    [server]                     POLYSITE_SERVER_PORT=8391         --port 8392   →   flags={"server.port": 8392}
    port = 8390

Nothing needs to be set for the embedded default. Every value's origin is known, so that `polysite doctor` can print it.
An unknown name is refused wherever it stands: a misspelt setting that is silently ignored is found too late.
"""

import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from polysite.engines.cassandra.settings import CassandraSettings
from polysite.engines.zookeeper.settings import ZookeeperSettings
from polysite.errors import BadRequest

PREFIX = "POLYSITE_"
CONFIG_VARIABLE = "POLYSITE_CONFIG"
NOT_SETTINGS = frozenset(
    {
        CONFIG_VARIABLE,
        "POLYSITE_FENCING_TOKEN",
        "POLYSITE_URL",
        "POLYSITE_CA",
        "POLYSITE_AUTHORIZATION",
        "POLYSITE_DEBUG",
        "POLYSITE_CACHE",
        "POLYSITE_LAB_SKEW_FILE",
    }
)
"""Variables that others read: the file's place, what `lock hold` gives its command, where the command line connects and whom it
trusts, how much it says of a defect, where engines are kept, and by how much a lab's clock is off."""

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/\s]\S*|unix:/.+)$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this process is. `advertise` "" is the address it listens on."""

    name: Name = "site1"
    peers: dict[Name, Address] = {}
    """Other sites: name to base URL of one of their processes; this site's own name may be among them."""
    advertise: str = ""
    majority_rtt_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    """W in rules; None: measured (0 with one site)."""
    section_wait_ms: Annotated[int, msgspec.Meta(ge=0, le=300_000)] = 10_000
    """How long an atomic operation, and a write without a lock to a key that was locked before, wait for the key."""
    peer_authority: str = ""
    """A PEM file: who signed the certificates of our other processes; "": whom this machine trusts."""
    secret_file: str = ""
    """Where the shared secret of the peer channel is; "" is `peer.secret` in the data folder, made at first start."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rows are kept: `embedded`, or `cassandra` as the section of that name says. `data` is the folder of the embedded
    engine, the process slots and the shared secret."""

    engine: str = "embedded"
    data: str = "polysite-data"


class CellSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where lock cells are kept: `embedded`, `cassandra`, `accord` (experimental) or `zookeeper`; "" is where the rows are."""

    engine: str = ""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How HTTP is served. An address that is not loopback needs tokens, or `insecure`."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8390
    """0 takes a free port and tells it."""
    insecure: bool = False
    """Serve without tokens on any address: whoever reaches it may do everything."""
    tls_certificate: str = ""
    tls_key: str = ""
    hosts: list[str] = []
    """Further names clients may call the server by when no tokens are set (loopback names always may)."""
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    url_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=65_536)] = 16 * 1024
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1024 * 1024)] = 64 * 1024
    requests_max: Count = 10_000
    """Requests under way at once, waiting ones too; beyond it the answer is `overloaded`."""
    streams_max: Count = 256
    """Open event streams at once."""
    body_ms_max: Milliseconds = 30_000
    """How long the head and how long the body of a request may take to arrive."""
    keep_alive_ms: Milliseconds = 75_000
    """How long an idle connection is kept."""
    event_ms: Milliseconds = 15_000
    """Between two keep-alive comments of an event stream."""
    stop_ms: Milliseconds = 10_000
    """How long a stop waits for requests and sections under way."""


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bearer token by the SHA-256 of its text, and the keyspaces it has each right on; "*" is every keyspace."""

    name: Name
    sha256: Digest
    read: list[str] = []
    write: list[str] = []
    lock: list[str] = []
    admin: list[str] = []


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of the interface of MUSIC 3.x: its password as `polysite hash-password` prints it, and permissions
    `type|keyspace|method`, where the keyspace may be several with colons between, and either may be *."""

    name: Name
    password: Annotated[str, msgspec.Meta(max_length=256)]
    permissions: list[str] = []

    def __repr__(self) -> str:
        return f"AccountSettings(name={self.name!r})"


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do what. Without tokens and accounts everybody who reaches the server may do everything. `accounts` are for
    `/MUSIC/rest` alone, tokens for everything."""

    tokens: list[TokenSettings] = []
    accounts: list[AccountSettings] = []


class TracingHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A header that requests may have to carry: `prefix` stands before its name, with a hyphen between."""

    required: bool = False
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{0,64}$")] = ""


class V2Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The interface of MUSIC 3.x at `/MUSIC/rest`."""

    enabled: bool = True
    lease_ms: Annotated[int, msgspec.Meta(ge=1, le=3_600_000)] = 60_000
    """The lease of a lock until acquire-with-lease names another; raised to the least that the distances allow."""
    atomic_wait_ms: Milliseconds = 1_000
    """How long an atomic operation and one of the conditional interface wait for the lock; 0 refuses at once."""
    atomic_lease_ms: Annotated[int, msgspec.Meta(ge=1, le=3_600_000)] = 10_000
    """The lease of an atomic operation and of one of the conditional interface; raised as `lease_ms` is."""
    promote_wait_ms: Milliseconds = 1_000
    """How long one call of promote waits for the other readers to leave."""
    release_waits: bool | None = None
    """Answer a release when it is carried out, not when it was taken on; None: where that costs no round trip between sites."""
    keyspace_active: bool = True
    """Whether keyspaces may be made and dropped through this interface."""
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] = "3.2.40"
    """The version of MUSIC that clients are told."""
    permission_type: str = "org.onap.music.cadi"
    """What the types of permissions that count begin with."""
    transaction_id: TracingHeader = TracingHeader()
    conversation_id: TracingHeader = TracingHeader()
    message_id: TracingHeader = TracingHeader()
    client_id: TracingHeader = TracingHeader()
    plain_paths: bool = False
    """Also serve the paths without a version, with the plain answers of att-music."""


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told about the work. Logs never hold values, lock references, paths or credentials."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    slow_ms: Milliseconds = 1_000
    """Requests slower than this are logged, but for those that wait for a lock; 0 logs none for being slow."""
    traces: bool = False
    """Make an OpenTelemetry span per request (with the extra `otel` and an exporter set up)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    site: SiteSettings = SiteSettings()
    store: StoreSettings = StoreSettings()
    cells: CellSettings = CellSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    v2: V2Settings = V2Settings()
    telemetry: TelemetrySettings = TelemetrySettings()
    cassandra: CassandraSettings | None = None
    """Needed where `store.engine` or `cells.engine` is `cassandra` or `accord`."""
    zookeeper: ZookeeperSettings = ZookeeperSettings()
    """In force where `cells.engine` is `zookeeper`."""


class Loaded(NamedTuple):
    """Settings in force, and where each came from: dotted name to "default", "file …", a variable's name or "flag"."""

    settings: Settings
    origins: dict[str, str]


def load_settings(
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    base: Mapping[str, tuple[object, str]] | None = None,
) -> Loaded:
    """Read the file (None: the one `POLYSITE_CONFIG` names, or none), then overlay variables, then flags.

    `base` maps dotted names (also of members of members) to values that stand below the file, and where each comes from; `flags` maps dotted names to values; None is a flag that was not given. BadRequest names what is wrong and where.
    """
    environ = environ or {}
    origins = {name: "default" for name, _ in setting_names()}
    raw: dict[str, dict[str, Any]] = {}
    for name, (value, origin) in (base or {}).items():
        _set(raw, name, value)
        origins[".".join(name.split(".")[:2])] = origin
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    if path is not None:
        _overlay_file(raw, origins, path)
    _overlay_variables(raw, origins, environ)
    for name, value in (flags or {}).items():
        if value is not None:
            _set(raw, name, value)
            origins[name] = "flag"
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise BadRequest(f"settings: {error}{_blame(str(error), origins)}") from None
    return Loaded(settings, origins)


def setting_names() -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted name, its type)."""
    for section in msgspec.structs.fields(Settings):
        # A section that may be left out is a union with None.
        for member in msgspec.structs.fields(next(iter(get_args(section.type)), section.type)):
            yield f"{section.name}.{member.name}", member.type


def variable_name(setting: str) -> str:
    """`POLYSITE_SERVER_PORT` for `server.port`."""
    return PREFIX + setting.replace(".", "_").upper()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(settings: Settings) -> Settings:
    """Return `settings` if serving by them exposes nothing by accident; else BadRequest that says what to set."""
    server = settings.server
    protected = settings.auth.tokens or settings.auth.accounts
    if not is_loopback(server.host) and not protected and not server.insecure:
        raise BadRequest(
            f"{server.host} can be reached from other machines: set [auth] tokens, or ask for it with "
            "--insecure (server.insecure = true), or listen on 127.0.0.1"
        )
    if bool(server.tls_certificate) != bool(server.tls_key):
        raise BadRequest("server.tls_certificate and server.tls_key go together")
    names = [token.name for token in settings.auth.tokens]
    if len(set(names)) != len(names):
        raise BadRequest("auth.tokens: each token has its own name")
    names += [account.name for account in settings.auth.accounts]
    if len(set(names)) != len(names):
        raise BadRequest("auth.accounts: each account has a name of its own, which is no token's either")
    return settings


def _overlay_file(raw: dict[str, dict[str, Any]], origins: dict[str, str], path: Path) -> None:
    try:
        data = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise BadRequest(f"settings: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"settings: {path} is not TOML: {error}") from None
    for section, members in data.items():
        if not isinstance(members, dict):
            raise BadRequest(f"settings: {section} in {path} belongs into a table, such as [server]")
        for member, value in members.items():
            _set(raw, f"{section}.{member}", value)
            origins[f"{section}.{member}"] = f"file {path}"


def _overlay_variables(raw: dict[str, dict[str, Any]], origins: dict[str, str], environ: Mapping[str, str]) -> None:
    by_variable = {variable_name(name): (name, member_type) for name, member_type in setting_names()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        if variable not in by_variable:
            raise BadRequest(f"settings: there is no setting for the variable {variable}")
        name, member_type = by_variable[variable]
        try:
            _set(raw, name, _from_text(text, member_type))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise BadRequest(f"settings: {variable}: {error}") from None
        origins[name] = variable


def _from_text(text: str, member_type: Any) -> Any:
    """The value of a variable: plain text for texts and numbers, JSON for lists and tables."""
    if text[:1] in ("[", "{"):
        return msgspec.json.decode(text)
    return msgspec.to_builtins(msgspec.convert(text, member_type, strict=False))


def _set(raw: dict[str, dict[str, Any]], name: str, value: object) -> None:
    section, _, member = name.partition(".")
    member, dot, inner = member.partition(".")
    members = raw.setdefault(section, {})
    if dot:
        members.setdefault(member, {})[inner] = value
    elif isinstance(value, dict) and isinstance(members.get(member), dict):
        members[member] = {**members[member], **value}
    else:
        members[member] = value


def _blame(message: str, origins: Mapping[str, str]) -> str:
    """Where the value at fault came from, for the end of the message."""
    _, _, place = message.partition("`$.")
    name = ".".join(place.rstrip("`").split("[")[0].split(".")[:2])
    return f" (from {origins[name]})" if name in origins and origins[name] != "default" else ""
