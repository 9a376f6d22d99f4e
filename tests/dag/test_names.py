"""Names, values and paths pass through Snakemake unchanged or are refused in a sentence; no stray files."""

import os

import pytest
import yaml
from support.workplace import MICRO, Workplace

CHAIN = "mine/micro/s1/train"
TITLE = "<b>&amp; A_b %c $d$ #e {f} {{g}} {lang} \\h | ~i ^j \"k\" 'l' `m` [o](p) {% q %} ü 漢 $\\frac{"
FOLDER = "c{x} & 'y' $z;#(w)"


def dry(workplace, *more):
    """What a dry run prints."""
    done = workplace.snakemake("--cores", "1", "-n", *more)
    printed = done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in printed, printed[-3000:]
    return printed


@pytest.fixture
def mine(tmp_path):
    """A workplace in a folder with an odd name, with a corpus and an own folder in others."""
    workplace = Workplace(tmp_path / FOLDER)
    own, data = workplace / f"own {FOLDER}", workplace / f"data {FOLDER}"
    for kind in ("tasks", "recipes", "presets"):
        (own / kind).mkdir(parents=True)
        for file in (MICRO / kind).glob("micro.yaml"):
            value = yaml.safe_load(file.read_text()) | {"title": TITLE}
            (own / kind / file.name).write_text(yaml.safe_dump(value, allow_unicode=True))
    data.mkdir()
    for language in ("en", "de"):
        (data / f"corpus {{y}}.{language}").write_text("a sentence\n" * 8)
    files = [{"files": "corpus {y}.{lang}"}]
    task = {
        "title": TITLE,
        "source": "en",
        "target": "de",
        "train": files,
        "dev": files,
        "test": {"test": files},
    }
    (own / "tasks" / "mine.yaml").write_text(yaml.safe_dump(task, allow_unicode=True))
    workplace.configure(own=own.name, data_dir=data.name, chains=[CHAIN])
    return workplace


def test_odd_titles_and_paths_are_taken_as_they_are(mine):
    before = sorted(mine.folder.iterdir())
    assert "total" in dry(mine)
    text = "results/data/mine/text/manifest.json"
    done = mine.snakemake("--cores", "1", text)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {file.name for file in mine.folder.iterdir()} - {file.name for file in before} <= {
        "results",
        ".snakemake",
    }
    assert "Nothing to be done" in dry(mine, text)
    # what a path with braces holds is watched all the same
    for language in ("en", "de"):
        (mine / f"data {FOLDER}" / f"corpus {{y}}.{language}").write_text("another sentence\n" * 8)
    done = mine.snakemake("--cores", "1", text)
    assert (
        done.returncode == 0
        and (mine / "results/data/mine/text/train.en").read_text() == "another sentence\n" * 8
    )


def test_values_of_the_command_line(workplace):
    workplace.configure(own=str(MICRO), data_dir="gone", shards="many")
    (workplace / "data").mkdir()
    dry(workplace, "--config", "check_space=false", "papers=null", "seeds=null", "data_dir=data", "shards=2")
    done = workplace.snakemake("--cores", "1", "-n", "--config", "data_dir=data", "shards=2.0")
    printed = done.stdout + done.stderr
    assert (
        "config: shards: 2.0 is of the wrong type; expected integer" in printed and "TypeError" not in printed
    )


def test_a_name_with_a_space_is_refused(mine):
    own = mine / f"own {FOLDER}" / "tasks"
    os.rename(own / "mine.yaml", own / "my corpus.yaml")
    mine.configure(own=own.parent.name, data_dir=f"data {FOLDER}", chains=["my corpus/micro/s1/train"])
    done = mine.snakemake("--cores", "1")
    assert (
        done.returncode != 0
        and "`my corpus` cannot be the name of a task" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert not (mine / "results").exists()


def test_numbers_as_names(mine):
    """Keys are text: a test set 2016, an import 2."""
    own = mine / f"own {FOLDER}" / "tasks"
    task = (own / "mine.yaml").read_text().replace("\n  test:", "\n  2016:")
    assert "\n  2016:" in task
    (own / "mine.yaml").write_text(task)
    (mine / "model").mkdir()
    for name in ("model.pt", "model/dict.en.txt", "model/dict.de.txt"):
        (mine / name).write_text("")
    (mine / "more.yaml").write_text(
        "imports: {2: {checkpoint: model.pt, dictionaries: model}}\nchains: [mine/micro/s1/import-2]\n"
    )
    dry(mine, "--configfile", "more.yaml")
    done = mine.nmtprune("text", "mine")
    assert done.returncode == 0 and (mine / "results/data/mine/text/2016.en").exists(), done.stderr
    (own / "mine.yaml").write_text(f"{task}\ntitle: Again\n")
    told = mine.nmtprune("config").stderr.strip().splitlines()
    assert len(told) == 1 and "the key `title` is written twice" in told[0]


def test_verbs_that_are_misspelt(workplace):
    done = workplace.nmtprune("sttaus")
    assert (done.returncode, done.stderr) == (2, "nmtprune: unknown verb `sttaus`; did you mean `status`?\n")
