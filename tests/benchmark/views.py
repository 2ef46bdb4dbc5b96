"""What does the view in MLflow cost: brought up to date as a whole, and beside training where its server fails?

    python tests/benchmark/views.py reconcile [--trials 1000]
    python tests/benchmark/views.py failing [--rounds 3] [--trials 6]

`reconcile`: seconds that the command takes for a study of so many trials, each with curves and weights, into
an empty SQLite store, and once more where nothing is missing. `failing`: one study of a tiny model by the command, in
turns without MLflow, with a server that is well, and with one that refuses, takes 5 s for an answer, or answers 500;
the medians of the seconds that its trials take, and of what the whole command takes, as ratios to those without MLflow.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

sys.path.insert(0, str(Path(__file__).parents[1]))
from adapter_sweep.config.space import parse_space
from adapter_sweep.provenance import cpu_name
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import CURVES_FILE, Ledger, storage_url
from failing_server import mlflow_server, proxy_to
from ports import free_port
from tiny_bert import save_tiny_bert, save_toy_csv, tiny_overrides

COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]
STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reconcile", "failing"))
    parser.add_argument("--trials", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{cpu_name()}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        if options.what == "reconcile":
            reconcile(Path(name), options.trials or 1000)
        else:
            failing(Path(name), options.rounds, options.trials or 6)


def reconcile(results: Path, trials: int) -> None:
    fill(results, trials)
    for what in ("all is missing", "nothing is missing"):
        started = time.perf_counter()
        _run(["reconcile", "toy", f"results_dir={results}"])
        print(f"{trials} trials, {what}: {time.perf_counter() - started:.1f} s")
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    shown = client.search_runs([experiment.experiment_id], max_results=10 * trials)
    print(f"MLflow shows {len(shown) - 1} of them")


def fill(results: Path, trials: int) -> None:
    """A study of complete trials, with curves and weights, that MLflow has not seen."""
    space = {"train.lr": "interval(0.1, 0.9)"}
    ledger = Ledger.start(
        "toy",
        url=storage_url(None, results),
        results_dir=results,
        definition={},
        objectives={"accuracy": "maximize"},
        space=parse_space(space),
        sampler="random",
        seed=0,
    )
    ledger.set_facts(n_trials=trials, config={"train": {}}, search_space=space)
    chance = random.Random(0)
    curve = ", ".join(f"[{step}, {chance.random():.6f}]" for step in range(STEPS))
    while (asked := ledger.ask(trials)) is not None:
        trial, slot = asked
        folder = ledger.trial_folder(trial.number)
        folder.mkdir(parents=True)
        (folder / CURVES_FILE).write_text(f'{{"train_loss": [{curve}]}}')
        (folder / "adapter.safetensors").write_bytes(chance.randbytes(100_000))
        ledger.note(
            trial, provenance={"data_fingerprint": "d" * 64}, weights_path=f"trials/{folder.name}/adapter.safetensors"
        )
        ledger.tell(trial, TrialState.COMPLETE, metrics={"accuracy": trial.params["train.lr"]})
        slot.close()


def failing(folder: Path, rounds: int, trials: int) -> None:
    save_tiny_bert(folder / "bert")
    settings = [
        *tiny_overrides(folder / "bert", save_toy_csv(folder / "toy.csv")),
        *("train.epochs=20", f"study.n_trials={trials}", "study.sampler=random", "train.lr=interval(1e-3,1e-2)"),
    ]
    in_trials: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    with mlflow_server(folder) as port:
        for each in range(rounds):
            for what in ("none", "well", "refuses", "slow", "500"):
                results = folder / f"{each}-{what}"
                started = time.perf_counter()
                with _server(what, port) as tracking:
                    _run(["run", *settings, tracking, f"study.name=s{each}-{what}", f"results_dir={results}"])
                whole[what].append(time.perf_counter() - started)
                url = storage_url(None, results)
                view = Ledger.read(f"s{each}-{what}", url=url, results_dir=results).view()
                done = view.in_state(TrialState.COMPLETE)
                assert len(done) == trials, f"{what}: {len(done)} of {trials} trials are complete"
                spans = [(one.ended - one.started).total_seconds() for one in done if one.started and one.ended]
                in_trials[what].append(sum(spans))
    for what in whole:
        for name, by in (("in trials", in_trials), ("whole command", whole)):
            ratios = ", ".join(f"{one / none:.3f}" for one, none in zip(by[what], by["none"], strict=True))
            print(f"{what:8} {name:14} {statistics.median(by[what]):6.1f} s, over that without MLflow: {ratios}")


@contextmanager
def _server(what: str, port: int) -> Iterator[str]:
    """The override that names such a server."""
    if what == "none":
        yield "tracking=none"
    elif what == "refuses":
        yield f"tracking.uri=http://127.0.0.1:{free_port()}"
    else:
        with proxy_to(port) as proxy:
            proxy.seconds = 5.0 if what == "slow" else 0.0
            proxy.status = 500 if what == "500" else None
            yield f"tracking.uri={proxy.uri}"


def _run(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: the view could not be brought up to date
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
