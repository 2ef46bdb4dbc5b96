"""What do worker processes bring, how long do they take to start, and does latency stay readable beside them?

    python tests/benchmark/workers.py [--rounds 3] [--trials 4] [--examples 640] [--readings 5]

On MiniLM and film reviews, one thread a worker. Trials are equal but for their learning rate.

    throughput  trials an hour of 1 and of 2 workers, in turn, from the moment all are ready
    start       seconds from the spawning of a worker to its first `ask`, by stage
    latency     one architecture read alone and beside two workers that train, in turn, against the noise floor
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a worker reads this file again when it starts: nothing heavy may be imported by it
    from adapter_sweep.bench import Bench
    from adapter_sweep.config.compose import Composed
    from adapter_sweep.engine.latency import Reading
    from adapter_sweep.engine.training import Progress
    from adapter_sweep.records import ParamValue, TrialView


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--readings", type=int, default=5)
    options = parser.parse_args()
    from adapter_sweep.study.starting import prepare_workers

    prepare_workers()  # as the command does
    import torch

    from adapter_sweep.config.compose import compose
    from adapter_sweep.opening import open_bench
    from adapter_sweep.provenance import cpu_name

    torch.set_num_threads(1)
    composed = compose(
        [
            *("task=movies", f"task.max_train_examples={options.examples}", "train.epochs=1", "train.threads=1"),
            "train.cohort=1",  # else the first worker to ask would take them all
            *("method.width=48", "train.lr=tag(log,interval(3e-4,3e-3))", "study.sampler=random"),
            *("latency.pairs=5", "latency.batch_pairs=5", "latency.warmup_seconds=0"),
        ]
    )
    bench = open_bench(composed.config)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{cpu_name()}, torch {torch.__version__}, {bench.backbone.precision}, load before: {load}")
    rates: dict[int, list[float]] = {1: [], 2: []}
    starts: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            watch = _Watch()
            _run(composed, bench, workers, options.trials, watch)
            rates[workers].append(3600 * len(watch.ends) / (max(watch.ends) - max(watch.ready_at)))
            if workers == 1:
                for stage, seconds in watch.stages[0].items():
                    starts.setdefault(stage, []).append(seconds)
    print("\ntrials an hour: median [min max]")
    for workers, found in rates.items():
        print(f"{workers} worker{'s' if workers > 1 else ' '}   {_spread(found, 1)}")
    print(f"2 over 1    {_spread([b / a for a, b in zip(rates[1], rates[2], strict=True)], 3)}")
    print("\nstart of a single worker, seconds")
    for stage, found in starts.items():
        print(f"{stage:<20}{_spread(found, 2)}")
    print(f"{'to its first ask':<20}{_spread([sum(each) for each in zip(*starts.values(), strict=True)], 2)}")
    _latency(composed, bench, options.readings)


def _latency(composed: "Composed", bench: "Bench", readings: int) -> None:
    from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
    from adapter_sweep.engine.latency import LatencySpec, measure

    spec = LatencySpec(tokens=32, batch_size=8, pairs=60, batch_pairs=10, warmup_seconds=1.0, threads=1)
    model = AdaptedModel(bench.backbone, BottleneckSpec(48), 2, seed=0)
    alone: list[Reading] = []
    beside: list[Reading] = []

    def read(found: "list[Reading]") -> None:
        found.append(measure(model, spec)[0])

    for _ in range(readings):
        read(alone)
        watch = _Watch(when_both_train=lambda: read(beside))
        try:
            _run(composed, bench, 2, 1000, watch)
        except KeyboardInterrupt:
            if len(beside) != len(alone):
                raise
    print("\nlatency ratio at batch 1: median [min max]; noise floor; noisy readings")
    for name, found in (("alone", alone), ("beside two workers", beside)):
        floor = statistics.median(reading.noise_floor for reading in found)
        noisy = sum(reading.noisy for reading in found)
        print(f"{name:<20}{_spread([r.ratio for r in found], 3)}  {floor:.3f}  {noisy} of {len(found)}")
    apart = [b.ratio / a.ratio - 1 for a, b in zip(alone, beside, strict=True)]
    print(f"{'beside over alone':<20}{_spread([1 + value for value in apart], 3)}")


def _run(composed: "Composed", bench: "Bench", workers: int, n_trials: int, watch: "_Watch") -> None:
    from adapter_sweep.cli.identity import definition
    from adapter_sweep.study.ledger import Ledger, storage_url
    from adapter_sweep.study.messages import Job
    from adapter_sweep.study.workers import run_workers

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study: dict[str, Any] = {
            "name": "workers",
            "url": storage_url(None, folder),
            "results_dir": folder,
            "definition": definition(composed, bench, single=False),
            "objectives": composed.config.objectives,
            "space": composed.space,
            "sampler": "random",
            "seed": 0,
        }
        ledger = Ledger.start(**study)
        job = Job(study, composed.values, n_trials, threads=1)
        run_workers(ledger, [job] * workers, watch)


class _Watch:
    """Keeps the times; once two trials train, calls `when_both_train` and interrupts the study."""

    def __init__(self, when_both_train: Callable[[], None] | None = None) -> None:
        self.stages: list[Mapping[str, float]] = []
        self.ready_at: list[float] = []
        self.ends: list[float] = []
        self._training: set[int] = set()
        self._when_both_train = when_both_train

    def ready(self, worker: int, seconds: Mapping[str, float]) -> None:
        self.stages.append(seconds)
        self.ready_at.append(time.perf_counter())

    def warn(self, text: str) -> None:
        print(f"warning: {text}")

    def begin(self, number: int, params: "Mapping[str, ParamValue]") -> None: ...

    def stage(self, number: int, text: str) -> None: ...

    def step(self, number: int, progress: "Progress") -> None:
        self._training.add(number)
        if self._when_both_train is not None and len(self._training) == 2:
            read, self._when_both_train = self._when_both_train, None
            read()
            raise KeyboardInterrupt

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None: ...

    def resumed(self, number: int, step: int) -> None: ...

    def end(self, trial: "TrialView") -> None:
        self.ends.append(time.perf_counter())


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


if __name__ == "__main__":
    main()
