"""Which trials are confirmed, and with which seeds."""

from collections.abc import Sequence
from dataclasses import replace

from report_studies import make_study, make_trial

from adapter_sweep.records import TrialState, TrialView
from adapter_sweep.report.finalists import Finalist, best_of, finalists, fresh_seeds


def numbers(found: Sequence[Finalist]) -> list[int | None]:
    return [one.trial for one in found]


# The front is 0, 1 and 2; one standard error at these scores is about 0.02.
FRONT = [make_trial(0, 0.80, 1e4, 1.01), make_trial(1, 0.83, 1e5, 1.03), make_trial(2, 0.86, 1e6, 1.05)]
NEAR = make_trial(3, 0.82, 2e5, 1.04)  # half an error below trial 1, and dearer
FAR = make_trial(4, 0.70, 2e6, 1.06)


def test_the_front_then_its_neighbours_the_nearest_first() -> None:
    nearer = make_trial(5, 0.828, 2e5, 1.04)
    study = make_study(*FRONT, NEAR, FAR, nearer, make_trial(6, state=TrialState.FAILED))
    assert numbers(finalists(study, 9)) == [2, 0, 1, 5, 3]
    assert [one.configuration for one in finalists(study, 2)] == ["2", "0"]
    assert finalists(study, 9)[0].params == FRONT[2].params


def test_too_long_a_front_is_taken_evenly_along_its_costs() -> None:
    study = make_study(*(make_trial(i, 0.5 + i / 25, 10 ** (3 + i / 4), 1.0) for i in range(10)))
    assert numbers(finalists(study, 4)) == [9, 0, 4, 8]
    assert numbers(finalists(study, 1)) == [9]


def test_a_configuration_tried_with_several_seeds_is_one_finalist_without_a_seed() -> None:
    swept = {"method.width": 8}
    trials = [make_trial(i, 0.8 + i / 100, 1e4, 1.01, swept={**swept, "train.seed": i}) for i in range(3)]
    (one,) = finalists(make_study(*trials), 9)
    assert (one.trial, one.params) == (2, swept)


def test_where_methods_are_chosen_between_the_best_of_each_is_a_finalist() -> None:
    def of(number: int, accuracy: float, params: float, method: str) -> TrialView:
        return make_trial(number, accuracy, params, 1.0 + number / 100, swept={"method": method, "train.lr": number})

    trials = [of(0, 0.9, 1e4, "lora"), of(1, 0.5, 1e6, "full"), of(2, 0.6, 1e7, "full"), of(3, 0.6, 1e5, "ia3")]
    study = make_study(*trials, search_space={"method": "choice(lora,full,ia3)", "train.lr": "interval(0,1)"})
    assert numbers(finalists(study, 1)) == [0, 3, 2]
    assert numbers(finalists(replace(study, search_space={"train.lr": "interval(0,1)"}), 1)) == [0]


def test_another_study_s_best_is_tried_unless_it_is_known() -> None:
    other = make_study(*FRONT, name="other")
    guest = best_of(other, make_study(), [])
    assert guest is not None
    assert (guest.configuration, guest.trial, guest.params) == ("other:2", None, FRONT[2].params)
    assert best_of(other, make_study(), finalists(make_study(*FRONT), 9)) is None
    assert best_of(make_study(), make_study(), []) is None


def test_another_study_s_best_goes_by_the_number_that_it_has_here() -> None:
    own = make_trial(7, 0.1, 1e6, 2.0, swept=FRONT[2].params)
    guest = best_of(make_study(*FRONT, name="other"), make_study(own), [])
    assert guest is not None
    assert (guest.configuration, guest.trial) == ("7", 7)


def test_seeds_are_those_that_no_trial_has_used() -> None:
    study = make_study(*FRONT)
    assert fresh_seeds(study, 3) == (1001, 1002, 1003)
    used = make_trial(3, 0.8, 1e4, 1.0, swept={"train.seed": 1002, "train.data_seed": 1004})
    study = replace(study, trials=(*FRONT, used), config={"train": {"seed": 1001, "data_seed": None}})
    assert fresh_seeds(study, 3) == (1003, 1005, 1006)
