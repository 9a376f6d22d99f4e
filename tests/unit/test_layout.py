"""Tests have the folders of the package, and share code only through tests/support."""

import re

from support.workplace import REPOSITORY

TESTS, PACKAGE = REPOSITORY / "tests", REPOSITORY / "workflow" / "nmtprune"


def test_every_folder_of_unit_tests_is_a_folder_of_the_package():
    folders = {file.parent.relative_to(TESTS / "unit") for file in (TESTS / "unit").rglob("test_*.py")}
    assert {str(folder) for folder in folders if not (PACKAGE / folder).is_dir()} == {"benchmarks"}


def test_no_test_module_imports_from_another():
    imports = re.compile(r"^\s*(from|import) (\w+\.)*test_\w+", re.MULTILINE)
    assert [
        str(file) for file in TESTS.rglob("*.py") if imports.search(file.read_text(encoding="utf-8"))
    ] == []
