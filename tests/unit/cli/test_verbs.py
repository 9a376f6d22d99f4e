"""The command line: what it accepts, what its help shows, and how verbs end.

Verbs end quietly if nobody reads their output, and in one sentence if there is no space for it.
"""

import argparse
import importlib
import re
import shlex
import sys
import tomllib

import pytest
from support.workplace import REPOSITORY

from nmtprune.cli import verbs as cli
from nmtprune.experiment import config
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.foundation import commands
from nmtprune.translation.opening import FAST, PRECISIONS

# Runs verbs one after the other, with a standard output that nobody reads or that is full.
VERBS = """
import os, sys
from nmtprune.cli import verbs as cli
_, kind, *verbs = sys.argv
for verb in verbs:
    if kind == "closed":
        end, output = os.pipe()
        os.close(end)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    os.dup2(output, 1)
    sys.stdout, sys.argv[:] = open(1, "w", closefd=False), ["nmtprune", *verb.split()]
    status = cli.main()
    sys.stdout.flush()
    print(f"{verb} ended with {status}", file=sys.stderr)
"""
PRINTING = ("config", "docs", "status", "du", "free", "plan --cores 1", "render")


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [("closed", 141, []), ("full", 1, ["nmtprune: what this command prints: No space left"])],
)
def test_verbs_end_with_their_output(workplace, output, status, said):
    workplace.configure(papers=["wang2020/table2"])
    done = workplace.run(sys.executable, "-c", VERBS, output, *PRINTING)
    lines = done.stderr.splitlines()
    assert [line for line in lines if "ended with" in line] == [
        f"{verb} ended with {status}" for verb in PRINTING
    ], done.stderr
    others = [line for line in lines if "ended with" not in line]
    assert len(others) == len(said) * len(PRINTING) and all(line.startswith(tuple(said)) for line in others)


# --- what is understood

CHAIN = "toy/toy/s1/train"


@pytest.mark.parametrize(
    "words",
    [
        f"score {CHAIN} --set a=1 b=[2,3]",
        f"score --set a=1 b=[2,3] {CHAIN}",
        f"score --set a=1 {CHAIN} --set b=[2,3]",
        f"score --set a=1 --preset toy --set b=[2,3] {CHAIN}",
        f"score --set=a=1 b=[2,3] {CHAIN}",
        f"score --set a=1 b=[2,3] -- {CHAIN}",
    ],
)
def test_settings_are_several_pairs_after_one_flag_or_many(words):
    arguments = cli._parser().parse_args(words.split())
    assert (arguments.set, arguments.model) == (["a=1", "b=[2,3]"], CHAIN)


def test_several_models_may_stand_before_settings_or_after_them():
    for words in (
        "t.csv m n --rounds 1 --set a=1 b=2",
        "--rounds 1 --set a=1 b=2 -- t.csv m n",
        "--set a=1 b=2 --rounds 1 t.csv m n",
    ):
        arguments = cli._parser().parse_args(["speed", *words.split()])
        assert (arguments.set, arguments.table, arguments.models) == (["a=1", "b=2"], "t.csv", ["m", "n"])


def test_a_word_that_is_no_pair_is_told_and_takes_no_chain(workplace):
    told = workplace.nmtprune("score", "--set", "preset", CHAIN)
    assert (told.returncode, told.stderr) == (2, "nmtprune: `preset` is not a setting; expected key=value\n")


def test_pairs_are_settings_as_files_have_them(workplace):
    shown = workplace.nmtprune(
        "config", "--set", "seeds=[3, 4]", "papers=[wang2020/table2]", "--set", "speed=true"
    )
    assert shown.returncode == 0, shown.stderr
    assert "  seeds:\n  - 3\n  - 4\n" in shown.stdout and "  speed: true\n" in shown.stdout


def test_a_printed_command_is_understood_as_it_was_given():
    commands.remember(settings=["preset=multi30k", "chains=[a, b]"])
    try:
        printed = commands.nmtprune("restore", CHAIN)
    finally:
        commands.remember()
    arguments = cli._parser().parse_args(shlex.split(printed)[3:])
    assert (arguments.freed, arguments.set) == ([CHAIN], ["preset=multi30k", "chains=[a, b]"])


@pytest.mark.parametrize("words", ["generate --help", "train data --arch transformer --set x y=1"])
def test_all_that_follows_a_tool_of_fairseq_is_the_tools(words):
    tool, *rest = words.split()
    arguments = cli._parser().parse_args(["fairseq", tool, *rest])
    assert (arguments.tool, arguments.arguments) == (tool, rest)


def test_the_console_script_is_the_module():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["nmtprune"].split(":")
    assert module == "nmtprune.__main__" and callable(getattr(importlib.import_module(module), function))


# --- what help shows

METAVARS = {
    *("folder", "task", "subwords", "top", "chain", "table", "analysis", "shell", "tool", "argument"),
    *(
        "FILE",
        "PRESET",
        "PRECISION",
        "KEY=VALUE",
        "N",
        "BLEU",
        "SECONDS",
        "METRIC",
        "TASK",
        "CHAIN",
        "ENGINE",
        "FORMAT",
    ),
}


def verbs():
    (choice,) = (
        action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return choice.choices


def shown(verb):
    return [action for action in verb._actions if action.help != argparse.SUPPRESS and action.dest != "help"]


USERS_VERBS = [name for name in cli.VERBS if name not in cli.INTERNAL]


@pytest.mark.parametrize("name", USERS_VERBS)
def test_every_shown_argument_says_what_it_is_what_it_takes_and_its_default(name):
    verb = verbs()[name]
    assert verb.description.endswith(".") and "\n" not in verb.description
    for action in shown(verb):
        assert action.help and action.help[0].islower() and not action.help.endswith("."), action
        if action.nargs != 0:
            assert (action.metavar or action.dest) in METAVARS, action
        if action.required and action.option_strings:
            assert action.help.endswith("(needed)"), action
        if action.option_strings and action.nargs != 0 and not action.required:
            assert "(default: " in action.help, action
        if isinstance(action.completes, tuple):
            assert [word for word in action.completes if not re.search(rf"\b{word}\b", action.help)] == [], (
                action
            )
    assert all(word in verb.format_help() for action in shown(verb) for word in action.option_strings)


def test_help_shows_users_verbs_and_nothing_internal():
    text = cli._parser().format_help()
    assert re.findall(r"^    ([a-z]+)(?:  |$)", text, re.M) == USERS_VERBS
    for name in USERS_VERBS:
        assert "--lease" not in verbs()[name].format_help() and "--cost" not in verbs()[name].format_help()


def test_internal_verbs_and_options_work_and_are_not_suggested(workplace):
    arguments = cli._parser().parse_args(
        ["shard", "contribution", CHAIN, "1", "2", "done.json", "--lease", "1", "--cost", "a.log"]
    )
    assert (arguments.shard, arguments.shards, arguments.lease, str(arguments.cost)) == (1, 2, 1, "a.log")
    told = workplace.nmtprune("sharp").stderr
    assert told.startswith("nmtprune: unknown verb `sharp`; ") and not re.search("|".join(cli.INTERNAL), told)


def test_the_version_is_that_of_the_citation(workplace):
    [cited] = re.findall(r"^version: (\S+)$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE)
    assert workplace.nmtprune("--version").stdout == f"nmtprune {cited}\n"


def test_values_that_help_names_are_those_that_are_taken():
    completes = {action.dest: action.completes for action in shown(verbs()["export"])}
    assert completes["precision"] == PRECISIONS and completes["engine"] == ("auto", *FAST)
    assert {action.dest: action.completes for action in shown(verbs()["analyse"])}["analysis"] == tuple(
        ANALYSIS_KINDS
    )
    assert config.from_settings({}).settings["preset"] == "toy"  # as the help of --preset says


@pytest.mark.parametrize("text", ["50x", "0", "50+", "+50", "-1"])
def test_a_mistaken_number_of_candidates_is_told_in_one_sentence(text, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nmtprune", "shortlist", "toy", "sentencepiece-joint-700", "--", text])
    assert cli.main() == 2
    assert capsys.readouterr().err.startswith(
        f"nmtprune: shortlist: `{text}` is not a number of candidates; write it as 50, or as 50+200"
    )
