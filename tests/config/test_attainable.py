"""An objective that some trials cannot have is refused before any."""

import pytest

from adapter_sweep.config.compose import compose
from adapter_sweep.config.methods import MERGING, METHOD_CLASSES
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.methods import METHODS, spec_of
from adapter_sweep.errors import UserInputError
from families import tiny_backbone

MERGED = "+objectives.merged_latency_ratio=minimize"
STOPPED = "+objectives.stopped_epoch=minimize"
STOPS = "train.early_stopping=2"


def problem(*overrides: str) -> str:
    with pytest.raises(UserInputError) as caught:
        compose(list(overrides))
    (found,) = caught.value.problems
    return found


def test_only_what_can_be_merged_has_a_merged_latency() -> None:
    told = "objectives.merged_latency_ratio: only methods that can be merged into the weights have it (lora, ia3); not "
    assert problem(MERGED) == f"{told}bottleneck"
    assert problem(MERGED, "method=choice(bottleneck,lora,head)") == f"{told}bottleneck, head"
    for method in ("lora", "choice(lora,ia3)"):
        assert "merged_latency_ratio" in compose([MERGED, f"method={method}"]).config.objectives


def test_only_early_stopping_has_an_epoch_where_it_stopped() -> None:
    told = "objectives.stopped_epoch: only with train.early_stopping set is there one"
    assert problem(STOPPED) == told
    both = "method=choice(lora,head)"
    assert problem(STOPPED, both, "lora.train.early_stopping=2") == f"{told}; not so for head"
    for stops in ([STOPS], ["train.early_stopping=choice(1,2)"], [both, STOPS], [both, "train.early_stopping=1,2"]):
        assert "stopped_epoch" in compose([STOPPED, *stops]).config.objectives


def test_the_engine_merges_what_the_configuration_says_it_does() -> None:
    sizes = {"bottleneck": {"width": 2}, "parallel": {"width": 2}, "lora": {"rank": 2}}
    sizes |= {"prefix": {"length": 2}, "prompt": {"length": 2}}
    specs = {method: spec_of(method, sizes.get(method, {})) for method in METHODS}
    assert len(specs) == len(METHOD_CLASSES)
    merging = {m for m, spec in specs.items() if AdaptedModel(tiny_backbone(), spec, 2, seed=0).merges}
    assert merging == set(MERGING)
