"""Every private name of a library that the package uses has a contract, and a broken one names the cause."""

import ast
import tomllib
from pathlib import Path

import pytest
from support.contract import broken
from support.workplace import REPOSITORY

PACKAGE = REPOSITORY / "workflow" / "nmtprune"
OF_PYTHON = {
    "_SubParsersAction",
    "_actions",
    "_asdict",
    "_exit",
    "_replace",
}  # of argparse, named tuples and os


def test_private_names_of_others_are_in_a_contract():
    uses: dict[str, Path] = {}
    own = set(OF_PYTHON)
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case (
                    ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store())
                ):
                    own.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    own.add(name)
                case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__"):
                    uses[name] = file.relative_to(PACKAGE)
    contracts = _contracts()
    assert {name: str(file) for name, file in uses.items() if name not in own and name not in contracts} == {}


def test_private_names_that_the_linter_allows_are_in_a_contract():
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    allowed, contracts = lint["flake8-self"]["extend-ignore-names"], _contracts()
    assert [name for name in allowed if name not in OF_PYTHON and name not in contracts] == []


def _contracts() -> str:
    return "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("trainer.py Trainer._prepare_sample(self, sample)", None),
        ("trainer.py Trainer._prepare_sample(self)", "takes (self, sample, is_dummy=False) now"),
        (
            "trainer.py Trainer._prepare_sample(self, sample, padding=)",
            "takes (self, sample, is_dummy=False) now",
        ),
        ("trainer.py Coach._prepare_sample(self, sample)", "has no class `Coach`"),
        ("utils.py _prepare_sample(sample)", "has no function `_prepare_sample`"),
        ("optim/adam.py Adam._optimizer", "has no `Adam._optimizer` any more"),
        ("coach.py _optimizer", "fairseq/coach.py is gone"),
        ('trainer.py "valid steps of a coach"', "no longer has 'valid steps of a coach'"),
        ("trainer.py Trainer._sync_stats(self)", "no longer uses `Trainer._sync_stats` of fairseq"),
    ],
)
def test_a_broken_contract_is_a_sentence(entry, said):
    reason = broken("fairseq", "fairseq_bridge/session.py", entry)
    assert (
        reason is None
        if said is None
        else (said in reason and "fairseq_bridge/session.py" in reason and reason.endswith("."))
    )
