from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from adapter_sweep.engine.batches import scoring_batches
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.encoding import encode_split
from adapter_sweep.engine.problems import IGNORED, LONGEST_ANSWER, Candidate, Spans, Tokens
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import TaskType

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_PIECES = ("zoe", "saw", "a", "film", "in", "ko", "##ln", "##s", "who", "what", ".", ",", "##m", "f", "##il")
_CORPUS = ["Zoë saw a film in Köln . 😂 who what films"] * 3


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, accents dropped."""
    vocabulary = {piece: i for i, piece in enumerate((*_SPECIAL, *_PIECES))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def bytes_of_words() -> PreTrainedTokenizerFast:
    """As GPT-2's: a token has the space before its word; no special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def sentence_pieces() -> PreTrainedTokenizerFast:
    """As XLM-R's: a mark in the place of each space, and two separators between texts."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "word pieces": word_pieces,
    "bytes": bytes_of_words,
    "sentence pieces": sentence_pieces,
}


def encoded(
    tokenizer: PreTrainedTokenizerBase, kind: TaskType, split: Split, names: tuple[str, ...] = (), **options: Any
) -> Encoded:
    """The split as a task's training split."""
    data = object.__new__(TaskData)  # without the checks that a whole task is put to
    for name, value in {"type": kind, "label_names": names, "train": split}.items():
        object.__setattr__(data, name, value)
    return encode_split(tokenizer, data, split, **{"max_length": 64, **options})


# -- words


def sentences(*pairs: tuple[str, tuple[tuple[int, int, str], ...]]) -> Split:
    words = tuple(tuple(text.split(" ")) for text, _ in pairs)
    return Split(tuple(text for text, _ in pairs), None, tuple(label for _, label in pairs), words=words)


def entities(split: Encoded) -> list[Any]:
    """What is predicted where every token that has a tag is given its own, and every other one is an I of `x`."""
    found: list[Any] = [None] * len(split)
    for batch in scoring_batches(split, batch_size=2, max_tokens=999):
        tags = torch.where(batch.targets == IGNORED, 2, batch.targets)
        logits = torch.nn.functional.one_hot(tags, 5).float()
        for row, prediction in zip(batch.rows, split.problem.predictions(logits, batch.rows), strict=True):
            found[row] = prediction
    return found


def test_a_words_tag_is_at_its_first_token() -> None:
    split = encoded(
        word_pieces(), "tokens", sentences(("Zoë saw films, Kölns", ((0, 0, "x"), (2, 3, "y")))), ("x", "y")
    )
    #      [CLS] zoe saw film ##s , ko ##ln ##s [SEP]
    assert split.ids == ((2, 4, 5, 7, 11, 15, 9, 10, 11, 3),)
    x = IGNORED
    assert split.labels == ((x, 1, 0, 3, x, x, 4, x, x, x),)
    assert isinstance(split.problem, Tokens)
    assert split.problem.places == ((1, 2, 3, 6),)


def test_tokens_are_those_of_words_that_were_split_before() -> None:
    """As Hugging Face's examples do it, for a tokenizer that lets them."""
    texts = ("Zoë saw Kölns films .", "a , b", "who")
    tokenizer, split = word_pieces(), sentences(*((text, ()) for text in texts))
    ours = encoded(tokenizer, "tokens", split, ("x",))
    theirs = tokenizer([list(words) for words in split.words or ()], is_split_into_words=True)
    assert ours.ids == tuple(map(tuple, theirs["input_ids"]))
    assert isinstance(ours.problem, Tokens)
    for row, firsts in enumerate(ours.problem.places):
        words = theirs.word_ids(row)
        assert firsts == tuple(words.index(word) for word in range(len(firsts)))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Zoë saw a film in Köln .", ((0, 0, "x"), (3, 3, "x"), (5, 5, "y"))),
        ("Köln 😂 😂 Zoë", ((0, 1, "x"), (2, 3, "y"))),
        ("film", ((0, 0, "y"),)),
        ("films films films", ((0, 0, "x"), (1, 2, "x"))),
        ("(Zoë's) film-in-Köln", ((0, 0, "x"), (1, 1, "y"))),
    ],
)
def test_entities_come_back_through_any_tokenizer(name: str, text: str, label: Any) -> None:
    split = encoded(TOKENIZERS[name](), "tokens", sentences((text, label), ("who saw", ())), ("x", "y"))
    assert entities(split) == [label, ()]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_behind_the_cut_are_outside_of_entities(name: str) -> None:
    text = sentences(("Zoë saw Köln Köln", ((0, 0, "x"), (2, 3, "y"))))
    whole = encoded(TOKENIZERS[name](), "tokens", text, ("x", "y"))
    assert isinstance(whole.problem, Tokens)
    third, fourth = (whole.problem.places[0][word] for word in (2, 3))
    assert third is not None
    assert fourth is not None
    special = 1 if whole.problem.places[0][0] else 0
    for length, expected in (
        (fourth + special, ((0, 0, "x"), (2, 2, "y"))),
        (third + special, ((0, 0, "x"),)),
    ):
        cut = encoded(TOKENIZERS[name](), "tokens", text, ("x", "y"), max_length=length)
        assert len(cut.ids[0]) == length
        assert entities(cut) == [expected]


def test_words_that_become_no_token_are_outside_of_entities() -> None:
    """An empty word, a control character that BERT's tokenizer drops, nothing at all."""
    texts = ("Zoë  film", "\x07 film", "\x07", "")
    split = sentences(*((text, ((len(text.split(" ")) - 1,) * 2 + ("x",),)) for text in texts))
    split_ids = encoded(word_pieces(), "tokens", split, ("x",))
    assert isinstance(split_ids.problem, Tokens)
    assert split_ids.problem.places == ((1, None, 2), (None, 1), (None,), (None,))
    assert entities(split_ids) == [((2, 2, "x"),), ((1, 1, "x"),), (), ()]
    bare = encoded(bytes_of_words(), "tokens", split, ("x",))
    assert bare.ids[3] == (0,)  # a row of no tokens is one of padding
    assert entities(bare)[3] == ()


# -- answers


def questions(*rows: tuple[str, str, Sequence[str]]) -> Split:
    labels = tuple(tuple((context.index(answer), answer) for answer in answers) for _, context, answers in rows)
    return Split(tuple(row[0] for row in rows), tuple(row[1] for row in rows), labels)


def answers(split: Encoded) -> list[Any]:
    """What is predicted where every row's own targets have the largest logits."""
    found: list[Any] = [None] * len(split)
    for batch in scoring_batches(split, batch_size=2, max_tokens=999):
        logits = torch.zeros(*batch.inputs["input_ids"].shape, 2)
        for row, (start, end, _) in enumerate(batch.targets.tolist()):
            logits[row, start, 0] += 5
            logits[row, end, 1] += 5
        for row, prediction in zip(batch.rows, split.problem.predictions(logits, batch.rows), strict=True):
            found[row] = prediction
    return list(split.predictions(found))


def test_a_window_is_question_and_context_and_its_label_the_answers_ends() -> None:
    split = questions(("who saw?", "Zoë, in Köln.", ["Köln"]), ("what", "a film", []))
    found = encoded(word_pieces(), "spans", split, token_types=True)
    #  [CLS] who saw [UNK] [SEP] zoe , in ko ##ln . [SEP]
    assert found.ids[0] == (2, 12, 5, 1, 3, 4, 15, 8, 9, 10, 14, 3)
    assert found.types is not None
    assert found.types[0] == (0,) * 5 + (1,) * 7
    assert found.labels == ((8, 9, 12), (0, 0, 6))
    assert found.cut is not None
    assert found.cut.examples == (0, 1)
    assert isinstance(found.problem, Spans)
    assert found.problem.unanswerable
    assert answers(found) == ["Köln", ""]
    assert encoded(word_pieces(), "spans", split).types is None


LONG = "Zoë saw a film in Köln . who saw what ? a film , a film , Zoë saw films in Köln ."


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    "answer", ["Zoë", "saw a film", "Köln . who saw", "a film , a film", "films in Köln", ".", "what"]
)
def test_an_answer_is_whole_in_a_window_wherever_it_stands(name: str, answer: str) -> None:
    tokenizer = TOKENIZERS[name]()
    long = len(tokenizer("who")["input_ids"]) + 3 * len(tokenizer(answer)["input_ids"]) + 4
    split = questions(("who", LONG, [answer]), ("what", "a film", ["film"]))
    found = encoded(tokenizer, "spans", split, max_length=long)
    assert found.examples == 2
    assert len(found) >= 2
    assert max(map(len, found.ids)) <= long
    assert answers(found) == [answer, "film"]
    assert isinstance(found.problem, Spans)
    assert not found.problem.unanswerable


def test_windows_overlap_by_half_and_only_whole_answers_are_learnt() -> None:
    # 14 tokens fit, of which the question and the special ones take 4: windows of 10 tokens, 5 of them shared.
    context = " ".join(f"a{'' if i % 2 else ','}" for i in range(12))  # 18 tokens: a , a a , a …

    def labels(start: int, answer: str) -> Encoded:
        assert context[start : start + len(answer)] == answer
        return encoded(word_pieces(), "spans", Split(("who",), (context,), (((start, answer),),)), max_length=14)

    found = labels(25, "a, a")
    tokens = [6, 15, 6] * 6
    assert found.ids == tuple((2, 12, 3, *tokens[start : start + 10], 3) for start in (0, 5, 10))
    assert found.cut is not None
    assert found.cut.examples == (0, 0, 0)
    assert found.labels == ((0, 0, 14), (0, 0, 14), (8, 10, 12))
    # Tokens 9 to 14: the first window has only the first of them, and the third all but it.
    assert labels(15, "a, a a, a").labels == ((0, 0, 14), (7, 12, 14), (0, 0, 12))


def test_rows_of_an_example_stay_together_whatever_their_questions_length() -> None:
    texts = [
        ("who saw", LONG, ["what"]),
        ("who", LONG, ["what"]),
        ("what saw a", "film", ["film"]),
        ("who", "a", ["a"]),
    ]
    found = encoded(word_pieces(), "spans", questions(*texts), max_length=16)
    assert found.cut is not None
    assert list(found.cut.examples) == sorted(found.cut.examples)
    assert set(found.cut.examples) == {0, 1, 2, 3}
    assert answers(found) == ["what", "what", "film", "a"]
    best = [Candidate(0, "a", 0)] * (len(found) - 1)
    assert found.predictions([None, *best]) == (None, "a", "a", "a")  # a row of the first was not scored


def test_a_short_context_and_one_that_becomes_no_token() -> None:
    found = encoded(word_pieces(), "spans", questions(("who saw a film in Köln", "a", ["a"]), ("who", "\x07", [])))
    assert answers(found) == ["a", ""]
    assert len(found) == 2
    everything = encoded(word_pieces(), "spans", questions(("who", " film ", [" film "])))
    assert answers(everything) == ["film"]


def test_of_several_accepted_answers_the_first_is_learnt() -> None:
    found = encoded(word_pieces(), "spans", questions(("who", "Zoë saw", ["saw", "Zoë"])))
    assert answers(found) == ["saw"]


def test_a_question_that_leaves_no_room_is_named() -> None:
    split = questions(("who", "a film", []), ("what film saw a film", "a film", ["film"]))
    assert len(encoded(word_pieces(), "spans", split, max_length=9)) == 3
    with pytest.raises(UserInputError) as caught:
        encoded(word_pieces(), "spans", split, max_length=8)
    assert caught.value.problems == (
        "train.max_length=8: the question of example 1 ('what film saw a film') has 5 tokens and needs 3 special ones, "
        "which leaves no room for its context",
    )
    many = questions(*[(f"what film saw a film {'a ' * i}", "a film", ["film"]) for i in range(7)])
    with pytest.raises(UserInputError) as caught:
        encoded(word_pieces(), "spans", many, max_length=8)
    assert [problem.split("(")[0].split()[-1] for problem in caught.value.problems[:-1]] == ["0", "1", "2", "3", "4"]
    assert caught.value.problems[-1] == "2 more questions are as long"


def test_a_tokenizer_that_does_not_know_its_places_is_refused() -> None:
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    slow = Slow(tokenizer_object=word_pieces()._tokenizer, pad_token="[PAD]")
    for kind, split in (("tokens", sentences(("a", ()))), ("spans", questions(("who", "a", [])))):
        with pytest.raises(UserInputError, match=r"backbone: Slow cannot say of which characters a token is"):
            encoded(slow, kind, split)  # type: ignore[arg-type]


# -- texts


@pytest.mark.parametrize(
    ("kind", "labels", "targets"),
    [
        ("multi_label", ((0,), (0, 1)), [[1, 0], [1, 1]]),
        ("regression", (1.0, 3.0), [-1, 1]),
        ("classification", (0, 1), [0, 1]),
    ],
)
def test_pairs_of_texts_serve_every_type_that_reads_pooled_states(
    kind: TaskType, labels: tuple[Any, ...], targets: list[Any]
) -> None:
    split = Split(("who", "what"), ("a film", "Zoë"), labels)
    found = encoded(word_pieces(), kind, split, ("x", "y"), token_types=True)
    assert found.types is not None
    (batch,) = scoring_batches(found, batch_size=2, max_tokens=99)
    assert batch.rows == (1, 0)
    assert batch.targets.tolist() == targets[::-1]
    assert found.problem.per_token is False
    assert (found.examples, found.cut) == (2, None)


# -- causal models, whose tokens know of none behind them


def test_a_causal_models_word_is_tagged_where_all_of_it_was_seen() -> None:
    text = sentences(("Zoë saw films, Kölns", ((0, 0, "x"), (2, 3, "y"))))
    split = encoded(word_pieces(), "tokens", text, ("x", "y"), causal=True)
    #      [CLS] zoe saw film ##s , ko ##ln ##s [SEP]
    x = IGNORED
    assert split.labels == ((x, 1, 0, x, x, 3, x, x, 4, x),)
    assert isinstance(split.problem, Tokens)
    assert split.problem.places == ((1, 2, 5, 8),)
    assert entities(split) == [((0, 0, "x"), (2, 3, "y"))]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("causal", [False, True])
def test_no_answer_stands_where_a_token_can_know_of_it(name: str, causal: bool) -> None:
    split = Split(("who", "who"), ("Zoë saw a film in Köln", "Köln saw a film"), (((0, "Zoë"),), ()))
    found = encoded(TOKENIZERS[name](), "spans", split, causal=causal)
    nowhere = len(found.ids[1]) - 1 if causal else 0
    assert found.labels[1] == (nowhere, nowhere, len(found.ids[1]))
    logits = torch.zeros(1, len(found.ids[1]), 2)
    logits[0, nowhere] = 5
    (candidate,) = found.problem.predictions(logits, [1])
    assert candidate.none == 10 > candidate.score  # which it could not be, were the token an answer as well
    assert found.predictions([candidate, candidate]) == ("", "")


def test_an_answer_may_be_as_long_as_those_trained_on() -> None:
    context = "film " * 60
    for words, longest in ((3, LONGEST_ANSWER), (45, 45), (59, 50)):
        split = Split(("who",), (context,), (((0, context[: 5 * words - 1]),),))
        found = encoded(word_pieces(), "spans", split, max_length=50)
        assert found.problem.about == {"type": "spans", "unanswerable": False, "longest": longest}
