"""The command line of `asgi-infra audit`: what it takes to print help, and nothing that takes time to import."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FORMATS = ("jsonl", "csv", "ocsf")

_AUDIT = """\
Read an audit log, and check it. The log is a directory, or a URL such as postgresql://audit@db.example.org/shop.
Reading is itself recorded in the log, with the user "cli:" and your login name; what can't be recorded is refused.
Only 'verify' of a directory leaves no trace: it opens nothing for writing.

examples:
  asgi-infra audit query /var/log/shop/audit --user alice --since 2h
  asgi-infra audit tail -f /var/log/shop/audit --result denied
  asgi-infra audit export /var/log/shop/audit --format csv --output audit.csv
  asgi-infra audit verify /var/log/shop/audit --since kept.checkpoint
"""
_EXITS = """\
exit codes:
  0  all went well
  1  the log could not be read, or what was asked for was not found
  2  the command line or the log's place is wrong, or something is not installed
"""
_QUERY = """\
Show entries, the oldest first. Times are ISO 8601, in UTC unless they say otherwise, or a span such as 90m, 2h or 7d
ago.

examples:
  asgi-infra audit query /var/log/shop/audit --action 'order.*' --result denied
  asgi-infra audit query /var/log/shop/audit --resource-type order --resource-id o-1 --json
  asgi-infra audit query /var/log/shop/audit --since 2026-05-01 --until 2026-05-02T12:00+02:00 --limit 1000
  asgi-infra audit query /var/log/shop/audit --user alice --after CURSOR      the page after the one before
"""
_TAIL = """\
Show the latest entries, and with -f those that come in, until Ctrl-C.

examples:
  asgi-infra audit tail /var/log/shop/audit --limit 50
  asgi-infra audit tail -f /var/log/shop/audit --result denied --json
"""
_EXPORT = """\
Write entries in a format of other programs: JSON Lines, CSV (RFC 4180), or events of the Open Cybersecurity Schema
Framework. A file appears under its name when it is complete, readable by you alone, and is never overwritten.

examples:
  asgi-infra audit export /var/log/shop/audit > audit.jsonl
  asgi-infra audit export /var/log/shop/audit --format csv --since 30d --output audit.csv
  asgi-infra audit export /var/log/shop/audit --format ocsf --user alice --output alice.ocsf.jsonl
"""
_VERIFY = """\
Check every entry, its hash, the tree and the checkpoints. Of a directory, all files are checked as they are, without
opening the log; a checkpoint that you kept elsewhere shows a log that was cut or made anew as a whole.

examples:
  asgi-infra audit verify /var/log/shop/audit
  asgi-infra audit verify /var/log/shop/audit --since kept.checkpoint --key shop.vkey
  asgi-infra audit verify postgresql://audit@db.example.org/shop
"""
_VERIFY_EXITS = """\
exit codes:
  0  the log is as it was written
  1  it is not, and the place where it broke is shown; or it could not be read
  2  the command line or the log's place is wrong, or something is not installed
"""
_PROVE = """\
Write the proof that an entry is in the log (C2SP tlog-proof), with a new signed checkpoint: anybody can check it
offline, with tools of others too. SEQ is the entry's number, as 'query' shows it.

examples:
  asgi-infra audit prove /var/log/shop/audit 4711 > o-1.tlog-proof
  asgi-infra audit prove /var/log/shop/audit 4711 --output o-1.tlog-proof
"""
_CHECKPOINT = """\
Sign a checkpoint (C2SP tlog-checkpoint) of all entries. Keep it where nobody who can write to the log can write, for
'asgi-infra audit verify --since'.

examples:
  asgi-infra audit checkpoint /var/log/shop/audit > kept.checkpoint
"""
_ORPHANS = """\
Show attempts that were never completed: what was about to be done when a process was killed, or the log failed. With
--close, an entry with the result "unknown" ends each of them; doing it twice does it once.

examples:
  asgi-infra audit orphans /var/log/shop/audit
  asgi-infra audit orphans /var/log/shop/audit --older-than 1h --close
"""
_ORPHANS_EXITS = """\
exit codes:
  0  there are none, or all were closed
  1  there are some, or the log could not be read
  2  the command line or the log's place is wrong, or something is not installed
"""


def add_audit(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command to those of the program."""
    audit = commands.add_parser(
        "audit",
        help="read an audit log, and check it",
        description=_AUDIT,
        epilog=_EXITS,
        formatter_class=RawDescriptionHelpFormatter,
    )
    audit.set_defaults(command="audit", parser=audit, module="asgi_infra.cli.audit.usage")
    kinds = audit.add_subparsers(title="commands", metavar="COMMAND")
    query = _command(kinds, "query", "show entries", _QUERY)
    _add_filter(query)
    query.add_argument("--limit", type=_count, default=100, metavar="N", help="how many at most (default: %(default)s)")
    query.add_argument("--after", metavar="CURSOR", help="go on where an earlier page ended, as it was told there")
    query.add_argument("--newest-first", action="store_true", help="the newest first")
    _add_json(query)
    tail = _command(kinds, "tail", "show the latest entries", _TAIL)
    _add_filter(tail)
    tail.add_argument("-f", "--follow", action="store_true", help="show what comes in, until Ctrl-C")
    tail.add_argument("--limit", type=_count, default=10, metavar="N", help="how many at first (default: %(default)s)")
    _add_json(tail)
    export = _command(kinds, "export", "write entries for other programs", _EXPORT)
    _add_filter(export)
    export.add_argument("--format", choices=FORMATS, default="jsonl", help="the format (default: %(default)s)")
    export.add_argument("--output", metavar="FILE", help="the file to write (default: standard output)")
    verify = _command(kinds, "verify", "check that nothing was changed", _VERIFY, _VERIFY_EXITS)
    verify.add_argument("--since", metavar="FILE", help="a checkpoint from before that the log must begin with")
    verify.add_argument("--key", metavar="FILE", help="the log's public key, to check the signatures of checkpoints")
    verify.add_argument("--json", action="store_true", help="print the report as one JSON document")
    prove = _command(kinds, "prove", "prove that an entry is in the log", _PROVE)
    prove.add_argument("seq", metavar="SEQ", type=_number, help="the entry's number")
    prove.add_argument("--output", metavar="FILE", help="the file to write (default: standard output)")
    checkpoint = _command(kinds, "checkpoint", "sign what the log holds now", _CHECKPOINT)
    checkpoint.add_argument("--output", metavar="FILE", help="the file to write (default: standard output)")
    orphans = _command(kinds, "orphans", "show what was begun and never ended", _ORPHANS, _ORPHANS_EXITS)
    orphans.add_argument(
        "--older-than",
        type=_span,
        default=timedelta(minutes=15),
        metavar="SPAN",
        help="leave out what may be under way still (default: 15m)",
    )
    orphans.add_argument("--close", action="store_true", help='end each of them with an entry "unknown"')
    _add_json(orphans)


def _command(
    kinds: _SubParsersAction[ArgumentParser], name: str, summary: str, description: str, epilog: str = _EXITS
) -> ArgumentParser:
    parser = kinds.add_parser(
        name, help=summary, description=description, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
    )
    parser.set_defaults(command="audit", parser=parser, module=f"asgi_infra.cli.audit.{name}")
    parser.add_argument("log", metavar="LOG", help="the log: a directory, or a URL such as sqlite:///audit.db")
    return parser


def _add_filter(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("which entries")
    group.add_argument("--user", metavar="ID", help="of exactly this user")
    group.add_argument("--action", metavar="NAME", help="with this action, or all below it, as in 'order.*'")
    group.add_argument("--resource-type", metavar="NAME", help="of this kind of thing")
    group.add_argument("--resource-id", metavar="ID", help="of this thing")
    group.add_argument("--result", metavar="NAME", help="with this result, such as denied")
    group.add_argument("--tenant", metavar="NAME", help="of this tenant")
    group.add_argument("--request-id", metavar="ID", help="of this request")
    group.add_argument("--since", metavar="TIME", type=_time, help="not before this time, such as 2026-05-01 or 2h")
    group.add_argument("--until", metavar="TIME", type=_time, help="before this time")


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document a line, with all fields")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not the number of an entry, such as 4711")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 10_000 and len(text) < 9:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10000")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _span(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and len(number) < 7 and unit in _UNITS:
        return timedelta(**{_UNITS[unit]: int(number)})
    raise ArgumentTypeError(f"{text!r} is not a span such as 30s, 90m, 2h or 7d")


def _time(text: str) -> datetime:
    try:
        return datetime.now(UTC) - _span(text)
    except ArgumentTypeError:
        pass
    except OverflowError as exc:
        raise ArgumentTypeError(f"{text!r} is longer ago than the calendar goes") from exc
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is no time such as 2026-05-01, 2026-05-01T12:00+02:00, or 2h (ago)") from exc
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
