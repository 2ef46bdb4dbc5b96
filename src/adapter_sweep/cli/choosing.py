"""`best`: which trial to ship. Needs neither torch nor MLflow."""

import platform
import textwrap
from collections.abc import Callable
from pathlib import Path

from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.quantities import read_accuracy, read_count, read_ratio
from adapter_sweep.config import SweepConfig
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import TrialView
from adapter_sweep.report import Budget, choice_json, choice_lines, choose, nothing_fits
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url

__all__ = ["print_best", "read_budget"]


def read_budget(max_params: str | None, max_latency_ratio: str | None, min_accuracy: str | None) -> Budget:
    """The budget from the command's options.

    Raises:
        UserInputError: every option that could not be read.
    """
    problems: list[str] = []

    def read(option: str, text: str | None, reader: Callable[[str, str], float]) -> float | None:
        try:
            return None if text is None else reader(option, text)
        except UserInputError as error:
            problems.extend(error.problems)
            return None

    budget = Budget(
        max_params=read("--max-params", max_params, read_count),
        max_latency_ratio=read("--max-latency-ratio", max_latency_ratio, read_ratio),
        min_accuracy=read("--min-accuracy", min_accuracy, read_accuracy),
    )
    if problems:
        raise UserInputError(*problems)
    return budget


def print_best(study: str, config: SweepConfig, budget: Budget, *, as_json: bool) -> int:
    """Print the trial that the budget allows and the rule picks; 0 where there is one, 1 where nothing fits."""
    results_dir = Path(config.results_dir).expanduser()
    view = read_study(study, url=storage_url(config.study.storage, results_dir), results_dir=results_dir)
    choice = choose(view, budget)
    if as_json:
        print(choice_json(view, choice), end="")
        return 0 if choice.recommended else 1
    if choice.recommended is None:
        raise AdapterSweepError(nothing_fits(view, choice))
    lines = [*choice_lines(view, choice), ("Weights", _weights(choice.recommended.trial))]
    width = max(len(label) for label, _ in lines) + 2
    console = open_console()
    for label, text in lines:
        line = f"{label:<{width}}{text}"
        # On a terminal sentences stay in their column; what is to be copied, or piped, is one line.
        if console.is_terminal and label not in ("Command", "Weights"):
            line = textwrap.fill(line, console.width, subsequent_indent=" " * width)
        console.print(line)
    return 0


def _weights(trial: TrialView) -> str:
    if trial.weights_path is None:
        return "none were kept; the command above trains them again"
    host = trial.provenance.get("host", platform.node())
    if not Path(trial.weights_path).exists() and host != platform.node():
        return f"{trial.weights_path} on host {host}, in its results folder"
    if not Path(trial.weights_path).exists():
        return f"{trial.weights_path} is gone; the command above trains them again"
    return trial.weights_path
