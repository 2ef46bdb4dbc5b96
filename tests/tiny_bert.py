"""A random BERT that knows a few words, and a task in these words: small enough to sweep in seconds."""

import itertools
from pathlib import Path

GOOD = ("good", "great", "lovely", "fine", "bright")
BAD = ("bad", "awful", "dull", "poor", "grim")
THINGS = ("film", "story", "cast", "scene", "ending", "score")
HOW = ("really", "quite", "so", "rather")


def save_tiny_bert(folder: Path) -> None:
    """Write a random BERT (2 layers, hidden size 32, 64 positions) that knows these words, and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = {word: i for i, word in enumerate((*special, "the", "is", *GOOD, *BAD, *THINGS, *HOW))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        BertModel(config).save_pretrained(folder)


def save_toy_csv(path: Path) -> Path:
    """Write 240 distinct sentences, `pos` or `neg`, that one word decides; columns `text` and `label`."""
    rows = [
        f"the {thing} is {how} {word},{label}"
        for thing, how in itertools.product(THINGS, HOW)
        for label, words in (("pos", GOOD), ("neg", BAD))
        for word in words
    ]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def tiny_overrides(backbone: Path, data: Path) -> list[str]:
    """Overrides that run a trial on such a backbone and task in a second or two."""
    return [
        *("backbone=local", f"backbone.path={backbone}", "backbone.attention=eager"),
        *("task=local", f"task.path={data}", "task.text=text", "task.label=label"),
        *("train.epochs=1", "train.max_length=32", "train.threads=1", "train.precision=fp32"),
        "workers.count=1",
        *("train.cohort=1", "train.score_epochs=all"),
        *("latency.tokens=8", "latency.pairs=5", "latency.batch_pairs=5", "latency.warmup_seconds=0"),
    ]
