"""What the user sees while a study runs."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from adapter_sweep.engine.training import Progress as StepProgress
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView

__all__ = ["Display"]


class Display:
    """Trials done, the current trial, epoch, loss, validation accuracy and time left.

    On a terminal a live line each for the study and the trial; elsewhere a plain line at each epoch and each end.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None
        self._study_bar = self._trial_bar = TaskID(0)
        self._done = self._total = self._ended = 0
        self._began = self._trial_began = 0.0
        self._name = ""
        self._accuracy = ""

    def opening(self, study: StudyView, total: int, results_dir: Path, *, recovered: int) -> None:
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
        self._console.print(f"Backbone    {facts['model']} on {facts['device']}, {facts['threads']} threads")
        for name in ("precision", "attention"):
            if f"{name}_reason" in facts:
                self._console.print(f"{name.capitalize():<12}{facts[name]}: {facts[f'{name}_reason']}", soft_wrap=True)
        for key, text in study.search_space.items():
            self._console.print(f"Search      {key} = {text}")
        done = len(study.counted())
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
            self._trial_bar = live.add_task("…", total=1, text="")
            try:
                yield
            finally:
                self._live = None

    # -- told by the study loop

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """A trial begins."""
        self._trial_began = time.monotonic()
        self._accuracy = ""
        self._name = f"trial {number}"
        values = _short(params)
        if self._live:
            self._live.reset(self._trial_bar, total=1, description=self._name, text=values)
        else:
            self._console.print(f"{self._name}: {values}")

    def stage(self, text: str) -> None:
        """What is being done."""
        if self._live:
            self._live.update(self._trial_bar, description=f"{self._name} {text}")

    def step(self, progress: StepProgress) -> None:
        """A training step ended."""
        if self._live:
            if progress.step % 5 == 1 or progress.step == progress.steps:
                self._live.update(self._trial_bar, description=f"{self._name} training")
            text = f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.3f}{self._accuracy}"
            self._live.update(self._trial_bar, total=progress.steps, completed=progress.step, text=text)
            self._live.update(
                self._study_bar,
                text=f"{self._done}/{self._total}{self._left(progress.step / progress.steps)}",
            )

    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch was scored."""
        self._accuracy = f"  accuracy {accuracy:.3f}"
        if not self._live:
            self._console.print(f"  epoch {epoch}/{epochs}  loss {loss:.3f}{self._accuracy}")

    def end(self, trial: TrialView) -> None:
        """A trial ended."""
        self._done += 1
        self._ended += 1
        seconds = time.monotonic() - self._trial_began
        line = f"trial {trial.number:>3}  {_short(trial.params)}  {_result(trial)}  ({seconds:.0f} s)"
        if not self._live:
            line += f"  [{self._done}/{self._total}{self._left(0)}]"
        self._console.print(line)
        if self._live:
            self._live.update(self._study_bar, completed=self._done, text=f"{self._done}/{self._total}{self._left(0)}")

    def _left(self, fraction: float) -> str:
        """Time left, from the trials of this session so far."""
        done = self._ended + fraction
        if done < 0.2 or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self._total - self._done - fraction)
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


def _result(trial: TrialView) -> str:
    if trial.state is not TrialState.COMPLETE:
        return f"{trial.state}: {trial.reason}"
    metrics = trial.metrics
    return (
        f"accuracy {metrics['accuracy']:.3f}  params {metrics['trainable_params']:,.0f}  "
        f"latency x{metrics['latency_ratio']:.2f}"
    )
