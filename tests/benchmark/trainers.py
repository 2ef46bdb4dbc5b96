"""What people use today: `transformers.Trainer` over the same adapters, plain or tuned, and peft LoRA under it."""

import tempfile
from typing import Any

import torch
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, Trainer, TrainingArguments

from adapter_sweep.config import SweepConfig
from adapter_sweep.data import load_task
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.backbone import Backbone, pool
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.encoding.texts import encode_texts
from adapter_sweep.engine.tasks import Split
from adapter_sweep.opening import open_backbone
from adapter_sweep.trial import method_spec
from cohorts import some_rows

_TUNED: dict[str, Any] = {
    "bf16": True,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 32,
    "train_sampling_strategy": "group_by_length",
    "logging_strategy": "no",
}


class _Classifier(nn.Module):
    """What a user writes: the transformer inside, in training mode when the Trainer says so, dropout included."""

    def __init__(self, name: str, backbone: Backbone, config: SweepConfig, classes: int) -> None:
        super().__init__()
        self.adapted: AdaptedModel | None = None
        if name == "lora":
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(r=8, target_modules=["query", "value"])
            self.encoder: Any = get_peft_model(backbone.model, lora)
            self.head = nn.Linear(backbone.layout.hidden_size, classes)
        else:
            self.encoder = backbone.model
            self.adapted = AdaptedModel(backbone, method_spec(config), classes, seed=0)

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any = None) -> dict[str, Any]:
        if self.adapted is not None:
            logits = self.adapted({"input_ids": input_ids, "attention_mask": attention_mask})
        else:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            logits = self.head(pool(hidden, attention_mask, "mean"))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class TrainerVariant:
    """One of `trainer`, `tuned` and `lora`."""

    members = 1

    def __init__(self, name: str, config: SweepConfig, held_out: int = 0) -> None:
        data = load_task(config)
        # The library's own precision and kernel: what a user has who measures nothing.
        sdpa = config.backbone.model_copy(update={"attention": "sdpa"})
        self.backbone = open_backbone(config.model_copy(update={"backbone": sdpa}), "fp32")
        self.name, self.config = name, config
        self.split, whole = (self._encoded(part) for part in (data.train, data.validation))
        self.held_out = some_rows(whole, held_out or len(whole))
        torch.manual_seed(0)
        self._model = _Classifier(name, self.backbone, config, len(data.label_names))
        self._trainer: Any = None

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        assert self.backbone.tokenizer is not None
        return self.backbone.tokenizer

    def _encoded(self, split: Split) -> Encoded:
        length = self.config.train.max_length
        return encode_texts(self._tokenizer, split.texts, split.labels, text_pairs=split.text_pairs, max_length=length)

    def _made(self, rows: list[dict[str, Any]], **arguments: Any) -> Any:
        common: dict[str, Any] = {
            "output_dir": tempfile.mkdtemp(),
            "num_train_epochs": self.config.train.epochs,
            "learning_rate": self.config.train.lr,
            "use_cpu": True,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "seed": 0,
            **(_TUNED if self.name == "tuned" else {}),
        }
        return Trainer(
            model=self._model,
            args=TrainingArguments(**{**common, **arguments}),
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(self._tokenizer),
        )

    def warm_up(self) -> None:
        """Two steps and one scoring batch; what they trained is put back."""
        start = {name: p.detach().clone() for name, p in self._model.named_parameters() if p.requires_grad}
        rows = _rows(self.split)[:64]
        warm = self._made(rows, max_steps=2)
        warm.train()
        warm.predict(rows[: warm.args.eval_batch_size])
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                if name in start:
                    parameter.copy_(start[name])
                    parameter.grad = None
        self._trainer = self._made(_rows(self.split))

    def train(self) -> None:
        """Train on the whole split."""
        self._trainer.train()

    def score(self) -> float:
        """Accuracy on the validation split."""
        found = self._trainer.predict(_rows(self.held_out))
        # By the labels returned: with grouping by length the rows come back in another order.
        return float((found.predictions.argmax(-1) == found.label_ids).mean())


def _rows(encoded: Encoded) -> list[dict[str, Any]]:
    return [{"input_ids": list(i), "labels": y} for i, y in zip(encoded.ids, encoded.labels, strict=True)]
