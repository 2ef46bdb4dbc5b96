"""The real model on real data, end to end: what the product promises on its default assets."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from adapter_sweep.bench import Bench
from adapter_sweep.cohort import run_trial
from adapter_sweep.config.compose import compose
from adapter_sweep.engine.activations import Activations
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.encoding.texts import encode_texts
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train, train_cohort
from adapter_sweep.opening import open_backbone, open_bench
from adapter_sweep.records import TrialState

QUICK = ["latency.pairs=5", "latency.batch_pairs=5", "latency.warmup_seconds=0"]


class _Silent:
    def stage(self, text: str) -> None: ...
    def step(self, progress: object) -> None: ...
    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None: ...

    def resumed(self, step: int) -> None: ...


class _Table(dict[str, dict[str, float]]):
    def latency(self, key: str) -> dict[str, float] | None:
        return self.get(key)

    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        return self.setdefault(key, dict(metrics))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    threads = torch.get_num_threads()
    yield open_bench(compose(["task=questions", "task.max_train_examples=1000", *QUICK]).config)
    torch.set_num_threads(threads)


def test_the_backbone_is_minilm(bench: Bench) -> None:
    layout = bench.backbone.layout
    assert (layout.hidden_size, len(layout.layers)) == (384, 6)
    # all-MiniLM-L6-v2 has 22,713,216 parameters, 147,840 of them in the pooler, which we do not use.
    assert layout.num_params == 22_713_216 - (384 * 384 + 384)


def test_the_anchors_are_what_a_frozen_minilm_knows(bench: Bench) -> None:
    anchors = bench.anchors()
    assert anchors["majority class"]["accuracy"] == pytest.approx(0.231, abs=0.001)
    assert 0.75 < anchors["head-only probe"]["accuracy"] < 0.95


def test_an_adapter_beats_the_majority_is_kept_and_loads_back(bench: Bench, tmp_path: Path) -> None:
    arguments = ["task=questions", "task.max_train_examples=1000", "train.epochs=2", "train.lr=3e-3", *QUICK]
    config = compose([*arguments, "method.width=16"]).config
    outcome = run_trial(config, bench, _Table(), tmp_path, _Silent())
    assert outcome.state is TrialState.COMPLETE
    assert outcome.metrics["accuracy"] > 0.8
    assert outcome.metrics["trainable_params"] == 12 * (2 * 16 * 384 + 16 + 384) + 12 * 2 * 384 + 6 * 385
    assert outcome.metrics["eval_examples"] == len(bench.data.validation) == 537
    loaded, labels = load_adapted(bench.backbone, tmp_path / "adapter")
    assert labels == bench.data.label_names
    assert isinstance(loaded, AdaptedModel)
    assert loaded.count_params().total == outcome.metrics["trainable_params"]


def test_a_cohort_above_stored_activations_reaches_the_weights_that_whole_passes_reach_alone(
    bench: Bench, tmp_path: Path
) -> None:
    backbone = open_backbone(compose(["backbone=minilm"]).config, "fp32")
    assert backbone.tokenizer is not None
    texts = bench.data.train
    split = encode_texts(backbone.tokenizer, texts.texts[:48], texts.labels[:48], max_length=32)
    methods = (BottleneckSpec(16, layers="top:2"), BottleneckSpec(5, "post_ffn", layers="top:2", layer_norms="none"))
    specs = (TrainSpec(4, 3e-3, 16, weight_decay=0.01), TrainSpec(3, 1e-3, 16))
    below = Activations(backbone, Room(limit_bytes=10**8, folder=tmp_path)).below(
        split, 4, batch_size=16, max_tokens=999
    )
    assert below is not None
    together, alone = (
        [AdaptedModel(backbone, method, len(bench.data.label_names), seed=1) for method in methods] for _ in range(2)
    )
    train_cohort(together, split, specs, below=below)
    for model, other, spec in zip(together, alone, specs, strict=True):
        train(other, split, spec)
        for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
            assert float((a - b).detach().norm() / b.detach().norm()) < 1e-5, name
