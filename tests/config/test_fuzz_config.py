"""Whatever stands on the command line: a configuration, or a clean refusal."""

import math
from pathlib import Path

from hypothesis import strategies as st

from adapter_sweep.config.compose import compose
from adapter_sweep.config.section import RESERVED
from adapter_sweep.config.space import Choices, FloatRange, IntRange, grid_points, parse_dimension
from adapter_sweep.errors import UserInputError
from adapter_sweep.study.names import inside, study_folder
from fuzzing import fuzz

_KEYS = st.sampled_from(
    [
        *(
            "study.name",
            "study.n_trials",
            "study.storage",
            "study.tasks",
            "tracking.uri",
            "results_dir",
            "workers.count",
        ),
        *("method", "method.width", "method.layers", "lora.method.rank", "train.lr", "train.epochs", "train.device"),
        *("task", "task.path", "task.text", "task.label", "backbone", "backbone.path", "budget.max_latency_ratio"),
        *("objectives.accuracy", "objectives", "hydra.run.dir", "hydra/launcher", "search_space.method.width", "sweep"),
        *(
            "method._target_",
            "_target_",
            "nothing",
            "",
            ".",
            "study.",
            "a.b.c.d",
            "method@x",
            "+train.lr",
            "~study.name",
        ),
    ]
)
_NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 8, 10**400, 1e308]))
_WORDS = st.sampled_from(
    [
        *(
            "null",
            "true",
            "nan",
            "inf",
            "''",
            "[]",
            "{}",
            "[a,b]",
            "{a: 1}",
            "???",
            "../x",
            "/etc",
            "-x",
            "choice(8,64)",
        ),
        *(
            "${oc.env:HOME}",
            "${oc.env:NOTHING}",
            "${study.name}",
            "${results_dir}",
            "${hydra:x}",
            "${oc.decode:1}",
            "${",
        ),
        *("interval(1,2)", "tag(log,int(interval(4,256)))", "range(1,4)", "shuffle(1,2)", "glob(*)", "sort(3,1)"),
        *("local", "hub", "head", "bottleneck", "choice(head,lora)", "quickstart", "top:2", "{_target_: os.system}"),
    ]
)
_VALUES = st.one_of(_WORDS, _NUMBERS.map(str), st.text(max_size=20), st.text(max_size=12).map(lambda text: f"'{text}'"))
_OVERRIDES = st.lists(st.one_of(st.tuples(_KEYS, _VALUES).map("=".join), st.text(max_size=30)), max_size=4)


@fuzz(
    few=40,
    examples=[{"overrides": ["results_dir='a\0b'"]}, {"overrides": ["study.name=\ud800"]}, {"overrides": ["a=" * 300]}],
    overrides=_OVERRIDES,
)
def test_overrides_compose_or_are_refused(overrides: list[str]) -> None:
    try:
        composed = compose(overrides, default_sweep="quickstart")
    except UserInputError as error:
        assert all(problem.strip() for problem in error.problems)
        return
    name = composed.config.study.name
    assert name is None or study_folder(Path("r"), name).parent == Path("r")
    assert composed.config.results_dir.isprintable()


_ENDS = st.one_of(
    _NUMBERS.map(str), st.sampled_from(["1e-4", "0x1", "1_000", "a", "null", "true", "''", "nan", "-inf"])
)
_RANGES = st.recursive(
    st.one_of(
        st.lists(_ENDS, max_size=3).map(lambda ends: f"interval({','.join(ends)})"),
        st.lists(_ENDS, max_size=4).map(lambda ends: f"range({','.join(ends)})"),
        st.lists(st.one_of(_ENDS, _WORDS), max_size=4).map(lambda items: f"choice({','.join(items)})"),
        _WORDS,
    ),
    lambda inner: st.one_of(
        inner.map(lambda text: f"int({text})"),
        inner.map(lambda text: f"tag(log,{text})"),
        inner.map(lambda text: f"tag(log,log2,{text})"),
        inner.map(lambda text: f"float({text})"),
        inner.map(lambda text: f"shuffle({text})"),
        inner.map(lambda text: f"sort({text},reverse=true)"),
    ),
    max_leaves=3,
)


@fuzz(text=st.one_of(_RANGES, st.text(max_size=40)))
def test_a_range_is_sound_or_refused(text: str) -> None:
    try:
        dimension = parse_dimension("method.width", text)
    except UserInputError:
        return
    if isinstance(dimension, Choices):
        assert dimension.values
        return
    assert isinstance(dimension, IntRange | FloatRange)
    assert math.isfinite(dimension.low)
    assert math.isfinite(dimension.high)
    assert dimension.low <= dimension.high
    assert not dimension.log or dimension.low > 0
    try:
        points = grid_points({"method.width": dimension})
    except UserInputError:
        return
    assert {dimension.low} <= {point["method.width"] for point in points}


_NASTY = st.one_of(
    st.text(max_size=210),
    st.text(alphabet="./\\~-_ aA0:*?\0\n\u202e\u200b\u2024\uff0f", max_size=12),
    st.sampled_from(
        ["..", ".", "", "a/../../b", "/etc/passwd", "con", "MLARTIFACTS", "optuna.db.confirmed", "a" * 200]
    ),
)


@fuzz(name=_NASTY)
def test_a_name_of_a_ledger_stays_in_the_results_folder(name: str) -> None:
    results = Path("/somewhere/results")
    found = inside(results, name)
    assert found is None or (results in [found, *found.parents] and ".." not in found.parts)
    try:
        folder = study_folder(results, name)
    except UserInputError as error:
        assert repr(name) in str(error)
        return
    assert folder.parent == results
    assert name.isascii()
    assert name.casefold() not in RESERVED
    assert len(name) <= 110
