"""What a head's numbers mean, for each type of task."""

from adapter_sweep.engine.problems.classification import Classification
from adapter_sweep.engine.problems.loss import LossSpec, check_loss, class_weights
from adapter_sweep.engine.problems.multi_label import MultiLabel
from adapter_sweep.engine.problems.problem import Problem
from adapter_sweep.engine.problems.regression import Regression
from adapter_sweep.engine.problems.spans import LONGEST_ANSWER, Candidate, Spans, Window
from adapter_sweep.engine.problems.tags import entities_of, tag_names, tags_of
from adapter_sweep.engine.problems.tokens import IGNORED, Tokens

__all__ = [
    "IGNORED",
    "LONGEST_ANSWER",
    "Candidate",
    "Classification",
    "LossSpec",
    "MultiLabel",
    "Problem",
    "Regression",
    "Spans",
    "Tokens",
    "Window",
    "check_loss",
    "class_weights",
    "entities_of",
    "tag_names",
    "tags_of",
]
