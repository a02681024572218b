"""How does a table stand in a page in Markdown?"""

import pandas as pd


def markdown(table: pd.DataFrame) -> list[str]:
    """The lines of a table in Markdown, without its index."""
    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]
