"""A real tracking server that fails in the ways servers do: no trial waits, one warning, and nothing is lost."""

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filled_ledgers import fill
from rich.console import Console

from adapter_sweep.cli import publishing
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.cli.reconciling import reconcile_studies
from adapter_sweep.config.compose import compose
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.study.ledger import CURVES_FILE, Ledger
from agreement import assert_agreement
from failing_server import Proxy, mlflow_server, proxy_to

BOUND = 60.0  # seconds: half of what a server hangs; the end of a study waits 10 s for it, and machines are busy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    with proxy_to(server) as proxy:
        yield proxy


def filled(results: Path, name: str) -> Ledger:
    """Four complete trials with curves, which MLflow has not seen."""
    ledger = fill(results, name)
    ledger.set_facts(config={"method": {}, "task": {"name": "movies", "metric": "accuracy"}})
    for trial in ledger.view().trials:
        curves = {"train_loss": [(step, 1 / (step + 1 + trial.number)) for step in range(30)]}
        (ledger.trial_folder(trial.number) / CURVES_FILE).write_text(json.dumps(curves), encoding="utf-8")
    return ledger


class Said(Console):
    """What was printed."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=500)

    @property
    def text(self) -> str:
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()


def reconcile(name: str, results: Path, uri: str) -> None:
    reconcile_studies([name], compose([f"results_dir={results}", f"tracking.uri={uri}"]).config)


@pytest.mark.parametrize("fault", ["refused", "slow", "500", "403", "507", "drops"])
def test_a_study_goes_on_and_ends_and_reconcile_sends_it(
    tmp_path: Path, proxy: Proxy, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results, name = tmp_path / "results", f"study-{fault}"
    uri = proxy.uri.replace("//", "//ann:s3cret@")
    if fault == "refused":
        uri = "http://ann:s3cret@127.0.0.1:9"
    elif fault == "slow":
        proxy.seconds = 120
    elif fault == "drops":
        proxy.drops = 1.0
    else:
        proxy.status = int(fault)
    console = Said()
    ledger = filled(results, name)
    publisher = Publisher(ledger, results, uri, True, console, reconcile="adapter-sweep reconcile it")
    publisher.open()
    publisher.begin()
    for trial in ledger.view().trials:
        publisher.soon_trial(trial.number)
    assert fault != "slow" or not publisher._failing  # nothing was waited for: it has not been given up yet
    began = time.monotonic()
    publisher.catch_up()
    publisher.finish()
    assert time.monotonic() - began < BOUND
    said = console.text
    # A slow server is given up at about the time when the end of the study is no longer waited for.
    assert said.count("warning: MLflow: ") in ({0, 1} if fault == "slow" else {1})
    assert "MLflow      4 of 4 trials not sent to http://***@127.0.0.1:" in said
    assert "this command sends what is missing: adapter-sweep reconcile it" in said
    assert "s3cret" not in said
    assert len(said.splitlines()) == said.count("warning") + 1

    # A request that hangs is answered now: in a command's own process it would have ended with it.
    proxy.heal()
    assert publisher._thread is not None
    publisher._thread.join()
    reconcile(name, results, proxy.uri)
    told = re.match(rf"{name}: (\d) trials sent, (\d) up to date; at http://127.0.0.1:", capsys.readouterr().out)
    assert told is not None
    sent, known = map(int, told.groups())
    assert sent + known == 4
    assert sent == 4 or fault == "slow"
    assert_agreement(name, results, uri=proxy.uri)
    reconcile(name, results, proxy.uri)
    assert capsys.readouterr().out.startswith(f"{name}: 0 trials sent, 4 up to date; at http://127.0.0.1:")


def test_a_server_that_comes_back_is_sent_everything_while_trials_run(
    tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_PAUSE_SECONDS", 0.2)
    proxy.status = 500
    console = Said()
    ledger = filled(tmp_path, "back")
    publisher = Publisher(ledger, tmp_path, proxy.uri, True, console)
    publisher.begin()
    ends = time.monotonic() + 60
    while proxy.asked < 3:
        assert time.monotonic() < ends
        time.sleep(0.05)
    proxy.heal()
    while None in [trial.mlflow_run_id for trial in ledger.view().trials]:
        assert time.monotonic() < ends
        time.sleep(0.05)
    publisher.catch_up()
    publisher.finish()
    assert console.text.count("\n") == 1  # the warning
    assert_agreement("back", tmp_path, uri=proxy.uri)


def test_reconcile_gets_through_a_slow_server_that_drops_connections(tmp_path: Path, proxy: Proxy) -> None:
    proxy.seconds, proxy.drops = 0.1, 0.1
    filled(tmp_path, "flaky")
    failures = 0
    for _ in range(40):
        try:
            reconcile("flaky", tmp_path, proxy.uri)
            break
        except AdapterSweepError:
            failures += 1
    assert failures < 40
    proxy.heal()
    reconcile("flaky", tmp_path, proxy.uri)
    assert_agreement("flaky", tmp_path, uri=proxy.uri)


def test_two_hosts_reconcile_at_once(tmp_path: Path, proxy: Proxy) -> None:
    # Results folders of their own, and so no lock that they share.
    filled(tmp_path / "one", "twice")
    (tmp_path / "two").mkdir()
    storage = f"sqlite:///{tmp_path / 'one' / 'optuna.db'}"
    failed: list[Exception] = []

    def host(folder: str) -> None:
        config = compose([f"results_dir={tmp_path / folder}", f"tracking.uri={proxy.uri}", f"study.storage={storage}"])
        try:
            reconcile_studies(["twice"], config.config)
        except Exception as error:
            failed.append(error)

    proxy.seconds = 0.05
    hosts = [threading.Thread(target=host, args=(folder,)) for folder in ("one", "two")]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join()
    assert failed == []
    proxy.heal()
    reconcile("twice", tmp_path / "one", proxy.uri)
    assert_agreement("twice", tmp_path / "one", uri=proxy.uri)
