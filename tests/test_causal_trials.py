"""Trials on a decoder whose heads read every token, from texts to their record."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adapter_sweep.bench import Bench
from adapter_sweep.cohort import run_trial
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.engine.scoring import score
from adapter_sweep.records import TrialState
from adapter_sweep.scores import TaskType
from toy_bench import Table, Watch, undisturbed
from toy_types import typed_bench, typed_config


@pytest.fixture(scope="module")
def tiny_llama(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama (2 layers, hidden size 32) with the tokenizer of `tiny_bert`."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("tiny_llama")
    for file in tiny_bert.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(AutoTokenizer.from_pretrained(folder)),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        LlamaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


def untrained(bench: Bench) -> float:
    """What is reached by what needs no adapter."""
    return max(scores["accuracy"] for name, scores in bench.anchors().items() if name != "head-only probe")


@pytest.mark.parametrize("kind", ["tokens", "spans"])
def test_a_decoder_learns_what_its_tokens_say(kind: TaskType, tiny_llama: Path, tmp_path: Path) -> None:
    bench = typed_bench(tiny_llama, kind)
    assert bench.backbone.causal
    outcome = run_trial(typed_config(tiny_llama, kind), bench, Table(), tmp_path, Watch())
    assert outcome.state is TrialState.COMPLETE
    # Of a mood the first word is tagged before the second is read, which says whether it is one at all.
    assert outcome.metrics["accuracy"] >= 0.85
    assert outcome.metrics["accuracy"] > untrained(bench) + 0.1
    assert outcome.weights is not None
    model, _ = load_adapted(bench.backbone, outcome.weights.parent)
    split = bench.encoded(bench.data.validation, 16)
    assert score(model, split, batch_size=8, max_tokens=256).predictions == outcome.predictions
