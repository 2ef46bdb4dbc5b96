"""What the user sees while a study runs."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from adapter_sweep.engine.training import Progress as StepProgress
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.report.wording import metric_name

__all__ = ["Display"]


@dataclass
class _Running:
    """What is shown of a trial that runs."""

    began: float
    bar: TaskID | None
    fraction: float = 0.0
    score: str = ""


class Display:
    """Trials done, the running trials, each one's epoch, loss and validation score, and time left.

    On a terminal a live line each for the study and for each running trial, as many as fit; elsewhere a plain line at
    each epoch and each end.
    """

    def __init__(self, console: Console, *, what: str = "trial", metric: str = "accuracy") -> None:
        """Name what is shown.

        Args:
            console: where.
            what: the word for what is numbered.
            metric: the task's primary metric, which a score is called by.
        """
        self._console = console
        self._metric = metric
        self._what = what
        self._live: Progress | None = None
        self._study_bar = TaskID(0)
        self._running: dict[int, _Running] = {}
        self._done = self._total = self._ended = 0
        self._began = 0.0

    def opening(self, study: StudyView, total: int, results_dir: Path, *, recovered: int, workers: int = 1) -> None:
        """The first words: what is run, on what, and where it goes."""
        facts = study.provenance
        self._console.print(
            f"Study       {study.name}, {total} trial{'s' if total > 1 else ''}, {results_dir / study.name}"
        )
        self._console.print(
            f"Task        {facts['data_name']}: {facts['train_examples']} training and {facts['validation_examples']} "
            f"validation examples{_subset(study)}",
            soft_wrap=True,
        )
        threads = "1 thread" if facts["threads"] == "1" else f"{facts['threads']} threads"
        each = f"{workers} workers of {threads}" if workers > 1 else threads
        self._console.print(f"Backbone    {facts['model']} on {facts['device']}, {each}")
        for name in ("precision", "attention"):
            if f"{name}_reason" in facts:
                self._console.print(f"{name.capitalize():<12}{facts[name]}: {facts[f'{name}_reason']}", soft_wrap=True)
        for key, text in study.search_space.items():
            self._console.print(f"Search      {key} = {text}")
        done = sum(trial.state is not TrialState.RUNNING for trial in study.counted())
        if recovered:
            self._console.print(
                f"Recovered   {recovered} trials whose process had ended; their configurations are queued again"
            )
        if done:
            self._console.print(
                f"Continuing  {done} of {total} trials are done" if done < total else f"Done        all {done} trials"
            )

    @contextmanager
    def progress(self, done: int, total: int) -> Iterator[None]:
        """Show progress while open."""
        self._done, self._total, self._began = done, total, time.monotonic()
        if not self._console.is_terminal or done >= total:
            yield
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as live:
            self._live = live
            self._study_bar = live.add_task("trials", total=total, completed=done, text=f"{done}/{total}")
            try:
                yield
            finally:
                self._live = None

    # -- told by the study

    def ready(self, worker: int, seconds: Mapping[str, float]) -> None:
        """A worker is about to ask for its first trial: nothing the user waits for."""

    def warn(self, text: str) -> None:
        """Something to read."""
        self._console.print(f"warning: {text}")

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """A trial begins."""
        values = _short(params)
        bar = None
        if self._live:
            bar = self._live.add_task(f"{self._what} {number}", total=1, text=values)
            self._fit()
        else:
            self._console.print(f"{self._what} {number}: {values}")
        self._running[number] = _Running(time.monotonic(), bar)

    def stage(self, number: int, text: str) -> None:
        """What is being done."""
        self._update(number, description=f"{self._what} {number} {text}")

    def step(self, number: int, progress: StepProgress) -> None:
        """A training step ended."""
        trial = self._running.get(number)
        if trial is None or self._live is None:
            return
        trial.fraction = progress.step / progress.steps
        self._update(
            number,
            description=f"{self._what} {number} training",
            total=progress.steps,
            completed=progress.step,
            text=f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.3f}{trial.score}",
        )
        self._live.update(self._study_bar, text=f"{self._done}/{self._total}{self._left()}")

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch was scored; `accuracy` is the task's primary metric."""
        if number in self._running:
            self._running[number].score = f"  {metric_name(self._metric)} {accuracy:.3f}"
        if not self._live:
            self._console.print(
                f"{self._what} {number}: epoch {epoch}/{epochs}  loss {loss:.3f}  "
                f"{metric_name(self._metric)} {accuracy:.3f}"
            )

    def resumed(self, number: int, step: int) -> None:
        """Training goes on from a checkpoint."""
        self._console.print(f"{self._what} {number}: resumed at step {step}")

    def end(self, trial: TrialView) -> None:
        """A trial ended."""
        self._done += 1
        self._ended += 1
        running = self._running.pop(trial.number, None)
        line = f"{self._what} {trial.number:>3}  {_short(trial.params)}  {_result(trial, self._metric)}"
        if running is not None:
            line += f"  ({time.monotonic() - running.began:.0f} s)"
        if not self._live:
            line += f"  [{self._done}/{self._total}{self._left()}]"
        self._console.print(line)
        if self._live:
            if running is not None and running.bar is not None:
                self._live.remove_task(running.bar)
                self._fit()
            self._live.update(self._study_bar, completed=self._done, text=f"{self._done}/{self._total}{self._left()}")

    def _fit(self) -> None:
        """Show no more lines than the terminal has, the oldest trials first; two are left to what is printed."""
        if self._live is not None:
            for place, task in enumerate(self._live.tasks):
                self._live.update(task.id, visible=place < max(2, self._console.height - 2))

    def _update(self, number: int, **fields: Any) -> None:
        trial = self._running.get(number)
        if self._live is not None and trial is not None and trial.bar is not None:
            self._live.update(trial.bar, **fields)

    def _left(self) -> str:
        """Time left, from the trials of this session so far, those that run among them."""
        done = self._ended + sum(trial.fraction for trial in self._running.values())
        if done < 0.2 or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._began) / done * max(0.0, self._total - self._done - done + self._ended)
        return f"  about {seconds / 60:.0f} min left" if seconds >= 90 else f"  about {seconds:.0f} s left"


def _subset(study: StudyView) -> str:
    task = study.config.get("task")
    limit = task.get("max_train_examples") if isinstance(task, Mapping) else None
    return f" (task.max_train_examples={limit}; null takes all)" if limit else ""


def _short(params: Mapping[str, ParamValue]) -> str:
    return "  ".join(
        f"{key.rpartition('.')[2]} {f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in params.items()
    )


def _result(trial: TrialView, metric: str) -> str:
    if trial.state is not TrialState.COMPLETE:
        return f"{trial.state}: {trial.reason}"
    metrics = trial.metrics
    test = "test_" if "test_accuracy" in metrics else ""
    score = f"{metric_name(test + metric)} {metrics[test + 'accuracy']:.3f}"
    return f"{score}  params {metrics['trainable_params']:,.0f}  latency x{metrics['latency_ratio']:.2f}"
