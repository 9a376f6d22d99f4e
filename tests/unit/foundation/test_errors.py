"""Messages about errors of the system."""

import errno

import pytest

from nmtprune.foundation.errors import behind, sentence_of

FULL = OSError(errno.ENOSPC, "No space left on device", "results/x")


def raised_for(cause):
    try:
        try:
            raise cause
        except OSError as error:
            raise ValueError("it cannot be written") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error", [FULL, raised_for(FULL), ExceptionGroup("two", [ValueError("x"), ExceptionGroup("one", [FULL])])]
)
def test_the_error_of_the_system_is_found_behind_others(error):
    assert behind(error) is FULL


def test_other_errors_have_none_behind_them():
    assert behind(ExceptionGroup("two", [ValueError("x"), KeyError("y")])) is None


def test_a_full_disk_comes_with_advice_and_other_errors_without():
    assert sentence_of(FULL) == (
        "results/x: No space left on device: "
        "free some space; the same command then continues where this one ended"
    )
    assert (
        sentence_of(OSError(errno.EACCES, "Permission denied", "results/x")) == "results/x: Permission denied"
    )
    assert (
        sentence_of(OSError(errno.EIO, "Input/output error"))
        == "what this command prints: Input/output error"
    )
