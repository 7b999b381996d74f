"""What the server counts, for Prometheus at /metrics. No key, reference or name of a table is a label."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

MEDIA_TYPE = CONTENT_TYPE_LATEST.encode()
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROUND_TRIPS = (0, 1, 2, 3, 4, 5, 8, 13, 21)


class RouteMeter:
    """The children of one route, found once."""

    __slots__ = ("_by_status", "_requests", "_round_trips", "_route", "_seconds")

    def __init__(self, metrics: "Metrics", route: str) -> None:
        self._route = route
        self._requests = metrics.requests
        self._seconds = metrics.seconds.labels(route)
        self._round_trips = metrics.round_trips.labels(route)
        self._by_status: dict[int, Counter] = {}

    def count(self, status: int, duration_s: float, round_trips: float) -> None:
        """One request was answered."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._requests.labels(self._route, str(status))
        counter.inc()
        self._seconds.observe(duration_s)
        if round_trips:
            self._round_trips.observe(round_trips)


class Metrics:
    """All counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = self._counter("polysite_http_requests", "Requests answered", ["route", "status"])
        self.seconds = self._histogram("polysite_http_request_seconds", "From request to answer", _SECONDS, ["route"])
        self.round_trips = self._histogram(
            "polysite_round_trips",
            "Wide-area round trips a call waited for, where it waited for any",
            _ROUND_TRIPS,
            ["route"],
        )
        self.sections = self._counter("polysite_sections", "One-shot sections by outcome", ["outcome"])
        self.lock_wait_seconds = self._histogram(
            "polysite_lock_wait_seconds", "From the wish to the grant", _SECONDS, []
        )
        self.lock_losses = self._counter("polysite_lock_losses", "Calls that were told that their lock is lost", [])
        self.failures = self._counter("polysite_internal_failures", "Exceptions nobody foresaw", [])

    def watch(self, name: str, what: str, now: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, what, registry=self.registry).set_function(now)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, labels: list[str]) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], labels: list[str]) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)
