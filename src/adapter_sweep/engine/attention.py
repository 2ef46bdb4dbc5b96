"""The backbone's attention kernel, chosen by what is faster at the batches in use."""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from adapter_sweep.engine.backbone import Attention, Backbone
from adapter_sweep.engine.choices import Choice, Seconds, measured, time_in_turn
from adapter_sweep.engine.modality import random_inputs

__all__ = ["choose_attention", "typical_batch"]

# The fused kernel needs less memory, so a gain that noise could be does not pay for the plain one.
_WORTH_IT = 1.05
# Few lengths, so that one more example in a data set asks for no new measurement.
_LENGTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


def typical_batch(lengths: Sequence[int], *, batch_size: int, max_tokens: int) -> tuple[int, int]:
    """Rows and tokens of a typical batch of texts of these lengths, in the bounds of `epoch_batches`.

    The length is the one of a fixed few that is nearest to the median, and at most that of the longest text.
    """
    median = statistics.median(lengths)
    tokens = min(min(_LENGTHS, key=lambda length: abs(length - median)), max(lengths))
    return min(batch_size, max(1, max_tokens // tokens)), tokens


def choose_attention(
    wanted: Literal["auto", "eager", "sdpa"], backbone: Backbone, batch: tuple[int, int]
) -> Choice[Attention]:
    """Set the backbone to the kernel asked for; for `auto`, to the faster one at a training step on such batches.

    Timed is the loaded backbone itself, forward and backward through its activations, with the threads in use, once per
    machine, model, precision and shape of batch.

    Args:
        batch: rows and tokens.

    Raises:
        UserInputError: the model does not offer the kernel asked for.
    """
    if wanted != "auto":
        choice: Choice[Attention] = Choice(wanted, "set by backbone.attention")
    elif len(backbone.kernels()) == 1:
        choice = Choice(backbone.attention, "the only one this model offers")
    else:
        choice = _faster(backbone, *batch)
    backbone.use_attention(choice.value)
    return choice


def _faster(backbone: Backbone, rows: int, tokens: int) -> Choice[Attention]:
    device = next(backbone.model.parameters()).device
    shape = f"{rows}x{tokens}"
    what = f"attention: training {shape}; {backbone.precision}; model {backbone.fingerprint[:16]}"
    seconds = measured(what, backbone.kernels(), device, lambda: _time_kernels(backbone, rows, tokens, device))
    speed_up = seconds["sdpa"] / seconds["eager"]
    where = f"at batches of {rows} x {tokens} tokens on this machine"
    if speed_up >= _WORTH_IT:
        return Choice("eager", f"{speed_up:.2f}x the speed of sdpa {where}")
    if speed_up > 1 / _WORTH_IT:
        return Choice("sdpa", f"as fast as eager {where}, and needs less memory")
    return Choice("sdpa", f"{1 / speed_up:.2f}x the speed of eager {where}")


def _time_kernels(backbone: Backbone, rows: int, tokens: int, device: torch.device) -> Seconds:
    generator = torch.Generator().manual_seed(0)
    inputs = random_inputs(backbone.model, rows=rows, tokens=tokens, generator=generator)
    if rows > 1 and tokens > 1 and "attention_mask" in inputs:
        inputs["attention_mask"][0, -1] = 0  # a batch without padding takes a shortcut that most batches do not

    def step(kernel: Attention) -> None:
        backbone.use_attention(kernel)
        with torch.enable_grad():
            backbone.encode(inputs).sum().backward()  # type: ignore[no-untyped-call]

    # The weights are frozen: gradients flow through the activations, as on their way to the lowest adapter.
    hook = backbone.model.get_input_embeddings().register_forward_hook(_require_gradient)  # type: ignore[operator]
    try:
        return time_in_turn({kernel: partial(step, kernel) for kernel in backbone.kernels()}, device)
    finally:
        hook.remove()


def _require_gradient(_module: object, _inputs: object, output: Tensor) -> Tensor:
    return output.requires_grad_()
