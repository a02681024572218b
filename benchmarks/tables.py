"""Write tables into Markdown pages."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from helpers.files import write_atomic

MARK = "<!-- Everything below is written by"  # followed by a command


def markdown(table: pd.DataFrame) -> list[str]:
    """The lines of a table in Markdown, without its index."""
    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def write_below_mark(page: Path, lines: Iterable[str]) -> None:
    """Replace everything below the line of a page that starts with MARK.

    Raises ValueError if the page has no such line.
    """
    kept, mark, rest = page.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"{page} has no line that starts with {MARK!r}.")
    write_atomic(page, "\n".join([kept + mark + rest.partition("\n")[0], "", *lines, ""]))
