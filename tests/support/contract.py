"""Contracts: what the package relies on in other libraries, checked in their source text, which is not run.

An entry names a file of the library and a name in it, in one of three forms:

    trainer.py Trainer._prepare_sample(self, sample)   a function that takes these parameters in this order
                                                       and requires no others
    trainer.py Trainer._optimizer                      a name that a class or a module defines, or that a
                                                       class assigns to `self`
    trainer.py "valid_step"                            text by which the library uses an object of ours

In a list of parameters, `name=` is passed by name, in any position.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.workplace import REPOSITORY

WORKFLOW = REPOSITORY / "workflow"
_ENTRY = re.compile(r'(?P<file>\S+\.py) (?:"(?P<text>.+)"|(?P<name>[\w.]+)(?P<parameters>\(.*\))?)')
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def entries(relied: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Pairs of a module of ours and an entry, from a mapping of modules to their entries."""
    return [(ours, entry) for ours, of_module in relied.items() for entry in of_module]


def broken(library: str, ours: str, entry: str) -> str | None:
    """A sentence on why a library does not have what an entry says; None if it has."""
    parts = _ENTRY.fullmatch(entry)
    assert parts, f"{entry!r} is no entry"
    if parts["name"] and not _used(ours, parts["name"]):
        return f"{ours} no longer uses `{parts['name']}` of {library}: remove the entry."
    where = f"{library} {importlib.metadata.version(library)}: {library}/{parts['file']}"
    file = _folder(library) / parts["file"]
    if not file.exists():
        return f"{where} is gone; {ours} uses {entry.partition(' ')[2]} of it."
    if parts["text"]:
        there = parts["text"] in file.read_text(encoding="utf-8")
        return None if there else f"{where} no longer has {parts['text']!r}; {ours} relies on it."
    owner, _, name = parts["name"].rpartition(".")
    tree: ast.AST | None = _parsed(file)
    for part in filter(None, owner.split(".")):
        tree = next(
            (
                each
                for each in ast.iter_child_nodes(tree)
                if isinstance(each, ast.ClassDef) and each.name == part
            ),
            None,
        )
        if tree is None:
            return f"{where} has no class `{part}` any more; {ours} uses `{parts['name']}`."
    functions = [each for each in ast.walk(tree) if isinstance(each, Definition) and each.name == name]
    if parts["parameters"] is None:
        return (
            None
            if functions or name in _assigned(tree)
            else f"{where} has no `{parts['name']}` any more; {ours} uses it."
        )
    if not functions:
        return f"{where} has no function `{parts['name']}` any more; {ours} uses it."
    if any(_takes(each, parts["parameters"]) for each in functions):
        return None
    now = ", ".join(ast.unparse(each.args) for each in functions if not isinstance(each, ast.ClassDef))
    return f"{where}: `{parts['name']}` takes ({now}) now, and {ours} relies on {parts['parameters']}."


def _used(ours: str, name: str) -> bool:
    """Whether the text of a module of ours contains a name, or for a constructor the name of its class."""
    word = name.removesuffix(".__init__").rpartition(".")[2]
    folder = WORKFLOW if ours.startswith("rules/") else WORKFLOW / "nmtprune"
    return re.search(rf"\b{word}\b", (folder / ours).read_text(encoding="utf-8")) is not None


@functools.cache
def _folder(library: str) -> Path:
    specification = importlib.util.find_spec(library)
    assert specification and specification.origin, f"{library} is not installed"
    return Path(specification.origin).parent


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _assigned(tree: ast.AST) -> set[str]:
    """Names that are assigned or imported in a class or module, or assigned to attributes of `self`."""
    names = {
        alias.asname or alias.name
        for each in ast.iter_child_nodes(tree)
        for alias in getattr(each, "names", ())
        if isinstance(alias, ast.alias)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
        ):
            names |= {node.attr} if node.value.id == "self" else set()
    for statement in ast.iter_child_nodes(tree):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        names |= {
            each.id
            for target in targets
            if target is not None
            for each in ast.walk(target)
            if isinstance(each, ast.Name)
        }
    return names


def _takes(function: Definition, stated: str) -> bool:
    """Whether a function can be called with the stated parameters and with no others."""
    if isinstance(function, ast.ClassDef):
        return False
    parameters = [each.strip() for each in stated.strip("()").split(",") if each.strip()]
    by_position, by_name = (
        [each for each in parameters if "=" not in each],
        {each.rstrip("=") for each in parameters if "=" in each},
    )
    positional = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    known = {*positional, *(each.arg for each in function.args.kwonlyargs)}
    needed = set(_required(function))
    named_fit = by_name <= known or function.args.kwarg is not None
    return positional[: len(by_position)] == by_position and named_fit and needed <= {*by_position, *by_name}


def _required(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    positional = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    yield from positional[: len(positional) - len(function.args.defaults)]
    yield from (
        each.arg
        for each, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        if default is None
    )
