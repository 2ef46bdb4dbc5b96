"""Joint draws of the configurations' expected scores: over other test rows, and over other seeds.

A configuration's expected score is the mean over all seeds and all rows of the task. What is known of it are a few
seeds scored on the same rows, the design of readers and cases in diagnostic imaging (Obuchowski and Rockette 1995):
a run's score carries noise of the rows that all runs share, noise of the rows that is the run's own, and noise of the
seed. Resampling rows shows the first two. Resampling three seeds shows two thirds of the third, and its tails not at
all, so the seeds' variance is drawn from its own sampling distribution instead.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["PRIOR_SEEDS", "joint_draws", "seed_variances"]

Floats = npt.NDArray[np.float64]

PRIOR_SEEDS = 3.0
"""Degrees of freedom that the other configurations' seed variance is worth for a configuration, at most.

Two degrees of freedom, of three seeds, are too few to tell anything apart; those of all configurations together would
hide one that is less stable than the rest. In simulation, where three configurations of five vary by 3 points over
seeds and two not at all, somebody was called dominated wrongly in 3.7 % of studies at a weight of 3, in 6.8 % at 6;
the weight makes little difference where configurations vary alike.
"""


def seed_variances(scores: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The variance of the score over seeds, moderated by that of the other configurations (Smyth 2004, section 3).

    It is the mean, weighted by degrees of freedom, of the configuration's own sample variance and the others' pooled
    one. The others weigh no more than `PRIOR_SEEDS`, and no more than the degrees of freedom they have.

    Args:
        scores: per configuration, the scores of its runs, one or more.

    Returns:
        The variances of a single run's score and their degrees of freedom, both [configurations]; 0 degrees where
        neither the configuration nor any other has two runs, so that nothing is known.
    """
    own = np.array([len(runs) - 1.0 for runs in scores])
    squares = np.array([np.square(runs - runs.mean()).sum() for runs in scores])
    others, others_squares = own.sum() - own, squares.sum() - squares
    weight = np.minimum(others, PRIOR_SEEDS)
    degrees = own + weight
    pooled = np.divide(others_squares, others, out=np.zeros_like(squares), where=others > 0)
    total = squares + weight * pooled
    return np.divide(total, degrees, out=np.zeros_like(total), where=degrees > 0), degrees


def joint_draws(
    scores: Floats, resampled: Floats, groups: Sequence[Sequence[int]], grain: float, random: np.random.Generator
) -> Floats:
    """Draws of the expected score of every configuration and anchor, whose spread is the doubt about it.

    Each draw is the mean over the configuration's runs on the draw's rows, plus two normal deviates. One has the seeds'
    variance beyond what resampled rows already vary between runs; that variance is itself drawn (scaled inverse
    chi-square), which gives Student's tails and widens an interval from few seeds as it has to be. The other is worth
    half a row in each direction for each run, after the half that Agresti and Min (2005) add to each cell of a paired
    table, so that two configurations without a differing row are not called equal for certain.

    Args:
        scores: [runs], on the test split.
        resampled: [draws, runs], on resampled rows, the same for all runs of a draw.
        groups: per configuration, the positions of its runs, one or more. The last positions, in none of them, are
            anchors, which no seed changes.
        grain: what one row is worth.
        random: source of the deviates; seeds are independent between configurations.

    Returns:
        [draws, configurations + anchors].
    """
    size = (len(resampled), len(groups))
    runs = np.array([len(group) for group in groups])
    means = np.stack([resampled[:, list(group)].mean(axis=1) for group in groups], axis=1)
    variances, degrees = seed_variances([scores[list(group)] for group in groups])
    known = degrees > 0
    drawn = np.zeros(size)
    chi_square = random.chisquare(degrees[known], size=(size[0], int(known.sum())))
    drawn[:, known] = variances[known] * degrees[known] / chi_square
    beyond = np.maximum(0.0, drawn - _own_noise(resampled, groups)) / runs
    means += np.sqrt(beyond) * random.standard_normal(size)
    joint: Floats = np.hstack([means, resampled[:, runs.sum() :]])
    averaged = np.r_[runs, np.ones(joint.shape[1] - len(groups))]
    joint += grain * np.sqrt(0.5 / averaged) * random.standard_normal(joint.shape)
    return joint


def _own_noise(resampled: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """Per configuration, the variance between its runs that the choice of rows alone explains: [configurations].

    Where a configuration has one run, the mean of the others' takes its place.
    """
    moved = resampled - resampled.mean(axis=0)
    # Rows move all runs of a draw together, and each by itself: only the latter shows between its runs.
    several = {i: moved[:, list(g)].var(axis=1, ddof=1).mean() for i, g in enumerate(groups) if len(g) > 1}
    usual = float(np.mean(list(several.values()))) if several else 0.0
    return np.array([several.get(index, usual) for index in range(len(groups))])
