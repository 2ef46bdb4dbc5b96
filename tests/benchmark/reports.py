"""How long do `report` and `best` take, for a few trials and for many, and how large is the report?

    python tests/benchmark/reports.py [--trials 10000] [--rounds 5]

Each command is a process of its own, as a user starts it; seconds are wall time: median [min max].
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from adapter_sweep.config.space import parse_space
from adapter_sweep.provenance import cpu_name
from adapter_sweep.study.facts import PREFIX
from adapter_sweep.study.ledger import Ledger, storage_url

SPACE = {
    "method.width": "tag(log, int(interval(4, 256)))",
    "method.placement": "choice(post_attention, post_ffn, both)",
    "train.lr": "tag(log, interval(3e-4, 1e-2))",
}
OBJECTIVES = {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"}
COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"few": 12, "many": options.trials}
        for name, count in sizes.items():
            fill(Path(folder), name, count)
        seconds: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name in sizes:
                for command in ("report", "best"):
                    seconds.setdefault(f"{command} of {sizes[name]:,}", []).append(timed(folder, command, name))
        print(f"{cpu_name()}, optuna {optuna.__version__}")
        for name, found in seconds.items():
            print(f"{name:<20}{statistics.median(found):>8.2f} s [{min(found):.2f} {max(found):.2f}]")
        html = Path(folder, "many", "report.html").stat().st_size
        print(f"report.html of {options.trials:,} trials: {html / 2**20:.2f} MiB")


def timed(folder: str, command: str, study: str) -> float:
    """Wall seconds of one command."""
    started = time.perf_counter()
    arguments = [*COMMAND, command, study, f"results_dir={folder}", "tracking=none"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return time.perf_counter() - started


def fill(folder: Path, name: str, count: int) -> None:
    """A study of so many trials, one in fifty of them failed, whose numbers are as a real one's."""
    ledger = Ledger.start(
        name,
        url=storage_url(None, folder),
        results_dir=folder,
        definition={"search_space": SPACE},
        objectives=OBJECTIVES,  # type: ignore[arg-type]
        space=parse_space(SPACE),
        sampler="random",
        seed=0,
    )
    config = {"task": {"name": "made up", "metric": "accuracy"}, "study": {"sampler": "random"}}
    ledger.set_facts(config=config, search_space=SPACE, n_trials=count)
    chance = random.Random(0)
    distributions: dict[str, Any] = {
        "method.width": optuna.distributions.IntDistribution(4, 256, log=True),
        "method.placement": optuna.distributions.CategoricalDistribution(("post_attention", "post_ffn", "both")),
        "train.lr": optuna.distributions.FloatDistribution(3e-4, 1e-2, log=True),
    }
    ledger._study.add_trials([made_up(number, chance, distributions) for number in range(count)])


def made_up(number: int, chance: random.Random, distributions: dict[str, Any]) -> optuna.trial.FrozenTrial:
    width, lr = round(4 * 64 ** chance.random()), 3e-4 * (1e-2 / 3e-4) ** chance.random()
    placement = chance.choice(("post_attention", "post_ffn", "both"))
    params = {"method.width": width, "method.placement": placement, "train.lr": lr}
    sites = 12 if placement == "both" else 6
    hits = sum(chance.random() < 0.7 + 0.02 * width ** (1 / 3) + 4 * lr for _ in range(400))
    ratio = 1 + 0.015 * sites + chance.gauss(0, 0.01)
    metrics = {
        "accuracy": hits / 400,
        "eval_examples": 400.0,
        "trainable_params": float(sites * (2 * width * 384 + width + 384)),
        "latency_ratio": ratio,
        "latency_ratio_low": ratio - 0.02,
        "latency_ratio_high": ratio + 0.02,
        "latency_noise_floor": 0.02,
        "latency_noisy": float(chance.random() < 0.2),
        "train_seconds": 20 + chance.random(),
    }
    failed = number % 50 == 49
    facts = {
        "state": "failed" if failed else "complete",
        "metrics": {} if failed else metrics,
        "params": params,
        "overrides": ["task=movies", *(f"{key}={value}" for key, value in params.items())],
        "provenance": {"adapter-sweep": "0.1.0", "code_commit": "0" * 40, "device": "cpu: made up"},
        "weights_path": f"trials/{number:05d}/adapter/adapter.safetensors",
    }
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
        params=params,
        distributions=distributions,
        values=None if failed else [metrics[key] for key in OBJECTIVES],
        user_attrs={PREFIX + key: value for key, value in facts.items()},
    )


if __name__ == "__main__":
    main()
