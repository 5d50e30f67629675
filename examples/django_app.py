"""Django: `uvicorn django_app:application --lifespan off --no-access-log`; in a project this is `asgi.py`."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from asgi_infra import InfraMiddleware, get_request_id

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["asgi_infra.middleware.hooks.django_routes"],  # tells which route Django has chosen
    USE_TZ=True,
)


async def show_item(request: HttpRequest, id: int) -> JsonResponse:  # noqa: A002 - the name in the path
    return JsonResponse({"id": id, "request_id": get_request_id()})


urlpatterns = [path("items/<int:id>", show_item)]

application = InfraMiddleware(get_asgi_application(), service="shop")
