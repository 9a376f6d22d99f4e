"""Recipes and tables have the papers' settings as cited, or every affected caption names the departure."""

import json

import pytest
from support.workplace import MICRO

from nmtprune.experiment import chain, config
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import captions, tables
from nmtprune.scoring.tokenised import tokenised_bleu
from nmtprune.training import loop


def run(preset):
    return config.from_settings({"preset": preset, "own": str(MICRO)})


PAPER = run("paper")
ITEMS = {item.key: item for item in Run(PAPER).items}


def said(key, settings=PAPER, items=ITEMS):
    return " ".join(captions.caption(items[key], Measured(settings)))


def families(item):
    return {step.kind.name for row in item.rows for step in row.chains[0].steps}


def keys(condition):
    return [key for key, item in ITEMS.items() if condition(item)]


@pytest.mark.parametrize("key", keys(lambda item: "lasso" in families(item)))
def test_the_rule_of_dead_groups_is_said(key):
    assert "dead groups are those whose squares sum to less than 1e-05" in said(key)


@pytest.mark.parametrize("key", keys(lambda item: "rejuvenate" in families(item)))
def test_both_readings_of_rejuvenations_rate_are_said(key):
    assert "a tenth of the rate of retraining" in said(key) and "schedules `-peak`" in said(key)


@pytest.mark.parametrize(
    "key", keys(lambda item: families(item) & {"continue", "retrain", "rejuvenate", "rewind", "finetune"})
)
def test_selection_and_competing_parents_are_said(key):
    assert "Checkpoints selected: " in said(key) and "the parent competes, as update 0." in said(key)


@pytest.mark.parametrize("key", keys(lambda item: "int8" in families(item)))
def test_the_rounding_is_set_against_marians(key):
    assert "8 bits (onnx): one scale per row of a matrix" in said(
        key
    ) and "Marian has one scale per matrix" in said(key)


@pytest.mark.parametrize(
    "key",
    keys(
        lambda item: any("heads" in str(row.chains[0]) for row in item.rows if "lasso" in str(row.chains[0]))
    ),
)
def test_groups_of_whole_heads_are_said(key):
    assert "A head is four groups" in said(key)


@pytest.mark.parametrize(
    "key", keys(lambda item: any("prune-local" in str(row.chains[0]) for row in item.rows))
)
def test_local_pruning_is_said_to_be_of_matrices(key):
    assert "local is the same share of each matrix (the paper: of each layer)" in said(key)


@pytest.mark.parametrize("key", keys(lambda item: any(row.paper_task == "wmt17-zh-en" for row in item.rows)))
def test_unsegmented_chinese_is_said(key):
    assert "Chinese is not segmented into words first: SentencePiece segments it" in said(key)


def test_norms_elsewhere_than_the_papers_are_said():
    settings = run("multi30k")
    for item in Run(settings).items:
        architectures = [settings.recipe(row.chains[0].recipe).architecture for row in item.rows]
        assert ("(pre-norm)" in said(item.key, settings, {item.key: item})) == any(
            each.norm == "pre" for each in architectures
        )
    items = {item.key: item for item in Run(settings).items}
    assert "(pre-norm) in tiny-6-6, tiny-6-6-shallow;" in said("wangtu2020/table3", settings, items)
    assert "pre-norm" not in said("see2016/figure6", settings, items)
    assert not any("pre-norm" in said(key) for key in ITEMS)


def test_students_without_averages_and_limits_are_said():
    settings = run("multi30k")
    items = {item.key: item for item in Run(settings).items}
    without = (
        "Trained without an average of their weights and a limit of 100 pieces a side, which the "
        "paper's models have: tiny-student-6-2."
    )
    assert without in said("behnke2021/table3", settings, items)
    assert "Trained without" not in said("wang2020/table2", settings, items)
    assert not any("Trained without" in said(key) for key in ITEMS)


def test_how_printed_bleu_was_counted():
    for key, words in {
        "see2016/storage": "tokenised text, by multi-bleu",
        "wang2020/table2": "4-gram BLEU (Papineni et al. 2002)",
        "wangtu2020/table3": "NIST BLEU",
        "behnke2021/table3": "sacreBLEU's, as ours",
    }.items():
        assert words in said(key)
    assert "Tokenised BLEU: of text tokenised by Moses' rules" in said("wang2020/table2")


def test_tokenised_bleu_is_multi_bleus():
    references = ["The cat isn't here, is it?", "It costs $3.50 (more or less)."]
    assert tokenised_bleu(references, [references], "en") == pytest.approx(100)
    # "The cat is not here , is it ?": 8 of 9 tokens, 5 of 8, 2 of 7 and 1 of 6 n-grams occur in "The cat isn
    # 't here , is it ?"
    ours = tokenised_bleu(["The cat is not here, is it?"], [references[:1]], "en")
    assert ours == pytest.approx(100 * (7 / 9 * 5 / 8 * 3 / 7 * 2 / 6) ** 0.25, rel=1e-6)
    assert tokenised_bleu(["dog"], [references[:1]], "en") == 0  # not smoothed


CONTROL = "train-pretrain/lasso-ffn-both-0/converge"


@pytest.mark.parametrize("preset", ["toy", "multi30k", "wmt14", "paper"])
def test_the_control_without_a_lasso_has_the_phases_of_the_pruned_models(preset):
    settings = run(preset)
    items = {item.key: item for item in Run(settings).items}
    for table in ("table1a", "table1b", "table2", "table3", "table4", "table7"):
        rows = items[f"behnke2021/{table}"].rows
        assert [row.label for row in rows if "/".join(map(str, row.chains[0].steps)) == CONTROL] == [
            "No lasso, same phases"
        ]


def test_table_9_has_updates_of_its_own():
    rows = [row.chains[0] for row in ITEMS["behnke2021/table9"].rows if "lasso" in str(row.chains[0])]
    assert {
        (
            PAPER.schedule(each.recipe, "train-pretrain").updates,
            PAPER.schedule(each.recipe, "lasso").updates,
        )
        for each in rows
    } == {(50_000, 150_000)}
    assert PAPER.schedule("student-12-1", "lasso").updates == 250_000


def test_students_are_trained_and_translate_as_cited():
    schedule, recipe = PAPER.schedule("student-6-6", "train"), PAPER.recipe("student-6-6")
    cited = {
        "clip_norm": 0,
        "exponential_moving_average": 1e-4,
        "max_length": 100,
        "select": "bleu",
        "patience": 20,
    }
    assert {key: getattr(schedule, key) for key in cited} == cited
    assert {key: getattr(recipe.decoding, key) for key in ("beam", "shortlist", "frequent")} == {
        "beam": 1,
        "shortlist": 50,
        "frequent": 50,
    }
    assert PAPER.shortlist(chain.parse("toy/student-6-6/s1/train")).name == "shortlist-50+50.npz"
    assert {
        run("multi30k").schedule("tiny-student-6-2", name).select
        for name in ("train", "converge", "finetune")
    } == {"bleu"}


def test_smaller_deep_students_have_fewer_heads():
    for size in (768, 384, 192, 96):
        architecture = PAPER.recipe(f"student-12-1-ffn{size}").architecture
        assert (architecture.ffn_dim, architecture.heads, architecture.head_dim) == (size, 4, 32)


def test_the_rate_of_the_wide_model_follows_the_formula():
    """Vaswani et al. 2017, 5.3: d^-0.5 * warm_up^-0.5 at the end of warm-up."""
    for recipe in ("base-32k", "base-32k-wide"):
        rate, width = (
            PAPER.schedule(recipe, "train").learning_rate,
            PAPER.recipe(recipe).architecture.embed_dim,
        )
        assert rate.peak == pytest.approx((width * rate.warm_up) ** -0.5, rel=0.02)


def test_bleu_of_several_test_sets_is_their_mean_where_the_paper_has_an_average():
    for table in ("table1a", "table1b", "table2", "table3", "table4", "table7", "figure3"):
        item = ITEMS[f"behnke2021/{table}"]
        assert {column.test_set for column in item.columns if column.metric in ("bleu", "chrf", "comet")} == {
            "all"
        }
    assert {
        row.label.partition(",")[0]
        for row in ITEMS["behnke2021/figure3"].rows
        if "ffn-enc" in str(row.chains[0])
    } == {"Pruned"}


def test_sizes_are_in_the_papers_unit():
    assert (
        tables.number("size_stored", 86_270_000, "MiB") == "82.27 MiB"
        and tables.number("size_stored", 86_270_000) == "86.27 MB"
    )
    column = next(column for column in ITEMS["behnke2021/table1a"].columns if column.metric == "size_stored")
    assert (column.unit, column.scale) == ("MiB", 2**20)


def test_see_et_al_read_short_pairs_in_reverse():
    assert PAPER.task("wmt14-2737-en-de").cleaning.max_words == 50
    assert PAPER.recipe("lstm").subwords["reverse_source"]


def test_a_row_that_is_its_parent_is_marked(bench):
    workplace = bench("micro/micro/s1/train/continue-patient")
    measured, patient = Measured(workplace.config), chain.parse("micro/micro/s1/train/continue-patient")
    with workplace.inside():
        assert measured.is_its_parent(patient)
        assert not measured.is_its_parent(patient.parent)


def test_long_pairs_are_left_out_of_training_and_nothing_else(bench, monkeypatch):
    workplace, seen = bench(), []
    plain = loop.session.Trainer.train_step

    def train_step(self, samples, *others):
        seen.extend(int(sample["net_input"]["src_lengths"].max()) for sample in samples)
        seen.extend(int((sample["target"] != 1).sum(1).max()) for sample in samples)
        return plain(self, samples, *others)

    monkeypatch.setattr(loop.session.Trainer, "train_step", train_step)
    schedule = workplace.config.schedule("micro", "train")
    longest = {}
    for limit in (None, 12):
        seen.clear()
        changed = schedule.altered(max_length=limit, updates=8)
        monkeypatch.setattr(
            type(workplace.config), "schedule", lambda self, recipe, name, changed=changed: changed
        )
        text = "micro/micro/s1/train"
        workplace.make(text)
        longest[limit] = max(seen)
        for file in (workplace.model(text) / "manifest.json",):
            manifest = json.loads(file.read_text())
            file.unlink()
        assert manifest["updates"] == 8
    assert longest[12] <= 12 < longest[None]
