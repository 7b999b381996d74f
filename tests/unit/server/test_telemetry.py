"""What is counted and logged."""

import io
import json
import logging

from prometheus_client.parser import text_string_to_metric_families

from polysite.clock import SystemClock
from polysite.server.app import StreamCut
from polysite.server.logs import describe, forward_libraries, make_logger
from polysite.server.metrics import Metrics
from polysite.server.settings import TelemetrySettings


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[(sample.name, *(text for _, text in sorted(sample.labels.items())))] = sample.value
    return found


def test_requests_are_counted_by_route_and_status() -> None:
    """Three requests of one route; the histogram is cumulative and adds up."""
    metrics = Metrics()
    meter = metrics.meter("get_row")
    metrics.meter("never_asked")
    for status, duration_s in ((200, 0.0001), (200, 0.002), (404, 1000.0)):
        meter.count(status, duration_s)
    found = samples(metrics)
    assert found["polysite_http_requests_total", "get_row", "200"] == 2
    assert found["polysite_http_requests_total", "get_row", "404"] == 1
    assert found["polysite_http_request_seconds_bucket", "0.0005", "get_row"] == 1
    assert found["polysite_http_request_seconds_bucket", "0.0025", "get_row"] == 2
    assert found["polysite_http_request_seconds_bucket", "300.0", "get_row"] == 2
    assert found["polysite_http_request_seconds_bucket", "+Inf", "get_row"] == 3
    assert found["polysite_http_request_seconds_count", "get_row"] == 3
    assert not any("never_asked" in sample for sample in found)


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    """Its function is called by the rendering."""
    metrics = Metrics()
    now = [1.0]
    metrics.watch("polysite_test_gauge", "for this test", lambda: now[0])
    now[0] = 7.0
    assert samples(metrics)["polysite_test_gauge",] == 7.0


def test_logs_are_json_lines_at_their_level() -> None:
    """One object per line with moment, level and event; what is below the level is not written."""
    stream = io.StringIO()
    logger = make_logger(TelemetrySettings(log_level="info"), SystemClock(), stream)
    logger.debug("quiet")
    logger.info("request", status=200)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event["event"] == "request"
    assert event["level"] == "info"
    assert event["status"] == 200
    assert event["at"].endswith("+00:00")


def test_an_exception_is_told_by_type_and_place_not_by_message() -> None:
    """The message of an exception may hold a value, a path or a credential; so may that of its cause."""
    try:
        try:
            raise ValueError("hidden value")
        except ValueError as cause:
            raise RuntimeError("hidden path /var/x") from cause
    except RuntimeError as error:
        told = json.dumps(describe(error))
    assert "RuntimeError" in told
    assert "ValueError" in told
    assert "test_telemetry.py" in told
    assert "hidden" not in told
    assert "/" not in told


def test_what_libraries_log_is_forwarded_without_its_arguments() -> None:
    """A warning of uvicorn arrives once, with its unformatted text; after the undo nothing arrives."""
    stream = io.StringIO()
    undo = forward_libraries(make_logger(TelemetrySettings(), SystemClock(), stream))
    logging.getLogger("uvicorn.error").warning("odd request from %s", "hidden")
    logging.getLogger("uvicorn.error").error("failed", exc_info=StreamCut())  # told already, with its reason
    undo()
    logging.getLogger("uvicorn.error").warning("later")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["text"] == "odd request from %s"
    assert "hidden" not in line
