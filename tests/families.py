"""Tiny random models of each family, for tests: the architecture is real, the weights are random."""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from adapter_sweep.engine.backbone import Backbone, Pooling, wrap_backbone
from adapter_sweep.engine.encoded import Encoded, EncodedTexts

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

_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2, "head_dim": 8}
_TEXT_TO_TEXT: dict[str, Any] = {"d_model": HIDDEN, "vocab_size": VOCABULARY}
# The other families: name -> the configuration's type and values. They have what the ten above do not.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    # Its attention has biases of its own beside those of its projections.
    "deberta": (
        "deberta",
        {
            **_COMMON,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "max_relative_positions": -1,
            "type_vocab_size": 0,
        },
    ),
    "deberta-v2": (
        "deberta-v2",
        {
            **_COMMON,
            "relative_attention": True,
            "norm_rel_ebd": "layer_norm",
            "pos_att_type": ["p2c", "c2p"],
            "max_relative_positions": 8,
            "conv_kernel_size": 3,
        },
    ),
    "deberta-v3": (
        "deberta-v2",
        {
            **_COMMON,
            "relative_attention": True,
            "norm_rel_ebd": "layer_norm",
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 4,
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "mpnet": ("mpnet", _COMMON),
    "modernbert": (
        "modernbert",
        {
            **_COMMON,
            "local_attention": 4,
            "global_attn_every_n_layers": 2,
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
        },
    ),
    "gpt-neox": ("gpt_neox", _COMMON),
    "qwen3": ("qwen3", _GROUPED),
    "gemma": ("gemma", _GROUPED),
    "gemma2": ("gemma2", {**_GROUPED, "sliding_window": 4}),
    "gemma3": ("gemma3_text", {**_GROUPED, "sliding_window": 4}),
    "phi": ("phi", _COMMON),
    "phi3": ("phi3", {**_COMMON, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}),
    "opt": ("opt", {**_COMMON, "ffn_dim": 64}),
    # Norms behind the residuals, and hidden states twice as wide as the word embeddings, as in OPT-350M.
    "opt-350m": ("opt", {**_COMMON, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "t5": ("t5", {**_TEXT_TO_TEXT, "d_kv": 8, "d_ff": 64, "num_layers": LAYERS, "num_heads": 4}),
    "bart": (
        "bart",
        {
            **_TEXT_TO_TEXT,
            "encoder_layers": LAYERS,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
        },
    ),
    "vit": ("vit", {**_COMMON, "image_size": 16, "patch_size": 4}),
}
CAUSAL = (*DECODERS, "gpt-neox", "qwen3", "gemma", "gemma2", "gemma3", "phi", "phi3", "opt", "opt-350m")


def tiny_model(family: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    kind, values = OTHERS.get(family) or (family, FAMILIES[family])
    config = AutoConfig.for_model(kind, **values)
    return AutoModel.from_config(config, attn_implementation="eager")


def tiny_backbone(family: str = "bert", seed: int = 0, **options: Any) -> Backbone:
    pooling: Pooling = "last" if family in CAUSAL else "mean"
    return wrap_backbone(
        tiny_model(family, seed), None, pooling=options.pop("pooling", pooling), source=family, **options
    )


def tiny_deberta() -> Backbone:
    """Its layers return tuples, and its relative positions have a layer norm and a convolution of their own."""
    return tiny_backbone("deberta-v2")


def some_split(rows: int = 40, classes: int = 3, seed: int = 0) -> Encoded:
    """Texts of 2 to 12 tokens; the class is that of the first one."""
    generator = torch.Generator().manual_seed(seed)
    ids = tuple(
        tuple(torch.randint(5, VOCABULARY, (2 + row * 7 % 11,), generator=generator).tolist()) for row in range(rows)
    )
    return EncodedTexts(ids, tuple(row[0] % classes for row in ids), 0)


def tokens(rows: int = 4, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random ids and a mask with padding on the right, [rows, length]."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, length - 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def inputs_of(backbone: Backbone, rows: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random inputs of the kind the backbone reads: texts with padding, or images."""
    if backbone.modality == "text":
        return tokens(rows, seed=seed)
    size = backbone.model.config.image_size  # type: ignore[union-attr]
    return {"pixel_values": torch.rand(rows, 3, size, size, generator=torch.Generator().manual_seed(seed))}
