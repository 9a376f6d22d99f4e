"""Registries of kinds: every entry has what it promises, and one file with one entry adds another kind."""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from support.workplace import MICRO, REPOSITORY, Workplace

from nmtprune.analysis.run import run as analyse
from nmtprune.experiment import analysis_kinds, chain, config, paths, schemas, slices, step_kinds, validation
from nmtprune.experiment.analysis_kinds import (
    ANALYSIS_KINDS,
    ON_CPU,
    ON_GPU,
    Analysis,
    AnalysisKind,
    TrialCount,
)
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.item_kinds import FIGURE, ITEM_KINDS, TABLE, ItemKind
from nmtprune.experiment.metrics import METRICS, SCORES, SPEED, Metric
from nmtprune.experiment.run import Run
from nmtprune.experiment.step_kinds import DENSE, INT8, SLICED, SPARSE, STEP_KINDS, StepKind, latest
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json, write_text
from nmtprune.measurements.frame import frame, reasons
from nmtprune.measurements.measurements import Measured
from nmtprune.planning import jobs
from nmtprune.planning.freeing import spare, weights_read
from nmtprune.reporting import reference, reference_docs, tables
from nmtprune.reporting.render import render
from nmtprune.reporting.rendition import Made, Table
from nmtprune.steps.run import run as make_step
from nmtprune.store import manifest

WRITTEN, CHAINS = (
    (REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("configuration.md", "chains.md")
)
RULES, STEP_RULES = (
    (REPOSITORY / "workflow" / "rules" / f"{name}.smk").read_text(encoding="utf-8")
    for name in ("analyses", "models")
)
MODEL = "micro/micro/s1/train"


def module(monkeypatch, name: str, **functions) -> None:
    """Place a module in the package for the length of a test."""
    placed = ModuleType(name)
    vars(placed).update(functions)
    monkeypatch.setitem(sys.modules, name, placed)


@pytest.fixture
def fresh_schemas():
    """Schemas are read anew after a test has entered something, and again after it."""
    validation._validator.cache_clear()
    yield
    validation._validator.cache_clear()


@pytest.fixture
def run(tmp_path, monkeypatch, fresh_schemas):
    """A run of one table or figure of a paper of the user's own, with one row, of one model."""

    def settings(**stated) -> config.Config:
        own = tmp_path / "own"
        for kind in ("recipes", "tasks", "presets"):
            (own / kind).parent.mkdir(exist_ok=True)
            (own / kind).symlink_to(MICRO / kind)
        row = {"label": "dense", "task": "micro", "recipe": "micro", "chain": "train"}
        about = {"title": "Mine", "short": "Mine", "authors": "I", "where": "here", "items": ["shown"]}
        names = {"tasks": {"micro": "Micro"}, "recipes": {"micro": "Micro"}}
        item = {"title": "Made up", "caption": "Made up.", "rows": [row], **stated}
        (own / "papers" / "mine").mkdir(parents=True)
        (own / "papers" / "mine" / "paper.yaml").write_text(yaml.safe_dump(about | names))
        (own / "papers" / "mine" / "shown.yaml").write_text(yaml.safe_dump(item))
        monkeypatch.chdir(tmp_path)
        return config.from_settings(
            {"preset": "micro", "own": str(own), "papers": ["mine"], "name": "registries"}
        )

    return settings


# --- kinds of tables and figures


@pytest.mark.parametrize("kind", ITEM_KINDS.values(), ids=ITEM_KINDS)
def test_every_kind_of_item_has_a_module_that_makes_it_and_is_in_the_docs(kind):
    assert callable(import_module(f"nmtprune.reporting.kinds.{kind.name}").make)
    assert f"`{kind.name}`: {kind.about}" in WRITTEN
    assert (
        {"csv", "rst"} <= set(kind.files) and kind.page_file in kind.files and kind.report_file in kind.files
    )


def test_every_module_of_a_kind_of_item_has_an_entry():
    folder = Path(import_module("nmtprune.reporting.kinds").__file__).parent
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == set(ITEM_KINDS)


@pytest.mark.parametrize("kind", ITEM_KINDS.values(), ids=ITEM_KINDS)
def test_an_item_without_a_key_that_its_kind_requires_is_refused(kind, fresh_schemas):
    row = {"label": "dense", "task": "micro", "recipe": "micro", "chain": "train"}
    item = {"title": "Made up", "kind": kind.name, "caption": "Made up.", "rows": [row]}
    if not kind.requires:
        validate(item, "item", "mine/shown")
        return
    with pytest.raises(UserError) as refused:
        validate(item, "item", "mine/shown")
    assert all(f"the key `{key}` is missing" in str(refused.value) for key in kind.requires[:1])


def test_one_module_and_one_entry_add_a_kind_of_figure(run, monkeypatch):
    def make(item, measured):
        missing = [measured.missing(row.first, item.reads) for row in item.rows]
        numbers = pd.DataFrame({"label": [row.label for row in item.rows], "missing": missing})
        return Made(
            numbers, [], table=Table(["model"], ["name"], [[row.label] for row in item.rows], [], frozenset())
        )

    module(monkeypatch, "nmtprune.reporting.kinds.dummy", make=make)
    dummy = ItemKind(
        "dummy", "a dummy", TABLE, reads=("weights",), requires=("widths",), over_seeds="Of seeds {seeds}."
    )
    monkeypatch.setitem(ITEM_KINDS, "dummy", dummy)
    made = run(kind="dummy", widths=["ffn"])
    (item,) = Run(made).items
    assert Run(made).files_read_by(item) == {paths.analysis(item.rows[0].first, "weights")}
    written = {file.suffix for file in render(Run(made)) if file.stem == "shown"}
    assert written == {f".{extension}" for extension in TABLE}
    assert MODEL in pd.read_csv(paths.item("registries", "mine", "shown", "csv"))["missing"][0]
    assert Run(made).report_entries[0][0].suffix == ".html"
    assert "`dummy`: a dummy" in reference_docs.configuration_page()
    kinds = json.loads(schemas.item_file())["properties"]["kind"]
    assert kinds["enum"][-1] == "dummy"


def test_an_unknown_kind_is_told_with_the_nearest_one(run):
    with pytest.raises(UserError, match="did you mean `table`"):
        _ = Run(run(kind="tabel")).items


def test_a_figure_is_seen_as_a_picture_and_a_table_as_text():
    assert (ITEM_KINDS["lines"].files, ITEM_KINDS["lines"].page_file, ITEM_KINDS["lines"].report_file) == (
        FIGURE,
        "png",
        "svg",
    )
    assert (ITEM_KINDS["table"].files, ITEM_KINDS["table"].page_file, ITEM_KINDS["table"].report_file) == (
        TABLE,
        "md",
        "html",
    )


# --- analyses


@pytest.mark.parametrize("kind", ANALYSIS_KINDS.values(), ids=ANALYSIS_KINDS)
def test_every_analysis_has_a_module_a_rule_and_a_row_in_the_docs(kind):
    module_of_it = import_module(f"nmtprune.analysis.{kind.name}")
    assert callable(module_of_it.analyse)
    assert callable(getattr(module_of_it, "trials", None)) or not kind.shared_out
    assert re.search(rf"^rule {kind.rule}:$", RULES, re.M)
    assert f"| `{kind.name}` | {kind.about} |" in CHAINS
    assert set(kind.needs) <= set(ANALYSIS_KINDS) - {kind.name}


@pytest.mark.parametrize("kind", ANALYSIS_KINDS.values(), ids=ANALYSIS_KINDS)
def test_what_an_analysis_reads_of_importance_is_what_its_trials_take(kind):
    run = config.from_settings({"preset": "micro", "own": str(MICRO)})
    model = chain.parse("micro/micro-components/s1/train")
    identity = kind.identity(run, model)
    assert identity["version"] == kind.version and ("scoring" in identity) == kind.translates == bool(
        kind.importance
    )
    importance = run.recipe(model.recipe).importance
    assert set(kind.importance) <= set(importance.whole) and set(kind.importance) <= set(identity)
    if kind.translates:
        few, many = (kind.trials(components, importance) for components in (10, 20))
        assert isinstance(few, TrialCount) and few.on_dev > 0 and kind.caption(importance)
        assert few < many and sum(few) < sum(
            many
        )  # of `order`, whose candidates are few, only the trials by likelihood grow


DUMMY = AnalysisKind(
    "dummy",
    "a dummy",
    3,
    ON_GPU,
    lambda config, chain: {"seed": chain.seed},
    needs=("weights",),
    own_files=lambda config, task: [Path(f"{task}.txt")],
    reads_first_weights=True,
)


def test_one_module_and_one_entry_add_an_analysis(tmp_path, monkeypatch):
    def analysed(config, chain):
        return Analysis(pd.DataFrame({"name": ["answer"], "value": [42]}), {"answers": np.array([42])})

    module(monkeypatch, "nmtprune.analysis.dummy", analyse=analysed)
    monkeypatch.setitem(ANALYSIS_KINDS, "dummy", DUMMY)
    run, model = config.from_settings({"preset": "micro", "own": str(MICRO)}), chain.parse(MODEL)
    monkeypatch.chdir(tmp_path)
    paths.model(model).mkdir(parents=True)
    analyse("dummy", run, model)
    assert pd.read_csv(paths.analysis(model, "dummy")).to_dict("records") == [{"name": "answer", "value": 42}]
    assert np.load(paths.arrays(paths.analysis(model, "dummy")))["answers"] == 42
    assert ANALYSIS_KINDS["dummy"].identity(run, model) == {"version": 3, "seed": 1}

    job = jobs.of_verb(run, "analyse", Namespace(model=MODEL, analysis="dummy"))
    assert (job.rule, job.does, job.makes) == (
        ON_GPU,
        "dummy",
        paths.analysis(model, "dummy"),
    ) and jobs.takes_gpu(run, job)
    assert paths.analysis(model, "weights") in job.needs and Path("micro.txt") in jobs.read_by(run, job)
    assert weights_read(job) == {paths.model(model) / paths.MODEL, paths.model(model) / paths.INITIAL}
    assert analysis_kinds.of_rule(ON_GPU).split("|")[-1] == "dummy"
    reference._keep_unit(run, tmp_path / "kept", paths.unit(model), [model])
    assert {file.name for file in (tmp_path / "kept").rglob("dummy.*")} == {"dummy.csv", "dummy.npz"}
    assert "| `dummy` | a dummy | `weights` |" in reference_docs.chains_page()


def test_one_entry_adds_an_analysis_to_the_rules(tmp_path):
    """Snakemake, started with the entry in place, plans the analysis as any other."""
    workplace = Workplace(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS, ON_CPU, AnalysisKind\n"
        "ANALYSIS_KINDS['dummy'] = AnalysisKind('dummy', 'a dummy', 7, ON_CPU)\n"
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path / "site"))
        planned = workplace.snakemake("-n", "-p", f"results/models/{MODEL}/dummy.csv")
    assert planned.returncode == 0, planned.stderr
    assert re.search(rf"python -m nmtprune analyse dummy results/models/{MODEL}/dummy.csv", planned.stdout)
    assert ON_CPU in planned.stdout


def test_an_unknown_analysis_is_told_with_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config.from_settings({"preset": "micro", "own": str(MICRO)})
    with pytest.raises(UserError, match="unknown analysis `weigths`; did you mean `weights`"):
        jobs.of_verb(run, "analyse", Namespace(model=MODEL, analysis="weigths"))


# --- metrics


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_printed_is_in_the_docs_and_comes_from_a_table_or_an_analysis(
    metric, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert re.search(r"\d", metric.printed(1234.5678, "MB"))
    assert f"`{metric.name}`: {metric.about}" in WRITTEN
    assert metric.reads in {SCORES, SPEED, *ANALYSIS_KINDS}
    assert metric.against is None or metric.against.metric in METRICS
    if not metric.against:  # which a table works out from two rows
        measured = Measured(config.from_settings({"preset": "micro", "own": str(MICRO)}))
        assert measured.value(chain.parse(MODEL), metric.name) is None


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_may_be_a_column(metric, run):
    shown = run(
        kind="heatmaps" if metric.by_component else "table", columns=[{"metric": metric.name, "heading": "H"}]
    )
    (item,) = Run(shown).items
    assert item.reads == {metric.reads}
    written = {file.name for file in render(Run(shown))}
    assert {"shown.csv", "shown.rst"} <= written


SCORED = {"chain": MODEL, "set": "test", "engine": "onnx", "hypotheses": "", "dummy": 3.14159}


def scored(**facts) -> None:
    file = paths.scores(chain.parse(MODEL))
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([SCORED | facts]).to_csv(file, index=False)
    paths.manifest(chain.parse(MODEL)).write_text("{}")


def test_one_entry_adds_a_metric(run, monkeypatch):
    dummy = Metric("dummy", "a dummy", lambda value, unit: f"{value:.3f} units", said="A dummy says nothing.")
    monkeypatch.setitem(METRICS, "dummy", dummy)
    made = run(kind="table", columns=[{"metric": "dummy", "heading": "Dummy"}])
    scored()
    (item,) = Run(made).items
    assert Run(made).files_read_by(item) == {paths.scores(item.rows[0].first)}
    render(Run(made))
    shown = {
        name: paths.item("registries", "mine", "shown", name).read_text() for name in ("csv", "md", "rst")
    }
    assert (
        "3.14159" in shown["csv"] and "3.142 units" in shown["md"] and "A dummy says nothing." in shown["rst"]
    )
    assert "`dummy`: a dummy" in reference_docs.configuration_page()
    kinds = json.loads(schemas.item_file())["properties"]["columns"]["items"]["properties"]["metric"]
    assert (
        kinds["enum"][-1] == "dummy"
        and kinds == schemas.read("item")["properties"]["columns"]["items"]["properties"]["metric"]
    )


def test_one_entry_adds_a_number_that_an_analysis_found_or_that_follows_from_others(run, monkeypatch):
    monkeypatch.setitem(
        METRICS,
        "answer",
        Metric("answer", "a dummy", reads="weights", lacking=lambda measured, chain: "nobody asked"),
    )
    monkeypatch.setitem(
        METRICS,
        "twice",
        Metric("twice", "a dummy", value=lambda measured, chain, _: 2 * measured.value(chain, "answer")),
    )
    made = run(kind="table", columns=[{"metric": "answer", "heading": "Answer"}])
    numbers = paths.analysis(chain.parse(MODEL), "weights")
    scored()
    pd.DataFrame({"name": ["answer"], "value": [42]}).to_csv(numbers, index=False)
    assert Measured(made).value(chain.parse(MODEL), "twice") == 84
    numbers.write_text("name,value\n")
    (item,) = Run(made).items
    measured = Measured(made)
    assert reasons(item, measured) == {(1, "answer"): "nobody asked"}
    assert tables.table(item, frame(item, measured), reasons(item, measured)).footnotes == [
        "(a) nobody asked."
    ]


# --- steps

# a chain that ends in each kind of step, and the checkpoints of other models that making it reads
READS = {
    "train": set(),
    "import-mine": set(),
    "train/continue": {"train/model.pt"},
    "train/prune-local-50": {"train/model.pt"},
    "train/prune-local-50/retrain": {"train/model.pt"},
    "train/prune-local-50/retrain/rejuvenate-zero": {"train/prune-local-50/retrain/model.pt"},
    "train/prune-local-50/retrain/rejuvenate-external": {
        "train/prune-local-50/retrain/model.pt",
        "train/model.pt",
    },
    "train/prune-local-50/restart": {"train/model.pt"},
    "train/prune-local-50/restart-ticket": {"train/model.pt", "train/initial.pt"},
    "train/prune-local-50/restart-at-50": {"train/model.pt", "train/snapshots/50.pt"},
    "train/lasso-ffn-both-8": {"train/last.pt"},
    "train/slice": {"train/last.pt"},
    "train/slice/slice": {"train/slice/model.pt"},
    "train/slice/converge": {"train/slice/model.pt"},
    "train/ablate-D.SA.1": {"train/model.pt"},
    "train/rewind-2": {"train/model.pt", "train/initial.pt"},
    "train/drop-2": {"train/model.pt"},
    "train/cut-2": {"train/model.pt"},
    "train/cut-2/cut-1": {"train/cut-2/model.pt"},
    "train/int8-onnx": {"train/model.pt"},
    "train/int8-onnx/finetune": {"train/model.pt"},
    "train/int8-onnx/finetune/finetune": {"train/int8-onnx/finetune/model.pt"},
    "train/at-50": {"train/snapshots/50.pt"},
    "train/at-0": {"train/initial.pt"},
}


@pytest.mark.parametrize("kind", STEP_KINDS.values(), ids=STEP_KINDS)
def test_every_step_has_a_module_a_rule_and_a_row_in_the_docs(kind):
    assert callable(import_module(f"nmtprune.steps.{kind.module}").make)
    assert re.search(rf"^(use )?rule (\w+ as )?{kind.rule}( with)?:$", STEP_RULES, re.M)
    assert f'step=step_kinds.of_rule("{kind.rule}")' in STEP_RULES
    assert f"| `{kind.usage.replace('|', chr(92) + '|')}` | {kind.about} |" in CHAINS
    assert {*kind.follows, kind.leaves} <= {DENSE, SPARSE, SLICED, INT8, None}
    assert kind.follows or kind.leaves  # a root leaves a form of its own
    assert not (kind.trains and kind.selects) and not (kind.competes and kind.draws)


def test_every_module_of_steps_that_makes_one_has_an_entry():
    folder = Path(import_module("nmtprune.steps").__file__).parent
    made = {
        file.stem
        for file in folder.glob("*.py")
        if hasattr(import_module(f"nmtprune.steps.{file.stem}"), "make")
    }
    assert made == {kind.module for kind in STEP_KINDS.values()}


def test_every_kind_of_step_is_among_those_whose_reading_is_known():
    assert {chain.parse_steps(text)[-1].kind.name for text in READS} == set(STEP_KINDS)


@pytest.mark.parametrize("text", READS)
def test_what_a_step_reads_is_what_free_keeps(text):
    model = chain.parse(f"micro/micro/s1/{text}")
    job = jobs.Job("any", jobs.STEP, paths.manifest(model), Path("log"), "micro", chain=model)
    below = paths.MODELS / "micro/micro/s1"
    assert {str(file.relative_to(below)) for file in weights_read(job)} == READS[text]


MAKES_TWICE = StepKind(
    name="twice",
    usage="twice-<how>",
    about="a dummy",
    read_arguments=lambda arguments: {"how": "-".join(arguments)},
    module="dummy",
    rule="int8",
    follows=(DENSE,),
    leaves=SLICED,
    begins_with=latest,
    reads_too=lambda chain: [paths.first_weights(chain)],
    own_files=lambda config, chain: {"list": Path("mine.txt")},
    settings=lambda config, chain: {"seed": chain.seed},
    misfit=lambda config, chain: "it is never so" if chain.last["how"] == "wrong" else None,
)
TWICE = f"{MODEL}/twice-well"


@pytest.fixture
def dummy_step(monkeypatch):
    """A kind of step in the registry, and its module, for the length of a test."""

    def make(config, chain, state):
        (state / "outputs" / paths.MODEL).write_text(
            "".join(file.read_text() for file in sorted(chain.last.kind.reads(chain))) * 2
        )
        return {"updates": 0}

    def forget():
        chain.parse_step.cache_clear()
        chain.parse_steps.cache_clear()

    module(monkeypatch, "nmtprune.steps.dummy", make=make)
    monkeypatch.setitem(STEP_KINDS, "twice", MAKES_TWICE)
    forget()
    yield
    forget()


@pytest.fixture
def made_parent(tmp_path, monkeypatch):
    """A run of the dummy step on a model that is there as far as jobs know."""
    monkeypatch.chdir(tmp_path)
    run = config.from_settings(
        {"preset": "micro", "own": str(MICRO), "papers": [], "chains": [TWICE], "controls": False}
    )
    parent = chain.parse(MODEL)
    for file in (paths.MODEL, paths.LAST, paths.INITIAL):
        write_text(paths.model(parent) / file, f"{file} ")
    write_text(Path("mine.txt"), "mine")
    write_json(paths.text("micro") / paths.MANIFEST, {"counts": {}})
    write_json(run.data_folder(parent) / paths.MANIFEST, {"digest": "data"})
    write_json(paths.manifest(parent), {"slice": slices.of_step(run, parent), "digest": "parent"})
    return run


def test_one_module_and_one_entry_add_a_step(dummy_step, made_parent):
    run, model, parent = made_parent, chain.parse(TWICE), chain.parse(MODEL)
    assert (str(model), model.last["how"], model.form) == (TWICE, "well", SLICED)
    with pytest.raises(UserError, match=r"chain `.*/twice-wrong`: it is never so"):
        check_chain(run, chain.parse(f"{MODEL}/twice-wrong"))
    with pytest.raises(UserError, match="`twice-well` cannot follow `prune-local-50`"):
        chain.parse(f"{MODEL}/prune-local-50/twice-well")
    assert slices.of_step(run, model) == {"step": "twice-well", "version": 1, "seed": 1}

    job = jobs.Jobs(Run(run))[paths.manifest(model)]
    assert (job.rule, job.does, job.needs) == (
        "int8",
        jobs.STEP,
        (paths.manifest(parent),),
    ) and not jobs.takes_gpu(run, job)
    assert Path("mine.txt") in jobs.read_by(run, job)
    assert re.fullmatch(step_kinds.of_rule("int8"), "twice-well")
    assert "| `twice-<how>` | a dummy | dense | sliced |" in reference_docs.chains_page()

    read = {paths.model(parent) / paths.LAST, paths.model(parent) / paths.INITIAL}
    assert weights_read(job) == read and read.isdisjoint(
        each.file for each in spare(Run(run), scored_too=True)
    )
    make_step(run, model)
    assert (paths.model(model) / paths.MODEL).read_text() == "initial.pt last.pt initial.pt last.pt "
    made = json.loads(paths.manifest(model).read_text())
    assert made["updates"] == 0 and made["slice"] == slices.of_step(run, model)
    assert job.makes not in {left.makes for left in jobs.Jobs(Run(run)).to_do()}
    assert read <= {each.file for each in spare(Run(run), scored_too=True)}
    write_text(Path("mine.txt"), "other")
    assert manifest.digest_of(run, model) != made["digest"]


def test_one_entry_adds_a_step_to_the_rules(tmp_path):
    """Snakemake, started with the entry in place, plans the step as any other."""
    workplace = Workplace(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from nmtprune.experiment.step_kinds import DENSE, STEP_KINDS, StepKind\n"
        "STEP_KINDS['twice'] = StepKind(name='twice', usage='twice', about='a dummy', read_arguments=lambda "
        "arguments: {}, module='dummy', "
        "rule='int8', follows=(DENSE,))\n"
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path / "site"))
        planned = workplace.snakemake("-n", "-p", f"results/models/{MODEL}/twice/manifest.json")
    assert planned.returncode == 0, planned.stderr
    assert re.search(rf"python -m nmtprune run results/models/{MODEL}/twice/manifest.json", planned.stdout)


def test_an_unknown_step_is_told_with_the_nearest_one():
    with pytest.raises(UserError, match="unknown step `retrian`; did you mean `retrain`"):
        chain.parse(f"{MODEL}/retrian")
