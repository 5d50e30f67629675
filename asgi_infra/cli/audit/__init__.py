"""`asgi-infra audit`: read an audit log, and check it."""
