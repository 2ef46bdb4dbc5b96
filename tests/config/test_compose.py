"""Composing: what ships composes, what is wrong is named at once, the user's own files come first."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from adapter_sweep.config.compose import compose
from adapter_sweep.config.loading import options
from adapter_sweep.config.space import Choices, IntRange
from adapter_sweep.errors import UserInputError

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SHIPPED = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml") if path.parent != CONF)
SWEEPS = sorted(path.relative_to(ROOT / "sweeps").with_suffix("") for path in (ROOT / "sweeps").rglob("*.yaml"))


def problems(*overrides: str, **options_: object) -> tuple[str, ...]:
    with pytest.raises(UserInputError) as caught:
        compose(list(overrides), **options_)  # type: ignore[arg-type]
    return caught.value.problems


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the repository: its sweeps would be the user's own there."""
    monkeypatch.chdir(tmp_path)


# -- what ships


def test_everything_that_ships_is_found() -> None:
    assert {path.parts[0] for path in SHIPPED} == {
        "backbone",
        "task",
        "method",
        "train",
        "latency",
        "workers",
        "tracking",
    }
    assert [str(path) for path in SWEEPS] == options("sweep")
    assert all(path.name in options(path.parts[0]) for path in SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_every_file_in_conf_composes_and_holds_every_key(path: Path) -> None:
    group, name = path.parts
    raw = OmegaConf.to_container(OmegaConf.load(CONF / f"{path}.yaml"))
    assert isinstance(raw, dict)
    whole = "defaults" not in raw
    raw.pop("defaults", None)
    # Columns are null where a task's type has usual ones, and so is the metric, for the type's first.
    columns = ("text", "label") if path in (Path("task/local"), Path("task/hub")) else ()
    open_ = {key for key, value in raw.items() if value == "???" or key in columns}
    section = compose([f"{group}={name}", *(f"{group}.{key}=given_{key}" for key in sorted(open_))]).values[group]
    assert section.keys() == raw.keys() if whole else section.keys() > raw.keys()
    assert {key: section[key] for key in raw.keys() - open_ if raw[key] is not None or key != "metric"} == {
        key: value for key, value in raw.items() if key not in open_ and (value is not None or key != "metric")
    }
    assert all(section[key] == f"given_{key}" for key in open_)


@pytest.mark.parametrize("path", SWEEPS, ids=str)
def test_every_sweep_composes_and_searches_something(path: Path) -> None:
    composed = compose([f"sweep={path}"])
    raw = OmegaConf.load(ROOT / "sweeps" / f"{path}.yaml")
    assert composed.space.keys() == dict(raw.search_space).keys()
    assert composed.sweep == str(path)
    assert composed.config.study.n_trials == raw.study.n_trials


def test_a_sweeps_task_gives_way_to_the_users() -> None:
    composed = compose(["task=questions"], default_sweep="quickstart")
    assert composed.config.task.name == "questions"
    assert composed.config.task.max_train_examples == 1200


# -- what is wrong


def test_all_problems_are_reported_at_once() -> None:
    assert problems("method.width=0", "train.lr=-1", "train.epoch=3", "study.sampler=best") == (
        "method.width=0: input should be greater than or equal to 1",
        "train.lr=-1: input should be greater than 0",
        "train.epoch=3: there is no such key; did you mean epochs?",
        "study.sampler='best': allowed: 'tpe', 'nsga2', 'gp', 'random' or 'grid'",
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("zzz=1", "zzz=1: there is no such key; there are: backbone, task, method, train"),
        ("method.zzz=1", "method.zzz=1: there is no such key; there are: kind, width, placement"),
        (
            "method.kind=dora",
            "method.kind='dora': allowed: 'bottleneck', 'parallel', 'lora', 'ia3', 'prefix', 'prompt'",
        ),
        ("method=dora", "method=dora: there is no such method; did you mean lora? allowed: bitfit, bottleneck, full"),
        ("bugdet.max_latency_ratio=2", "bugdet={'max_latency_ratio': 2}: there is no such key; did you mean budget?"),
        ("backbone.path=x", "backbone.path='x': there is no such key; there are: kind, pooling, attention"),
        ("train.epochs=1.5", "train.epochs=1.5: input should be a valid integer"),
        ("train.epochs=few", "train.epochs='few': input should be a valid integer"),
        ("train.epochs=true", "train.epochs=True: input should be a number"),
        ("train.lr=nan", "train.lr=nan: input should be a finite number"),
        ("train.device=gpu", "train.device='gpu': must match ^(auto|cpu|cuda"),
        ("method.placement=null", "method.placement=None: allowed: 'post_attention', 'post_ffn' or 'both'"),
        ("study.name=../elsewhere", "study.name='../elsewhere': must match"),
        ("study.name=.hidden", "study.name='.hidden': must match"),
        (f"study.name={'x' * 101}", "must match"),
        ("study.name=2024", "study.name=2024: input should be a valid string; quote it, in the shell as study.name="),
        ("task.kind=remote", "task.kind='remote': allowed: 'builtin', 'local', 'images', 'hub'"),
        ("objectives.speed=maximize", "objectives={'accuracy': 'maximize'"),
        ("objectives.accuracy=up", "objectives.accuracy='up': allowed: 'maximize' or 'minimize'"),
        ("~objectives.speed", "objectives.speed"),
        ("results_dir=null", "results_dir=None: input should be a valid string"),
        ("train=fast", "train=fast: there is no such train; allowed: default"),
        ("task=movie", "task=movie: there is no such task; did you mean movies? allowed: amazon, "),
        ("task=007", "task=007: there is no such task"),
        ("task=movies,tweets", "task=movies,tweets: a group cannot be a range; allowed: amazon"),
        ("sweep=nosuch", "there is no such sweep; allowed: methods, quickstart, search, tasks, width_placement_lr"),
        ("sweep=../sweeps/quickstart", "there is no such sweep"),
        ("task@train=movies", "leave out @train"),
        ("~method.width", "'~method.width': a key cannot be deleted"),
        ("~objectives", "a key cannot be deleted"),
        ("hydra.run.dir=x", "Hydra only composes here"),
        ("hydra/launcher=basic", "Hydra only composes here"),
        ("search_space.method.width=8", "set the range of a key by the key itself"),
        ("method.width", "expected key=value"),
        ("=3", "expected key=value"),
        ("method.width=${nowhere}", "nowhere"),
        ("method.width=${oc.env:ADAPTER_SWEEP_NO_SUCH_VARIABLE}", "ADAPTER_SWEEP_NO_SUCH_VARIABLE"),
    ],
)
def test_a_problem_names_the_key_the_value_and_what_is_allowed(override: str, problem: str) -> None:
    (found,) = problems(override)
    assert problem in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "must be a column, or a list of columns"),
        ("[a,b,c]", "must be one column, or a list of one or two"),
        ("''", "must be a column, or a list of columns"),
    ],
)
def test_text_columns_are_one_or_two(text: str, problem: str) -> None:
    found = problems("task=local", "task.path=x.csv", "task.label=y", f"task.text={text}")
    assert len(found) == 1
    assert problem in found[0]


def test_what_the_user_has_to_give_is_asked_for() -> None:
    assert problems("task=local", "backbone=hub", "task.metric=f2") == (
        "backbone.name: missing; give it as backbone.name=VALUE",
        "backbone.revision: missing; give it as backbone.revision=VALUE",
        "task.path: missing; give it as task.path=VALUE",
        "task.metric='f2': allowed: 'accuracy', 'macro_f1', 'f1' or 'matthews' for classification",
        "task.text: missing; give it as task.text=VALUE",
        "task.label: missing; give it as task.label=VALUE",
    )


def test_what_is_wrong_beside_a_wrong_group_is_told_too() -> None:
    found = problems("task=movie", "task.path=x", "method.widht=8", "train.epochs=0", "method.width")
    assert [text.split(":")[0] for text in found] == [
        "'method.width'",
        "task=movie",
        "method.widht=8",
        "train.epochs=0",
    ]


def test_wrong_overrides_are_all_named() -> None:
    assert len(problems("a b=1", "method.width", "task=movie", "~train.lr")) == 4
    assert len(problems("task=movie", "backbone=bert", "sweep=grid")) == 3


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"(method|train|task|study|objectives)\.[a-z_.]{1,12}=.{0,20}"))
def test_any_text_is_a_valid_override_or_a_problem(text: str) -> None:
    with contextlib.suppress(UserInputError):
        compose([text])


@pytest.mark.parametrize("key", ["train.epochs", "train.lr", "study.name", "task.max_train_examples", "tracking.uri"])
@settings(max_examples=15, deadline=None)
@given(value=st.text(max_size=12) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["[1]", "{a:1}"]))
def test_any_value_is_valid_or_a_problem(key: str, value: str) -> None:
    with contextlib.suppress(UserInputError):
        compose([f"{key}={value}"])


# -- the command line and the search space


def test_a_range_on_the_command_line_replaces_that_of_the_sweep() -> None:
    space = compose(["method.width=choice(8,64,256)"], default_sweep="quickstart").space
    assert space["method.width"] == Choices((8, 64, 256))
    assert space.keys() == {"method.width", "method.placement", "train.lr"}


def test_a_fixed_value_takes_its_key_out_of_the_search_space() -> None:
    composed = compose(["method.width=32", "++train.lr=1e-3"], default_sweep="quickstart")
    assert composed.space.keys() == {"method.placement"}
    assert composed.config.search_space.keys() == {"method.placement"}
    assert composed.values["method"]["width"] == 32
    assert composed.fixed() == {"method.width": 32, "train.lr": 1e-3}


def test_a_method_takes_the_ranges_of_other_methods_keys_out_of_the_search_space() -> None:
    composed = compose(["method=head"], default_sweep="quickstart")
    assert composed.space.keys() == composed.config.search_space.keys() == {"train.lr"}
    assert composed.values["method"] == {"kind": "head"}
    assert composed.fixed() == {"method": "head"}
    kept = compose(["method=bottleneck"], default_sweep="quickstart")
    assert kept.space.keys() == {"method.width", "method.placement", "train.lr"}


def test_a_key_that_the_method_has_not_is_told_where_the_user_gives_it() -> None:
    assert problems("method=head", "method.width=8") == ("method.width=8: there is no such key; there are: kind",)
    (problem,) = problems("method=head", "method.width=choice(8,64)", default_sweep="quickstart")
    assert problem.startswith("search_space.method.width: this key cannot be searched; allowed: train.epochs, ")


def test_a_sweep_can_choose_the_method(tmp_path: Path) -> None:
    text = "defaults:\n  - override /method: head\nsearch_space:\n  train.lr: choice(1e-3, 1e-2)\n"
    put(tmp_path / "sweeps" / "heads.yaml", text)
    assert compose(["sweep=heads"]).values["method"] == {"kind": "head"}
    put(tmp_path / "sweeps" / "wrong.yaml", text + "  method.width: choice(8, 64)\n")
    (problem,) = problems("sweep=wrong")
    assert problem.startswith("search_space.method.width: this key cannot be searched")


def test_a_sweep_lists_layers_as_yaml(tmp_path: Path) -> None:
    text = "method:\n  layers: [1, 0]\nsearch_space:\n  train.lr: choice(1e-3, 1e-2)\n"
    put(tmp_path / "sweeps" / "low.yaml", text)
    assert compose(["sweep=low"]).values["method"]["layers"] == "[0,1]"
    put(tmp_path / "sweeps" / "depth.yaml", "search_space:\n  method.layers: choice(all, top:1, [0, 1], [4, 5])\n")
    assert compose(["sweep=depth"]).space == {"method.layers": Choices(("all", "top:1", "[0,1]", "[4,5]"))}


def test_a_range_on_a_key_that_the_sweep_does_not_search_joins() -> None:
    space = compose(["train.seed=range(0,3)"], default_sweep="quickstart").space
    assert space["train.seed"] == IntRange(0, 2)
    assert len(space) == 4


def test_of_two_overrides_for_a_key_the_last_holds() -> None:
    fixed = compose(["method.width=8,64", "method.width=32", "task=tweets", "task=questions"])
    assert fixed.space == {}
    assert fixed.values["method"]["width"] == 32
    assert fixed.config.task.name == "questions"
    searched = compose(["method.width=32", "method.width=8,64"])
    assert searched.space == {"method.width": Choices((8, 64))}
    assert searched.overrides == ()


@pytest.mark.parametrize(
    "key", ["method.kind", "train.threads", "train.device", "study.n_trials", "latency.pairs", "task.name"]
)
def test_what_is_no_setting_of_a_trial_cannot_be_searched(key: str) -> None:
    (problem,) = problems(f"{key}=choice(1,2)")
    assert problem.startswith(f"search_space.{key}: this key cannot be searched; allowed: method.width, ")


@pytest.mark.parametrize("key", ["method.widht", "method.width.x", "train.lr.x.y"])
def test_an_unknown_key_cannot_be_searched_and_what_is_near_is_named(key: str) -> None:
    (problem,) = problems(f"{key}=choice(1,2)")
    assert "did you mean " in problem


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("method.width=int(interval(0,8))", ["search_space.method.width=0: input should be greater than"]),
        ("method.width=int(interval(8,100000))", ["search_space.method.width=100000: input should be less than"]),
        ("method.width=interval(4,8)", ["search_space.method.width=5.47"]),
        ("method.width=choice(8,big)", ["search_space.method.width='big': input should be a valid integer"]),
        ("method.width=choice(8,true)", ["search_space.method.width=True: input should be a number"]),
        ("method.placement=choice(both,all)", ["search_space.method.placement='all': allowed: 'post_attention'"]),
        ("train.lr=interval(-1,20)", ["search_space.train.lr=-1.0: ", "search_space.train.lr=20.0: "]),
    ],
)
def test_the_ends_of_a_range_are_checked_against_the_schema(override: str, found: list[str]) -> None:
    given_ = problems(override)
    assert len(given_) == len(found)
    assert all(problem.startswith(start) for problem, start in zip(given_, found, strict=True))


def test_the_grid_sampler_wants_points() -> None:
    (problem,) = problems("study.sampler=grid", "train.lr=interval(1e-4,1e-2)")
    assert problem.startswith("search_space.train.lr: the grid sampler needs choice")
    (problem,) = problems("study.sampler=grid", "train.seed=range(0,1000000)", "method.width=range(1,60000)")
    assert problem.startswith("search_space: 59,999,000,000 points are too many")


def test_for_a_trial_a_sweep_is_one_configuration() -> None:
    composed = compose(["sweep=quickstart"]).for_trial()
    assert composed.space == {}
    assert composed.values["search_space"] == {}


def test_the_overrides_reproduce_the_configuration() -> None:
    first = compose(
        ["task=tweets", "+method.width=8", "method.layers=[0,1]", "train.lr=1e-3,1e-2", "~objectives.latency_ratio"]
    )
    again = compose([*first.overrides, "train.lr=1e-3"])
    assert (again.values["method"]["width"], again.values["method"]["layers"]) == (8, "[0,1]")
    assert list(again.config.objectives) == ["accuracy", "trainable_params"]


def test_values_are_canonical_however_they_are_written() -> None:
    assert (
        compose(["train.epochs=3.0", "train.lr='0.01'"]).values == compose(["train.epochs=3", "train.lr=1e-2"]).values
    )


# -- the user's own files


def test_the_users_conf_is_searched_first(tmp_path: Path) -> None:
    mine = tmp_path / "my conf, 50% (new)='x'"
    put(
        mine / "train" / "default.yaml", (CONF / "train" / "default.yaml").read_text().replace("epochs: 3", "epochs: 7")
    )
    put(mine / "task" / "mine.yaml", "kind: local\npath: a.csv\ntext: t\nlabel: l\n")
    composed = compose(["task=mine"], config_dir=mine)
    assert composed.config.train.epochs == 7
    assert composed.values["task"] | {"name": "local", "metric": "accuracy"} == composed.values["task"]
    assert "mine" in options("task", mine)
    assert "mine" not in options("task")


def test_a_users_config_yaml_shadows_the_shipped_one(tmp_path: Path) -> None:
    shipped = (CONF / "config.yaml").read_text()
    put(tmp_path / "mine" / "config.yaml", shipped.replace("results_dir: results ", "results_dir: elsewhere "))
    assert compose([], config_dir=tmp_path / "mine").config.results_dir == "elsewhere"
    assert compose([]).config.results_dir == "results"


def test_sweeps_of_the_config_dir_come_before_those_here_before_the_shipped(tmp_path: Path) -> None:
    text = "search_space:\n  method.width: choice({})\n"
    assert compose([], default_sweep="quickstart").space.keys() > {"method.width"}
    put(tmp_path / "sweeps" / "quickstart.yaml", text.format("1, 2"))
    assert compose([], default_sweep="quickstart").space == {"method.width": Choices((1, 2))}
    put(tmp_path / "mine" / "sweeps" / "quickstart.yaml", text.format("3, 4"))
    assert compose(["sweep=quickstart"], config_dir=tmp_path / "mine").space == {"method.width": Choices((3, 4))}
    assert compose(["sweep=quickstart"]).space == {"method.width": Choices((1, 2))}


@pytest.mark.parametrize("name", ["007", "true", "null", "my sweep", "a=b", "a(b)", "it's", "größe"])
def test_a_sweep_can_have_any_name(tmp_path: Path, name: str) -> None:
    put(tmp_path / "sweeps" / f"{name}.yaml", "study:\n  n_trials: 5\nsearch_space:\n  method.width: choice(1, 2)\n")
    quoted = "sweep='" + name.replace("'", "\\'") + "'"
    composed = compose([quoted])
    assert composed.sweep == name
    assert composed.config.study.n_trials == 5
    assert compose(list(composed.overrides)).sweep == name


@pytest.mark.parametrize("text", ["007", "true", "null"])
def test_a_sweeps_name_is_text_without_quotation_marks_too(tmp_path: Path, text: str) -> None:
    put(tmp_path / "sweeps" / f"{text}.yaml", "search_space:\n  method.width: choice(1, 2)\n")
    assert compose([f"sweep={text}"]).sweep == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("study: [", "not valid YAML: while parsing"),
        ("- a\n- b\n", "a sweep is a mapping with search_space, study, …; this is a list"),
        ("just text", "just text=None: there is no such key"),
        ("a: ${b\n", "sweeps/mine.yaml"),
        ("studdy:\n  n_trials: 3\n", "did you mean study?"),
        ("study:\n  n_trails: 3\n", "study.n_trails=3: there is no such key; did you mean n_trials?"),
        ("method.width: 8\n", "method.width=8: there is no such key"),
        ("search_space: [a]\n", "sweeps/mine.yaml: search_space is a mapping, key: value; not a list"),
        ("search_space:\n  method.width: 8\n", "search_space.method.width='8': not a range; allowed: choice(a, b)"),
        ("search_space:\n  method:\n    width: choice(1, 2)\n", "each range goes by its whole key, e.g. method.width"),
        ("1: 2\n", "1"),
        ("defaults:\n  - override /task: movie\n", "movie"),
    ],
)
def test_a_wrong_sweep_file_is_a_problem(tmp_path: Path, text: str, problem: str) -> None:
    put(tmp_path / "sweeps" / "mine.yaml", text)
    assert problem in "\n".join(problems("sweep=mine"))


def test_a_sweep_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path / "sweeps" / "mine.yaml", "").write_bytes(b"study:\n  name: \xff\n")
    assert "sweeps/mine.yaml: not valid YAML" in problems("sweep=mine")[0]


def test_a_conf_file_that_is_broken_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "task" / "odd.yaml", "kind: [\n")
    assert problems("task=odd", config_dir=tmp_path / "mine")
    put(tmp_path / "mine" / "task" / "bare.yaml", "name: x\n")
    assert problems("task=bare", config_dir=tmp_path / "mine") == ("task.kind: missing; give it as task.kind=VALUE",)


def test_a_config_dir_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert problems(config_dir=tmp_path / "gone") == (f"--config-dir={tmp_path / 'gone'}: no such directory",)
