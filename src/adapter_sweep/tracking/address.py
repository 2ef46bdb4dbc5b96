"""Where the tracking store is, and how its address is shown: never with a password in it."""

from pathlib import Path
from urllib.parse import urlsplit

from adapter_sweep.credentials import remember_credentials
from adapter_sweep.errors import UserInputError

__all__ = ["LOCAL_STORE", "is_server", "local_store_path", "store_uri"]

LOCAL_STORE = "mlflow.db"


def store_uri(results_dir: Path, tracking_uri: str | None) -> str:
    """Return the URI of the tracking store: the given one, or the SQLite store in `results_dir`.

    Raises:
        UserInputError: `results_dir` cannot be written as a database URI.
    """
    if tracking_uri:
        remember_credentials(tracking_uri)
        return tracking_uri
    path = results_dir.resolve() / LOCAL_STORE
    if "?" in str(path):  # everything after it would be read as options of the connection
        raise UserInputError(f"results_dir={str(results_dir)!r}: a '?' in its path cannot hold an MLflow store")
    return f"sqlite:///{path}"


def is_server(uri: str) -> bool:
    """Whether `uri` is a tracking server (HTTP), not a database or a folder."""
    return urlsplit(uri).scheme in ("http", "https")


def local_store_path(uri: str) -> Path | None:
    """Return the file of a SQLite store, or None where `uri` is no file of this machine."""
    if not uri.startswith("sqlite:///"):
        return None
    name = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if name in ("", ":memory:") else Path(name)
