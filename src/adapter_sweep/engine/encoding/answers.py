"""Questions with their contexts as token ids: a long context becomes several windows."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.encoded import Cut, EncodedTexts
from adapter_sweep.engine.encoding.texts import pad_id_of
from adapter_sweep.engine.encoding.tokenizer import Rows, check_places, tokenize
from adapter_sweep.engine.problems import LONGEST_ANSWER, Spans, Window
from adapter_sweep.engine.tasks.data import Split
from adapter_sweep.errors import UserInputError

__all__ = ["encode_answers"]

# Of the room that a question leaves for its context: what neighbouring windows share, so that an answer at the edge of
# one is whole, and has words around it, in the other.
_OVERLAP = 0.5
# The answer with the most tokens is looked for among so many that have the most letters.
_SURELY = 1000

Answers = Sequence[tuple[int, str]]


class _Row(NamedTuple):
    """A window, ready to be put in order."""

    example: int
    ids: tuple[int, ...]
    types: tuple[int, ...]
    label: tuple[int, int, int]
    window: Window


def encode_answers(
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    trained: Sequence[Answers],
    *,
    token_types: bool = False,
    causal: bool = False,
    max_length: int,
) -> EncodedTexts:
    """Each question with its context; where both are longer than `max_length`, in windows of it, half overlapping.

    A row's label is the first and the last token of the answer, and the row's length. What is learned of several
    accepted answers is the first. A window without the whole of it has its first token in the answer's place, as a
    question without one has (Devlin et al. 2019, section 4.3); of a causal model, whose first token knows nothing of
    the text, its last.

    Args:
        tokenizer: of the backbone.
        split: what is encoded.
        trained: the answers of the training split: how long one may be, and whether there always is one.
        token_types: whether the model is told the question from the context.
        causal: whether the model's tokens know of none behind them.
        max_length: of a row.

    Raises:
        UserInputError: the tokenizer cannot say where its tokens stand, or a question leaves no room for its context.
    """
    check_places(tokenizer)
    assert split.text_pairs is not None
    rooms = _rooms(tokenizer, split.texts, max_length)
    alike: dict[int, list[int]] = defaultdict(list)  # the overlap is one number a call
    for example, room in enumerate(rooms):
        alike[room].append(example)
    found: list[_Row] = []
    for room, examples in alike.items():
        questions, contexts = ([texts[example] for example in examples] for texts in (split.texts, split.text_pairs))
        rows = tokenize(tokenizer, questions, contexts, max_length=max_length, overlap=int(room * _OVERLAP))
        found += [_row(rows, row, split, examples[sample], causal=causal) for row, sample in enumerate(rows.samples)]
    found.sort(key=lambda row: row.example)  # stable, so an example's windows stay in order
    longest = _longest(tokenizer, trained, max_length)
    problem = Spans(tuple(row.window for row in found), not all(trained), longest)
    return EncodedTexts(
        tuple(row.ids for row in found),
        tuple(row.label for row in found),
        pad_id_of(tokenizer),
        tuple(row.types for row in found) if token_types else None,
        problem,
        Cut(tuple(row.example for row in found), problem.merged),
    )


def _rooms(tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], max_length: int) -> list[int]:
    """How many tokens of its context fit beside each question."""
    special = tokenizer.num_special_tokens_to_add(pair=True)
    alone = tokenizer(list(questions), add_special_tokens=False)["input_ids"]
    rooms = [max_length - special - len(ids) for ids in alone]
    problems = [
        f"train.max_length={max_length}: the question of example {example} ({questions[example][:60]!r}) has "
        f"{len(alone[example])} tokens and needs {special} special ones, which leaves no room for its context"
        for example, room in enumerate(rooms)
        if room < 1
    ]
    if problems:
        more = len(problems) - 5
        raise UserInputError(*problems[:5], *([f"{more} more questions are as long"] if more > 0 else []))
    return rooms


def _longest(tokenizer: PreTrainedTokenizerBase, trained: Sequence[Answers], max_length: int) -> int:
    """The tokens of the longest answer that is trained on, at least `LONGEST_ANSWER`, and no more than a row has."""
    texts = sorted({answers[0][1] for answers in trained if answers}, key=len)
    if not texts:
        return LONGEST_ANSWER
    ids = tokenizer(texts[-_SURELY:], add_special_tokens=False)["input_ids"]
    return max(LONGEST_ANSWER, min(max_length, max(map(len, ids))))


def _row(rows: Rows, row: int, split: Split, example: int, *, causal: bool) -> _Row:
    assert split.text_pairs is not None
    ids, context = rows.ids[row], split.text_pairs[example]
    positions, places = [], []
    for position, text, place in rows.tokens(row):
        if text == 1:
            positions.append(position)
            places.append(place)
    first = positions[0] if positions else len(ids)
    # What lies before the first token of all, or behind the last, became no token, and so no window has it but these.
    begins = places[0][0] if row and rows.samples[row - 1] == rows.samples[row] else 0
    ends = places[-1][1] if row + 1 < len(rows.samples) and rows.samples[row + 1] == rows.samples[row] else len(context)
    answer = _answer(split.labels[example], places, (begins, ends))
    nowhere = len(ids) - 1 if causal else 0
    label = (first + answer[0], first + answer[1], len(ids)) if answer is not None else (nowhere, nowhere, len(ids))
    offsets = torch.tensor(places, dtype=torch.int32).view(-1, 2)
    return _Row(
        example, ids, rows.types[row] if rows.types is not None else (), label, Window(context, first, offsets, nowhere)
    )


def _answer(answers: Answers, places: Sequence[tuple[int, int]], window: tuple[int, int]) -> tuple[int, int] | None:
    """The answer's first and last token of these; None where there is no answer, or not all of it in the window.

    Args:
        answers: those accepted.
        places: of each of the context's tokens in the window, the first character and the one after the last.
        window: the same of the whole window.
    """
    if not answers:
        return None
    start, text = answers[0]
    end = start + len(text)
    touched = [token for token, (begins, ends) in enumerate(places) if begins < end and ends > start]
    if not touched or not window[0] <= start < end <= window[1]:
        return None
    return touched[0], touched[-1]
