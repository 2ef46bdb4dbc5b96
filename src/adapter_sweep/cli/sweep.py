"""`run` and `trial`: the only place where configuration, engine, ledger, MLflow and report meet."""

from collections.abc import Sequence
from pathlib import Path

from adapter_sweep.cli.beginning import begin
from adapter_sweep.cli.closing import close_study
from adapter_sweep.cli.comparing import write_several_report
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.elsewhere import run_elsewhere
from adapter_sweep.cli.identity import reproducing, study_name
from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.publishing import publisher_of
from adapter_sweep.cli.running import Work, run_work
from adapter_sweep.cli.standing import where_is
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.schema import RayWorkers, SlurmWorkers
from adapter_sweep.study.commands import command
from adapter_sweep.study.stopping import Stopped

__all__ = ["run_group", "run_single", "run_sweep"]


def run_sweep(composed: Composed) -> None:
    """Start or continue a sweep; ends with the front, the report and how to look at it."""
    workers = composed.config.workers
    if isinstance(workers, RayWorkers):
        from adapter_sweep.cli.on_ray import RayCrew  # Ray is an optional part

        run_elsewhere(composed, lambda work: RayCrew(work, workers))
    elif isinstance(workers, SlurmWorkers):
        from adapter_sweep.cli.on_slurm import SlurmCrew  # and so is submitit

        run_elsewhere(composed, lambda work: SlurmCrew(work, workers))
    else:
        _go(composed, study_name(composed), single=False)


def run_group(parts: Sequence[Composed]) -> None:
    """Run one sweep on several tasks, a study for each; ends with the report that sets them side by side."""
    for part in parts:
        run_sweep(part)
    names = [study_name(part) for part in parts]
    if len(names) > 1:
        write_several_report(names, parts[0].config)
    open_console().print(f"Confirm     {command('confirm', *names, **where_is(parts[0].config))}")


def run_single(composed: Composed) -> None:
    """Run one configuration, recorded in a study of single trials: `trials-…`, or `study.name`."""
    _go(composed, study_name(composed, prefix="trials-"), single=True)


def _go(composed: Composed, name: str, *, single: bool) -> None:
    console = open_console()
    config = composed.config
    results_dir = Path(config.results_dir).expanduser()
    display = Display(console, metric=config.task.metric)
    with console.status("Loading the backbone and the data …"):
        begun = begin(composed, name, single=single)
    url = begun.arguments["url"]
    ledger, bench, capacity, done, total = begun.ledger, begun.bench, begun.capacity, begun.done, begun.total
    publisher = publisher_of(ledger, config.tracking, url, results_dir, console)
    display.opening(ledger.view(), total, results_dir, recovered=begun.recovered, workers=capacity.workers)
    ran: list[int] = []
    try:
        if begun.goes_on:
            work = Work(
                ledger=ledger,
                arguments=begun.arguments,
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
        report = command("report", name, url=url, results_dir=results_dir)
        console.print(f"\n{how}. {kept}. What there is so far: {report}")
        publisher.interrupted()
        raise
    close_study(console, ledger, publisher, results_dir, url, single=ran[0] if single else None)
    ledger.leave()  # a group goes on with other studies
