import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems import (
    IGNORED,
    LONGEST_ANSWER,
    Candidate,
    Classification,
    LossSpec,
    MultiLabel,
    Problem,
    Regression,
    Spans,
    Tokens,
    Window,
    check_loss,
    class_weights,
    entities_of,
    tag_names,
    tags_of,
)
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import GuardError, UserInputError
from adapter_sweep.scores import TaskType

PLAIN = LossSpec()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- several labels


def test_several_labels_are_each_a_question_of_its_own() -> None:
    problem, logits = MultiLabel(3), torch.tensor([[2.0, -1.0, 0.5], [-3.0, -0.1, -2.0]])
    targets = problem.targets([(0, 2), ()], 9)
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    chances = logits.sigmoid()
    by_hand = -(targets * chances.log() + (1 - targets) * (1 - chances).log())
    torch.testing.assert_close(problem.loss(logits, targets, PLAIN), by_hand.mean())
    weighted = problem.loss(logits, targets, LossSpec(class_weights=(3.0, 1.0, 1.0)))
    torch.testing.assert_close(weighted, (by_hand.sum() + 2 * by_hand[0, 0]) / 6)
    assert problem.predictions(logits, [0, 1]) == [(0, 2), ()]


# -- numbers


def test_a_number_is_learnt_standardised_and_predicted_in_its_unit() -> None:
    problem = Regression.of([10, 20, 30, 60])
    assert (problem.mean, problem.sd) == (30, pytest.approx(350**0.5))
    targets = problem.targets([10, 60], 1)
    assert targets.dtype == torch.float32
    assert targets.tolist() == pytest.approx([-20 / 350**0.5, 30 / 350**0.5])
    logits = targets.unsqueeze(1) + torch.tensor([[1.0], [3.0]])
    assert float(problem.loss(logits, targets, PLAIN)) == pytest.approx((1 + 9) / 2)
    assert problem.predictions(targets.unsqueeze(1), [0, 1]) == pytest.approx([10, 60])


def test_a_number_of_which_all_examples_have_the_same_is_not_divided_by_nothing() -> None:
    problem = Regression.of([7.0, 7.0])
    assert problem.targets([7.0], 1).tolist() == [0]
    assert problem.predictions(torch.tensor([[0.5]]), [0]) == [7.5]


def test_a_number_that_is_none_is_no_prediction() -> None:
    with pytest.raises(GuardError, match=r"1 predictions are not finite; a lower train\.lr may help"):
        Regression().predictions(torch.tensor([[1.0], [math.nan]]), [0, 1])


# -- entities

TYPES = ("loc", "per")
OUT, B_LOC, I_LOC, B_PER, I_PER = range(5)


def test_tags_are_two_a_type_and_one_for_neither() -> None:
    assert tag_names(TYPES) == ("O", "B-loc", "I-loc", "B-per", "I-per")
    assert tags_of([(1, 2, "per"), (3, 3, "loc")], 5, TYPES) == [OUT, B_PER, I_PER, B_LOC, OUT]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        ([OUT, OUT], []),
        ([B_LOC], [(0, 0, "loc")]),
        ([B_LOC, I_LOC, I_LOC], [(0, 2, "loc")]),
        ([B_LOC, B_LOC], [(0, 0, "loc"), (1, 1, "loc")]),
        ([I_LOC, I_LOC, OUT, I_PER], [(0, 1, "loc"), (3, 3, "per")]),  # I alone begins an entity
        ([B_LOC, I_PER], [(0, 0, "loc"), (1, 1, "per")]),  # and so it does after another type
        ([B_LOC, OUT, I_LOC], [(0, 0, "loc"), (2, 2, "loc")]),
        ([OUT, B_PER, I_PER, B_PER, I_LOC, I_LOC], [(1, 2, "per"), (3, 3, "per"), (4, 5, "loc")]),
    ],
)
def test_entities_are_read_as_conlleval_reads_them(tags: list[int], expected: list[tuple[int, int, str]]) -> None:
    assert entities_of(tags, TYPES) == expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(TYPES)), max_size=6))
def test_entities_come_back_from_their_tags(gaps: list[tuple[int, int, str]]) -> None:
    entities, at = [], 0
    for gap, length, name in gaps:
        entities.append((at + gap, at + gap + length - 1, name))
        at += gap + length
    assert entities_of(tags_of(entities, at + 1, TYPES), TYPES) == entities


def test_only_first_tokens_count_and_are_read() -> None:
    problem = Tokens(TYPES, ((1, 3), (1, None, 2)))
    targets = problem.targets([(IGNORED, B_LOC, IGNORED, OUT, IGNORED), (IGNORED, B_PER, I_PER)], 5)
    x = IGNORED
    assert targets.tolist() == [[x, B_LOC, x, OUT, x], [x, B_PER, I_PER, x, x]]
    logits = noise(2, 5, 5)
    picked = [(0, 1, B_LOC), (0, 3, OUT), (1, 1, B_PER), (1, 2, I_PER)]
    each = torch.stack([-logits[row, at].log_softmax(-1)[tag] for row, at, tag in picked])
    torch.testing.assert_close(problem.loss(logits, targets, PLAIN), each.mean())
    weights = (0.5, 1.0, 1.0, 2.0, 4.0)
    own = torch.tensor([1.0, 0.5, 2.0, 4.0])
    weighted = problem.loss(logits, targets, LossSpec(class_weights=weights))
    torch.testing.assert_close(weighted, (each * own).sum() / own.sum())
    for spec in (LossSpec(0.1), LossSpec(0.1, weights)):  # as torch smooths
        expected = functional.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            torch.tensor(spec.class_weights) if spec.class_weights else None,
            label_smoothing=0.1,
        )
        torch.testing.assert_close(problem.loss(logits, targets, spec), expected)
    logits = functional.one_hot(torch.tensor([[0, B_LOC, B_PER, I_LOC, 0], [0, B_PER, I_PER, 0, 0]]), 5).float()
    # The second row's second word has no token: it is outside, so what follows it is an entity of its own.
    assert problem.predictions(logits, [0, 1]) == [((0, 1, "loc"),), ((0, 0, "per"), (2, 2, "per"))]
    assert problem.predictions(logits[1:], [1]) == [((0, 0, "per"), (2, 2, "per"))]


def test_a_batch_without_a_word_costs_nothing_and_teaches_nothing() -> None:
    logits = noise(1, 2, 5).requires_grad_()
    problem = Tokens(TYPES, ((None,),))
    loss = problem.loss(logits, problem.targets([(IGNORED, IGNORED)], 2), PLAIN)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert problem.predictions(logits.detach(), [0]) == [()]


# -- answers

CONTEXT = "Zoë saw a film"


def window(first: int, *places: tuple[int, int], context: str = CONTEXT) -> Window:
    return Window(context, first, torch.tensor(places, dtype=torch.int32).view(-1, 2))


WHOLE = window(3, (0, 3), (4, 7), (8, 9), (10, 14))


def span_logits(tokens: int, starts: dict[int, float], ends: dict[int, float]) -> Tensor:
    logits = torch.zeros(tokens, 2)
    for column, values in enumerate((starts, ends)):
        for at, value in values.items():
            logits[at, column] = value
    return logits


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        ({3: 5}, {3: 5}, Candidate(10, "Zoë", 0)),
        ({4: 5}, {6: 5}, Candidate(10, "saw a film", 0)),
        ({6: 5}, {4: 4, 6: 1}, Candidate(6, "film", 0)),  # an end before its start is none
        ({1: 9, 4: 1}, {7: 9, 5: 2}, Candidate(3, "saw a", 0)),  # nor is a token of the question, or of padding
        ({0: 3, 3: 1}, {0: 4, 3: 1}, Candidate(2, "Zoë", 7)),
    ],
)
def test_the_best_span_of_a_window(starts: dict[int, float], ends: dict[int, float], expected: Candidate) -> None:
    problem = Spans((WHOLE,), unanswerable=True)
    assert problem.predictions(span_logits(8, starts, ends).unsqueeze(0), [0]) == [expected]


def test_an_answer_is_of_no_more_tokens_than_the_longest() -> None:
    words = "a " * 40
    long = window(1, *[(2 * i, 2 * i + 1) for i in range(40)], context=words)
    problem = Spans((long,), unanswerable=False)
    for length, right in ((LONGEST_ANSWER, True), (LONGEST_ANSWER + 1, False)):
        logits = span_logits(41, {1: 9}, {length: 9})
        (found,) = problem.predictions(logits.unsqueeze(0), [0])
        assert (found.score == 18, len(found.text.split()) == length) == (right, right)


def test_a_window_without_a_token_has_no_span() -> None:
    empty = window(2, context="")
    (found,) = Spans((empty,), unanswerable=False).predictions(noise(1, 3, 2), [0])
    assert (found.score, found.text) == (-math.inf, "")


def test_spaces_that_a_tokenizer_counts_to_its_tokens_are_not_the_answers() -> None:
    problem = Spans((window(1, (0, 3), (3, 7)),), unanswerable=False)
    (found,) = problem.predictions(span_logits(3, {2: 1}, {2: 1}).unsqueeze(0), [0])
    assert found.text == "saw"


def test_windows_are_merged_by_the_best_span_against_the_least_sure_none() -> None:
    found = [Candidate(4, "this", 5), Candidate(6, "that", 5.5), Candidate(1, "it", 9)]
    assert Spans((), unanswerable=True).merged(found) == "that"
    assert Spans((), unanswerable=True).merged([each._replace(none=each.none + 2) for each in found]) == ""
    assert Spans((), unanswerable=False).merged([each._replace(none=99) for each in found]) == "that"


def test_the_loss_of_a_span_is_over_the_rows_own_tokens() -> None:
    problem = Spans((), unanswerable=False)
    logits = noise(2, 6, 2)
    targets = problem.targets([(1, 2, 6), (0, 0, 4)], 6)
    each = []
    for row, length, start, end in ((0, 6, 1, 2), (1, 4, 0, 0)):
        own = logits[row, :length].log_softmax(0)
        each.append(-(own[start, 0] + own[end, 1]) / 2)
    torch.testing.assert_close(problem.loss(logits, targets, PLAIN), torch.stack(each).mean())
    padded = torch.cat([logits, noise(2, 3, 2, seed=1)], dim=1)
    torch.testing.assert_close(
        problem.loss(padded[1:], targets[1:], PLAIN), problem.loss(logits[1:], targets[1:], PLAIN)
    )


# -- one row, all labels alike


@pytest.mark.parametrize(
    ("problem", "label", "shape"),
    [
        (Classification(), 1, (3,)),
        (MultiLabel(3), (0, 1, 2), (3,)),
        (Regression(), 2.5, (1,)),
        (Tokens(TYPES, ((1, 2),)), (IGNORED, 0, 0), (3, 5)),
        (Spans((WHOLE,), unanswerable=True), (3, 3, 7), (7, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_batch_of_one_row_or_of_equal_ones_has_one_loss(problem: Problem, label: Any, shape: Sequence[int]) -> None:
    one, three = noise(1, *shape), noise(1, *shape).expand(3, *shape)
    losses = [problem.loss(x, problem.targets([label] * len(x), shape[0]), PLAIN) for x in (one, three)]
    assert losses[0].ndim == 0
    assert math.isfinite(losses[0])
    torch.testing.assert_close(*losses)
    assert len(problem.predictions(one, [0])) == 1


# -- what of the loss may be chosen


@pytest.mark.parametrize("kind", ["multi_label", "regression", "spans"])
def test_smoothing_is_refused_where_no_class_is_the_right_one(kind: TaskType) -> None:
    with pytest.raises(UserInputError, match=rf"train\.label_smoothing=0\.1: a {kind} task .* allowed: 0, or a task"):
        check_loss(kind, LossSpec(0.1))


@pytest.mark.parametrize("kind", ["regression", "spans"])
def test_weights_are_refused_where_there_are_no_classes(kind: TaskType) -> None:
    with pytest.raises(UserInputError, match=rf"train\.class_weights: a {kind} task has no classes to weigh") as caught:
        check_loss(kind, LossSpec(0.1, (1.0, 2.0)))
    assert len(caught.value.problems) == 2
    train, validation, test = (
        Split((a, b), (a, b), (1.0, 2.0) if kind == "regression" else (((0, a),), ((0, b),)))
        for a, b in ("ab", "cd", "ef")
    )
    with pytest.raises(UserInputError, match="has no classes to weigh"):
        class_weights(train, TaskData("t", (), train, validation, test, "here", kind))


def test_what_means_something_is_allowed() -> None:
    for kind in ("classification", "tokens"):
        check_loss(kind, LossSpec(0.1, (1.0,)))  # type: ignore[arg-type]
    check_loss("multi_label", LossSpec(0.0, (1.0,)))
    for kind in ("regression", "spans"):
        check_loss(kind, LossSpec())  # type: ignore[arg-type]


def task(kind: TaskType, names: tuple[str, ...], labels: tuple[Any, ...]) -> TaskData:
    def split(prefix: str, labels: tuple[Any, ...]) -> Split:
        words = tuple((f"{prefix}{i}", "is", "there") for i in range(len(labels)))
        return Split(tuple(map(" ".join, words)), None, labels, words=words if kind == "tokens" else None)

    return TaskData("t", names, split("a", labels), split("b", labels), split("c", labels), "here", kind)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = (0, 0, 0, 0, 0, 2, 2, 3)
    data = task("classification", ("a", "b", "c", "d"), labels)
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=list(labels))
    a, c, d = expected.tolist()
    assert class_weights(data.train, data) == pytest.approx((a, 0.0, c, d))


def test_the_weights_of_tags_count_every_word() -> None:
    data = task("tokens", ("x",), (((0, 0, "x"),), (), ((0, 1, "x"),)))
    tags = [1, 0, 0, 0, 0, 0, 1, 2, 0]
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=tags)
    assert class_weights(data.train, data) == pytest.approx(tuple(expected.tolist()))


def test_the_weight_of_a_label_is_the_ratio_of_its_two() -> None:
    data = task("multi_label", ("a", "b", "c"), ((0, 1), (1,), (1,), (1,)))
    without, holding = compute_class_weight("balanced", classes=np.array([0, 1]), y=[1, 0, 0, 0])
    assert class_weights(data.train, data) == pytest.approx((holding / without, 1.0, 1.0))
