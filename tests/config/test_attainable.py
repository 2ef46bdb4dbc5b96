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


LOCAL = ["task=local", "task.text=a", "task.label=b"]
FILE = [*LOCAL, "task.path=x.csv"]
SPOKEN = [*LOCAL, "task.path={de: x.csv, fr: y.csv}"]


@pytest.mark.parametrize(
    ("objective", "task", "told"),
    [
        ("f1", [], "trials of this task have no such score; allowed: accuracy"),
        ("accuracy", ["task.type=regression"], None),
        ("spearman", ["task.type=regression"], None),
        ("pearson", ["task.type=regression"], None),  # a second score of the type
        ("entity_f1", ["task.type=regression"], "trials of this task have no such score; allowed: accuracy, pearson"),
        ("macro_f1", ["task.metric=f1"], "trials of this task have no such score; allowed: accuracy, f1"),
        ("test_accuracy", [], "the test split is read by confirm alone; allowed: accuracy"),
        ("accuracy_de", [], "no score of a language that trials have; the data have none"),
    ],
)
def test_a_score_that_the_task_does_not_have_is_refused(objective: str, task: list[str], told: str | None) -> None:
    given = [*FILE, *task, f"+objectives.{objective}=maximize" if objective != "accuracy" else "train.epochs=1"]
    if told is None:
        assert objective in compose(given).config.objectives
    else:
        assert problem(*given).startswith(f"objectives.{objective}: {told}")


def test_only_languages_that_are_named_have_a_score() -> None:
    assert "accuracy_fr" in compose([*SPOKEN, "+objectives.accuracy_fr=maximize"]).config.objectives
    told = "no score of a language that trials have; task.metric=accuracy has: accuracy_de, accuracy_fr"
    for objective in ("accuracy_it", "macro_f1_de"):
        assert problem(*SPOKEN, f"+objectives.{objective}=maximize") == f"objectives.{objective}: {told}"
    column = [*FILE, "task.language=lang"]  # whose languages only the data know
    assert "accuracy_it" in compose([*column, "+objectives.accuracy_it=maximize"]).config.objectives
    assert "task.metric alone, which is accuracy" in problem(*column, "+objectives.macro_f1_it=maximize")


def test_several_configurations_of_the_hub_are_languages() -> None:
    for name, configs in (("accuracy_de", "[de,fr]"), (None, "[de]"), (None, "de")):
        given = ["task=xnli", f"task.config={configs}", "+objectives.accuracy_de=maximize"]
        if name:
            assert name in compose(given).config.objectives
        else:
            assert "the data have none" in problem(*given)


def test_the_engine_merges_what_the_configuration_says_it_does() -> None:
    sizes = {"bottleneck": {"width": 2}, "parallel": {"width": 2}, "lora": {"rank": 2}}
    sizes |= {"prefix": {"length": 2}, "prompt": {"length": 2}}
    specs = {method: spec_of(method, sizes.get(method, {})) for method in METHODS}
    assert len(specs) == len(METHOD_CLASSES)
    merging = {m for m, spec in specs.items() if AdaptedModel(tiny_backbone(), spec, 2, seed=0).merges}
    assert merging == set(MERGING)
