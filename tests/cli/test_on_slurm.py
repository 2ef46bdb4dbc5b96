"""`workers=slurm`: submitit's local executor runs the same jobs as processes of this host."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_sweep.checkpoints import CHECKPOINT_FILE
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.errand import Errand
from adapter_sweep.cli.following import Follower
from adapter_sweep.cli.on_slurm import SlurmCrew
from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.config.compose import compose
from adapter_sweep.config.schema import SlurmWorkers
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.study.ledger import Ledger, storage_url
from postgres import PASSWORD, Server

Cli = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]
PATIENCE = 240.0
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]


@pytest.fixture
def on_slurm(tiny_settings: list[str]) -> list[str]:
    given = [text for text in tiny_settings if not text.startswith("workers")]
    return [*given, *SPACE, "workers=slurm", "workers.cluster=local", "workers.count=2"]


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_jobs_run_the_study_and_no_file_of_theirs_holds_a_password(
    cli: Cli, on_slurm: list[str], tmp_path: Path, postgres: Server
) -> None:
    url = postgres.database("slurm")
    done = cli("run", *on_slurm, "study.n_trials=3", f"study.storage={url}", "tracking=none")
    assert done.returncode == 0, done.stderr + done.stdout
    results = tmp_path / "results"
    study = Ledger.read("quickstart", url=url, results_dir=results).view()
    assert [trial.state for trial in study.counted()] == [TrialState.COMPLETE] * 3
    assert "Pareto front of quickstart" in done.stdout
    files = [path for path in (results / ".quickstart.jobs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_what_is_wrong_in_a_job_is_told_in_our_words(cli: Cli, on_slurm: list[str], tmp_path: Path) -> None:
    wrong = cli("run", *on_slurm, "task.label=nothing")
    assert wrong.returncode == 2, wrong.stderr
    assert "nothing" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_job_that_is_preempted_is_followed_by_another_and_stop_reaches_all(
    cli: Cli, on_slurm: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    settings = ["workers.count=1", "study.n_trials=1", "train.epochs=1000", "train.score_epochs=last", "tracking=none"]
    process = subprocess.Popen(
        [*COMMAND, "run", *on_slurm, *settings, "train.checkpoint_every=2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def training(number: int) -> StudyView:
        """The study, once that trial is in the middle of its training."""
        ends = time.monotonic() + PATIENCE
        while not (results / f"quickstart/trials/{number:05d}/{CHECKPOINT_FILE}").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < ends, "waited in vain"
            time.sleep(0.1)
        return Ledger.read("quickstart", url=storage_url(None, results), results_dir=results).view()

    try:
        training(0)
        working = Ledger.read("quickstart", url=storage_url(None, results), results_dir=results).at_work()
        (job,) = {int(who.split()[1]) for who in working if who.startswith("process ")} - {process.pid}
        os.kill(job, signal.SIGUSR2)  # its time is nearly over
        time.sleep(0.7)
        os.kill(job, signal.SIGTERM)  # and it is cancelled besides
        first = training(1).trials[0]
        assert (first.state, first.reason) == (TrialState.INTERRUPTED, "interrupted by Ctrl-C or SIGTERM")
        stopped = cli("stop", "quickstart")
        assert stopped.returncode == 0, stopped.stderr
        assert f"process {process.pid}" in stopped.stdout
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, out
    assert "Stopped. The study is kept" in out
    ledger = Ledger.read("quickstart", url=storage_url(None, results), results_dir=results)
    ledger.recover()
    trials: tuple[TrialView, ...] = ledger.view().trials
    assert [trial.state for trial in trials] == [TrialState.INTERRUPTED] * 2
    assert trials[0].params == trials[1].params


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_jobs_that_die_before_a_trial_begins_are_given_up(
    cli: Cli, tiny_settings: list[str], on_slurm: list[str], tmp_path: Path
) -> None:
    """As where the nodes have another Python than the host that submits."""
    broken = tmp_path / "python"
    broken.write_text("echo no module named adapter_sweep >&2; exit 1")
    results = tmp_path / "results"
    done = cli("run", *tiny_settings, *SPACE, "study.n_trials=1", "tracking=none")
    assert done.returncode == 0, done.stderr
    ledger = Ledger.read("quickstart", url=storage_url(None, results), results_dir=results)
    ledger.set_facts(n_trials=9)
    composed = compose([*on_slurm, "workers.count=1", f"results_dir={results}"], default_sweep="quickstart").for_sweep()
    assert isinstance(composed.config.workers, SlurmWorkers)
    crew = SlurmCrew(Errand(composed, "quickstart", storage_url(None, results), str(tmp_path)), composed.config.workers)
    crew._executor._executor.python = f"sh {broken}"
    with pytest.raises(
        AdapterSweepError, match=r"(?s)the study was not begun: job .* lost.*no module named adapter_sw"
    ):
        crew.begin(lambda: None)

    def follow(asked: int) -> None:
        console = open_console()
        publisher = Publisher(ledger, results, None, False, console)
        Follower(ledger, crew, publisher, console, Display(console)).run(storage_url(None, results), results, asked)

    extra = ledger.ask(9)  # somebody else's, whom who asked for fewer does not wait for
    assert extra is not None
    follow(1)
    why = r"(?s)^study 'quickstart': 3 workers ended one after another before a trial began\. .*no module named"
    with pytest.raises(AdapterSweepError, match=why):
        follow(9)
    assert crew.look().alive == 0
    extra[1].close()


def test_without_slurm_it_is_told(cli: Cli, on_slurm: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    gone = cli("run", *on_slurm, "workers.cluster=slurm", "study.storage=postgresql://127.0.0.1/none")
    assert gone.returncode == 1
    assert gone.stderr.startswith("error: workers=slurm: ")
    sqlite = cli("run", *on_slurm, "workers.cluster=slurm")
    assert sqlite.returncode == 2
    assert "an SQLite ledger" not in sqlite.stdout
    assert "SQLite ledger is for one" in sqlite.stderr
