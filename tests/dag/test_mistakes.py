"""Bad inputs: each gives one clear sentence before the first job, without traceback, and nothing is lost."""

import shutil
import sys

import pytest
import yaml
from support.workplace import MICRO, REPOSITORY, Workplace


@pytest.fixture
def mine(tmp_path):
    """A workplace with an own folder to make mistakes in, and a file under results/ that must survive."""
    workplace = Workplace(tmp_path / "workplace")
    shutil.copytree(MICRO, workplace / "own")
    workplace.configure(own="own")
    (workplace / "results").mkdir()
    (workplace / "results" / "kept.txt").write_text("kept\n")
    return workplace


def corpus(workplace, source=4, target=4, **changes):
    """A task `mine` of plain files, `source` and `target` lines long."""
    for language, lines in (("en", source), ("de", target)):
        (workplace / f"corpus.{language}").write_text("a sentence\n" * lines)
    files = {"files": "corpus.{lang}", **changes}
    task = {
        "title": "Mine",
        "source": "en",
        "target": "de",
        "train": [files],
        "dev": [files],
        "test": {"test": [files]},
    }
    (workplace / "own" / "tasks" / "mine.yaml").write_text(yaml.safe_dump(task))


def preset(**changes):
    def write(workplace):
        file = workplace / "own" / "presets" / "micro.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))

    return write


def recipe(**changes):
    def write(workplace):
        file = workplace / "own" / "recipes" / "micro.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))

    return write


def settings(**changes):
    return lambda workplace: workplace.configure(own="own", **changes)


def chains(steps):
    return settings(chains=[f"micro/micro/s1/{steps}"])


def distilled(**changes):
    """A task `distilled`, whose targets a teacher writes, and a chain on it."""

    def write(workplace):
        task = {"title": "Distilled", "distilled": {"from": "micro", "recipe": "micro-teacher"} | changes}
        (workplace / "own" / "tasks" / "distilled.yaml").write_text(yaml.safe_dump(task))
        workplace.configure(own="own", chains=["distilled/micro/s1/train"])

    return write


def grid(**changes):
    """Values of the grid of table 2 of Behnke and Heafield 2021."""

    def write(workplace):
        file = workplace / "own" / "presets" / "micro-papers.yaml"
        whole = yaml.safe_load(file.read_text())
        whole["grids"]["behnke2021/table2"] = changes
        file.write_text(yaml.safe_dump(whole))
        workplace.configure(own="own", preset="micro-papers", papers=["behnke2021/table2"])

    return write


def one_language(workplace):
    """A task of simplification, whose two sides have the name of their language."""
    corpus(workplace)
    file = workplace / "own" / "tasks" / "mine.yaml"
    file.write_text(file.read_text().replace("target: de", "target: en"))
    workplace.configure(own="own", chains=["mine/micro/s1/train"])


MISTAKES = {
    "a step": (chains("train/prun-local-50"), "unknown step `prun-local-50`; did you mean `prune`?"),
    "a scheme": (chains("train/prune-locl-50"), "unknown scheme `locl`; did you mean `local`?"),
    "a percentage": (chains("train/prune-local-120"), "120 percent is not between 0 and 100"),
    "an impossible chain": (
        chains("train/retrain"),
        "`retrain` cannot follow `train`, which leaves a dense model",
    ),
    "a schedule": (
        chains("train/continue-slaw"),
        "recipe `micro` has no schedule `continue-slaw`; did you mean `continue-slow`?",
    ),
    "a task": (settings(chains=["micr/micro/s1/train"]), "unknown task `micr`; did you mean `micro`?"),
    "a recipe": (settings(chains=["micro/micr/s1/train"]), "unknown recipe `micr`; did you mean `micro`?"),
    "a preset": (settings(preset="micr"), "unknown preset `micr`; did you mean `micro`?"),
    "a key of the settings": (settings(paper=["wang2020"]), "unknown key `paper`; did you mean `papers`?"),
    "a type in the settings": (
        settings(seeds="one"),
        'seeds: "one" is of the wrong type; expected array or null',
    ),
    "a paper": (settings(papers=["wang2002"]), "unknown paper `wang2002`; did you mean `wang2020`?"),
    "a table": (settings(papers=["wang2020/tabel2"]), "did you mean `table2`?"),
    "a key of the preset": (preset(task={}), "presets/micro.yaml: unknown key `task`; did you mean `tasks`?"),
    "a task of the preset": (
        preset(tasks={"wmt14-en-de": "micr", "wmt17-zh-en": None}),
        "unknown task `micr`; did you mean `micro`?",
    ),
    "a recipe of the preset": (
        preset(recipes={"base": "micr", "base-zh-en": None, "big": None, "small": None}),
        "unknown recipe `micr`; did you mean `micro`?",
    ),
    "a key of the recipe": (
        recipe(architectur={}),
        "recipes/micro.yaml: unknown key `architectur`; did you mean `architecture`?",
    ),
    "a type in the recipe": (
        recipe(training={"batch_tokens": "many"}),
        'training.batch_tokens: "many" is of the wrong type; expected integer',
    ),
    "groups of a lasso": (chains("train/lasso-fnn-both-1"), "unknown groups `fnn`; did you mean `ffn`?"),
    "the place of a lasso": (
        chains("train/lasso-ffn-decoder-1"),
        "unknown place `decoder`; did you mean `dec`?",
    ),
    "a lambda": (
        chains("train/lasso-ffn-both-0.30"),
        "`0.30` is not a lambda; write it as 1 or 0.15, or to67",
    ),
    "a lambda of the preset": (
        grid(**{"lambda": ["strong"]}),
        "behnke2021/table2 row 3: step `lasso-ffn-both-strong`: `strong` is not a lambda",
    ),
    "slicing a masked model": (
        chains("train/prune-local-50/slice"),
        "`slice` cannot follow `prune-local-50`, which leaves a sparse model",
    ),
    "slicing an LSTM": (
        settings(chains=["micro/micro-lstm/s1/train/slice"]),
        "`slice` needs a Transformer, and recipe `micro-lstm` has architecture `nmtprune_lstm`",
    ),
    "an engine of 8 bits": (chains("train/int8-onyx"), "unknown engine `onyx`; did you mean `onnx`?"),
    "fine-tuning in no 8 bits": (
        chains("train/finetune"),
        "`finetune` cannot follow `train`, which leaves a dense model",
    ),
    "a task that is distilled": (
        distilled(**{"from": "micr"}),
        "tasks/distilled.yaml: distilled.from: unknown task `micr`; did you mean `micro`?",
    ),
    "a teacher": (
        distilled(recipe="micro-teecher"),
        "tasks/distilled.yaml: distilled: unknown recipe `micro-teecher`; did you mean `micro-teacher`?",
    ),
    "a component": (
        chains("train/ablate-D.CA.1"),
        "`D.CA.1` is not a component; write it as D.SA.1: one of E.SA, E.FF, D.SA, D.EA, D.FF",
    ),
    "a component of the model": (
        chains("train/ablate-D.SA.2"),
        "recipe `micro` has no component `D.SA.2`; did you mean `D.SA.1`?",
    ),
    "more components than are ordered": (
        settings(chains=["micro/micro-components/s1/train/rewind-3"]),
        "`rewind-3` takes more components than `importance.group` of recipe `micro-components`: 2",
    ),
    "rewinding what was imported": (
        chains("import-mine/rewind-1"),
        "needs the initial weights of a `train`, and `import-mine` has none",
    ),
    "the beginning of what is no beginning": (
        chains("train/continue/at-0"),
        "is the initial weights of a `train` that begins the chain",
    ),
    "a key of the importance": (
        recipe(importance={"clib": 10}),
        "recipes/micro.yaml: importance: unknown key `clib`; did you mean `clip`?",
    ),
    "LayerDrop of another architecture": (
        recipe(
            architecture={
                "name": "transformer",
                "encoder_layers": 1,
                "decoder_layers": 1,
                "sub_layer_drop": 0.2,
            }
        ),
        "sub_layer_drop is for `nmtprune_transformer`, and the name is `transformer`",
    ),
    "shards": (settings(shards=0), "0 is less than the minimum of 1"),
    "a key of the lasso": (
        recipe(lasso={"gama": "none"}),
        "recipes/micro.yaml: lasso: unknown key `gama`; did you mean `gamma`?",
    ),
    "a shortlist": (
        recipe(decoding={"shortlist": "many"}),
        'decoding.shortlist: "many" is of the wrong type; expected integer or null',
    ),
    "YAML": (
        lambda workplace: (workplace / "own" / "recipes" / "micro.yaml").write_text("title: ["),
        "is not valid YAML",
    ),
    "source and target of one language": (
        one_language,
        "tasks/mine.yaml: source and target are both `en`, but each side needs files of its own: rename "
        "one of them, such as to `en_simple`",
    ),
    "a model of COMET": (
        settings(comet_model="no/such.ckpt"),
        "config: comet_model: there is no file no/such.ckpt",
    ),
    "a checkpoint that is not there": (
        settings(
            chains=["micro/micro/s1/import-mine/prune-local-50"],
            imports={"mine": {"checkpoint": "no/such.pt", "dictionaries": "no"}},
        ),
        "no/such.pt",
    ),
}


def one_sentence(done, said):
    assert done.returncode != 0
    told = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stdout + done.stderr
    assert len([line for line in told if said in line]) == 1, done.stderr
    return told


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_a_sentence(mine, mistake):
    make, said = MISTAKES[mistake]
    make(mine)
    told = one_sentence(mine.nmtprune("config"), said)
    assert len(told) == 1 and told[0].startswith("nmtprune: ")
    assert (mine / "results" / "kept.txt").exists()


@pytest.mark.parametrize(
    "mistake",
    ["a step", "a key of the preset", "source and target of one language", "a checkpoint that is not there"],
)
def test_snakemake_tells_the_same_before_its_first_job(mine, mistake):
    make, said = MISTAKES[mistake]
    make(mine)
    done = mine.snakemake("--cores", "1")
    one_sentence(done, said)
    assert "Job stats" not in done.stdout + done.stderr
    assert sorted(path.name for path in (mine / "results").iterdir()) == ["kept.txt"]


ABSENT = {
    "workers": (99, "`99` is more than the number of GPUs here; valid: 1 to "),
    "nodes": (2, "`2` needs Slurm"),
}


@pytest.mark.parametrize("setting", ABSENT)
def test_a_local_run_does_not_ask_for_what_is_not_there(mine, setting):
    value, said = ABSENT[setting]
    mine.configure(own="own", device="cuda", **{setting: value})
    one_sentence(mine.snakemake("--cores", "1"), f"{setting}: {said}")


def test_an_unknown_metric_of_a_papers_table(mine):
    """A copy of the workflow, since papers are part of it."""
    shutil.copytree(REPOSITORY / "workflow", mine / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    file = mine / "workflow" / "papers" / "wang2020" / "table2.yaml"
    file.write_text(file.read_text().replace("metric: bleu,", "metric: blue,", 1))
    done = mine.run("env", f"PYTHONPATH={mine / 'workflow'}", sys.executable, "-m", "nmtprune", "config")
    told = one_sentence(done, '"blue" is not one of')
    assert len(told) == 1 and "wang2020/table2" in told[0] and "did you mean `bleu`?" in told[0]


DATA = {
    "a missing file": (lambda workplace: corpus(workplace, files="korpus.{lang}"), "korpus.en"),
    "unequal sides": (lambda workplace: corpus(workplace, target=3), "corpus.de"),
    "a wrong checksum": (
        lambda workplace: corpus(workplace, sha256={"en": "0" * 64, "de": "0" * 64}),
        "corpus.en",
    ),
}


@pytest.mark.parametrize("mistake", DATA)
def test_wrong_corpora_are_told_in_a_sentence(mine, mistake):
    make, said = DATA[mistake]
    make(mine)
    told = one_sentence(mine.nmtprune("text", "mine"), said)
    assert len(told) == 1
    assert (mine / "corpus.en").read_text() == "a sentence\n" * 4
    assert not (mine / "results" / "data" / "mine" / "text" / "manifest.json").exists()


def test_snakemake_tells_of_a_missing_corpus(mine):
    corpus(mine, files="korpus.{lang}")
    mine.configure(own="own", papers=[], chains=["mine/micro/s1/train"])
    done = mine.snakemake("--cores", "1")
    one_sentence(done, "korpus.en")


def test_a_truncated_checkpoint_costs_nothing(bench):
    workplace = bench("micro/micro/s1/train")
    model = workplace.model("micro/micro/s1/train") / "model.pt"
    whole = model.read_bytes()
    model.write_bytes(whole[:5000])
    told = one_sentence(
        workplace.nmtprune("run", "micro/micro/s1/train/prune-local-50"), "is not a whole PyTorch file"
    )
    assert len(told) == 1 and "train/model.pt" in told[0]
    assert model.read_bytes() == whole[:5000]


def test_what_comes_with_a_manifest_is_not_asked_for_itself(workplace):
    workplace.configure(own=str(MICRO))
    done = workplace.snakemake("--cores", "1", "results/models/micro/micro/s1/train/model.pt")
    one_sentence(done, "ask for results/models/micro/micro/s1/train/manifest.json")


def test_a_container_without_conda_is_refused(mine):
    done = mine.snakemake("-n", "--sdm", "apptainer")
    told = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in told
    assert (
        "--sdm: `apptainer` alone brings an image without packages; valid: `conda`, `conda apptainer`" in told
    )
