"""How busy are workers, and what does the ledger cost, when there are many of both workers and trials?

    python tests/benchmark/many_workers.py busy [--workers 8] [--trials 96] [--seconds 2] [--url URL]
    python tests/benchmark/many_workers.py cost [--before 10000] [--workers 32] [--each 4] [--sampler tpe] [--url URL]
    python tests/benchmark/many_workers.py curve --asking 0.01 --apart 0.3 [--seconds 60]

Trials here wait instead of training, so that a machine of few cores can hold many workers. Their way through the ledger
is the real one: asked for, noted, told, beside other processes.

`busy`: trials of unequal length (log-normal, of half a unit in their logarithm); the share of the workers' time
that is in trials, against that of a plan that waits for all of a batch of as many trials as workers, computed from the
same lengths. `cost`: seconds of each part of a trial's way in a study of so many, all workers at once. `curve`: by
simulation of one queue before the ledger's lock (`--asking` its hold, `--apart` what each does besides, both as `cost`
measures them): how many workers stay under 5 % overhead. Without `--url` the ledger is an SQLite file.
"""

import argparse
import heapq
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))
from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.facts import PREFIX
from adapter_sweep.study.ledger import Ledger, storage_url

SPACE = {
    "method.width": "tag(log, int(interval(4, 256)))",
    "method.placement": "choice(post_attention, post_ffn, both)",
    "train.lr": "tag(log, interval(3e-4, 1e-2))",
}
OBJECTIVES = {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("busy", "cost", "curve"))
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--before", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sampler", default="random", choices=("tpe", "random"))
    parser.add_argument("--asking", type=float, default=0.01)
    parser.add_argument("--apart", type=float, default=0.3)
    parser.add_argument("--url")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        {"busy": busy, "cost": cost, "curve": curve}[options.what](options, Path(name))


def busy(options: argparse.Namespace, folder: Path) -> None:
    arguments = _study(options, folder)
    Ledger.start(**arguments)
    spans = _together(_busy_worker, options.workers, (arguments, options.trials, options.seconds))
    started = max(begin for begin, _, _ in spans)  # a worker's start is measured by `workers.py`
    ended = max(end for _, end, _ in spans)
    within = sum(max(0.0, end - max(begin, started)) for _, _, trials in spans for begin, end in trials)
    lengths = [_length(number, options.seconds) for number in range(options.trials)]
    until = min(
        end for _, end, _ in spans
    )  # the tail, where less than a trial each is left, is no matter of the ledger
    steady = sum(max(0.0, min(end, until) - max(begin, started)) for *_, trials in spans for begin, end in trials)
    batches = [lengths[i : i + options.workers] for i in range(0, options.trials, options.workers)]
    batchwise = sum(lengths) / (options.workers * sum(max(batch) for batch in batches))
    ideal = sum(lengths) / (options.workers * _free_for_all(lengths, options.workers))
    print(f"{options.workers} workers, {options.trials} trials of {statistics.mean(lengths):.2f} s on average")
    print(f"busy, start to end                {within / (options.workers * (ended - started)):.3f}")
    print(f"busy, until the first one is done {steady / (options.workers * (until - started)):.3f}")
    print(f"computed: as soon as free, at no cost {ideal:.3f}; batch by batch, at no cost {batchwise:.3f}")


def cost(options: argparse.Namespace, folder: Path) -> None:
    arguments = _study(options, folder)
    ledger = Ledger.start(**arguments)
    began = time.perf_counter()
    _fill(ledger, options.before - len(ledger.view().trials))
    print(f"{options.before} trials made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    for workers in sorted({1, options.workers}):
        found = _together(_cost_worker, workers, (arguments, options.each))
        print(f"{options.sampler}, {options.before} trials, {workers} workers at once; ms: median [90th percentile]")
        for part in found[0]:
            values = sorted(1000 * value for parts in found for value in parts[part])
            print(f"{part:<8}{statistics.median(values):>9.1f} [{values[int(0.9 * (len(values) - 1))]:.1f}]")


def curve(options: argparse.Namespace, folder: Path) -> None:
    del folder
    print(
        f"lock held {1000 * options.asking:.1f} ms, {1000 * options.apart:.0f} ms apart, {options.seconds:g} s trials"
    )
    for workers in (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        print(f"{workers:>6} workers: overhead {simulated(workers, options):.3%}")


def simulated(workers: int, options: argparse.Namespace, trials_each: int = 40) -> float:
    """The share of a trial's time that is not the trial, when one at a time may hold the lock, first come first served.

    The lock is taken once to ask; trials are log-normal in length.
    """
    chance = random.Random(0)
    ready = [(chance.random() * options.seconds, worker) for worker in range(workers)]
    heapq.heapify(ready)
    free, lost, worked = 0.0, 0.0, 0.0
    for _ in range(workers * trials_each):
        now, worker = heapq.heappop(ready)
        begins = max(now, free)
        free = begins + options.asking
        length = options.seconds * _spread(chance)
        lost += free - now + options.apart
        worked += length
        heapq.heappush(ready, (free + options.apart + length, worker))
    return lost / (lost + worked)


def _busy_worker(arguments: dict[str, Any], barrier: Any, trials: int, seconds: float) -> Any:
    ledger = Ledger.start(**arguments)
    barrier.wait()
    begin, ran = time.time(), []
    while (asked := ledger.ask(trials)) is not None:
        trial, slot = asked
        _note(ledger, trial)
        since = time.time()
        time.sleep(_length(trial.number, seconds))
        ran.append((since, time.time()))
        _tell(ledger, trial)
        slot.close()
    return begin, time.time(), ran


def _cost_worker(arguments: dict[str, Any], barrier: Any, each: int) -> dict[str, list[float]]:
    ledger = Ledger.start(**arguments)
    ledger.view()  # the first reading of all trials is a worker's start
    barrier.wait()
    seconds: dict[str, list[float]] = {"ask": [], "note": [], "tell": [], "sum": []}
    for _ in range(each):
        marks = [time.perf_counter()]
        asked = ledger.ask(None)
        assert asked is not None
        trial, slot = asked
        marks.append(time.perf_counter())
        _note(ledger, trial)
        marks.append(time.perf_counter())
        _tell(ledger, trial)
        slot.close()
        marks.append(time.perf_counter())
        for part, since, until in zip(("ask", "note", "tell"), marks, marks[1:], strict=False):
            seconds[part].append(until - since)
        seconds["sum"].append(marks[-1] - marks[0])
    return seconds


def _together(work: Any, workers: int, arguments: tuple[Any, ...]) -> list[Any]:
    """What each of so many processes gives back, all of which began at once."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(workers) as pool:
        barrier = manager.Barrier(workers)
        return pool.starmap(work, [(arguments[0], barrier, *arguments[1:])] * workers, chunksize=1)


def _study(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return {
        "name": f"many-{options.what}-{options.sampler}",
        "url": options.url or storage_url(None, folder),
        "results_dir": folder,
        "definition": {"search_space": SPACE},
        "objectives": OBJECTIVES,
        "space": parse_space(SPACE),
        "sampler": options.sampler,
        "seed": 0,
    }


def _note(ledger: Ledger, trial: optuna.Trial) -> None:
    provenance = {f"package{i}": "1.2.3" for i in range(20)}
    ledger.note(
        trial, params=trial.params, overrides=[f"{k}={v}" for k, v in trial.params.items()], provenance=provenance
    )
    ledger.note(trial, weights_path="trials/00000/adapter/adapter.safetensors")


def _tell(ledger: Ledger, trial: optuna.Trial) -> None:
    chance = random.Random(trial.number)
    metrics = {f"metric{i}": 0.5 for i in range(30)}
    objectives = {"accuracy": chance.random(), "trainable_params": chance.random() * 1e6, "latency_ratio": 1.1}
    ledger.tell(trial, TrialState.COMPLETE, metrics={**metrics, **objectives})


def _fill(ledger: Ledger, number: int) -> None:
    chance = random.Random(0)
    space = {
        "method.width": optuna.distributions.IntDistribution(4, 256, log=True),
        "method.placement": optuna.distributions.CategoricalDistribution(("post_attention", "post_ffn", "both")),
        "train.lr": optuna.distributions.FloatDistribution(3e-4, 1e-2, log=True),
    }
    trials = []
    for _ in range(number):
        params: dict[str, Any] = {
            "method.width": round(4 * 64 ** chance.random()),
            "method.placement": chance.choice(("post_attention", "post_ffn", "both")),
            "train.lr": 3e-4 * (1e-2 / 3e-4) ** chance.random(),
        }
        facts = {
            "state": "complete",
            "metrics": {f"metric{i}": 0.5 for i in range(33)},
            "params": params,
            "overrides": [f"{key}={value}" for key, value in params.items()],
            "provenance": {f"package{i}": "1.2.3" for i in range(20)},
            "weights_path": "trials/00000/adapter/adapter.safetensors",
        }
        attrs = {PREFIX + name: value for name, value in facts.items()}
        values = [chance.random(), chance.random() * 1e6, 1 + chance.random()]
        trials.append(optuna.trial.create_trial(params=params, distributions=space, values=values, user_attrs=attrs))
    ledger._rows.study.add_trials(trials)


def _length(number: int, seconds: float) -> float:
    return seconds * _spread(random.Random(number))


def _spread(chance: random.Random, width: float = 0.5) -> float:
    """A log-normal number of mean 1."""
    return math.exp(chance.gauss(-width * width / 2, width))


def _free_for_all(lengths: Sequence[float], workers: int) -> float:
    """When the last trial ends, each taken in order by whoever is free first."""
    free = [0.0] * workers
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


if __name__ == "__main__":
    main()
