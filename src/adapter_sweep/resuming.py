"""What a trial keeps of itself while it trains, so that a retry of it goes on where it was."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from adapter_sweep.bench import Bench
from adapter_sweep.checkpoints import CHECKPOINT_FILE, discard
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.checkpoint import (
    Contents,
    NoCheckpointError,
    key_of,
    load_checkpoint,
    pack,
    save_checkpoints,
    unpack,
)
from adapter_sweep.engine.members import fits
from adapter_sweep.engine.progress import Standing, Training
from adapter_sweep.engine.stopping import Best
from adapter_sweep.trial import Prepared

__all__ = ["Gathered", "Kept", "TrialsKeeper", "checkpoint_key", "newest", "of_key"]

_log = logging.getLogger(__name__)

_SHARE = 0.005  # of the time, that keeping may take where it is left to us
_BYTES_PER_SECOND = 2e8  # to a plain disk, synced; until it is known
_FIXED_SECONDS = 0.02
# Of the configuration, and without effect on what comes out.
_NO_MATTER = ("cohort", "cache_gb", "threads", "device", "checkpoint_every")


@dataclass
class Gathered:
    """What is gathered of a trial while it trains."""

    metrics: dict[str, float] = field(default_factory=dict)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    predictions: tuple[Any, ...] = ()
    best: Best | None = None
    training: Training = field(default_factory=Training)
    error: Exception | None = None

    def copy(self) -> "Gathered":
        """As it is now, whatever is gathered further."""
        return replace(self, metrics=dict(self.metrics), scores=[*self.scores])


@dataclass(frozen=True)
class Kept:
    """What a checkpoint says: where training stood, and what had been gathered."""

    standing: Standing
    gathered: Gathered


def checkpoint_key(trial: Prepared, bench: Bench) -> str:
    """What decides a trial's training and scores, as a key: its settings, data, backbone, device, packages.

    Not how many threads or trials share the work: they decide the rounding alone.
    """
    train = {name: value for name, value in trial.config.train.model_dump().items() if name not in _NO_MATTER}
    facts = bench.provenance()
    around = ("model_fingerprint", "data_fingerprint", "device", "precision", "attention", "adapter-sweep")
    packages = ("torch", "transformers", "peft")
    told = {
        "train": train,
        "method": {"kind": trial.config.method.kind, **trial.config.method.plain()},
        "task": bench.data.type,
        "metric": trial.config.task.metric,
        "pooling": bench.backbone.pooling,
        "scored": bench.scored,
        **{name: facts.get(name) for name in (*around, *packages)},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


def of_key(folders: Iterable[Path], key: str) -> list[Path]:
    """Those of the folders with a checkpoint that a trial of this key can go on from, as far as it says itself."""
    return [folder for folder in folders if key_of(folder / CHECKPOINT_FILE) == key]


def newest(folders: Sequence[Path], key: str, model: AdaptedModel) -> Kept | None:
    """What the newest checkpoint says that a trial can go on from; None where there is none.

    One that is broken, or of another trial, is told as a warning, and passed over.

    Args:
        folders: of the trial itself and of those it is a retry of, the newest first.
        key: see `checkpoint_key`.
        model: the trial's.
    """
    for folder in folders:
        path = folder / CHECKPOINT_FILE
        with suppress(FileNotFoundError):
            try:
                contents = load_checkpoint(path, key)
                kept = _kept(contents)
                if not fits(kept.standing, model):
                    raise NoCheckpointError("it is of another model")
            except (NoCheckpointError, KeyError, TypeError, ValueError, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                _log.warning("%s is not used, and training goes back behind it: %s", path, error)
            else:
                return kept
    return None


class TrialsKeeper:
    """Keeps checkpoints of trials that train together; of each trial the newest.

    What goes wrong (a full disk) is told as a warning once, and costs no trial.

    Args:
        places: of each trial its key, and the folders it may have gone on from, its own first.
        every: after how many steps; None for not unless asked; `auto` for as often as takes no more than 0.5 % of the
            time.
        sizes: numbers that are trained, all trials' together.
        gathered: what is gathered of a trial, by its position, that belongs to a standing.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, Sequence[Path]]],
        every: int | Literal["auto"] | None,
        sizes: int,
        gathered: Callable[[int, Standing], Gathered],
    ) -> None:
        self._places, self._every, self._gathered = places, every, gathered
        self._steps = 0
        self._cost = _FIXED_SECONDS * len(places) + 3 * 4 * sizes / _BYTES_PER_SECOND
        self._since = time.monotonic()
        self._written: dict[int, tuple[int, int]] = {}
        self._warned = False

    def due(self) -> bool:
        """Whether a checkpoint is to be written after the step that has just ended."""
        self._steps += 1
        if self._every == "auto":
            return _SHARE * (time.monotonic() - self._since) >= self._cost
        return self._every is not None and self._steps % self._every == 0

    def keep(self, standings: Mapping[int, Standing]) -> None:
        """Write the trials' checkpoints, and delete those they went on from."""
        started = time.monotonic()
        places = {position: (standing.epochs, standing.batches) for position, standing in standings.items()}
        left = {p: standing for p, standing in standings.items() if self._written.get(p) != places[p]}
        try:
            save_checkpoints(
                {
                    self._places[position][1][0] / CHECKPOINT_FILE: _contents(
                        self._places[position][0], Kept(standing, self._gathered(position, standing))
                    )
                    for position, standing in left.items()
                }
            )
        except Exception as error:
            if not self._warned:
                _log.warning("no checkpoint could be written, and training goes on: %s", error)
            self._warned = True
        else:
            for position in left:
                discard(self._places[position][1][1:])
            self._written |= places
        self._since = time.monotonic()
        self._cost = self._since - started


def _contents(key: str, kept: Kept) -> Contents:
    facts, tensors = pack(kept.standing)
    own, best = kept.gathered, kept.gathered.best
    facts["metrics"], facts["scores"] = own.metrics, own.scores
    facts["final"], facts["predictions"] = own.final, own.predictions
    if best is not None:
        told = asdict(replace(best, weights={}))
        facts["best"] = {name: value for name, value in told.items() if name != "weights"}
        tensors |= {f"best.{name}": tensor.cpu() for name, tensor in best.weights.items()}
    return Contents(key, facts, tensors)


def _kept(contents: Contents) -> Kept:
    facts, tensors = contents.facts, contents.tensors
    best: Best | None = None
    if "best" in facts:
        weights: dict[str, Tensor] = {
            name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")
        }
        told = facts["best"]
        best = Best(told["epoch"], told["value"], told["scores"], _tuples(told["predictions"]), weights)
    gathered = Gathered(
        metrics=dict(facts["metrics"]),
        scores=[(step, scores) for step, scores in facts["scores"]],
        final=dict(facts["final"]),
        predictions=_tuples(facts["predictions"]),
        best=best,
    )
    return Kept(unpack(facts, tensors), gathered)


def _tuples(values: Any) -> Any:
    """Predictions as they were: JSON made lists of their tuples."""
    return tuple(_tuples(value) for value in values) if isinstance(values, list) else values
