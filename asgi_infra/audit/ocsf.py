"""Entries as events of the Open Cybersecurity Schema Framework, class API Activity (6003), version 1.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_infra._version import __version__
from asgi_infra.audit.mending import utc_text

if TYPE_CHECKING:
    from asgi_infra.audit.record import LoggedEntry

_CATEGORY: Final = 6
_CLASS: Final = 6003
_OTHER: Final = 99
_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete", _OTHER: "Other"}
_ACTIVITIES: Final = {
    1: ("add", "create", "insert", "new", "post", "register"),
    2: ("count", "export", "get", "head", "list", "read", "search", "view"),
    3: ("change", "edit", "patch", "put", "rename", "set", "update"),
    4: ("delete", "erase", "purge", "remove", "revoke"),
}
_ACTIVITY: Final = {verb: number for number, verbs in _ACTIVITIES.items() for verb in verbs}
_STATUS: Final = {
    "success": (1, "Success"),
    "failure": (2, "Failure"),
    "error": (2, "Failure"),
    "denied": (2, "Failure"),
}


def ocsf_event(logged: LoggedEntry) -> dict[str, Any]:
    """Return an entry as an OCSF event, as plain JSON data. What OCSF has no place for stands under `unmapped`."""
    entry = logged.entry
    activity = _ACTIVITY.get(entry.action.rpartition(".")[2].lower(), _OTHER)
    status_id, status = _STATUS.get(entry.result.lower(), (_OTHER, entry.result))
    metadata = {
        "version": "1.3.0",
        "product": {"name": "asgi-infra", "vendor_name": "asgi-infra", "version": __version__},
        "uid": entry.id,
        "original_time": utc_text(entry.timestamp),
        "sequence": logged.seq,
        "tenant_uid": entry.tenant,
        "correlation_uid": entry.trace_id,
    }
    event = {
        "activity_id": activity,
        "activity_name": _NAMES[activity],
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "type_uid": _CLASS * 100 + activity,
        "severity_id": 1,
        "severity": "Informational",
        "time": int(entry.timestamp.timestamp() * 1000),
        "status_id": status_id,
        "status": status,
        "metadata": metadata,
        "actor": {"user": {"uid": entry.user_id}} if entry.user_id is not None else {"app_name": "unknown"},
        "api": {"operation": entry.action, "request": {"uid": entry.request_id}},
        "src_endpoint": {"ip": entry.ip_address} if entry.ip_address is not None else {"name": "unknown"},
        "http_request": {"user_agent": entry.user_agent},
        "resources": [{"type": entry.resource_type, "uid": entry.resource_id}],
        "unmapped": {"details": entry.details, "erased": logged.erased, "leaf_hash": logged.leaf_hash.hex()},
    }
    return {name: value for name, value in _without_none(event).items() if value != {}}


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return [_without_none(item) for item in value] if isinstance(value, list) else value
    kept = {
        name: item if name == "details" else _without_none(item) for name, item in value.items() if item is not None
    }
    return {name: item for name, item in kept.items() if item != {}}
