import pytest
import torch

from adapter_sweep.engine import peak as peak_module
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, MethodSpec
from adapter_sweep.engine.methods import FullSpec, HeadSpec, LoraSpec, PrefixSpec
from adapter_sweep.engine.peak import largest_batch, peak_train_memory
from adapter_sweep.engine.training import TrainSpec
from families import some_split, tiny_backbone

SPEC = TrainSpec(epochs=3, lr=1e-3, batch_size=8)
METHODS: list[MethodSpec] = [HeadSpec(), BottleneckSpec(8), LoraSpec(4), PrefixSpec(3), FullSpec()]


def _model(spec: MethodSpec, precision: str = "fp32") -> AdaptedModel:
    return AdaptedModel(tiny_backbone(precision=precision), spec, 3, seed=0)


def peak_of(model: AdaptedModel, spec: TrainSpec = SPEC) -> int:
    peak = peak_train_memory(model, some_split(), spec)
    assert peak is not None
    return peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: type(spec).__name__)
def test_two_small_steps_tell_what_the_whole_one_takes(spec: MethodSpec, precision: str) -> None:
    model, split = _model(spec, precision), some_split()
    whole = max(peak_module._held(model, split, largest_batch(split, SPEC), SPEC))
    assert peak_train_memory(model, split, SPEC) == whole
    assert peak_train_memory(model, split, SPEC) == whole


def test_at_least_weights_gradients_and_moments_are_held() -> None:
    model = _model(FullSpec())
    frozen = sum(p.nbytes for p in model.backbone.model.parameters())
    assert peak_of(model) > frozen + 16 * model.count_params().total


def test_more_rows_longer_texts_and_more_that_is_trained_take_more() -> None:
    peaks = [peak_of(_model(spec)) for spec in (HeadSpec(), BottleneckSpec(8), FullSpec())]
    assert peaks == sorted(set(peaks))
    wide = TrainSpec(epochs=1, lr=1e-3, batch_size=32)
    assert peak_of(_model(BottleneckSpec(8)), wide) > peaks[1]
    bounded = TrainSpec(epochs=1, lr=1e-3, batch_size=8, max_tokens=24)
    assert peak_of(_model(BottleneckSpec(8)), bounded) < peaks[1]


def test_the_largest_batch_is_of_the_longest_texts_within_the_bounds() -> None:
    split = some_split()
    lengths = sorted((len(ids) for ids in split.ids), reverse=True)
    assert [len(split.ids[row]) for row in largest_batch(split, SPEC)] == lengths[:8]
    assert len(largest_batch(split, TrainSpec(1, 1e-3, 8, max_tokens=3 * lengths[0] + 1))) == 3
    assert len(largest_batch(split, TrainSpec(1, 1e-3, 8, max_tokens=1))) == 1


def test_a_model_is_left_as_it_was() -> None:
    model = _model(BottleneckSpec(8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    peak_train_memory(model, some_split(), SPEC)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_step_that_does_not_fit_has_no_number() -> None:
    """Training would go on in smaller parts, whose memory is not that of the whole."""
    model, split = _model(BottleneckSpec(8)), some_split()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fits = False

    def limited(_module: object, _args: object, output: torch.Tensor) -> None:
        if len(output) > 1 and not fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    last = model.backbone.model.get_submodule(model.backbone.layout.layers[-1].sites["post_ffn"])
    last.register_forward_hook(limited)
    assert peak_train_memory(model, split, SPEC) is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fits = True
    assert peak_train_memory(model, split, SPEC) is not None
