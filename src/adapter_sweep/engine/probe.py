"""The head-only probe: what the frozen backbone gives without any adapter."""

import torch
from torch import Tensor

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.batches import Encoded, scoring_batches
from adapter_sweep.engine.latency import training_step

__all__ = ["head_only_predictions", "pooled"]

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def head_only_predictions(
    backbone: Backbone, train: Encoded, evaluated: Encoded, *, batch_size: int, max_tokens: int
) -> tuple[int, ...]:
    """Fit a logistic regression on the frozen backbone's pooled hidden states; predicted classes of `evaluated`.

    Features are standardised; the penalty is the best of five by cross-validation on the training split alone, so
    that the adapters are compared with a probe that was tuned as well.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = pooled(backbone, train, batch_size=batch_size, max_tokens=max_tokens).cpu().numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    rarest = min(train.labels.count(label) for label in set(train.labels))
    if rarest >= 2:
        folds = min(5, rarest)
        probe = GridSearchCV(probe, {"logisticregression__C": list(_PENALTIES)}, cv=folds)
    with training_step():  # two dozen fits are work as well: nobody reads latency beside them
        probe.fit(features, train.labels)
    held_out = pooled(backbone, evaluated, batch_size=batch_size, max_tokens=max_tokens)
    return tuple(int(label) for label in probe.predict(held_out.cpu().numpy()))


@torch.inference_mode()
def pooled(backbone: Backbone, split: Encoded, *, batch_size: int, max_tokens: int) -> Tensor:
    """The frozen backbone's pooled hidden states of every row, [rows, D] in the split's order."""
    device = next(backbone.model.parameters()).device
    features = torch.empty(len(split), backbone.layout.hidden_size, device=device)
    for batch in scoring_batches(split, batch_size=batch_size, max_tokens=max_tokens):
        with training_step():
            features[list(batch.rows)] = backbone.encode(*batch.inputs(device))
    return features
