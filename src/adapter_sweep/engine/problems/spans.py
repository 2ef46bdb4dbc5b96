"""An answer to a question, as a part of a context.

Shapes: B batch, T tokens, L tokens of the longest answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from adapter_sweep.engine.problems.loss import LossSpec

__all__ = ["LONGEST_ANSWER", "Candidate", "Spans", "Window"]

# In tokens, as in the code of Devlin et al. (2019); more only where the training split has longer answers.
LONGEST_ANSWER = 30


@dataclass(frozen=True)
class Window:
    """Where the tokens of a row stand in its context.

    Attributes:
        context: the example's whole context.
        first: the position of the context's first token in the row.
        offsets: of each of its n tokens in the row, the first character in the context and the one after the last,
            [n, 2].
        nowhere: the position of the token that stands for no answer in the row. Where it is one of the context's, it is
            no answer by itself: the two could not be told apart.
    """

    context: str
    first: int
    offsets: Tensor
    nowhere: int = 0


class Candidate(NamedTuple):
    """What was found in one window.

    Attributes:
        score: of the best span, its start's logit plus its end's; -inf where there is no token of a context.
        text: that span.
        none: the score of there being no answer here.
    """

    score: float
    text: str
    none: float


@dataclass(frozen=True)
class Spans:
    """The answer to a question, cut from its context; `""` for none.

    Each token has a logit for being the answer's first and one for being its last; both of one token, the first of all
    or of a causal model the last, mean that there is no answer in the row (Devlin et al. 2019, sections 4.2 and 4.3).

    Attributes:
        windows: of each row.
        unanswerable: whether the training split has questions without an answer; without any, there always is one.
        longest: how many tokens an answer may have.
    """

    windows: tuple[Window, ...] = field(repr=False)
    unanswerable: bool
    longest: int = LONGEST_ANSWER
    per_token: bool = True

    @property
    def about(self) -> dict[str, Any]:
        """Whether there may be no answer, and of how many tokens one may be."""
        return {"type": "spans", "unanswerable": self.unanswerable, "longest": self.longest}

    def targets(self, labels: Sequence[Any], _tokens: int, /) -> Tensor:
        """First and last token of the answer and the number of tokens of the row, [B, 3]."""
        return torch.tensor(labels, dtype=torch.long)

    def loss(self, logits: Tensor, targets: Tensor, _spec: LossSpec, /) -> Tensor:
        """The mean of the start's and the end's cross entropy over a row's own tokens."""
        padding = torch.arange(logits.shape[1], device=logits.device) >= targets[:, 2:]
        starts, ends = logits.masked_fill(padding.unsqueeze(-1), -torch.inf).unbind(-1)
        return (functional.cross_entropy(starts, targets[:, 0]) + functional.cross_entropy(ends, targets[:, 1])) / 2

    def weight(self, targets: Tensor, _spec: LossSpec, /) -> Tensor:
        """The number of rows."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def predictions(self, logits: Tensor, rows: Sequence[int], /) -> list[Any]:
        """The best span of at most `longest` tokens in each row, a `Candidate`."""
        windows = [self.windows[row] for row in rows]
        inside = torch.zeros(logits.shape[:2], dtype=torch.bool)
        for row, window in enumerate(windows):
            inside[row, window.first : window.first + len(window.offsets)] = True
        starts, ends = logits.masked_fill(~inside.unsqueeze(-1), -torch.inf).unbind(-1)
        # [B, T, L]: the span from each token to each of the L that it and the next ones are.
        reach = functional.pad(ends, (0, self.longest - 1), value=-torch.inf).unfold(1, self.longest, 1)
        spans = starts.unsqueeze(-1) + reach
        each, none = range(len(windows)), [window.nowhere for window in windows]
        spans[each, none, 0] = -torch.inf
        scores, places = spans.flatten(1).max(dim=1)
        nowhere = logits[each, none].sum(dim=-1)
        found = zip(windows, scores.tolist(), places.tolist(), nowhere.tolist(), strict=True)
        return [
            Candidate(score, _text(window, *divmod(place, self.longest)), none) for window, score, place, none in found
        ]

    def merged(self, found: Sequence[Any], /) -> Any:
        """The best window's answer.

        There is none where that is worth more: a window says so of itself alone, so it counts what the one that is
        least sure of it says.
        """
        best: Candidate = max(found, key=lambda candidate: candidate.score)
        if self.unanswerable and min(candidate.none for candidate in found) > best.score:
            return ""
        return best.text


def _text(window: Window, start: int, length: int) -> str:
    """The span's text, without the spaces at its ends that some tokenizers count to their tokens."""
    first, last = start - window.first, start - window.first + length
    if not 0 <= first <= last < len(window.offsets):
        return ""  # a context without a token has no span
    return window.context[int(window.offsets[first, 0]) : int(window.offsets[last, 1])].strip()
