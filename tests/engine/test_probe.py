from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from adapter_sweep.engine import probe as probe_module
from adapter_sweep.engine.probe import (
    head_only_predictions,
    known_entities,
    label_predictions,
    ridge_predictions,
    tag_predictions,
)
from adapter_sweep.engine.tasks import Split


def states(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)) * 5 + 3


def standard(train: torch.Tensor, evaluated: torch.Tensor) -> tuple[Any, Any]:
    scaler = StandardScaler().fit(train.numpy())
    return scaler.transform(train.numpy()), scaler.transform(evaluated.numpy())


def test_labels_are_found_each_for_itself() -> None:
    train, evaluated = states(200), states(60, seed=1)
    holds = [tuple(label for label in range(3) if row[label] > 3) for row in train.tolist()]
    found = label_predictions(train, evaluated, holds, 5)  # the last two hold for none
    true = [tuple(label for label in range(3) if row[label] > 3) for row in evaluated.tolist()]
    assert sum(a == b for a, b in zip(found, true, strict=True)) > 50
    assert label_predictions(train[:3], evaluated, [(1,), (1,), (1,)], 2) == ((1,),) * 60
    of_one = label_predictions(train, evaluated, [own if own == (0,) else () for own in holds], 1)
    assert set(of_one) == {(), (0,)}
    assert label_predictions(train[:3], evaluated, [(0,), (0,), (0,)], 1) == ((0,),) * 60


def test_numbers_are_those_of_one_of_the_ridges() -> None:
    train, evaluated = states(50), states(10, seed=1)
    labels = (train @ torch.arange(6.0) + 100).tolist()
    found = ridge_predictions(train, evaluated, labels)
    features, others = standard(train, evaluated)
    each = [Ridge(alpha).fit(features, labels).predict(others) for alpha in probe_module._RIDGES]
    assert any(np.allclose(found, predicted, rtol=1e-4) for predicted in each)
    assert np.corrcoef(found, (evaluated @ torch.arange(6.0)).numpy())[0, 1] > 0.99


def test_tags_are_those_of_one_of_the_regressions_on_the_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    train, evaluated = states(300), states(40, seed=1)
    known = [(at, int(train[at, 0] > 3) + int(train[at, 1] > 8)) for at in range(0, 300, 2)]
    found = tag_predictions(train, evaluated, known)
    places, tags = zip(*known, strict=True)
    features, others = standard(train[list(places)], evaluated)
    each = [LogisticRegression(C=c, max_iter=500).fit(features, tags).predict(others) for c in (1e-3, 1e-2, 1e-1)]
    assert any(list(found) == predicted.tolist() for predicted in each)
    monkeypatch.setattr(probe_module, "MOST_ROWS", 100)
    assert tag_predictions(train, evaluated, known) == tag_predictions(train, evaluated, known[::2])
    assert tag_predictions(train, evaluated, [(0, 2), (5, 2)]) == (2,) * 40


def test_few_words_of_which_no_fifth_can_be_left_out_are_all_fitted() -> None:
    train = torch.tensor([[-1.0, 0], [1, 0], [-2, 0]])
    assert tag_predictions(train, train[:2], [(0, 0), (1, 3), (2, 0)]) == (0, 3)


def sentences(*rows: tuple[str, tuple[tuple[int, int, str], ...]]) -> Split:
    words = tuple(tuple(text.split()) for text, _ in rows)
    return Split(tuple(text for text, _ in rows), None, tuple(label for _, label in rows), words=words)


def test_known_entities_are_of_one_type_alone_and_the_longest_is_taken() -> None:
    train = sentences(
        ("New York Times of York", ((0, 2, "org"), (4, 4, "loc"))),
        ("New York and Paris", ((0, 1, "loc"), (3, 3, "loc"))),
        ("Paris Hilton and Paris", ((0, 1, "per"), (3, 3, "per"))),
    )
    evaluated = sentences(("the New York Times in New York with Paris", ()), ("York York", ()), ("new york", ()))
    assert known_entities(train, evaluated) == (
        ((1, 3, "org"), (5, 6, "loc")),
        ((0, 0, "loc"), (1, 1, "loc")),
        (),
    )


def test_a_head_is_fitted_on_no_more_rows_than_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    train, evaluated = states(300), states(40, seed=1)
    labels = [int(row[0] > 3) for row in train.tolist()]
    whole = head_only_predictions(train, evaluated, labels)
    monkeypatch.setattr(probe_module, "MOST_ROWS", 30)
    assert head_only_predictions(train, evaluated, labels) == head_only_predictions(
        train[::10], evaluated, labels[::10]
    )
    assert head_only_predictions(train, evaluated, labels) != whole
    assert head_only_predictions(train, evaluated, [0, 1] * 150) == (0,) * 40  # every tenth alone is of one class
