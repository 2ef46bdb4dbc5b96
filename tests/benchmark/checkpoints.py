"""What do checkpoints cost, of what is trained?

    python tests/benchmark/checkpoints.py [--seconds 60] [--methods bottleneck lora full]

Each method trains MiniLM for about so long with `train.checkpoint_every=auto`, and with a checkpoint every 100 steps:
how large one is, how long one takes, and the share of the training time that all of them take.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from adapter_sweep.checkpoints import CHECKPOINT_FILE
from adapter_sweep.config.compose import compose
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.progress import Standing
from adapter_sweep.engine.training import train_cohort
from adapter_sweep.opening import open_bench
from adapter_sweep.provenance import cpu_name
from adapter_sweep.resuming import Gathered, TrialsKeeper
from adapter_sweep.trial import method_spec, train_spec


class _Timed(TrialsKeeper):
    """Counts the seconds that keeping takes, and ends training once the time is up."""

    def __init__(self, folder: Path, every: int | Literal["auto"], size: int, seconds: float) -> None:
        super().__init__([("key", [folder])], every, size, lambda _place, _standing: Gathered())
        self.taken: list[float] = []
        self.began = time.perf_counter()
        self._until = self.began + seconds

    def due(self) -> bool:
        if time.perf_counter() > self._until:
            raise KeyboardInterrupt
        return super().due()

    def keep(self, standings: Mapping[int, Standing]) -> None:
        if time.perf_counter() < self._until:
            started = time.perf_counter()
            super().keep(standings)
            self.taken.append(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--methods", nargs="+", default=["bottleneck", "lora", "full"])
    options = parser.parse_args()
    print(f"{cpu_name()}, {torch.get_num_threads()} threads")
    for method, every in itertools.product(options.methods, ("auto", 100)):
        composed = compose([f"method={method}", "train.epochs=1000", "train.cache_gb=0"])
        config = composed.config
        bench = open_bench(config)
        model = AdaptedModel(bench.backbone, method_spec(config), bench.data.outputs, seed=0)
        split = bench.encoded(bench.data.train, config.train.max_length)
        size = model.count_params().total
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            keeper = _Timed(Path(folder), every, size, options.seconds)  # type: ignore[arg-type]
            steps = itertools.count()
            try:
                train_cohort(
                    [model],
                    split,
                    [train_spec(config, bench.data)],
                    keeper=keeper,
                    on_step=lambda _member, _progress, steps=steps: next(steps),  # type: ignore[misc]
                )
            except KeyboardInterrupt:
                seconds = time.perf_counter() - keeper.began
            path = Path(folder) / CHECKPOINT_FILE
            megabytes = path.stat().st_size / 1e6 if path.exists() else 0.0
        each = f"{sum(keeper.taken) / len(keeper.taken):.3f} s each" if keeper.taken else "none was due"
        print(
            f"{method:<11} every {every!s:<5} {size / 1e6:6.2f} M trained, {megabytes:6.1f} MB, {next(steps)} steps in "
            f"{seconds:.0f} s, {len(keeper.taken)} checkpoints, {each}: {sum(keeper.taken) / seconds:.2%} of the time",
            flush=True,
        )


if __name__ == "__main__":
    main()
