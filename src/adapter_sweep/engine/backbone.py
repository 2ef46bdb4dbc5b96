"""The backbone: a frozen pre-trained transformer, its tokenizer, and how its hidden states become one vector."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from adapter_sweep.engine.sites import Layout, find_layout
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = [
    "DTYPES",
    "POOLINGS",
    "Attention",
    "Backbone",
    "Inputs",
    "Pooling",
    "Precision",
    "fingerprint",
    "load_backbone",
    "pool",
]

# Shapes: B batch, T tokens, D hidden.
POOLINGS = ("auto", "mean", "cls", "last")
Pooled = Literal["mean", "cls", "last"]
Pooling = Literal["auto", "mean", "cls", "last"]
Precision = Literal["bf16", "fp32"]
# What a model computes on, by its argument names: `input_ids`, `attention_mask` and `token_type_ids` [B, T].
Inputs = Mapping[str, Tensor]
DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
Attention = Literal["eager", "sdpa"]
_KERNELS: tuple[Attention, ...] = ("eager", "sdpa")
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class Backbone:
    """A frozen transformer without a task head, in evaluation mode: no dropout work, no weight gradients.

    Attributes:
        model: maps token ids [B, T] to hidden states [B, T, D].
        fingerprint: sha256 over every parameter's name, shape and bytes, as loaded in float32.
        held: the same over the parameters as they are held, in the precision in use.
        precision: what the frozen weights are held and computed in.
        source: where it came from, for people.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    pooling: Pooled
    layout: Layout
    fingerprint: str
    held: str
    precision: Precision
    source: str

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        return _vocabulary_size(self.model)

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
        return pool(self.hidden_states(inputs), inputs["attention_mask"], self.pooling)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooled) -> Tensor:
    """Pool hidden states [B, T, D] over the tokens whose mask [B, T] is 1, to [B, D] in float32.

    `cls` takes the first token, `last` the last unmasked one (what a decoder has seen the whole text at), `mean` all.
    """
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "last":
        last = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
    mask = attention_mask.unsqueeze(-1).float()
    return (hidden.float() * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)


def load_backbone(
    source: str | Path,
    *,
    revision: str | None = None,
    pooling: Pooling = "mean",
    attention: Attention | None = None,
    precision: Precision = "fp32",
    label: str | None = None,
) -> Backbone:
    """Load a transformer from a directory or the hub: weights only as safetensors, remote code never.

    Args:
        attention: the attention kernel; the library's choice for this model unless given.

    Raises:
        UserInputError: no such directory, no safetensors in it, no place for adapters in the model, or no such kernel.
        AdapterSweepError: the hub could not be reached.
    """
    where = label or (f"{source}@{revision}" if revision else str(source))
    options: dict[str, Any] = {"trust_remote_code": False}
    if isinstance(source, Path):
        _check_folder(source)
        options["local_files_only"] = True
    elif revision:
        options["revision"] = revision
    try:
        config = AutoConfig.from_pretrained(source, **options)
        if getattr(config, "is_encoder_decoder", False):
            raise UserInputError(f"backbone: {where} is an encoder-decoder model; an encoder or a decoder is expected")
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, loaded = AutoModel.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        # What the hub cannot deliver is no fault of the user's; what lies in a folder, or does not fit, is.
        kind = AdapterSweepError if isinstance(error, OSError) and not isinstance(source, Path) else UserInputError
        raise kind(
            f"backbone: {where} could not be loaded: {_first_line(error)}. Expected: a model directory or hub name "
            "with config.json, a tokenizer and safetensors weights (offline: HF_HUB_OFFLINE=1, or backbone=local)"
        ) from error
    _check_loaded(where, loaded)
    if tokenizer.pad_token_id is None:
        # A padded position is masked everywhere, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    backbone = wrap_backbone(model, tokenizer, pooling=pooling, source=where, precision=precision)
    if attention is not None:
        backbone.use_attention(attention)
    return backbone


def wrap_backbone(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    pooling: Pooling,
    source: str,
    precision: Precision = "fp32",
) -> Backbone:
    """Freeze a transformers model and find its sites. The model is changed in place (pooler dropped, frozen, eval).

    Raises:
        UserInputError: no sites, or `cls` pooling of a model whose first token sees no other.
    """
    if isinstance(getattr(model, "pooler", None), nn.Module):
        # The pre-training pooler feeds a head we do not use: pooled here is what `pool` returns.
        model.pooler = cast(Any, None)
    model.eval().requires_grad_(False)
    if getattr(model.config, "use_cache", False):
        # Nothing is generated: a decoder would keep every key and value, and gradient checkpointing add them twice.
        model.config.use_cache = False  # type: ignore[union-attr]
    layout = find_layout(model)
    causal = _is_causal(model)
    if pooling == "cls" and causal:
        raise UserInputError(
            f"backbone.pooling='cls': the first token of {source} sees no other token; allowed: auto, last, mean"
        )
    resolved: Pooled = pooling if pooling != "auto" else "last" if causal else "cls"
    loaded = fingerprint(dict(model.named_parameters()))
    for parameter in model.parameters():
        # Not `model.to`: it would cast the buffers too, and rotary positions in bf16 are wrong by up to a radian.
        parameter.data = parameter.data.to(DTYPES[precision])
    held = fingerprint(dict(model.named_parameters()))
    return Backbone(model, tokenizer, resolved, layout, loaded, held, precision, source)


@torch.inference_mode()
def _is_causal(model: nn.Module) -> bool:
    """Whether a token sees only those before it: does the first one's hidden state stay when the last one changes?"""
    ids = torch.tensor([[3, 4, 5, 6], [3, 4, 5, 7]]) % _vocabulary_size(model)
    hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return bool(torch.allclose(hidden[0, 0], hidden[1, 0], rtol=1e-5, atol=1e-6))


def _vocabulary_size(model: nn.Module) -> int:
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    return int(embeddings.num_embeddings)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 over names, data types, shapes and bytes: equal exactly where the tensors are bit-identical."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserInputError(
            f"backbone.path: {folder} is not a directory; expected one with config.json and safetensors"
        )
    if not (folder / "config.json").is_file():
        raise UserInputError(f"backbone.path: {folder} has no config.json; found: {_listing(folder)}")
    if not list(folder.glob("*.safetensors")):
        raise UserInputError(
            f"backbone.path: {folder} has no *.safetensors, and no other format is read; found: {_listing(folder)}"
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        # transformers would make one up from nothing, and every text would become unknown tokens.
        raise UserInputError(
            f"backbone.path: {folder} has no tokenizer; expected one of {', '.join(_TOKENIZERS)}; "
            f"found: {_listing(folder)}"
        )


def _check_loaded(where: str, loaded: Mapping[str, Any]) -> None:
    """A weight the files do not hold would be random, and every result with it; only the unused pooler may miss."""
    missing = sorted(key for key in loaded["missing_keys"] if "pooler" not in key)
    if missing:
        raise UserInputError(
            f"backbone: {where} lacks {len(missing)} weights that its config.json asks for, the first {missing[0]}"
        )


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return (", ".join(names[:8]) + (" …" if len(names) > 8 else "")) or "nothing"


def _first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
