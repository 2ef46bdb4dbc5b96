import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, RobertaConfig, RobertaModel

from adapter_sweep import bench as bench_module
from adapter_sweep import opening as opening_module
from adapter_sweep.config.compose import compose
from adapter_sweep.data import load_task
from adapter_sweep.engine.backbone import DTYPES
from adapter_sweep.engine.choices import FILE
from adapter_sweep.errors import UserInputError
from adapter_sweep.opening import _usable_positions, check_methods, open_bench
from adapter_sweep.provenance import physical_cores
from adapter_sweep.records import ParamValue
from adapter_sweep.trial import architecture_key
from toy_bench import toy_bench, toy_config, undisturbed
from toy_types import typed_bench

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


def settings(tiny_bert: Path, toy_csv: Path, **params: ParamValue) -> object:
    return toy_config(tiny_bert, task__path=str(toy_csv), **params)


def test_a_bench_is_opened_as_configured(tiny_bert: Path, toy_csv: Path) -> None:
    bench = open_bench(settings(tiny_bert, toy_csv, train__threads=2))
    assert (bench.threads, torch.get_num_threads()) == (2, 2)
    assert bench.device == torch.device("cpu")
    assert sorted(bench.data.label_names) == ["neg", "pos"]
    assert bench.data.fingerprint == load_task(bench.config).fingerprint
    facts = bench.provenance()
    assert facts["threads"] == "2"
    assert (facts["precision"], facts["precision_reason"]) == ("fp32", "set by train.precision")
    assert (facts["attention"], facts["attention_reason"]) == ("eager", "set by backbone.attention")
    assert facts["device"].startswith("cpu: ")
    assert facts["model"] == tiny_bert.name  # it is shared with results, and where the folder lies is not
    assert (facts["data_fingerprint"], facts["model_fingerprint"]) == (
        bench.data.fingerprint,
        bench.backbone.fingerprint,
    )
    assert all(isinstance(value, str) for value in facts.values())


def test_all_physical_cores_unless_set(tiny_bert: Path, toy_csv: Path) -> None:
    assert open_bench(settings(tiny_bert, toy_csv, train__threads=None)).threads == physical_cores()


def test_precision_and_attention_are_measured_once_for_the_tasks_batches(
    tiny_bert: Path, toy_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path / "cache"))
    config = settings(tiny_bert, toy_csv, train__precision="auto", backbone__attention="auto")
    facts = open_bench(config).provenance()
    kept = (tmp_path / "cache" / FILE).read_bytes()
    entries = list(json.loads(kept))
    assert [entry.split(": ")[0] for entry in entries] == ["attention", "precision"]
    # 8 rows, as train.batch_size says, of texts of 5 words with a token before and one after.
    assert entries[0].startswith(f"attention: training 8x6; {facts['precision']}; model ")
    assert "8 x 6 tokens" in facts["attention_reason"]
    assert facts["precision"] in DTYPES
    assert facts["attention"] in ("eager", "sdpa")
    assert open_bench(config).provenance() == facts
    assert (tmp_path / "cache" / FILE).read_bytes() == kept


def test_the_kernel_in_use_is_part_of_what_latency_depends_on(tiny_bert: Path) -> None:
    bench = toy_bench(tiny_bert)
    keys = set()
    for wanted in ("auto", "eager"):
        for kernel in ("eager", "sdpa"):
            bench.backbone.use_attention(kernel)
            keys.add((kernel, architecture_key(toy_config(tiny_bert, backbone__attention=wanted), bench)))
    assert len(keys) == 2


def test_a_device_that_is_not_there_is_named(tiny_bert: Path, toy_csv: Path) -> None:
    with pytest.raises(UserInputError, match=r"train\.device=cuda:77: this machine has \d+ CUDA devices"):
        open_bench(settings(tiny_bert, toy_csv, train__device="cuda:77"))


def test_texts_longer_than_the_backbone_takes_are_named_at_once(tiny_bert: Path, toy_csv: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        open_bench(settings(tiny_bert, toy_csv, train__max_length=65, latency__tokens=65))
    assert caught.value.problems == (
        f"train.max_length=65: {tiny_bert} takes at most 64 tokens",
        f"latency.tokens=65: {tiny_bert} takes at most 64 tokens",
    )


def test_every_method_that_cannot_be_had_is_named_before_the_first_trial(tiny_bert: Path, toy_csv: Path) -> None:
    bottleneck = toy_config(tiny_bert).method.model_dump()
    methods = {
        "deep": {**bottleneck, "layers": "top:3"},
        "long": {"kind": "prompt", "length": 50},
        "short": {"kind": "prompt", "length": 50},
        "lora": {"kind": "lora", "rank": 2, "targets": "nothing"},
        "head": {"kind": "head"},
    }
    space = {"method": f"choice({','.join(methods)})", "short.train.max_length": "choice(14)"}
    with pytest.raises(UserInputError) as caught:
        open_bench(settings(tiny_bert, toy_csv, methods=methods, search_space=space, method={"kind": "head"}))
    deep, long, lora = caught.value.problems
    assert deep.startswith("deep: method.layers=top:3: the backbone has 2 distinct layers")
    assert long == f"long: train.max_length=16: {tiny_bert} takes at most 64 tokens, 50 of them the method's"
    assert lora.startswith("lora: method.targets: no projection is called 'nothing'")


def test_a_method_whose_input_the_model_does_not_read_is_named(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(BertModel):
        def forward(self, input_ids: Any, attention_mask: Any, past_key_values: Any = None, **inputs: Any) -> Any:
            return super().forward(input_ids, attention_mask[:, -input_ids.shape[1] :], **inputs)

    backbone = toy_bench(tiny_bert).backbone
    monkeypatch.setattr(backbone.model, "__class__", Deaf)
    methods = {"far": {"kind": "prefix", "length": 2}, "lora": {"kind": "lora", "rank": 2}}
    with pytest.raises(UserInputError) as caught:
        check_methods(toy_config(tiny_bert, methods=methods, search_space={"method": "choice(far,lora)"}), backbone)
    (problem,) = caught.value.problems
    assert problem.startswith("far: method=prefix: Deaf does not compute with keys and values given it")


@pytest.mark.parametrize(
    ("model", "usable"),
    [
        (BertModel(BertConfig(**TINY, max_position_embeddings=16)), 16),
        (RobertaModel(RobertaConfig(**TINY, max_position_embeddings=18)), 16),
        (GPT2Model(GPT2Config(vocab_size=9, n_positions=16, n_embd=8, n_layer=1, n_head=1)), 16),
        (torch.nn.Module(), None),
    ],
)
def test_usable_positions_are_those_a_forward_pass_takes(model: torch.nn.Module, usable: int | None) -> None:
    if usable is None:
        model.config = SimpleNamespace()
        assert _usable_positions(model) is None
        return
    assert _usable_positions(model) == usable
    with torch.inference_mode():
        model(input_ids=torch.full((1, usable), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, usable + 1), 5))


def test_each_split_is_tokenized_once_a_length(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = bench_module.encode_split
    monkeypatch.setattr(bench_module, "encode_split", lambda *a, **k: calls.append(k["max_length"]) or real(*a, **k))
    bench = toy_bench(tiny_bert)
    splits = [bench.encoded(bench.data.train, length) for length in (16, 16, 4)]
    assert calls == [16, 4]
    assert splits[0] is splits[1]
    assert max(map(len, splits[2].ids)) == 4


def test_what_is_cut_is_told_once_a_split(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = toy_bench(tiny_bert)
    for _ in range(2):
        bench.encoded(bench.data.train, 64)
        bench.encoded(bench.data.train, 4)
    rows = f"{len(bench.data.train)} of {len(bench.data.train)}"
    said = f"train.max_length=4: {rows} texts of the training split are longer and are cut"
    assert [record.message for record in caplog.records] == [said]


def test_words_and_entities_behind_the_cut_are_told(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = typed_bench(tiny_bert, "tokens")
    bench.encoded(bench.data.validation, 4)  # two words of five are left, of 32 sentences with a mood but for 4
    (record,) = caplog.records
    assert "32 of 32 texts of the validation split" in record.message
    assert record.message.endswith(", 96 words and 28 entities lie behind the cut")


def test_anchors_are_the_majority_and_a_tuned_probe(tiny_bert: Path) -> None:
    bench = toy_bench(tiny_bert)
    anchors = bench.anchors()
    assert list(anchors) == ["majority class", "frozen backbone", "head-only probe"]
    assert anchors["majority class"] == {"accuracy": 0.5}
    assert anchors["head-only probe"]["accuracy"] > 0.8  # one word decides, and the probe sees it
    assert bench.anchors() == anchors


@pytest.mark.parametrize("bars", [True, False])
def test_loading_leaves_transformers_as_loud_as_it_was(bars: bool) -> None:
    from transformers.utils import logging

    verbosity, enabled = logging.get_verbosity(), logging.is_progress_bar_enabled()
    switch = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    try:
        switch[bars]()
        with opening_module._quiet_transformers():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == verbosity
        assert logging.is_progress_bar_enabled() == bars
    finally:
        switch[enabled]()


def test_files_that_are_not_there_are_named_with_their_keys() -> None:
    files = ["task.path=no.csv", "task.test_path=none.csv"]
    config = compose(["task=local", *files, "task.text=text", "task.label=label"]).config
    with pytest.raises(UserInputError) as caught:
        load_task(config)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == files
