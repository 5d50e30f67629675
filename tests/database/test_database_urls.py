from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asgi_infra.database import DatabaseSession
from asgi_infra.database.urls import DatabaseURL
from asgi_infra.errors import ConfigurationError, MissingExtraError

WHITESPACE = st.text(alphabet=" \t\n\r\f\v\u00a0\u2003\u3000\x1c\x85", max_size=20)
SECRET = st.text(alphabet="abcdefXYZ0189!$&'()*+,;=~-._ %ßé", min_size=6, max_size=20).map(lambda text: f"s3cr{text}t")


def parsed(text):
    """The URL, or the message that refuses the text."""
    try:
        return DatabaseURL.parse(text)
    except ValueError as exc:
        # a chained exception might show what the message hides
        return str(exc) if exc.__context__ is None else "s3cr q7x9"


@given(WHITESPACE)
def test_property_01_an_empty_or_blank_url_is_a_value_error_that_names_the_parameter(blank):
    with pytest.raises(ValueError, match="database_url must not be empty or blank"):
        DatabaseSession(blank)


@given(
    st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.binary(), st.lists(st.text()), st.just(object()))
)
def test_property_01_a_url_that_is_no_string_is_a_value_error(value):
    with pytest.raises(ConfigurationError, match="database_url must be a str"):
        DatabaseSession(value)


@given(st.text(), st.text())
def test_property_01_any_text_is_either_accepted_or_refused_as_a_value_error_without_echo(left, right):
    text = f"{left}q7x9{right}"
    outcome = parsed(text)
    if isinstance(outcome, DatabaseURL):
        assert outcome.dialect in {"sqlite", "postgresql"}
    else:
        assert "database_url" in outcome
        assert "q7x9" not in outcome or "://" in text  # a scheme is shown


@given(
    scheme=st.sampled_from(
        ["postgresql", "postgres", "postgresql+asyncpg", "sqlite", "mysql", "oracle+x", "http", "POSTGRESQL"]
    ),
    user=st.sampled_from(["app", "", "a%40b"]),
    password=st.one_of(
        SECRET, SECRET.map(lambda text: text + "@" + text), SECRET.map(lambda text: f"{text}/{text}:{text}#?")
    ),
    tail=st.sampled_from(
        ["@db.example.org/shop", "@db.example.org:x/shop", "@db.example.org:99999/shop", "@[::1]:5432/a b", "", "@"]
    ),
    end=st.sampled_from(["", " ", "\n", "\x00", "?sslmode=require", "?password={}"]),
)
def test_property_01_no_url_shows_its_password_in_errors_or_representations(scheme, user, password, tail, end):
    assume("@" in tail or "@" not in password)  # else what follows the '@' is the host, by any reading
    outcome = parsed(f"{scheme}://{user}:{password}{tail}{end.format(password)}")
    if isinstance(outcome, DatabaseURL):
        assert "s3cr" not in f"{outcome} {outcome!r}"
    else:
        assert "s3cr" not in outcome


def test_a_representation_of_the_session_shows_neither_user_nor_password_nor_query():
    db = DatabaseSession("postgresql://app:hunter2@db.example.org:5433/shop?application_name=hunter3", pool_size=2)
    assert repr(db) == "DatabaseSession('postgresql://db.example.org:5433/shop', pool_size=2, max_overflow=10)"


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db", "sqlite:///x.db"),
        ("sqlite:////var/lib/x.db", "sqlite+aiosqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
        ("sqlite+aiosqlite://", "sqlite+aiosqlite://", "sqlite://"),
        ("postgres://u:p%40@h/d", "postgresql+asyncpg://u:p%40@h/d", "postgresql://h/d"),
        ("postgresql:///d", "postgresql+asyncpg:///d", "postgresql:///d"),
        ("postgresql://[::1]:5432/d", "postgresql+asyncpg://[::1]:5432/d", "postgresql://[::1]:5432/d"),
        ("PostgreSQL+asyncpg://h", "postgresql+asyncpg://h", "postgresql://h"),
        ("postgresql://h/d?sslmode=require&x=1", "postgresql+asyncpg://h/d?ssl=require&x=1", "postgresql://h/d"),
    ],
)
def test_a_url_finds_its_driver_and_has_a_form_to_show(text, secret, shown):
    url = DatabaseURL.parse(text)
    assert (url.secret, str(url)) == (secret, shown)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mysql://h/d", "scheme 'mysql'"),
        ("postgresql+psycopg2://h/d", "not supported"),
        ("sqlite://host/x.db", "three slashes"),
        ("sqlite://user@/x.db", "three slashes"),
        ("postgresql://h:0/d", "port 0"),
        ("postgresql://h:65536/d", "port 65536"),
        ("postgresql://h:port/d", "not a database URL"),
        ("just words", "not a database URL"),
        ("postgresql://h/d\n", "white space"),
        ("postgresql://h/d\x00e", "control characters"),
    ],
)
def test_a_wrong_url_is_refused_with_the_remedy(text, says):
    with pytest.raises(ConfigurationError, match=says):
        DatabaseURL.parse(text)


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_database_in_memory_is_known_as_such(text):
    assert DatabaseURL.parse(text).is_memory


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("sqlite:///x.db", "aiosqlite", "sql"),
        ("postgresql://h/d", "asyncpg", "postgres"),
        ("postgresql://h/d", "sqlalchemy", "postgres"),
        ("sqlite://", "greenlet", "sql"),
    ],
)
def test_a_missing_driver_is_told_with_the_extra_that_installs_it(monkeypatch, url, missing, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=missing) as caught:
        DatabaseSession(url)
    assert caught.value.extra == extra


def test_wrong_arguments_are_refused_before_any_driver_is_looked_for():
    code = """
import sys
for name in ("sqlalchemy", "greenlet", "aiosqlite", "asyncpg"):
    sys.modules[name] = None
from asgi_infra.database import DatabaseSession
from asgi_infra.errors import ConfigurationError, MissingExtraError
for arguments in ({"database_url": " "}, {"database_url": "sqlite://", "pool_size": 0}, {"database_url": "x://y"}):
    try:
        DatabaseSession(**arguments)
    except ConfigurationError:
        continue
    raise SystemExit(f"accepted: {arguments}")
try:
    DatabaseSession("sqlite://")
except MissingExtraError:
    print("missing")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("missing\n", "")


def test_importing_and_constructing_loads_no_driver():
    code = """
import sys
from asgi_infra.database import DatabaseSession
DatabaseSession("sqlite://"), DatabaseSession("postgresql://h/d")
print([name for name in ("sqlalchemy", "aiosqlite", "asyncpg", "sqlite3") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
