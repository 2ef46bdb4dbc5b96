"""`run` and `trial`: the only place where configuration, engine, ledger, MLflow and report meet."""

import shlex
from pathlib import Path

from rich.console import Console

from adapter_sweep.bench import Bench, open_bench
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.identity import definition, reproducing, shareable, study_name
from adapter_sweep.cli.printing import open_console, print_front, print_record
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.quoting import quoted
from adapter_sweep.config.space import grid_points
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import TrialState
from adapter_sweep.report import write_report
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.loop import run_trials
from adapter_sweep.tracking import Tracker, TrackingError

__all__ = ["run_single", "run_sweep"]


def run_sweep(composed: Composed) -> None:
    """Start or continue a sweep; ends with the front, the report and how to look at it."""
    _go(composed, study_name(composed), single=False)


def run_single(composed: Composed) -> None:
    """Run one configuration, recorded in a study of single trials: `trials-…`, or `study.name`."""
    _go(composed, study_name(composed, prefix="trials-"), single=True)


def _go(composed: Composed, name: str, *, single: bool) -> None:
    console = open_console()
    config = composed.config
    results_dir = Path(config.results_dir).expanduser()
    display = Display(console)
    with console.status("Loading the backbone and the data …"):
        bench = open_bench(config)
        ledger = Ledger.start(
            name,
            url=storage_url(config.study.storage, results_dir),
            results_dir=results_dir,
            definition=definition(composed, bench, single=single),
            objectives=config.objectives,
            space=composed.space,
            sampler="random" if single else config.study.sampler,  # a single trial leaves nothing to sample
            seed=config.study.seed,
        )
        recovered = ledger.recover()
        done = len(ledger.view().counted())
        total = done + 1 if single else _planned(composed)
        if done < total:  # a finished study stays as it is
            ledger.set_facts(
                config={"sweep": composed.sweep, **shareable(composed)},
                search_space=dict(config.search_space),
                provenance=bench.provenance(),
                n_trials=total,
            )
    publisher = _Publisher(ledger, results_dir, config.tracking.uri, config.tracking.enabled, console)
    display.opening(ledger.view(), total, results_dir, recovered=recovered)
    try:
        if done < total:
            publisher.study(active=True)
            _score_anchors(console, ledger, bench, single=single)
        with display.progress(done, total):
            ran = run_trials(
                ledger,
                bench,
                composed.values,
                None if single else total,
                display,
                overrides=reproducing(composed, bench),
                fixed=composed.fixed() if single else {},
                told=publisher.trial,
            )
    except KeyboardInterrupt:
        publisher.study(active=False)
        kept = "It is kept" if single else "The study is kept; the same command continues it"
        console.print(f"\nInterrupted. {kept}. What there is so far: adapter-sweep report {name}{_where(results_dir)}")
        raise
    _close(console, ledger, publisher, results_dir, single=ran[0] if single else None)


def _planned(composed: Composed) -> int:
    """How many trials the study is to have: no more than a grid has points."""
    wanted = composed.config.study.n_trials
    if composed.config.study.sampler != "grid":
        return wanted
    return min(wanted, len(grid_points(composed.space)))


def _score_anchors(console: Console, ledger: Ledger, bench: Bench, *, single: bool) -> None:
    """What the backbone reaches without adapters; once a study."""
    if not single and not ledger.view().anchors:
        with console.status("Scoring the backbone without adapters …"):
            ledger.set_facts(anchors=bench.anchors())


def _close(console: Console, ledger: Ledger, publisher: "_Publisher", results_dir: Path, *, single: int | None) -> None:
    """The report, and the last words: the front (or the single trial), where everything is, how to look at it."""
    with console.status("Writing the report …"):
        publisher.all()
        view = ledger.view()
        paths = write_report(view, ledger.folder)
        publisher.report(ledger.folder)
    one = next((trial for trial in view.trials if trial.number == single), None)
    if one is None:
        print_front(console, view)
    else:
        print_record(console, one)
    console.print(f"Report      {paths.report_html}")
    console.print(
        f"Tables      {paths.trials_csv}, {paths.front_csv.name}, {paths.front_json.name}, {paths.front_png.name}"
    )
    if publisher.on:
        console.print(f"Compare     {publisher.server or 'adapter-sweep ui' + _where(results_dir)}")
    if one is not None and one.state is not TrialState.COMPLETE:
        raise AdapterSweepError(f"the trial was {one.state}: {one.reason}")
    if not view.in_state(TrialState.COMPLETE):
        reasons = {t.reason for t in view.trials if t.reason}
        raise AdapterSweepError("no trial was completed: " + "; ".join(sorted(reasons)[:3]))


def _where(results_dir: Path) -> str:
    """What a further command on the study needs, where its results are not in the usual place."""
    if results_dir == Path("results"):
        return ""
    return " " + shlex.quote(f"results_dir={quoted(str(results_dir))}")


class _Publisher:
    """Shows the ledger in MLflow. A store that cannot be written is told once, and never costs a trial."""

    def __init__(self, ledger: Ledger, results_dir: Path, uri: str | None, enabled: bool, console: Console) -> None:
        self._ledger = ledger
        self._console = console
        self._warned = False
        self._new_store = False
        self._own_store = uri is not None
        self._tracker = Tracker(results_dir, ledger.name, uri) if enabled else None

    @property
    def on(self) -> bool:
        """Whether MLflow shows the study."""
        return self._tracker is not None

    @property
    def server(self) -> str | None:
        """The address of the user's own store; None where it is that of the results folder."""
        return self._tracker.shown_uri if self._tracker is not None and self._own_store else None

    def study(self, *, active: bool) -> None:
        """The parent run."""
        if self._tracker is None:
            return
        try:
            view = self._ledger.view()
            run_id = self._tracker.publish_study(view, active=active)
            self._new_store |= view.mlflow_run_id not in (None, run_id)
            self._ledger.set_facts(mlflow_run_id=run_id)
        except TrackingError as error:
            self._warn(error)

    def trial(self, number: int) -> None:
        """One trial's run."""
        if self._tracker is None:
            return
        try:
            run_id = self._tracker.publish_trial(self._ledger.view(), self._ledger.view_trial(number))
            self._ledger.set_mlflow_run(number, run_id)
        except TrackingError as error:
            self._warn(error)

    def all(self) -> None:
        """Whatever MLflow missed; everything, where the store is another than before."""
        self.study(active=False)
        for trial in self._ledger.view().trials if self._tracker is not None else ():
            if trial.mlflow_run_id is None or self._new_store:
                self.trial(trial.number)

    def report(self, folder: Path) -> None:
        """The report's files, with the parent run."""
        run_id = self._ledger.view().mlflow_run_id
        if self._tracker is None or run_id is None:
            return
        try:
            self._tracker.publish_report(run_id, folder)
        except TrackingError as error:
            self._warn(error)

    def _warn(self, error: TrackingError) -> None:
        if not self._warned:
            self._console.print(
                f"warning: MLflow: {error}. The ledger keeps every trial; the same `run` sends what was missed."
            )
        self._warned = True
