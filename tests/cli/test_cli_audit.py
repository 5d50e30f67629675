"""`asgi-infra audit`: what it shows, what it writes, what it finds, and that reading leaves its trace."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from asgi_infra import cli
from asgi_infra.audit import AuditEntry, AuditFilter
from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.proofs.proof_file import ProofFile
from asgi_infra.cli.audit import arguments, logs, verify
from asgi_infra.cli.audit.output import output
from asgi_infra.cli.audit.showing import Progress, show
from asgi_infra.cli.terminal import Terminal
from asgi_infra.errors import ConfigurationError

KINDS = ("query", "tail", "export", "verify", "prove", "checkpoint", "orphans")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def _fill(path: str) -> None:
    async with FileAuditLogger(path, origin="shop.example.org/audit") as logger:
        await logger.log_many(
            AuditEntry(
                id=f"e-{index}",
                timestamp=NOON + timedelta(minutes=index),
                action="order.refund" if index % 2 else "login",
                resource_type="order",
                resource_id=f"o-{index}",
                result="denied" if index == 3 else "success",
                user_id="alice" if index < 6 else "bob",
                details={"method": "POST", "path": f"/orders/{index}", "status": 200},
            )
            for index in range(10)
        )
        for name, result in (("a:attempt", "attempt"), ("b:attempt", "attempt"), ("b:completed", "success")):
            await logger.log_action("payment.make", "order", id=name, result=result, timestamp=NOON)


@pytest.fixture
def log(tmp_path):
    path = str(tmp_path / "audit")
    anyio.run(_fill, path)
    return path


@pytest.fixture
def audit(capsysbinary):
    def call(*arguments: Any) -> tuple[int, str, str]:
        code = cli.main(["audit", *map(str, arguments)])
        captured = capsysbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


def ids(out: str) -> list[str]:
    return [json.loads(line)["id"] for line in out.splitlines()]


def traces(log: str) -> list[AuditEntry]:
    """Return what the log says about itself."""

    async def read() -> list[AuditEntry]:
        async with FileAuditLogger(log, audit_reads=False) as logger:
            return list((await logger.query(AuditFilter(resource_type="audit_log"))).entries)

    return anyio.run(read)


# Help


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_every_help_has_examples_exit_codes_and_no_long_line(kind, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["audit", *([kind] if kind else []), "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"asgi-infra audit {kind}".rstrip() in shown
    assert "examples:" in shown
    assert "exit codes:" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_without_a_command_it_shows_the_help(audit):
    code, out, _ = audit()
    assert code == 0
    assert all(kind in out for kind in KINDS)


def test_the_help_imports_nothing_that_takes_time():
    code = "import sys, asgi_infra.cli.parser as p; p.build_parser(); print('anyio' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


# query


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--user", "bob"], [6, 7, 8, 9]),
        (["--action", "order.*", "--user", "alice"], [1, 3, 5]),
        (["--result", "denied"], [3]),
        (["--resource-type", "order", "--resource-id", "o-4"], [4]),
        (["--tenant", "acme"], []),
        (["--request-id", "r"], []),
        (["--since", "2026-05-01T12:08"], [8, 9]),
        (["--since", "2026-05-01T14:01+02:00", "--until", "2026-05-01T12:03"], [1, 2]),
    ],
)
def test_a_query_finds_what_it_is_asked_for(audit, log, options, found):
    code, out, _ = audit("query", log, "--json", *options)
    listed = [name for name in ids(out) if name.startswith("e-")]
    assert (code, listed) == (0, [f"e-{index}" for index in found])


def test_pages_follow_one_another(audit, log):
    seen, cursor = [], []
    while True:
        code, out, err = audit("query", log, "--json", "--user", "alice", "--limit", 4, *cursor)
        assert code == 0
        seen += ids(out)
        if "--after" not in err:
            break
        cursor = ["--after", err.rpartition("--after ")[2].strip()]
    assert seen == [f"e-{index}" for index in range(6)]


def test_a_line_for_people_tells_the_main_things(audit, log):
    _, out, _ = audit("query", log, "--result", "denied")
    (line,) = out.splitlines()
    assert line.split() == [
        *("3", "2026-05-01", "12:03:00.000Z", "denied", "order.refund", "order/o-3", "alice"),
        *("POST", "/orders/3", "200"),
    ]


def test_what_finds_nothing_says_so(audit, log):
    assert audit("query", log, "--user", "nobody")[1:] == ("", "asgi-infra: no entries fit\n")


def test_reading_is_recorded_with_who_has_read(audit, log, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    audit("query", log, "--user", "bob")
    audit("export", log)
    assert [(entry.action, entry.user_id) for entry in traces(log)] == [
        ("audit.read", "cli:carol"),
        ("audit.export", "cli:carol"),
    ]


def test_a_user_without_a_name_reads_too(monkeypatch):
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert logs.reader() == "cli:unknown"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["query", "{tmp}/nope"], "is not there"),
        (["query", "file://{tmp}/nope"], "is not there"),
        (["query", "{tmp}/file"], "is a file"),
        (["query", "{tmp}"], "holds no audit log"),
        (["query", "carrier-pigeon://coop"], "unknown scheme"),
        (["query", "sqlite:///{tmp}/nope.db"], "nope.db is not there"),
        (["query", "{log}", "--action", "or*er"], "action must"),
        (["query", "{log}", "--since", "1h", "--until", "2h"], "until must not be before since"),
        (["query", "{log}", "--after", "nonsense"], "after must be the cursor"),
        (["export", "{log}", "--output", "{tmp}/file"], "not overwritten"),
        (["export", "{log}", "--output", "{tmp}/no/where"], "can't be written"),
        (["verify", "memory://", "--since", "x"], "are for logs in a directory"),
        (["verify", "{log}", "--since", "{tmp}/nope"], "can't be read as a checkpoint"),
        (["verify", "{log}", "--since", "{tmp}/file"], "not of this log"),
        (["verify", "{log}", "--key", "{tmp}/file"], "not of this log"),
        (["checkpoint", "{log}", "--output", "{tmp}/file"], "not overwritten"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_code_2(audit, log, tmp_path, arguments, told):
    (tmp_path / "file").write_text("something")
    code, out, err = audit(*(each.format(tmp=tmp_path, log=log) for each in arguments))
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "something"
    assert not (tmp_path / "nope.db").exists()


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (arguments._time, "yesterday"),
        (arguments._time, "999999d"),
        (arguments._span, "2"),
        (arguments._span, "2w"),
        (arguments._count, "0"),
        (arguments._count, "10001"),
        (arguments._number, "-1"),
    ],
)
def test_arguments_that_are_none_are_refused(parse, text):
    with pytest.raises(arguments.ArgumentTypeError, match=text):
        parse(text)


# tail


def test_tail_shows_the_latest_entries_in_their_order(audit, log):
    _, out, _ = audit("tail", log, "--user", "bob", "--limit", 2, "--json")
    assert ids(out) == ["e-8", "e-9"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_tail_follows_until_it_is_interrupted(log):
    command = [sys.executable, "-m", "asgi_infra.cli", "audit", "tail", "-f", log, "--json", "--action", "late"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    async def late() -> None:
        async with FileAuditLogger(log) as logger:
            await logger.log_action("late", "order", id="late")

    try:
        while not any(entry.details and entry.details["operation"] == "tail" for entry in traces(log)):
            assert process.poll() is None
            time.sleep(0.05)
        anyio.run(late)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == "late"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()


# export


def test_an_export_goes_to_standard_output_or_to_a_new_file(audit, log, tmp_path):
    code, out, _ = audit("export", log, "--user", "bob")
    assert (code, ids(out)) == (0, [f"e-{index}" for index in range(6, 10)])
    target = tmp_path / "audit.csv"
    assert audit("export", log, "--user", "bob", "--format", "csv", "--output", target)[:2] == (0, "")
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["id"] for row in rows] == ids(out)
    assert target.stat().st_mode & 0o077 == 0
    assert audit("export", log, "--user", "bob", "--format", "ocsf")[1].count('"class_uid":6003') == 4


def write(target: Any, then: Any) -> None:
    with output(str(target)) as file:
        file.write(b"ours")
        then()


def test_a_file_that_was_not_completed_is_not_there(tmp_path):
    def broken() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        write(tmp_path / "audit.jsonl", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_appeared_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "audit.jsonl"
    with pytest.raises(ConfigurationError, match="appeared meanwhile"):
        write(target, lambda: target.write_text("theirs"))
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


# verify, prove, checkpoint


def test_a_log_that_is_right_verifies_against_a_kept_checkpoint_and_leaves_no_trace(audit, log, tmp_path):
    _, kept, _ = audit("checkpoint", log)
    (tmp_path / "kept").write_text(kept)
    before = traces(log)
    code, out, _ = audit("verify", log, "--since", tmp_path / "kept", "--key", f"{log}/key.vkey")
    assert code == 0
    assert out.startswith("ok  ")
    assert "13 entries" in out
    assert traces(log) == before
    assert json.loads(audit("verify", log, "--json")[1])["ok"] is True


def test_a_changed_log_is_told_with_the_place_where_it_broke(audit, log, tmp_path):
    (segment,) = (tmp_path / "audit" / "wal").glob("*.log")
    data = bytearray(segment.read_bytes())
    at = data.index(b"o-4")
    data[at] ^= 1
    segment.write_bytes(data)
    code, out, _ = audit("verify", log)
    assert code == 1
    assert out.startswith("broken  ")
    assert str(segment) in out
    told = json.loads(audit("verify", log, "--json")[1])
    assert (told["ok"], told["file"]) == (False, str(segment))
    assert told["problem"]


def test_a_log_elsewhere_is_verified_through_its_logger(audit):
    code, out, _ = audit("verify", "memory://")
    assert (code, out.startswith("ok  memory://: 0 entries")) == (0, True)


def test_a_broken_log_elsewhere_is_told_too(capsys):
    from asgi_infra.audit.verification import VerificationReport

    report = VerificationReport(
        ok=False, size=9, first=2, checked=3, erased=1, bad_seq=5, problem="entry 5: changed", root=b"r" * 32
    )
    verify._show(Terminal(sys.stdout), "sqlite:///audit.db", report, 1.0)
    out = capsys.readouterr().out
    assert out.startswith("broken  sqlite:///audit.db: entry 5: changed\n")
    assert "entry  5" in out
    assert "the first 2 were purged" in out


def test_a_proof_is_one_that_others_can_read(audit, log, tmp_path):
    code, out, _ = audit("prove", log, 3)
    assert code == 0
    assert ProofFile.parse(out).index == 3
    assert audit("prove", log, 3, "--output", tmp_path / "e-3.tlog-proof")[0] == 0
    assert (tmp_path / "e-3.tlog-proof").read_text().startswith("c2sp.org/tlog-proof@v1\n")


def test_there_is_no_proof_of_what_is_not_there(audit, log, tmp_path):
    code, _, err = audit("prove", log, 4711, "--output", tmp_path / "proof")
    assert code == 1
    assert "no entry 4711" in err
    assert not (tmp_path / "proof").exists()


# orphans


def test_orphans_are_shown_and_closed_once(audit, log):
    code, out, _ = audit("orphans", log, "--json")
    assert (code, ids(out)) == (1, ["a:attempt"])
    assert audit("orphans", log, "--older-than", "6000d") == (0, "", "")
    code, _, err = audit("orphans", log, "--close")
    assert (code, err) == (0, "asgi-infra: closed 1\n")
    assert audit("orphans", log) == (0, "", "")
    assert ids(audit("query", log, "--json", "--result", "unknown")[1]) == ["a:completed"]


# What is shown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_nothing_elsewhere():
    screen, file = Screen(), io.StringIO()
    for stream in (screen, file):
        progress = Progress("entries", stream)
        for done in range(0, 2001, 500):
            progress(done, 2000)
        progress.close()
    assert "100%  2,000 of 2,000 entries" in screen.getvalue()
    assert screen.getvalue().endswith("\r")
    assert file.getvalue() == ""


def test_an_empty_log_is_all_done():
    screen = Screen()
    Progress("bytes", screen)(0, 0)
    assert "100%" in screen.getvalue()


def test_what_an_entry_holds_can_not_move_the_cursor():
    from asgi_infra.audit import LoggedEntry

    entry = AuditEntry(
        timestamp=NOON,
        action="a",
        resource_type="t",
        result="success",
        details={"method": "GET", "path": "/\x1b[2J", "status": None},
    )
    stream = io.StringIO()
    show(Terminal(stream, {}), LoggedEntry(0, b"", entry, False), json=False)
    show(Terminal(stream, {}), LoggedEntry(1, b"", entry, True), json=False)
    assert "\x1b" not in stream.getvalue()
    assert "[erased]" in stream.getvalue()
