"""Kills the processes of a study again and again, and looks at what is left. Also a script: see `main`."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from safetensors.numpy import load_file

from adapter_sweep.records import TrialState, TrialView
from adapter_sweep.study.facts import retry_of
from adapter_sweep.study.ledger import Ledger, storage_url
from tiny_bert import save_tiny_bert, save_toy_csv, tiny_overrides

__all__ = ["POINTS", "Tally", "kill_study"]

POINTS = (  # role, point, the largest count
    ("worker", "asked", 1),
    ("worker", "cost", 1),
    ("worker", "step", 12),
    ("worker", "weights", 1),
    ("worker", "adapter", 1),
    ("worker", "curves", 1),
    ("worker", "told", 1),
    ("worker", "random", 1),
    ("parent", "published", 3),
    ("parent", "random", 1),
)
_COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()", "run"]
_SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
_MORE = 5  # trials, where the study was done before all kills
_PATIENCE = 3600.0


@dataclass
class Tally:
    """What happened to a study; see `lines`."""

    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    wanted: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    disagreeing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        return [*self.lost, *self.twice, *self.disagreeing, *self.broken, *self.errors]

    def lines(self) -> list[str]:
        """The tally as it is reported."""
        return [
            f"kills {self.kills.total()}: {', '.join(f'{point} {n}' for point, n in sorted(self.kills.items()))}",
            f"commands {self.commands}, trials {self.wanted} wanted, "
            + ", ".join(f"{state} {n}" for state, n in sorted(self.states.items())),
            f"lost {len(self.lost)}, twice {len(self.twice)}, views that disagree {len(self.disagreeing)}, "
            f"broken files {len(self.broken)}, unexpected errors {len(self.errors)}; {self.seconds:.0f} s",
            *self.faults,
        ]


def kill_study(
    folder: Path, kills: int, n_trials: int, *, seed: int = 0, parents: bool = True, points: tuple[str, ...] = ()
) -> Tally:
    """Run a study of random tiny models with two workers, kill its processes, and continue it until it is done.

    Args:
        folder: an empty one.
        kills: how many.
        n_trials: of the study; it gets more where it is done before all kills.
        seed: of the points' order and counts.
        parents: whether the command itself is killed, too.
        points: these only, in this order; else all of them in turns.
    """
    began = time.monotonic()
    tally = Tally(wanted=n_trials)
    tickets, spent, results = folder / "tickets", folder / "spent", folder / "results"
    tickets.mkdir(parents=True)
    spent.mkdir()
    chance = random.Random(seed)
    known = [each for each in POINTS if (parents or each[0] == "worker") and (not points or each[1] in points)]
    for order in range(kills):
        role, point, most = known[order % len(known)]
        (tickets / f"{order:04d}-{role}-{point}-{chance.randint(1, most)}").touch()
    save_tiny_bert(folder / "bert")
    settings = [
        *tiny_overrides(folder / "bert", save_toy_csv(folder / "toy.csv")),
        *(*_SPACE, "workers.count=2", "study.max_retries=100", f"results_dir={results}"),
    ]
    environment = os.environ | {
        "ADAPTER_SWEEP_KILLS": str(tickets),
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent / "killing"), *sys.path)),
    }
    while True:
        tally.commands += 1
        with (folder / f"command-{tally.commands}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*_COMMAND, *settings, f"study.n_trials={tally.wanted}"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            status = _follow(process, tickets, spent, chance, began + _PATIENCE)
        if status == 0 and not any(tickets.iterdir()):
            break
        if status == 0:
            tally.wanted += _MORE
        elif status != -signal.SIGKILL:
            tally.errors.append(f"command {tally.commands} ended with {status}")
        if status not in (0, -signal.SIGKILL) or time.monotonic() > began + _PATIENCE:
            break
    tally.kills.update("-".join(path.name.split("-")[1:3]) for path in spent.iterdir())
    _check(tally, results)
    tally.seconds = time.monotonic() - began
    return tally


def _follow(process: "subprocess.Popen[bytes]", tickets: Path, spent: Path, chance: random.Random, until: float) -> int:
    """Wait for a command, and kill what is to be killed at no point of its own; its status."""
    while process.poll() is None:
        time.sleep(0.05)
        ticket = min((path.name for path in tickets.iterdir()), default="")
        if "-random-" in ticket:
            time.sleep(chance.uniform(0, 2))
            found = [process.pid] if "-parent-" in ticket else _workers(process.pid)
            if found and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(found), signal.SIGKILL)
                    (tickets / ticket).rename(spent / ticket)
                    time.sleep(0.2)
        if time.monotonic() > until:
            process.kill()
    return process.wait()


def _workers(pid: int) -> list[int]:
    return [
        worker
        for child in _children(pid)
        if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()
        for worker in _children(child)
    ]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _check(tally: Tally, results: Path) -> None:
    ledger = Ledger.read("quickstart", url=storage_url(None, results), results_dir=results)
    view = ledger.view()
    tally.states.update(trial.state.value for trial in view.trials)
    numbers = [trial.number for trial in view.trials]
    if sorted(set(numbers)) != list(range(len(numbers))):
        tally.twice.append(f"trial numbers {numbers}")
    complete = view.in_state(TrialState.COMPLETE)
    others = {trial.state for trial in view.trials} - {TrialState.COMPLETE, TrialState.INTERRUPTED}
    if len(complete) != tally.wanted or others:
        tally.lost.append(f"{len(complete)} of {tally.wanted} trials complete, and {sorted(others)}")
    retried = Counter(retry_of(trial) for trial in ledger._study.trials)
    for trial in view.trials:
        # One that died before it had parameters leaves nothing to repeat.
        expected = int(trial.state is TrialState.INTERRUPTED and bool(trial.params))
        if retried[trial.number] < expected:
            tally.lost.append(f"trial {trial.number} is {trial.state} and was not queued again")
        if retried[trial.number] > expected:
            tally.twice.append(f"trial {trial.number} is {trial.state} and was queued {retried[trial.number]} times")
    for trial in view.trials:
        _check_files(tally, ledger.trial_folder(trial.number), trial)
    with (ledger.folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        table = {int(row["trial"]): row["state"] for row in csv.DictReader(file)}
    states = {trial.number: trial.state.value for trial in view.trials}
    if table != states:
        tally.disagreeing.append(f"trials.csv: {sorted(table.items() ^ states.items())}")
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    runs = client.search_runs([experiment.experiment_id], max_results=5000) if experiment else []
    tags = [run.data.tags for run in runs if "adapter_sweep.trial" in run.data.tags]
    shown = Counter((int(tag["adapter_sweep.trial"]), tag["adapter_sweep.state"]) for tag in tags)
    if shown != Counter(states.items()):
        tally.disagreeing.append(f"MLflow: {sorted((shown - Counter(states.items())).items())} too many, ")
        tally.disagreeing.append(f"MLflow: {sorted((Counter(states.items()) - shown).items())} too few")
    metrics = {
        int(run.data.tags["adapter_sweep.trial"]): run.data.metrics
        for run in runs
        if "adapter_sweep.trial" in run.data.tags
    }
    for trial in complete:
        if metrics.get(trial.number, {}).get("accuracy") != trial.metrics["accuracy"]:
            tally.disagreeing.append(f"MLflow: trial {trial.number}'s accuracy")


def _check_files(tally: Tally, folder: Path, trial: TrialView) -> None:
    """Every file that has its name is whole; a complete trial has all of them."""
    try:
        for path in folder.rglob("[!.]*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        for path in folder.rglob("[!.]*.safetensors"):
            load_file(path)
        if trial.state is TrialState.COMPLETE:
            size = (folder / "adapter" / "adapter.safetensors").stat().st_size
            if size != trial.metrics["storage_bytes"] or not (folder / "curves.json").is_file():
                tally.broken.append(f"trial {trial.number}: its files are not those it was told with")
            (folder / "adapter" / "adapter.json").stat()
    except Exception as error:
        tally.broken.append(f"trial {trial.number}: {type(error).__name__}: {error}")


def main() -> None:
    """`python tests/kill_study.py FOLDER KILLS N_TRIALS`: the tally, and status 1 where anything is wrong."""
    tally = kill_study(Path(sys.argv[1]).absolute(), int(sys.argv[2]), int(sys.argv[3]))
    print("\n".join(tally.lines()))
    sys.exit(bool(tally.faults) or tally.kills.total() != int(sys.argv[2]))


if __name__ == "__main__":
    main()
