"""A PostgreSQL server of its own for tests: private port, temporary folder, gone with the session."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ports import free_port

__all__ = ["Server", "find_binaries", "serving"]

PASSWORD = "never-shown"  # the tests look for it where it must not be


class Server:
    """A running server; `database` makes an empty database and returns its URL, the password in it."""

    def __init__(self, port: int, start: Sequence[str], stop: Sequence[str]) -> None:
        self.port = port
        self._start, self._stop = start, stop

    def start(self) -> None:
        _run(self._start)

    def stop(self) -> None:
        """Its clients are cut off."""
        _run(self._stop)

    def database(self, name: str) -> str:
        own = f"postgresql://sweeper:{PASSWORD}@127.0.0.1:{self.port}"
        with psycopg.connect(f"{own}/postgres", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{own}/{name}"


def find_binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` lie: on the path, or where Debian's package puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def serving(binaries: Path, *settings: str) -> Iterator[Server]:
    """Run a server on 127.0.0.1. It refuses to run as root, who then has Debian's user `postgres` run it."""
    as_root = os.getuid() == 0
    user = ["runuser", "-u", "postgres", "--"] if as_root else []
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path may have 107 characters
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if as_root:
            for path in (folder, secret):
                shutil.chown(path, "postgres")
        data, port = folder / "data", free_port()
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "sweeper", f"--pwfile={secret}"]
        _run([*user, *initdb, "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"])
        options = [f"-p {port}", "-c listen_addresses=127.0.0.1", f"-k {folder}", *(f"-c {one}" for one in settings)]
        control = [*user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        start = [*control, "-l", str(folder / "log"), "-o", " ".join(options), "start"]
        server = Server(port, start, stop=[*control, "-m", "immediate", "stop"])
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
