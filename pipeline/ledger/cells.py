"""Cells of CSV files that people open in spreadsheets, which run what looks like a formula."""

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")


def calm(value: object) -> object:
    """A cell that no spreadsheet runs: an apostrophe stands before such a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_named(cell: str) -> str:
    """The inverse of `calm`, for texts that may not have come from it."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
