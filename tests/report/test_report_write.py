import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import TrialState
from adapter_sweep.report import write_report

NAMES = ["front.csv", "front.json", "front.png", "front.svg", "report.html", "report.md", "trials.csv"]


def test_every_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    paths = write_report(usual_study(), tmp_path / "quickstart")
    assert sorted(path.name for path in (tmp_path / "quickstart").iterdir()) == NAMES
    assert sorted(path.name for path in dataclasses.astuple(paths)) == NAMES


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_report(make_study(make_trial(0, state=TrialState.FAILED)), tmp_path)
    paths = write_report(usual_study(), tmp_path)
    assert "0.812" in paths.report_md.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterSweepError, match=str(tmp_path / "gone")):
        write_report(make_study(), tmp_path / "gone" / "quickstart")


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "quickstart").write_text("")
    with pytest.raises(AdapterSweepError, match=str(tmp_path / "quickstart")):
        write_report(make_study(), tmp_path / "quickstart")


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "quickstart"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere: let the system say no

        def refuse(**_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(AdapterSweepError, match=f"{folder}: Permission denied"):
        write_report(make_study(), folder)


def test_importing_the_report_is_light() -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'optuna', 'matplotlib', 'plotly', 'moocore', 'numpy', 'jinja2'}"
    code = f"import sys, adapter_sweep.report; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
