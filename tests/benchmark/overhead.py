"""What does a trial cost outside training and scoring, in a study that holds many trials already?

    python tests/benchmark/overhead.py [--trials 1000] [--rounds 20] [--sampler tpe]

A study with so many trials lies in an SQLite ledger and an SQLite MLflow store. Each round takes one more trial through
every part of its way but training: medians over the rounds, their range, and the sum of the medians.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric

sys.path.insert(0, str(Path(__file__).parents[1]))
from adapter_sweep.config.space import parse_space
from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, count_params
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.provenance import cpu_name
from adapter_sweep.records import METRIC_HELP, TrialState
from adapter_sweep.scores import METRICS as SCORES
from adapter_sweep.study.facts import PREFIX
from adapter_sweep.study.ledger import CURVES_FILE, Ledger, storage_url
from adapter_sweep.tracking import Tracker, content
from adapter_sweep.trial import architecture_key, method_spec
from tiny_bert import save_tiny_bert
from toy_bench import toy_bench, toy_config, toy_values

SPACE = {
    "method.width": "tag(log, int(interval(4, 256)))",
    "method.placement": "choice(post_attention, post_ffn, both)",
    "train.lr": "tag(log, interval(3e-4, 1e-2))",
}
METRICS = {name: 0.5 for name in METRIC_HELP if name == "accuracy" or name not in SCORES}
STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sampler", default="tpe", choices=("tpe", "nsga2", "gp", "random"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_bert(folder / "backbone")
        study = _Study(folder, options.sampler)
        print(f"making {options.trials} trials …", file=sys.stderr)
        study.fill(options.trials)
        for _ in range(options.rounds):
            study.trial()
    print(f"{cpu_name()}, optuna {optuna.__version__}, {options.trials} trials before, {options.sampler}")
    print(f"{options.rounds} trials, milliseconds: median [min max]")
    for part, seconds in study.seconds.items():
        shown = [1000 * s for s in seconds]
        print(f"{part:<10}{statistics.median(shown):>9.1f} [{min(shown):.1f} {max(shown):.1f}]")
    print(f"{'sum':<10}{1000 * sum(statistics.median(s) for s in study.seconds.values()):>9.1f}")


class _Study:
    """A study on the tiny model, and the seconds of each part of its trials."""

    def __init__(self, folder: Path, sampler: str) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.bench = toy_bench(folder / "backbone")
        self.values = toy_values(folder / "backbone")
        self.ledger = Ledger.start(
            "many",
            url=storage_url(None, folder),
            results_dir=folder,
            definition={"search_space": SPACE},
            objectives={"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"},
            space=parse_space(SPACE),
            sampler=sampler,
            seed=0,
        )
        self.ledger.set_facts(config=self.values, search_space=SPACE, provenance=self.bench.provenance())
        self.tracker = Tracker(folder, "many")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)

    def fill(self, number: int) -> None:
        """Make complete trials, half of them of an architecture of their own, and an MLflow run for each."""
        chance = random.Random(0)
        space = {
            "method.width": optuna.distributions.IntDistribution(4, 256, log=True),
            "method.placement": optuna.distributions.CategoricalDistribution(("post_attention", "post_ffn", "both")),
            "train.lr": optuna.distributions.FloatDistribution(3e-4, 1e-2, log=True),
        }
        for i in range(number):
            params: dict[str, Any] = {
                "method.width": round(4 * 64 ** chance.random()),
                "method.placement": chance.choice(("post_attention", "post_ffn", "both")),
                "train.lr": 3e-4 * (1e-2 / 3e-4) ** chance.random(),
            }
            facts = {
                "state": "complete",
                "metrics": METRICS,
                "params": params,
                "overrides": [f"{key}={value}" for key, value in params.items()],
                "provenance": self.bench.provenance(),
                "weights_path": f"trials/{i:05d}/adapter/adapter.safetensors",
            }
            self.ledger._study.add_trial(
                optuna.trial.create_trial(
                    params=params,
                    distributions=space,
                    values=[chance.random(), chance.random() * 1e6, 1 + chance.random()],
                    user_attrs={PREFIX + name: value for name, value in facts.items()},
                )
            )
        latency = {name: value for name, value in METRICS.items() if "latency" in name}
        self.ledger.set_facts(**{f"latency:{i:032x}": latency for i in range(number // 2)})
        self._fill_mlflow(number)

    def _fill_mlflow(self, number: int) -> None:
        parent = self.tracker.publish_study(self.ledger.view(), active=True)
        study = self.ledger.view()
        client = MlflowClient(self.tracker.uri)
        experiment = client.get_experiment_by_name("many").experiment_id
        runs: dict[int, str] = {}
        for trial in study.trials:
            tags = content.trial_tags(study, trial, parent)
            run = client.create_run(experiment, content.millis(trial.started), tags, content.trial_name(trial))
            client.log_batch(run.info.run_id, [Metric(name, value, 0, 0) for name, value in METRICS.items()])
            runs[trial.number] = run.info.run_id
        for group in range(0, number, 100):
            some = {str(i): runs[i] for i in range(group, min(group + 100, number))}
            self.ledger.set_facts(**{f"mlflow_runs:{group // 100}": some})

    def trial(self) -> None:
        """One more trial, without its training."""
        ledger, bench = self.ledger, self.bench
        with self.part("ask"):
            asked = ledger.ask(None)
        assert asked is not None
        trial, slot = asked
        folder = ledger.trial_folder(trial.number)
        with self.part("note"):
            overrides = [f"{key}={value}" for key, value in trial.params.items()]
            ledger.note(trial, params=trial.params, overrides=overrides, provenance=bench.provenance())
            folder.mkdir(parents=True, exist_ok=True)
        with self.part("cost"):
            config = toy_config(
                Path(self.values["backbone"]["path"]), **{k.replace(".", "__"): v for k, v in trial.params.items()}
            )
            params = count_params(bench.backbone.model, bench.backbone.layout, method_spec(config), 2)
            model = AdaptedModel(bench.backbone, method_spec(config), 2, seed=0)
            guards.check_param_count(model, params)
            key = architecture_key(config, bench)
            if ledger.latency(key) is None:
                ledger.keep_latency(key, {name: value for name, value in METRICS.items() if "latency" in name})
        with self.part("save"):
            guards.check_frozen(bench.backbone)
            weights = save_adapted(model, folder / "adapter", label_names=bench.data.label_names)
            curves = {"train_loss": [(step, 0.5) for step in range(STEPS)], "accuracy": [(STEPS - 1, 0.5)]}
            (folder / CURVES_FILE).write_text(json.dumps(curves))
            ledger.note(trial, weights_path=str(weights.relative_to(ledger.folder)))
        with self.part("tell"):
            ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS)
            slot.close()
            view = ledger.view_trial(trial.number)
        with self.part("publish"):
            run_id = self.tracker.publish_trial(ledger.view(), view)
            ledger.set_mlflow_runs({trial.number: run_id})


if __name__ == "__main__":
    main()
