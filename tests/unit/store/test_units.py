"""Kept units: what is read from them is what was kept."""

import json
from pathlib import Path

import pytest
from support.workplace import Workplace

from nmtprune.experiment import chain, paths, slices
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.reporting.reference import keep
from nmtprune.store import units

TRAIN, CONTROL = (chain.parse(f"micro/micro/s1/{steps}") for steps in ("train", "train/continue"))
UNIT = paths.unit(TRAIN)


@pytest.fixture
def workplace(tmp_path):
    """A run of two models that reads its unit from a folder, with current manifests and further files."""
    workplace = Workplace(tmp_path / "run", papers=[], chains=[str(TRAIN), str(CONTROL)], kept="kept")
    with workplace.inside():
        Path("kept").mkdir()
        for each in (TRAIN, CONTROL):
            folder = kept_file(paths.manifest(each)).parent
            folder.mkdir(parents=True)
            made = {"chain": str(each), "slice": slices.of_step(workplace.config, each)}
            (folder / paths.MANIFEST).write_text(json.dumps(made))
            (folder / paths.SCORES).write_text(f"chain,bleu\n{each},30.0\n")
            (folder / paths.HISTORY).write_text("update,loss\n")
        units.seal(kept_file(paths.MODELS / UNIT))
        yield workplace


def kept_file(file):
    return "kept" / file.relative_to(paths.RESULTS)


def models_asked_for(workplace):
    return [
        str(file)
        for file in units.Kept(workplace.config).targets(Run(workplace.config))
        if file.is_relative_to(paths.MODELS)
    ]


def test_a_whole_unit_is_read_and_nothing_of_it_is_made(workplace):
    assert models_asked_for(workplace) == []
    assert units.Kept(workplace.config).where(paths.scores(TRAIN)) == kept_file(paths.scores(TRAIN))
    told = workplace.nmtprune("status").stdout
    assert "2 of 2 models made, 2 of 2 scored" in told and told.count("done         kept") == 2, told


@pytest.mark.parametrize("verb", ["plan", "du", "free", "restore"])
def test_verbs_take_what_a_kept_unit_has_as_made(workplace, verb):
    done = workplace.nmtprune(verb)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in told, told
    if verb == "plan":
        assert "chains/models" in told and " train " not in told, told


DAMAGES = {
    "gone": (paths.SCORES, Path.unlink, "is gone"),
    "changed": (
        paths.SCORES,
        lambda file: file.write_text(file.read_text().replace("30", "31")),
        "is not as it was kept",
    ),
    "cut": (paths.HISTORY, lambda file: file.write_text(""), "is not as it was kept"),
    "a manifest": (paths.MANIFEST, lambda file: file.write_text("{}"), "is not as it was kept"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_unit_is_refused_before_anything_is_read_or_made(workplace, damage):
    name, harm, what = DAMAGES[damage]
    file = kept_file(paths.model(TRAIN) / name)
    harm(file)
    unit = f"kept/models/{UNIT}"
    said = f"kept: {file} {what}: copy the unit {unit} again, or remove it, so that a run makes it again"
    with pytest.raises(UserError) as refused:
        units.Kept(workplace.config).targets(Run(workplace.config))
    assert str(refused.value) == said
    with pytest.raises(UserError, match=r"^kept: "):
        units.Kept(workplace.config).where(paths.manifest(TRAIN))


def test_every_verb_that_reads_units_refuses_a_damaged_one_in_one_sentence(workplace):
    kept_file(paths.scores(TRAIN)).unlink()
    for done in (workplace.snakemake("-n"), *map(workplace.nmtprune, ("render", "plan", "status"))):
        told = done.stdout + done.stderr
        assert (
            done.returncode != 0
            and told.count(f"kept: {kept_file(paths.scores(TRAIN))} is gone: copy the unit") == 1
        ), told
        assert "Traceback" not in told and not Path("results/micro").exists(), told


def test_a_list_of_files_that_is_damaged_is_told(workplace):
    kept_file(paths.MODELS / UNIT / paths.UNIT).write_text("{")
    with pytest.raises(
        UserError,
        match=r"unit\.json is damaged: copy the unit kept/models/micro/micro/s1 again, or remove it",
    ):
        units.Kept(workplace.config).targets(Run(workplace.config))


def test_a_unit_that_was_made_by_other_settings_or_lacks_what_is_asked_is_made_again(workplace):
    folder, manifest = kept_file(paths.MODELS / UNIT), kept_file(paths.manifest(TRAIN))
    content = manifest.read_text()
    manifest.write_text(content.replace('"seed": 1', '"seed": 2'))
    units.seal(folder)
    (folder / "train" / paths.HISTORY).unlink()  # of a unit that is not read
    again = [str(paths.scores(each)) for each in (CONTROL, TRAIN)]
    assert models_asked_for(workplace) == again
    manifest.write_text(content)
    (folder / "train" / paths.SCORES).unlink()
    units.seal(folder)
    assert models_asked_for(workplace) == again


def test_a_unit_that_the_run_does_not_make_is_not_kept(tmp_path):
    workplace = Workplace(
        tmp_path / "run",
        preset="multi30k",
        papers=["wang2020/table2"],
        only_units=["multi30k-en-de/tiny-128/s1"],
    )
    with workplace.inside():
        kept = keep(Run(workplace.config), tmp_path / "kept")
        assert kept.whole == [] and kept.files == []
        assert list(kept.lacking) == [Path("multi30k-en-de/tiny-128/s1")]
