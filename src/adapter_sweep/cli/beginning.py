"""Beginning a study, or opening it again: what every way of running one starts with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapter_sweep.bench import Bench
from adapter_sweep.cli.capacity import Capacity, find_capacity, worker_threads
from adapter_sweep.cli.identity import definition, reproducing, shareable
from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.space import Dimension, grid_points
from adapter_sweep.errors import UserInputError
from adapter_sweep.opening import open_bench
from adapter_sweep.records import Direction
from adapter_sweep.study.ledger import Ledger, storage_url

__all__ = ["Begun", "begin", "ledger_arguments"]


@dataclass(frozen=True)
class Begun:
    """A study that trials can be run of.

    Attributes:
        ledger: the study.
        arguments: those of `Ledger.start`, with which workers open it.
        bench: its backbone and data.
        capacity: the workers of this host.
        done: trials that it has.
        total: trials it is to have.
        recovered: trials whose process had died.
    """

    ledger: Ledger
    arguments: Mapping[str, Any]
    bench: Bench
    capacity: Capacity
    done: int
    total: int
    recovered: int

    @property
    def goes_on(self) -> bool:
        """Whether there is anything to run or to wait for: others may still run the last trials, or die."""
        return self.done < self.total or bool(self.ledger.awaited(self.total))


def begin(composed: Composed, name: str, *, single: bool) -> Begun:
    """Load what a configuration names and open its study, making it where there is none.

    Whoever joins the study finds in the ledger what it needs; no credentials are among it.

    Raises:
        UserInputError: the study exists with another definition, or the input is wrong.
        AdapterSweepError: the ledger or the data cannot be had.
    """
    results_dir = Path(composed.config.results_dir).expanduser()
    url = storage_url(composed.config.study.storage, results_dir)
    config = _as_begun(composed, name, url)
    bench = open_bench(config, threads=None if single else worker_threads(config))
    asked = composed.config
    changed = {
        "precision": config.train.precision != asked.train.precision,
        "attention": config.backbone.attention != asked.backbone.attention,
    }
    begun = {key: "as the study was begun" for key, was_auto in changed.items() if was_auto}
    bench = replace(bench, reasons={**bench.reasons, **begun})
    told = definition(composed, bench, single=single)
    study = ledger_arguments(
        config, name, url, results_dir, definition=told, objectives=config.objectives, space=composed.space
    )
    if single:
        study["sampler"] = "random"  # a single trial leaves nothing to sample
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
            **({} if single else {"job": {"overrides": reproducing(composed, bench)}}),
        )
    return Begun(ledger, study, bench, capacity, done, total, recovered)


def ledger_arguments(
    config: SweepConfig,
    name: str,
    url: str,
    results_dir: Path,
    *,
    definition: Mapping[str, Any],
    objectives: Mapping[str, Direction],
    space: Mapping[str, Dimension],
) -> dict[str, Any]:
    """What `Ledger.start` is given to begin, to go on with or to join a study of these settings."""
    return {
        "name": name,
        "url": url,
        "results_dir": results_dir,
        "definition": definition,
        "objectives": objectives,
        "space": space,
        "sampler": config.study.sampler,
        "seed": config.study.seed,
        "max_retries": config.study.max_retries,
        "heartbeat_seconds": config.study.heartbeat_seconds,
    }


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
