"""The completion scripts: that of bash, run by bash itself, and that of zsh if there is one."""

import shutil
import subprocess
import sys

import pytest

from nmtprune.cli import completion, verbs
from nmtprune.experiment.config import from_settings
from nmtprune.foundation.errors import UserError

MADE = (
    "toy/toy/s1/train",
    "toy/toy/s1/train/prune-local-50",
    "toy/toy/s1/train/prune-local-50/retrain",
    "toy/toy/s2/train",
)
# What bash offers for the last word of a line.
COMPLETE = """
source {script}
COMP_WORDS=({words} '{last}') COMP_CWORD={place}
_shtab_nmtprune
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    pytest.importorskip("shtab")
    file = tmp_path_factory.mktemp("completion") / "nmtprune.bash"
    file.write_text(completion.script(verbs._parser(), "bash", from_settings({})))
    return file


@pytest.fixture
def offered(script, tmp_path):
    """A function from a line to what bash offers in a folder with some models."""
    for chain in MADE:
        model = tmp_path / "results" / "models" / chain
        for inside in completion.INSIDE_A_MODEL:
            (model / inside).mkdir(parents=True)
        (model / "manifest.json").touch()
    (tmp_path / "own.yaml").touch()

    def words(line):
        *before, last = line.split(" ")
        asked = COMPLETE.format(script=script, words=" ".join(before), last=last, place=len(before))
        done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, text=True, capture_output=True, check=True)
        assert not done.stderr
        return done.stdout.split()

    return words


def test_the_script_of_bash_is_valid(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_a_verb_is_completed_and_an_internal_one_is_not(offered):
    assert offered("nmtprune sta") == ["status"]
    assert offered("nmtprune ") == [verb for verb in verbs.VERBS if verb not in verbs.INTERNAL]


def test_options_are_completed_and_those_of_rules_are_not(offered):
    assert offered("nmtprune score --") == ["--help", "--configfile", "--preset", "--set"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nmtprune plan --preset multi", ["multi30k"]),
        ("nmtprune text multi30k-en-d", ["multi30k-en-de", "multi30k-en-de-distilled"]),
        ("nmtprune analyse prob", ["probing"]),
        ("nmtprune fairseq gen", ["generate"]),
        ("nmtprune export toy/toy/s2/train out --engine o", ["onnx"]),
        ("nmtprune completion ", ["bash", "zsh"]),
        ("nmtprune status --configfile o", ["own.yaml"]),
        ("nmtprune init res", ["results"]),
    ],
)
def test_words_and_files_are_completed_where_an_argument_takes_them(offered, line, words):
    assert set(words) <= set(offered(line)) and all(
        word.startswith(line.split(" ")[-1]) for word in offered(line)
    )


@pytest.mark.parametrize(
    ("begun", "chains"),
    [
        ("t", ["toy/toy/s1", "toy/toy/s2"]),
        ("toy/toy/s2", ["toy/toy/s2/train"]),
        ("toy/toy/s1/t", [MADE[0], MADE[1], MADE[2]]),
        ("results/models/toy/toy/s2/", [f"results/models/{MADE[3]}"]),
        ("other", []),
    ],
)
def test_a_chain_is_completed_up_to_where_several_go_on(offered, begun, chains):
    assert sorted(offered(f"nmtprune score {begun}")) == chains
    assert sorted(offered(f"nmtprune choose --within 1 --against {begun}")) == chains


def test_the_script_of_zsh_completes_chains():
    pytest.importorskip("shtab")
    assert f"{completion.ZSH_CHAINS}" in completion.script(verbs._parser(), "zsh", from_settings({})).replace(
        "'\\''", "'"
    )


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_the_script_of_zsh_is_valid(tmp_path):
    pytest.importorskip("shtab")
    file = tmp_path / "_nmtprune"
    file.write_text(completion.script(verbs._parser(), "zsh", from_settings({})))
    subprocess.run(["zsh", "-n", str(file)], check=True)


def test_an_unknown_shell_and_a_missing_shtab_are_told_in_one_sentence(monkeypatch):
    with pytest.raises(UserError, match=r"^completion: unknown shell `bsh`; did you mean `bash`"):
        completion.script(verbs._parser(), "bsh", from_settings({}))
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(
        UserError,
        match=r"^completion: shtab writes the script, and is not installed here: pip install shtab$",
    ):
        completion.script(verbs._parser(), "bash", from_settings({}))
