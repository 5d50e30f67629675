from __future__ import annotations

import anyio
import pytest
from metrics_driver import ITEM, OK, body, drive, http, in_progress, replies, run, samples, start, total
from prometheus_client import CollectorRegistry

from asgi_infra.middleware.metrics import MetricsMiddleware


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.mark.anyio
async def test_a_request_feeds_every_metric_of_requests(registry):
    app = MetricsMiddleware(replies(*OK, read=True), registry=registry)
    await drive(app, http(), {"type": "http.request", "body": b"x" * 150, "more_body": False})
    value = registry.get_sample_value
    assert value("http_requests_total", ITEM) == 1
    assert value("http_request_duration_seconds_count", ITEM) == 1
    assert value("http_response_first_byte_seconds_count", ITEM) == 1
    assert value("http_request_size_bytes_sum", ITEM) == 150
    assert value("http_request_size_bytes_bucket", {**ITEM, "le": "100.0"}) == 0
    assert value("http_request_size_bytes_bucket", {**ITEM, "le": "1000.0"}) == 1
    assert value("http_response_size_bytes_sum", ITEM) == 5
    assert value("http_requests_in_progress", {"method": "GET"}) == 0
    assert (
        0 < value("http_response_first_byte_seconds_sum", ITEM) <= value("http_request_duration_seconds_sum", ITEM) < 60
    )


@pytest.mark.anyio
async def test_requests_in_progress_are_shown_while_they_last(registry):
    seen = []

    async def app(scope, receive, send):
        seen.append(registry.get_sample_value("http_requests_in_progress", {"method": "GET"}))
        seen.append(samples(registry, "http_requests_total"))
        for message in OK:
            await send(message)

    await drive(MetricsMiddleware(app, registry=registry))
    assert seen == [1, []]
    assert in_progress(registry) == 0


def test_two_hundred_random_methods_add_one_series(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry)
    for number in range(200):
        run(app, http(f"M{number}"))
    assert [sample.labels["method"] for sample in samples(registry, "http_requests_total")] == ["_OTHER"]
    assert [sample.labels["method"] for sample in samples(registry, "http_requests_in_progress")] == ["_OTHER"]


def test_three_hundred_host_values_add_no_series(registry):
    app = MetricsMiddleware(replies(*OK), registry=registry)
    for number in range(300):
        run(app, http(headers=[(b"host", b"h%d.example.org" % number)]))
    assert len(samples(registry, "http_requests_total")) == 1


def test_random_paths_without_a_route_add_one_series(registry):
    app = MetricsMiddleware(replies(start(404), body(), route=None), registry=registry)
    for number in range(100):
        run(app, http(path=f"/{number}"))
    assert (
        registry.get_sample_value("http_requests_total", {"method": "GET", "path": "unmatched", "status_code": "404"})
        == 100
    )
    assert len(samples(registry, "http_requests_total")) == 1


def test_a_405_is_counted_under_its_route(registry):
    run(MetricsMiddleware(replies(start(405), body()), registry=registry), http("PUT"))
    assert total(registry) == 1
    assert samples(registry, "http_requests_total")[0].labels == {
        "method": "PUT", "path": "/items/{id}", "status_code": "405",
    }  # fmt: skip


@pytest.mark.anyio
async def test_a_cancelled_request_is_a_499_and_leaves_nothing_in_progress(registry):
    async def app(scope, receive, send):
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await drive(MetricsMiddleware(app, registry=registry))
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["499"]
    assert samples(registry, "http_response_first_byte_seconds_count")[0].value == 0
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_a_client_that_went_away_before_the_response_is_a_499(registry):
    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.disconnect"

    await drive(MetricsMiddleware(app, registry=registry), http(), {"type": "http.disconnect"})
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["499"]


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [(), (start(200),), (start(200), body(b"a", more_body=True))])
async def test_an_error_is_a_500_unless_a_status_was_sent(registry, sent):
    async def app(scope, receive, send):
        for message in sent:
            await send(message)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await drive(MetricsMiddleware(app, registry=registry))
    expected = "200" if sent else "500"
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == [expected]
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_an_application_that_never_answers_is_a_500(registry):
    await drive(MetricsMiddleware(replies(), registry=registry))
    assert [sample.labels["status_code"] for sample in samples(registry, "http_requests_total")] == ["500"]


def test_an_abandoned_request_leaves_nothing_in_progress(registry):
    class Never:
        def __await__(self):
            yield

    async def app(scope, receive, send):
        await Never()

    coroutine = MetricsMiddleware(app, registry=registry)(http(), None, None)
    coroutine.send(None)
    assert in_progress(registry) == 1
    coroutine.close()
    assert in_progress(registry) == 0
    assert total(registry) == 1


@pytest.mark.anyio
async def test_background_work_is_not_part_of_the_duration_and_its_error_is_counted(registry):
    async def app(scope, receive, send):
        for message in OK:
            await send(message)
        seen.append(total(registry))
        seen.append(in_progress(registry))
        raise RuntimeError("background")

    seen = []
    scope = http()
    with pytest.raises(RuntimeError):
        await drive(MetricsMiddleware(app, registry=registry), scope)
    assert seen == [1, 0]
    assert total(registry) == 1
    assert registry.get_sample_value("http_background_errors_total", {"method": "GET", "path": "unmatched"}) == 1


@pytest.mark.anyio
async def test_a_cancellation_of_background_work_is_no_background_error(registry):
    async def app(scope, receive, send):
        for message in OK:
            await send(message)
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await drive(MetricsMiddleware(app, registry=registry))
    assert samples(registry, "http_background_errors_total") == []


@pytest.mark.anyio
async def test_sizes_do_not_carry_over_from_one_request_to_the_next(registry):
    sizes = iter([1234, 0, 10])

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x" * next(sizes)))

    wrapped = MetricsMiddleware(app, registry=registry)
    for expected in (1234, 1234, 1244):
        await drive(wrapped)
        assert total(registry, "http_response_size_bytes_sum") == expected


@pytest.mark.anyio
async def test_interleaved_requests_are_measured_apart(registry):
    release = [anyio.Event() for _ in range(8)]

    async def app(scope, receive, send):
        number = int(scope["path"].rsplit("/", 1)[1])
        scope["path_template"] = f"/r{number}"
        await send(start(200 + number))
        await release[number].wait()
        await send(body(b"x" * number))

    wrapped = MetricsMiddleware(app, registry=registry)
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(drive, wrapped, http(path=f"/{number}"))
        await anyio.wait_all_tasks_blocked()
        assert in_progress(registry) == 8
        for event in reversed(release):
            event.set()
    assert in_progress(registry) == 0
    for number in range(8):
        labels = {"method": "GET", "path": f"/r{number}", "status_code": str(200 + number)}
        assert registry.get_sample_value("http_response_size_bytes_sum", labels) == number
        assert registry.get_sample_value("http_requests_total", labels) == 1


@pytest.mark.anyio
async def test_a_streamed_response_with_trailers_ends_with_the_last_trailer(registry):
    counts = []

    async def app(scope, receive, send):
        for message in (
            start(trailers=True),
            body(b"ab", more_body=True),
            body(b"cd"),
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": []},
        ):
            await send(message)
            counts.append(total(registry))

    await drive(MetricsMiddleware(app, registry=registry))
    assert counts == [0, 0, 0, 0, 1]
    assert total(registry, "http_response_size_bytes_sum") == 4


@pytest.mark.anyio
async def test_a_start_that_failed_leaves_nothing_in_progress(registry):
    sent = await drive(MetricsMiddleware(replies(*OK), registry=registry), http(method=["GET"]))
    assert sent == list(OK)
    assert in_progress(registry) == 0


def websocket(path="/ws"):
    return {"type": "websocket", "path": path, "headers": [], "subprotocols": []}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.accept"}, {"type": "websocket.close"}], "101"),
        ([{"type": "websocket.close"}], "403"),
        ([{"type": "websocket.accept"}], "101"),
        ([], "500"),
    ],
)
async def test_a_websocket_has_metrics_of_its_own(registry, messages, status):
    await drive(MetricsMiddleware(replies(*messages, route="/ws"), registry=registry), websocket())
    labels = {"method": "GET", "path": "/ws", "status_code": status}
    assert registry.get_sample_value("websocket_connection_duration_seconds_count", labels) == 1
    assert samples(registry, "http_requests_total") == []
    assert samples(registry, "http_requests_in_progress") == []
    assert samples(registry, "websocket_connections_in_progress")[0].labels == {}
    assert in_progress(registry) == 0


@pytest.mark.anyio
async def test_a_websocket_is_in_progress_while_it_lasts(registry):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        assert registry.get_sample_value("websocket_connections_in_progress", {}) == 1

    await drive(MetricsMiddleware(app, registry=registry), websocket())
    assert registry.get_sample_value("websocket_connections_in_progress", {}) == 0
