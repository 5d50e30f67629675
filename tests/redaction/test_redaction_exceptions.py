from __future__ import annotations

from asgi_infra.redaction import Redactor

SECRET = "hunter2-secret"


def login(user: str, password: str) -> None:
    raise PermissionError(f"no login for {user} with {password}")


def caught(function, *arguments) -> BaseException:
    try:
        function(*arguments)
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def test_the_text_holds_the_traceback_without_what_is_private():
    text = Redactor().exception(caught(login, "bob@example.org", SECRET))
    assert text.startswith("Traceback (most recent call last):")
    assert "in login" in text
    assert "PermissionError: no login for [REDACTED:email] with [REDACTED:password]" in text


def test_a_secret_that_a_frame_knows_by_name_is_found_in_the_message():
    assert SECRET not in Redactor().exception(caught(login, "bob", SECRET))
    assert Redactor().message(caught(login, "bob", SECRET)) == "no login for bob with [REDACTED:password]"


def test_notes_causes_contexts_and_groups_are_redacted():
    def fail() -> None:
        try:
            raise KeyError("note of al@example.org")
        except KeyError as exc:
            inner = ValueError(f"token={SECRET}")
            inner.add_note("see bob@example.org")
            raise ExceptionGroup("two for eve@example.org", [inner, OSError(f"password={SECRET}")]) from exc

    text = Redactor().exception(caught(fail))
    assert "direct cause" in text
    assert "ExceptionGroup: two for [REDACTED:email] (2 sub-exceptions)" in text
    assert "see [REDACTED:email]" in text
    assert not [private for private in (SECRET, "bob@", "al@", "eve@") if private in text]


def test_attributes_of_an_exception_are_known_too():
    error = ValueError(f"sent {SECRET}")
    error.api_key = SECRET
    assert Redactor()(error) == "ValueError: sent [REDACTED:api_key]"


def test_local_variables_are_shown_only_on_demand_and_redacted():
    error = caught(login, "bob", SECRET)
    assert "password = " not in Redactor().exception(error).replace("password = get", "")
    shown = Redactor(local_variables=True).exception(error)
    assert "user = 'bob'" in shown
    assert "password = '[REDACTED:password]'" in shown


def test_exceptions_that_can_not_be_printed_are_still_text():
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    assert "Unprintable" in Redactor().exception(Unprintable())
    assert Redactor().message(Unprintable()) == "[REDACTED:error]"


def test_cycles_of_causes_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "ValueError: one" in Redactor().exception(one)


def test_deep_recursion_and_long_messages_stay_within_the_limits():
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise ValueError("word " * 100_000)

    text = Redactor(max_chars=10_000).exception(caught(deep, 300))
    assert len(text) <= 10_100
    assert text.endswith(" chars]")


def test_exceptions_inside_values_become_text():
    out = Redactor()({"error": caught(login, "bob@example.org", SECRET)})
    assert "with [REDACTED:password]" in out["error"]
