"""Write the measured part of docs/mutants.md from the results of mutmut; for `make mutants`.

A mutant is a function of helpers/ with one change; it survives if no test fails. Each survivor
needs a test, or a reason in mutants.toml. The exit status is 1 while one has neither, or while too
few mutants are killed.

Testing all mutants takes hours. So mutants.json keeps the results by module, also of modules that
were not tested this time.
"""

import datetime
import difflib
import json
import re
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import typer

from benchmarks.tables import write_below_mark
from helpers import runs
from helpers.files import PROJECT, write_atomic
from tests.records import behavior, short

WANTED = 0.88
MUTATED = PROJECT / "mutants" / "helpers"
PAGE = PROJECT / "docs" / "mutants.md"
RECORD = Path(__file__).with_suffix(".json")
REASONS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["reason"]
# exit codes of mutmut; all others are time-outs
STATES = {0: "survived", 1: "killed", 3: "killed", 5: "not covered", 33: "not covered"}
LEFT = ("survived", "not covered")
COLUMNS = ("killed", "timed out", "survived", "not covered")

TEXT = """\
Measured {dates} with mutmut {version}, {modules} modules. Of {generated:,} mutants {killed:,} were killed, \
{timed_out} ran into the time limit, {survived} survived, and {not_covered} lie in code that no test reaches: \
**{rate:.1%} were killed**. At least {wanted:.0%} are wanted.

{missing}These functions have a decorator, and were not changed: {decorated}.

| module | mutants | killed | timed out | survived | not covered | rate | commit |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
{rows}

`tests/mutants.toml` gives the reasons, `tests/mutants.json` lists the mutants by mutmut's numbers: \
`.venv/bin/mutmut show <name>` shows a difference.

| why | mutants |
| --- | ---: |
{reasons}
"""  # noqa: E501 - lines of the page


class Mutant(NamedTuple):
    module: str  # such as "training.loop"
    function: str
    number: int
    state: str
    change: str  # "before → after"

    @property
    def reason(self) -> str:
        """The first reason with a pattern that is found in "module.function: change"."""
        text = f"{self.module}.{self.function}: {self.change}"
        for reason in REASONS:
            if any(re.search(pattern, text) for pattern in reason["patterns"]):
                return reason["why"]
        return ""


def read(meta: Path) -> list[Mutant]:
    """The mutants of one module, from the files that mutmut writes beside its copy; none if not all
    were tested.
    """
    module = ".".join(meta.relative_to(MUTATED).with_suffix("").with_suffix("").parts)
    spans = json.loads(meta.with_suffix(".spans").read_text())["spans"]
    lines = meta.with_suffix("").read_text().splitlines()
    mutants = []
    for key, code in json.loads(meta.read_text())["exit_code_by_key"].items():
        if code is None:  # mutmut skipped it, or was stopped before
            return []
        mangled = key.rpartition(".")[2]
        function, _, number = mangled.partition("__mutmut_")
        before, after = (
            [line.replace(copy, function) for line in lines[spans[copy][0] - 1 : spans[copy][1]]]
            for copy in (f"{function}__mutmut_orig", mangled)
        )
        name = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        state = STATES.get(code, "timed out")
        mutants.append(Mutant(module, name, int(number), state, change(before, after)))
    return mutants


def change(before: list[str], after: list[str]) -> str:
    """The changed lines, joined: "before → after"."""
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    removed, added = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return f"{removed} → {added}"


def to_retest() -> Iterator[str]:
    """The mutants, by mutmut's names, that no test of their subpackage reaches or kills, and that
    have no reason: other tests may kill them.
    """
    for meta in sorted(MUTATED.rglob("*.meta")):
        names = json.loads(meta.read_text())["exit_code_by_key"]
        for name, mutant in zip(names, read(meta), strict=False):  # skips unfinished modules
            if mutant.state == "not covered" or (mutant.state == "survived" and not mutant.reason):
                yield name


def rate(counts: Counter[str]) -> float:
    return (counts["killed"] + counts["timed out"]) / max(counts.total(), 1)


def row(name: str, counts: Counter[str], commit: str) -> str:
    cells = [name, counts.total(), *(counts[column] for column in COLUMNS), f"{rate(counts):.1%}"]
    return "| " + " | ".join(map(str, [*cells, commit])) + " |"


def make_record(mutants: list[Mutant], commit: str) -> dict[str, Any]:
    """The record of the mutants of one module."""
    return {
        "date": str(datetime.date.today()),
        "commit": commit,
        "code": behavior()[mutants[0].module],
        "counts": dict(Counter(mutant.state for mutant in mutants)),
        "left": [list(mutant[1:]) for mutant in mutants if mutant.state in LEFT],
    }


def survivors(record: dict[str, Any]) -> list[Mutant]:
    """The mutants that no test killed."""
    return [Mutant(name, *mutant) for name, entry in record.items() for mutant in entry["left"]]


def decorated() -> str:
    """The functions with a decorator, which mutmut does not change."""
    names = []
    for path in sorted((PROJECT / "helpers").rglob("*.py")):
        found = re.findall(r"^ *@.*\n *def (\w+)", path.read_text(), flags=re.MULTILINE)
        names += [f"`{path.stem}.{name}`" for name in found]
    return ", ".join(names)


def missing(record: dict[str, Any]) -> str:
    """The modules that are not in the record, as a sentence; empty if all are but `__main__`, which
    has no function to change.
    """
    names = ", ".join(f"`{name}`" for name in behavior() if name not in {"__main__", *record})
    return f"Not measured yet: {names}." if names else ""


def page(record: dict[str, Any], mutmut: str) -> str:
    """The measured part of docs/mutants.md."""
    counts = {name: Counter(entry["counts"]) for name, entry in sorted(record.items())}
    total = sum(counts.values(), Counter())
    not_measured = f"{sentence}\n\n" if (sentence := missing(record)) else ""
    dates = sorted({entry["date"] for entry in record.values()})
    rows = [row(name, counts[name], short(record[name]["commit"])) for name in counts]
    reasons = Counter(mutant.reason or "no reason" for mutant in survivors(record))
    return TEXT.format(
        wanted=WANTED, dates=" to ".join(dict.fromkeys((dates[0], dates[-1]))), version=mutmut,
        modules=len(record), missing=not_measured, rate=rate(total), generated=total.total(),
        rows="\n".join([*rows, row("**all**", total, "")]),
        reasons="\n".join(f"| {why} | {n} |" for why, n in reasons.most_common()),
        decorated=decorated(), **{name.replace(" ", "_"): total[name] for name in COLUMNS},
    )  # fmt: skip


def wrapped(lines: list[str]) -> Iterator[str]:
    """Wrap the prose of a page; table rows stay."""
    for line in lines:
        if not line or line.startswith("|"):
            yield line
        else:
            yield from textwrap.wrap(line, 125, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    if "--again" in sys.argv:
        return typer.echo("\n".join(to_retest()))
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    record = {name: entry for name, entry in record.items() if name in behavior()}
    commit = runs.commit()
    for meta in sorted(MUTATED.rglob("*.meta")):
        if mutants := read(meta):
            record[mutants[0].module] = make_record(mutants, commit)
    write_atomic(RECORD, json.dumps(record, indent=0, ensure_ascii=False, sort_keys=True) + "\n")
    write_below_mark(PAGE, [*wrapped(page(record, version("mutmut")).splitlines())])
    for mutant in survivors(record):
        if not mutant.reason:
            typer.echo(f"{mutant.module}.{mutant.function} {mutant.number}: {mutant.change}")
    total = sum((Counter(entry["counts"]) for entry in record.values()), Counter())
    killed = f"{rate(total):.1%} of {total.total():,} mutants are killed"
    typer.echo(f"{killed}; see {PAGE.relative_to(PROJECT)}. {missing(record)}")
    unexplained = not all(mutant.reason for mutant in survivors(record))
    sys.exit(rate(total) < WANTED or unexplained or bool(missing(record)))


if __name__ == "__main__":
    main()
