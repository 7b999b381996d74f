"""What the server counts, for Prometheus at /metrics. No key, reference or name of a table is a label."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MEDIA_TYPE = CONTENT_TYPE_LATEST.encode()
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROUND_TRIPS = (0, 1, 2, 3, 4, 5, 8, 13, 21)


class RouteMeter:
    """What is counted of one route. Plain numbers, changed by the event loop alone and turned into samples when asked for:
    the library's counters take a lock each, which costs more than reading a row."""

    __slots__ = ("buckets", "route", "seconds_sum", "statuses")

    def __init__(self, route: str) -> None:
        self.route = route
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds_sum = 0.0

    def count(self, status: int, duration_s: float) -> None:
        """One request was answered."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[bisect_left(_SECONDS, duration_s)] += 1
        self.seconds_sum += duration_s


class _Meters(Collector):
    """The samples of all routes."""

    def __init__(self, meters: dict[str, RouteMeter]) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("polysite_http_requests", "Requests answered", labels=["route", "status"])
        seconds = HistogramMetricFamily("polysite_http_request_seconds", "From request to answer", labels=["route"])
        for meter in self._meters.values():
            if not meter.statuses:
                continue
            for status, count in sorted(meter.statuses.items()):
                requests.add_metric([meter.route, str(status)], count)
            below = list(accumulate(meter.buckets))
            bounds = [*map(str, map(float, _SECONDS)), "+Inf"]
            seconds.add_metric([meter.route], list(zip(bounds, below, strict=True)), meter.seconds_sum)
        yield requests
        yield seconds


class Metrics:
    """All counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.meters: dict[str, RouteMeter] = {}
        self.registry.register(_Meters(self.meters))
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
        self.lock_losses = self._counter(
            "polysite_lock_losses", "Locks that a call was told to be lost, and that were not released here", []
        )
        self.failures = self._counter("polysite_internal_failures", "Exceptions nobody foresaw", [])

    def meter(self, route: str) -> RouteMeter:
        """The meter of a route, made when first asked for."""
        return self.meters.setdefault(route, RouteMeter(route))

    def watch(self, name: str, what: str, now: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, what, registry=self.registry).set_function(now)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, labels: list[str]) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], labels: list[str]) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)
