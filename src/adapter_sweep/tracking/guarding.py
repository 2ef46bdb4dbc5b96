"""Who may use the UI: names that requests may call it by, and one user with a password, through MLflow's own parts."""

import base64
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

from adapter_sweep.errors import UserInputError

__all__ = ["PASSWORD_VARIABLE", "Login", "host_names", "is_loopback", "make_login", "url_host"]

PASSWORD_VARIABLE = "ADAPTER_SWEEP_UI_PASSWORD"
_SHORTEST = 12  # MLflow takes no shorter one
_ANY_ADDRESS = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Login:
    """The one user of a UI that asks for a password. It holds for one start: its database goes with the server.

    Attributes:
        user: its name.
        password: never on a command line, and shown once.
        generated: whether it was made up here.
        environment: what MLflow's server reads it from.
    """

    user: str
    password: str = field(repr=False)
    generated: bool
    environment: dict[str, str] = field(repr=False)

    @property
    def header(self) -> str:
        """The value of a request's `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def make_login(folder: Path) -> Login:
    """A user `admin` with the password of `$ADAPTER_SWEEP_UI_PASSWORD`, or a fresh one of 24 characters.

    Args:
        folder: of this server alone, that nobody else can read: MLflow keeps the password's hash there.

    Raises:
        UserInputError: the variable's password is too short.
    """
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None and len(given) < _SHORTEST:
        raise UserInputError(f"{PASSWORD_VARIABLE}: a password of {len(given)} characters; at least {_SHORTEST}")
    password = given or secrets.token_urlsafe(18)
    database, settings = folder / "basic_auth.db", folder / "basic_auth.ini"
    for file in (database, settings):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    settings.write_text(
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{database}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "grant_default_workspace_access = false\n",
        encoding="utf-8",
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",  # a route that MLflow has no rule for is nobody's
    }
    return Login("admin", password, given is None, environment)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_names(host: str) -> list[str]:
    """What a browser may call the server that listens on `host`, as in URLs: a page elsewhere cannot use its own name.

    Of a server on all addresses: this machine's names, and the addresses they stand for.
    """
    if host in _ANY_ADDRESS:
        own = [socket.gethostname()]
        try:
            _, aliases, addresses = socket.gethostbyname_ex(own[0])
        except OSError:
            aliases, addresses = [], []
        names = ["localhost", "127.0.0.1", *own, *aliases, *addresses]
    else:
        names = [host, "localhost"] if is_loopback(host) else [host]
    return list(dict.fromkeys(map(url_host, names)))


def url_host(host: str) -> str:
    """An address as a URL has it: one of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
