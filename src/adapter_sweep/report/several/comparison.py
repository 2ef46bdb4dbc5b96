"""A comparison worked out once, for every file of its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from adapter_sweep.records import StudyView
from adapter_sweep.report.several.chart import Chart, chart
from adapter_sweep.report.several.overlay import Overlay, overlay
from adapter_sweep.report.several.sections import Section, group_sections, overlay_sections
from adapter_sweep.report.several.sentences import group_details, group_headline, overlay_details, overlay_headline
from adapter_sweep.report.several.studies import Together, put_together
from adapter_sweep.report.several.tasks import TaskGroup, group_tasks
from adapter_sweep.report.several.worth import Worth, worths
from adapter_sweep.report.wording import one_line

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Several studies, compared.

    Attributes:
        together: the studies, and what to beware of.
        laid: their fronts over one another.
        group: what the tasks make of one search space; None where the studies are no task group, or share no
            configuration.
        worths: what each hyperparameter is worth to each task; empty without a group.
    """

    together: Together
    laid: Overlay
    group: TaskGroup | None
    worths: tuple[Worth, ...]

    @property
    def title(self) -> str:
        """The studies' names, in the order given."""
        return one_line(", ".join(study.name for study in self.together.studies), 120)

    @cached_property
    def chart(self) -> Chart:
        """What the pictures show."""
        return chart(self.together.studies, self.together.labels)

    @cached_property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.group is not None:
            return group_headline(self.group)
        return overlay_headline(self.laid, same_data=self.together.same_data)

    @cached_property
    def details(self) -> tuple[str, ...]:
        """What to know beside it, a sentence each, warnings last."""
        told = group_details(self.group, self.worths) if self.group is not None else overlay_details(self.laid)
        if self.together.tasks and self.group is None:
            told.append(
                "The studies share one search space but no configuration, so what a task loses by another's best is "
                "not known: study.sampler=grid, or random with one study.seed, tries the same ones on each task."
            )
        return (*told, *self.together.warnings)

    @cached_property
    def answers(self) -> tuple[Section, ...]:
        """The tables of the task group; none without one."""
        return tuple(group_sections(self.group, self.worths)) if self.group is not None else ()

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The tables of any comparison."""
        return tuple(overlay_sections(self.together, self.laid))


def compare(studies: Sequence[StudyView]) -> Comparison:
    """Compare studies: a task group where each has data of its own and all have one search space.

    Raises:
        UserInputError: they cannot stand side by side (see `put_together`).
    """
    together = put_together(studies)
    group = group_tasks(together.studies, together.labels) if together.tasks else None
    laid = overlay(together.studies, together.labels, same_data=together.same_data)
    return Comparison(together, laid, group, tuple(worths(group)) if group else ())
