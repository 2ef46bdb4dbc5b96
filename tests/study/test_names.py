from pathlib import Path

import optuna
import pytest

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Direction
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.names import inside, study_folder

OBJECTIVES: dict[str, Direction] = {"accuracy": "maximize"}


@pytest.mark.parametrize(
    "name",
    [
        *("../elsewhere", "/etc", "a/b", "a\\b", ".", "..", "", ".hidden", "-rf", "a" * 101, "a\nb", "a\0b"),
        *(
            "\u0430dmin",
            "\ufb01le",
            "x\u200b",
            "e\u0301",
            "\u00e9",
            "mlartifacts",
            "OPTUNA.DB",
            "mlflow.db.confirmed",
            ".confirmed",
        ),
    ],
)
def test_a_foreign_study_gets_no_folder_outside(name: str) -> None:
    with pytest.raises(UserInputError, match="not a name that a folder is given here; allowed: at most 100 letters"):
        study_folder(Path("results"), name)


def test_a_study_of_ours_has_its_folder() -> None:
    for name in ("quickstart", "a", "A.b-c_1", "a" * 100, "quickstart.confirmed", "con"):
        assert study_folder(Path("results"), name) == Path("results", name)


def _start(tmp_path: Path, name: str) -> Ledger:
    return Ledger.start(
        name,
        url=f"sqlite:///{tmp_path / 'optuna.db'}",
        results_dir=tmp_path,
        definition={},
        objectives=OBJECTIVES,
        space={},
        sampler="random",
        seed=0,
    )


def test_a_ledger_that_says_otherwise_writes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    evil = optuna.create_study(study_name="../evil", storage=url)
    evil.set_user_attr("adapter_sweep:definition", {})
    with pytest.raises(UserInputError, match=r"study '\.\./evil': not a name"):
        Ledger.read("../evil", url=url, results_dir=tmp_path / "results")
    assert not (tmp_path / "evil").exists()


def test_two_studies_never_differ_in_case_alone(tmp_path: Path) -> None:
    _start(tmp_path, "Quick")
    _start(tmp_path, "Quick")
    with pytest.raises(UserInputError, match=r"study.name='quick': differs from study 'Quick' in upper and lower case"):
        _start(tmp_path, "quick")


def test_a_file_that_a_ledger_names_stays_in_the_studys_folder() -> None:
    folder = Path("/results/quick")
    assert (
        inside(folder, "trials/00001/adapter/adapter.safetensors")
        == folder / "trials/00001/adapter/adapter.safetensors"
    )
    for name in ("/etc/passwd", "../../home/ann/.ssh/id", "trials/../../x", "a\0b"):
        assert inside(folder, name) is None


def test_a_foreign_ledger_has_no_file_of_ours_published(tmp_path: Path) -> None:
    ledger = _start(tmp_path, "quick")
    asked = ledger.ask(1)
    assert asked is not None
    secret = tmp_path / "secret"
    secret.write_text("of mine")
    ledger.note(asked[0], weights_path=str(secret))
    assert ledger.view().trials[0].weights_path is None
    ledger.note(asked[0], weights_path="../secret")
    assert ledger.view_trial(0).weights_path is None
    asked[1].close()
