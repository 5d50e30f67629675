"""The root path as each server's own option sets it."""

from __future__ import annotations

import pytest
from serving import serve

OPTIONS = {
    "uvicorn": "--root-path=/api",
    "granian": "--url-path-prefix=/api",
    "hypercorn": "--root-path=/api",
    "daphne": "--root-path=/api",
}


@pytest.mark.parametrize("server", OPTIONS)
def test_the_root_path_of_a_server_is_no_part_of_the_route(server: str):
    pytest.importorskip(server, reason=f"{server} is not installed: it does not run on this Python")
    # uvicorn expects a proxy that has stripped the prefix, and puts it back; the others pass on what they get.
    prefix = "" if server == "uvicorn" else "/api"
    with serve("starlette", server, OPTIONS[server]) as served:
        response, record = served.ask("GET", f"{prefix}/items/7")
        assert (response.status_code, record["route"]) == (200, "/items/{item_id}")
        response, record = served.ask("GET", f"{prefix}/t/api/x/1")
        assert (response.status_code, record["route"]) == (200, "/t/{tenant}/x/{y}")
        assert served.ask("GET", f"{prefix}/none")[1]["route"] is None
