from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adapter_sweep.bench import Bench
from adapter_sweep.cli import capacity
from adapter_sweep.cli.capacity import activation_bytes, find_capacity
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.methods import FullMethod, HeadMethod, IA3Method, LayerNormMethod, PromptMethod
from adapter_sweep.engine.memory import available_bytes
from toy_bench import toy_bench, toy_config


@pytest.fixture(scope="module")
def toy(tiny_bert: Path) -> Bench:
    return toy_bench(tiny_bert)


@pytest.fixture
def bench(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """On eight cores, and with memory that nobody measures."""
    monkeypatch.setattr(capacity, "physical_cores", lambda: 8)
    monkeypatch.setattr(capacity, "available_bytes", lambda _: None)
    return toy


def config(tiny_bert: Path, count: int | None, threads: int | None = None, device: str = "cpu") -> SweepConfig:
    return toy_config(tiny_bert, workers__count=count, train__threads=threads, train__device=device)


@pytest.mark.parametrize(
    ("count", "threads", "left", "expected"),
    [
        (None, None, 100, (8, 1)),
        (None, None, 3, (3, 2)),
        (None, 2, 100, (4, 2)),
        (None, 16, 100, (1, 16)),
        (4, None, 100, (4, 2)),
        (16, None, 100, (16, 1)),
        (16, None, 2, (2, 4)),
        (1, None, 100, (1, 8)),
        (None, None, 0, (1, 8)),
    ],
)
def test_cores_are_shared(
    bench: Bench, tiny_bert: Path, count: int | None, threads: int | None, left: int, expected: tuple[int, int]
) -> None:
    found = find_capacity(config(tiny_bert, count, threads), bench, left)
    assert (found.workers, found.threads) == expected
    assert set(found.devices) == {"cpu"}
    assert found.bound is None


def test_memory_bounds_what_was_not_asked_for(bench: Bench, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "peak_bytes", lambda: 1_000_000_000)
    monkeypatch.setattr(capacity, "available_bytes", lambda _: 3_500_000_000)
    found = find_capacity(config(tiny_bert, None), bench, 100)
    assert (found.workers, found.threads) == (3, 2)
    assert found.bound == "3.5 GB of memory are free, and a worker takes about 1.0 GB"
    assert find_capacity(config(tiny_bert, 8), bench, 100).workers == 8
    for more in ({"method__layers": "top:1"}, {"search_space": {"method.layers": "choice(top:1,all)"}}):
        cached = toy_config(tiny_bert, workers__count=None, train__threads=None, train__cache_gb=1, **more)
        assert find_capacity(cached, bench, 100).workers == 1
    monkeypatch.setattr(capacity, "available_bytes", lambda _: 0)
    assert find_capacity(config(tiny_bert, None), bench, 100).workers == 1


def test_full_fine_tuning_needs_memory_of_its_own(
    bench: Bench, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = bench.backbone.layout.num_params
    plain = toy_config(tiny_bert, workers__count=None, train__threads=None, train__cache_gb=0)
    full, head = FullMethod(kind="full"), HeadMethod(kind="head")
    # What one worker takes that holds nothing of its own besides.
    monkeypatch.setattr(capacity, "peak_bytes", lambda: 0)
    monkeypatch.setattr(capacity, "activation_bytes", lambda *_: size)
    monkeypatch.setattr(capacity, "available_bytes", lambda _: 3 * 17 * size)

    def workers(**changes: object) -> int:
        return find_capacity(plain.model_copy(update=changes), bench, 100).workers

    assert workers() == 8
    assert workers(method=full) == 3
    assert workers(method=head, methods={"head": head, "full": full}, search_space={"method": "choice(head,full)"}) == 3
    assert workers(method=head, methods={"head": head}, search_space={"method": "choice(head)"}) == 8
    # Two that are ready to train: twice the activations, and one more copy in float32.
    monkeypatch.setattr(capacity, "available_bytes", lambda _: 3 * (2 + 16 + 4) * size)
    assert workers(method=full, train=plain.train.model_copy(update={"cohort": 2})) == 3


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"method": HeadMethod(kind="head")}, True),
        ({"method": FullMethod(kind="full")}, False),
        ({"method": PromptMethod(kind="prompt", length=4)}, False),
        ({"method": IA3Method(kind="ia3")}, False),
        ({"method": IA3Method(kind="ia3", layers="top:1")}, True),
        ({"method": LayerNormMethod(kind="layernorm")}, False),
        ({"method": LayerNormMethod(kind="layernorm", layers="top:1", layer_norms="layers")}, True),
        ({"method": IA3Method(kind="ia3"), "search_space": {"method.layers": "choice(top:1,all)"}}, True),
        ({"methods": {"full": FullMethod(kind="full"), "ia3": IA3Method(kind="ia3", layers="[1]")}}, True),
        ({"methods": {"full": FullMethod(kind="full"), "ia3": IA3Method(kind="ia3", layers="[0,1]")}}, False),
    ],
)
def test_memory_for_activations_is_for_methods_that_leave_the_lowest_layer_alone(
    bench: Bench, tiny_bert: Path, changes: dict[str, object], kept: bool
) -> None:
    found = capacity._cache_bytes(toy_config(tiny_bert, train__cache_gb=2).model_copy(update=changes), bench)
    assert found == (2_000_000_000 if kept else 0)


def test_one_worker_a_gpu(tiny_bert: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    every: Any = SimpleNamespace(device=torch.device("cuda"))
    one: Any = SimpleNamespace(device=torch.device("cuda:1"))
    auto = config(tiny_bert, None, device="auto")
    assert find_capacity(auto, every, 100).devices == ("cuda:0", "cuda:1")
    assert find_capacity(auto, every, 1).devices == ("cuda:0",)
    assert find_capacity(auto, every, 100).threads == 4
    assert find_capacity(config(tiny_bert, 3, device="cuda"), every, 100).devices == ("cuda:0", "cuda:1", "cuda:0")
    assert find_capacity(config(tiny_bert, None, device="cuda:1"), one, 100).devices == ("cuda:1",)


def test_activations_are_counted_for_a_full_batch(bench: Bench, tiny_bert: Path) -> None:
    # 2 layers, 8 texts of 16 tokens, hidden size 32, 2 heads.
    assert activation_bytes(config(tiny_bert, None), bench) == 2 * (8 * 16) * (34 * 32 + 5 * 2 * 16) * 2


def test_available_memory_is_read() -> None:
    available = available_bytes(torch.device("cpu"))
    assert available is None or available > 0
