"""Whether trace, metrics and log line of each request agree, asked from outside."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from asgi_infra.cli.demo.client import ask, scrape
from asgi_infra.cli.demo.tables import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asgi_infra.cli.demo.accounts import Account
    from asgi_infra.cli.demo.client import Reply
    from asgi_infra.cli.demo.ledger import Ledger
    from asgi_infra.cli.demo.tour import Step
    from asgi_infra.cli.terminal import Terminal

_WAIT = 10.0
_PAUSE = 0.02


async def check(
    terminal: Terminal,
    host: str,
    port: int,
    steps: Sequence[Step],
    account_of: Callable[[str], Account | None],
    outputs: Callable[[], Sequence[str]],
    ledger: Ledger,
) -> bool:
    """Run the tour and write one line a step; return whether everything agreed.

    Args:
        terminal: Where to write.
        host: The address of the demo.
        port: Its port.
        steps: The tour.
        account_of: Returns the account of a request by its id, or `None` as long as there is none.
        outputs: Returns the log lines and spans so far, as they came out.
        ledger: The shop's audit log.
    """
    good = True
    tokens: list[str] = []
    for step in steps:
        reply = await asyncio.to_thread(ask, host, port, step, tokens[-1] if tokens else None)
        if step.keeps:
            tokens += _token_in(reply)
        account = await _wait(account_of, reply.request_id or "")
        metrics = "" if step.websocket else await asyncio.to_thread(scrape, host, port)
        told = [*outputs(), metrics]
        faults = [*_faults(step, reply, account, metrics), *_leaks(step, reply, told)]
        if any(token in text for token in tokens for text in told):
            faults.append("a token came out")
        faults += [fault async for fault in ledger.faults(step, reply, tokens)]
        terminal.line()
        terminal.line(f"{_mark(terminal, good=not faults)}  {step.title}: id {reply.request_id} in {_places(step)}")
        for fault in faults:
            terminal.line(f"    {fault}")
        good = good and not faults
    verifies, verdict = await ledger.verdict()
    terminal.line()
    terminal.line(f"{_mark(terminal, good=verifies)}  {verdict}")
    return good and verifies


def _mark(terminal: Terminal, *, good: bool) -> str:
    return terminal.paint("ok", "bold", "green") if good else terminal.paint("fail", "bold", "red")


async def _wait(account_of: Callable[[str], Account | None], request_id: str) -> Account | None:
    for _ in range(round(_WAIT / _PAUSE)):
        account = account_of(request_id)
        if account is not None:
            return account
        await asyncio.sleep(_PAUSE)
    return None


def _token_in(reply: Reply) -> list[str]:
    try:
        return [json.loads(reply.body)["token"]]
    except (ValueError, TypeError, KeyError):
        return []


def _places(step: Step) -> str:
    places = "header, trace and log" if step.websocket else "header, trace, metric and log"
    return places if step.recorded is None else f"{places}, and in the audit log"


def _faults(step: Step, reply: Reply, account: Account | None, metrics: str) -> Iterator[str]:
    if reply.status != step.status:
        yield f"answered {reply.status} instead of {step.status}"
    if step.answer not in reply.body:
        yield f"the answer lacks {step.answer}"
    if step.websocket and len(reply.body.splitlines()) != len(PRODUCTS):
        yield f"{len(reply.body.splitlines())} messages came instead of {len(PRODUCTS)}"
    if step.keeps and not _token_in(reply):
        yield "the answer holds no token"
    if not reply.request_id:
        yield "the response has no X-Request-ID"
        return
    if step.request_id is not None and reply.request_id != step.request_id:
        yield f"the response has the id {reply.request_id} instead of {step.request_id}"
    if account is None:
        yield "no server span has this id"
        return
    line = account.line
    if line is None:
        yield "no log line has this id"
    else:
        if line.get("trace_id") != account.trace_id:
            yield f"the log line has the trace id {line.get('trace_id')}, the span {account.trace_id}"
        if line.get("status") != step.status or line.get("route") != step.route:
            yield f"the log line says {line.get('status')} for {line.get('route')}"
    if (account.server.attributes or {}).get("http.route") != step.route:
        yield f"the span has the route {(account.server.attributes or {}).get('http.route')}"
    if not step.websocket:
        yield from _metric_faults(step, reply.request_id, account, metrics)


def _leaks(step: Step, reply: Reply, outputs: Sequence[str]) -> Iterator[str]:
    """Yield a fault for each secret that came out anywhere, and for each that the log doesn't show as redacted."""
    lines = [text for text in outputs if f'"request_id":"{reply.request_id}"' in text]
    for kind, secret in step.secrets.items():
        if any(secret in text for text in outputs):
            yield f"the secret {kind} came out"
        if not any(f"[REDACTED:{kind}]" in line for line in lines):
            yield f"no log line shows that it lacks the {kind}"


def _metric_faults(step: Step, request_id: str, account: Account, metrics: str) -> Iterator[str]:
    labels = f'method="{step.method}",path="{step.route or "unmatched"}",status_code="{step.status}"'
    if not any(series == f"http_requests_total{{{labels}}}" for series, _, _ in account.moved):
        yield f"http_requests_total{{{labels}}} has not moved"
    marked = [line for line in metrics.splitlines() if f'request_id="{request_id}"' in line]
    if not any(f'path="{step.route or "unmatched"}"' in line and account.trace_id in line for line in marked):
        yield "no exemplar in the metrics has this id and its trace"
