"""AdamW over a model's trained parameters, laid side by side in memory."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["FlatAdamW"]

_REMEMBERED = ("step", "exp_avg", "exp_avg_sq")  # of each vector, by torch's AdamW


class FlatAdamW:
    """AdamW (Loshchilov and Hutter 2019) with gradient clipping and a schedule, in a few large operations a step.

    An adapted model trains many small tensors, and an operation on each costs more than its arithmetic. Here they are
    views of two vectors, weight matrices and the rest, and so are their gradients. The numbers are torch's own AdamW's.

    While it lives the model's parameters lie in its memory; `release` gives them memory of their own again.

    Args:
        model: whose parameters that require a gradient are trained; all in one precision on one device.
        lr: the peak learning rate.
        weight_decay: of weight matrices; biases and layer norms have none.
        max_grad_norm: bound of the norm of all gradients together; 0 for none.
        factor: the learning rate's factor at a step from 0.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        max_grad_norm: float,
        factor: Callable[[int], float],
    ) -> None:
        parts = _parts(model)
        self._parameters = [parameter for part in parts for parameter in part]
        self._flat = [_flatten(part) for part in parts]
        groups = [{"params": [flat]} for flat in self._flat]
        self._adamw = torch.optim.AdamW(groups, lr=lr, weight_decay=0.0, fused=True)
        self._adamw.param_groups[0]["weight_decay"] = weight_decay
        self._lr, self._factor, self._max_grad_norm = lr, factor, max_grad_norm
        self._steps = 0

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for flat in self._flat:
            _grad(flat).zero_()

    def step(self) -> None:
        """One update from the gradients as they stand; they are clipped in place."""
        if self._max_grad_norm:
            nn.utils.clip_grad_norm_(self._flat, self._max_grad_norm)
        for group in self._adamw.param_groups:
            group["lr"] = self._lr * self._factor(self._steps)
        self._adamw.step()
        self._steps += 1

    def moments(self) -> dict[str, Tensor]:
        """A copy, on the CPU, of all that it remembers between steps, once there was one; what `recall` takes."""
        found = {"steps": torch.tensor(self._steps)}
        for index, flat in enumerate(self._flat):
            for name, tensor in self._adamw.state[flat].items():
                found[f"{index}.{name}"] = tensor.detach().cpu().clone()
        return found

    def recall(self, moments: Mapping[str, Tensor]) -> None:
        """Go on from what another one on such a model remembered; the weights are the model's own."""
        self._steps = int(moments["steps"])
        for index, flat in enumerate(self._flat):
            for name in _REMEMBERED:
                self._adamw.state[flat][name] = moments[f"{index}.{name}"].to(flat.device, copy=True)

    @staticmethod
    def sizes(model: nn.Module) -> dict[str, int]:
        """How many numbers each of `moments` has for such a model."""
        totals = [sum(parameter.numel() for parameter in part) for part in _parts(model)]
        found = {f"{i}.{name}": 1 if name == "step" else n for i, n in enumerate(totals) for name in _REMEMBERED}
        return {"steps": 1, **found}

    def release(self) -> None:
        """Give the model's parameters memory of their own, with the values they have, and no gradients."""
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None


def _parts(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What is trained: weight matrices, and the rest."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]


def _flatten(parameters: list[nn.Parameter]) -> nn.Parameter:
    """One vector of the parameters' values, of which they become views, and likewise their gradients."""
    flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.data[start:end].view_as(parameter)
        parameter.grad = flat.grad[start:end].view_as(parameter)
        start = end
    return flat


def _grad(flat: nn.Parameter) -> Tensor:
    assert flat.grad is not None
    return flat.grad
