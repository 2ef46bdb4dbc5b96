"""Studies of one name in two ledgers that share a results folder: neither touches what the other has."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from ledgers import finish, start

from adapter_sweep.cli.reporting import report_study
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study import removing
from adapter_sweep.study.archive import write_archive
from adapter_sweep.study.exchange import exported
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.management import archive_study, delete_study
from adapter_sweep.study.ownership import MARK
from adapter_sweep.study.restoring import restore_study


def beside(tmp_path: Path) -> str:
    """The URL of a database that is not the results folder's own."""
    return f"sqlite:///{tmp_path / 'other.db'}"


def place(tmp_path: Path, url: str | None = None) -> dict[str, Any]:
    return {"url": url or storage_url(None, tmp_path / "results"), "results_dir": tmp_path / "results"}


def delete(place: dict[str, Any]) -> list[Path]:
    return delete_study("toy", **place, before=lambda _: None)


def with_weights(ledger: Ledger) -> Path:
    finish(ledger, 1)
    weights = ledger.trial_folder(0) / "adapter.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return weights


def unmark(ledger: Ledger) -> None:
    """Leave its folder as an earlier version did."""
    (ledger.folder / MARK).unlink()


def test_a_folder_says_whose_it_is_and_goes_with_its_study(tmp_path: Path) -> None:
    ledger = start(tmp_path / "results")
    with_weights(ledger)
    assert (ledger.folder / MARK).read_text() == ledger.view().identity
    start(tmp_path / "results")  # again
    assert delete(place(tmp_path)) == []
    assert not ledger.folder.exists()


@pytest.mark.parametrize("marked", [True, False])
def test_a_study_of_that_name_in_another_ledger_is_not_begun(tmp_path: Path, marked: bool) -> None:
    ledger = start(tmp_path / "results")
    weights = with_weights(ledger)
    if not marked:
        unmark(ledger)
    with pytest.raises(
        UserInputError, match=r"study\.name=toy: \S+/results/toy, on \S+, holds what is not this study's"
    ) as e:
        start(tmp_path / "results", url=beside(tmp_path))
    assert "give this one another study.name, choose another results_dir, or remove that folder" in str(e.value)
    assert optuna.get_all_study_names(beside(tmp_path)) == []  # nothing was begun
    assert weights.exists()
    start(tmp_path / "results", url=beside(tmp_path), name="mine")
    start(tmp_path / "results")  # and the folder is still its own


def test_a_study_that_has_its_files_elsewhere_is_not_continued_here(tmp_path: Path) -> None:
    finish(start(tmp_path / "elsewhere", url=beside(tmp_path)), 1)
    start(tmp_path / "results")
    with pytest.raises(UserInputError, match="holds what is not this study's"):
        start(tmp_path / "results", url=beside(tmp_path))
    start(tmp_path / "third", url=beside(tmp_path))  # as on another host


@pytest.mark.parametrize("own", [True, False])
def test_a_study_of_an_earlier_version_goes_on_in_its_folder(tmp_path: Path, own: bool) -> None:
    changes: dict[str, Any] = {} if own else {"url": beside(tmp_path)}
    ledger = start(tmp_path / "results", **changes)
    with_weights(ledger)
    unmark(ledger)
    start(tmp_path / "results", **changes)
    assert (ledger.folder / MARK).read_text() == ledger.view().identity


def test_a_study_that_runs_elsewhere_does_not_take_an_unmarked_folder_of_the_ledger_beside_it(tmp_path: Path) -> None:
    own = start(tmp_path / "results")
    weights = with_weights(own)
    unmark(own)
    finish(start(tmp_path / "elsewhere", url=beside(tmp_path)), 1)
    with pytest.raises(UserInputError, match="choose another results_dir, or remove") as caught:
        start(tmp_path / "results", url=beside(tmp_path))
    assert "another study.name" not in str(caught.value)  # it has its name
    assert weights.exists()
    assert not (own.folder / MARK).exists()


def test_a_folder_of_the_users_own_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "results" / "toy").mkdir(parents=True)
    start(tmp_path / "results", url=beside(tmp_path))  # an empty one is
    (tmp_path / "results" / "data").mkdir()
    (tmp_path / "results" / "data" / "mine.csv").touch()
    with pytest.raises(UserInputError, match=r"/data, on \S+, holds what is not this study's.*another study\.name"):
        start(tmp_path / "results", name="data")


def test_delete_leaves_the_files_of_another_ledgers_study(tmp_path: Path) -> None:
    finish(start(tmp_path / "elsewhere", url=beside(tmp_path)), 1)
    weights = with_weights(start(tmp_path / "results"))
    assert delete(place(tmp_path, beside(tmp_path))) == [tmp_path / "results" / "toy"]
    assert weights.exists()
    assert optuna.get_all_study_names(beside(tmp_path)) == []
    assert len(Ledger.read("toy", **place(tmp_path)).view().trials) == 1


def test_without_a_mark_a_folder_is_that_of_the_ledger_beside_it(tmp_path: Path) -> None:
    other = start(tmp_path / "results", url=beside(tmp_path))
    weights = with_weights(other)
    unmark(other)
    assert delete(place(tmp_path, beside(tmp_path))) == [tmp_path / "results" / "toy"]
    assert weights.exists()
    other.folder.rename(tmp_path / "kept")
    own = start(tmp_path / "results")
    with_weights(own)
    unmark(own)
    assert delete(place(tmp_path)) == []
    assert not own.folder.exists()


def test_a_delete_that_is_cut_short_can_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = start(tmp_path / "results", url=beside(tmp_path))
    with_weights(ledger)
    removes, removed = removing.remove, list[Path]()

    def cut(path: Path) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        removes(path)

    with monkeypatch.context() as patch:
        patch.setattr(removing, "remove", cut)
        with pytest.raises(KeyboardInterrupt):
            delete(place(tmp_path, beside(tmp_path)))
    assert [path.name for path in ledger.folder.iterdir()] == [MARK]
    assert delete(place(tmp_path, beside(tmp_path))) == []
    assert not ledger.folder.exists()


def test_archive_takes_no_other_studys_files(tmp_path: Path) -> None:
    finish(start(tmp_path / "elsewhere", url=beside(tmp_path)), 1)
    with_weights(start(tmp_path / "results"))
    with pytest.raises(UserInputError, match=r"holds another study of that name.*name the results_dir with"):
        archive_study("toy", tmp_path / "toy.zip", **place(tmp_path, beside(tmp_path)))
    assert not (tmp_path / "toy.zip").exists()


def test_a_report_replaces_no_other_studys(tmp_path: Path) -> None:
    ledger = start(tmp_path / "elsewhere", url=beside(tmp_path))
    finish(ledger, 1)
    start(tmp_path / "results")
    there = place(tmp_path, beside(tmp_path))
    with pytest.raises(UserInputError, match="holds another study of that name"):
        report_study("toy", **there, folder=tmp_path / "results" / "toy")
    assert [path.name for path in (tmp_path / "results" / "toy").iterdir()] == [MARK]


def test_a_restore_that_was_cut_short_leaves_another_ledgers_folder(tmp_path: Path) -> None:
    ledger = start(tmp_path / "one")
    told = {"toy": exported(ledger.optuna_study)}
    write_archive(tmp_path / "toy.zip", "toy", told, {"toy": ledger.folder})
    weights = with_weights(start(tmp_path / "results"))
    half = optuna.create_study(study_name="toy", storage=beside(tmp_path), directions=["maximize", "minimize"])
    half.set_user_attr("adapter_sweep:restoring", True)
    with pytest.raises(UserInputError, match="results/toy exists already; restore into another results_dir"):
        restore_study(tmp_path / "toy.zip", **place(tmp_path, beside(tmp_path)))
    assert weights.exists()


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    ledger = start(tmp_path / "results")
    with_weights(ledger)
    ledger.folder.rename(tmp_path / "large-disk")
    ledger.folder.symlink_to(tmp_path / "large-disk")
    with pytest.raises(AdapterSweepError, match="results/toy is a link; remove what it leads to"):
        delete(place(tmp_path))
    assert list((tmp_path / "large-disk").rglob("adapter.safetensors"))
