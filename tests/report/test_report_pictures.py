import xml.etree.ElementTree as ElementTree

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report.figures import front_images
from adapter_sweep.report.picture import picture


def test_the_same_study_gives_the_same_bytes() -> None:
    first, second = front_images(usual_study()), front_images(usual_study())
    assert first == second
    assert first[0].startswith(b"\x89PNG")
    assert b"<dc:date>" not in first[1]
    ElementTree.fromstring(first[1])


def test_only_complete_trials_are_drawn_and_the_front_is_marked() -> None:
    shown = picture(usual_study())
    assert [panel.x for panel in shown.panels] == ["trainable_params", "latency_ratio"]
    for panel in shown.panels:
        assert [point.trial.number for point in panel.points] == [0, 1, 2, 3]
        assert [point.trial.number for point in panel.points if point.on_front] == [0, 1, 3]
    assert shown.panels[0].line == ((20_000, 0.75), (50_000, 0.8), (550_000, 0.812))
    assert shown.panels[0].log
    assert shown.panels[1].noise == 0.005
    assert [group.name for group in shown.groups] == ["post_attention", "post_ffn", "both"]
    assert len({(group.shape, group.light) for group in shown.groups}) == 3
    assert list(shown.anchors) == ["head-only probe"]
    assert list(shown.beyond) == ["majority class"]


HOSTILE = "$\\frac{$ <b>&\x00\ud800 \u202e 名前"


@pytest.mark.parametrize(
    "study",
    [
        make_study(),
        make_study(make_trial(0, state=TrialState.FAILED)),
        make_study(make_trial(0, 0.8, 10, 1.0)),
        make_study(make_trial(0, 0.8, 0, 1.0), make_trial(1, 0.8, 0, 1.0)),
        make_study(make_trial(0, 0.8, 10), make_trial(1, 0.9, 20)),
        usual_study(objectives={"accuracy": "maximize"}),
        usual_study(objectives={"trainable_params": "minimize", "latency_ratio": "minimize"}),
        usual_study(objectives={"accuracy": "maximize", "eval_examples": "maximize"}),
        make_study(
            *(make_trial(i, 0.5 + 0.1 * i, 9 + i, 1.0, swept={"k": f"{HOSTILE}{i}"}) for i in range(4)),
            name=HOSTILE,
            search_space={"k": HOSTILE},
            anchors={HOSTILE: {"accuracy": 0.6}},
        ),
        make_study(*(make_trial(i, 0.5, 9 + i, 1.0, swept={"k": f"v{i}"}) for i in range(9)), search_space={}),
    ],
    ids=["empty", "failed", "one", "zero", "no-latency", "single", "costs", "other", "hostile", "many-words"],
)
def test_any_study_can_be_drawn(study: StudyView) -> None:
    png, svg = front_images(study)
    assert png.startswith(b"\x89PNG")
    ElementTree.fromstring(svg)
