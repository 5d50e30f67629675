from __future__ import annotations

import io
import logging
import logging.config
import re
import sys
import threading

import pytest

from asgi_infra import InfraMiddleware
from asgi_infra.errors import ConfigurationError
from asgi_infra.logs import configure_logging, flush_logging, get_logging
from asgi_infra.logs.adoption import SERVER_LOGGERS
from asgi_infra.redaction import Redactor
from asgi_infra.testing import http_scope, run


def test_the_same_arguments_return_the_same_object_and_change_nothing(configure, lines):
    redactor = Redactor()
    arguments = {"levels": {"a": "INFO"}, "redact": redactor, "fields": {"zone": "eu"}, "service": "shop"}
    first = configure("INFO", **arguments)
    logging.getLogger("a").setLevel(logging.ERROR)
    handlers = logging.getLogger().handlers[:]
    assert configure("info", **arguments) is first
    assert configure("info", **{**arguments, "levels": {"a": "info"}}) is first
    assert logging.getLogger("a").level == logging.ERROR
    assert logging.getLogger().handlers == handlers
    logging.getLogger("b").warning("once")
    assert lines.messages == ["once"]
    logging.getLogger("a").setLevel(logging.NOTSET)


def test_other_arguments_replace_the_set_up(configure, lines):
    first = configure(service="one")
    logging.getLogger("a").warning("to the first")
    second = configure(service="two")
    logging.getLogger("a").warning("to the second")
    assert second is not first
    assert get_logging() is second
    assert [line["service"] for line in lines.all] == ["one", "two"]
    assert "closed" in repr(first)
    assert "in use" in repr(second)
    assert first.close() is True
    assert get_logging() is second


@pytest.mark.parametrize("queue", ["auto", "always", "never"])
def test_a_replacement_loses_nothing_while_threads_log(configure, lines, queue):
    other = type(lines)()
    configure(queue=queue)
    started = threading.Barrier(4)

    def work(number):
        started.wait()
        for index in range(300):
            logging.getLogger("busy").warning("%d.%d", number, index)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    for turn in range(10):
        configure(queue=queue, stream=other if turn % 2 else lines, service=f"s{turn}")
    for thread in threads:
        thread.join()
    get_logging().close()
    written = [*lines.messages, *other.messages]
    assert sorted(written) == sorted(f"{number}.{index}" for number in range(3) for index in range(300))


def test_threads_may_race_for_the_set_up(lines):
    barrier, found = threading.Barrier(8), []

    def race():
        barrier.wait()
        found.append(configure_logging("INFO", stream=lines))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    logging.getLogger("race").info("once")
    assert lines.messages == ["once"]


def test_close_leaves_everything_as_it_was(configure, lines, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    before = logging.StreamHandler(sys.stderr)
    root, server = logging.getLogger(), logging.getLogger("uvicorn.error")
    root.addHandler(before)
    monkeypatch.setattr(server, "handlers", [logging.StreamHandler(sys.stderr)])
    monkeypatch.setattr(server, "propagate", False)
    root.setLevel(logging.ERROR)
    state = (root.handlers[:], root.level, server.handlers[:], server.propagate, logging.Logger._log)
    setup = configure("INFO")
    logging.getLogger("a").info("ours")
    assert setup.close() is True
    assert setup.close() is True
    assert get_logging() is None
    assert (root.handlers, root.level, server.handlers, server.propagate, logging.Logger._log) == state
    logging.getLogger("a").error("theirs")
    assert lines.messages == ["ours"]
    assert shown.getvalue() == "theirs\n"


def test_the_same_call_mends_what_another_configuration_took_off(configure, lines):
    first = configure()
    logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}, "disable_existing_loggers": False})
    logging.getLogger("a").info("nobody hears it")
    assert configure() is first
    logging.getLogger("a").info("heard")
    assert lines.messages == ["heard"]


def test_a_configuration_shows_no_values_of_fields(configure):
    setup = configure(fields={"token": "hunter2"})
    assert "hunter2" not in repr(setup) + repr(setup.config)


def test_handlers_that_print_are_taken_off_and_others_stay(configure, lines, monkeypatch, tmp_path):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
    kept = logging.FileHandler(tmp_path / "kept.log")
    logging.getLogger().addHandler(kept)
    configure()
    logging.getLogger("a").info("both")
    kept.close()
    assert shown.getvalue() == ""
    assert lines.messages == ["both"]
    assert (tmp_path / "kept.log").read_text() == "both\n"


@pytest.mark.parametrize("name", sorted(SERVER_LOGGERS))
@pytest.mark.parametrize("early", [True, False], ids=["set up before", "set up after"])
def test_the_loggers_of_servers_print_one_line_of_ours(configure, lines, monkeypatch, name, early):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    logger = logging.getLogger(name)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "disabled", False)

    def set_up_by_server():
        logger.handlers = [logging.StreamHandler(sys.stderr)]
        logger.propagate = False

    if early:
        set_up_by_server()
    configure()
    if not early:
        set_up_by_server()
    logger.warning("once")
    logger.warning("twice")
    assert lines.messages == ["once", "twice"]
    assert lines.all[0]["logger"] == name
    assert shown.getvalue() == ""


def test_what_a_server_adds_for_its_own_terminal_is_no_field(configure, lines):
    configure()
    extra = {"color_message": "\x1b[1mStarted\x1b[0m", "number": 7}
    logging.getLogger("uvicorn.error").info("Started", extra=extra)
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "Started"}, stack_info=True)
    assert "color_message" in extra
    assert [line["number"] for line in lines.all if "number" in line] == [7]
    assert not [line for line in lines.all if "color_message" in line]


def test_a_disabled_logger_stays_silent(configure, lines, monkeypatch):
    configure()
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", True)
    logging.getLogger("uvicorn.access").warning("GET /")
    assert lines.all == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("format", "xml"),
        ("format", None),
        ("schema", "syslog"),
        ("redact", 1),
        ("redact", None),
        ("redact", print),
        ("stream", "stdout"),
        ("queue", True),
        ("queue_bytes", 0),
        ("queue_bytes", True),
        ("queue_bytes", 1e6),
        ("overflow", "grow"),
        ("service", " "),
        ("service", 5),
        ("fields", ["a"]),
        ("fields", {1: "a"}),
        ("caller", 1),
        ("colors", "yes"),
        ("gcp_project", ""),
        ("gcp_project", "my-project"),
    ],
)
def test_a_wrong_option_is_named_and_changes_nothing(configure, option, value):
    setup = configure()
    with pytest.raises(ConfigurationError, match=f"^{option} must "):
        configure_logging(**{option: value})
    assert get_logging() is setup


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue_bytes": -1}, "queue_bytes must be an integer of at least 4096, not -1"),
        ({"fields": []}, "fields must map names to values, not []"),
        ({"gcp_project": "my-project", "schema": "ecs"}, "gcp_project must be left out, or schema be 'gcp', not 'ecs'"),
    ],
)
def test_the_message_shows_a_small_value(options, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        configure_logging(**options)


def test_no_secret_is_in_the_message_of_an_error():
    with pytest.raises(ConfigurationError) as caught:
        configure_logging(redact={"password": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("last", [True, False])
async def test_the_lifespan_can_wait_for_what_is_queued(configure, lines, last):
    configure(queue="always")
    for number in range(50):
        logging.getLogger("a").info("%d", number)
    assert await flush_logging(last=last) is True
    assert lines.messages == [str(number) for number in range(50)]
    logging.getLogger("a").info("afterwards")
    assert (lines.messages[-1] == "afterwards") or not last


@pytest.mark.anyio
async def test_flushing_without_a_set_up_is_fine():
    assert await flush_logging() is True


def test_the_access_log_goes_the_same_way_as_every_other_line(configure, lines):
    async def app(scope, receive, send):
        logging.getLogger("shop").info("sold")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    configure(service="shop")
    driven = run(InfraMiddleware(app, metrics=False), http_scope(query_string=b"card=4111111111111111"))
    assert driven.error is None
    sold, access = (line for line in lines.all if line["logger"] != "asyncio")
    assert (sold["message"], access["logger"], access["status"]) == ("sold", "asgi_infra.access", 200)
    assert access["service"] == sold["service"] == "shop"
    assert access["request_id"] == sold["request_id"]
    assert "4111111111111111" not in str(access)
