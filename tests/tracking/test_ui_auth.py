"""The UI as somebody else meets it: a real server that asks for a password."""

import base64
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.tracking import Tracker, serve_ui
from adapter_sweep.tracking.guarding import PASSWORD_VARIABLE, host_names, is_loopback, make_login
from ports import free_port

SERVE = """
import sys
from adapter_sweep.tracking import serve_ui
sys.exit(serve_ui(sys.argv[1], port=int(sys.argv[2]), auth=True))
"""
SEARCH = "api/2.0/mlflow/experiments/get-by-name?experiment_name=quick%20study"


def test_whoever_can_reach_it_needs_a_password(store_dir: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(UserInputError, match="give --auth"):
            serve_ui(store_dir, host=host, port=free_port())


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *(("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("127.0.0.1.example.org", False), ("10.0.0.1", False), ("", False)),
    ],
)
def test_what_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_the_names_it_may_be_called_by() -> None:
    assert host_names("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert host_names("::1") == ["[::1]", "localhost"]
    assert host_names("192.0.2.1") == ["192.0.2.1"]
    assert {"localhost", "127.0.0.1", socket.gethostname()} <= set(host_names("0.0.0.0"))
    assert "*" not in "".join(host_names("0.0.0.0"))


def test_a_login_is_fresh_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    logins = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        logins.append(make_login(tmp_path / name))
        assert {file.stat().st_mode & 0o777 for file in (tmp_path / name).iterdir()} == {0o600}
        assert all(logins[-1].password.encode() not in file.read_bytes() for file in (tmp_path / name).iterdir())
    assert len({login.password for login in logins}) == len({login.environment[SECRET] for login in logins}) == 2
    assert all(len(login.password) >= 24 and login.password not in repr(login) for login in logins)
    monkeypatch.setenv(PASSWORD_VARIABLE, "short")
    with pytest.raises(UserInputError, match=rf"{PASSWORD_VARIABLE}: a password of 5 characters; at least 12"):
        make_login(tmp_path)


SECRET = "MLFLOW_FLASK_SERVER_SECRET_KEY"


@pytest.fixture
def serving(
    store_dir: Path, make_trial: Callable[..., TrialView], make_study: Callable[..., StudyView], tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    trial = make_trial(weights_path=None)
    Tracker(store_dir, "quick study").publish_trial(make_study(trial), trial)
    port = free_port()
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(store_dir), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != PASSWORD_VARIABLE}
        | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path / "tmp")},
    )
    assert process.stdout is not None
    yield process, port, [process.stdout.readline() for _ in range(4)]
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=30)


def ask(url: str, body: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, body, headers={"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def basic(password: str, user: str = "admin") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def listening(pids: list[int]) -> set[tuple[str, int]]:
    """The addresses these processes listen on, as the kernel tells it."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(handle.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                plain = address if table == "tcp6" else socket.inet_ntoa(bytes.fromhex(address)[::-1])
                found.add((plain, int(port, 16)))
    return found


def test_a_ui_with_a_password_lets_in_who_has_it_and_nobody_else(
    serving: tuple[subprocess.Popen[str], int, list[str]], tmp_path: Path
) -> None:
    process, port, lines = serving
    user, password = lines[2].removeprefix("  user ").removesuffix(", until it is stopped\n").split(", password ")
    assert user == "admin"
    assert "quick study" in lines[3]  # our own question had the password
    address = f"http://127.0.0.1:{port}"
    url = f"{address}/{SEARCH}"
    right = basic(password)

    assert ask(url) == 401
    assert ask(f"{address}/") == 401
    for wrong in (
        basic("password1234"),
        basic(""),
        basic(password, "ann"),
        basic(password[:-1]),
        "Bearer x",
        "Basic !",
    ):
        assert ask(url, Authorization=wrong) == 401
    assert ask(url, Authorization=right) == 200
    assert ask(url, Authorization=right, Host=f"localhost:{port}") == 200
    # A name that another site has point here, cloud metadata's address, and this server's with something before it.
    for host in (f"rebound.example:{port}", "169.254.169.254", f"127.0.0.1:{port}.example", f"x@127.0.0.1:{port}"):
        assert ask(url, Authorization=right, Host=host) == 403
    create = f"{address}/api/2.0/mlflow/experiments/create"
    assert ask(create, b'{"name": "theirs"}', Authorization=right, Origin="https://evil.example") == 403
    assert ask(create, b'{"name": "theirs"}', Authorization=right, Origin="null") == 403
    assert ask(f"{address}/{SEARCH.replace('quick%20study', 'theirs')}", Authorization=right) == 404
    assert ask(create, b'{"name": "mine"}', Authorization=right, Origin=address) == 200

    pids = family(process.pid)
    assert len(pids) >= 2
    assert listening(pids) == {("127.0.0.1", port)}
    for pid in pids:
        assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    private = [file for folder in (tmp_path / "tmp").iterdir() if folder.is_dir() for file in folder.rglob("*.db")]
    assert [file.stat().st_mode & 0o077 for file in private] == [0]
    assert private[0].parent.stat().st_mode & 0o077 == 0

    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not any(file.exists() for file in private)
