"""A study as one file: opened elsewhere it is the same, and a hostile file leaves nothing behind."""

import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from ledgers import finish, start

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report import front
from adapter_sweep.study import archive as archives
from adapter_sweep.study import restoring
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.management import archive_study, delete_study
from adapter_sweep.study.ownership import MARK
from adapter_sweep.study.restoring import restore_study

Members = dict[str, bytes]


def place(results: Path) -> dict[str, Any]:
    return {"url": storage_url(None, results), "results_dir": results}


def every_state(results: Path) -> Ledger:
    """A study with a trial in each state, one of a dead process, one that waits, constraints, files and facts."""
    ledger = start(results, sampler="tpe")
    ledger.set_facts(n_trials=9, search_space={"train.lr": "x"}, config={"task": {"name": "movies"}}, mlflow_run_id="r")
    for number, state in enumerate([TrialState.COMPLETE, TrialState.REFUSED, TrialState.FAILED, TrialState.COMPLETE]):
        asked = ledger.ask(9)
        assert asked is not None
        trial, slot = asked
        folder = ledger.trial_folder(number)
        folder.mkdir(parents=True)
        (folder / "adapter.safetensors").write_bytes(bytes(range(256)) * (number + 1))
        ledger.note(trial, params=dict(trial.params), weights_path=f"trials/{number:05d}/adapter.safetensors")
        metrics = {"accuracy": 0.1 + number / 3, "trainable_params": 100.0 * (number + 1)}
        reason = None if state is TrialState.COMPLETE else "why"
        over = {"budget": 0.5} if state is TrialState.REFUSED else None
        ledger.tell(trial, state, metrics=metrics, reason=reason, constraints=over)
        slot.close()
    left = ledger.ask(9)  # its process is gone
    assert left is not None
    left[1].close()
    ledger.queue({"method.width": 5, "method.placement": "both", "train.lr": 1e-3})
    ledger.set_mlflow_runs({0: "run-0"})
    return ledger


def raw(ledger: Ledger) -> list[dict[str, Any]]:
    """All that Optuna keeps of each trial, but for its key in the database."""
    return [{k: v for k, v in vars(t).items() if k != "_trial_id"} for t in ledger.optuna_study.get_trials()]


def read(results: Path, name: str = "toy") -> Ledger:
    return Ledger.read(name, **place(results))


def files(folder: Path) -> dict[str, bytes]:
    """A study's files, but for that which says whose they are."""
    found = [path for path in folder.rglob("*") if path.is_file() and path != folder / MARK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    every_state(tmp_path / "one")
    archive_study("toy", tmp_path / "toy.zip", **place(tmp_path / "one"))
    return tmp_path / "toy.zip"


def test_a_study_opened_elsewhere_is_the_same(packed: Path, tmp_path: Path) -> None:
    one = read(tmp_path / "one")
    assert restore_study(packed, **place(tmp_path / "two")) == "toy"
    two = read(tmp_path / "two")
    assert raw(two) == raw(one)
    assert {trial["state"].name for trial in raw(two)} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}
    assert files(two.folder) == files(one.folder)
    assert len(files(two.folder)) == 4

    def told(view: StudyView) -> tuple[object, ...]:
        return (
            view.objectives,
            view.search_space,
            view.n_trials,
            view.created,
            view.config,
            [t.number for t in front(view)],
        )

    assert told(two.view()) == told(one.view())
    assert front(two.view())
    assert one.view().identity is not None
    assert two.view().identity not in (None, one.view().identity)
    # The runs of a store that stays behind are not its own.
    assert two.view().mlflow_run_id is None
    assert two.view().trials[0].mlflow_run_id is None
    assert one.view().trials[0].mlflow_run_id == "run-0"


def test_a_restored_study_goes_on(packed: Path, tmp_path: Path) -> None:
    restore_study(packed, **place(tmp_path / "two"))
    ledger = start(tmp_path / "two", sampler="tpe")
    numbers = finish(ledger, 7)
    view = ledger.view()
    assert len(view.counted()) == 7
    assert view.trials[4].state is TrialState.INTERRUPTED  # whose process was gone when it was packed
    waited = view.trials[5]
    assert waited.params == {"method.width": 5, "method.placement": "both", "train.lr": 1e-3}
    assert numbers == [5, 6, 7]
    assert view.trials[6].params == view.trials[4].params


def test_the_finalists_go_with_their_study(tmp_path: Path) -> None:
    finish(start(tmp_path / "one"), 2)
    own = {"definition": {"confirms": "toy"}, "objectives": {"test_accuracy": "maximize"}}
    confirming = start(tmp_path / "one", name="toy.confirmed", **own)
    (confirming.folder / "anchors.json").write_text("{}")
    archive_study("toy", tmp_path / "toy.zip", **place(tmp_path / "one"))
    restore_study(tmp_path / "toy.zip", **place(tmp_path / "two"))
    assert (tmp_path / "two" / "toy.confirmed" / "anchors.json").read_text() == "{}"
    assert read(tmp_path / "two", "toy.confirmed").fact("definition") == {"confirms": "toy"}


def test_what_exists_is_never_replaced(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"toy\.zip exists"):
        archive_study("toy", packed, **place(tmp_path / "one"))
    before = raw(read(tmp_path / "one"))
    with pytest.raises(UserInputError, match="there is a study 'toy' already"):
        restore_study(packed, **place(tmp_path / "one"))
    assert raw(read(tmp_path / "one")) == before
    (tmp_path / "two" / "toy").mkdir(parents=True)
    (tmp_path / "two" / "toy" / "mine.txt").write_text("mine")
    with pytest.raises(UserInputError, match="exists already"):
        restore_study(packed, **place(tmp_path / "two"))
    assert files(tmp_path / "two" / "toy") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("at", ["import_study", "_let_go", "complete_import"])
@pytest.mark.parametrize(("killed", "again"), [(False, False), (True, False), (True, True)])
def test_a_restore_that_is_cut_short_leaves_no_study(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, killed: bool, again: bool
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    if again:  # the archive of a study that was itself restored
        restore_study(packed, **place(tmp_path / "before"))
        packed = packed.with_name("again.zip")
        archive_study("toy", packed, **place(tmp_path / "before"))
    with monkeypatch.context() as patch:
        patch.setattr(restoring, at, cut)
        if killed:  # nothing is tidied up
            patch.setattr(restoring, "remove", lambda _: None)
            patch.setattr(restoring, "forget", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            restore_study(packed, **place(tmp_path / "two"))
    assert Ledger.read_all(**place(tmp_path / "two")) == []
    if not killed:
        assert not files(tmp_path / "two" / "toy")
    restore_study(packed, **place(tmp_path / "two"))
    assert raw(read(tmp_path / "two")) == raw(read(tmp_path / "one"))
    assert not list((tmp_path / "two").glob(".toy*restoring"))


def with_finalists(results: Path, archive: Path) -> Path:
    finish(start(results), 2)
    own = {"definition": {"confirms": "toy"}, "objectives": {"test_accuracy": "maximize"}}
    start(results, name="toy.confirmed", **own)
    archive_study("toy", archive, **place(results))
    return archive


def test_a_study_that_another_begins_meanwhile_is_not_replaced(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = restoring.import_study

    def begun_elsewhere(storage: optuna.storages.RDBStorage, name: str, told: Any, identity: str) -> None:
        other = optuna.create_study(study_name=name, storage=storage)
        other.add_trial(optuna.create_trial(value=1.0))
        imports(storage, name, told, identity)

    monkeypatch.setattr(restoring, "import_study", begun_elsewhere)
    with pytest.raises(UserInputError, match="there is a study 'toy' already"):
        restore_study(packed, **place(tmp_path / "two"))
    kept = optuna.load_study(study_name="toy", storage=storage_url(None, tmp_path / "two"))
    assert [trial.value for trial in kept.trials] == [1.0]
    assert not (tmp_path / "two" / "toy").exists()


def test_a_restore_killed_between_a_study_and_its_finalists_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, two = with_finalists(tmp_path / "one", tmp_path / "toy.zip"), place(tmp_path / "two")
    completes, done = restoring.complete_import, list[str]()

    def killed(storage: optuna.storages.RDBStorage, name: str, told: Any) -> None:
        if done:
            raise KeyboardInterrupt
        completes(storage, name, told)
        done.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "complete_import", killed)
        patch.setattr(restoring, "remove", lambda _: None)
        patch.setattr(restoring, "forget", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            restore_study(archive, **two)
    assert done == ["toy"]
    delete_study("toy", **two, before=lambda _: None)
    assert optuna.get_all_study_names(storage_url(None, tmp_path / "two")) == []
    restore_study(archive, **two)
    assert read(tmp_path / "two", "toy.confirmed").fact("definition") == {"confirms": "toy"}


def test_finalists_whose_study_is_gone_make_room(tmp_path: Path) -> None:
    archive = with_finalists(tmp_path / "one", tmp_path / "toy.zip")
    restore_study(archive, **place(tmp_path / "two"))
    optuna.delete_study(study_name="toy", storage=storage_url(None, tmp_path / "two"))
    shutil.rmtree(tmp_path / "two" / "toy", ignore_errors=True)
    restore_study(archive, **place(tmp_path / "two"))
    assert len(read(tmp_path / "two").view().trials) == 2


def test_links_are_left_out_and_told(tmp_path: Path) -> None:
    ledger = every_state(tmp_path / "one")
    (tmp_path / "secret").write_text("secret")
    (ledger.folder / "link").symlink_to(tmp_path / "secret")
    left_out = archive_study("toy", tmp_path / "toy.zip", **place(tmp_path / "one"))
    assert left_out == [ledger.folder / "link"]
    with zipfile.ZipFile(tmp_path / "toy.zip") as archive:
        assert not [name for name in archive.namelist() if name.endswith("link")]


def test_what_is_archived_can_be_restored(tmp_path: Path) -> None:
    folder = every_state(tmp_path / "one").folder
    odd = [folder / name for name in ("a:b", "a\\b", "a\nb", os.fsdecode(b"caf\xe9"))]
    for file in odd:
        file.write_text("odd")
    (folder / "old.txt").write_text("old")
    os.utime(folder / "old.txt", (0, 0))
    left_out = archive_study("toy", tmp_path / "toy.zip", **place(tmp_path / "one"))
    assert set(left_out) == set(odd)
    restore_study(tmp_path / "toy.zip", **place(tmp_path / "two"))
    kept = {name: content for name, content in files(folder).items() if folder / name not in odd}
    assert files(tmp_path / "two" / "toy") == kept
    assert kept["old.txt"] == b"old"


# -- what nobody of ours has written


def repacked(packed: Path, change: Callable[[Members, dict[str, Any]], None], *, trusted: bool = True) -> Path:
    """The archive with other members; with `trusted` the manifest fits them."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members.pop("manifest.json"))
    change(members, about)
    if trusted:
        about["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
        }
    hostile = packed.with_name("hostile.zip")
    with zipfile.ZipFile(hostile, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(about))
        for name, content in members.items():
            archive.writestr(name, content)
    return hostile


def change_ledger(change: Callable[[dict[str, Any]], None]) -> Callable[[Members, dict[str, Any]], None]:
    def changed(members: Members, about: dict[str, Any]) -> None:
        told = json.loads(members["ledger.json"])
        change(told["toy"])
        members["ledger.json"] = json.dumps(told).encode()

    return changed


NAMES = [
    "../outside.txt",
    "/tmp/outside.txt",
    "files/toy/../../outside.txt",
    "files/other/x.txt",
    "files/toy/./x",
    "files/toy//x",
    "files/toy/",
    "files/toy/a\\b",
    "files/toy/C:x",
    "files/toy/a\nb",
    "files/toy/" + "x" * 256,
    "files/toy/.identity",
    "files/toy/.identity/x",
    "filesystem",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    hostile = repacked(packed, lambda members, _: members.update({name: b"x"}))
    assert refused(hostile, tmp_path).startswith("it holds a file outside of its study: ")


def outside_weights(told: dict[str, Any]) -> None:
    told["trials"][0]["user_attrs"]["adapter_sweep:weights_path"] = "../../secret"


def fact_of_the_study(name: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda told: told["user_attrs"].update({f"adapter_sweep:{name}": value})


def fact_of_a_trial(number: int, name: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda told: told["trials"][number]["user_attrs"].update({f"adapter_sweep:{name}": value})


LEDGERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "weights": outside_weights,
    "order": lambda told: told["trials"].reverse(),
    "state": lambda told: told["trials"][0].update(state="WON"),
    "our state": lambda told: told["trials"][0]["user_attrs"].update({"adapter_sweep:state": "won"}),
    "values": lambda told: told["trials"][0].update(values=[1.0]),
    "nan": lambda told: told["trials"][0].update(values=[float("nan"), 1.0]),
    "distribution": lambda told: told["trials"][0]["distributions"].update(x={"name": "os.system", "attributes": {}}),
    "no definition": lambda told: told["user_attrs"].pop("adapter_sweep:definition"),
    "objectives": lambda told: told["user_attrs"].update({"adapter_sweep:objectives": {"accuracy": "maximize"}}),
    "trials": lambda told: told.update(trials="many"),
    "number of trials": fact_of_the_study("n_trials", "x"),
    "stop": fact_of_the_study("stop", "x"),
    "job": fact_of_the_study("job", "x"),
    "job of nothing": fact_of_the_study("job", {}),
    "job of numbers": fact_of_the_study("job", {"overrides": [1]}),
    "stop's time": fact_of_the_study("stop", {"asked": "x", "count": 1}),
    "section": fact_of_the_study("config", {"task": "x"}),
    "death": fact_of_a_trial(2, "death", {"state": "x", "reason": "y"}),
    "overrides": fact_of_a_trial(0, "overrides", 5),
    "retry of itself": fact_of_a_trial(0, "retry_of", 0),
    "retry of a later one": fact_of_a_trial(1, "retry_of", 2),
    "metrics": lambda told: told["trials"][0]["user_attrs"].update({"adapter_sweep:metrics": {"accuracy": "0.9"}}),
}


@pytest.mark.parametrize("what", LEDGERS)
def test_a_ledger_that_is_none_is_refused(packed: Path, tmp_path: Path, what: str) -> None:
    assert "its ledger is damaged" in refused(repacked(packed, change_ledger(LEDGERS[what])), tmp_path)


def test_what_stays_behind_is_not_taken_from_an_archive(packed: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        for name, value in (("mlflow_run_id", "r"), ("mlflow_runs:0", 1), ("mlflow_runs:x", {}), ("deleting", True)):
            fact_of_the_study(name, value)(told)

    restore_study(repacked(packed, change_ledger(change)), **place(tmp_path / "two"))
    ledger = read(tmp_path / "two")
    assert ledger.view().mlflow_run_id is None
    assert ledger.view().trials[0].mlflow_run_id is None
    assert not ledger.fact("deleting")


def set_version(_: Members, about: dict[str, Any]) -> None:
    about["version"] = 2


OTHERS: dict[str, tuple[Callable[[Members, dict[str, Any]], Any], bool, str]] = {
    "newer": (set_version, True, "archive version 2, written by adapter-sweep"),
    "format": (lambda _, about: about.update(format="other"), True, "no archive of a study"),
    "name": (lambda _, about: about.update(study="../x"), True, "its study has no name that a folder can have"),
    "hash": (
        lambda members, _: members.update({"files/toy/trials/00000/adapter.safetensors": bytes(256)}),
        False,
        "is damaged: its checksum is another",
    ),
    "size": (
        lambda members, _: members.update({"files/toy/trials/00000/adapter.safetensors": bytes(1 << 20)}),
        False,
        "is not as large as its manifest says",
    ),
    "more": (lambda members, _: members.update({"files/toy/more": b""}), False, "are not those of its manifest"),
    "fewer": (
        lambda members, _: members.pop("files/toy/trials/00000/adapter.safetensors"),
        False,
        "are not those of its manifest",
    ),
    "no ledger": (lambda members, _: members.pop("ledger.json"), True, "are not those of its manifest"),
    "json": (lambda members, _: members.update({"ledger.json": b"{"}), True, "ledger.json is damaged"),
    "deep": (lambda members, _: members.update({"ledger.json": b"[" * 100_000}), True, "ledger.json is damaged"),
    "told": (lambda _, about: about["files"].update({"ledger.json": "big"}), False, "its manifest is damaged"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_an_archive_that_is_not_what_it_says_is_refused(packed: Path, tmp_path: Path, what: str) -> None:
    change, trusted, message = OTHERS[what]
    assert message in refused(repacked(packed, change, trusted=trusted), tmp_path)


def refused(hostile: Path, tmp_path: Path) -> str:
    """Why the archive is refused; nothing of it is left."""
    before = files(tmp_path)
    with pytest.raises(UserInputError) as caught:
        restore_study(hostile, **place(tmp_path / "two"))
    assert not (tmp_path / "two" / "toy").exists()
    assert not (tmp_path / "two" / "optuna.db").exists() or Ledger.read_all(**place(tmp_path / "two")) == []
    left = {name: content for name, content in files(tmp_path).items() if name not in before}
    assert all(name.startswith(("two/optuna.db", "two/.optuna.db.locks/")) for name in left), left
    return str(caught.value).removeprefix(f"{hostile}: ")


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("hello")
    assert "no archive of a study" in refused(tmp_path / "text.zip", tmp_path)
    assert "there is no such file" in refused(tmp_path / "none.zip", tmp_path)


def test_a_truncated_or_flipped_archive_is_refused(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        refused(tmp_path / "cut.zip", tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    refused(tmp_path / "flipped.zip", tmp_path)


def test_a_bomb_is_refused_before_it_is_unpacked(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = repacked(packed, lambda members, _: members.update({"files/toy/zeros": bytes(1 << 24)}))
    assert bomb.stat().st_size < 1 << 20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 0, (1 << 24) + (1 << 20)))
    with pytest.raises(AdapterSweepError, match="no room for the study's files: 16,7"):
        restore_study(bomb, **place(tmp_path / "two"))
    assert not (tmp_path / "two" / "toy").exists()
    monkeypatch.setitem(archives._MOST_BYTES, "ledger.json", 100)
    assert "ledger.json is larger than any study's" in refused(packed, tmp_path)


def test_other_ways_to_pack_are_refused(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, content in members.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if name == "manifest.json" else None)
    assert "ledger.json is packed in a way" in refused(tmp_path / "hostile.zip", tmp_path)


def test_a_link_in_an_archive_is_a_file(packed: Path, tmp_path: Path) -> None:
    """A zip file's members have modes; none of them is obeyed."""
    hostile = repacked(packed, lambda members, _: members.update({"files/toy/link": b"/etc/passwd"}))
    with zipfile.ZipFile(hostile) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(hostile, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name.endswith("link") else 0o644 << 16
            archive.writestr(info, content)
    restore_study(hostile, **place(tmp_path / "two"))
    link = tmp_path / "two" / "toy" / "link"
    assert not link.is_symlink()
    assert link.read_bytes() == b"/etc/passwd"
