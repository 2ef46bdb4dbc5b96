from pathlib import Path

import pytest

from adapter_sweep.bench import Bench
from adapter_sweep.cli.identity import definition, reproducing
from adapter_sweep.config.compose import compose
from toy_bench import toy_bench


@pytest.fixture
def bench(tiny_bert: Path) -> Bench:
    return toy_bench(tiny_bert)


@pytest.mark.parametrize("single", [True, False])
def test_a_definition_holds_what_auto_came_to(bench: Bench, single: bool) -> None:
    composed = compose(["sweep=quickstart", "backbone.attention=auto"])
    facts = definition(composed, bench, single=single)
    assert (facts["precision"], facts["attention"]) == ("fp32", "eager")
    bench.backbone.use_attention("sdpa")
    assert definition(composed, bench, single=single) == {**facts, "attention": "sdpa"}


def test_a_command_that_repeats_a_trial_forces_what_auto_came_to(bench: Bench) -> None:
    forced = ("train.precision=fp32", "backbone.attention=eager")
    assert reproducing(compose(["task=tweets", "study.n_trials=3"]), bench) == ("task=tweets", *forced)
    auto = compose(["train.precision=auto", "task=tweets", "backbone.attention=auto"])
    assert reproducing(auto, bench) == ("task=tweets", *forced)
    assert compose(list(forced)).config.backbone.attention == "eager"
