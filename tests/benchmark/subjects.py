"""What the engine is measured on besides film reviews and MiniLM: a task on pairs, and a decoder."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

SUBJECTS = ("movies", "pairs", "decoder")


def subject_overrides(name: str, examples: int) -> list[str]:
    """The overrides that set a subject; what they name is made where it is not there yet.

    `pairs` asks whether two film reviews are of one mind. `decoder` is a Llama of MiniLM's size, with random weights:
    speed does not depend on them.
    """
    if name == "movies":
        return [f"task.max_train_examples={examples}"]
    folder = Path(tempfile.gettempdir()) / "adapter-sweep-benchmark"
    folder.mkdir(exist_ok=True)
    if name == "pairs":
        path = folder / f"pairs-{examples}.csv"
        if not path.exists():
            _write_pairs(path, round(1.25 * examples))
        return ["task=local", f"task.path={path}", "task.text=[one,other]", "task.label=same"]
    path = folder / "decoder"
    if not (path / "config.json").exists():
        _write_decoder(path)
    return ["backbone=local", f"backbone.path={path}", f"task.max_train_examples={examples}"]


def _write_pairs(path: Path, rows: int) -> None:
    from adapter_sweep.engine.tasks import load_builtin

    split = load_builtin("movies").train
    step = len(split) // 2
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["one", "other", "same"])
        for i in range(min(rows, step)):
            table.writerow([split.texts[i], split.texts[i + step], _same(split.labels, i, i + step)])
    aside.replace(path)


def _same(labels: Sequence[object], one: int, other: int) -> str:
    return "yes" if labels[one] == labels[other] else "no"


def _write_decoder(path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    from adapter_sweep.engine import assets

    tokenizer = AutoTokenizer.from_pretrained(assets.fetch(assets.MINILM))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=1024,  # three products of a gated layer do the work of two of MiniLM's 1536
        num_hidden_layers=6,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
    )
    tokenizer.save_pretrained(path)
    LlamaModel(config).save_pretrained(path)
