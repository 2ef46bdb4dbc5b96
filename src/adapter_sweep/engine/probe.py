"""What the frozen backbone gives without any adapter: with a linear head, and with nothing trained at all."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.tasks.data import Split

__all__ = [
    "MOST_ROWS",
    "head_only_predictions",
    "known_entities",
    "label_predictions",
    "nearest_mean_predictions",
    "ridge_predictions",
    "tag_predictions",
]

# Beyond them the fits of a probe on words, or of one for each label, would take longer than a trial.
MOST_ROWS = 10_000

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_RIDGES = tuple(10.0**power for power in range(-1, 6))


def head_only_predictions(train: Tensor, evaluated: Tensor, labels: Sequence[int]) -> tuple[int, ...]:
    """Fit a logistic regression on the frozen backbone's pooled hidden states; predicted classes of `evaluated`.

    At most `MOST_ROWS` rows that lie evenly in the training split are fitted. Features are standardised; the penalty is
    the best of five by cross-validation on these rows alone, so that the adapters are compared with a probe that was
    tuned as well.

    Args:
        train: pooled hidden states of the training split, [rows, D].
        evaluated: those of another split.
        labels: of the training split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = _evenly(len(labels))
    own = [labels[row] for row in rows]
    counts = Counter(own)
    if len(counts) == 1:
        return (own[0],) * len(evaluated)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    rarest = min(counts.values())
    if rarest >= 2:
        folds = min(5, rarest)
        probe = GridSearchCV(probe, {"logisticregression__C": list(_PENALTIES)}, cv=folds)
    with training_step():  # two dozen fits are work as well: nobody reads latency beside them
        probe.fit(train[rows].cpu().numpy(), own)
    return tuple(int(label) for label in probe.predict(evaluated.cpu().numpy()))


def nearest_mean_predictions(train: Tensor, evaluated: Tensor, labels: Sequence[int]) -> tuple[int, ...]:
    """The class whose mean is nearest in angle, of each row of `evaluated`: no parameter is trained.

    That is the nearest-class-mean classifier (Mensink et al. 2012) on hidden states of length 1.

    Args:
        train: pooled hidden states of the training split, [rows, D].
        evaluated: those of another split.
        labels: of the training split.
    """
    classes = sorted(set(labels))
    own = torch.tensor(labels)
    units = functional.normalize(train.cpu().float(), dim=1)
    means = functional.normalize(torch.stack([units[own == label].mean(dim=0) for label in classes]), dim=1)
    nearest = (functional.normalize(evaluated.cpu().float(), dim=1) @ means.T).argmax(dim=1)
    return tuple(classes[index] for index in nearest.tolist())


def label_predictions(
    train: Tensor, evaluated: Tensor, labels: Sequence[Sequence[int]], outputs: int
) -> tuple[tuple[int, ...], ...]:
    """A logistic regression for each label on the frozen backbone's pooled hidden states; labels that hold, ascending.

    At most `MOST_ROWS` rows that lie evenly in the training split are fitted. The penalty, one for all labels, is the
    best of five by micro F1 on every fifth of them. What holds for none of the rows, or for all, is predicted so.

    Args:
        train: pooled hidden states of the training split, [rows, D].
        evaluated: those of another split.
        labels: of the training split, the indices of those that hold.
        outputs: how many labels there are.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    rows = _evenly(len(labels))
    holds = MultiLabelBinarizer(classes=range(outputs)).fit_transform([labels[row] for row in rows])
    if outputs == 1:  # scikit-learn takes a single column for two classes; twice the same has the same F1
        holds = holds.repeat(2, axis=1)
    probe = OneVsRestClassifier(LogisticRegression(max_iter=2000))
    with warnings.catch_warnings(action="ignore"):  # of labels that are the same for all rows
        fitted = _tuned(probe, "estimator__C", _PENALTIES, "f1_micro", train[rows], holds)
    return tuple(tuple(row[:outputs].nonzero()[0].tolist()) for row in fitted.predict(_numbers(evaluated)))


def ridge_predictions(train: Tensor, evaluated: Tensor, labels: Sequence[float]) -> tuple[float, ...]:
    """A ridge regression on the frozen backbone's pooled hidden states; a number for each row of `evaluated`.

    Features are standardised; the penalty is the best of some by leaving out one row at a time.

    Args:
        train: pooled hidden states of the training split, [rows, D].
        evaluated: those of another split.
        labels: of the training split.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), RidgeCV(alphas=_RIDGES))
    with training_step():
        fitted.fit(_numbers(train), labels)
    return tuple(float(number) for number in fitted.predict(_numbers(evaluated)))


def tag_predictions(train: Tensor, evaluated: Tensor, known: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Fit a logistic regression on the frozen backbone's hidden states of single tokens; the tag of each row.

    At most `MOST_ROWS` words that lie evenly in the training split are fitted; the penalty is the best of three by the
    macro F1 of every fifth of them.

    Args:
        train: hidden states of all tokens of the training split, [tokens, D].
        evaluated: those to be tagged.
        known: of each word of the training split that has a token, its place in `train` and its tag.
    """
    from sklearn.linear_model import LogisticRegression

    some = [known[row] for row in _evenly(len(known))]
    tags = [tag for _, tag in some]
    if len(set(tags)) == 1:
        return (tags[0],) * len(evaluated)
    probe, features = LogisticRegression(max_iter=500), train[[at for at, _ in some]]
    fitted = _tuned(probe, "C", _PENALTIES[:3], "f1_macro", features, np.array(tags))
    return tuple(int(tag) for tag in fitted.predict(_numbers(evaluated)))


def _evenly(count: int) -> list[int]:
    """At most `MOST_ROWS` of so many rows."""
    return list(range(0, count, max(1, -(-count // MOST_ROWS))))


def _tuned(probe: Any, name: str, values: Sequence[float], scoring: str, features: Tensor, targets: Any) -> Any:
    """A probe on standardised features, with the value that is best for every fifth row where the others are fitted.

    Where the others are all of one class there is nothing to tune by.
    """
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = np.where(np.arange(len(targets)) % 5 == 4, 0, -1)
    fitted = make_pipeline(StandardScaler(), probe)
    if (fold == 0).any() and len(np.unique(targets[fold == -1], axis=0)) > 1:
        grid = {f"{type(probe).__name__.lower()}__{name}": list(values)}
        fitted = GridSearchCV(fitted, grid, cv=PredefinedSplit(fold), scoring=scoring)
    with training_step():
        return fitted.fit(_numbers(features), targets)


def known_entities(train: Split, evaluated: Split) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """What is an entity of one type wherever it is one in the training split, found again, the longest first.

    The baseline of CoNLL-2003 (Tjong Kim Sang and De Meulder 2003, section 2.5).
    """
    types: dict[tuple[str, ...], set[str]] = {}
    assert train.words is not None
    assert evaluated.words is not None
    for words, entities in zip(train.words, train.labels, strict=True):
        for first, last, name in entities:
            types.setdefault(words[first : last + 1], set()).add(name)
    known = {words: names.copy().pop() for words, names in types.items() if len(names) == 1}
    longest = max(map(len, known), default=0)
    return tuple(tuple(_found(words, known, longest)) for words in evaluated.words)


def _found(
    words: tuple[str, ...], known: Mapping[tuple[str, ...], str], longest: int
) -> Iterator[tuple[int, int, str]]:
    first = 0
    while first < len(words):
        lengths = range(min(longest, len(words) - first), 0, -1)
        length = next((n for n in lengths if words[first : first + n] in known), 0)
        if length:
            yield first, first + length - 1, known[words[first : first + length]]
        first += length or 1


def _numbers(states: Tensor) -> Any:
    return states.cpu().float().numpy()
