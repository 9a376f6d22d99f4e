"""Every printed command works as printed: those of README.md and docs/, and those in messages.

They are run in a copy of the repository's root, after the example of `nmtprune init`, made smaller, has
been run by the printed command. Commands that cannot be run here are tried as far as possible, with the
reason.
"""

import csv
import html
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.workplace import PATIENCE, REPOSITORY

from nmtprune.experiment import chain, config
from nmtprune.foundation.errors import UserError

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
IN_MESSAGES = re.compile(r"(?:python -m nmtprune|snakemake --cores)[^;\n]*")
OWN = "--configfile own/config.yaml"
PRUNED = "mine/my-small/s1/train/prune-local-50/retrain"
DRY = " -n --quiet rules"


@dataclass(frozen=True)
class Tried:
    """How a printed command is tried, and why.

    It is run as it is, or with `replaced` parts and `added` options, or `instead` another one is run.
    """

    why: str = ""
    replaced: tuple[tuple[str, str], ...] = ()
    added: str = ""
    instead: str | None = None

    def of(self, command: str) -> str:
        if self.instead is not None:
            return self.instead
        for old, new in self.replaced:
            assert old in command, (old, command)
            command = command.replace(old, new)
        return command + self.added


AS_PRINTED = Tried()
HOURS = Tried("hours of training", added=DRY)
OURS = ("--set preset=multi30k", OWN)
GENERATE = (
    "python -m nmtprune fairseq generate results/data/toy/sentencepiece-joint-700/bin "
    "--path results/models/toy/toy/s1/train/model.pt --beam 5"
)
COMMANDS = {
    "git clone <this repository> nmtprune && cd nmtprune": Tried(
        "a place that the reader knows", instead="true"
    ),
    "make setup": Tried("downloads", instead="make -n setup"),
    "make demo": Tried("ten minutes", instead="make -n demo"),
    ".venv/bin/snakemake --cores all --config preset=multi30k": HOURS,
    "snakemake --cores all --config preset=multi30k 'seeds=[1]' 'papers=[see2016, wang2020]'": HOURS,
    "snakemake --cores all --config preset=multi30k 'papers=[wang2020/table2]' 'seeds=[1,2,3]'": HOURS,
    "snakemake --cores all results/models/toy/toy/s1/train/prune-global-40/retrain/scores.csv": Tried(
        "minutes", added=DRY
    ),
    "snakemake --cores all results/models/toy/toy/s1/train/weights.csv": Tried("minutes", added=DRY),
    "python -m nmtprune init own": AS_PRINTED,
    "snakemake --cores all --configfile own/config.yaml": AS_PRINTED,
    "snakemake --cores all --config own=own 'papers=[]' "
    "'chains=[mine/tiny-128/s1/train/prune-local-50/retrain]'": HOURS,
    "snakemake --cores all --configfile mine.yaml": HOURS,
    "python -m nmtprune export mine/base/s1/import-opus/prune-global-60/retrain opus-pruned "
    "--format marian": Tried(
        "a model of OPUS-MT, for which tests/unit/export/test_marian.py has another one",
        instead="python -m nmtprune export --help",
    ),
    GENERATE: Tried(
        "the example's model stands in for the toy one",
        replaced=(
            ("results/data/toy/sentencepiece-joint-700/bin", "results/data/mine/sentencepiece-joint-200/bin"),
            ("toy/toy", "mine/my-small"),
        ),
        added=" --cpu --max-len-b 20",
    ),
    "python -m nmtprune choose --within 0.3 --set preset=multi30k": Tried(
        "the example's models", replaced=(OURS, ("0.3", "100"))
    ),
    "python -m nmtprune export multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain my-model": Tried(
        "the example's model",
        replaced=(("multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain", PRUNED),),
        added=f" {OWN}",
    ),
    "pip install -r my-model/requirements.txt": Tried(
        "downloads; what it names is installed here", instead="test -s my-model/requirements.txt"
    ),
    "my-model/translate < source.txt > target.txt": AS_PRINTED,
    "python -m nmtprune plan --preset paper": AS_PRINTED,
    "snakemake --cores 2 results/models/toy/toy/s1/train/{contribution,criticality,order}.csv": Tried(
        "minutes", added=DRY
    ),
    ".venv/bin/pip install -r envs/requirements-slurm.txt": Tried(
        "downloads", instead="test -s envs/requirements-slurm.txt"
    ),
    ".venv/bin/snakemake --workflow-profile profiles/slurm --config preset=iwslt14 device=cuda": Tried(
        "Slurm, which tests/cluster starts",
        replaced=(("--workflow-profile profiles/slurm", "--cores 1"),),
        added=DRY,
    ),
    "sbatch profiles/slurm/node.sh --config preset=toy": Tried(
        "Slurm", instead="bash -n profiles/slurm/node.sh"
    ),
}


def printed():
    """The commands of the pages' shell blocks, in their order, each once."""
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]
    return list(
        dict.fromkeys(
            line for block in blocks for line in block.splitlines() if line and not line.startswith("#")
        )
    )


class Place:
    """A copy of the repository's root, in which commands are given as a reader gives them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("Snakefile", "Makefile", "workflow", "profiles", "envs"):
            (folder / name).symlink_to(REPOSITORY / name)
        shutil.copy(REPOSITORY / "config.yaml", folder)
        (folder / ".venv").symlink_to(sys.prefix)
        self.said: dict[str, str] = {}

    def __truediv__(self, path):
        return self.folder / path

    def give(self, command: str, status: int | None = 0) -> str:
        """The output of a command, standard output and error together.

        The command must end as expected (None: somehow) and without a traceback.
        """
        path = os.pathsep.join([str(self / ".venv" / "bin"), os.environ["PATH"]])
        environment = os.environ | {
            "PATH": path,
            "PYTHONPATH": str(REPOSITORY / "workflow"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            text=True,
            capture_output=True,
            timeout=6 * PATIENCE,
        )
        said = done.stdout + done.stderr
        assert status in (None, done.returncode), f"{command}\n{said[-4000:]}"
        assert "Traceback" not in said, f"{command}\n{said[-4000:]}"
        return said


def smaller(place: Place) -> None:
    """The example with few sentences and updates; its files stay as they were written in all else."""
    for file in (place / "own" / "corpus").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(lines[: 300 if file.stem == "train" else 30]), encoding="utf-8")
    recipe = place / "own" / "recipes" / "my-small.yaml"
    text = recipe.read_text(encoding="utf-8")
    for old, new in {"size: 700": "size: 200", "400": "16", "440": "20", "80": "8", "d 64": "small"}.items():
        assert old in text, old
        text = text.replace(old, new)
    recipe.write_text(
        text
        + (
            "architecture: {encoder_layers: 1, decoder_layers: 1, embed_dim: 16, ffn_dim: 32, heads: "
            "2}\ntraining: {validate_every: 8}\n"
        )
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A place in which the example was written and run by the commands that are printed."""
    place = Place(tmp_path_factory.mktemp("commands") / "clone")
    init, run = "python -m nmtprune init own", f"snakemake --cores all {OWN}"
    place.said[init] = place.give(init)
    smaller(place)
    place.said[run] = place.give(run)
    outside = place / "model"  # the checkpoint of the printed `mine.yaml`
    outside.mkdir()
    shutil.copy(place / "results/models/mine/my-small/s1/train/model.pt", outside / "checkpoint_best.pt")
    data = place / "results/data/mine/sentencepiece-joint-200"
    shutil.copytree(data / "bin", outside / "data-bin")
    shutil.copy(next(data.glob("*.model")), outside / "spm.model")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    (block,) = [each for each in re.findall(r"```yaml\n(.*?)```", pages, re.S) if "checkpoint:" in each]
    (place / "mine.yaml").write_text(block, encoding="utf-8")
    shutil.copy(place / "own/corpus/test.src", place / "source.txt")
    return place


def test_every_printed_command_is_tried_and_nothing_else():
    assert sorted(printed()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", printed())
def test_a_printed_command_works(place, command):
    if command not in place.said:  # else the place was made by it
        place.said[command] = place.give(COMMANDS[command].of(command))
    if command.startswith("my-model/translate"):
        assert len((place / "target.txt").read_text(encoding="utf-8").splitlines()) == 30
    if "fairseq generate" in command:
        assert "Generate test with beam=5" in place.said[command]


def test_the_data_that_the_pages_name_are_those_of_the_toy_recipe():
    named = config.from_settings({}).data_folder(chain.parse("toy/toy/s1/train")) / "bin"
    assert any(f"fairseq generate {named} " in command for command in COMMANDS)


def test_the_bars_that_readme_names_go_with_every_run(workplace):
    text = "results/data/micro/text/manifest.json"
    done = workplace.snakemake("--logger", "rich", "--cores", "1", "--", text)
    printed = done.stdout + done.stderr
    assert done.returncode == 0 and (workplace / text).exists() and "Traceback" not in printed, printed
    assert re.search(r"^ +text +1 *$", printed, re.M), printed


# --- the page of the example


def test_the_example_has_a_page_with_parents_controls_and_speeds(place):
    with open(place / "results/own/chains/models.csv", encoding="utf-8", newline="") as lines:
        rows = {row["chain"]: row for row in csv.DictReader(lines)}
    assert list(rows) == [
        *(
            "train",
            "train/continue",
            "train/prune-local-50",
            "train/prune-local-50/retrain",
            "train/prune-local-80/retrain",
        ),
        "train/int8-ctranslate2",
    ]
    for steps, row in rows.items():
        for column in ("bleu", "dev_bleu", "sparsity", "size_stored", "words_per_second", "updates"):
            assert float(row[column]) >= 0, (steps, column, row["missing"])
    assert [
        int(float(rows[steps]["updates"]))
        for steps in ("train", "train/continue", "train/prune-local-50/retrain")
    ] == [16, 24, 24]
    with open(place / "results/speed/own/mine.csv", encoding="utf-8", newline="") as lines:
        on_disk = {row["size_on_disk"] for row in csv.DictReader(lines) if row["precision"] == "int8"}
    with open(
        place / "results/models/mine/my-small/s1/train/int8-ctranslate2/scores.csv",
        encoding="utf-8",
        newline="",
    ) as lines:
        assert (
            {row["size_stored"] for row in csv.DictReader(lines)}
            == on_disk
            == {f"{float(rows['train/int8-ctranslate2']['size_stored']):.0f}"}
        )
    page = (place / "results/own/index.html").read_text(encoding="utf-8")
    assert (
        "<h1>Own chains of own</h1>" in page
        and "on its plateau: 20 % more updates give development NLL" in page
    )
    assert not (place / "results/toy").exists()
    assert "Nothing to be done" in place.give(f"snakemake --cores all {OWN} -n")


# --- messages


def commands_in(said: str) -> list[str]:
    return [command.strip() for command in IN_MESSAGES.findall(said)]


def test_messages_of_a_finished_run_print_commands_that_do_what_they_say(place):
    """Commands printed by `choose`, `free`, `restore`, a run and an export are pasted in order.

    The run and the export need freed weights.
    """
    chosen = commands_in(place.give(f"python -m nmtprune choose --within 100 {OWN}"))
    export = next(command for command in chosen if " export " in command)
    place.give(export)
    assert (place / "exported" / "mine-smallest" / "translate").exists()

    (page,) = (place / "results").glob(f"*/pages/{PRUNED}.html")
    text = page.read_text(encoding="utf-8").replace("</pre>", "\n")
    export, make = dict.fromkeys(commands_in(html.unescape(text)))
    assert "Nothing to be done" in place.give(f"{make} -n")
    place.give(export.replace(" exported", " from-a-page", 1))
    assert (place / "from-a-page" / "translate").exists()

    asked = commands_in(place.give(f"python -m nmtprune free {OWN}"))
    assert asked == [f"python -m nmtprune free --yes {OWN}", f"python -m nmtprune free --models --yes {OWN}"]
    (restore,) = commands_in(place.give(asked[1]))
    model = place / "results/models/mine/my-small/s1/train/model.pt"
    assert not model.exists()
    assert "Nothing is missing" in place.give(restore)

    export = f"python -m nmtprune export {PRUNED} elsewhere {OWN}"
    (this_one,) = commands_in(place.give(export, status=2))
    place.give(this_one)
    place.give(export)
    place.give(asked[1])
    assert not model.exists()

    file = place / "own" / "config.yaml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(
        whole.replace("chains:\n", "chains:\n  - mine/my-small/s1/train/prune-local-20/retrain\n"),
        encoding="utf-8",
    )
    refused = place.give(f"snakemake --cores all {OWN}", status=1)
    assert {command for command in commands_in(refused) if "nmtprune" in command} == {restore}, refused[
        -4000:
    ]  # the log repeats its own
    assert "made again: mine/my-small/s1/train" in place.give(restore) and model.exists()

    against = "mine/my-small/s1/train/prune-local-20"
    (score,) = commands_in(
        place.give(f"python -m nmtprune choose --within 100 --against {against} {OWN}", status=2)
    )
    place.give(score)
    assert f"reference   {against}" in place.give(
        f"python -m nmtprune choose --within 100 --against {against} {OWN}"
    )

    by_ter = f"python -m nmtprune choose --within 100 --metric ter --against {against} {OWN}"
    by_ter += " --set 'measures=[ter]'"
    given: set[str] = set()
    while scores := {each for each in commands_in(place.give(by_ter, status=None)) if " score " in each}:
        assert not scores & given, "scored, and asked for again"
        given |= scores
        for score in sorted(scores):
            place.give(score)
    assert given and f"reference   {against}" in place.give(by_ter)
    file.write_text(whole, encoding="utf-8")


def test_a_run_without_room_prints_a_command_that_begins_all_the_same(place, monkeypatch):
    from nmtprune.experiment.run import Run
    from nmtprune.foundation import commands
    from nmtprune.planning.disk_usage import check_room
    from nmtprune.planning.jobs import Jobs

    monkeypatch.chdir(place.folder)
    commands.remember(Path("own/config.yaml"))
    try:
        with pytest.raises(UserError) as error:
            settings = config.load([Path("own/config.yaml")], ["name=elsewhere", "speed=false"])
            check_room(Jobs(Run(settings)), free=lambda: -1)
    finally:
        commands.remember()
    room, begin = commands_in(str(error.value))
    assert room == f"python -m nmtprune free {OWN}"
    assert begin.endswith(f"{OWN} --config check_space=false")
    place.give(begin + DRY)


# where a message prints a command -> the test that pastes it
PRINTED_BY = {
    "export/choice.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
    "planning/freeing.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
    "store/checkpoints.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
    "planning/disk_usage.py": "test_a_run_without_room_prints_a_command_that_begins_all_the_same",
    "planning/plan.py": "test_calibration_is_a_verb_that_plan_names",
    # as `choose` prints it
    "measurements/measurements.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
    "reporting/model_page.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
    "experiment/metrics.py": "test_messages_of_a_finished_run_print_commands_that_do_what_they_say",
}


def test_calibration_is_a_verb_that_plan_names(place):
    """Only its options are read here.

    It would time every recipe for minutes, which tests/smoke/test_calibration.py does.
    """
    from nmtprune.cli import verbs

    plan = "python -m nmtprune plan --preset paper"
    (calibrate,) = set(commands_in(place.said.get(plan) or place.give(plan)))
    assert calibrate == "python -m nmtprune plan --calibrate --set preset=paper"
    assert verbs._parser().parse_args(calibrate.split()[3:]).calibrate


def test_every_message_takes_its_command_from_one_function():
    package = REPOSITORY / "workflow" / "nmtprune"
    printing, by_hand = set(), []
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if re.search(r"commands\.(nmtprune|snakemake)\(", text):
            printing.add(str(file.relative_to(package)))
        without_documentation = re.sub(r'""".*?"""', "", text, flags=re.S)
        by_hand += [
            f"{file.name}: {each}"
            for each in re.findall(r"[\"'][^\"'\n]*python -m nmtprune [a-z]+", without_documentation)
        ]
    assert printing == set(PRINTED_BY)
    assert by_hand == []


def test_the_configuration_of_the_example_is_complete(place):
    said = yaml.safe_load((place / "own" / "config.yaml").read_text(encoding="utf-8"))
    assert set(said) == {"name", "own", "papers", "chains", "controls", "speed"}
