from __future__ import annotations

import base64
import logging
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asgi_infra.logs import configure_logging
from asgi_infra.redaction import Pattern, Redactor

logger = logging.getLogger("shop.redaction")

SECRETS = {
    "email": "carol.jones@example.org",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "bearer": "Bearer abcDEF123456ghiJKL789",
    "url": "postgresql://app:s3cr3tpass@db.example.org/shop",
}
PARTS = {
    "email": "carol.jones",
    "card": "1111 1111",
    "iban": "3704 0044",
    "jwt": "dozjgNryP4J3",
    "bearer": "abcDEF123456",
    "url": "s3cr3tpass",
}


@dataclass
class Account:
    name: str
    password: str


class Opaque:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return f"<Opaque {self.text}>"


def raise_chain(secret):
    try:
        raise KeyError(f"inner {secret}")
    except KeyError as inner:
        error = ValueError(f"outer {secret}")
        error.add_note(f"note {secret}")
        raise error from inner


def say_message(secret):
    logger.info(f"it is {secret} here")  # noqa: G004


def say_argument(secret):
    logger.info("it is %s here", secret)


def say_object(secret):
    logger.info("it is %r here", Opaque(secret))


def say_nested_argument(secret):
    logger.info("%s", {"deep": [{"er": (secret, b"x " + secret.encode())}]})


def say_named_argument(secret):
    logger.info("%(value)s", {"value": secret})


def say_wrong_argument(secret):
    logger.info("%d", secret)


def say_mapping(secret):
    logger.info({"value": secret})


def say_exception_as_message(secret):
    logger.error(ValueError(secret))


def say_extra(secret):
    logger.info("extra", extra={"value": secret})


def say_nested_extra(secret):
    logger.info("extra", extra={"value": {"deep": [secret, {"er": Opaque(secret)}], "t": (secret,), "s": {secret}}})


def say_key(secret):
    logger.info("key", extra={"value": {secret: 1}, secret: 2})


def say_json(secret):
    logger.info("json", extra={"body": f'{{"value": "{secret}"}}'})


def say_exception(secret):
    try:
        raise_chain(secret)
    except ValueError:
        logger.exception("failed")


def say_group(secret):
    logger.error("failed", exc_info=ExceptionGroup("many", [ValueError(secret), KeyError(secret)]))


def say_stack(secret):
    logger.handle(
        logging.makeLogRecord({"name": "far", "levelno": 40, "msg": "x", "exc_text": f"ValueError: {secret}"})
    )


WAYS = [value for name, value in list(globals().items()) if name.startswith("say_")]


@pytest.mark.parametrize("say", WAYS, ids=lambda say: say.__name__)
@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("options", [{}, {"schema": "otel"}, {"format": "console"}, {"caller": True}], ids=str)
def test_a_planted_secret_is_in_no_line(configure, lines, say, kind, options):
    configure(**options)
    say(SECRETS[kind])
    assert lines.text
    assert PARTS[kind] not in lines.text
    assert base64.b64encode(SECRETS[kind].encode()).decode()[4:-4] not in lines.text


local = st.from_regex(r"[a-z]{3,8}[._][a-z]{3,8}", fullmatch=True)
around = st.text(st.sampled_from("abc .,;\n"), max_size=20)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=local, before=around, after=around, say=st.sampled_from(WAYS), layout=st.sampled_from(["json", "console"]))
def test_an_address_planted_anywhere_is_in_no_line(lines, name, before, after, say, layout):
    lines.clear()
    setup = configure_logging("DEBUG", layout, stream=lines)
    try:
        say(f"{before} {name}@example.org {after}".replace("\n", " ").replace('"', ""))
    finally:
        setup.close()
    assert lines.text
    assert f"{name}@" not in lines.text


words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=8, max_size=30).filter(
    lambda word: word.lower() not in ["password", "traceback", "shop", "redaction"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(secret=words)
@example(secret="hunter2hunter2")
def test_the_value_of_a_private_name_is_in_no_line(lines, secret):
    secret = f"Zq{secret}"
    lines.clear()
    setup = configure_logging("DEBUG", stream=lines)
    try:
        logger.info("%s", {"password": secret})
        logger.info("%(password)s", {"password": secret})
        logger.info("account %s", Account("carol", secret))
        logger.info({"api_key": secret})
        logger.info(f"password={secret}")  # noqa: G004
        logger.info("login", extra={"password": secret, "headers": {"Authorization": secret}})
        logger.info("login", extra={"account": Account("carol", secret), "body": f'{{"password": "{secret}"}}'})
        password = secret
        try:
            raise ValueError(f"no login with {password}")
        except ValueError:
            logger.exception("refused")
    finally:
        setup.close()
    assert len(lines.all) == 8
    assert secret not in lines.text


def test_local_variables_are_in_no_line(configure, lines):
    configure()
    local_value = "x-only-in-a-local-variable"
    try:
        raise ValueError(len(local_value))
    except ValueError:
        logger.exception("failed")
    assert "x-only-in-a" not in lines.text


def test_a_redactor_of_ones_own_is_used(configure, lines):
    configure(redact=Redactor(patterns=[Pattern("badge", r"B-\d{4}")], local_variables=True))
    logger.info("badge B-1234", extra={"who": "B-9876"})
    assert lines.one["message"] == "badge [REDACTED:badge]"
    assert lines.one["who"] == "[REDACTED:badge]"


def test_without_redaction_everything_is_as_it_was_said(configure, lines):
    configure(redact=False)
    logger.info("to %s", SECRETS["email"], extra={"password": "hunter2", "numbers": (1, 2)})
    assert lines.one["message"] == f"to {SECRETS['email']}"
    assert lines.one["password"] == "hunter2"
    assert lines.one["numbers"] == [1, 2]


def test_what_was_logged_is_not_changed(configure):
    configure()
    extra, args = {"password": "hunter2", "nested": {"token": ["x"]}}, ({"password": "p"},)
    logger.info("%s", *args, extra=extra)
    assert extra == {"password": "hunter2", "nested": {"token": ["x"]}}
    assert args == ({"password": "p"},)


def test_numbers_keep_their_formats(configure, lines):
    configure()
    logger.info("%.2f %5d %x %s", 1.239, 42, 255, Opaque("x"))
    assert lines.one["message"] == "1.24    42 ff <Opaque x>"


def test_a_card_number_given_as_a_number_is_private(configure, lines):
    configure()
    logger.info("card %d", 4111111111111111, extra={"card": 4111111111111111})
    assert "4111111111111111" not in lines.text


def test_an_address_in_the_name_of_a_logger_is_private(configure, lines):
    configure()
    logging.getLogger("carol.jones@example.org").info("x")
    assert "carol.jones" not in lines.text
