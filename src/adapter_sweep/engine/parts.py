"""Which part of a pre-trained model is the backbone: what adapters and heads are never reached by is dropped."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

__all__ = ["DROPPED", "Dropped", "backbone_of"]


@dataclass(frozen=True)
class Dropped:
    """A module that computes behind the last hidden states, for a head we do not use.

    Attributes:
        path: its name in the model; an identity takes its place, as not every model can do without.
        reason: why it is no part of the backbone.
    """

    path: str
    reason: str


DROPPED = (
    Dropped("pooler", "BERT, ViT and their kin: feeds the pre-training head; pooled here is what `pool` returns"),
    Dropped("decoder.project_out", "OPT-350M: narrows the hidden states to the word embeddings it is scored against"),
)


def backbone_of(model: nn.Module) -> nn.Module:
    """The part of a transformers model that is the backbone; the model itself is changed in place.

    Of an encoder-decoder (T5, BART) it is the encoder: classes, tags and spans of a text are read off what has seen the
    whole of it, and a decoder would double the cost (Sentence-T5, Ni et al. 2022, uses the encoder so).
    """
    backbone = _encoder(model) or model
    for dropped in DROPPED:
        parent_path, _, name = dropped.path.rpartition(".")
        parent: Any = backbone
        for step in filter(None, parent_path.split(".")):
            parent = getattr(parent, step, None)
        if isinstance(getattr(parent, name, None), nn.Module):
            setattr(parent, name, nn.Identity())
    return backbone


def _encoder(model: nn.Module) -> nn.Module | None:
    """The encoder that is a model of its own: beside a decoder, or all there is (T5's checkpoints without one).

    BERT's `encoder` is no model, and DINOv2's has no embeddings: they lie beside it.
    """
    encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
    if not isinstance(encoder, PreTrainedModel):
        return None
    alone = {id(p) for p in model.parameters()} == {id(p) for p in encoder.parameters()}
    return encoder if alone or isinstance(decoder, PreTrainedModel) else None
