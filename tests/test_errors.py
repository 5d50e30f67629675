from __future__ import annotations

import copy
import io
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import asgi_infra
from asgi_infra import (
    AccessLog,
    AccessLogMiddleware,
    InfraMiddleware,
    Metrics,
    MetricsMiddleware,
    PathRules,
    RequestID,
    RequestIDMiddleware,
    Tracing,
    TracingMiddleware,
    install,
    metrics_app,
)
from asgi_infra.errors import (
    AuditError,
    ConfigurationError,
    DatabaseError,
    InfrastructureError,
    MissingExtraError,
    TelemetryError,
    TokenStoreError,
)
from asgi_infra.middleware.proxies import TrustedProxies

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = MissingExtraError("redis", purpose="RedisTokenStore", extra="redis")
EVERY = [
    InfrastructureError("went wrong"),
    ConfigurationError("pool_size must be at least 1, not 0"),
    TelemetryError("no exporter"),
    DatabaseError("connection lost"),
    TokenStoreError("time-out"),
    AuditError("disk full"),
    MISSING,
]


# The tree


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_every_error_is_an_infrastructure_error(error: InfrastructureError) -> None:
    assert isinstance(error, InfrastructureError)
    assert not isinstance(error, BaseExceptionGroup)


def test_the_tree_holds_what_the_package_exports() -> None:
    exported = {
        name
        for name in asgi_infra.__all__
        if isinstance(value := getattr(asgi_infra, name), type) and issubclass(value, BaseException)
    }
    assert exported == {type(error).__name__ for error in EVERY}


@pytest.mark.parametrize(
    ("kind", "builtin"), [(ConfigurationError, ValueError), (MissingExtraError, ImportError)], ids=["value", "import"]
)
def test_errors_that_python_has_a_name_for_are_that_too(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", [TelemetryError, DatabaseError, TokenStoreError, AuditError])
def test_other_errors_are_no_value_errors(kind: type[Exception]) -> None:
    assert not issubclass(kind, (ValueError, ImportError, OSError))


def test_a_missing_extra_says_what_for_what_and_how_to_install_it() -> None:
    assert str(MISSING) == (
        "'redis' is not installed; it is needed for RedisTokenStore. Install it with: pip install 'asgi-infra[redis]'"
    )
    assert (MISSING.name, MISSING.missing, MISSING.purpose, MISSING.extra) == (
        "redis",
        "redis",
        "RedisTokenStore",
        "redis",
    )


# Copies


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: InfrastructureError, protocol: int) -> None:
    _assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_survive_copying(error: InfrastructureError, make: Callable[[Any], Any]) -> None:
    _assert_same(make(error), error)


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_notes_survive_pickling(error: InfrastructureError) -> None:
    noted = copy.copy(error)
    noted.add_note("while starting the shop")
    assert pickle.loads(pickle.dumps(noted)).__notes__ == ["while starting the shop"]


def _assert_same(found: InfrastructureError, expected: InfrastructureError) -> None:
    assert found is not expected
    assert type(found) is type(expected)
    assert str(found) == str(expected)
    assert found.args == expected.args
    assert vars(found) == vars(expected)


# Validation


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody calls here."""


async def coroutine_function() -> str:
    return "a"


class Thing:
    """Of no use as an option; what it holds must not be told."""

    def __repr__(self) -> str:
        return "hunter2"


THING = Thing()
CONSTRUCTORS: dict[str, tuple[Callable[..., Any], ...]] = {
    "request_id": (RequestID, lambda **options: RequestIDMiddleware(app, **options)),
    "access_log": (AccessLog, lambda **options: AccessLogMiddleware(app, **options)),
    "tracing": (Tracing, lambda **options: TracingMiddleware(app, **options)),
    "metrics": (
        lambda **options: Metrics(**{"registry": CollectorRegistry(), **options}),
        lambda **options: MetricsMiddleware(app, **{"registry": CollectorRegistry(), **options}),
    ),
    "stack": (
        lambda **options: InfraMiddleware(app, **{"metrics": False, **options}),
        lambda **options: install(app, **{"metrics": False, **options}),
    ),
    "middleware": tuple(
        lambda _make=make, **options: _make(app, **options)
        for make in (RequestIDMiddleware, AccessLogMiddleware, TracingMiddleware)
    ),
    "proxied": tuple(
        lambda _make=make, **options: _make(app, **options) for make in (AccessLogMiddleware, TracingMiddleware)
    ),
    "metrics_app": (metrics_app,),
}
NOT_A_FLAG = ["true", "", 0, 1, None, THING]
NOT_A_HOOK = ["name", 7, THING]
WRONG: dict[str, dict[str, list[Any]]] = {
    "request_id": {
        "header": ["", " ", "X Request", "X-Id:", "Id\r\nSet-Cookie", "Größe", None, 5, b"x-id", THING],
        "max_length": [0, -1, 1025, 10**30, True, 1.5, "36", None, THING],
        "generator": [*NOT_A_HOOK, None, coroutine_function],
        "validator": [*NOT_A_HOOK, coroutine_function],
        "accept": NOT_A_FLAG,
        "echo": NOT_A_FLAG,
    },
    "access_log": {
        "service": ["", " \t", 5, b"shop", THING],
        "stream": ["access.log", 1, THING],
        "logger": [5, b"access", THING],
        "slow": [-0.1, float("nan"), -float("inf"), True, "1", THING],
        "sample": [-0.1, 1.0001, float("nan"), True, "0.5", None, THING],
        "level": [*NOT_A_HOOK, coroutine_function],
        "fields": [*NOT_A_HOOK, coroutine_function],
        "replace_server_log": NOT_A_FLAG,
    },
    "tracing": {
        "status": ["strict", "", None, 5, THING],
        "capture_request_headers": ["accept", b"accept", 5, None, [""], ["a b"], ["x:y"], [b"accept"], [5], ["é"]],
        "capture_response_headers": ["etag", 5, None, [""], [THING]],
        "response_header": ["", "traceparent", 5, True],
        "on_start": NOT_A_HOOK,
        "on_end": NOT_A_HOOK,
        "known_methods": ["GET", 5, [5], [""]],
    },
    "metrics": {
        "naming": ["otel", "", None, 5],
        "prefix": ["9lives", "a-b", None, 5],
        "labels": ["method", ["tenant"], {"tenant": "acme"}, {"method": len}, {"a-b": len}, 5],
        "buckets": [[], [2, 1], [1, 1], ["x"], [float("nan")], None, 5],
        "size_buckets": [[], [2, 1], ["x"], None, 5],
        "max_series": [0, -1, True, "10", 1.5, None],
        "known_methods": ["GET", 5, [5], [""]],
        "exemplars": NOT_A_FLAG,
        "registry": [5, "default", THING],
        "meter": ["yes", 5, THING],
    },
    "stack": {
        "service": ["", " \t", 5, b"shop", THING],
        "request_id": [None, "on", 1, {}, Tracing(), THING],
        "tracing": [None, "on", {}, RequestID(), THING],
        "metrics": [None, "on", {}, THING],
        "access_log": [None, "on", {}, THING],
    },
    "middleware": {"exclude": [5, [5], [None], ["["], [""], THING]},
    "proxied": {
        "trusted_proxies": [5, None, [5], [None], "", " ", ["10.0.0.0/99"], ["localhost"], [b"\x7f\0\0\1"], THING]
    },
    "metrics_app": {"registry": [5, "default", THING]},
}
CASES = [
    pytest.param(make, option, value, id=f"{kind}{number}-{option}-{index}")
    for kind, options in WRONG.items()
    for number, make in enumerate(CONSTRUCTORS[kind])
    for option, values in options.items()
    for index, value in enumerate(values)
]


@pytest.mark.parametrize(("make", "option", "value"), CASES)
def test_property_18_a_wrong_option_is_a_value_error_that_names_it(
    make: Callable[..., Any], option: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        make(**{option: value})
    assert type(caught.value) is ConfigurationError
    message = str(caught.value)
    assert option.removesuffix("s") in message
    assert len(message) > len(option) + 15, "the message says what would be right"
    assert "hunter2" not in message
    assert len(message) < 400


@pytest.mark.parametrize("wrap", [InfraMiddleware, install])
@pytest.mark.parametrize("value", [None, "module:app", 5, {}])
def test_property_18_what_is_no_application_is_a_value_error(wrap: Callable[..., Any], value: Any) -> None:
    with pytest.raises(ConfigurationError, match="app must be an ASGI application"):
        wrap(value)


def test_property_18_options_that_exclude_each_other_are_a_value_error() -> None:
    with pytest.raises(ConfigurationError, match="stream and logger exclude each other"):
        AccessLog(stream=io.StringIO(), logger="access")


def test_property_18_path_rules_say_which_pattern_or_feature_is_wrong() -> None:
    with pytest.raises(ConfigurationError, match=r"/items/\["):
        PathRules(["/items/["])
    with pytest.raises(ConfigurationError, match="'nothing'"):
        RequestIDMiddleware(app, exclude={"nothing": ["/health"]})


def _refusal(make: Callable[..., Any], *values: Any, **options: Any) -> Exception | None:
    """Return the `ValueError` that a constructor raised; anything else that it raises fails the test."""
    try:
        make(*values, **options)
    except ValueError as error:
        return error
    return None


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.text(max_size=5) | st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    st.builds(Thing),
    st.just(object()),
    st.just(logging),
)
OPTIONS = [(make, option) for kind, options in WRONG.items() for make in CONSTRUCTORS[kind][:1] for option in options]


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(OPTIONS), JUNK)
def test_property_18_junk_is_either_taken_or_a_value_error(target: tuple[Callable[..., Any], str], value: Any) -> None:
    make, option = target
    error = _refusal(make, **{option: value})
    assert error is None or type(error) is ConfigurationError
    # A mapping for `exclude` becomes the `features` of the path rules.
    assert error is None or any(name in str(error) for name in (option.removesuffix("s"), "features"))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_property_18_a_trusted_network_is_taken_or_named_in_the_error(name: str) -> None:
    error = _refusal(TrustedProxies, name)
    assert error is None or type(error) is ConfigurationError
    assert error is None or "trusted_proxies" in str(error)


# Chains


def test_property_19_a_network_that_cannot_be_read_keeps_the_reason() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrustedProxies("10.0.0.0/99")
    assert isinstance(caught.value.__cause__, ValueError)
    assert "10.0.0.0/99" in str(caught.value.__cause__)


def test_property_19_names_that_a_registry_has_already_keep_the_reason() -> None:
    registry = CollectorRegistry()
    Metrics(registry=registry)
    with pytest.raises(ConfigurationError) as caught:
        Metrics(registry=registry, buckets=[1, 2])
    assert "registry" in str(caught.value)


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
@given(message=st.text(max_size=50))
@settings(max_examples=20, deadline=None)
def test_property_19_every_error_carries_its_cause_unchanged(error: InfrastructureError, message: str) -> None:
    cause = OSError(message)

    def translate() -> None:
        try:
            raise cause
        except OSError as exc:
            raise copy.copy(error) from exc

    with pytest.raises(InfrastructureError) as caught:
        translate()
    assert caught.value.__cause__ is cause
    assert caught.value.__suppress_context__


@pytest.mark.anyio
@pytest.mark.parametrize("wrap", [InfraMiddleware, RequestIDMiddleware, TracingMiddleware, AccessLogMiddleware])
async def test_property_19_what_the_application_raises_passes_with_its_chain(wrap: Callable[..., Any]) -> None:
    cause, error = OSError("disk"), RuntimeError("shop")

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise cause
        except OSError as exc:
            raise error from exc

    options: dict[str, Any] = {}
    if wrap is AccessLogMiddleware:
        options["stream"] = io.StringIO()
    if wrap is InfraMiddleware:
        options |= {
            "metrics": False,
            "access_log": AccessLog(stream=io.StringIO()),
            "tracing": Tracing(tracer_provider=TracerProvider(shutdown_on_exit=False)),
        }

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    with pytest.raises(RuntimeError) as caught:
        await wrap(failing, **options)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    assert caught.value is error
    assert caught.value.__cause__ is cause
    assert caught.value.__context__ is cause
