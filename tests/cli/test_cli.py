"""The command as a user types it: what it prints, what it leaves behind, how it ends."""

import csv
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from adapter_sweep import opening
from adapter_sweep.engine.backbone import Precision
from adapter_sweep.engine.choices import Choice
from adapter_sweep.study.ledger import Ledger, storage_url

Cli = Callable[..., subprocess.CompletedProcess[str]]

SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read(study: str, results_dir: Path) -> Ledger:
    return Ledger.read(study, url=storage_url(None, results_dir), results_dir=results_dir)


def states(trials: list[dict[str, str]]) -> list[str]:
    return [trial["state"] for trial in trials]


# -- at once, without anything heavy


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import atexit, sys; sys.argv[0] = 'adapter-sweep'; "
        "heavy = {'torch', 'transformers', 'optuna', 'mlflow', 'hydra', 'numpy', 'matplotlib'}; "
        "atexit.register(lambda: print('HEAVY', sorted(heavy & sys.modules.keys()))); "
        "from adapter_sweep.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("HEAVY []")
    assert done.stderr == ""


def test_a_wrong_configuration_is_told_before_anything_heavy_is_imported() -> None:
    script = (
        "import atexit, sys; "
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'optuna', 'mlflow'} & sys.modules.keys()))); "
        "from adapter_sweep.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "run", "method.widht=8", "train.epochs=0", "results_dir=null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "HEAVY []\n"
    assert done.stderr.splitlines() == [
        "error: method.widht=8: there is no such key; did you mean width?",
        "error: train.epochs=0: input should be greater than or equal to 1",
        "error: results_dir=None: input should be a valid string",
    ]


def test_a_command_that_is_not_there(cli: Cli) -> None:
    done = cli("runn")
    assert done.returncode == 2
    assert "runn" in done.stderr


def test_config_prints_what_composes_again(cli: Cli) -> None:
    done = cli("config", "sweep=quickstart", "method.width=8", "task=tweets")
    assert done.returncode == 0
    values = yaml.safe_load(done.stdout)
    assert values["method"] == {
        **{"kind": "bottleneck", "width": 8, "placement": "both", "activation": "gelu", "init_std": 0.01},
        **{"layer_norms": "adapted_layers", "layers": "all", "scaling": 1.0, "shared": False},
    }
    assert values["task"]["name"] == "tweets"
    assert values["search_space"].keys() == {"method.placement", "train.lr"}


def test_config_shows_no_password(cli: Cli) -> None:
    done = cli("config", "study.storage=postgresql://me:s3cr3t@host/db", "tracking.uri=http://me:s3cr3t@host")
    assert "postgresql://***@host/db" in done.stdout
    assert "http://***@host" in done.stdout
    assert "s3cr3t" not in done.stdout


# -- what is wrong


def test_a_report_of_a_study_that_is_not_there(cli: Cli) -> None:
    done = cli("report", "nosuch")
    assert done.returncode == 2
    assert done.stderr.endswith("results holds no study; start one with: adapter-sweep run\n")


def test_the_ui_without_a_store_and_on_a_taken_port(cli: Cli, tmp_path: Path) -> None:
    done = cli("ui")
    assert done.returncode == 2
    assert "no MLflow store there" in done.stderr
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli("ui", "--port", str(port))
    assert done.returncode == 2
    assert f"error: --port {port}: 127.0.0.1:{port} is taken" in done.stderr


def test_nothing_to_search(cli: Cli) -> None:
    done = cli("run", "method.width=8", "method.placement=both", "train.lr=1e-3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: search_space: nothing to search; give a range")


def test_a_trial_takes_no_range(cli: Cli) -> None:
    done = cli("trial", "method.width=8,16", "train.seed=range(0,2)")
    assert done.returncode == 2
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["method.width=8,16", "train.seed=range(0,2)"]


def test_wrong_data_is_told_with_the_columns_that_exist(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    done = cli("trial", *tiny_settings, "task.text=review")
    assert done.returncode == 2
    assert "no column 'review' for text; the columns are 'text', 'label'" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_results_folder_that_cannot_be_made(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = cli("trial", *tiny_settings, "results_dir=taken")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "taken: cannot be " in done.stderr
    assert "File exists" in done.stderr


# -- doctor


def test_doctor_makes_every_check(cli: Cli, tiny_settings: list[str]) -> None:
    done = cli("doctor", *tiny_settings, "tracking=none")
    checks = [line.split()[:2] for line in done.stdout.splitlines() if not line.startswith(" ")]
    names = ["installation", "machine", "results", "ledger", "tracking", "metric", "data", "backbone"]
    assert checks == [[name, "ok"] for name in names]
    assert done.returncode == 0
    assert "192 training, 24 validation, 24 test examples; 2 classes (neg, pos)" in done.stdout
    assert "encoder.layer.0-1: post_attention attention.output.dense, post_ffn output.dense; norms " in done.stdout
    assert "pooling cls; padding token [PAD], on the right" in done.stdout


def test_doctor_goes_on_after_what_failed(cli: Cli, tiny_settings: list[str]) -> None:
    done = cli("doctor", *tiny_settings, "tracking=none", "task.path=gone.csv", "results_dir=/proc/none")
    verdicts = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert {name for name, verdict in verdicts.items() if verdict == "FAILED"} == {"results", "ledger", "data"}
    assert verdicts["backbone"] == "ok"
    assert done.returncode == 1


# -- trials and studies, end to end


def test_trial_end_to_end(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    done = cli("trial", *tiny_settings, "tracking=none", "method.width=4")
    assert done.returncode == 0, done.stderr
    assert "Precision   fp32: set by train.precision\nAttention   eager: set by backbone.attention\n" in done.stdout
    assert "trial 0: complete" in done.stdout
    (trial,) = rows(tmp_path / "results" / "trials-local" / "trials.csv")
    assert (trial["state"], trial["method.width"]) == ("complete", "4")
    assert float(trial["adapter_params"]) == 4 * (2 * 4 * 32 + 4 + 32)

    again = cli("trial", *tiny_settings, "tracking=none", "sweep=width_placement_lr", "study.name=trials-local")
    assert again.returncode == 0, again.stderr
    assert "trial 1: complete" in again.stdout
    assert len(rows(tmp_path / "results" / "trials-local" / "trials.csv")) == 2


def test_run_end_to_end_and_again(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = [*tiny_settings, *SPACE]
    done = cli("run", *settings, "study.n_trials=2")
    assert done.returncode == 0, done.stderr
    assert "Pareto front of quickstart" in done.stdout
    assert "Compare     adapter-sweep ui\n" in done.stdout
    folder = tmp_path / "results" / "quickstart"
    names = {"trials.csv", "front.csv", "front.json", "report.html", "report.md", "front.png", "front.svg"}
    assert names <= {path.name for path in folder.iterdir()}
    assert states(rows(folder / "trials.csv")) == ["complete"] * 2
    front = rows(folder / "front.csv")
    assert {row["trial"] for row in front} <= {"0", "1"}
    assert front
    assert json.loads((folder / "front.json").read_text())

    nothing = cli("run", *settings, "study.n_trials=2")
    assert nothing.returncode == 0
    assert "Done        all 2 trials" in nothing.stdout
    assert "epoch" not in nothing.stdout

    more = cli("run", *settings, "study.n_trials=3")
    assert more.returncode == 0, more.stderr
    assert "Continuing  2 of 3 trials are done" in more.stdout
    assert states(rows(folder / "trials.csv")) == ["complete"] * 3

    changed = cli("run", *settings, "study.n_trials=3", "method.width=choice(2,4)", "train.weight_decay=0.1")
    assert changed.returncode == 2
    assert changed.stderr.startswith("error: study 'quickstart' exists with another definition")
    assert "  search_space.method.width: 'choice(2,4,8)' -> 'choice(2,4)'\n" in changed.stderr
    assert "  train.weight_decay: 0.0 -> 0.1\n" in changed.stderr

    _mlflow_holds_what_the_ledger_holds(tmp_path / "results")

    report = cli("report", "quickstart")
    assert report.returncode == 0, report.stderr
    assert "results/quickstart/report.html" in report.stdout
    assert cli("report", "nosuch").stderr == "error: there is no study 'nosuch'; there are: quickstart\n"


def _mlflow_holds_what_the_ledger_holds(results: Path) -> None:
    from mlflow import MlflowClient

    study = read("quickstart", results).view()
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {study.mlflow_run_id, *(trial.mlflow_run_id for trial in study.trials)}
    assert len(runs) == 4
    for trial in study.trials:
        assert trial.mlflow_run_id is not None
        run = runs[trial.mlflow_run_id]
        assert run.data.tags["mlflow.parentRunId"] == study.mlflow_run_id
        assert run.info.status == "FINISHED"
        assert {key: run.data.params[key] for key in trial.params} == {k: str(v) for k, v in trial.params.items()}
        assert {name: run.data.metrics[name] for name in trial.metrics} == pytest.approx(dict(trial.metrics))


def test_a_study_goes_on_with_what_auto_came_to(
    cli: Cli, tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another measurement may come out otherwise, and its trials could not be compared."""
    measured: list[Precision] = ["fp32", "bf16"]

    def choose(wanted: str, device: object) -> Choice[Precision]:
        return Choice(measured.pop(0), "measured now") if wanted == "auto" else Choice("fp32", f"asked for {wanted}")

    monkeypatch.setattr(opening, "choose_precision", choose)
    asked = [*tiny_settings, "train.precision=auto", "method.width=range(2,5)", "study.name=auto", "tracking=none"]
    for count in (1, 2):
        done = cli("run", *asked, f"study.n_trials={count}")
        assert done.returncode == 0, done.stderr
    assert measured == ["bf16"]
    trials = read("auto", tmp_path / "results").view().trials
    assert [trial.provenance["precision"] for trial in trials] == ["fp32", "fp32"]
    done = cli("run", *asked, "study.n_trials=3", "train.precision=bf16")
    assert done.returncode == 2
    assert "train.precision: 'auto' -> 'bf16'" in done.stderr


def test_depth_is_swept_and_each_trials_command_repeats_it(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = [*tiny_settings, "method.width=4", "method.placement=both", "train.lr=1e-3", "study.sampler=grid"]
    done = cli("run", *settings, "study.name=depth", "method.layers=choice(all,top:1,[0],[0,1],top:3)")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "depth"
    trials = {trial["method.layers"]: trial for trial in rows(folder / "trials.csv")}
    assert {layers: trial["state"] for layers, trial in trials.items()} == {
        **dict.fromkeys(("all", "top:1", "[0]", "[0,1]"), "complete"),
        "top:3": "failed",
    }
    assert trials["top:3"]["reason"].startswith("method.layers=top:3: the backbone has 2 distinct layers; allowed: all")
    assert trials["all"]["accuracy"] == trials["[0,1]"]["accuracy"]
    for member in json.loads((folder / "front.json").read_text())["front"]:
        again = cli(*shlex.split(member["command"])[1:], "tracking=none", "results_dir=again", "study.name=one")
        assert again.returncode == 0, again.stderr
        repeated = rows(tmp_path / "again" / "one" / "trials.csv")[-1]
        assert repeated["method.layers"] == member["params"]["method.layers"]
        for name in ("accuracy", "trainable_params", "train_loss"):
            assert float(repeated[name]) == member["metrics"][name]


def test_layers_that_the_backbone_does_not_have(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    for command in ("trial", "run"):
        done = cli(command, *tiny_settings, "tracking=none", "method.layers=[0,2]")
        assert done.returncode == 2
        assert done.stderr.startswith("error: method.layers=[0,2]: the backbone has 2 distinct layers; allowed: all")
    assert not (tmp_path / "results").exists()


def test_a_head_alone_is_swept_and_reported(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    search = ["study.name=heads", "study.n_trials=2", "study.sampler=random"]
    done = cli("run", *tiny_settings, "method=head", *search)
    assert done.returncode == 0, done.stderr
    assert "Pareto front of heads" in done.stdout
    folder = tmp_path / "results" / "heads"
    trials = rows(folder / "trials.csv")
    assert states(trials) == ["complete"] * 2
    assert [trial["trainable_params"] for trial in trials] == ["66"] * 2
    assert "train.lr" in trials[0]
    assert not any(name.startswith("method.") for name in trials[0])
    assert "width" not in (folder / "report.md").read_text()
    assert (folder / "report.html").stat().st_size > 1000


def test_single_trials_of_two_methods_stand_in_one_study(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    for method in (["method=head"], ["method=bottleneck", "method.width=4"]):
        done = cli("trial", *tiny_settings, "tracking=none", *method)
        assert done.returncode == 0, done.stderr
    trials = rows(tmp_path / "results" / "trials-local" / "trials.csv")
    shown = [(trial["method"], trial["method.width"], trial["head_params"]) for trial in trials]
    assert shown == [("head", "", "66"), ("bottleneck", "4", "66")]
    views = [read("trials-local", tmp_path / "results").view_trial(number) for number in (0, 1)]
    assert views[0].config["method"] == {"kind": "head"}


def test_over_the_budget_is_refused(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = [*tiny_settings, "tracking=none", "method.width=choice(2,64)", "method.placement=both", "train.lr=1e-3"]
    settings += ["study.sampler=grid", "study.n_trials=2"]
    some = cli("run", *settings, "study.name=some", "budget.max_trainable_params=2000")
    assert some.returncode == 0, some.stderr
    trials = rows(tmp_path / "results" / "some" / "trials.csv")
    assert {trial["method.width"]: trial["state"] for trial in trials} == {"2": "complete", "64": "refused"}

    none = cli("run", *settings, "study.name=none", "budget.max_trainable_params=10")
    assert none.returncode == 1
    assert none.stderr.startswith("error: no trial was completed: ")
    assert "over budget.max_trainable_params=10" in none.stderr
    assert states(rows(tmp_path / "results" / "none" / "trials.csv")) == ["refused"] * 2
