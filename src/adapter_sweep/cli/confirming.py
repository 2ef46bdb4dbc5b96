"""`confirm`: a study's finalists, trained on fresh seeds and scored once on the test split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from adapter_sweep.bench import Bench
from adapter_sweep.cli.beginning import ledger_arguments
from adapter_sweep.cli.capacity import find_capacity, worker_threads
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.identity import masked, reproducing_with
from adapter_sweep.cli.printing import open_console, print_confirmed
from adapter_sweep.cli.publishing import Publisher, publisher_of
from adapter_sweep.cli.reporting import report_study
from adapter_sweep.cli.running import Work, run_work
from adapter_sweep.cli.selecting import Selection
from adapter_sweep.config import Dimension, IntRange, parse_dimension, validate
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.definitions import EFFORT, MEMORY
from adapter_sweep.config.naming import key_of
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.opening import open_bench
from adapter_sweep.records import ParamValue, StudyView, TrialState
from adapter_sweep.report.finalists import Finalist, fresh_seeds
from adapter_sweep.report.scores import SEEDS
from adapter_sweep.study.confirmation import SEED, confirming_study, lost_runs, write_anchors
from adapter_sweep.study.grid import params_key
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.names import study_folder
from adapter_sweep.study.ownership import check_not_anothers
from adapter_sweep.study.stopping import Stopped

__all__ = ["run_confirm"]

_OF_THE_STUDY = ("backbone", "task", "method", "methods", "train", "latency", "objectives", "search_space")


def run_confirm(selection: Selection, composed: Composed) -> None:
    """Confirm the finalists of studies.

    Raises:
        UserInputError: the backbone, the data or the device are not those of the study, or its folder is another one's.
        AdapterSweepError: the store cannot be used, or no finalist could be scored.
    """
    console = open_console()
    results_dir = Path(composed.config.results_dir).expanduser()
    url = storage_url(composed.config.study.storage, results_dir)
    for view in selection.studies:
        check_not_anothers(study_folder(results_dir, view.name), view.identity)  # before hours of training
    for view in selection.studies:
        _Confirming(view, selection.finalists[view.name], composed, url, results_dir, console).run()


@dataclass
class _Confirming:
    """One study's finalists."""

    view: StudyView
    chosen: Sequence[Finalist]
    composed: Composed
    url: str
    results_dir: Path
    console: Console

    def run(self) -> None:
        console, config = self.console, self.composed.config
        parent = Ledger.read(self.view.name, url=self.url, results_dir=self.results_dir)
        seeds = self._seeds()
        with console.status("Loading the backbone and the data …"):
            values = self._values()
            settings = validate(values)
            bench = open_bench(settings, threads=worker_threads(settings)).on_test()
            self._check_same(bench)
            points = [{**finalist.params, SEED: seed} for seed in seeds for finalist in self.chosen]
            arguments = self._arguments(bench, values, points)
            ledger = Ledger.start(**arguments)
            ledger.recover()
            begun = [trial.params for trial in ledger.view().counted()]
            # What an interrupted command has queued comes first, and may not be asked for now.
            waiting = ledger.queued()
            for params in lost_runs(ledger):
                if params not in waiting:
                    ledger.queue(params)
                    waiting.append(params)
            extra = sum(params not in points or params in begun for params in waiting)
            done, total = len(begun), len(begun) + extra + sum(point not in begun for point in points)
            capacity = find_capacity(settings, bench, total - done)
            bench = replace(bench, threads=capacity.threads)
            before: Any = ledger.view().config.get("confirmed", [])
            ledger.set_facts(
                config={**masked(values), "confirmed": self._entries(before)},
                search_space=dict(self.view.search_space),
                provenance=bench.provenance(),
                n_trials=total,
            )
        examples, names = len(bench.held_out), ", ".join(finalist.configuration for finalist in self.chosen)
        console.print(
            f"Confirming  {self.view.name}: configurations {names} on {len(seeds)} fresh seeds, "
            f"{examples} test examples; {done} of {total} runs are done, those of earlier commands included"
        )
        publisher = publisher_of(ledger, config.tracking, self.url, self.results_dir, console, confirms=parent)
        display = Display(console, what="run", metric=settings.task.metric)  # whose numbers are no trial's of the study

        def anchors() -> None:
            write_anchors(ledger, bench.labels, settings.task.metric, bench.anchor_predictions())

        try:
            if done < total or ledger.awaited(total) or self.view.confirmation is None:
                work = Work(
                    ledger=ledger,
                    arguments=arguments,
                    bench=bench,
                    values=values,
                    capacity=capacity,
                    done=done,
                    total=total,
                    overrides=reproducing_with(self.view),
                    anchors=None if self.view.confirmation is not None else anchors,
                )
                run_work(work, display, publisher, console)
        except KeyboardInterrupt as interrupt:
            how = "Stopped" if isinstance(interrupt, Stopped) else "Interrupted"
            console.print(f"\n{how}. What is done is kept; the same command continues.")
            publisher.interrupted()
            raise
        self._close(parent, publisher)
        ledger.leave()

    def _seeds(self) -> tuple[int, ...]:
        """Those of before, so that finalists of two commands can be compared, and as many more as are wanted."""
        known = self.view.confirmation.seeds if self.view.confirmation else ()
        count = self.composed.config.confirm.seeds
        fresh = (seed for seed in fresh_seeds(self.view, count + len(known)) if seed not in known)
        return (*known[:count], *(seed for seed, _ in zip(fresh, range(count - len(known)), strict=False)))

    def _values(self) -> dict[str, Any]:
        """The study's own settings, scored once, with what the command says of the machine."""
        own: dict[str, Any] = {key: self.view.config[key] for key in _OF_THE_STUDY if key in self.view.config}
        facts, given = self.view.provenance, self.composed.values
        told = [text.partition("=")[0].lstrip("+") for text in self.composed.overrides]
        # What the study needed to fit into memory its finalists need as well, unless the command says otherwise.
        machine = [key for key in EFFORT if key not in MEMORY or f"train.{key}" in told]
        own["train"] = {
            **given["train"],
            **own["train"],
            **{key: given["train"][key] for key in machine},
            "precision": facts["precision"],
            "score_epochs": "last",
            "data_seed": None,  # a fresh seed is one of the batches too
        }
        own["backbone"] = {**own["backbone"], "attention": facts["attention"]}
        budget = dict.fromkeys(given["budget"])  # the search has kept to it
        return {**given, **own, "budget": budget}

    def _check_same(self, bench: Bench) -> None:
        found, known = bench.provenance(), self.view.provenance
        problems = [
            f"study {self.view.name!r} was run with another {what}: {known[key]} then, {found[key]} now"
            for key, what in (("model_fingerprint", "backbone"), ("data_fingerprint", "data set"), ("device", "device"))
            if found[key] != known[key]
        ]
        if problems:
            raise UserInputError(*problems)

    def _arguments(
        self, bench: Bench, values: dict[str, Any], points: Sequence[dict[str, ParamValue]]
    ) -> dict[str, Any]:
        facts = bench.provenance()
        train = {key: value for key, value in values["train"].items() if key not in EFFORT}
        searched = {name: text for name, text in self.view.search_space.items() if key_of(name) not in SEEDS}
        space: dict[str, Dimension] = {name: parse_dimension(name, text) for name, text in searched.items()}
        definition: dict[str, Any] = {
            "confirms": self.view.name,
            "created": self.view.created.isoformat() if self.view.created else None,
            **{key: values[key] for key in ("backbone", "task", "method", "methods", "latency") if key in values},
            "train": train,
            **{key: facts[key] for key in ("device", "model_fingerprint", "data_fingerprint")},
        }
        arguments = ledger_arguments(
            self.composed.config,
            confirming_study(self.view.name),
            self.url,
            self.results_dir,
            definition=definition,
            objectives={"test_accuracy": "maximize"},
            space=space | {SEED: IntRange(0, 2**31 - 1)},
        )
        return {**arguments, "sampler": "random", "seed": 0, "points": points}

    def _entries(self, before: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is confirmed, that of earlier commands included."""
        entries = {params_key(entry["params"]): entry for entry in before}
        for one in self.chosen:
            entry = {"configuration": one.configuration, "trial": one.trial, "params": dict(one.params)}
            if entries.setdefault(params_key(one.params), entry)["trial"] is None:
                entries[params_key(one.params)] = entry
        return list(entries.values())

    def _close(self, parent: Ledger, publisher: Publisher) -> None:
        with self.console.status("Writing the report …"):
            publisher.catch_up()
            written = report_study(self.view.name, url=self.url, results_dir=self.results_dir, folder=parent.folder)
            publisher.finish(parent.folder)
        if written.found is not None:
            print_confirmed(self.console, written.study, written.found)
        self.console.print(f"Report      {written.paths.report_html}")
        if written.study.confirmation is None:
            raise AdapterSweepError(
                "the reference points could not be scored (the log says why), and the finalists wait for them; the "
                "same command tries again"
            )
        runs = written.study.confirmation.runs
        if not any(run.state is TrialState.COMPLETE for run in runs):
            reasons = sorted({run.reason for run in runs if run.reason})
            raise AdapterSweepError("no finalist was scored: " + "; ".join(reasons[:3]))
