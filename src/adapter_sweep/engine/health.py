"""Whether a device still answers. A CUDA context that met an illegal access or a failed assertion never does again."""

import torch

from adapter_sweep.engine.memory import is_out_of_memory

__all__ = ["is_usable"]


def is_usable(device: torch.device) -> bool:
    """Whether this process can go on with a device, after an error on it."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
        torch.zeros(1, device=device).item()
    except RuntimeError as error:
        return is_out_of_memory(error)
    return True
