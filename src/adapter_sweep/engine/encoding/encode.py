"""A split of a task as a model takes it: token ids, and what the head's numbers mean."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.encoded import EncodedTexts
from adapter_sweep.engine.encoding.answers import encode_answers
from adapter_sweep.engine.encoding.texts import encode_texts
from adapter_sweep.engine.encoding.words import encode_words
from adapter_sweep.engine.problems import Classification, MultiLabel, Problem, Regression
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.scores import TaskType

__all__ = ["encode_split", "pooled_problem"]

# The types whose examples become one row each; a head reads the pooled state.
_POOLED: Mapping[TaskType, Callable[[TaskData], Problem]] = {
    "classification": lambda _: Classification(),
    "multi_label": lambda data: MultiLabel(data.outputs),
    "regression": lambda data: Regression.of(data.train.labels),
}


def pooled_problem(data: TaskData) -> Problem:
    """What the head's numbers mean, of a type whose head reads the pooled state."""
    return _POOLED[data.type](data)


def encode_split(
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    split: Split,
    *,
    token_types: bool = False,
    causal: bool = False,
    max_length: int,
) -> EncodedTexts:
    """A split as token ids, by the task's type.

    Args:
        tokenizer: of the backbone.
        data: the task; what its training split decides (a number's unit, say) holds for every split.
        split: of the task, or a part of one.
        token_types: whether the model is told which of a pair's two texts a token is of.
        causal: whether the model's tokens know of none behind them, see `Backbone.causal`: then what stands for a word,
            or for no answer, is a last token rather than a first.
        max_length: of a row, in tokens with the special ones. Longer texts are cut; a longer context becomes several
            rows.

    Raises:
        UserInputError: the task needs a tokenizer that can say where its tokens stand, and this one cannot; or a
            question leaves no room for its context.
    """
    options: dict[str, Any] = {"token_types": token_types, "max_length": max_length}
    if data.type == "tokens":
        return encode_words(tokenizer, split, data.label_names, causal=causal, max_length=max_length)
    if data.type == "spans":
        return encode_answers(tokenizer, split, data.train.labels, causal=causal, **options)
    texts = encode_texts(tokenizer, split.texts, split.labels, text_pairs=split.text_pairs, **options)
    return replace(texts, problem=pooled_problem(data))
