import pytest
import torch
from torch import nn

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.backbone import fingerprint
from adapter_sweep.engine.encoded import Encoded, EncodedTexts
from adapter_sweep.engine.problems import IGNORED, Tokens
from adapter_sweep.engine.scoring import score
from adapter_sweep.engine.train_spec import TrainSpec, warmup_then_decay
from adapter_sweep.engine.training import Progress, train
from families import tiny_backbone


@pytest.fixture
def learnable() -> Encoded:
    """The class is whether the text begins with token 7."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(10, 90, (96, 6), generator=generator)
    rows[::2, 0] = 7
    return EncodedTexts(tuple(tuple(r) for r in rows.tolist()), tuple(int(r[0] == 7) for r in rows), 0)


def _train(split: Encoded, seed: int = 0, **options: float) -> tuple[AdaptedModel, list[tuple[int, float]]]:
    model = AdaptedModel(tiny_backbone(pooling="cls"), BottleneckSpec(8), 2, seed)
    spec = TrainSpec(**{"epochs": 4, "lr": 1e-2, "batch_size": 16, "seed": seed, **options})  # type: ignore[arg-type]
    return model, train(model, split, spec).losses


def test_training_learns_and_leaves_the_backbone_bit_identical(learnable: Encoded) -> None:
    model, losses = _train(learnable, epochs=8)
    scores = score(model, learnable, batch_size=32, max_tokens=4096)
    assert sum(p == y for p, y in zip(scores.predictions, learnable.labels, strict=True)) >= 94
    assert losses[-1][1] < losses[0][1] / 2
    assert fingerprint(dict(model.backbone.model.named_parameters())) == model.backbone.fingerprint


def test_the_same_trial_twice_gives_the_same_weights(learnable: Encoded) -> None:
    (one, first), (other, second) = _train(learnable), _train(learnable)
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_another_seed_gives_other_weights(learnable: Encoded) -> None:
    assert _train(learnable, seed=0)[1] != _train(learnable, seed=1)[1]


def test_every_parameter_moves(learnable: Encoded) -> None:
    model, _ = _train(learnable, epochs=2)
    start = AdaptedModel(model.backbone, model.spec, 2, seed=0)
    for (name, trained), (_, initial) in zip(model.named_parameters(), start.named_parameters(), strict=True):
        assert not torch.equal(trained, initial), name


def test_weight_decay_spares_biases_and_layer_norms(learnable: Encoded) -> None:
    """With a rate so small that gradients do nothing, what shrinks is what decays."""
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    nn.init.ones_(model.head.bias)
    norm = next(iter(model.norms.values()))
    before = [p.detach().clone() for p in (model.head.weight, model.head.bias, norm.norm.weight)]  # type: ignore[union-attr]
    train(model, learnable, TrainSpec(1, 1e-6, 16, weight_decay=1e4, warmup_fraction=0, seed=0))
    after = [model.head.weight, model.head.bias, norm.norm.weight]  # type: ignore[union-attr]
    shrunk = [float(a.detach().abs().sum() / b.abs().sum()) for a, b in zip(after, before, strict=True)]
    assert shrunk[0] < 0.98
    assert shrunk[1] == pytest.approx(1, abs=1e-4)
    assert shrunk[2] == pytest.approx(1, abs=1e-4)


def test_progress_names_every_step_and_each_epoch_is_told_its_mean_loss(learnable: Encoded) -> None:
    seen: list[Progress] = []
    epochs: list[tuple[int, float]] = []
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    spec = TrainSpec(2, 1e-3, 16)
    result = train(model, learnable, spec, on_step=seen.append, on_epoch=lambda e, loss: epochs.append((e, loss)))
    assert [(p.epoch, p.step, p.steps) for p in seen] == [(1 + i // 6, i + 1, 12) for i in range(12)]
    assert [e for e, _ in epochs] == [1, 2]
    assert epochs[0][1] == pytest.approx(sum(loss for _, loss in result.losses[:6]) / 6)
    assert result.seconds > 0


def test_scores_are_in_the_splits_order_and_whatever_the_batches(learnable: Encoded) -> None:
    model, _ = _train(learnable, epochs=1)
    one, other = (score(model, learnable, batch_size=b, max_tokens=t).predictions for b, t in ((5, 4096), (96, 40)))
    assert one == other
    assert len(one) == len(learnable)


@pytest.mark.parametrize(("steps", "fraction"), [(10, 0.1), (10, 0.0), (7, 1.0), (1, 0.1), (100, 0.25)])
def test_the_rate_warms_up_to_its_peak_and_decays(steps: int, fraction: float) -> None:
    factor = warmup_then_decay(steps, fraction)
    values = [factor(step) for step in range(steps)]
    assert max(values) == 1
    assert min(values) > 0
    peak = values.index(1)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert factor(steps) == 0 or fraction == 1


def test_bf16_keeps_the_trained_parameters_in_float32(learnable: Encoded) -> None:
    model = AdaptedModel(tiny_backbone(precision="bf16"), BottleneckSpec(8, layer_norms="all"), 2, 0)
    train(model, learnable, TrainSpec(1, 1e-2, 16))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in model.backbone.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("family", "precision"), [("bert", "bf16"), ("gpt2", "fp32"), ("llama", "fp32")])
def test_tags_are_learnt_on_encoders_and_decoders(family: str, precision: str) -> None:
    """A word of an odd token begins an entity; every third token is no word's first."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(10, 22, (3 + i % 7,), generator=generator).tolist() for i in range(96)]
    firsts = tuple(tuple(at for at in range(len(row)) if at % 3 != 2) for row in rows)
    labels = tuple(tuple(token % 2 if at % 3 != 2 else IGNORED for at, token in enumerate(row)) for row in rows)
    split = EncodedTexts(tuple(map(tuple, rows)), labels, 0, problem=Tokens(("x",), firsts))
    model = AdaptedModel(tiny_backbone(family, precision=precision), BottleneckSpec(16), 3, 0, per_token=True)
    train(model, split, TrainSpec(12, 2e-2, 8))
    found = score(model, split, batch_size=32, max_tokens=4096).predictions
    true = [
        tuple((word, word, "x") for word, at in enumerate(own) if row[at] % 2)
        for row, own in zip(rows, firsts, strict=True)
    ]
    assert sum(len(set(a) & set(b)) for a, b in zip(found, true, strict=True)) > 0.85 * sum(map(len, true))
    assert sum(map(len, found)) < 1.1 * sum(map(len, true))
