"""A real MLflow server, and in front of it a proxy that makes it slow, or fail, in the ways that servers do."""

import http.client
import http.server
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ports import free_port

__all__ = ["Proxy", "mlflow_server", "proxy_to"]

_START_SECONDS = 180.0


class Proxy:
    """How the proxy answers; may be changed at any time.

    Attributes:
        uri: its address.
        seconds: how long it waits before each answer.
        status: what it answers instead of asking the server; None to pass everything on.
        drops: how often it closes the connection, half of the times once the server has done what was asked; 0 to 1.
        asked: requests so far.
    """

    def __init__(self, uri: str, seed: int) -> None:
        self.uri = uri
        self.seconds = 0.0
        self.status: int | None = None
        self.drops = 0.0
        self.asked = 0
        self.random = random.Random(seed)
        self.healing = threading.Event()

    def heal(self) -> None:
        """Pass everything on from now, at once; what waits too."""
        self.seconds, self.status, self.drops = 0.0, None, 0.0
        self.healing.set()


@contextmanager
def proxy_to(upstream: int, seed: int = 0) -> Iterator[Proxy]:
    """Run a proxy to the server at a port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.asked += 1
            body = self._body()
            proxy.healing.wait(proxy.seconds)
            if proxy.status is not None:
                self._answer(proxy.status, {}, b'{"error_code": "INTERNAL_ERROR", "message": "as told"}')
                return
            dropped = proxy.random.random() < proxy.drops
            if dropped and proxy.random.random() < 0.5:
                self._drop()
                return
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
            try:
                own = ("host", "transfer-encoding", "content-length")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            if dropped:
                self._drop()
                return
            self._answer(answer.status, dict(answer.getheaders()), content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            with suppress(OSError):  # who asked has given up
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def _drop(self) -> None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", seed)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.healing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def mlflow_server(folder: Path, store: str | None = None) -> Iterator[int]:
    """Run `mlflow server` on a database, or on an SQLite one in `folder`; its port."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    database = store or f"sqlite:///{folder / 'mlflow.db'}"
    stores = ["--backend-store-uri", database, "--artifacts-destination", str(folder / "a")]
    hosts = ["--allowed-hosts", "*", "--cors-allowed-origins", "*"]
    with (folder / "server.log").open("w+") as log:
        server = subprocess.Popen(
            [*command, *stores, *hosts],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        try:
            _wait_for(port, server, log)
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, 9)
            server.wait()


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: IO[str]) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    log.seek(0)
    raise AssertionError(f"the MLflow server did not start: {log.read()[-2000:]}")
