from pathlib import Path

import pytest
import torch

from adapter_sweep.engine import memory as memory_module
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec
from adapter_sweep.engine.batches import collate
from adapter_sweep.engine.memory import available_bytes, cohort_bound, is_out_of_memory, saved_bytes
from adapter_sweep.engine.methods import PromptSpec
from families import some_split, tiny_backbone

CPU = torch.device("cpu")
BOUNDS = {"batch_size": 8, "max_tokens": 4096}


def test_what_is_kept_for_the_backward_pass_grows_with_the_rows_evenly() -> None:
    model, split = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 3, seed=0), some_split()
    one, two, three, nine = (saved_bytes(model, collate(split, [0] * rows)) for rows in (1, 2, 3, 9))
    assert one > 0
    assert two - one == pytest.approx(three - two, rel=0.02)
    assert nine == pytest.approx(one + 8 * (two - one), rel=0.02)


def test_what_is_kept_depends_on_what_is_trained() -> None:
    backbone, split = tiny_backbone(), some_split()
    batch = collate(split, range(8))
    methods = (HeadSpec(), *(BottleneckSpec(8, layers=layers) for layers in ("top:1", "top:2", "all")))
    kept = [saved_bytes(AdaptedModel(backbone, method, 3, seed=0), batch) for method in methods]
    assert kept == sorted(kept)
    assert kept[0] < kept[1] / 10
    wide = saved_bytes(AdaptedModel(backbone, BottleneckSpec(512), 3, seed=0), batch)
    assert wide > 2 * kept[-1]


def test_what_a_pass_keeps_is_let_go() -> None:
    model, split = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 3, seed=0), some_split()
    saved_bytes(model, collate(split, [0, 1]))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_as_many_models_train_together_as_half_of_the_free_memory_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 3, seed=0), some_split()
    longest = max(range(len(split)), key=lambda row: len(split.ids[row]))
    each = saved_bytes(model, collate(split, [longest] * 8)) + 16 * model.count_params().total

    def bound(free: float | None, share: float = 1.0) -> int:
        monkeypatch.setattr(memory_module, "available_bytes", lambda _: free if free is None else int(free))
        return cohort_bound(model, split, **BOUNDS, share=share)

    assert [bound(free) for free in (0, each, 2.1 * each, 10.1 * each, 20.1 * each)] == [1, 1, 1, 5, 10]
    assert bound(20.1 * each, share=0.5) == 5
    assert bound(None) == 1


def test_a_model_that_goes_alone_is_bounded_by_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its activations are gone when another's pass begins."""
    model = AdaptedModel(tiny_backbone(), PromptSpec(2), 3, seed=0)
    monkeypatch.setattr(memory_module, "available_bytes", lambda _: 2 * 16 * model.count_params().total * 7)
    assert cohort_bound(model, some_split(), **BOUNDS) == 7


def test_a_model_that_does_not_even_fit_once_trains_alone() -> None:
    model, split = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 3, seed=0), some_split()

    def full(*_: object) -> None:
        raise error

    model.adapters["0/post_ffn"].register_forward_hook(full)
    error: Exception = torch.OutOfMemoryError("CUDA out of memory.")
    assert cohort_bound(model, split, **BOUNDS) == 1
    error = KeyError("a fault")
    with pytest.raises(KeyError, match="a fault"):
        cohort_bound(model, split, **BOUNDS)


def test_free_memory_is_at_most_what_the_machine_has() -> None:
    free = available_bytes(CPU)
    assert free is not None
    total = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1]) * 1024
    assert 0 < free <= total


@pytest.mark.parametrize(
    ("limit", "used", "stat", "free"),
    [
        ("1000\n", "400\n", "anon 300\ninactive_file 0\n", 600),
        ("1000\n", "900\n", "anon 300\ninactive_file 500\n", 600),  # files that were read can be dropped
        ("1000\n", "1200\n", "anon 1200\n", 0),
    ],
)
def test_within_a_container_its_limit_counts(
    limit: str, used: str, stat: str, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("limit", limit), ("used", used), ("memory.stat", stat)):
        (tmp_path / name).write_text(text)
    container = (str(tmp_path), "limit", "used", "inactive_file")
    monkeypatch.setattr(memory_module, "_CONTAINER_LIMITS", (container,))
    assert available_bytes(CPU) == free
    (tmp_path / "limit").write_text("max\n")
    unlimited = available_bytes(CPU)
    assert unlimited is not None
    assert unlimited > 10**6
    monkeypatch.setattr(memory_module, "_CONTAINER_LIMITS", ((str(tmp_path / "none"), *container[1:]),))
    assert available_bytes(CPU) is not None


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_an_allocation_that_the_host_refuses_is_running_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
