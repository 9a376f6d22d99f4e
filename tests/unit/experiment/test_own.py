"""The run's own chains as a paper: controls, names, and the claims that they decide."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from nmtprune.claims import own_rows
from nmtprune.experiment import config
from nmtprune.experiment.chain import parse
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.planning.jobs import Jobs

PRUNED = "toy/toy/s1/train/prune-local-50"
RETRAINED = f"{PRUNED}/retrain"
REJUVENATED = f"{RETRAINED}/rejuvenate-zero"
STUDENT = "toy-distilled/toy-student-2-2/s1"


def run(*chains, **settings):
    return config.from_settings({"papers": [], "chains": list(chains), **settings})


def rows(settings):
    table = next(item for item in Run(settings).items if item.key == "chains/models")
    return {"/".join(map(str, row.chains[0].steps)): row for row in table.rows}


def test_a_chain_has_its_dense_parent_and_its_control_beside_it():
    table = rows(run(RETRAINED))
    assert list(table) == ["train", "train/continue-retrain", "train/prune-local-50/retrain"]
    parent = table["train"]
    assert parent.baseline and all(row.against is parent for row in table.values() if row is not parent)


@pytest.mark.parametrize(
    ("chain", "parent", "control"),
    [
        (RETRAINED, "train", "train/continue-retrain"),  # 300 updates each
        (f"{PRUNED}/retrain-peak", "train", "train/continue-retrain-peak"),
        (REJUVENATED, "train", "train/continue"),  # 300 + 300, with fresh optimisers after 300
        ("toy/toy/s1/train/prune-local-50/retrain-peak/rejuvenate-zero-peak", "train", "train/continue-peak"),
        (f"{REJUVENATED}/prune-local-50/retrain/rejuvenate-zero", "train", "train/continue/continue"),
        (
            "toy/toy/s1/train/continue/prune-local-50/retrain",
            "train/continue",
            "train/continue/continue-retrain",
        ),
        (
            "toy/toy/s1/train/prune-local-50/restart",
            "train",
            "train/continue-short",
        ),  # nothing is trained on: for the plateau alone
        (
            f"{STUDENT}/train-pretrain/lasso-ffn-both-8/slice/converge",
            "train",
            "train-pretrain/lasso-ffn-both-0/converge",
        ),
        (
            f"{STUDENT}/train-pretrain/lasso-ffn-both-to50-long/slice/converge",
            "train",
            "train-pretrain/lasso-ffn-both-0-long/converge",
        ),
    ],
)
def test_the_control_is_trained_for_as_many_updates(chain, parent, control):
    (block,) = Run(run(chain)).own.blocks
    assert ["/".join(map(str, each[0].steps)) for each in (block.parent, *block.controls)] == [
        parent,
        control,
    ]


def test_measures_that_are_asked_for_are_columns_of_the_table():
    def headings(**settings):
        chosen = run(RETRAINED, **settings)
        table = next(item for item in Run(chosen).items if item.key == "chains/models")
        return [column.heading for column in table.columns]

    asked = headings(measures=["ter", "chrfpp"], comet_model="some/model.ckpt")
    assert [heading for heading in asked if heading not in headings()] == ["TER", "chrF++", "COMET"]


def test_controls_can_be_left_out():
    assert list(rows(run(RETRAINED, controls=False))) == ["train", "train/prune-local-50/retrain"]


def test_a_control_that_is_asked_for_is_there_once():
    assert list(rows(run(RETRAINED, "toy/toy/s1/train/continue-retrain"))) == [
        "train",
        "train/continue-retrain",
        "train/prune-local-50/retrain",
    ]


def test_seeds_of_a_chain_are_one_row_and_compared_seed_by_seed():
    table = rows(run(RETRAINED, RETRAINED.replace("s1", "s4"), PRUNED.replace("s1", "s4"), PRUNED))
    assert len(table) == 4
    for row in table.values():
        assert sorted(chain.seed for chain in row.chains) == [1, 4]
        assert row.against is None or [c.seed for c in row.chains] == [c.seed for c in row.against.chains]


def test_a_recipe_of_a_papers_name_is_the_recipe_itself_and_no_stand_in(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.yaml").write_text(
        "{extends: toy, title: Mine}"
    )  # the preset toy says `small: toy-small`
    table = rows(run("toy/small/s1/train/prune-local-50", own=str(tmp_path)))
    assert {str(row.chains[0]).split("/")[1] for row in table.values()} == {"small"}


def test_speed_is_a_job_of_the_run_where_it_is_asked_for():
    assert Run(run(RETRAINED)).speed_groups == {}
    settings = run(RETRAINED, speed=True, name="mine")
    (timed,) = Run(settings).speed_groups.values()
    assert list(map(str, timed)) == ["toy/toy/s1/train", "toy/toy/s1/train/continue-retrain", RETRAINED]
    assert Path("results/speed/mine/toy.csv") in Jobs(Run(settings))


def test_directly_pruned_models_are_scored_on_the_development_set_as_well():
    assert parse(PRUNED) in Run(run(PRUNED)).scored_in_full
    assert Run(config.from_settings({"papers": ["wang2020/figure1"]})).scored_in_full == set()


@pytest.mark.parametrize(
    ("settings", "file", "name"),
    [
        ({}, None, "own"),
        ({}, Path("some where/my runs.yaml"), "my-runs"),
        ({"own": "my data"}, Path("run.yaml"), "my-data"),
        ({"own": "my data", "name": "trial.2"}, Path("run.yaml"), "trial.2"),
        ({"own": "paper"}, None, "paper-own"),  # a preset's name, of which the run uses nothing
        ({"own": "paper", "name": "trial"}, None, "trial"),
        ({"own": "origins"}, None, "origins-own"),
        ({}, Path("toy.yaml"), "toy-own"),
        ({}, Path("models.yaml"), "models-own"),
    ],
)
def test_the_run_has_a_name_of_its_own(tmp_path, monkeypatch, settings, file, name):
    monkeypatch.chdir(tmp_path)
    for folder in ("my data", "paper", "origins"):
        (tmp_path / folder).mkdir()
    named = config.from_settings({"papers": [], "chains": [RETRAINED], **settings}, file)
    assert named.name == name
    assert Run(named).outputs[0] == Path(f"results/{name}/index.html")
    assert (
        config.from_settings({**settings, "name": None}, file).name == "toy"
    )  # without chains it is the preset's


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("toy", "`toy` is the name of a preset"),
        ("paper", "`paper` is the name of a preset"),
        ("models", "`models` is the name of a folder of results"),
        ("origins", "`origins` is the name of a folder of results"),
        ("../up", "is not of the form"),
    ],
)
def test_a_name_that_is_taken_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        run(RETRAINED, name=name)


def test_an_own_preset_keeps_its_name_in_its_own_folder(tmp_path):
    (tmp_path / "presets").mkdir()
    preset = yaml.safe_load((WORKFLOW / "presets" / "toy.yaml").read_text())
    (tmp_path / "presets" / f"{tmp_path.name}.yaml").write_text(yaml.safe_dump(preset))
    assert run(RETRAINED, own=str(tmp_path), preset=tmp_path.name).name == tmp_path.name
    assert run(RETRAINED, own=str(tmp_path), preset="toy").name == f"{tmp_path.name}-own"


def test_own_papers_are_found_and_their_names_stand_for_themselves(tmp_path):
    folder = tmp_path / "papers" / "thesis"
    (folder / "published").mkdir(parents=True)
    about = {"title": "T", "authors": "A", "short": "Me", "where": "here", "items": ["table1"]}
    (folder / "paper.yaml").write_text(
        yaml.safe_dump(about | {"tasks": {"toy": "Toy"}, "recipes": {"toy": "Small"}})
    )
    (folder / "published" / "table1.csv").write_text("bleu\n40.1\n")
    row = {"label": "Base", "task": "toy", "recipe": "toy", "chain": "train", "published": 1}
    column = {"metric": "bleu", "heading": "BLEU", "published": "bleu"}
    (folder / "table1.yaml").write_text(
        yaml.safe_dump({"title": "T", "kind": "table", "caption": "C.", "columns": [column], "rows": [row]})
    )
    settings = config.from_settings({"own": str(tmp_path), "papers": ["thesis"]})
    (item,) = Run(settings).items
    assert (
        str(item.rows[0].chains[0]) == "toy/toy/s1/train"
        and item.rows[0].published == {"bleu": "40.1"}
        and item.about["short"] == "Me"
    )
    assert folder / "table1.yaml" in Run(settings).stated_in
    with pytest.raises(UserError, match="unknown paper `thesi`; did you mean `thesis`"):
        _ = Run(config.from_settings({"own": str(tmp_path), "papers": ["thesi"]})).items


def test_rows_of_ones_own_are_rows_of_the_papers_tables_whatever_their_percentage():
    found = {
        item.key: item
        for item in own_rows.items(
            Run(run(PRUNED.replace("50", "35"), RETRAINED.replace("50", "35"), REJUVENATED))
        )
    }
    figure = found["wang2020/figure1"]
    assert [("/".join(map(str, row.chains[0].steps)), row.values) for row in figure.rows] == [
        ("train", {}),
        ("train/prune-local-35", {"percent": 35}),
        ("train/prune-local-35/retrain", {"retrained": 35}),
    ]
    assert all(row.against is figure.rows[0] or row.baseline for row in figure.rows)
    assert not any(
        key.startswith("see2016") for key in found
    )  # an LSTM's findings are not read from Transformers


def test_printed_commands_repeat_what_was_given():
    commands.remember(Path("my runs/mine.yaml"), ["seeds=[1, 2]", "own=it's"])
    try:
        restore, whole = commands.nmtprune("restore"), commands.snakemake(settings=["speed=true"])
        commands.remember(settings=["seeds=[1]", "data_dir=/home/me/texts"])
        mine, shared = commands.nmtprune("restore"), commands.nmtprune("restore", given=commands.for_others())
        make = commands.snakemake("all", given=commands.for_others())
    finally:
        commands.remember()
    assert shlex.split(restore)[2:] == [
        *(
            "nmtprune",
            "restore",
            "--configfile",
            "my runs/mine.yaml",
            "--set",
            "seeds=[1, 2]",
            "--set",
            "own=it's",
        )
    ]
    assert shlex.split(whole)[3:] == [
        "--configfile",
        "my runs/mine.yaml",
        "--config",
        "seeds=[1, 2]",
        "own=it's",
        "speed=true",
    ]
    assert commands.nmtprune("du") == "python -m nmtprune du"
    assert mine == f"{shared} --set data_dir=/home/me/texts" and shared.endswith("restore --set 'seeds=[1]'")
    assert make == "snakemake --cores all all --config 'seeds=[1]'"


def test_settings_that_differ_from_the_files_are_what_a_message_repeats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("preset: toy")
    (tmp_path / "mine.yaml").write_text(json.dumps({"chains": [RETRAINED], "papers": []}))
    told = config.from_settings(
        {"preset": "toy", "chains": [RETRAINED], "papers": [], "seeds": [3]}, Path("mine.yaml")
    )
    assert told.differing(Path("mine.yaml")) == ["seeds=[3]"]


def test_the_example_is_written_once_and_is_a_valid_run(tmp_path, monkeypatch):
    from nmtprune.data.example import write

    monkeypatch.chdir(tmp_path)
    assert "snakemake --cores all --configfile 'my runs/config.yaml'" in write(
        Path("my runs"), config.from_settings({})
    )
    settings = config.load([Path("my runs/config.yaml")])
    assert settings.name == "my-runs" and len(Run(settings).own.blocks) == 1
    (block,) = Run(settings).own.blocks
    assert [str(each[0]) for each in block.controls] == ["mine/my-small/s1/train/continue"]
    with pytest.raises(UserError, match="init: my runs is there already; name a folder that is new or empty"):
        write(Path("my runs"), config.from_settings({}))
    write(Path("toy"), config.from_settings({}))  # a folder of a preset's name gives a run of another one
    assert config.load([Path("toy/config.yaml")]).name == "toy-own"


def test_fairseqs_tools_are_named_where_one_is_mistyped():
    from nmtprune.fairseq_bridge import tools

    with pytest.raises(UserError, match="unknown tool `genrate`; did you mean `generate`"):
        tools.run("genrate", [])


def test_only_claims_that_own_chains_say_something_of_in_numbers_are_shown(monkeypatch):
    from nmtprune import claims
    from nmtprune.claims.verdict import Decision, Undecidable, Verdict
    from nmtprune.measurements.measurements import Measured
    from nmtprune.reporting.claims_page import decide

    def claim(name, decision, item="wang2020/figure1"):
        return claims.Claim("wang2020", name, "text", "where", (item,), decision)

    def missing(evidence):
        raise Undecidable("there is no row of another scheme here")

    def rows_of_figure_1(evidence):
        return Decision(Verdict.HOLDS, f"{len(evidence.rows('wang2020/figure1'))} rows")

    entered = [
        claim("seen", rows_of_figure_1),
        claim("missing", missing),
        claim("other", rows_of_figure_1, "wang2020/figure2"),
    ]
    monkeypatch.setattr(claims, "CLAIMS", entered)
    settings = run(PRUNED, RETRAINED)
    (decided,) = decide(Run(settings), Measured(settings))
    assert (decided.claim.name, decided.finding.because) == ("seen", "3 rows.")
    assert [item.key for item in decided.items] == ["chains/models"]
    assert decide(Run(config.from_settings({"papers": []})), Measured(settings)) == []
