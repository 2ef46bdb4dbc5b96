"""What a confirmation shows, as plain data; imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from adapter_sweep.records import ParamValue

__all__ = ["Anchor", "Difference", "Estimate", "Evidence", "Finalist", "Label"]


class Label(StrEnum):
    """Where a finalist stands among the finalists, as far as the test split can tell.

    A finalist is dominated if another one has a higher expected score and is worse in no other objective, or as high
    a score and is better in one; latency is better or worse only beyond the larger of both noise floors.
    """

    ON_FRONT = "on the front"
    """Nobody dominates it with a probability of at least 95 %, or none could at any score, by costs alone."""
    INDISTINGUISHABLE = "indistinguishable from it"
    """Neither of the others can be said: more rows or seeds would be needed. Not a claim that scores are equal."""
    DOMINATED = "dominated"
    """Somebody dominates it. In at most 5 % of studies is any of the finalists called so wrongly."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Finalist:
    """A confirmed configuration.

    Attributes:
        configuration: as in its runs.
        trial: the trial of this study that it was, if any.
        params: the swept parameters under their Hydra keys.
        seeds: the seeds that it was scored on, one or more.
        lost: seed -> why it was not.
        score: its expected score over the task's rows and all seeds: mean of its runs.
        seed_sd: standard deviation of its runs' scores on this test split; None with one run.
        metrics: recorded number -> median over its runs, where measured; costs among them.
        label: where it stands; None where one of the study's objectives was not measured.
        front_probability: the share of joint draws in which nobody dominates it; that of being dominated is the
            rest. None without a label, and where it depends on scores while no seed was repeated.
        dominated_by: configurations that are sure to dominate it, best first; empty unless it is called dominated.
    """

    configuration: str
    trial: int | None
    params: Mapping[str, ParamValue]
    seeds: tuple[int, ...]
    lost: Mapping[int, str]
    score: Estimate
    seed_sd: float | None
    metrics: Mapping[str, float]
    label: Label | None
    front_probability: float | None
    dominated_by: tuple[str, ...]


@dataclass(frozen=True)
class Anchor:
    """A reference point beside the finalists, scored on the same rows; it has no seeds."""

    name: str
    score: Estimate


@dataclass(frozen=True)
class Difference:
    """First minus second, paired over the test rows.

    Attributes:
        first: a configuration.
        second: a configuration, or an anchor's name.
        gain: the difference of their expected scores.
        probability: that it is above 0: the share of joint draws.
    """

    first: str
    second: str
    gain: Estimate
    probability: float


@dataclass(frozen=True)
class Evidence:
    """What a confirmation shows.

    Attributes:
        metric: one of `scores.METRICS`; what every score is.
        rows: rows of the test split.
        finalists: those with a score, cheapest first (see `cost_objective`), then best first.
        lost: configurations without any complete run -> why.
        differences: each pair of finalists once, in their order.
        anchors: the reference points.
        over_anchors: each finalist beside each anchor.
        seeds_known: whether any configuration was scored on two seeds. If not, nothing is known of what another seed
            would have done: intervals and differences are about these trained weights on other rows, and nobody is
            labelled but for its costs.
    """

    metric: str
    rows: int
    finalists: tuple[Finalist, ...]
    lost: Mapping[str, str]
    differences: tuple[Difference, ...]
    anchors: tuple[Anchor, ...]
    over_anchors: tuple[Difference, ...]
    seeds_known: bool

    def difference(self, first: str, second: str) -> Difference:
        """First minus second, of finalists or a finalist and an anchor.

        Raises:
            KeyError: they were not compared.
        """
        for known in (*self.differences, *self.over_anchors):
            if (known.first, known.second) == (first, second):
                return known
            if (known.first, known.second) == (second, first):
                gain = Estimate(-known.gain.value, -known.gain.high, -known.gain.low)
                return Difference(first, second, gain, 1 - known.probability)
        raise KeyError((first, second))
