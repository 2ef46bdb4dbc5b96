import http.server
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kept import Kept

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.tracking import Tracker, TrackingError
from adapter_sweep.tracking.failure import HASTY, Deadline, Patience, prepare_environment

MakeTrial = Callable[..., TrialView]
MakeStudy = Callable[..., StudyView]

GIVEN_UP = 30.0
"""Seconds: far more than it takes on a busy machine, and far less than MLflow's own retries or a slow server."""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://ann:s3cret@host:80/x", "http://***@host:80/x"),
        ("postgresql://ann:p@ss:w@db/x failed", "postgresql://***@db/x failed"),
        ("postgresql://ann:p/w@db/x failed", "postgresql://***@db/x failed"),
        ("at 'https://token@host' and http://a:b@c", "at 'https://***@host' and http://***@c"),
        ("postgresql://db/x?user=ann&password=s3cret&a=b", "postgresql://db/x?user=ann&password=***&a=b"),
        ("https://host/x?access_token=s3cret", "https://host/x?access_token=***"),
        ("latency.tokens=32 train.max_tokens_per_batch=64", "latency.tokens=32 train.max_tokens_per_batch=64"),
        ("http://host:80/x?mail=a@b", "http://host:80/x?mail=a@b"),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db"),
    ],
)
def test_credentials_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


def test_a_dead_server_fails_at_once_and_quietly(
    tmp_path: Path, make_trial: MakeTrial, make_study: MakeStudy, capfd: pytest.CaptureFixture[str]
) -> None:
    trial = make_trial()
    study = make_study(trial)
    tracker = Tracker(tmp_path, study.name, "http://ann:s3cret@127.0.0.1:9/")
    calls: list[Callable[[], object]] = [
        lambda: tracker.publish_study(study),
        lambda: tracker.publish_trial(study, trial),
        lambda: tracker.reconcile(Kept(study)),
        lambda: tracker.publish_report("run", []),
    ]
    for call in calls:
        begun = time.monotonic()
        with pytest.raises(TrackingError) as caught:
            call()
        assert time.monotonic() - begun < GIVEN_UP
        message = str(caught.value)
        assert "http://***@127.0.0.1:9/" in message
        assert "s3cret" not in message + repr(caught.value.__cause__)
        assert "\n" not in message
    assert "s3cret" not in tracker.shown_uri
    assert capfd.readouterr() == ("", "")


class _Answers(http.server.BaseHTTPRequestHandler):
    status = 500
    seconds = 0.0
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        time.sleep(self.seconds)
        self.send_response(self.status)
        self.send_header("Retry-After", "600")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[type[_Answers], str]]:
    handler = type("Handler", (_Answers,), {})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_server_that_answers_errors_is_given_up_and_left_alone(
    tmp_path: Path, make_study: MakeStudy, server: tuple[type[_Answers], str], status: int
) -> None:
    handler, uri = server
    handler.status = status
    tracker = Tracker(tmp_path, "quick study", uri)
    begun = time.monotonic()
    with pytest.raises(TrackingError, match="publishing study 'quick study' failed at http://127"):
        tracker.publish_study(make_study())
    asked = handler.asked
    assert 1 <= asked <= 2
    with pytest.raises(TrackingError, match="left alone for"):
        tracker.publish_study(make_study())
    assert handler.asked == asked
    with pytest.raises(TrackingError, match="failed at"):
        tracker.reconcile(Kept(make_study()))
    assert time.monotonic() - begun < GIVEN_UP


def test_a_slow_server_is_given_up(
    tmp_path: Path,
    make_study: MakeStudy,
    server: tuple[type[_Answers], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, uri = server
    handler.seconds = 60.0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the user's own number is kept
    begun = time.monotonic()
    with pytest.raises(TrackingError):
        Tracker(tmp_path, "quick study", uri).publish_study(make_study())
    assert time.monotonic() - begun < GIVEN_UP


def test_the_deadline_ends_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    deadline = Deadline(Patience(0, 0.0, 0.0))
    time.sleep(0.01)
    with pytest.raises(TimeoutError, match="gave up after"):
        deadline.check()


def test_a_store_that_is_no_store(tmp_path: Path, make_study: MakeStudy) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to be taken for a file" * 9)
    with pytest.raises(TrackingError, match=r"mlflow\.db"):
        Tracker(tmp_path, "quick study").publish_study(make_study())
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="failed at sqlite"):
        Tracker(tmp_path / "file" / "results", "quick study").publish_study(make_study())
    with pytest.raises(UserInputError, match="results_dir"):
        Tracker(tmp_path / "a?b", "quick study")


def test_the_users_switches_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    prepare_environment()
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 77
    assert is_telemetry_disabled()
    assert Deadline(HASTY).seconds == 231


def test_warnings_of_other_threads_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    from adapter_sweep.tracking.failure import tracking_errors

    logger = logging.getLogger("urllib3.connectionpool")
    with tracking_errors("x", "y"):
        logger.warning("ours")
        other = threading.Thread(target=logger.warning, args=("theirs",))
        other.start()
        other.join()
    logger.warning("later")
    assert caplog.messages == ["theirs", "later"]
