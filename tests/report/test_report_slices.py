from report_studies import make_study, make_trial

from adapter_sweep.report.slices import slices


def test_slices_of_every_searched_number() -> None:
    space = {
        "method.placement": "choice(post_attention,post_ffn,both)",
        "method.width": "tag(log,int(interval(4,256)))",
        "train.lr": "interval(1e-4,1e-2)",
        "train.epochs": "choice(1,10)",
        "train.seed": "range(0,5)",
    }
    trials = [
        make_trial(
            i,
            0.8 + i / 100,
            10,
            1.0,
            swept={
                **{"method.placement": "both", "method.width": 4 + i, "train.lr": 1e-3 * (i + 1)},
                **{"train.epochs": (1, 10)[i % 2], "train.seed": 3},
            },
        )
        for i in range(4)
    ]
    found = slices(make_study(*trials, search_space=space))
    assert [(cut.key, cut.log) for cut in found] == [
        ("method.width", True),
        ("train.lr", False),
        ("train.epochs", True),
    ]
    assert found[0].words.startswith("Scatter chart of 4 complete trials: accuracy over width, from 4 to 7; the best")
