"""Confirmed studies made up: by hand, and by chance from a known truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from report_studies import make_study
from scipy.special import ndtr, ndtri

from adapter_sweep.records import Confirmation, ConfirmedRun, ParamValue, StudyView, TrialState

Floats = npt.NDArray[np.float64]


def make_run(
    configuration: str,
    seed: int,
    predictions: Sequence[int] = (),
    *,
    state: TrialState = TrialState.COMPLETE,
    reason: str | None = None,
    params: Mapping[str, ParamValue] | None = None,
    **metrics: float,
) -> ConfirmedRun:
    trial = int(configuration) if configuration.isdecimal() else None
    swept = {"method.placement": "both", "method.width": 8 + (trial or 0)} if params is None else params
    return ConfirmedRun(configuration, trial, swept, seed, state, metrics, tuple(predictions), reason)


def confirmed_study(
    labels: Sequence[int],
    runs: Sequence[ConfirmedRun],
    *,
    metric: str = "accuracy",
    anchors: Mapping[str, Sequence[int]] | None = None,
    **more: object,
) -> StudyView:
    seeds = tuple(sorted({run.seed for run in runs}))
    kept = {name: tuple(classes) for name, classes in (anchors or {}).items()}
    return make_study(confirmation=Confirmation(metric, tuple(labels), seeds, tuple(runs), kept), **more)


def guesses(labels: Sequence[int], wrong: Sequence[int]) -> tuple[int, ...]:
    """Predictions for two classes that err on the rows `wrong`."""
    return tuple(1 - label if row in set(wrong) else label for row, label in enumerate(labels))


@dataclass(frozen=True)
class Truth:
    """A kind of study whose every expected score is known.

    A run is right on a row where its configuration's level, moved by its seed, plus the row's ease exceeds 0. Ease is
    normal, with a part that all configurations share, one that all seeds of a configuration share, and one of the
    run's own: so configurations err on the same rows, and the share of right rows is a normal integral. There is one
    anchor, which has no seeds.

    Attributes:
        accuracy: per configuration, over all rows and seeds.
        seed_sd: per configuration, the standard deviation of a run's true accuracy over seeds, about.
        params, ratio: per configuration, its costs; `floor` is the latency's noise floor.
        ease: the three parts' shares of the ease's variance.
        classes: share of each class; predictions that are not right fall on any other class alike.
        fails: the chance that a run failed.
    """

    accuracy: tuple[float, ...]
    seed_sd: tuple[float, ...]
    params: tuple[float, ...]
    ratio: tuple[float, ...]
    rows: int
    seeds: int
    floor: float = 0.005
    ease: tuple[float, float, float] = (0.7, 0.1, 0.2)
    metric: str = "accuracy"
    classes: tuple[float, ...] = (0.5, 0.5)
    fails: float = 0.0
    objectives: Mapping[str, str] = field(
        default_factory=lambda: {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"}
    )

    def spread(self) -> Floats:
        """Per configuration, the seeds' standard deviation on the scale of ease."""
        density = np.exp(-(ndtri(np.array(self.accuracy)) ** 2) / 2) / np.sqrt(2 * np.pi)
        return np.asarray(np.array(self.seed_sd) / density)

    def scores(self) -> Floats:
        """Per configuration, the expected score."""
        return self._expected(self._levels(), self.spread())

    def anchor_score(self) -> float:
        """The expected score of the one anchor, which is right on 0.75 of all rows."""
        return float(self._expected(ndtri([0.75]), np.zeros(1))[0])

    def _expected(self, levels: Floats, spread: Floats) -> Floats:
        """The scores over all rows, and over all seeds by quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        right = ndtr(levels[:, None] + spread[:, None] * nodes)
        shares = np.array(self.classes)[:, None, None]
        guessed = shares * right + (1 - shares) * (1 - right) / (len(self.classes) - 1)
        f1 = (2 * shares * right / (shares + guessed)).mean(axis=0)
        return np.asarray((right if self.metric == "accuracy" else f1) @ weights / weights.sum())

    def dominated(self) -> npt.NDArray[np.bool_]:
        """Per configuration, whether another one truly dominates it."""
        scores, params, ratio = np.round(self.scores(), 9), np.array(self.params), np.array(self.ratio)
        found = []
        for one in range(len(scores)):
            no_worse = (params <= params[one]) & (ratio <= ratio[one] + self.floor) & (scores >= scores[one])
            better = (params < params[one]) | (ratio < ratio[one] - self.floor) | (scores > scores[one])
            found.append(bool((no_worse & better).any()))
        return np.array(found)

    def study(self, random: np.random.Generator) -> StudyView:
        """A study drawn from this truth."""
        common, per_configuration, per_run = (np.sqrt(part) for part in self.ease)
        labels = random.choice(len(self.classes), size=self.rows, p=self.classes)
        shared = common * random.standard_normal(self.rows)

        def predicted(strength: Floats) -> list[int]:
            other = (labels + random.integers(1, len(self.classes), size=self.rows)) % len(self.classes)
            guessed: list[int] = np.where(strength > 0, labels, other).tolist()
            return guessed

        runs = []
        for index, (level, spread) in enumerate(zip(self._levels(), self.spread(), strict=True)):
            ease = level + shared + per_configuration * random.standard_normal(self.rows)
            costs = {"trainable_params": self.params[index], "latency_ratio": self.ratio[index]}
            for seed in range(self.seeds):
                own = ease + spread * random.standard_normal() + per_run * random.standard_normal(self.rows)
                if random.random() < self.fails:
                    runs.append(make_run(str(index), seed, state=TrialState.FAILED, reason="out of memory"))
                else:
                    runs.append(make_run(str(index), seed, predicted(own), latency_noise_floor=self.floor, **costs))
        own = ndtri(0.75) + shared + np.hypot(per_configuration, per_run) * random.standard_normal(self.rows)
        return confirmed_study(
            labels.tolist(),
            runs,
            metric=self.metric,
            anchors={"probe": predicted(own)},
            objectives=dict(self.objectives),
        )

    def _levels(self) -> Floats:
        return np.asarray(ndtri(np.array(self.accuracy)) * np.sqrt(1 + self.spread() ** 2))
