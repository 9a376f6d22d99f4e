"""Completion in a shell, written by shtab from the parser.

Verbs and options come from the parser; chains, tasks, presets and files are completed where an argument takes
them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError, suggest

SHELLS = ("bash", "zsh")
# folders in a model's directory that hold no models
INSIDE_A_MODEL = ("state", "snapshots", "hypotheses", "shards")

# Lists models, and folders on the way to models, one step below `$1`; as long as there is only one, a step
# further down.
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
    """A script that completes the parser's verbs in a shell.

    An argument's attribute `completes` says what it takes: a tuple of words, or `chain`, `task`, `preset`,
    `file` or `folder`; tasks and presets are those of `config`. Raises UserError for an unknown shell, and if
    shtab is not installed.
    """
    if shell not in SHELLS:
        raise UserError(f"completion: unknown shell `{shell}`; {suggest(shell, SHELLS)}")
    try:
        import shtab  # an optional package that only this verb needs
    except ImportError:
        raise UserError(
            "completion: shtab writes the script, and is not installed here: pip install shtab"
        ) from None
    kinds = {
        "chain": {"bash": "_nmtprune_chains", "zsh": ZSH_CHAINS, "preamble": {"bash": BASH_CHAINS}},
        "task": _words("tasks", config.library.names("tasks")),
        "preset": _words("presets", config.library.names("presets")),
        "file": shtab.FILE,
        "folder": shtab.DIRECTORY,
    }
    action: Any  # shtab reads the attribute that is added
    for action in _actions(parser):
        completes = getattr(action, "completes", None)
        if isinstance(completes, tuple):
            action.complete = _words(action.dest, completes)
        elif completes:
            action.complete = kinds[completes]
    return shtab.complete(parser, shell)


def _words(name: str, words: Sequence[str]) -> dict[str, object]:
    """Completion of one of several words for shtab, by a shell function named after `name`."""
    function = f"_nmtprune_{name}"
    return {
        "bash": function,
        "zsh": f"({' '.join(words)})",
        "preamble": {"bash": f"{function}() {{ compgen -W '{' '.join(words)}' -- \"$1\"; }}"},
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its verbs."""
    for action in parser._actions:  # argparse has no public name for this list
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
