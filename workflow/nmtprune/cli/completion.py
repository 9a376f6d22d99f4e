"""Completion in a shell: verbs and options from the parser, by shtab; chains, tasks, presets and files where
an argument takes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from nmtprune.experiment import paths
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError, suggest

SHELLS = ("bash", "zsh")
INSIDE_A_MODEL = (
    "state",
    "snapshots",
    "hypotheses",
    "shards",
)  # folders beside the models that are made from it

# Models that are made and folders on the way to some, one step further than `$1`; where only one goes on, as
# many steps as it takes until several do.
BASH_CHAINS = f"""\
_nmtprune_chains() {{
    local root={paths.MODELS}/ shown= matches
    [[ $1 == "$root"* ]] && shown=$root
    local begun=${{1#"$root"}}
    while :; do
        matches=$(compgen -d -- "$root$begun" | grep -Ev '/({"|".join(INSIDE_A_MODEL)})$')
        [[ -z $matches || $matches == *$'\\n'* ]] && break
        begun=${{matches#"$root"}}/
        [[ -e $matches/{paths.MANIFEST} ]] && printf '%s\\n' "$shown${{begun%/}}"
    done
    [[ -n $matches ]] && printf '%s\\n' "${{matches//"$root"/"$shown"}}"
}}"""
ZSH_CHAINS = f"_files -W {paths.MODELS} -/ -F '({' '.join(INSIDE_A_MODEL)})'"


def script(parser: argparse.ArgumentParser, shell: str, config: Config) -> str:
    """A script that completes the parser's verbs in a shell. Arguments say by their `completes` what they
    take: a tuple of words, or `chain`, `task`, `preset`, `file` or `folder`; tasks and presets are those of
    `config`.

    Raises UserError for an unknown shell, and where shtab is not installed.
    """
    if shell not in SHELLS:
        raise UserError(f"completion: unknown shell `{shell}`; {suggest(shell, SHELLS)}")
    try:
        import shtab  # wanted by this verb alone
    except ImportError:
        raise UserError(
            "completion: shtab writes the script, and is not installed here: pip install shtab"
        ) from None
    kinds = {
        "chain": {"bash": "_nmtprune_chains", "zsh": ZSH_CHAINS, "preamble": {"bash": BASH_CHAINS}},
        "task": _words("tasks", config.names("tasks")),
        "preset": _words("presets", config.names("presets")),
        "file": shtab.FILE,
        "folder": shtab.DIRECTORY,
    }
    for action in _actions(parser):
        completes = getattr(action, "completes", None)
        if isinstance(completes, tuple):
            action.complete = _words(action.dest, completes)
        elif completes:
            action.complete = kinds[completes]
    return shtab.complete(parser, shell)


def _words(name: str, words: Sequence[str]) -> dict[str, object]:
    """How shtab completes one of some words, by a function of this name."""
    function = f"_nmtprune_{name}"
    return {
        "bash": function,
        "zsh": f"({' '.join(words)})",
        "preamble": {"bash": f"{function}() {{ compgen -W '{' '.join(words)}' -- \"$1\"; }}"},
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its verbs."""
    for action in parser._actions:  # argparse has no public name for them
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
