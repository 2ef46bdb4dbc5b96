"""What the frozen backbone gives without any adapter: with a linear head, and with nothing trained at all."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.latency import training_step

__all__ = ["head_only_predictions", "nearest_mean_predictions"]

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def head_only_predictions(train: Tensor, evaluated: Tensor, labels: Sequence[int]) -> tuple[int, ...]:
    """Fit a logistic regression on the frozen backbone's pooled hidden states; predicted classes of `evaluated`.

    Features are standardised; the penalty is the best of five by cross-validation on the training split alone, so
    that the adapters are compared with a probe that was tuned as well.

    Args:
        train: pooled hidden states of the training split, [rows, D].
        evaluated: those of another split.
        labels: of the training split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    rarest = min(labels.count(label) for label in set(labels))
    if rarest >= 2:
        folds = min(5, rarest)
        probe = GridSearchCV(probe, {"logisticregression__C": list(_PENALTIES)}, cv=folds)
    with training_step():  # two dozen fits are work as well: nobody reads latency beside them
        probe.fit(train.cpu().numpy(), labels)
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
