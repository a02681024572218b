"""The age of a measurement: the code that it was made with, and what has changed since.

The pages of `make mutants`, `make faults` and `make matrix` were measured at some commit.
records.json, and for the mutants mutants.json, have a digest of its code; a test fails when a page
is too old. Comments, docstrings and formatting do not count.
"""

import ast
import datetime
import io
import json
import tokenize
from functools import cache
from pathlib import Path

from helpers.files import PROJECT, short_digest, write_atomic

RECORDS = Path(__file__).with_suffix(".json")
MAY_CHANGE = 24  # modules of helpers/, of 50, that may have changed since a measurement


@cache
def behavior() -> dict[str, str]:
    """A digest of the code of each module of helpers/, by its name, such as "training.loop"."""
    folder, found = PROJECT / "helpers", {}
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":  # these only list names
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[name] = digest(path.read_text(encoding="utf-8"))
    return found


def digest(source: str) -> str:
    """Twelve hex digits of a module's code, without comments, docstrings and whitespace."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node):
            text = node.body[0]
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    return short_digest("".join("".join(lines).split()))


def short(commit: str) -> str:
    """The first twelve digits of a commit, and a mark if files had been changed since."""
    return commit[:12] + commit[40:]


def read() -> dict[str, dict]:
    """All records: the date, commit, code and results of each measurement."""
    return json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}


def note(name: str, code: dict[str, str], commit: str, **facts: object) -> None:
    """Record that the measurement `name` was made now, with this code; one line per record."""
    record = {"date": str(datetime.date.today()), "commit": commit, **facts, "code": code}
    records = sorted((read() | {name: record}).items())
    lines = [f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in records]
    write_atomic(RECORDS, "{\n" + ",\n".join(lines) + "\n}\n")


def changed(code: dict[str, str]) -> list[str]:
    """The modules that are new or have changed since an earlier `code`."""
    return [name for name, now in behavior().items() if code.get(name) != now]
