"""`run` and `trial`: the only place where configuration, engine, ledger, MLflow and report meet."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from adapter_sweep.cli.capacity import find_capacity, worker_threads
from adapter_sweep.cli.comparing import write_several_report
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.identity import definition, reproducing, shareable, study_name
from adapter_sweep.cli.printing import open_console, print_confirmed, print_front, print_record
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.cli.reporting import report_study
from adapter_sweep.cli.running import Work, run_work
from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.quoting import quoted
from adapter_sweep.config.space import grid_points
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.opening import open_bench
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.stopping import Stopped

__all__ = ["run_group", "run_single", "run_sweep"]


def run_sweep(composed: Composed) -> None:
    """Start or continue a sweep; ends with the front, the report and how to look at it."""
    _go(composed, study_name(composed), single=False)


def run_group(parts: Sequence[Composed]) -> None:
    """Run one sweep on several tasks, a study for each; ends with the report that sets them side by side."""
    for part in parts:
        run_sweep(part)
    names = [study_name(part) for part in parts]
    if len(names) > 1:
        write_several_report(names, parts[0].config)
    open_console().print(f"Confirm     adapter-sweep confirm {' '.join(names)}")


def run_single(composed: Composed) -> None:
    """Run one configuration, recorded in a study of single trials: `trials-…`, or `study.name`."""
    _go(composed, study_name(composed, prefix="trials-"), single=True)


def _go(composed: Composed, name: str, *, single: bool) -> None:
    console = open_console()
    config = composed.config
    results_dir = Path(config.results_dir).expanduser()
    display = Display(console, metric=config.task.metric)
    url = storage_url(config.study.storage, results_dir)
    with console.status("Loading the backbone and the data …"):
        config = _as_begun(composed, name, url)
        bench = open_bench(config, threads=None if single else worker_threads(config))
        asked = composed.config
        changed = {
            "precision": config.train.precision != asked.train.precision,
            "attention": config.backbone.attention != asked.backbone.attention,
        }
        begun = {key: "as the study was begun" for key, was_auto in changed.items() if was_auto}
        bench = replace(bench, reasons={**bench.reasons, **begun})
        study: dict[str, Any] = {
            "name": name,
            "url": url,
            "results_dir": results_dir,
            "definition": definition(composed, bench, single=single),
            "objectives": config.objectives,
            "space": composed.space,
            "sampler": "random" if single else config.study.sampler,  # a single trial leaves nothing to sample
            "seed": config.study.seed,
            "max_retries": config.study.max_retries,
            "heartbeat_seconds": config.study.heartbeat_seconds,
        }
        ledger = Ledger.start(**study)
        recovered = ledger.recover()
        done = len(ledger.view().counted())
        total = done + 1 if single else _planned(composed)
        capacity = find_capacity(config, bench, 1 if single else total - done)
        bench = replace(bench, threads=capacity.threads)
        if done < total:  # a finished study stays as it is
            ledger.set_facts(
                config={"sweep": composed.sweep, **shareable(composed)},
                search_space=dict(config.search_space),
                provenance=bench.provenance(),
                n_trials=total,
            )
    publisher = Publisher(ledger, results_dir, config.tracking.uri, config.tracking.enabled, console)
    display.opening(ledger.view(), total, results_dir, recovered=recovered, workers=capacity.workers)
    ran: list[int] = []
    try:
        if done < total:
            work = Work(
                ledger=ledger,
                arguments=study,
                bench=bench,
                values=composed.values,
                capacity=capacity,
                done=done,
                total=None if single else total,
                overrides=reproducing(composed, bench),
                fixed=composed.fixed() if single else {},
                anchors=None if single or ledger.view().anchors else lambda: ledger.set_facts(anchors=bench.anchors()),
            )
            ran = run_work(work, display, publisher, console)
    except KeyboardInterrupt as interrupt:
        how = "Stopped" if isinstance(interrupt, Stopped) else "Interrupted"
        kept = "It is kept" if single else "The study is kept; the same command continues it"
        console.print(f"\n{how}. {kept}. What there is so far: adapter-sweep report {name}{_where(results_dir)}")
        publisher.interrupted()
        raise
    _close(console, ledger, publisher, results_dir, url, single=ran[0] if single else None)
    ledger.leave()  # a group goes on with other studies


def _as_begun(composed: Composed, name: str, url: str) -> SweepConfig:
    """The settings, `auto` being what it came to when the study was begun: another measurement may come out otherwise.

    A study that is to be begun, and one whose settings are given, has them as they are.
    """
    results_dir = Path(composed.config.results_dir).expanduser()
    try:
        facts = Ledger.read(name, url=url, results_dir=results_dir).view().provenance
    except UserInputError:  # there is no such study yet; one that is not ours is told when it is opened
        return composed.config
    chosen = {
        key: facts[fact]
        for key, fact, now in (
            ("train.precision", "precision", composed.config.train.precision),
            ("backbone.attention", "attention", composed.config.backbone.attention),
        )
        if now == "auto" and fact in facts
    }
    return validate(with_params(composed.values, chosen))


def _planned(composed: Composed) -> int:
    """How many trials the study is to have: no more than a grid has points."""
    wanted = composed.config.study.n_trials
    if composed.config.study.sampler != "grid":
        return wanted
    return min(wanted, len(grid_points(composed.space)))


def _close(
    console: Console, ledger: Ledger, publisher: Publisher, results_dir: Path, url: str, *, single: int | None
) -> None:
    """The report, and the last words: the front (or the single trial), where everything is, how to look at it."""
    with console.status("Writing the report …"):
        publisher.all()
        written = report_study(ledger.name, url=url, results_dir=results_dir, folder=ledger.folder)
        publisher.report(ledger.folder)
    view, paths = written.study, written.paths
    one = next((trial for trial in view.trials if trial.number == single), None)
    if one is None:
        print_front(console, view)
        if written.found is not None:
            print_confirmed(console, view, written.found)
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
