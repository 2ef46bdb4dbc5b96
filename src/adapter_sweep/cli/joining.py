"""`worker`: take part in a study that was begun elsewhere. What it needs it reads in the ledger."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from adapter_sweep.cli.beginning import ledger_arguments
from adapter_sweep.cli.capacity import find_capacity, worker_threads
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.identity import facts_of_definition
from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.publishing import publisher_of
from adapter_sweep.cli.running import Work, run_work
from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.given import option
from adapter_sweep.config.space import parse_dimension
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import UserInputError
from adapter_sweep.opening import open_bench
from adapter_sweep.provenance import code_provenance
from adapter_sweep.records import StudyView
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.patience import patient
from adapter_sweep.study.storage import sqlite_file

__all__ = ["Here", "join_study"]

_PLACES = ("backbone.path", "task.path", "task.validation_path", "task.test_path")
_MEANS = ("train.device", "train.threads", "train.cohort", "train.cache_gb")
HERE = ("results_dir", "tracking.enabled", *_MEANS, *_PLACES)
"""What may be another on each host: where things lie and what the host has, never what a trial is."""

_SAME_VERSIONS = ("adapter-sweep", "torch", "transformers", "peft", "datasets", "evaluate", "scikit-learn")


@dataclass(frozen=True)
class Here:
    """What a worker is told of its own host.

    Attributes:
        storage: the ledger's database URL; None for the environment's, or the results folder's.
        tracking: the MLflow store's; None for the study's own, where it can be reached from here.
        count: processes that run trials; None for as many as the host takes.
        settings: some of `HERE` with their values.
    """

    storage: str | None
    tracking: str | None
    count: int | None
    settings: Mapping[str, Any]

    @classmethod
    def given(cls, storage: str | None, tracking: str | None, count: int | None, overrides: Sequence[str]) -> "Here":
        """As the command line has it.

        Raises:
            UserInputError: an override is none, or is of what the study decides.
        """
        settings, problems = {}, []
        for text in overrides:
            try:
                override = OverridesParser.create().parse_override(text)
            except HydraException:
                problems.append(f"{text!r}: expected key=value in Hydra's override grammar")
                continue
            key = override.key_or_group
            if key not in HERE or override.is_sweep_override() or override.is_delete():
                problems.append(f"{text}: the study decides it; a worker may be given: {', '.join(HERE)}")
            else:
                value = override.value()
                settings[key] = option(override) if isinstance(value, str) or hasattr(value, "text") else value
        if problems:
            raise UserInputError(*problems)
        return cls(storage, tracking, count, settings)


def join_study(name: str, here: Here) -> None:
    """Run a study's trials beside whoever else does, until it has all it is to have.

    The trials are shown in MLflow from here, where their files are.

    Raises:
        UserInputError: there is no such study, it cannot be joined, or its trials and this host's would not be
            comparable: what differs.
        KeyboardInterrupt: as it came; the running trials are marked interrupted and their configurations queued again.
        AdapterSweepError: the ledger or the data cannot be had.
    """
    console = open_console()
    results_dir = Path(here.settings.get("results_dir", "results")).expanduser()
    url = storage_url(here.storage, results_dir)
    known = patient(Ledger.read)(name, url=url, results_dir=results_dir)  # a job may begin while it is restarted
    view = known.view()
    job = known.fact("job")
    _check_joinable(view, job, url)
    config = _settings(view, here)
    total = view.n_trials
    with console.status("Loading the backbone and the data …"):
        bench = open_bench(config, threads=worker_threads(config))
        begun = dict.fromkeys(("precision", "attention"), "as the study was begun")
        bench = replace(bench, reasons={**bench.reasons, **begun})
        told = {**known.fact("definition"), **facts_of_definition(bench)}
        space = {key: parse_dimension(key, text) for key, text in config.search_space.items()}
        study = ledger_arguments(
            config, name, url, results_dir, definition=told, objectives=view.objectives, space=space
        )
        ledger = patient(Ledger.start)(**study)
        recovered = ledger.recover()
        done = len(ledger.view().counted())
        capacity = find_capacity(config, bench, max(1, total - done))
        bench = replace(bench, threads=capacity.threads)
    publisher = publisher_of(ledger, config.tracking, url, results_dir, console)
    display = Display(console, metric=config.task.metric)
    display.opening(ledger.view(), total, results_dir, recovered=recovered, workers=capacity.workers)
    try:
        if done < total:
            work = Work(ledger, study, bench, config.model_dump(), capacity, done, total, tuple(job["overrides"]))
            run_work(work, display, publisher, console)
    except KeyboardInterrupt:
        console.print("\nInterrupted. The study goes on without this worker; the same command joins it again.")
        publisher.interrupted()
        raise
    publisher.finish()
    now = ledger.view()
    console.print(f"No more to begin: {len(now.counted())} of {now.n_trials} trials are done or run elsewhere.")


def _check_joinable(view: StudyView, job: Mapping[str, Any] | None, url: str) -> None:
    """Check that trials of this host can stand beside the study's, as far as is known before anything is loaded."""
    if job is None:
        raise UserInputError(
            f"study {view.name!r} cannot be joined: it is of single trials or a confirmation, or was begun by an older "
            "adapter-sweep, and then the `run` that began it makes it so"
        )
    began, here = view.provenance, code_provenance()
    if sqlite_file(url) is not None and began.get("host", platform.node()) != platform.node():
        raise UserInputError(
            f"study {view.name!r} lies in an SQLite file of host {began['host']}, and only that host may use it; "
            "for several hosts begin the study with study.storage=postgresql://…"
        )
    versions = [(package, began.get(package), here.get(package)) for package in _SAME_VERSIONS]
    different = [
        f"  {package}: {then or 'absent'} there, {now or 'absent'} here"
        for package, then, now in versions
        if _release(then) != _release(now)
    ]
    if different:
        raise UserInputError(
            f"study {view.name!r} runs with other versions, and its trials and this host's would not be comparable; "
            "install the same here. What differs:",
            *different,
        )


def _release(version: str | None) -> str | None:
    """A version without its build: `2.13.0+cpu` computes what `2.13.0` does."""
    return version and version.partition("+")[0]


def _settings(view: StudyView, here: Here) -> SweepConfig:
    """The study's own settings, with what this host has in place of what the first one had."""
    own: dict[str, Any] = {key: value for key, value in view.config.items() if key != "sweep"}
    own["workers"] = {"kind": "local", "count": here.count}
    own["study"] = {**own["study"], "storage": None}
    own["tracking"] = _tracking(own["tracking"], here, shared=view.provenance.get("host") == platform.node())
    own["train"] = {**own["train"], "threads": None, "device": "auto"}
    chosen = {"train.precision": view.provenance["precision"], "backbone.attention": view.provenance["attention"]}
    try:
        return validate(with_params(own, {**chosen, **here.settings}))
    except KeyError as error:
        raise UserInputError(f"{error.args[0]}: this study has no such key") from None


def _tracking(of_study: Mapping[str, Any], here: Here, *, shared: bool) -> dict[str, Any]:
    """Where this host shows its trials: nowhere where the study's store is the first host's own files."""
    enabled = of_study.get("enabled", True)  # a study that was restored may not know
    uri = here.tracking or of_study.get("uri")
    if uri is None:
        return {"enabled": enabled and shared, "uri": None}
    if (here.tracking is None and uri != mask_credentials(uri)) or "***@" in uri:
        raise UserInputError(
            f"the study's MLflow store {uri} wants credentials, which the ledger does not hold; give --tracking, or "
            "set MLFLOW_TRACKING_URI"
        )
    return {"enabled": enabled, "uri": uri}
