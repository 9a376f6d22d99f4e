"""The papers' tables and figures, and the presets that choose stand-ins for their data and models."""

import csv
import itertools
import re
import subprocess
import sys

import pytest
import yaml
from support.workplace import MICRO

from nmtprune.experiment import config, papers, paths
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.run import Run
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError
from nmtprune.store import units

PRESETS = ("toy", "multi30k", "iwslt14", "wmt14", "paper")


def run(preset="toy", **settings):
    return config.from_settings({"preset": preset, **settings})


def item(settings, key):
    return next(each for each in Run(settings).items if each.key == key)


def steps(row):
    return "/".join(map(str, row.chains[0].steps))


@pytest.fixture
def own(tmp_path):
    """A folder of the user's own with the toy preset as `mine`, one paper of it, changed by the test."""

    def write(**changes):
        preset = (
            yaml.safe_load((WORKFLOW / "presets" / "toy.yaml").read_text())
            | {"papers": ["wang2020"]}
            | changes
        )
        (tmp_path / "presets").mkdir()
        (tmp_path / "presets" / "mine.yaml").write_text(yaml.safe_dump(preset))
        return run("mine", own=str(tmp_path))

    return write


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves(preset):
    settings = run(preset)
    asked = Run(settings).chains
    assert list(asked) == sorted(set(asked), key=str) and asked
    assert [each.key for each in Run(settings).items] == [
        name
        for entry in settings.preset.papers
        for name in (
            [entry] if "/" in entry else [f"{entry}/{name}" for name in papers.paper(entry)["items"]]
        )
    ]


def test_the_preset_paper_uses_the_papers_own_names_and_leaves_nothing_out():
    settings = run("paper")
    recipes = {"see2016": "lstm", "see2016-small": "lstm-small"}  # whose name says what they are
    recipes |= {
        f"scale-{step}": name
        for step, name in enumerate(("base-64", "base-128", "base-256", "base", "big"), 1)
    }
    tasks = {
        "wmt-es-en-distilled": "wmt13-es-en-distilled",
        "wmt-es-en-distilled-13m": "wmt13-es-en-13m-distilled",
    }  # and of which year
    for each in Run(settings).items:
        assert not each.left_out
        assert all(row.chains[0].task == tasks.get(row.paper_task, row.paper_task) for row in each.rows)
        assert all(
            row.chains[0].recipe == recipes.get(row.paper_recipe, row.paper_recipe) for row in each.rows
        )


def test_figure_1_is_the_baseline_and_eight_ratios_direct_and_retrained():
    figure = item(run("paper"), "wang2020/figure1")
    rows = [row for row in figure.rows if row.paper_task == "wmt14-en-de"]
    assert [steps(row) for row in rows] == [
        "train",
        *(f"train/prune-local-{percent}" for percent in range(10, 90, 10)),
        *(f"train/prune-local-{percent}/retrain" for percent in range(10, 90, 10)),
        *(
            f"train/prune-global-{percent}/retrain" for percent in (50, 80)
        ),  # what See et al. is compared with
    ]
    assert [row.values.get("percent", row.values.get("retrained")) for row in rows[:17]] == [
        None,
        *range(10, 90, 10),
        *range(10, 90, 10),
    ]
    assert len(figure.rows) == 17 + len(rows) and figure.left_out == ()


def test_figure_3_is_three_schemes_at_nine_ratios_and_nothing_is_trained_for_it():
    figure = item(run("paper"), "see2016/figure3")
    schemes = ("global", "uniform", "distribution")
    assert [steps(row) for row in figure.rows] == [
        "train",
        *(f"train/prune-{scheme}-{percent}" for scheme in schemes for percent in range(10, 100, 10)),
    ]


def test_figure_4_is_each_scheme_on_each_of_the_papers_twelve_classes():
    figure = item(run("paper"), "see2016/figure4")
    layers = [f"{side}_layer_{number}" for side in ("source", "target") for number in range(1, 5)]
    classes = [*layers, "attention", "softmax", "source_embedding", "target_embedding"]
    assert [row.values["class"] for row in figure.rows[1:]] == 3 * classes
    assert figure.rows[1].against is figure.rows[0]


def test_figure_6_starts_sparse_from_fifty_percent_on():
    rows = item(run("paper"), "see2016/figure6").rows
    restarted = [row for row in rows if row.chains[0].last.kind.name == "restart"]
    assert [row.values for row in restarted] == [{"sparse": percent} for percent in (50, 60, 70, 80, 90)]
    assert [row.published["bleu"] for row in rows if row.published] == ["20.48", "20.91", "20.13"]


def test_direct_pruning_comes_before_retraining():
    for each in Run(run("paper")).items:
        if each.kind == "lines":
            kinds = [
                row.chains[0].last.kind.name for row in each.rows if row.paper_task == each.rows[0].paper_task
            ]
            assert kinds == sorted(kinds, key=["train", "prune", "retrain", "continue", "restart"].index)


def test_a_preset_runs_a_part_of_a_grid():
    figure = item(run("toy"), "wang2020/figure1")
    assert [row.values["retrained"] for row in figure.rows if row.label == "PruTrain"] == 2 * [50]


def test_every_published_value_of_the_paper_is_in_exactly_one_row():
    for each in Run(run("paper")).items:
        file = papers.FOLDER / each.paper / "published" / f"{each.name}.csv"
        if file.exists() and each.columns:  # a file of a line for each row
            with open(file) as lines:
                assert [row.published for row in each.rows if row.published] == list(csv.DictReader(lines))


def test_published_rows_carry_the_papers_own_labels():
    table2, table3, table4 = (
        item(run("paper"), f"wang2020/{name}") for name in ("table2", "table3", "table4")
    )
    for row in itertools.chain(table2.rows, table3.rows, table4.rows):
        if row.published:
            assert row.label == row.published["model"]
    assert all(row.group == row.published["data"] for row in table3.rows)
    table1 = item(run("paper"), "wang2020/table1")
    assert all(
        (row.group, row.label) == (row.published["pruning"], row.published["rejuvenation"])
        for row in table1.rows[:4]
    )


def test_rows_are_compared_with_the_baseline_above_them():
    rows = item(run("toy"), "wang2020/table2").rows
    assert [row.baseline for row in rows] == [True, *7 * [False], True, False, False]
    assert all(row.against is rows[0] for row in rows[1:8]) and all(
        row.against is rows[8] for row in rows[9:]
    )
    assert rows[0].against is None and rows[8].against is None


@pytest.mark.parametrize(("rounds", "control"), [("second", "twice"), ("third", "three times")])
def test_the_matched_control_has_the_updates_of_all_rounds_and_no_published_value(rounds, control):
    settings = run("paper")
    rows = {row.label: row for row in item(settings, "wang2020/table2").rows}
    rejuvenated, continued = (
        rows[f"+ RejTrain ({rounds} iteration)"],
        rows[f"+ ConTrain ({control} the updates)"],
    )
    assert not continued.published and bool(rejuvenated.published) == (rounds == "second")

    def updates(row):
        return sum(
            settings.schedule("base", step.schedule).updates
            for step in row.chains[0].steps[1:]
            if step.kind.trains
        )

    assert updates(rejuvenated) == updates(continued)
    assert updates(rejuvenated) == updates(rows["+ ConTrain"]) * {"second": 2, "third": 3}[rounds]


def test_a_row_has_a_chain_for_each_seed():
    row = item(run("toy", seeds=[1, 7]), "wang2020/table6").rows[1]
    assert list(map(str, row.chains)) == ["toy/toy/s1/train/continue", "toy/toy/s7/train/continue"]


def test_one_table_can_be_asked_for_and_is_asked_for_once():
    keys = [
        each.key
        for each in Run(run("toy", papers=["wang2020/table2", "wang2020/table6", "wang2020/table2"])).items
    ]
    assert keys == ["wang2020/table2", "wang2020/table6"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("wang2002", "config: papers: unknown paper `wang2002`; did you mean `wang2020`?"),
        (
            "wang2020/tabel2",
            "config: papers: wang2020 has no table or figure `tabel2`; did you mean `table2`?",
        ),
    ],
)
def test_an_unknown_paper_or_table_is_named_with_the_nearest(asked, message):
    with pytest.raises(UserError) as error:
        _ = Run(run("toy", papers=[asked])).items
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "tasks": {
                    "wmt14-en-de": "toyy",
                    "wmt17-zh-en": None,
                    "iwslt14-de-en": None,
                    "iwslt17-en-fr": None,
                }
            },
            "presets/mine.yaml: tasks.wmt14-en-de: unknown task `toyy`; did you mean `toy`?",
        ),
        (
            {"tasks": {"wmt14-en-ed": "toy"}},
            "presets/mine.yaml: tasks: no paper has `wmt14-en-ed`; did you mean `wmt14-en-de`?",
        ),
        (
            {"tasks": {}},
            "wang2020/figure1 row 1: presets/mine.yaml: tasks: nothing is said of `wmt14-en-de`; "
            "name the task that stands in for it, or null to leave its rows out",
        ),
        (
            {"grids": {"wang2020/figur1": {"percent": [10]}}},
            "presets/mine.yaml: grids: no paper has `wang2020/figur1`; did you mean `wang2020/figure1`?",
        ),
        (
            {"grids": {"wang2020/figure1": {"percents": [10]}}},
            "presets/mine.yaml: grids: wang2020/figure1 has no variable `percents`; did you mean `percent`?",
        ),
        (
            {"grids": {"wang2020/figure1": {"percent": [120]}}},
            "wang2020/figure1 row 2: step `prune-local-120`: 120 percent is not between 0 and 100 "
            "(prune-<scheme>-<percent>[-<class>])",
        ),
        (
            {"papers": ["wang2021"]},
            "presets/mine.yaml: papers: unknown paper `wang2021`; did you mean `wang2020`?",
        ),
    ],
)
def test_a_mistake_in_a_preset_is_one_sentence(own, changes, message):
    with pytest.raises(UserError) as error:
        _ = Run(own(**changes)).items
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chain": "train/prun-local-50"}, "row 1: unknown step `prun-local-50`; did you mean `prune`?"),
        ({"chain": "train/prune-locl-50"}, "unknown scheme `locl`; did you mean `local`?"),
        ({"chain": "train/retrain"}, "`retrain` cannot follow `train`"),
        (
            {"chain": "train/prune-local-{percnt}"},
            "row 1: unknown grid variable `percnt`; did you mean `percent`?",
        ),
        ({"task": "wmt14-en-ed"}, "row 1: wang2020 has no task `wmt14-en-ed`; did you mean `wmt14-en-de`?"),
        ({"recipe": "bas"}, "row 1: wang2020 has no recipe `bas`; did you mean `base`?"),
        ({"published": 99}, "row 1: published: there is no row 99; the paper's CSV has 7"),
    ],
)
def test_a_mistake_in_a_row_names_item_row_and_the_nearest(monkeypatch, row, message):
    stated = papers._stated("wang2020", "table2")
    changed = {**stated, "grid": {"percent": [10]}, "rows": [{**stated["rows"][0], **row}]}
    monkeypatch.setattr(papers, "_stated", lambda *_: changed)
    with pytest.raises(UserError) as error:
        _ = Run(run("toy", papers=["wang2020/table2"])).items
    assert str(error.value).startswith("wang2020/table2 row 1: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "lines"}, "wang2020/table2: the key `x` is missing"),
        ({"kid": "table"}, "wang2020/table2: unknown key `kid`; did you mean `kind`?"),
        ({"columns": [{"metric": "blue", "heading": "BLEU"}]}, "did you mean `bleu`?"),
        (
            {"rows": [{"label": 3, "task": "a", "recipe": "b", "chain": "train"}]},
            "wang2020/table2: rows.0.label: 3 is of",
        ),
    ],
)
def test_an_items_schema_is_strict(change, message):
    stated = read_yaml(papers.FOLDER / "wang2020" / "table2.yaml")
    with pytest.raises(UserError) as error:
        validate(stated | change, "item", "wang2020/table2")
    assert message in str(error.value)


def test_a_column_whose_published_name_does_not_exist_is_refused(monkeypatch):
    stated = papers._stated("wang2020", "table2")
    columns = [{"metric": "bleu", "heading": "BLEU", "published": "blue"}]
    monkeypatch.setattr(papers, "_stated", lambda *_: {**stated, "columns": columns})
    with pytest.raises(UserError) as error:
        _ = Run(run("toy", papers=["wang2020/table2"])).items
    said = "wang2020/table2: columns: nothing is published as `blue`; did you mean `bleu`?"
    assert str(error.value) == said


def test_reading_the_papers_loads_no_heavy_library():
    heavy = ("numpy", "pandas", "matplotlib", "seaborn", "torch", "sacrebleu")
    code = (
        f"import sys; from nmtprune.experiment import papers; print([name for name in {heavy} if name in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verbs_that_draw_nothing_load_no_library_for_figures():
    code = (
        "import sys; import nmtprune.cli.verbs, nmtprune.planning.status, nmtprune.claims.registry, "
        "nmtprune.reporting.results;"
        "print([name for name in ('matplotlib', 'seaborn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# what a label, a caption or a note may say of a setting: a pattern, and what a row's model has of it
SETTINGS = {
    r"λ = (\d[\d.]*|to\d+)": lambda run, model: {step.get("lambda") for step in model.steps},
    r"(?<![\d.])(\d+) %": lambda run, model: {str(step.get("percent")) for step in model.steps} | {"100"},
    r"FFN (\d+)": lambda run, model: {str(architecture(run, model).ffn_dim)},
    r"(\d+) heads": lambda run, model: {str(architecture(run, model).heads)},
    r"[Dd]ropout (\d\.\d+)": lambda run, model: {str(float(architecture(run, model).dropout))},
    r"rate (\d\.\d+)": lambda run, model: {
        str(getattr(architecture(run, model), name)) for name in ("sub_layer_drop", "layer_drop")
    },
    r"(\d[\d.,]*M?) pairs": lambda run, model: {sampled(run, model)},
}
OF_THE_PAPER = ("paper", "print", "0 % are the initial")  # sentences on what is published


def architecture(run, model):
    return run.recipe(model.recipe).architecture


def sampled(run, model):
    task = run.task(model.task)
    pairs = task.sample.pairs if task.sample else task.distilled and task.distilled.sample
    return pairs and (f"{pairs / 1e6:g}M" if pairs >= 1e6 else f"{pairs:,}")


@pytest.mark.parametrize("preset", ["toy", "multi30k", "iwslt14", "wmt14", "paper", "micro-papers"])
def test_settings_in_labels_and_captions_are_those_of_the_run(preset):
    """With stand-ins for the paper's model or strength, no label or caption has the paper's own."""
    run = config.from_settings({"preset": preset, "own": str(MICRO)})
    said, wrong = 0, []
    for item in Run(run).items:
        models = [row.chains[0] for row in item.rows]
        texts = [(f"{row.group} {row.label}", [row.chains[0]]) for row in item.rows]
        texts += [
            (text, models)
            for text in (item.title, item.caption, *item.notes)
            if not any(word in text for word in OF_THE_PAPER)
        ]
        texts += [
            (text, models)
            for text in re.split(r"[.;] ", item.caption)
            if not any(word in text for word in OF_THE_PAPER)
        ]
        for (text, of), (pattern, known) in itertools.product(texts, SETTINGS.items()):
            for value in re.findall(pattern, text) if of else ():
                said += 1
                if not any(value in known(run, model) for model in of):
                    wrong.append((item.key, text, value))
    assert said > 20 and wrong == []


def test_a_caption_lists_the_values_that_are_run():
    def caption(**grid):
        run = config.from_settings({"preset": "toy", "papers": ["behnke2021/table9"]})
        run.preset.grids["behnke2021/table9"] = grid
        return Run(run).items[0].caption

    assert "pruned at λ = 8," in caption(**{"lambda": [8]}) and "pruned at λ = 2 or 8," in caption(
        **{"lambda": [2, 8]}
    )


def made_by(**settings):
    """The models of which a run of the preset multi30k asks for a file: by unit their steps."""
    made = {}
    for unit, files in units.by_unit(
        units.Kept(run("multi30k", papers=["wang2020"], **settings)).targets(
            Run(run("multi30k", papers=["wang2020"], **settings))
        )
    ).items():
        made[unit.as_posix()] = {file.parent.relative_to(paths.MODELS / unit).as_posix() for file in files}
    return made


def test_a_run_may_make_some_units_and_of_them_what_headline_claims_need():
    rejuvenated = "train/prune-local-50/retrain/rejuvenate-zero"
    headline = {
        "train",
        "train/continue",
        "train/continue-short",
        "train/prune-local-50/retrain",
        rejuvenated,
    }
    assert made_by(only_headlines=True, only_units=["multi30k-en-de/tiny-128/s2"]) == {
        "multi30k-en-de/tiny-128/s2": headline
    }
    assert set(made_by(only_units=["multi30k-en-de/tiny-128"])) == {
        f"multi30k-en-de/tiny-128/s{seed}" for seed in (1, 2, 3)
    }
    assert made_by(only_units=["multi30k-en-de/tiny-128/s1"])["multi30k-en-de/tiny-128/s1"] > headline
    assert set(made_by(only_headlines=True)) > {"multi30k-en-de/tiny-192/s1", "multi30k-cs-en/tiny-96/s3"}


def test_a_unit_that_the_run_has_not_is_refused():
    with pytest.raises(
        UserError,
        match=(
            r"only_units: the run has no unit `multi30k-en-de/tiny-1288`; did you mean "
            r"`multi30k-en-de/tiny-128`"
        ),
    ):
        _ = Run(run("multi30k", only_units=["multi30k-en-de/tiny-1288"])).items
