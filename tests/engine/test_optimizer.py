from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec
from adapter_sweep.engine.batches import epoch_batches
from adapter_sweep.engine.optimizer import FlatAdamW
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.engine.train_spec import TrainSpec, warmup_then_decay
from adapter_sweep.engine.training import train
from families import some_split, tiny_backbone

METHODS: list[MethodSpec] = [BottleneckSpec(8, init_std=0.1, layer_norms="all"), HeadSpec()]


def separate(
    model: nn.Module, lr: float, weight_decay: float
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """torch's AdamW over the parameters as they are, decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_decay(30, 0.2))


@pytest.mark.parametrize("method", METHODS, ids=["bottleneck", "head"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_thirty_steps_are_those_of_torchs_adamw_over_separate_parameters(
    method: MethodSpec, weight_decay: float, max_grad_norm: float
) -> None:
    backbone, split = tiny_backbone(), some_split()
    ours, theirs = (AdaptedModel(backbone, method, 3, seed=0) for _ in range(2))
    flat = FlatAdamW(
        ours, lr=3e-3, weight_decay=weight_decay, max_grad_norm=max_grad_norm, factor=warmup_then_decay(30, 0.2)
    )
    optimizer, schedule = separate(theirs, 3e-3, weight_decay)
    steps = 0
    for epoch in range(6):
        for batch in epoch_batches(split, batch_size=8, max_tokens=999, seed=0, epoch=epoch):
            steps += 1
            for model in (ours, theirs):
                (flat if model is ours else optimizer).zero_grad()
                logits = model(batch.inputs)
                nn.functional.cross_entropy(logits, batch.targets).backward()
            flat.step()
            if max_grad_norm:
                nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
            optimizer.step()
            schedule.step()
    assert steps == 30
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert float((own - other).detach().norm() / other.detach().norm()) < 1e-6, name


def test_while_it_lives_parameters_and_gradients_lie_side_by_side_and_afterwards_on_their_own() -> None:
    model = AdaptedModel(tiny_backbone(), METHODS[0], 3, seed=0)
    values = [p.detach().clone() for p in model.parameters()]
    flat = FlatAdamW(model, lr=1e-3, weight_decay=0.0, max_grad_norm=1.0, factor=lambda _: 1.0)

    def memories() -> set[int]:
        return {p.untyped_storage().data_ptr() for p in model.parameters()}

    count = len(values)
    assert len(memories()) == 2
    assert len({p.grad.untyped_storage().data_ptr() for p in model.parameters() if p.grad is not None}) == 2
    assert all(torch.equal(p, value) for p, value in zip(model.parameters(), values, strict=True))
    flat.release()
    assert len(memories()) == count
    for parameter, value in zip(model.parameters(), values, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
        assert parameter.grad is None
        assert parameter.requires_grad


def test_gradients_add_up_until_they_are_set_to_zero() -> None:
    model = AdaptedModel(tiny_backbone(), HeadSpec(), 3, seed=0)
    flat = FlatAdamW(model, lr=1e-3, weight_decay=0.0, max_grad_norm=0.0, factor=lambda _: 1.0)
    for expected in (1.0, 2.0):
        model.head.bias.sum().backward()
        assert model.head.bias.grad is not None
        assert model.head.bias.grad.tolist() == [expected] * 3
    flat.zero_grad()
    assert not model.head.bias.grad.any()


def test_a_trained_model_is_saved_and_trained_again(tmp_path: Path) -> None:
    model = AdaptedModel(tiny_backbone(), METHODS[0], 3, seed=0)
    for _ in range(2):
        train(model, some_split(), TrainSpec(1, 1e-3, 8))
        path = save_adapted(model, tmp_path, label_names=("a", "b", "c"))
        saved = load_file(path)
        assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())
        assert path.stat().st_size < 1.2 * 4 * model.count_params().total + 10_000


def test_after_an_error_the_parameters_have_memory_of_their_own() -> None:
    model = AdaptedModel(tiny_backbone(), METHODS[0], 3, seed=0)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, some_split(), TrainSpec(1, 1e-3, 8), on_step=stop)
    assert all(p.untyped_storage().nbytes() == p.nbytes and p.grad is None for p in model.parameters())
