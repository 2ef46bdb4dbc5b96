"""What a task gives without any adapter: the reference points that trials stand beside."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor

from adapter_sweep.engine import probe
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.problems import Tokens, entities_of, tags_of
from adapter_sweep.engine.tasks.data import Split, TaskData

__all__ = ["anchor_predictions"]

Predictions = tuple[Any, ...]
# A split as token ids, and what heads read of it on the frozen backbone.
Frozen = Callable[[Split], tuple[Encoded, Stored]]


def anchor_predictions(data: TaskData, held_out: Split, frozen: Frozen) -> dict[str, Predictions]:
    """What is predicted for every example of a split by what trains no adapter, by the task's type.

    - `classification`: the majority class of the training split, the frozen backbone with nothing trained, and a tuned
      linear head on it, fitted on at most `probe.MOST_ROWS` rows.
    - `multi_label`: the most frequent set of labels, and a tuned linear head, fitted on at most `probe.MOST_ROWS` rows.
    - `regression`: a tuned linear head. A number that is the same for all would correlate with nothing.
    - `tokens`: the entities known from the training split, and a linear head on the tokens of at most
      `probe.MOST_ROWS` words, tuned. No entities at all would score 0.
    - `spans`: the whole context, and no answer, where there may be none.
    """
    train = data.train
    if data.type == "spans":
        anchors: dict[str, Predictions] = {"whole context": held_out.text_pairs or ()}
        return anchors | ({} if all(train.labels) else {"no answer": ("",) * len(held_out)})
    if data.type == "tokens":
        known = probe.known_entities(train, held_out)
        return {"known entities": known, "head-only probe": _tagged(data, held_out, frozen)}
    (_, features), (_, others) = frozen(train), frozen(held_out)
    states = features.states, others.states
    if data.type == "regression":
        return {"head-only probe": probe.ridge_predictions(*states, train.labels)}
    majority = _majority(train.labels)
    if data.type == "multi_label":
        found = probe.label_predictions(*states, train.labels, data.outputs)
        return {"majority class": (majority,) * len(held_out), "head-only probe": found}
    return {
        "majority class": (majority,) * len(held_out),
        "frozen backbone": probe.nearest_mean_predictions(*states, train.labels),
        "head-only probe": probe.head_only_predictions(*states, train.labels),
    }


def _majority(labels: Predictions) -> Any:
    """The most frequent label, the least of those as frequent."""
    counts = Counter(labels)
    return max(sorted(counts), key=lambda label: counts[label])


def _tagged(data: TaskData, held_out: Split, frozen: Frozen) -> Predictions:
    """The entities of a linear head's tags."""
    places: list[tuple[list[int | None], ...]] = []
    states: list[Tensor] = []
    train = _enough(data.train)
    for split in (train, held_out):
        encoded, stored = frozen(split)
        assert isinstance(encoded.problem, Tokens)
        starts = stored.starts.tolist()
        rows = zip(starts, encoded.problem.places, strict=True)
        places.append(tuple([None if at is None else start + at for at in own] for start, own in rows))
        states.append(stored.states)
    train_at, held_out_at = places
    known = [
        (at, tag)
        for own, labels in zip(train_at, train.labels, strict=True)
        for at, tag in zip(own, tags_of(labels, len(own), data.label_names), strict=True)
        if at is not None
    ]
    wanted = [at for own in held_out_at for at in own if at is not None]
    features = states[0], states[1][wanted]
    tags = iter(probe.tag_predictions(*features, known))
    return tuple(
        tuple(entities_of([0 if at is None else next(tags) for at in own], data.label_names)) for own in held_out_at
    )


def _enough(split: Split) -> Split:
    """Sentences that lie evenly in a split and hold at least `probe.MOST_ROWS` words: more states are of no use."""
    assert split.words is not None
    lengths = [len(words) for words in split.words]
    step = max(1, sum(lengths) // probe.MOST_ROWS)
    while step > 1 and sum(lengths[::step]) < probe.MOST_ROWS:
        step -= 1
    every = slice(None, None, step)
    return Split(split.texts[every], None, split.labels[every], words=split.words[every])
