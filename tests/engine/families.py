"""Tiny random models of each family, for tests: the architecture is real, the weights are random."""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, DebertaV2Config, DebertaV2Model

from adapter_sweep.engine.backbone import Backbone, Pooling, wrap_backbone
from adapter_sweep.engine.batches import Encoded

HIDDEN, LAYERS, VOCABULARY = 32, 3, 99

_COMMON: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _COMMON,
    "roberta": _COMMON,
    "xlm-roberta": _COMMON,
    "electra": {**_COMMON, "embedding_size": 16},
    "distilbert": {
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": 4,
        "hidden_dim": 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
    },
    "albert": {**_COMMON, "embedding_size": 16},
    "gpt2": {
        "n_embd": HIDDEN,
        "n_layer": LAYERS,
        "n_head": 4,
        "vocab_size": VOCABULARY,
        "n_positions": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "llama": {**_COMMON, "num_key_value_heads": 2},
    "mistral": {**_COMMON, "num_key_value_heads": 2},
    "qwen2": {**_COMMON, "num_key_value_heads": 2},
}
DECODERS = ("gpt2", "llama", "mistral", "qwen2")
# Distinct layers: ALBERT shares one layer's weights across its depth.
DISTINCT = {family: 1 if family == "albert" else LAYERS for family in FAMILIES}


def tiny_model(family: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    return AutoModel.from_config(config, attn_implementation="eager")


def tiny_backbone(family: str = "bert", seed: int = 0, **options: Any) -> Backbone:
    pooling: Pooling = "last" if family in DECODERS else "mean"
    return wrap_backbone(
        tiny_model(family, seed), None, pooling=options.pop("pooling", pooling), source=family, **options
    )


def tiny_deberta() -> Backbone:
    """Its layers return tuples, and its relative positions have a layer norm and a convolution of their own."""
    torch.manual_seed(0)
    config = DebertaV2Config(
        **_COMMON,
        relative_attention=True,
        norm_rel_ebd="layer_norm",
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=8,
        conv_kernel_size=3,
    )
    return wrap_backbone(DebertaV2Model(config), None, pooling="mean", source="deberta")


def some_split(rows: int = 40, classes: int = 3, seed: int = 0) -> Encoded:
    """Texts of 2 to 12 tokens; the class is that of the first one."""
    generator = torch.Generator().manual_seed(seed)
    ids = tuple(
        tuple(torch.randint(5, VOCABULARY, (2 + row * 7 % 11,), generator=generator).tolist()) for row in range(rows)
    )
    return Encoded(ids, tuple(row[0] % classes for row in ids), 0)


def tokens(rows: int = 4, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random ids and a mask with padding on the right, [rows, length]."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, length - 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}
