"""Passwords and tokens never reach a terminal, a log, a report, MLflow or the ledger.

Three things give one away: where it stands (in a URL's user part, after `password=`), its shape (`hf_…`), and its
value, which is known where the user gave it to us or to the environment.
"""

import base64
import html
import json
import os
import re
from urllib.parse import quote, quote_plus, unquote

__all__ = ["holds_credentials", "mask_credentials", "remember_credentials"]

_MASK = "***"
# Up to the last `@`: a password may hold an unescaped `@` or `:`, and one after `user:` a slash too. What follows
# `host:` is a port, and a path may hold an `@`.
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/'\":@]+:(?!\d+/)[^\s'\"]*|[^\s/'\"]*)@")
_ENCODED_USER_INFO = re.compile(r"(?i)(?<=%3a%2f%2f)(?:(?!%2f|%40)[^\s'\"&/])+%40")
# `tokens` are counted (`latency.tokens=32`) and a `tokenizer` reads; a `token` opens doors.
_KEY = (
    r"[a-z0-9_.-]*(?:password|passwd|pwd|token(?!s|iz)|secret|signature|credential|api[_-]?key|access[_-]?key)[a-z_-]*+"
)
# A name is tried whole and once, and only where a value follows: each part of a long one would cost its cube.
_VALUE_OF_KEY = re.compile(
    rf"(?i)(?<![a-z0-9_.-])(?=[a-z0-9_.-]++(?:=|%3d))({_KEY}(?:=|%3d))"
    r"(?:'[^']+'|\"[^\"]+\"|[^&\s'\"]+)"
)
_VALUE_OF_ITEM = re.compile(rf"(?i)(['\"]{_KEY}['\"]\s*[:,]\s*)(?:b?'[^']+'|b?\"[^\"]+\")")
_HEADER = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+|\bbearer\s+(?=\S{16}))[^\s'\",]+")
_SHAPE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|dapi[0-9a-f]{32}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]+)"
)
_SECRET_VARIABLE = re.compile(
    r"(?i)(?:password|passwd|_pwd$|token(?!s|iz)|secret|api_?key|access_?key|credential)(?!.*_(?:path|file|dir|id)$)"
)
_SHORTEST_OF_OURS, _SHORTEST_OF_VARIABLES = 4, 8  # a shorter one would be found in words that are none
_URL = re.compile(r"(?:[+~]*[\w.]+=)?['\"]?[A-Za-z][\w+.-]*://(?!/)")
# May be part of a word or of a number, so it is masked only where it stands alone.
_PLAIN = re.compile(r"[a-z]{1,11}|\d{1,11}")

_remembered: set[str] = set()


def mask_credentials(text: str) -> str:
    """Return `text` with every credential replaced by `***`: users of URLs, secrets by name or shape, known values.

    Known are the values of the environment's variables for passwords and tokens, the passwords of URLs in it, and
    what `remember_credentials` was given, each also as URLs, HTML, JSON and Python write it.
    """
    secrets = {form for secret in _remembered | _secrets_of_environment() for form in _forms(secret)}
    if secrets:
        text = re.sub("|".join(map(_pattern, sorted(secrets, key=len, reverse=True))), _MASK, text)
    text = _ENCODED_USER_INFO.sub(_MASK + "%40", _USER_INFO.sub(_MASK + "@", text))
    text = _VALUE_OF_ITEM.sub(rf"\1'{_MASK}'", _VALUE_OF_KEY.sub(rf"\1{_MASK}", text))
    return _SHAPE.sub(_MASK, _HEADER.sub(rf"\1{_MASK}", text))


def holds_credentials(text: str) -> bool:
    """Whether a value holds a credential: a URL with a user or a secret in it, a token's shape, the environment's own.

    What only looks like a path with a `token=` in it, or is a plain word that happens to be a password too, is none.
    """
    in_url = "://" in text and any(pattern.search(text) for pattern in (_USER_INFO, _VALUE_OF_KEY))
    own = (secret for secret in _secrets_of_environment() if not _PLAIN.fullmatch(secret))
    return in_url or bool(_SHAPE.search(text)) or any(secret in text for secret in own)


def remember_credentials(*urls: str) -> None:
    """Have the passwords of these URLs masked wherever they turn up, in this process.

    Each is one URL, or an override with one: all between `://` and the last `@` is its user part, whatever stands in
    it. What follows a secret's name in its query counts too.
    """
    for url in urls:
        _remembered.update(_secrets_of(url))


def _secrets_of(url: str) -> set[str]:
    found = set()
    begun = _URL.match(url)
    if begun:
        rest = url[begun.end() :]
        user_info, at, _ = rest.rpartition("@")
        user, colon, password = user_info.partition(":")
        if at and colon:
            basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode(errors="replace")).decode()
            found |= {password, unquote(password), basic}
        elif at and len(user) >= 20:  # a token in the user's place; a name is shorter
            found.add(user)
        query = rest.partition("?")[2]
        named = (item.partition("=") for item in query.split("&"))
        values = [value for key, _, value in named if re.fullmatch(_KEY, key, re.IGNORECASE)]
        found |= {*values, *map(unquote, values)}
    return {secret for secret in found if len(secret) >= _SHORTEST_OF_OURS and secret != _MASK}


def _secrets_of_environment() -> set[str]:
    found = set()
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_OF_VARIABLES:
            found.add(value)
        else:
            found |= _secrets_of(value)
    return found


def _forms(secret: str) -> set[str]:
    """A secret as it may be written."""
    safe = secret.encode("utf-8", "replace").decode()
    return {
        secret,
        quote(safe, safe=""),
        quote(safe),
        quote_plus(safe),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }


def _pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])" if _PLAIN.fullmatch(secret) else escaped
