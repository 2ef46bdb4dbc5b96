"""The engine as the product uses it: what the bench opens, with the choices it measures."""

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from adapter_sweep.bench import Bench, scoring_bounds
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.methods import BottleneckMethod
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.attention import typical_batch
from adapter_sweep.engine.batches import scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.scoring import score_cohort
from adapter_sweep.engine.training import train_cohort
from adapter_sweep.opening import open_bench
from adapter_sweep.trial import method_spec, train_spec
from products import Encoder


class CohortVariant:
    """So many trials in one pass, all of one configuration, with starts of seeds 0, 1, …"""

    def __init__(self, config: SweepConfig, members: int, held_out: int = 0) -> None:
        self.config, self.members = config, members
        self.bench: Bench = open_bench(config, threads=1)
        length = config.train.max_length
        self.split = self.bench.encoded(self.bench.data.train, length)
        whole = self.bench.encoded(self.bench.data.validation, length)
        self.held_out = some_rows(whole, held_out or len(whole))
        self.below: Stored | None = None
        self.models = self._models(members)

    def _models(self, count: int, seed: int = 0) -> list[AdaptedModel]:
        classes = len(self.bench.data.label_names)
        spec = method_spec(self.config)
        return [AdaptedModel(self.bench.backbone, spec, classes, seed=seed + k) for k in range(count)]

    def warm_up(self) -> None:
        """Two steps and one scoring batch, of models that are thrown away."""
        rows = self.config.train.batch_size
        models, spec = self._models(self.members, seed=1000), replace(train_spec(self.config), epochs=1)
        train_cohort(models, some_rows(self.split, 2 * rows), [spec] * self.members)
        self._score(models, some_rows(self.held_out, max(1, rows // self.members)))

    def train(self) -> None:
        """Train on the whole split, above what is stored where something is."""
        specs = [train_spec(self.config)] * self.members
        for result in train_cohort(self.models, self.split, specs, below=self.below):
            if result.error is not None:
                raise result.error

    def score(self) -> float:
        """Accuracy on the validation split, mean of the members."""
        right = self._score(self.models, self.held_out) == torch.tensor(self.held_out.labels)
        return float(right.float().mean())

    def _score(self, models: list[AdaptedModel], split: Encoded) -> torch.Tensor:
        bounds = scoring_bounds(self.config, self.bench.device)
        scores = score_cohort(models, split, batch_size=bounds["batch_size"], max_tokens=bounds["max_tokens"])
        return torch.tensor([own.predictions for own in scores])

    @property
    def typical(self) -> tuple[int, int]:
        """Rows and tokens of a typical training batch."""
        bounds = {"batch_size": self.config.train.batch_size, "max_tokens": self.config.train.max_tokens_per_batch}
        return typical_batch([len(ids) for ids in self.split.ids], **bounds)

    @property
    def encoder(self) -> Encoder:
        """The model's shape, its count of products checked against those that torch counts."""
        config = self.bench.backbone.model.config
        layers, hidden, inner = (
            getattr(config, name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
        )
        assert isinstance(self.config.method, BottleneckMethod)
        encoder = Encoder(layers, hidden, inner, self.config.method.width, len(self.bench.data.label_names))
        self._check(encoder)
        return encoder

    def _check(self, encoder: Encoder) -> None:
        """By arithmetic, since torch counts padding too; without padding the two must be equal."""
        texts = 4
        ids = tuple(self.split.ids[0] for _ in range(texts))
        types = None if self.split.types is None else tuple(self.split.types[0] for _ in range(texts))
        alike = replace(some_rows(self.split, texts), ids=ids, types=types)
        batch = next(scoring_batches(alike, batch_size=texts, max_tokens=4096))
        backbone = self.bench.backbone
        kernel = backbone.attention
        backbone.use_attention("eager")  # the fused one computes some products again on the way back
        for training in (False, True):
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
                logits = Cohort(self._models(1)).logits(batch)
                if training:
                    logits.sum().backward()  # type: ignore[no-untyped-call]
            counted, expected = counter.get_total_flops(), encoder.total(map(len, ids), training=training)
            if counted != expected:
                raise SystemExit(f"torch counts {counted} FLOPs where the formula has {expected}")
        backbone.use_attention(kernel)


def some_rows(split: Encoded, count: int) -> Encoded:
    """A split of so many rows, evenly spaced: the order of the rows may be that of their classes."""
    rows = [k * len(split) // count for k in range(count)]
    types = None if split.types is None else tuple(split.types[row] for row in rows)
    ids, labels = tuple(split.ids[row] for row in rows), tuple(split.labels[row] for row in rows)
    return replace(split, ids=ids, labels=labels, types=types)
