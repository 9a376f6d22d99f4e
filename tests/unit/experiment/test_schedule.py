"""Learning rates: values by arithmetic, and the trajectories that compared steps share."""

import math

import pytest

from nmtprune.experiment import config
from nmtprune.experiment.chain import parse
from nmtprune.experiment.checks import unfinished_decays
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.run import Run
from nmtprune.experiment.schedule import learning_rate, rest_of
from nmtprune.foundation.errors import UserError

RUN = config.from_settings({})
ABSTRACT = {"transformer", "student", "tiny-student", "toy-student"}  # what others extend
RECIPES = [name for name in RUN.library.names("recipes") if name not in ABSTRACT]
# those whose trainings come in rounds of pruning, retraining and rejuvenation (Wang et al. 2020)
READINGS = [
    (name, reading)
    for name in RECIPES
    for reading in ("-peak", "-last")
    if f"retrain{reading}" in RUN.recipe(name).schedules
]
IN_ROUNDS = {name for name, _ in READINGS}


def test_inverse_square_root():
    rate = learning_rate({"peak": 0.004, "warm_up": 100, "decay": "inverse_sqrt"})
    assert [rate.at(update) for update in (1, 50, 100, 400, 10_000)] == pytest.approx(
        [4e-5, 0.002, 0.004, 0.002, 0.0004]
    )


def test_inverse_square_root_without_warm_up_begins_at_its_peak():
    rate = learning_rate({"peak": 0.004, "warm_up": 0, "decay": "inverse_sqrt"})
    assert [rate.at(update) for update in (1, 4)] == pytest.approx([0.004, 0.002])


def test_linear_ends_at_zero():
    rate = learning_rate({"peak": 0.1, "warm_up": 10, "decay": "linear", "updates": 110})
    assert [rate.at(update) for update in (5, 10, 60, 110, 200)] == pytest.approx([0.05, 0.1, 0.05, 0, 0])


def test_constant():
    rate = learning_rate({"peak": 0.1, "warm_up": 10, "decay": "constant"})
    assert [rate.at(update) for update in (1, 10, 11, 5000)] == pytest.approx([0.01, 0.1, 0.1, 0.1])


RATES = {
    "inverse_sqrt": {"peak": 0.004, "warm_up": 10, "decay": "inverse_sqrt"},
    "linear": {"peak": 0.1, "warm_up": 40, "decay": "linear", "updates": 110},
    "phases": {
        "phases": [{"updates": each, "rate": rate} for each, rate in ((25, 0.1), (25, 0.2), (50, 0.01))]
    },
}


@pytest.mark.parametrize("percent", ["0.5", "25", "30", "50", "99"])
@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_the_rest_of_a_schedule_has_the_rates_of_its_last_updates(rates, percent):
    whole = RUN.schedule("base", "train").altered(
        updates=100, learning_rate=rates, reset_after=[20, 60], snapshots=[50]
    )
    rest = rest_of(whole, percent)
    of_whole, of_rest = (
        [each.learning_rate.at(update) for update in range(1, each.updates + 1)] for each in (whole, rest)
    )
    done = math.ceil(float(percent))
    assert of_rest == of_whole[done:] and len(of_rest) == 100 - done
    assert [update + done for update in rest.reset_after] == [each for each in (20, 60) if each > done]
    assert rest.snapshots == () and rest.optimizer == whole.optimizer and "snapshots" not in rest.said
    if percent == "30":
        again = rest_of(rest, "50")
        assert (again.updates, again.learning_rate.at(1)) == (35, of_whole[65])


def test_phases_change_after_their_last_update():
    rate = learning_rate({"phases": [{"updates": 3, "rate": 0.5}, {"updates": 2, "rate": 0.1}]})
    assert [rate.at(update) for update in range(1, 8)] == [0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1]


def test_last_and_parts_of_the_peak_speak_of_the_train_schedule():
    # base trains 100,000 updates with a peak of 7e-4 after 4,000
    last = 7e-4 * (4000 / 100_000) ** 0.5
    for schedule, rates in {"continue": [last, last / 10], "continue-peak": [3.5e-4, 3.5e-5]}.items():
        phases = RUN.schedule("base", schedule).learning_rate.phases
        assert [phase.rate for phase in phases] == pytest.approx(rates)
        assert [phase.updates for phase in phases] == [50_000, 50_000]


def trajectory(recipe, *schedules):
    """The rate of every update of schedules in turn."""
    found = [RUN.schedule(recipe, name) for name in schedules]
    return [each.learning_rate.at(update) for each in found for update in range(1, each.updates + 1)]


@pytest.mark.parametrize(("recipe", "reading"), [*((name, "") for name in sorted(IN_ROUNDS)), *READINGS])
def test_continued_training_has_the_updates_rates_and_fresh_optimisers_of_one_round(recipe, reading):
    parts = [f"retrain{reading}", f"rejuvenate{reading}"]
    assert trajectory(recipe, f"continue{reading}") == trajectory(recipe, *parts)
    first, second, whole = (RUN.schedule(recipe, name) for name in (*parts, f"continue{reading}"))
    assert whole.reset_after == (first.updates,)
    said = (
        "select",
        "patience",
        "precision",
        "optimizer",
        "batch_tokens",
        "accumulate",
        "validate_every",
        "label_smoothing",
        "clip_norm",
    )
    assert all(getattr(whole, key) == getattr(first, key) == getattr(second, key) for key in said)


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - IN_ROUNDS))
def test_the_control_of_see_et_al_has_the_updates_and_rates_of_retraining(recipe):
    assert trajectory(recipe, "continue") == trajectory(recipe, "retrain")


@pytest.mark.parametrize("recipe", RECIPES)
def test_sparse_from_the_start_is_trained_as_the_baseline(recipe):
    restart, train = (RUN.schedule(recipe, name).altered(snapshots=[]) for name in ("restart", "train"))
    assert restart == train


@pytest.mark.parametrize(("recipe", "reading"), [*((name, "") for name in RECIPES), *READINGS])
def test_rejuvenation_is_one_order_below_retraining(recipe, reading):
    """Wang et al. 2020, section 2."""
    (rate,) = set(trajectory(recipe, f"rejuvenate{reading}"))
    assert rate == pytest.approx(max(trajectory(recipe, f"retrain{reading}")) / 10)


SCHEDULES = {
    "sum": (
        {"updates": 10, "learning_rate": {"phases": [{"updates": 9, "rate": 0.1}]}},
        "make 9 updates and `updates` says 10",
    ),
    "endless": (
        {"updates": 10, "learning_rate": {"peak": 1, "warm_up": 12, "decay": "linear"}},
        "a linear decay needs `updates` beyond its warm_up 12",
    ),
    "reset": (
        {"updates": 10, "reset_after": [10], "learning_rate": {"phases": [{"updates": 10, "rate": 1}]}},
        "10 is not before the last update 10",
    ),
    "patient": (
        {
            "updates": 10,
            "reset_after": [5],
            "patience": 2,
            "learning_rate": {"phases": [{"updates": 10, "rate": 1}]},
        },
        "reset_after and patience exclude each other",
    ),
    "word": ({"updates": 10, "learning_rate": {"phases": [{"updates": 10, "rate": "peek"}]}}, "peek"),
}


def own(tmp_path, text):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text(text)
    return config.from_settings({"own": str(tmp_path)})


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_that_cannot_be(tmp_path, name):
    import yaml

    schedule, said = SCHEDULES[name]
    base = read_yaml(WORKFLOW / "recipes" / "toy" / "toy.yaml")
    del base["variants"]
    base["schedules"] = {"train": base["schedules"]["train"], "retrain": schedule}
    base["extends"] = "transformer"
    run = own(tmp_path, yaml.safe_dump(base))
    with pytest.raises(UserError, match=said):
        run.schedule("mine", "retrain")


def test_rates_of_a_train_schedule_in_phases(tmp_path):
    """See et al. halve their rate by phases: its peak is the highest, its last the last."""
    run = own(
        tmp_path,
        """
extends: transformer
title: By phases
architecture: {encoder_layers: 1, decoder_layers: 1}
training: {batch_tokens: 100, validate_every: 5}
schedules:
  train: {updates: 20, learning_rate: {phases: [{updates: 10, rate: 1.0}, {updates: 10, rate: 0.25}]}}
  retrain:
    updates: 6
    learning_rate: {phases: [{updates: 2, rate: last}, {updates: 2, rate: peak}, {updates: 2, rate: peak/10}]}
""",
    )
    assert [phase.rate for phase in run.schedule("mine", "retrain").learning_rate.phases] == [0.25, 1.0, 0.1]


def test_a_linear_decay_ends_a_tenth_beyond_the_updates_unless_it_is_said(tmp_path):
    run = own(
        tmp_path,
        """
extends: tiny-64
title: Shorter
schedules:
  train: {updates: 400}
  fresh: {updates: 400, learning_rate: {peak: 0.01, warm_up: 40, decay: linear}}
""",
    )
    assert run.schedule("mine", "fresh").learning_rate.updates == 440
    assert trajectory_of(run, "fresh")[-1] == pytest.approx(0.001)
    said = run.recipe("tiny-64").schedules["train"]["learning_rate"]["updates"]
    assert run.schedule("mine", "train").learning_rate.updates == said  # inherited


def trajectory_of(run, name):
    schedule = run.schedule("mine", name)
    return [schedule.learning_rate.at(update) for update in range(1, schedule.updates + 1)]


def test_a_linear_decay_that_is_far_from_its_end_is_told(tmp_path):
    """Updates that were changed, and a warm-up and a decay that stayed."""
    run = own(
        tmp_path,
        """
extends: transformer
title: Shorter
architecture: {encoder_layers: 1, decoder_layers: 1}
training: {batch_tokens: 100, validate_every: 5}
schedules:
  train: {updates: 400, learning_rate: {peak: 0.01, warm_up: 300, decay: linear, updates: 1633}}
  converge: {updates: 400, learning_rate: {peak: 0.01, warm_up: 40, decay: linear, updates: 440}}
  lasso: {updates: 400, learning_rate: {peak: 0.01, warm_up: 40, decay: inverse_sqrt}}
""",
    )
    (said,) = unfinished_decays(run, [parse("toy/mine/s1/train/prune-global-50"), parse("toy/mine/s2/train")])
    assert said == (
        "recipes/mine.yaml: schedules.train: the learning rate is still 92% of its peak at the last update, "
        "400: it rises for 300 updates "
        "and falls until 1,633; say `warm_up` and `updates` of its `learning_rate` anew"
    )
    assert unfinished_decays(run, [parse("toy/toy/s1/train"), parse("toy/mine/s1/train")]) == [said]
    phases = "toy/mine/s1/train/lasso-ffn-both-0/converge"
    assert unfinished_decays(run, [parse(phases)]) == []  # which goes on from it


@pytest.mark.parametrize("preset", ["toy", "multi30k", "iwslt14", "wmt14", "paper"])
def test_decays_of_the_presets_end(preset):
    run = config.from_settings({"preset": preset})
    assert unfinished_decays(run, Run(run).chains) == []


def test_rates_need_a_train_schedule_that_does_not_speak_of_itself(tmp_path):
    run = own(
        tmp_path,
        """
extends: transformer
title: Circular
architecture: {encoder_layers: 1, decoder_layers: 1}
training: {batch_tokens: 100, validate_every: 5}
schedules:
  train: {updates: 20, learning_rate: {phases: [{updates: 20, rate: last}]}}
""",
    )
    with pytest.raises(UserError, match=r"schedules\.train"):
        run.schedule("mine", "train")


def test_a_rate_of_a_missing_train_schedule(tmp_path):
    run = own(
        tmp_path,
        """
extends: transformer
title: No training
architecture: {encoder_layers: 1, decoder_layers: 1}
training: {batch_tokens: 100, validate_every: 5}
schedules:
  retrain: {updates: 20, learning_rate: {phases: [{updates: 20, rate: last}]}}
""",
    )
    with pytest.raises(UserError, match="no schedule `train`"):
        run.schedule("mine", "retrain")
