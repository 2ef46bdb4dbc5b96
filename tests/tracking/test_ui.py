import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kept import Kept
from mlflow import MlflowClient

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.tracking import Tracker, TrackingError, serve_ui, ui
from ports import free_port

SERVE = """
import sys
from adapter_sweep.tracking import serve_ui
sys.exit(serve_ui(sys.argv[1], port=int(sys.argv[2])))
"""


def processes_with(text: str) -> list[int]:
    """Every process that has `text` in its environment, so also an orphan that nobody waits for."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def get(url: str, host: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def published(
    store_dir: Path,
    tmp_path: Path,
    make_trial: Callable[..., TrialView],
    make_study: Callable[..., StudyView],
) -> tuple[Path, str]:
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(b"weights")
    trial = make_trial(weights_path=str(weights))
    return store_dir, Tracker(store_dir, "quick study").publish_trial(make_study(trial), trial)


@pytest.fixture
def serving(published: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(published[0]), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    yield process, port, lines
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=30)


def test_the_ui_shows_the_study_and_leaves_nothing_behind(
    published: tuple[Path, str],
    serving: tuple[subprocess.Popen[str], int, list[str]],
    make_trial: Callable[..., TrialView],
    make_study: Callable[..., StudyView],
) -> None:
    folder, run_id = published
    process, port, lines = serving
    address = f"http://127.0.0.1:{port}"
    assert str(folder / "mlflow.db") in lines[0]
    assert address in lines[1]
    assert lines[2].startswith(f"  quick study: {address}/#/experiments/1/runs?")
    assert b"<html" in get(f"{address}/")[1].lower()

    client = MlflowClient(address, registry_uri=address)
    experiment = client.get_experiment_by_name("quick study")
    runs = client.search_runs([experiment.experiment_id], "tags.`adapter_sweep.trial` = '7'")
    assert [run.info.run_id for run in runs] == [run_id]
    assert runs[0].data.metrics["accuracy"] == 0.8125
    assert {item.path for item in client.list_artifacts(run_id, "adapter")} == {"adapter/adapter.safetensors"}
    artifact = f"get-artifact?path=adapter/adapter.safetensors&run_uuid={run_id}"
    assert get(f"{address}/{artifact}") == (200, b"weights")

    search = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=quick%20study"
    assert get(search, f"localhost:{port}")[0] == 200
    assert get(search, f"rebound.example:{port}")[0] == 403
    assert get(search, "192.168.0.1")[0] == 403
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass  # on this one address only

    # The same server, as somebody's tracking server: published over HTTP, twice.
    remote = Tracker(folder / "remote", "remote study", address)
    trial = make_trial(mlflow_run_id=None)
    study = make_study(trial, name="remote study")
    sent = remote.publish_trial(study, trial)
    client.delete_tag(sent, "adapter_sweep.digest")
    assert remote.publish_trial(study, trial) == sent
    assert client.get_run(sent).data.metrics == trial.metrics
    assert remote.reconcile(Kept(study)).unchanged == (7,)
    assert len(client.get_metric_history(sent, "train_loss")) == 2501
    assert {item.path for item in client.list_artifacts(sent)} == {"config.yaml"}
    assert remote.publish_report(sent, [folder / "mlflow.lock"]) == ["mlflow.lock"]

    assert len(processes_with(str(folder / "mlflow.db"))) >= 2
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert out == ""
    deadline = time.monotonic() + 5
    while processes_with(str(folder / "mlflow.db")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_with(str(folder / "mlflow.db")) == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_a_taken_port_is_named_with_a_free_one(store_dir: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(UserInputError, match=rf"127.0.0.1:{port} is taken.*`adapter-sweep ui --port \d+`"):
            serve_ui(store_dir, port=port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none(store_dir: Path, port: int) -> None:
    with pytest.raises(UserInputError, match="from 1 to 65535"):
        serve_ui(store_dir, port=port)


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=rf"{tmp_path}.*adapter-sweep run"):
        serve_ui(tmp_path, port=free_port())
    assert list(tmp_path.iterdir()) == []


def test_a_server_needs_no_ui_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"http://\*\*\*@host/ in a browser"):
        serve_ui(tmp_path, tracking_uri="http://ann:s3cret@host/")


def test_a_server_that_ends_at_once_is_reported(store_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "print('Error: no such thing at sqlite://a:s3cret@x')"
    monkeypatch.setattr(ui, "_command", lambda *_: [sys.executable, "-c", words])
    with pytest.raises(TrackingError, match=r"did not start at .*: Error: no such thing at sqlite://\*\*\*@x"):
        serve_ui(store_dir, port=free_port(), say=lambda _: None)
