from adapter_sweep.cli.anatomy import describe_backbone, fold_layers
from adapter_sweep.engine.sites import Layer
from families import tiny_backbone


def lines(family: str) -> list[str]:
    return [line.strip() for line in describe_backbone(tiny_backbone(family)).splitlines()]


def test_a_backbone_is_described_in_a_few_lines() -> None:
    assert lines("bert") == [
        "bert: BertModel (bert), reads text; 30,976 parameters, hidden size 32, 3 layers",
        "pooling mean; no tokenizer",
        "encoder.layer.0-2: post_attention attention.output.dense, post_ffn output.dense; "
        "norms attention.output.LayerNorm, output.LayerNorm",
        "norms outside the layers: embeddings.LayerNorm (below the layers)",
    ]


def test_shared_layers_are_said_to_be() -> None:
    first, _, layer, _ = lines("albert")
    assert first.endswith("1 layer whose weights are shared by a depth of 3")
    assert layer.startswith("encoder.albert_layer_groups.0.albert_layers.0: post_attention attention.dense, post_ffn")


def test_a_layer_unlike_the_others_has_a_line_of_its_own() -> None:
    assert [line.partition(":")[0] for line in lines("modernbert")[2:-1]] == ["layers.0", "layers.1-2"]
    assert lines("modernbert")[-1] == (
        "norms outside the layers: embeddings.norm (below the layers), final_norm (above the layers)"
    )


def test_images_have_tokens_and_no_padding() -> None:
    assert lines("vit")[0].startswith("vit: ViTModel (vit), reads image")
    assert lines("vit")[1] == "pooling mean; 17 tokens an image"


def test_without_norms_outside_it_says_so() -> None:
    assert lines("opt-350m")[-1] == "norms outside the layers: none"


def test_thirty_two_layers_are_one_line() -> None:
    names = [f"layers.{index}" for index in range(32)]
    layers = tuple(
        Layer(index, name, {"post_attention": f"{name}.o", "post_ffn": f"{name}.down"}, {})
        for index, name in enumerate(names)
    )
    assert fold_layers(layers) == ["layers.0-31: post_attention o, post_ffn down; norms none"]
