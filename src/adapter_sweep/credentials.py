"""Passwords and tokens never reach a terminal, a log, a report, MLflow or the ledger."""

import re

__all__ = ["mask_credentials"]

# Up to the last `@`: a password may hold an unescaped `@` or `:`, and one after `user:` a slash too. What follows
# `host:` is a port, and a path may hold an `@`.
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/'\":@]+:(?!\d+/)[^\s'\"]*|[^\s/'\"]*)@")
# `tokens` are counted (`latency.tokens=32`); a `token` opens doors.
_SECRET_VALUE = re.compile(
    r"(?i)\b([a-z_-]*(?:password|passwd|pwd|token(?!s)|secret|api[_-]?key|access[_-]?key)[a-z_-]*=)[^&\s'\"]+"
)


def mask_credentials(text: str) -> str:
    """Return `text` with the user part of every URL, and every secret in a query, replaced by `***`."""
    return _SECRET_VALUE.sub(r"\1***", _USER_INFO.sub("***@", text))
