"""Choosing between methods: whose every value and range is, and every message of what cannot be."""

from pathlib import Path

import pytest

from adapter_sweep.config import validate, with_params
from adapter_sweep.config.compose import compose
from adapter_sweep.config.naming import applying, key_of, named_params, overrides_of, owner_of, plain_params
from adapter_sweep.config.space import Choices, grid_points
from adapter_sweep.errors import UserInputError

BOTH = "method=choice(bottleneck,head)"
SWEEP = """
method:
  activation: relu
search_space:
  method: choice(bottleneck, head, narrow)
  method.width: choice(8, 16)
  train.lr: tag(log, interval(1e-4, 1e-2))
  narrow.method.width: choice(2, 4)
  head.train.lr: choice(0.01, 0.1)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own configuration: another option of a kind there is, and a sweep over methods."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "method/narrow.yaml": "defaults:\n  - bottleneck\n  - _self_\nwidth: 4\nplacement: post_ffn\n",
        "sweeps/methods.yaml": SWEEP,
    }.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mine"


def problems(*overrides: str, **options: object) -> tuple[str, ...]:
    with pytest.raises(UserInputError) as caught:
        compose(list(overrides), **options)  # type: ignore[arg-type]
    return caught.value.problems


# -- names


def test_a_name_tells_key_and_owner() -> None:
    assert (owner_of("lora.method.rank"), key_of("lora.method.rank")) == ("lora", "method.rank")
    assert (owner_of("my.own-one.train.lr"), key_of("my.own-one.train.lr")) == ("my.own-one", "train.lr")
    for plain in ("method", "method.rank", "train.lr", "method.width.x", "study.name"):
        assert (owner_of(plain), key_of(plain)) == (None, plain)


def test_a_range_of_its_own_comes_before_the_shared_one() -> None:
    names = ["method", "lora.method.rank", "train.lr", "full.train.lr"]
    assert applying(names, "full") == {"method": "method", "train.lr": "full.train.lr"}
    assert applying(names, "lora") == {"method": "method", "method.rank": "lora.method.rank", "train.lr": "train.lr"}
    for params in ({"method": "full", "train.lr": 1e-5}, {"method": "lora", "method.rank": 8, "train.lr": 1e-3}):
        assert plain_params(named_params(names, params)) == params
    assert named_params(names, {"method": "full", "train.lr": 1e-5}) == {"method": "full", "full.train.lr": 1e-5}


def test_values_of_other_methods_are_no_parameters() -> None:
    stored = {"method": "full", "lora.method.rank": 8, "train.lr": 1e-3, "full.train.lr": 1e-5}
    assert plain_params(stored) == {"method": "full", "train.lr": 1e-5}


# -- what is composed


def test_every_method_has_its_own_settings_and_ranges() -> None:
    composed = compose([BOTH, "bottleneck.method.width=choice(8,64)"], default_sweep="quickstart")
    assert list(composed.config.search_space) == [
        "method",
        "bottleneck.method.placement",
        "bottleneck.method.width",
        "train.lr",
    ]
    assert composed.space["method"] == Choices(("bottleneck", "head"))
    assert composed.space["bottleneck.method.width"] == Choices((8, 64))
    assert composed.values["methods"]["head"] == {"kind": "head"}
    assert composed.values["methods"]["bottleneck"] == composed.values["method"] == compose([]).values["method"]


def test_options_of_one_kind_keep_their_own_defaults(mine: Path) -> None:
    composed = compose(["method=choice(bottleneck,narrow)", "train.lr=1e-3,1e-2"], config_dir=mine)
    found = composed.values["methods"]
    assert (found["bottleneck"]["width"], found["narrow"]["width"]) == (64, 4)
    assert (found["bottleneck"]["placement"], found["narrow"]["placement"]) == ("both", "post_ffn")


def test_a_fixed_value_is_of_every_method_that_has_the_key() -> None:
    composed = compose([BOTH, "method.activation=relu", "train.lr=1e-3,1e-2"])
    assert composed.values["methods"]["bottleneck"]["activation"] == "relu"
    assert composed.values["methods"]["head"] == {"kind": "head"}


def test_a_method_can_have_a_fixed_value_of_its_own(mine: Path) -> None:
    given = ["method=choice(bottleneck,narrow,head)", "method.width=choice(8,16)", "train.lr=interval(1e-4,1e-2)"]
    composed = compose([*given, "narrow.method.width=2", "head.train.lr=3e-5"], config_dir=mine)
    assert composed.values["methods"]["narrow"]["width"] == 2
    assert composed.config.search_space == {
        "method": "choice(bottleneck,narrow,head)",
        "bottleneck.method.width": "choice(8,16)",
        "train.lr": "interval(1e-4,1e-2)",
        "head.train.lr": "choice(3e-5)",
    }
    assert composed.overrides == ("narrow.method.width=2",)


def test_a_sweep_can_choose_between_methods(mine: Path) -> None:
    composed = compose(["sweep=methods"], config_dir=mine)
    assert composed.config.search_space == {
        "method": "choice(bottleneck, head, narrow)",
        "bottleneck.method.width": "choice(8, 16)",
        "narrow.method.width": "choice(2, 4)",
        "train.lr": "tag(log, interval(1e-4, 1e-2))",
        "head.train.lr": "choice(0.01, 0.1)",
    }
    assert [own.get("activation") for own in composed.values["methods"].values()] == ["relu", None, "relu"]


@pytest.mark.parametrize(
    ("override", "space"),
    [
        ("method=head", {"train.lr": "choice(0.01, 0.1)"}),
        ("method=narrow", {"method.width": "choice(2, 4)", "train.lr": "tag(log, interval(1e-4, 1e-2))"}),
        (
            "method=choice(head,bottleneck)",
            {
                "method": "choice(head,bottleneck)",
                "bottleneck.method.width": "choice(8, 16)",
                "train.lr": "tag(log, interval(1e-4, 1e-2))",
                "head.train.lr": "choice(0.01, 0.1)",
            },
        ),
        ("method.width=32", {"method", "train.lr", "head.train.lr"}),
        ("train.lr=1e-3", {"method", "bottleneck.method.width", "narrow.method.width"}),
        (
            "head.train.lr=1e-3",
            {"method", "bottleneck.method.width", "narrow.method.width", "train.lr", "head.train.lr"},
        ),
    ],
)
def test_the_command_line_has_the_last_word(mine: Path, override: str, space: dict[str, str] | set[str]) -> None:
    found = compose(["sweep=methods", override], config_dir=mine).config.search_space
    assert (found if isinstance(space, dict) else set(found)) == space


def test_of_a_sweep_over_methods_a_trial_takes_the_first(mine: Path) -> None:
    trial = compose(["sweep=methods"], config_dir=mine).for_trial()
    assert (trial.config.method.kind, trial.config.methods, trial.space) == ("bottleneck", {}, {})
    head = compose(["sweep=methods", "method=head", "head.train.lr=0.5"], config_dir=mine).for_trial()
    assert head.values["method"] == {"kind": "head"}
    assert head.fixed() == {"method": "head", "train.lr": 0.5}


def test_a_trials_settings_are_its_methods(mine: Path) -> None:
    values = compose(["sweep=methods"], config_dir=mine).values
    config = validate(with_params(values, {"method.width": 2, "train.lr": 0.5, "method": "narrow"}))
    assert config.method.model_dump() | {"width": 2, "placement": "post_ffn"} == config.method.model_dump()
    assert config.train.lr == 0.5
    assert with_params(values, {"method": "head"})["method"] == {"kind": "head"}


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"method": "bottleneck", "method.width": 8}, ["sweep=m", "method.activation=relu", "train.epochs=1"]),
        ({"method": "narrow", "train.epochs": 3}, ["sweep=m", "method.activation=relu", "method.init_std=0.1"]),
        ({"method": "head"}, ["sweep=m", "train.epochs=1"]),
    ],
)
def test_a_trials_command_has_what_its_method_has(mine: Path, params: dict[str, object], kept: list[str]) -> None:
    methods = compose(["sweep=methods"], config_dir=mine).values["methods"]
    given = ["sweep=m", "method.activation=relu", "narrow.method.init_std=0.1", "train.epochs=1"]
    assert overrides_of(given, methods, params) == kept  # type: ignore[arg-type]
    assert overrides_of(given, {}, {}) == given


@pytest.mark.parametrize("first", ["narrow.method.width=2", "method.width=16"])
def test_in_a_trials_command_too_a_methods_own_value_comes_before_the_shared_one(mine: Path, first: str) -> None:
    given = sorted(["narrow.method.width=2", "method.width=16"], key=lambda text: text != first)
    composed = compose(["method=choice(bottleneck,narrow)", *given], config_dir=mine)
    for method, width in {"narrow": 2, "bottleneck": 16}.items():
        own = overrides_of(composed.overrides, composed.values["methods"], {"method": method})
        assert own == [f"method.width={width}"]
        assert composed.values["methods"][method]["width"] == width
        assert compose([*own, f"method={method}"], config_dir=mine).values["method"]["width"] == width


def test_every_grid_point_composes_again_as_one_trial(mine: Path) -> None:
    """What a trial's parameters say on the command line is what the study would have trained."""
    given = ["sweep=methods", "train.lr=choice(0.1,0.2)", "method.init_std=0.1", "study.sampler=grid"]
    composed = compose(given, config_dir=mine)
    points = grid_points(composed.space)
    assert len(points) == 2 * 2 + 2 + 2 * 2
    for point in points:
        own = overrides_of(composed.overrides, composed.values["methods"], point)
        trial = compose([*own, *(f"{key}={value}" for key, value in point.items())], config_dir=mine).for_trial()
        wanted = with_params(composed.values, point)
        assert {key: trial.values[key] for key in ("method", "train")} == {
            key: wanted[key] for key in ("method", "train")
        }


def test_without_a_choice_nothing_is_stored_otherwise() -> None:
    assert "methods" not in compose([], default_sweep="quickstart").values


# -- what is wrong


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (
            ["method=choice(bottleneck,haed)"],
            ["method=choice(bottleneck,haed): there is no such method as haed"],
        ),
        (["method=interval(1,2)"], ["method=interval(1,2): methods are chosen by name: method=choice("]),
        (["method=choice(head,head)"], ["search_space.method='choice(head,head)': the choices must be distinct"]),
        (["task=choice(movies,tweets)"], ["task=choice(movies,tweets): a group cannot be a range"]),
        ([BOTH, "method.wdith=3"], ["method.wdith=3: none of bottleneck, head has this key; did you mean width?"]),
        ([BOTH, "method.wdith=choice(3,4)"], ["search_space.method.wdith: none of bottleneck, head has this key"]),
        ([BOTH, "method.kind=head"], ["method.kind: every method has its own"]),
        ([BOTH, "method.activation=sine"], ["method.activation='sine': allowed: 'relu'"]),
        ([BOTH, "head.method.width=8"], ["method.width=8: there is no such key; there are: kind"]),
        (
            [BOTH, "head.method.width=choice(8,9)"],
            ["search_space.head.method.width: no key that head can"],
        ),
        ([BOTH, "head.train.device=cpu"], ["search_space.head.train.device: no key that head can"]),
        (
            [BOTH, "narrow.train.lr=choice(1,2)"],
            ["narrow.train.lr: narrow is not among the methods"],
        ),
        (
            [BOTH, "narrow.train.lr=1"],
            ["narrow.train.lr: narrow is not among the methods chosen; allowed: bottleneck, head"],
        ),
        (
            ["method=head", "bottleneck.method.width=8"],
            ["bottleneck.method.width: bottleneck is not among the methods"],
        ),
        (
            ["head.train.lr=1e-3"],
            ["head.train.lr: only a method that is chosen has ranges"],
        ),
        (
            [BOTH, "bottleneck.method.width=choice(0,8)"],
            ["search_space.bottleneck.method.width=0: input should be"],
        ),
        ([BOTH, "method.width=choice(0,8)"], ["search_space.bottleneck.method.width=0: input should be"]),
        ([BOTH, "head.train.lr=few"], ["search_space.head.train.lr='few': input should be a valid number"]),
        (
            [BOTH, "head.train.data_seed=null"],
            ["head.train.data_seed=null: a method's own value of train is a word"],
        ),
        ([BOTH, "train.lr=interval(-1,1)"], ["search_space.train.lr=-1.0: ", "search_space.train.lr=-0.26"]),
        (
            [BOTH, "method.width=range(4,8)", "study.sampler=gp"],
            ["study.sampler='gp': cannot learn ranges that one method alone has (bottleneck.method.width)"],
        ),
        (
            [BOTH, "method.width=interval(4,8)", "study.sampler=grid"],
            ["search_space.bottleneck.method.width=5.47"],
        ),
        ([BOTH, "train.lr=interval(0.1,1)", "study.sampler=grid"], ["search_space.train.lr: the grid sampler needs"]),
        (
            ["methods={head:{kind:head}}"],
            ["methods={'head': {'kind': 'head'}}: there is no such key; did you mean method?"],
        ),
        (["method=choice(bottleneck,haed)", "train.epochs=0"], ["method=choice(", "train.epochs=0: input should be"]),
    ],
)
def test_a_problem_names_the_method_the_key_and_what_is_allowed(overrides: list[str], found: list[str]) -> None:
    given = problems(*overrides)
    assert len(given) == len(found), given
    for problem, start in zip(given, found, strict=True):
        assert problem.startswith(start)


def test_gp_learns_what_all_methods_share() -> None:
    assert compose([BOTH, "train.lr=interval(1e-4,1e-2)", "study.sampler=gp"]).space.keys() == {"method", "train.lr"}


def test_a_trial_is_of_one_method() -> None:
    composed = compose([BOTH, "bottleneck.method.init_std=0.1", "train.lr=1e-3"])
    with pytest.raises(UserInputError) as caught:
        composed.for_trial()
    assert caught.value.problems == (
        f"{BOTH}: a trial takes one value for each key; to search a range use: adapter-sweep run",
        "bottleneck.method.init_std: a trial is of one method; give it as method=bottleneck method.init_std=…",
    )


def test_a_sweeps_own_mistakes_are_told(mine: Path) -> None:
    path = mine / "sweeps" / "wrong.yaml"
    for text, problem in {
        "search_space:\n  method: choice(head, lroa)\n": "search_space.method=choice(head, lroa): there is",
        "search_space:\n  method: choice(head)\n  lora.method.rank: choice(1, 2)\n": "lora.method.rank: lora is",
        "search_space:\n  method: choice(head)\n  method.width: choice(1, 2)\n": "search_space.method.width: none",
        "search_space:\n  head.train.lr: choice(1, 2)\n": "head.train.lr: only a method that is chosen",
        "method:\n  wdith: 8\nsearch_space:\n  method: choice(bottleneck, head)\n": "method.wdith=8: none of",
        "methods:\n  head:\n    kind: head\n": "methods={'head': {'kind': 'head'}}: there is no such key",
    }.items():
        path.write_text(text)
        (found,) = problems("sweep=wrong", config_dir=mine)
        assert found.startswith(problem)


def test_a_methods_own_file_is_checked_where_it_is_chosen(mine: Path) -> None:
    (mine / "method" / "odd.yaml").write_text("kind: head\nwidth: 8\n")
    (found,) = problems("method=choice(bottleneck,odd)", "train.lr=1e-3,1e-2", config_dir=mine)
    assert found == "method.width=8: there is no such key; there are: kind"
