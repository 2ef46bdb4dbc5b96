"""A configuration is data: no value of it runs code, and no secret of the environment gets into what is recorded."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_sweep.config.compose import compose
from adapter_sweep.errors import UserInputError

_SPACE = "search_space: {method.width: 'choice(8,16)'}\n"


@pytest.fixture
def sprung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Is made by importing `evil_package`, and by what the configurations here would run."""
    package = tmp_path / "evil_package"
    package.mkdir()
    (package / "__init__.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    (package / "config.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "sprung"


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "own"

    return write


_RUN = "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['sprung']]"


@pytest.mark.parametrize(
    ("name", "text", "overrides"),
    [
        ("config.yaml", "hydra: {searchpath: ['pkg://evil_package']}\n", []),
        ("config.yaml", f"study: {_RUN}\n", []),
        ("sweeps/x.yaml", "hydra: {searchpath: ['pkg://evil_package']}\n" + _SPACE, ["sweep=x"]),
        ("sweeps/x.yaml", "defaults: ['pkg://evil_package/config']\n" + _SPACE, ["sweep=x"]),
        ("sweeps/x.yaml", "defaults: [{override /hydra/launcher: evil_package}]\n" + _SPACE, ["sweep=x"]),
        ("sweeps/x.yaml", f"search_space: {_RUN}\n", ["sweep=x"]),
        ("sweeps/x.yaml", "search_space: {_target_: evil_package.run}\n", ["sweep=x"]),
        ("method/x.yaml", "# @package hydra\nsearchpath: ['pkg://evil_package']\n", ["method=x"]),
        ("method/x.yaml", "_target_: evil_package.run\nkind: head\n", ["method=x"]),
        ("method/x.yaml", f"kind: {_RUN}\n", ["method=x"]),
        ("task/x.yaml", "kind: local\npath: {_target_: evil_package.run, a: [1]}\ntext: a\nlabel: b\n", ["task=x"]),
    ],
)
def test_a_configuration_of_ones_own_runs_no_code(
    name: str, text: str, overrides: list[str], own: Callable[[str, str], Path], sprung: Path
) -> None:
    with pytest.raises(UserInputError):
        compose(overrides, config_dir=own(name, text), default_sweep="quickstart")
    assert not sprung.exists()
    assert "evil_package" not in sys.modules


@pytest.mark.parametrize(
    "override",
    [
        *("hydra.searchpath=[pkg://evil_package]", "hydra/launcher=evil_package", "hydra.run.dir=x", "~hydra"),
        *(
            "+method._target_=evil_package.run",
            "_target_=evil_package.run",
            "+hydra.callbacks.a._target_=evil_package.a",
        ),
        *("study.name=${oc.decode:'!!python/name:evil_package.run'}", "study.name=${hydra:x}", "study.name=${evil:x}"),
        *("study.name=${oc.create:{_target_: evil_package.run}}", "sweep=pkg://evil_package/config", "sweep=../x"),
        *("method=../../etc/x", "task=/etc/passwd", "backbone@hydra=x"),
    ],
)
def test_an_override_runs_no_code(override: str, sprung: Path) -> None:
    with pytest.raises(UserInputError):
        compose([override], default_sweep="quickstart")
    assert not sprung.exists()
    assert "evil_package" not in sys.modules


def test_the_trap_works(sprung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    __import__("evil_package")
    monkeypatch.delitem(sys.modules, "evil_package")
    assert sprung.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HF_TOKEN", "hf_AbCdEfGhIjKlMnOpQr"),
        ("SOME_PASSWORD", "open sesame 7"),
        ("DATABASE", "postgresql://ann:s3cret-5@db/x"),
    ],
)
@pytest.mark.parametrize("key", ["task.path", "task.text", "task.label", "results_dir", "study.name", "task.separator"])
def test_no_secret_of_the_environment_gets_into_a_record(
    variable: str, value: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    task = {"task.path": "a.csv", "task.text": "a", "task.label": "b", key: f"${{oc.env:{variable}}}"}
    with pytest.raises(
        UserInputError, match=rf"{key}=\*\*\*: holds a password or a token.*study\.storage and tracking"
    ):
        compose(["task=local", *(f"{name}={text}" for name, text in task.items())], default_sweep="quickstart")


def test_an_address_with_a_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE", "postgresql://ann:s3cret-5@db/x")
    monkeypatch.setenv("FOLDER", "elsewhere")
    given = ["study.storage=${oc.env:DATABASE}", "results_dir=${oc.env:FOLDER}"]
    composed = compose(given, default_sweep="quickstart")
    assert composed.config.study.storage == "postgresql://ann:s3cret-5@db/x"
    assert composed.config.results_dir == "elsewhere"
    assert not any("s3cret" in text for text in composed.overrides)


@pytest.mark.parametrize(
    "value", ["'https://ann:s3cret@host/a.csv'", "hf_AbCdEfGhIjKlMnOpQr", "'s3://b/x?token=s3cret'"]
)
@pytest.mark.parametrize("key", ["task.path", "results_dir"])
def test_a_password_in_a_value_that_is_recorded_is_refused_and_not_told(key: str, value: str) -> None:
    given = {"task.path": "a.csv", "task.text": "a", "task.label": "b", key: value}
    with pytest.raises(UserInputError) as caught:
        compose(["task=local", *(f"{name}={text}" for name, text in given.items())], default_sweep="quickstart")
    assert "s3cret" not in str(caught.value)
    assert f"{key}=***" in str(caught.value)


@pytest.mark.parametrize("name", ["mlartifacts", "MLartifacts", "optuna.db", "mlflow.db", "mlflow.lock"])
def test_a_study_is_not_named_as_what_lies_beside_its_folder(name: str) -> None:
    with pytest.raises(UserInputError, match=rf"study\.name='{name}': one of ours .*allowed is any but"):
        compose([f"study.name={name}"], default_sweep="quickstart")


@pytest.mark.parametrize("key", ["results_dir", "task.path", "backbone.path"])
@pytest.mark.parametrize("text", ["a\\0b", "a\\nb", "a\\u202eb", "a\\u200bb"])
def test_paths_hold_no_characters_that_nobody_sees(key: str, text: str, own: Callable[[str, str], Path]) -> None:
    groups = {
        "task.path": ("task/x.yaml", f'kind: local\npath: "{text}"\ntext: a\nlabel: b\n', ["task=x"]),
        "backbone.path": ("backbone/x.yaml", f'kind: local\npath: "{text}"\n', ["backbone=x"]),
        "results_dir": ("sweeps/x.yaml", f'results_dir: "{text}"\n{_SPACE}', ["sweep=x"]),
    }
    name, content, overrides = groups[key]
    with pytest.raises(UserInputError, match=rf"{key}=.*control characters and invisible ones"):
        compose(overrides, config_dir=own(name, content), default_sweep="quickstart")
