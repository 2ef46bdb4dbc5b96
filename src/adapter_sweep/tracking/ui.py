"""`adapter-sweep ui`: MLflow's own UI on the study's store, on this machine only."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import IO

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import UserInputError
from adapter_sweep.tracking.address import is_server, local_store_path, store_uri
from adapter_sweep.tracking.failure import TrackingError, prepare_environment
from adapter_sweep.tracking.guarding import PASSWORD_VARIABLE, Login, host_names, is_loopback, make_login
from adapter_sweep.tracking.presentation import VIEW_TAG, view_address

__all__ = ["serve_ui"]

_START_SECONDS = 90.0  # a cold start reads hundreds of modules; 5 to 10 seconds are usual
_STOP_SECONDS = 10.0
_STUDIES_SHOWN = 5


def serve_ui(
    results_dir: Path | str = "results",
    *,
    tracking_uri: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5000,
    auth: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Serve MLflow's UI until Ctrl-C or SIGTERM, and return the exit status 0.

    Once it answers, its address is said, and for each of the newest studies the address of its trials: from MLflow's
    own start page they are some clicks away, behind pages for language models.

    It listens on `host` alone, takes requests only under that name and, on this machine alone, `localhost` (a page on
    another site cannot reach it through a name of its own), and starts one worker and no job runner. The process group
    of the server is ended with it: nothing stays behind.

    Args:
        results_dir: the folder with `mlflow.db` and `mlartifacts/`.
        tracking_uri: a database to show in place of the local store.
        host: the address to listen on.
        port: the port to listen on.
        auth: ask for the name and password that are said once it answers; where others can reach `host` this must be.
        say: takes the lines for the user.

    Raises:
        UserInputError: no store there, a port that is taken or none, `tracking_uri` is a server, or others could reach
            the UI without a password.
        TrackingError: the server ended before it answered, or did not answer in time.
    """
    uri = store_uri(Path(results_dir), tracking_uri)
    if is_server(uri):
        shown = mask_credentials(uri)
        raise UserInputError(f"tracking.uri={shown} is a server with a UI of its own: open {shown} in a browser")
    store = local_store_path(uri)
    if store is not None and not store.is_file():
        raise UserInputError(
            f"results_dir={str(results_dir)!r}: no MLflow store there ({store} is missing); "
            "run `adapter-sweep run` first, or name the folder with `results_dir=`"
        )
    if not (auth or is_loopback(host)):
        raise UserInputError(
            f"--host {host}: whoever reaches this machine could read, change and delete every run; give --auth, "
            "so that it asks for a password, or leave it at 127.0.0.1 and reach it through ssh -L"
        )
    _check_port(host, port)
    artifacts = (Path(results_dir).resolve() / "mlartifacts").as_uri()
    address = f"http://{host_names(host)[0]}:{port}"
    say(f"Starting the MLflow UI on {mask_credentials(str(store or uri))} …")
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as private, _interrupt_on_sigterm():
        login = make_login(Path(private)) if auth else None
        # A session of its own: Ctrl-C reaches us alone, and we end the server and its children together.
        server = subprocess.Popen(
            _command(artifacts, host, port, login),
            env=_environment(uri, login),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _answers(server, f"{address}/health"):
                raise TrackingError(f"the MLflow UI did not start at {address}: {_last_line(log)}")
            say(f"The MLflow UI is at {address} (stop it with Ctrl-C)")
            if login is not None:
                shown = login.password if login.generated else f"that of ${PASSWORD_VARIABLE}"
                say(f"  user {login.user}, password {shown}, until it is stopped")
            for study, place in _studies(address, login):
                say(f"  {study}: {address}/{place}")
            status = server.wait()
            raise TrackingError(f"the MLflow UI ended by itself, exit status {status}: {_last_line(log)}")
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)


def _command(artifacts: str, host: str, port: int, login: Login | None) -> list[str]:
    names = host_names(host)
    return [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--workers",
            "1",
            "--uvicorn-opts",
            "--log-level warning",
        ),
        *("--host", host, "--port", str(port)),
        *("--default-artifact-root", artifacts),
        *("--allowed-hosts", ",".join(f"{name}:{port}" for name in names)),
        *("--cors-allowed-origins", ",".join(f"http://{name}:{port}" for name in names)),
        *(("--app-name", "basic-auth") if login is not None else ()),
    ]


def _environment(uri: str, login: Login | None) -> dict[str, str]:
    prepare_environment()
    own = {} if login is None else login.environment
    return (
        os.environ
        | own
        | {
            # Not on the command line, where every user of the machine could read a database's password.
            "MLFLOW_BACKEND_STORE_URI": uri,
            # It runs evaluations of language models; without it there are no further processes and no queue on
            # disk.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )


def _check_port(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise UserInputError(f"--port {port}: a port is a number from 1 to 65535")
    if _is_free(host, port):
        return
    free = next((other for other in range(port + 1, min(port + 100, 65536)) if _is_free(host, other)), None)
    advice = f"; try `adapter-sweep ui --port {free}`" if free else "; choose another with `adapter-sweep ui --port`"
    raise UserInputError(f"--port {port}: {host}:{port} is taken (perhaps by another `adapter-sweep ui`){advice}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port left a moment ago is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with _open(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.2)
    return False


def _studies(address: str, login: Login | None) -> list[tuple[str, str]]:
    """Name and place of the newest studies that have a saved view; empty where the server does not tell."""
    query = json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": login.header} if login else {})
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/search", query, headers)
    try:
        with _open(request, timeout=30) as answer:
            experiments = json.load(answer).get("experiments", [])
    except (OSError, ValueError):
        return []
    ours = [one for one in experiments if any(tag["key"] == VIEW_TAG for tag in one.get("tags", []))]
    return [(one["name"], view_address(one["experiment_id"])) for one in ours[:_STUDIES_SHOWN]]


def _open(request: str | urllib.request.Request, timeout: float) -> HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot see this machine
    answer: HTTPResponse = opener.open(request, timeout=timeout)
    return answer


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return mask_credentials(next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing"))


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Make SIGTERM end the UI as Ctrl-C does; in a thread, where Python takes no handler, leave it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server's process group: politely, then, also at a second Ctrl-C, for good."""
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(_STOP_SECONDS)
    except ProcessLookupError:
        server.wait()
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    with suppress(ProcessLookupError):  # what the server left in its group
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
