import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel

from adapter_sweep.engine.activations import Activations, Stored
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec
from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.engine.batches import scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.scoring import score_cohort
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train_cohort
from families import DISTINCT, FAMILIES, some_split, tiny_backbone, tiny_deberta, tiny_model

CPU = torch.device("cpu")
BOUNDS = {"batch_size": 8, "max_tokens": 64}
# Families with more than one layer of their own.
DEEP = [family for family in FAMILIES if DISTINCT[family] > 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "activations"


def keep(backbone: Backbone, folder: Path, limit_bytes: int = 10**9) -> Activations:
    return Activations(backbone, Room(limit_bytes=limit_bytes, folder=folder))


def stored_below(backbone: Backbone, split: Encoded, layer: int | None, folder: Path) -> Stored:
    below = keep(backbone, folder).below(split, layer, **BOUNDS)
    assert below is not None
    return below


def above(backbone: Backbone, layer: int, seed: int = 0) -> AdaptedModel:
    """A random model with adapters and trained norms from a layer on."""
    layers = tuple(range(layer, len(backbone.layout.layers)))
    model = AdaptedModel(backbone, BottleneckSpec(4, layers=layers), 3, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


@contextmanager
def counting(backbone: Backbone) -> Iterator[list[int]]:
    """How often the parts of each layer compute: what is skipped is replaced itself, so its parts are watched."""
    counts = [0] * len(backbone.layout.layers)

    def count(index: int) -> None:
        counts[index] += 1

    handles = []
    for layer in backbone.layout.layers:
        part = backbone.model.get_submodule(layer.sites["post_ffn"])
        handles.append(part.register_forward_hook(lambda *_, index=layer.index: count(index)))
    yield counts
    for handle in handles:
        handle.remove()


def assert_as_found(backbone: Backbone) -> None:
    for module in backbone.model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def assert_same_passes(backbone: Backbone, split: Encoded, layer: int, below: Stored) -> None:
    """Logits and gradients of two models, resumed and whole, on every batch."""
    models = [above(backbone, layer), above(backbone, len(backbone.layout.layers) - 1, seed=1)]
    cohort = Cohort(models)
    for batch in scoring_batches(split, batch_size=5, max_tokens=999):
        results = []
        for given in (None, below):
            logits = cohort.logits(batch, given)
            logits.logsumexp(-1).sum().backward()
            gradients = [p.grad for model in models for p in model.parameters()]
            results.append((logits.detach(), [g for g in gradients if g is not None]))
            for model in models:
                model.zero_grad()
        (whole, gradients), (again, resumed_gradients) = results
        torch.testing.assert_close(again, whole, rtol=1e-5, atol=1e-5)
        assert len(gradients) == len(resumed_gradients) > 0
        for gradient, other in zip(gradients, resumed_gradients, strict=True):
            assert float((other - gradient).norm()) <= 1e-5 * float(gradient.norm())


# -- resumed as whole


@pytest.mark.parametrize("family", DEEP)
@pytest.mark.parametrize("layer", [1, 2])
def test_a_pass_resumed_is_the_whole_one(family: str, layer: int, folder: Path) -> None:
    backbone, split = tiny_backbone(family), some_split()
    below = stored_below(backbone, split, layer, folder)
    assert_same_passes(backbone, split, layer, below)
    assert_as_found(backbone)


@pytest.mark.parametrize("layer", [1, 2])
def test_layers_that_return_tuples_are_skipped_too(layer: int, folder: Path) -> None:
    backbone, split = tiny_deberta(), some_split()
    below = stored_below(backbone, split, layer, folder)
    assert below.returns == (2,) * layer
    assert_same_passes(backbone, split, layer, below)
    assert_as_found(backbone)


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_in_bf16_the_resumed_pass_is_near_the_whole_one(family: str, kernel: str, folder: Path) -> None:
    backbone, split = tiny_backbone(family, precision="bf16"), some_split()
    backbone.use_attention(kernel)  # type: ignore[arg-type]
    below = stored_below(backbone, split, 2, folder)
    assert below.states.dtype == torch.bfloat16
    cohort = Cohort([above(backbone, 2)])
    with torch.no_grad():
        for batch in scoring_batches(split, batch_size=5, max_tokens=999):
            torch.testing.assert_close(cohort.logits(batch, below), cohort.logits(batch), rtol=0.05, atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_states_are_the_backbones(family: str, folder: Path) -> None:
    backbone, split = tiny_backbone(family), some_split()
    below = stored_below(backbone, split, None, folder)
    assert (below.states.shape, below.states.dtype) == ((len(split), 32), torch.float32)
    model = AdaptedModel(backbone, HeadSpec(), 3, seed=0)
    with torch.no_grad():
        for batch in scoring_batches(split, batch_size=5, max_tokens=999):
            whole = backbone.encode(batch.inputs)
            torch.testing.assert_close(below.of(batch, CPU), whole, rtol=1e-5, atol=1e-5)
            logits = Cohort([model, model]).logits(batch, below)
            torch.testing.assert_close(logits, model.head(whole).expand(2, -1, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("methods", "layer"),
    [
        ((BottleneckSpec(4, layers="top:1"), BottleneckSpec(8, "post_ffn", layers="top:1", layer_norms="none")), 2),
        ((BottleneckSpec(4, layers=(1,)), BottleneckSpec(8, "post_ffn", layers="top:2")), 1),
        ((HeadSpec(), HeadSpec()), None),
    ],
)
def test_training_above_what_is_stored_is_training_the_whole(
    methods: tuple[MethodSpec, ...], layer: int | None, folder: Path
) -> None:
    backbone, split = tiny_backbone(), some_split()
    below = stored_below(backbone, split, layer, folder)
    specs = [TrainSpec(4, 3e-3, 8), TrainSpec(3, 1e-2, 8)]
    trained = []
    for given in (None, below):
        models = [AdaptedModel(backbone, method, 3, seed) for seed, method in enumerate(methods)]
        assert {model.lowest_trained_layer for model in models} == {layer}
        with counting(backbone) as counts:
            results = train_cohort(models, split, specs, below=given)
            scores = score_cohort(models, split, **BOUNDS, below=given)
        passes = len(results[0].losses) + len(list(scoring_batches(split, batch_size=4, max_tokens=32)))
        skipped = 0 if given is None else layer if layer is not None else 3
        assert counts == [0] * skipped + [passes] * (3 - skipped)
        trained.append((models, results, scores))
    for (whole, other), (result, expected), (scored, as_expected) in zip(
        *(zip(*parts, strict=True) for parts in zip(*trained, strict=True)), strict=True
    ):
        for a, b in zip(whole.parameters(), other.parameters(), strict=True):
            assert float((a - b).detach().norm()) <= 1e-5 * float(b.detach().norm())
        torch.testing.assert_close(result.losses, expected.losses, rtol=1e-4, atol=1e-6)
        assert scored.predictions == as_expected.predictions
    assert_as_found(backbone)


def test_what_was_computed_in_inference_mode_can_be_trained_on(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    with torch.inference_mode():
        below = stored_below(backbone, split, 2, folder)
    assert not below.states.is_inference()
    assert train_cohort([above(backbone, 2)], split, [TrainSpec(1, 1e-3, 8)], below=below)[0].error is None


# -- where a model cannot resume


@pytest.mark.parametrize("layer", [-1, 0, 3, 4])
def test_where_nothing_lies_below_or_nothing_above_there_is_nothing_to_store(layer: int, folder: Path) -> None:
    assert keep(tiny_backbone(), folder).below(some_split(), layer, **BOUNDS) is None


class _Told(nn.Module):
    """A BERT layer that is told what the first one computed, as T5's are told its relative positions."""

    def __init__(self, layer: nn.Module, told: dict[str, torch.Tensor], first: bool) -> None:
        super().__init__()
        self.attention, self.intermediate, self.output = layer.attention, layer.intermediate, layer.output
        self.told, self.first = told, first

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if self.first:
            self.told["bias"] = hidden_states.mean(dim=2, keepdim=True)
        attended = self.attention(hidden_states, *args, **kwargs)[0] + self.told.pop("bias", 1)
        self.told["bias"] = attended.mean(dim=2, keepdim=True)
        output: torch.Tensor = self.output(self.intermediate(attended), attended)
        return output


def telling() -> nn.Module:
    model = tiny_model("bert")
    told: dict[str, torch.Tensor] = {}
    layers = model.encoder.layer  # type: ignore[union-attr]
    model.encoder.layer = nn.ModuleList(  # type: ignore[union-attr]
        _Told(layer, told, first=index == 0)
        for index, layer in enumerate(layers)  # type: ignore[arg-type]
    )
    model.register_forward_pre_hook(lambda *_: told.clear())
    return model


def grouped_albert(groups: int, inner: int) -> nn.Module:
    torch.manual_seed(0)
    return AlbertModel(
        AlbertConfig(
            vocab_size=99,
            embedding_size=16,
            hidden_size=32,
            num_hidden_layers=4,
            num_hidden_groups=groups,
            inner_group_num=inner,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        pytest.param(telling, 1, id="layers told more than hidden states"),
        pytest.param(lambda: grouped_albert(2, 1), 1, id="each layer twice in a row"),
        pytest.param(lambda: grouped_albert(1, 2), 1, id="two layers in turn"),
    ],
)
def test_a_model_that_cannot_skip_layers_computes_whole(
    model: Callable[[], nn.Module], layer: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone, split = wrap_backbone(model(), None, pooling="mean", source="odd"), some_split()
    assert len(backbone.layout.layers) > layer
    activations = keep(backbone, folder)
    for _ in range(2):
        assert activations.below(split, layer, **BOUNDS) is None
    assert [r.getMessage() for r in caplog.records] == ["layers of odd cannot be skipped; it computes whole"]
    assert not any("forward" in vars(module) for module in backbone.model.modules())
    model_above = above(backbone, layer)
    assert train_cohort([model_above], split, [TrainSpec(1, 1e-3, 8)], below=None)[0].error is None


def test_the_backbone_is_as_it_was_after_a_pass_that_raised(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    below = stored_below(backbone, split, 2, folder)
    model = above(backbone, 2)
    batch = next(scoring_batches(split, **BOUNDS))

    def broken(*_: object) -> None:
        raise KeyError("broken")

    handle = model.adapters["2/post_ffn"].register_forward_hook(broken)
    with pytest.raises(KeyError, match="broken"):
        Cohort([model]).logits(batch, below)
    handle.remove()
    assert_as_found(backbone)
    part = backbone.model.get_submodule(backbone.layout.layers[1].sites["post_ffn"])
    handle = part.register_forward_hook(broken)
    with pytest.raises(KeyError, match="broken"):
        keep(backbone, folder).below(split, 2, **BOUNDS)
    handle.remove()
    assert_as_found(backbone)


# -- memory, disk, and what is kept


def test_beyond_the_limit_they_lie_in_a_file_without_a_name(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    held = stored_below(backbone, split, 2, folder)
    assert not folder.exists()
    for precision in ("fp32", "bf16"):
        other = tiny_backbone(precision=precision)
        mapped = keep(other, folder, limit_bytes=0).below(split, 2, **BOUNDS)
        assert mapped is not None
        assert list(folder.iterdir()) == []
        assert "activations-" in Path("/proc/self/maps").read_text(encoding="utf-8")
        if precision == "fp32":
            assert torch.equal(mapped.states, held.states)
            assert_same_passes(backbone, split, 2, mapped)
        else:
            torch.testing.assert_close(mapped.states.float(), held.states, rtol=0.05, atol=0.05)


def test_the_limit_is_of_all_that_is_kept(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    one = stored_below(backbone, split, 1, folder).states.nbytes
    activations = keep(backbone, folder, limit_bytes=2 * one)
    for layer in (1, 2):
        assert activations.below(split, layer, **BOUNDS) is not None
    assert not folder.exists()
    assert activations.below(split, None, **BOUNDS) is not None
    assert folder.exists()


def no_space(*_: object) -> None:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("problem", ["folder", "full", "nearly full", "no mapping"])
def test_where_the_disk_refuses_the_model_computes_whole(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backbone, split = tiny_backbone(), some_split()
    folder = tmp_path / "here"
    if problem == "folder":
        folder.write_text("a file")
    elif problem == "full":
        monkeypatch.setattr(os, "posix_fallocate", no_space)
    elif problem == "nearly full":
        usage = type("Usage", (), {"free": 1000})
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    else:
        monkeypatch.setattr(torch, "from_file", lambda *_, **__: torch.empty(2).view(3))  # raises RuntimeError
    activations = keep(backbone, folder, limit_bytes=0)
    assert activations.below(split, 2, **BOUNDS) is None
    assert activations.below(split, 2, **BOUNDS) is None
    (message,) = [r.getMessage() for r in caplog.records]
    assert message.startswith("no room for 0.0 GB of activations, which are computed anew: ")
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_memory_that_is_not_there_although_allowed_is_sought_on_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, split = tiny_backbone(), some_split()
    expected = stored_below(backbone, split, 2, folder)
    real = torch.empty

    def empty(*size: int, **options: object) -> torch.Tensor:
        if len(size) == 2 and size[1] == 32 and size[0] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*size, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(torch, "empty", empty)
    assert torch.equal(stored_below(backbone, split, 2, folder).states, expected.states)
    assert folder.exists()


def test_what_is_kept_is_computed_once_and_is_never_anothers(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    activations = keep(backbone, folder)
    first = activations.below(split, 2, **BOUNDS)
    same_texts = replace(split, labels=tuple(1 - label % 2 for label in split.labels))
    with counting(backbone) as counts:
        assert activations.below(split, 2, **BOUNDS) is first
        assert activations.below(same_texts, 2, **BOUNDS) is first  # no state depends on a label
    assert counts == [0, 0, 0]
    others = [
        activations.below(some_split(seed=1), 2, **BOUNDS),
        activations.below(replace(split, types=tuple((1,) * len(ids) for ids in split.ids)), 2, **BOUNDS),
        activations.below(split, 1, **BOUNDS),
        activations.below(split, None, **BOUNDS),
        keep(tiny_backbone(seed=1), folder).below(split, 2, **BOUNDS),
    ]
    assert first is not None
    for other in others:
        assert other is not None
        assert other.states.shape != first.states.shape or not torch.equal(other.states, first.states)
    backbone.use_attention("sdpa")
    assert activations.below(split, 2, **BOUNDS) is not first


def test_computing_what_lies_below_computes_nothing_above(folder: Path) -> None:
    backbone, split = tiny_backbone(), some_split()
    activations = keep(backbone, folder)
    with counting(backbone) as counts:
        activations.below(split, 2, **BOUNDS)
    tried = 2  # the check's two passes, one of them resumed
    assert counts == [len(list(scoring_batches(split, **BOUNDS))) + 1] * 2 + [tried]


def test_a_batch_gets_the_labels_of_its_own_split(folder: Path) -> None:
    """Two splits of the same texts share what is stored, and learn what their own labels say."""
    backbone, split = tiny_backbone(pooling="cls"), some_split(classes=2)
    flipped = replace(split, labels=tuple(1 - label for label in split.labels))
    activations = keep(backbone, folder)
    right = []
    for own in (split, flipped):
        below = activations.below(own, 2, **BOUNDS)
        model = AdaptedModel(backbone, BottleneckSpec(8, layers="top:1"), 2, seed=0)
        train_cohort([model], own, [TrainSpec(30, 1e-2, 8)], below=below)
        predictions = score_cohort([model], own, **BOUNDS, below=below)[0].predictions
        right.append(sum(p == y for p, y in zip(predictions, own.labels, strict=True)) / len(own))
    assert min(right) > 0.85
