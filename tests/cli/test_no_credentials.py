"""A real study with passwords wherever a user may have them; then all that was written is looked through."""

import base64
import html
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
_SECRETS = {
    "in the tracking server's address": "tr@ck/pass:w0rd'1",
    "in its query": "query-t0ken-5",
    "for MLflow, in the environment": "mlflow-passw0rd-2",
    "for the hub": "hf_AbCdEfGhIjKlMnOpQrStUv",
    "of a proxy": "pr0xy pass 4",
}


class _Gossip(BaseHTTPRequestHandler):
    """A tracking server that is broken, and says all it knows about who asked."""

    def _answer(self) -> None:
        known = f"refused {self.path} with {dict(self.headers)} and {next(iter(_SECRETS.values()))}"
        body = json.dumps({"error_code": "INTERNAL_ERROR", "message": known}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def gossip() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gossip)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


def _forms(secret: str) -> set[bytes]:
    both = base64.b64encode(f"ann:{secret}".encode()).decode()
    written = {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret), repr(secret)[1:-1], both}
    return {text.encode() for text in {*written, json.dumps(secret)[1:-1]}}


def _arguments_of(pid: int) -> list[bytes]:
    """The command lines of a process's children, and of theirs."""
    found = []
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [Path(f"/proc/{child}/cmdline").read_bytes(), *_arguments_of(int(child))]
    except OSError:  # it has ended
        pass
    return found


def test_nothing_that_is_written_holds_a_password(gossip: int, tiny_settings: list[str], tmp_path: Path) -> None:
    address, query, mlflow, hub, proxy = _SECRETS.values()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TRACKING": f"http://ann:{quote(address, safe='')}@127.0.0.1:{gossip}/base?access_token={query}",
        "MLFLOW_TRACKING_PASSWORD": mlflow,
        "HF_TOKEN": hub,
        "FTP_PROXY": f"http://ann:{proxy}@proxy.example:3128",
    }
    arguments = [
        *tiny_settings,
        "study.n_trials=2",
        "tracking.uri=${oc.env:TRACKING}",
        "sweep=search",
        "workers.count=2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "from adapter_sweep.cli import main; main()", "run", *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    seen: list[bytes] = []
    told: list[bytes] = []
    reading = threading.Thread(target=lambda: told.extend(process.communicate()))
    reading.start()
    while reading.is_alive():
        reading.join(0.5)
        seen += _arguments_of(process.pid)
    out, errors = told
    assert process.returncode == 0, errors.decode()
    assert b"MLflow" in out + errors  # that its server is broken was told
    assert any(b"multiprocessing" in each for each in seen)

    files = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    names = {path.name for path in files}
    assert {"optuna.db", "trials.csv", "report.html", "front.json"} <= names
    everything = {"out": out, "errors": errors, "arguments": b"\n".join(seen)} | {str(p): t for p, t in files.items()}
    for what, secret in _SECRETS.items():
        for form in _forms(secret):
            assert [where for where, text in everything.items() if form in text] == [], f"the password {what}"


@pytest.mark.parametrize(
    "given",
    [
        "study.storage=postgresql://ann:{}@127.0.0.1:1/ledger",
        "study.storage=postgresql+psycopg://ann:{}@127.0.0.1:1/ledger",
        "study.storage=postgresql+nonsense://ann:{}@127.0.0.1:1/ledger",
        "study.storage=nonsense://ann:{}@127.0.0.1:1/ledger",
        "study.storage=postgresql://127.0.0.1:1/ledger?user=ann&password={}",
        "study.storage=ann:{}@127.0.0.1",
        "study.storage.deeper=postgresql://ann:{}@127.0.0.1:1/ledger",
        "nothing=postgresql://ann:{}@127.0.0.1:1/ledger",
        "task=local task.path=https://ann:{}@127.0.0.1:1/data.csv task.text=a task.label=b",
        "backbone=local backbone.path=https://ann:{}@127.0.0.1:1/model",
    ],
)
@pytest.mark.parametrize("password", ["s3cret-word", "s3cret%40w%2Frd", "'s3cret:w@rd'"])
@pytest.mark.parametrize("command", ["report", "config"])
def test_no_error_tells_a_password(given: str, password: str, command: str, cli: Cli) -> None:
    done = cli(command, *(["quickstart"] if command == "report" else []), *given.format(password).split())
    assert "s3cret" not in done.stdout + done.stderr
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
