"""Query strings without their secrets, for access logs and the `url.query` attribute."""

from __future__ import annotations

from urllib.parse import unquote_plus

from asgi_infra.redaction.keys import MAX_NAME, KeyRules

REPLACEMENT = "REDACTED"
"""What stands for a private value; the word is the one of the OpenTelemetry semantic conventions."""

_rules = KeyRules(query=True)
_known = _rules._cache  # names that were met before cost one look-up, not a call


def redact_query(query: str) -> str:
    """Replace the values of private parameters by `REDACTED`, and leave all else of the string as it is.

    Private are the names of the OpenTelemetry list (`X-Amz-Signature`, `sig`, ...; semantic conventions, attribute
    `url.query`), the one-time proofs of logins (`code`, `SAMLResponse`, ...), and what the key rules call private
    (`token`, `api_key`, `user[password]`, ...), percent-encoded or not. Order, encoding, empty values and broken pairs
    stay as they are. Never raises, and takes linear time on any input.

    Args:
        query: The query string without the question mark.

    Example:
        >>> redact_query("page=2&access_token=s3cr3t&q=caf%C3%A9")
        'page=2&access_token=REDACTED&q=caf%C3%A9'
    """
    if "=" not in query:
        return query
    pairs = query.split("&")
    changed = False
    for index, pair in enumerate(pairs):
        name, _, value = pair.partition("=")
        if not value:
            continue
        kind = _known.get(name)
        if kind is None:
            kind = _kind(name)
        if kind:
            pairs[index] = f"{name}={REPLACEMENT}"
            changed = True
        elif ";" in pair:
            pairs[index] = _split_at_semicolons(pair)
            changed = True
    return "&".join(pairs) if changed else query


def _split_at_semicolons(pair: str) -> str:
    """Redact `a=1;token=2`: some servers still take the semicolon for a separator."""
    parts = pair.split(";")
    for index, part in enumerate(parts):
        name, _, value = part.partition("=")
        if value and _kind(name):
            # The other servers see one value up to the next ampersand.
            return ";".join([*parts[:index], f"{name}={REPLACEMENT}"])
    return pair


def _kind(name: str) -> str:
    if len(name) <= MAX_NAME * 3 and ("%" in name or "+" in name):
        name = unquote_plus(unquote_plus(name))
    return _rules.kind(name)
