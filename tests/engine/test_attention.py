from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2Model

from adapter_sweep.engine import attention
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.attention import choose_attention, typical_batch
from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.engine.choices import FILE
from adapter_sweep.errors import UserInputError
from families import FAMILIES, tiny_backbone, tokens

BATCH = (4, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path))
    return tmp_path


def plain_only() -> Backbone:
    """A model that offers no fused kernel."""
    config = DebertaV2Config(
        vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    return wrap_backbone(DebertaV2Model(config), None, pooling="mean", source="deberta")


@pytest.mark.parametrize(
    ("lengths", "batch"),
    [
        ([3, 27, 26, 90], (32, 24)),
        ([28] * 9, (32, 24)),
        ([29] * 8 + [40], (32, 32)),
        ([7], (32, 6)),
        ([3], (32, 3)),
        ([1], (32, 1)),
        ([60] * 3, (32, 60)),
        ([128] * 3, (32, 128)),
        ([256] * 3, (16, 256)),
        ([5000], (1, 4096)),
        ([9000], (1, 4096)),
    ],
)
def test_a_typical_batch_has_one_of_few_lengths(lengths: list[int], batch: tuple[int, int]) -> None:
    assert typical_batch(lengths, batch_size=32, max_tokens=4096) == batch


def test_lengths_that_are_nearly_the_same_ask_for_the_same_batch() -> None:
    assert len({typical_batch([median] * 3 + [128], batch_size=32, max_tokens=4096) for median in range(21, 28)}) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_is_measured_once_on_every_family_and_set(
    family: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone(family)
    assert backbone.kernels() == ("eager", "sdpa")
    first = choose_attention("auto", backbone, BATCH)
    assert backbone.attention == first.value
    assert "4 x 8 tokens" in first.reason
    monkeypatch.delattr(attention, "_time_kernels")
    again = tiny_backbone(family)
    again.use_attention("sdpa" if first.value == "eager" else "eager")
    assert choose_attention("auto", again, BATCH) == first
    assert again.attention == first.value


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_measuring_leaves_the_backbone_frozen_and_as_it_was(precision: Any) -> None:
    backbone = tiny_backbone(precision=precision)
    inputs = tokens()
    choose_attention("auto", backbone, BATCH)
    assert not any(p.requires_grad or p.grad is not None for p in backbone.model.parameters())
    assert not any(module._forward_hooks for module in backbone.model.modules())
    assert not backbone.encode(inputs).requires_grad


def test_a_step_is_timed_back_to_the_embeddings_with_each_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    seen: list[tuple[str, bool]] = []
    first = backbone.model.encoder.layer[0]  # type: ignore[union-attr,index]
    first.register_full_backward_hook(lambda *_: seen.append((backbone.attention, True)))
    choose_attention("auto", backbone, BATCH)
    assert set(seen) == {("eager", True), ("sdpa", True)}


def test_each_shape_precision_and_model_is_measured_for_itself(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(attention, "_time_kernels", lambda *a: calls.append(a) or {"eager": 1.0, "sdpa": 1.0})
    for backbone in (tiny_backbone(), tiny_backbone(precision="bf16"), tiny_backbone(seed=1)):
        for batch in (BATCH, (4, 6), BATCH):
            choose_attention("auto", backbone, batch)
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("eager_seconds", "value", "reason"),
    [
        (0.5, "eager", "2.00x the speed of sdpa at batches of 4 x 8 tokens on this machine"),
        (0.98, "sdpa", "as fast as eager at batches of 4 x 8 tokens on this machine, and needs less memory"),
        (1.02, "sdpa", "as fast as eager at batches of 4 x 8 tokens on this machine, and needs less memory"),
        (1.5, "sdpa", "1.50x the speed of eager at batches of 4 x 8 tokens on this machine"),
    ],
)
def test_auto_takes_the_plain_kernel_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, eager_seconds: float, value: str, reason: str
) -> None:
    monkeypatch.setattr(attention, "_time_kernels", lambda *_: {"eager": eager_seconds, "sdpa": 1.0})
    choice = choose_attention("auto", tiny_backbone(), BATCH)
    assert (choice.value, choice.reason) == (value, reason)


@pytest.mark.parametrize("wanted", ["eager", "sdpa"])
def test_a_forced_kernel_is_taken_unmeasured(wanted: Any, cache: Path) -> None:
    backbone = tiny_backbone()
    choice = choose_attention(wanted, backbone, BATCH)
    assert (choice.value, choice.reason) == (wanted, "set by backbone.attention")
    assert backbone.attention == wanted
    assert not (cache / FILE).exists()


def test_the_only_kernel_is_taken_unmeasured_and_another_refused(cache: Path) -> None:
    backbone = plain_only()
    assert backbone.kernels() == ("eager",)
    choice = choose_attention("auto", backbone, BATCH)
    assert (choice.value, choice.reason) == ("eager", "the only one this model offers")
    assert choose_attention("eager", backbone, BATCH).value == "eager"
    with pytest.raises(UserInputError) as caught:
        choose_attention("sdpa", backbone, BATCH)
    assert caught.value.problems == (
        "backbone.attention=sdpa: deberta (DebertaV2Model) does not offer it; allowed: auto, eager",
    )
    assert backbone.attention == "eager"
    assert not (cache / FILE).exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernels_agree_on_logits_and_gradients(family: str) -> None:
    backbone = tiny_backbone(family)
    model = AdaptedModel(backbone, BottleneckSpec(4), 2, seed=0)
    trained = [p for p in model.parameters() if p.requires_grad]
    found = {}
    for kernel in backbone.kernels():
        backbone.use_attention(kernel)
        logits = model(tokens())
        found[kernel] = (logits.detach(), *torch.autograd.grad(logits.square().sum(), trained))
    torch.testing.assert_close(found["eager"], found["sdpa"], rtol=1e-3, atol=1e-5)
