"""Interleaved rounds of measurements, each a process of its own on one thread, and their tables."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

Figures = dict[str, float]
Rounds = list[dict[str, Figures]]


def interleaved(script: str, names: Sequence[str], arguments: Sequence[str], rounds: int) -> Rounds:
    """The figures of each name in each round: a drift of the machine's speed falls on all names of a round.

    Args:
        script: the program that measures one name, given as `--one NAME` and the arguments; its last line of output is
            the figures as JSON.
    """
    found: Rounds = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        # Forwards and backwards in turn, so that no name always follows the same other one.
        order = names if number % 2 == 0 else list(reversed(names))
        found.append({name: apart(script, name, arguments) for name in order})
    return found


def apart(script: str, name: str, arguments: Sequence[str]) -> Figures:
    """The figures of one name, measured in a process of its own on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, script, "--one", name, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def print_machine() -> None:
    """One line on what was measured on."""
    import torch
    import transformers

    from adapter_sweep.provenance import cpu_name

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{cpu_name()}, python {platform.python_version()}, {versions}")


def print_table(rounds: Rounds, names: Sequence[str], columns: Sequence[str]) -> None:
    """A row for each name and a column for each figure: median [min max]; `-` where a name has no such figure."""
    print(f"{'':28}" + "".join(f"{column:>26}" for column in columns))
    for name in names:
        cells = [
            spread([r[name][column] for r in rounds]) if all(column in r[name] for r in rounds) else "-"
            for column in columns
        ]
        print(f"{name:28}" + "".join(f"{cell:>26}" for cell in cells))


def print_ratios(rounds: Rounds, pairs: Sequence[tuple[str, str]], columns: Sequence[str]) -> None:
    """A row for each pair: the first over the second within each round."""
    print(f"{'':34}" + "".join(f"{column:>26}" for column in columns))
    for over, under in pairs:
        cells = [spread([r[over][column] / r[under][column] for r in rounds]) for column in columns]
        print(f"{f'{over} / {under}':34}" + "".join(f"{cell:>26}" for cell in cells))


def print_shares(rounds: Rounds, names: Sequence[str], share: Callable[[dict[str, Figures], str], Figures]) -> None:
    """A row for each name: what `share` makes of a round for it, in per cent."""
    columns = list(share(rounds[0], names[0]))
    print(f"{'':28}" + "".join(f"{column:>26}" for column in columns))
    for name in names:
        found = [share(r, name) for r in rounds]
        print(f"{name:28}" + "".join(f"{spread([100 * f[column] for f in found]):>26}" for column in columns))


def spread(values: Sequence[float]) -> str:
    """Median [min max]."""
    digits = 3 if max(values) < 10 else 1
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"
