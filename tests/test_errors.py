"""The error tree: codes, one-line messages, and the trip between processes."""

import pickle

import pytest

from pipeline.errors import (
    REASONS,
    AutochromeError,
    DestinationGone,
    DestinationMismatch,
    DeviceBroken,
    DeviceFull,
    EngineError,
    Interrupted,
    ObjectArchived,
    ObjectMissing,
    PhotoError,
    StorageError,
    StoreUnavailable,
    TooManyFailures,
    UsageError,
    first_line,
    shown_in_line,
)


def test_exit_codes_are_those_of_the_documentation() -> None:
    codes = {
        AutochromeError: 2,
        UsageError: 2,
        StorageError: 2,
        ObjectMissing: 2,
        ObjectArchived: 2,
        StoreUnavailable: 2,
        DestinationGone: 2,
        EngineError: 1,
        DeviceFull: 1,
        DeviceBroken: 1,
        Interrupted: 130,
        TooManyFailures: 4,
        DestinationMismatch: 5,
    }
    assert {error: error.exit_code for error in codes} == codes


@pytest.mark.parametrize(
    ("name", "on_screen"),
    [
        (
            "写真\u3000館/a\u00a0b.jpg",
            "写真\u3000館/a\u00a0b.jpg",
        ),  # which may be copied from there
        ("نیم\u200cفاصله.jpg", "نیم\u200cفاصله.jpg"),
        ("a\x1b[2J\r\n\u2028\u202eb", r"a\x1b[2J\r\n\u2028\u202eb"),
    ],
)
def test_what_is_shown_is_harmless_and_as_much_as_can_be_itself(name: str, on_screen: str) -> None:
    assert shown_in_line(name) == on_screen


def test_an_error_of_a_library_is_told_in_its_first_line_or_by_its_kind() -> None:
    assert first_line(ValueError("\n no footer\nat byte 3")) == "no footer"
    assert first_line(EOFError()) == "EOFError"


def test_a_photo_error_is_one_line_with_a_known_reason() -> None:
    error = PhotoError("corrupt", "broken\n  data stream\twhen reading")
    assert (error.reason, str(error)) == ("corrupt", "broken data stream when reading")
    with pytest.raises(ValueError, match="'ugly' is not one of corrupt, "):
        PhotoError("ugly", "x")


@pytest.mark.parametrize("reason", REASONS)
def test_a_photo_error_survives_pickling(reason: str) -> None:
    copy = pickle.loads(pickle.dumps(PhotoError(reason, "why")))
    assert isinstance(copy, PhotoError)
    assert (copy.reason, str(copy)) == (reason, "why")
