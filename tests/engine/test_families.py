"""Every model family by every check: a tiny random model of each, so the architecture is real."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn

from adapter_sweep.engine.activations import Activations
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, count_params
from adapter_sweep.engine.backbone import Backbone, fingerprint
from adapter_sweep.engine.batches import Batch, scoring_batches
from adapter_sweep.engine.checkpointing import checkpointed
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.depth import passes_through_layers
from adapter_sweep.engine.problems import Classification
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.saving import load_adapted, save_adapted
from adapter_sweep.errors import UserInputError
from families import CAUSAL, FAMILIES, HIDDEN, LAYERS, OTHERS, inputs_of, some_split, tiny_backbone


@dataclass(frozen=True)
class Family:
    """What is to be found in a tiny model of a family.

    Attributes:
        layer: a layer's name, with its index as `#`.
        sites: names in the layer, after the attention and after the feed-forward block.
        norms: names in the layer.
        outside: names of the norms outside the layers.
        resumes: whether a pass can begin at a layer.
        fused: whether there is a fused attention kernel.
    """

    layer: str
    sites: tuple[str, str]
    norms: tuple[str, ...]
    outside: tuple[str, ...]
    resumes: bool = True
    fused: bool = True


_BERT = Family(
    "encoder.layer.#",
    ("attention.output.dense", "output.dense"),
    ("attention.output.LayerNorm", "output.LayerNorm"),
    ("embeddings.LayerNorm",),
)
_LLAMA = Family(
    "layers.#",
    ("self_attn.o_proj", "mlp.down_proj"),
    ("input_layernorm", "post_attention_layernorm"),
    ("norm",),
)
_DEBERTA = Family(_BERT.layer, _BERT.sites, _BERT.norms, ("embeddings.LayerNorm", "encoder.LayerNorm"), fused=False)
_GEMMA3 = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_OPT = ("self_attn_layer_norm", "final_layer_norm")
EXPECTED = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": Family(
        "transformer.layer.#",
        ("attention.out_lin", "ffn.lin2"),
        ("sa_layer_norm", "output_layer_norm"),
        ("embeddings.LayerNorm",),
    ),
    "albert": Family(
        "encoder.albert_layer_groups.0.albert_layers.#",
        ("attention.dense", "ffn_output"),
        ("attention.LayerNorm", "full_layer_layer_norm"),
        ("embeddings.LayerNorm",),
        resumes=False,  # the one layer there is is the first
    ),
    "deberta": Family(_BERT.layer, _BERT.sites, _BERT.norms, _BERT.outside, fused=False),
    "deberta-v2": Family(
        *(_DEBERTA.layer, _DEBERTA.sites, _DEBERTA.norms, (*_DEBERTA.outside, "encoder.conv.LayerNorm")), fused=False
    ),
    "deberta-v3": _DEBERTA,
    "mpnet": Family(
        "encoder.layer.#",
        ("attention.attn.o", "output.dense"),
        ("attention.LayerNorm", "output.LayerNorm"),
        ("embeddings.LayerNorm",),
        fused=False,
    ),
    "modernbert": Family(
        "layers.#", ("attn.Wo", "mlp.Wo"), ("attn_norm", "mlp_norm"), ("embeddings.norm", "final_norm")
    ),
    "gpt2": Family("h.#", ("attn.c_proj", "mlp.c_proj"), ("ln_1", "ln_2"), ("ln_f",)),
    "gpt-neox": Family(
        "layers.#",
        ("attention.dense", "mlp.dense_4h_to_h"),
        ("input_layernorm", "post_attention_layernorm"),
        ("final_layer_norm",),
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": Family("layers.#", _LLAMA.sites, ("self_attn.q_norm", "self_attn.k_norm", *_LLAMA.norms), ("norm",)),
    "gemma": _LLAMA,
    "gemma2": Family("layers.#", _LLAMA.sites, _GEMMA3, ("norm",), fused=False),
    "gemma3": Family("layers.#", _LLAMA.sites, ("self_attn.q_norm", "self_attn.k_norm", *_GEMMA3), ("norm",)),
    "phi": Family("layers.#", ("self_attn.dense", "mlp.fc2"), ("input_layernorm",), ("final_layernorm",)),
    "phi3": _LLAMA,
    "opt": Family("decoder.layers.#", ("self_attn.out_proj", "fc2"), _OPT, ("decoder.final_layer_norm",)),
    "opt-350m": Family("decoder.layers.#", ("self_attn.out_proj", "fc2"), _OPT, ()),
    "t5": Family(
        "block.#",
        ("layer.0.SelfAttention.o", "layer.1.DenseReluDense.wo"),
        ("layer.0.layer_norm", "layer.1.layer_norm"),
        ("final_layer_norm",),
        resumes=False,  # the first layer computes the relative positions of all
    ),
    "bart": Family("layers.#", ("self_attn.out_proj", "fc2"), _OPT, ("layernorm_embedding",)),
    "vit": Family("layers.#", ("attention.o_proj", "mlp.fc2"), ("layernorm_before", "layernorm_after"), ("layernorm",)),
}
TEXT = [family for family in EXPECTED if family != "vit"]
every_family = pytest.mark.parametrize("family", EXPECTED)
every_text_family = pytest.mark.parametrize("family", TEXT)
CPU = torch.device("cpu")


@cache
def backbone_of(family: str) -> Backbone:
    """One for all checks: adapted models leave it as they found it, which is a check itself."""
    return tiny_backbone(family)


def adapted(family: str, *, seed: int = 0, far: bool = False, layers: str = "all") -> AdaptedModel:
    """All sites filled and all norms trained; `far` from the start, so that what is lost or mixed up is seen."""
    model = AdaptedModel(backbone_of(family), BottleneckSpec(4, layer_norms="all", layers=layers), 3, seed=seed)
    if far:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def test_every_family_is_checked() -> None:
    assert set(EXPECTED) == {*FAMILIES, *OTHERS}


@every_family
def test_sites_and_norms_are_found_by_name(family: str) -> None:
    expected, backbone = EXPECTED[family], backbone_of(family)
    layout = backbone.layout
    assert layout.hidden_size == HIDDEN
    assert len(layout.layers) == (1 if family == "albert" else LAYERS)
    assert passes_through_layers(backbone) == LAYERS
    for index, layer in enumerate(layout.layers):
        name = expected.layer.replace("#", str(index))
        assert (layer.index, layer.name) == (index, name)
        assert layer.sites == {
            site: f"{name}.{path}" for site, path in zip(("post_attention", "post_ffn"), expected.sites, strict=True)
        }
        # ModernBERT's first layer begins with an identity, as the embeddings are normalised already.
        norms = expected.norms[1:] if family == "modernbert" and index == 0 else expected.norms
        assert set(layer.norms) == {f"{name}.{norm}" for norm in norms}
    assert set(layout.other_norms) == set(expected.outside)


@every_family
def test_what_is_counted_is_what_is_kept(family: str) -> None:
    backbone = backbone_of(family)
    names = [name for name, _ in backbone.model.named_parameters()]
    assert backbone.layout.num_params == sum(p.numel() for p in backbone.model.parameters())
    assert not any(part in name for name in names for part in ("pooler", "project_out", "cross", "encoder_attn"))
    assert not any(name.startswith("decoder.") for name in names) or family.startswith("opt")


@every_family
def test_the_start_is_near_the_identity(family: str) -> None:
    backbone, model = backbone_of(family), adapted(family)
    inputs = inputs_of(backbone)
    with torch.no_grad():
        frozen = backbone.encode(inputs)
        with model.attached():
            near = backbone.encode(inputs)
    assert frozen.shape == (4, HIDDEN)
    assert 0 < float((near - frozen).norm() / frozen.norm()) < 0.02


@every_family
def test_gradients_reach_every_adapter_and_norm_and_nothing_frozen(family: str) -> None:
    backbone, model = backbone_of(family), adapted(family, far=True)
    model(inputs_of(backbone)).logsumexp(dim=-1).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())
    assert fingerprint(dict(backbone.model.named_parameters())) == backbone.held


@every_family
def test_gradients_of_checkpointed_layers_are_bit_identical(family: str) -> None:
    backbone, model = backbone_of(family), adapted(family, far=True)
    found = []
    for context in (nullcontext(), checkpointed(backbone)):
        model.zero_grad()
        with model.attached(), context:
            model.read(inputs_of(backbone)).logsumexp(dim=-1).sum().backward()
        found.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*found, strict=True):
        assert plain is not None
        assert recomputed is not None
        assert torch.equal(plain, recomputed)


@every_family
def test_the_formula_counts_what_is_trained(family: str) -> None:
    backbone, model = backbone_of(family), adapted(family)
    layout, spec = backbone.layout, model.spec
    assert model.count_params() == count_params(backbone.model, layout, spec, 3)
    sizes = {name: p.numel() for name, p in backbone.model.named_parameters()}
    norms = {name for layer in layout.layers for name in layer.norms} | set(layout.other_norms)
    assert model.count_params().adapters == 2 * len(layout.layers) * (2 * 4 * HIDDEN + 4 + HIDDEN)
    assert model.count_params().layer_norms == sum(n for name, n in sizes.items() if name.rpartition(".")[0] in norms)


@every_family
def test_saved_and_loaded_the_logits_are_bit_identical(family: str, tmp_path: Path) -> None:
    model = adapted(family, far=True)
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    fresh = tiny_backbone(family)
    loaded, _ = load_adapted(fresh, tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(inputs_of(fresh)), model(inputs_of(model.backbone)))


@pytest.mark.parametrize(
    ("family", "pooling"),
    [(f, p) for f in TEXT for p in ("last", "mean", "cls") if not (p == "cls" and f in CAUSAL)],  # which is refused
)
def test_padding_on_the_right_changes_no_row(family: str, pooling: str) -> None:
    backbone = tiny_backbone(family, pooling=pooling)
    inputs = inputs_of(backbone)
    alone = {name: tensor[:1, :5] for name, tensor in inputs.items()}
    assert int(inputs["attention_mask"][0].sum()) == 5
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode(inputs)[:1], backbone.encode(alone), rtol=1e-5, atol=1e-6)


@every_family
def test_a_decoder_is_told_from_an_encoder(family: str) -> None:
    assert tiny_backbone(family, pooling="auto").pooling == ("last" if family in CAUSAL else "cls")


@every_family
@pytest.mark.parametrize("stacked", [True, False])
def test_a_cohort_of_two_gives_what_each_gives_alone(family: str, stacked: bool) -> None:
    backbone = backbone_of(family)
    wanted = [norm for norm in backbone.layout.other_norms if norm != "encoder.LayerNorm"]
    norms = "all" if len(wanted) == len(backbone.layout.other_norms) else "adapted_layers"
    models = [
        AdaptedModel(backbone, BottleneckSpec(width, layer_norms=norms, init_std=0.3), 3, seed)  # type: ignore[arg-type]
        for seed, width in enumerate((3, 5))
    ]
    inputs = inputs_of(backbone)
    batch = Batch((0, 1, 2, 3), inputs, Classification().targets([0, 1, 2, 0], 1))
    together = Cohort(models, stacked=stacked).logits(batch)
    together.logsumexp(-1).sum().backward()
    for model, logits in zip(models, together, strict=True):
        gradients = [p.grad for p in model.parameters()]
        model.zero_grad()
        alone = model(inputs)
        alone.logsumexp(-1).sum().backward()
        torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-5)
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            assert gradient is not None
            assert parameter.grad is not None
            assert float((gradient - parameter.grad).norm()) <= 1e-4 * float(parameter.grad.norm())


@every_text_family
def test_a_pass_resumes_at_a_layer_exactly_or_not_at_all(family: str, tmp_path: Path) -> None:
    backbone, split = backbone_of(family), some_split(12)
    below = Activations(backbone, Room(limit_bytes=10**9, folder=tmp_path)).below(split, 1, batch_size=8, max_tokens=64)
    assert (below is not None) == EXPECTED[family].resumes
    if below is None:
        return
    model = AdaptedModel(backbone, BottleneckSpec(4, layers="top:2", init_std=0.3), 3, seed=0)
    cohort = Cohort([model])
    with torch.no_grad():
        for batch in scoring_batches(split, batch_size=5, max_tokens=999):
            torch.testing.assert_close(cohort.logits(batch, below), cohort.logits(batch), rtol=1e-6, atol=1e-6)


@every_family
def test_the_attention_kernels_agree_or_one_is_refused(family: str) -> None:
    backbone = tiny_backbone(family)
    assert backbone.kernels() == (("eager", "sdpa") if EXPECTED[family].fused else ("eager",))
    if not EXPECTED[family].fused:
        with pytest.raises(UserInputError, match=r"attention=sdpa.*does not offer it"):
            backbone.use_attention("sdpa")
        return
    model = AdaptedModel(backbone, BottleneckSpec(4, init_std=0.3), 3, seed=0)
    inputs = inputs_of(backbone)
    with torch.no_grad():
        backbone.use_attention("eager")
        plain = model(inputs)
        backbone.use_attention("sdpa")
        torch.testing.assert_close(model(inputs), plain, rtol=1e-4, atol=1e-5)


@every_family
def test_in_bf16_what_is_computed_is_near(family: str) -> None:
    full, half = backbone_of(family), tiny_backbone(family, precision="bf16")
    model = AdaptedModel(half, BottleneckSpec(4, layer_norms="all"), 3, seed=0)
    with torch.no_grad():
        exact = full.encode(inputs_of(full))
        with model.attached():
            rounded = half.encode(inputs_of(half))
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert float((rounded - exact).norm() / exact.norm()) < 0.05


@every_family
def test_the_backbone_is_left_as_it_was_found(family: str) -> None:
    backbone = backbone_of(family)
    inputs = inputs_of(backbone)
    with torch.no_grad():
        before = backbone.encode(inputs)
        adapted(family, far=True)(inputs)
        assert torch.equal(backbone.encode(inputs), before)
    assert not any(chain.from_iterable(module._forward_hooks for module in backbone.model.modules()))
