from __future__ import annotations

import asyncio
from typing import Any

import django
from django.conf import settings

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not a secret", MIDDLEWARE=[])
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.http import require_POST, require_safe  # noqa: E402


@require_safe
async def item(request: Any, item_id: int) -> JsonResponse:
    return JsonResponse({"id": item_id})


@require_POST
async def echo(request: Any) -> HttpResponse:
    return HttpResponse(request.body)


def boom(request: Any) -> HttpResponse:
    raise LookupError("broken on purpose")


async def stream(request: Any) -> StreamingHttpResponse:
    async def chunks() -> Any:
        yield b"first"
        await asyncio.sleep(0.05)
        raise LookupError("broken on purpose, in mid-stream")

    return StreamingHttpResponse(chunks())


async def slow(request: Any) -> StreamingHttpResponse:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"tick"
            await asyncio.sleep(0.05)

    return StreamingHttpResponse(chunks())


async def nested(request: Any, tenant: str, y: str) -> HttpResponse:
    return HttpResponse("nested")


urlpatterns = [
    path("items/<int:item_id>", item),
    path("echo", echo),
    path("boom", boom),
    path("stream", stream),
    path("slow", slow),
    path("t/<tenant>/", include([path("x/<y>", nested)])),
]

app = get_asgi_application()
