"""The backbone: a frozen pre-trained transformer, what it reads with, and how its hidden states become one vector."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import BaseImageProcessor, PreTrainedTokenizerBase

from adapter_sweep.engine.modality import Modality, example_inputs, has_image_token, modality_of, vocabulary_size
from adapter_sweep.engine.parts import backbone_of
from adapter_sweep.engine.proof import check_sites
from adapter_sweep.engine.sites import Layout, find_layout
from adapter_sweep.errors import UserInputError

__all__ = [
    "DTYPES",
    "POOLINGS",
    "Attention",
    "Backbone",
    "Inputs",
    "Pooling",
    "Precision",
    "fingerprint",
    "pool",
    "structure_of",
    "wrap_backbone",
]

# Shapes: B batch, T tokens, D hidden.
POOLINGS = ("auto", "mean", "cls", "last")
Pooled = Literal["mean", "cls", "last"]
Pooling = Literal["auto", "mean", "cls", "last"]
Precision = Literal["bf16", "fp32"]
# What a model computes on, by its argument names: `input_ids`, `attention_mask` and `token_type_ids` [B, T], or
# `pixel_values` [B, C, H, W].
Inputs = Mapping[str, Tensor]
DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
Attention = Literal["eager", "sdpa"]
_KERNELS: tuple[Attention, ...] = ("eager", "sdpa")


@dataclass(frozen=True)
class Backbone:
    """A frozen transformer without a task head, in evaluation mode: no dropout work, no weight gradients.

    Attributes:
        model: maps token ids [B, T], or pixels [B, C, H, W], to hidden states [B, T, D].
        fingerprint: sha256 over every parameter's name, shape and bytes, as loaded in float32.
        held: the same over the parameters as they are held, in the precision in use.
        precision: what the frozen weights are held and computed in.
        structure: of `structure_of` the model, as loaded.
        source: where it came from, for people.
        processor: what makes pixels of an image, for a backbone that reads images; it has no tokenizer.
        causal: whether a token's hidden state knows of no token behind it, as in a decoder.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    pooling: Pooled
    layout: Layout
    fingerprint: str
    held: str
    structure: str
    precision: Precision
    source: str
    processor: BaseImageProcessor | None = None
    causal: bool = False

    @property
    def name(self) -> str:
        """What may be shared of where it came from: of a folder its name, not where it lies."""
        path = Path(self.source)
        return path.name if path.is_absolute() else self.source

    @property
    def modality(self) -> Modality:
        """What it reads."""
        return modality_of(self.model)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        return vocabulary_size(self.model)

    @property
    def takes_token_types(self) -> bool:
        """Whether the model is told which of a pair's two texts a token is of."""
        types = getattr(self.model.config, "type_vocab_size", None)
        return isinstance(types, int) and types >= 2

    @property
    def attention(self) -> Attention:
        """The attention kernel in use: `eager` is plain, `sdpa` fused."""
        return cast(Attention, self.model.config._attn_implementation)  # type: ignore[union-attr]

    def kernels(self) -> tuple[Attention, ...]:
        """The attention kernels this model can be set to, the one in use among them."""
        before = self.attention
        offered = tuple(kernel for kernel in _KERNELS if kernel == before or self._takes(kernel))
        self._takes(before)
        return offered

    def use_attention(self, kernel: Attention) -> None:
        """Set the attention kernel; results differ in rounding alone.

        Raises:
            UserInputError: the model does not offer it.
        """
        if kernel != self.attention and not self._takes(kernel):
            raise UserInputError(
                f"backbone.attention={kernel}: {self.source} ({type(self.model).__name__}) does not offer it; "
                f"allowed: auto, {', '.join(self.kernels())}"
            )

    def _takes(self, kernel: Attention) -> bool:
        """Set the kernel where the model offers it, and say whether it does."""
        with contextlib.suppress(ValueError):
            # A model whose attention cannot be replaced logs that, and stays as it was.
            self.model.set_attn_implementation(kernel)  # type: ignore[operator]
        return self.attention == kernel

    def hidden_states(self, inputs: Inputs) -> Tensor:
        """The last layer's hidden states, [B, T, D] in the backbone's precision."""
        states: Tensor = self.model(**inputs).last_hidden_state
        return states

    def encode(self, inputs: Inputs) -> Tensor:
        """Hidden states pooled to one vector an example, [B, D] in float32."""
        return pool(self.hidden_states(inputs), inputs.get("attention_mask"), self.pooling)


def pool(hidden: Tensor, attention_mask: Tensor | None, pooling: Pooled) -> Tensor:
    """Pool hidden states [B, T, D] over the tokens whose mask [B, T] is 1 (all, without one), to [B, D] in float32.

    `cls` takes the first token, `last` the last unmasked one (what a decoder has seen the whole text at), `mean` all.
    """
    if pooling == "cls":
        return hidden[:, 0].float()
    if attention_mask is None:  # images: all of a size
        return hidden[:, -1].float() if pooling == "last" else hidden.float().mean(dim=1)
    if pooling == "last":
        last = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
    mask = attention_mask.unsqueeze(-1).float()
    return (hidden.float() * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)


def wrap_backbone(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    pooling: Pooling,
    source: str,
    precision: Precision = "fp32",
    processor: BaseImageProcessor | None = None,
) -> Backbone:
    """Freeze a transformers model and find its sites. The model is changed in place (what is no part of it dropped).

    `auto` pooling takes the last token of a decoder, the first one of an encoder that has one for the purpose
    ([CLS], <s>), and the mean of one that has none (T5).

    Raises:
        UserInputError: no sites, or a pooling that this model's hidden states do not allow.
    """
    model = backbone_of(model)
    model.eval().requires_grad_(False)
    if getattr(model.config, "use_cache", False):
        # Nothing is generated: a decoder would keep every key and value, and gradient checkpointing add them twice.
        model.config.use_cache = False  # type: ignore[union-attr]
    layout = find_layout(model)
    check_sites(model, layout)
    causal = modality_of(model) != "image" and _is_causal(model)
    resolved = _resolve(pooling, model, tokenizer, source, causal=causal)
    loaded = fingerprint(dict(model.named_parameters()))
    for parameter in model.parameters():
        # Not `model.to`: it would cast the buffers too, and rotary positions in bf16 are wrong by up to a radian.
        parameter.data = parameter.data.to(DTYPES[precision])
    held = fingerprint(dict(model.named_parameters()))
    structure = structure_of(model)
    return Backbone(model, tokenizer, resolved, layout, loaded, held, structure, precision, source, processor, causal)


def _resolve(
    pooling: Pooling, model: nn.Module, tokenizer: PreTrainedTokenizerBase | None, source: str, *, causal: bool
) -> Pooled:
    if modality_of(model) == "image":
        allowed = ("cls", "mean") if has_image_token(model) else ("mean",)
        if pooling != "auto" and pooling not in allowed:
            raise UserInputError(
                f"backbone.pooling={pooling!r}: {source} reads images and has no such token; "
                f"allowed: auto, {', '.join(allowed)}"
            )
        return cast(Pooled, allowed[0] if pooling == "auto" else pooling)
    if pooling == "cls" and causal:
        raise UserInputError(
            f"backbone.pooling='cls': the first token of {source} sees no other token; allowed: auto, last, mean"
        )
    if pooling != "auto":
        return pooling
    if causal:
        return "last"
    return "mean" if tokenizer is not None and tokenizer.cls_token_id is None else "cls"


@torch.inference_mode()
def _is_causal(model: nn.Module) -> bool:
    """Whether a token sees only those before it: does the first one's hidden state stay when the last one changes?"""
    hidden = model(**example_inputs(model, rows=2)).last_hidden_state
    return bool(torch.allclose(hidden[0, 0], hidden[1, 0], rtol=1e-5, atol=1e-6))


def structure_of(model: nn.Module) -> str:
    """Sha256 over every module's name, type, hooks and own forward, and over every buffer's bytes.

    Rotary frequencies that a model computes anew for longer texts are left out.
    """
    digest = hashlib.sha256()
    buffers: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        own = vars(module).get("forward")
        digest.update(f"{path}:{type(module).__qualname__}:{[id(hook) for hook in hooks]}:{own and id(own)};".encode())
        if not any(kind in str(getattr(module, "rope_type", "")) for kind in ("dynamic", "longrope")):
            buffers |= dict(module.named_buffers(prefix=path, recurse=False))
    digest.update(fingerprint(buffers).encode())
    return digest.hexdigest()


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 over names, data types, shapes and bytes: equal exactly where the tensors are bit-identical."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
