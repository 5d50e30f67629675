"""Bodies in audit entries: capped, redacted, and never in the way."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from audit_driver import Answer, Log, audited, body_of, post
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.middleware.audit import AuditRule
from asgi_infra.middleware.audit_bodies import SeenBody
from asgi_infra.testing import drive, run

pytestmark = pytest.mark.anyio

REQUEST, RESPONSE = AuditRule(level="request"), AuditRule(level="response")
JSON = [(b"content-type", b"application/json; charset=utf-8")]
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
SECRETS = {"password": "hunter2", "card": "4111 1111 1111 1111", "note": "write to bob@example.org"}


async def details(rule: AuditRule, data: bytes, headers: Any, app: Any = None, **options: Any) -> dict[str, Any]:
    log = Log()
    guard = audited(app or Answer(), log, rule, **options)
    driven = await drive(guard, post(headers=headers), body_of(data))
    assert driven.status == 200
    *_, entry = await log.entries()
    return dict(entry.details)


async def test_a_json_body_is_shown_without_its_secrets():
    data = json.dumps({"user": "bob", **SECRETS}).encode()
    found = await details(REQUEST, data, JSON)
    assert found["request_body"] == {
        "bytes": len(data),
        "content_type": "application/json",
        "content": {
            "user": "bob",
            "password": "[REDACTED:password]",
            "card": "[REDACTED:card]",
            "note": "write to [REDACTED:email]",
        },
    }
    assert "response_body" not in found


async def test_a_form_is_shown_without_its_secrets():
    found = await details(REQUEST, b"user=bob&password=hunter2&tag=a&tag=b&empty=", FORM)
    content = {"user": "bob", "password": "[REDACTED:password]", "tag": ["a", "b"], "empty": ""}
    assert found["request_body"]["content"] == content


async def test_the_response_is_shown_where_the_level_says_so_and_the_request_with_it():
    app = Answer(pieces=[b'{"token":', b'"s3cret","id":7}'], headers=JSON)
    found = await details(RESPONSE, b'{"a":1}', JSON, app)
    assert found["request_body"]["content"] == {"a": 1}
    assert found["response_body"]["content"] == {"token": "[REDACTED:token]", "id": 7}


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"hunter2 is my password", [(b"content-type", b"text/plain")]),
        (b"hunter2", []),
        (b"hunter2" * 2000, JSON),
        (b'{"password": "hunter2"}', [*JSON, (b"content-encoding", b"gzip")]),
    ],
)
async def test_of_all_else_there_is_size_and_digest(data, headers):
    found = await details(REQUEST, data, headers)
    assert found["request_body"]["sha256"] == sha256(data).hexdigest()
    assert found["request_body"]["bytes"] == len(data)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("data", [b'{"password": "hunter2"', b"[" * 5000, b"\xff\xfe", b"hunter2"])
async def test_what_is_not_what_it_says_it_is_is_marked(data):
    found = await details(REQUEST, data, JSON)
    assert found["request_body"]["malformed"] is True
    assert "hunter2" not in str(found)


async def test_without_a_body_there_is_nothing_to_tell():
    assert "request_body" not in await details(REQUEST, b"", JSON)


async def test_types_may_be_left_out():
    found = await details(REQUEST, b'{"a":1}', JSON, content_types="application/x-www-form-urlencoded")
    assert "content" not in found["request_body"]


@pytest.mark.parametrize("kind", [b"application/problem+json", b"APPLICATION/JSON"])
async def test_other_json_is_json_too(kind):
    found = await details(REQUEST, b'{"a":1}', [(b"content-type", kind)])
    assert found["request_body"]["content"] == {"a": 1}


async def test_a_body_is_redacted_whatever_the_logger_does():
    log = Log(redact=False)
    await drive(audited(Answer(), log, REQUEST), post(headers=JSON), body_of(b'{"password":"hunter2"}'))
    assert "hunter2" not in str((await log.one()).to_dict())


async def test_strange_headers_of_a_response_cost_its_content_alone():
    found = await details(RESPONSE, b"", JSON, Answer(pieces=[b"a"], headers=[(b"only-a-name",)]))
    assert found["response_body"]["content_type"] == ""


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 60))
def test_a_body_is_kept_whole_or_not_at_all(chunks, cap):
    seen = SeenBody(cap)
    for chunk in chunks:
        seen.see(chunk)
    data = b"".join(chunks)
    assert seen.size == len(data)
    assert seen.whole() == (data if len(data) <= cap else None)
    assert seen.digest() == sha256(data).hexdigest()


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=5))
def test_all_bytes_pass_as_they_are(pieces):
    received = []

    async def app(scope, receive, send):
        more = True
        while more:
            message = await receive()
            received.append(message["body"])
            more = message["more_body"]
        await Answer(pieces=pieces)(scope, receive, send)

    received.clear()
    messages = [*body_of(b"".join(pieces)), {"type": "http.disconnect"}]
    driven = run(audited(app, Log(), RESPONSE, max_body=16), post(), messages)
    assert b"".join(received) == driven.body == b"".join(pieces)
