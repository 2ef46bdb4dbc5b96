"""The head-only probe: what the frozen backbone gives without any adapter."""

import torch
from torch import Tensor

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.batches import Encoded, scoring_batches
from adapter_sweep.engine.latency import training_step

__all__ = ["head_only_predictions", "pooled"]


def head_only_predictions(
    backbone: Backbone, train: Encoded, evaluated: Encoded, *, batch_size: int, max_tokens: int
) -> tuple[int, ...]:
    """Fit a logistic regression on the frozen backbone's pooled hidden states; predicted classes of `evaluated`.

    The hidden states are standardised with the training split's mean and deviation, and the regression is fitted to
    convergence (scikit-learn's default penalty, C=1), so the probe does not depend on a learning rate.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = pooled(backbone, train, batch_size=batch_size, max_tokens=max_tokens)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    probe.fit(features.cpu().numpy(), train.labels)
    held_out = pooled(backbone, evaluated, batch_size=batch_size, max_tokens=max_tokens)
    return tuple(int(label) for label in probe.predict(held_out.cpu().numpy()))


@torch.inference_mode()
def pooled(backbone: Backbone, split: Encoded, *, batch_size: int, max_tokens: int) -> Tensor:
    """The frozen backbone's pooled hidden states of every row, [rows, D] in the split's order."""
    device = next(backbone.model.parameters()).device
    features = torch.empty(len(split), backbone.layout.hidden_size, device=device)
    for batch in scoring_batches(split, batch_size=batch_size, max_tokens=max_tokens):
        with training_step():
            features[list(batch.rows)] = backbone.encode(batch.input_ids.to(device), batch.attention_mask.to(device))
    return features
