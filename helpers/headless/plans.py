"""Which points has a sweep: which notebook, with which parameters?

A point is one run of a notebook. A plan says which: the values of some parameters in all
combinations (a grid), values drawn at random from ranges, and what is the same for all.
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from helpers.files import PROJECT
from helpers.headless.notebooks import NOTEBOOKS, find_notebook, parameter_reader

Reader = Callable[..., object]  # see parameters.reader


@dataclass(frozen=True)
class Trial:
    """One run of a notebook."""

    notebook: str
    given: Mapping[str, object]  # its parameters, where they are not what stands in the notebook

    @cached_property  # it is asked for more than once, and travels with the point to a worker
    def digest(self) -> str:
        """Twelve hex digits for the notebook's code, parameters and the code of this package."""
        path = NOTEBOOKS / f"{self.notebook}.ipynb"
        code = _code_of(path, path.stat().st_mtime_ns)
        told = json.dumps([self.notebook, code, dict(self.given), code_version()], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Plan:
    """What a sweep is to run; every value is text, as it is given on the command line."""

    notebook: str
    grid: Mapping[str, Sequence[str]]  # values by parameter
    ranges: Mapping[str, str]  # "lo:hi" or "lo:hi:log" by parameter
    random: int = 0  # how many draws from the ranges; each is run at every point of the grid
    fixed: Mapping[str, str] | None = None  # the same at every point
    seed: int = 0  # decides the draws

    def points(self) -> list[Trial]:
        """All points, in the order in which the values were named.

        Raises ValueError for an unknown notebook or parameter, a value of another type, a grid
        without values, a value or parameter that is named twice, and a range without draws.
        """
        notebook = find_notebook(self.notebook)
        read = parameter_reader(notebook)
        named = [*self.grid, *self.ranges, *(self.fixed or {})]
        twice = {name for name in named if named.count(name) > 1}
        if twice:
            raise ValueError(f"Named more than once: {', '.join(sorted(twice))}.")
        if self.random < 0:
            raise ValueError(f"The number of draws is 1 or more, got {self.random}.")
        if bool(self.ranges) != bool(self.random):
            raise ValueError("Ranges need a number of draws, and draws need ranges: --random 20.")
        grid = {
            name: _distinct(name, [read(name, v) for v in vs]) for name, vs in self.grid.items()
        }
        fixed = {name: read(name, text) for name, text in (self.fixed or {}).items()}
        draws = self._draws(read) or [{}]
        if not grid and not self.ranges:
            raise ValueError("A sweep needs something that varies, such as --grid seed=0:5.")
        every = (
            fixed | draw | dict(zip(grid, values, strict=True))
            for draw, values in itertools.product(draws, itertools.product(*grid.values()))
        )
        # what was drawn twice is one point
        once = {json.dumps(given, sort_keys=True): given for given in every}
        return [Trial(notebook.name, given) for given in once.values()]

    def _draws(self, read: Reader) -> list[dict[str, object]]:
        chance = random.Random(self.seed)
        spans = {name: _span(name, text, read) for name, text in self.ranges.items()}
        return [{name: draw(chance) for name, draw in spans.items()} for _ in range(self.random)]


@lru_cache(maxsize=16)
def _code_of(path: Path, modified: int) -> list:
    """What of a notebook is run. What it has printed, and its prose, change nothing."""
    cells = json.loads(path.read_bytes())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [["".join(cell["source"]), cell["metadata"].get("tags", [])] for cell in code]


def parse_values(text: str) -> list[str]:
    """The values in "0.05,0.1,0.2", or the whole numbers of "0:5", which are 0, 1, 2, 3 and 4."""
    first, colon, last = text.partition(":")
    if colon and all(part.removeprefix("-").isdigit() for part in (first, last)):
        return [str(number) for number in range(int(first), int(last))]
    return [part.strip() for part in text.split(",") if part.strip()]


@cache
def code_version() -> str:
    """The version of this package: its number, and six hex digits for its source."""
    from importlib.metadata import version

    source = hashlib.sha256()
    for path in sorted((PROJECT / "helpers").glob("*.py")):
        source.update(path.read_bytes())
    return f"{version('image-classification-notebooks')}+{source.hexdigest()[:6]}"


def _distinct(name: str, values: list[object]) -> list[object]:
    if not values:
        raise ValueError(f"{name} has no values. Give some, such as --grid {name}=1,2 or =0:5.")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{name} has the value {twice!r} more than once.")
    return values


def _span(name: str, text: str, read: Reader) -> Callable[[random.Random], object]:
    """Draws from "lo:hi", or from "lo:hi:log" so that each factor is as likely as any other."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or parts[2:] not in ([], ["log"]):
        raise ValueError(f"A range is lo:hi or lo:hi:log, got {name}={text}.")
    lo, hi = (read(name, part) for part in parts[:2])
    if not isinstance(lo, int | float) or not isinstance(hi, int | float) or not lo < hi:
        raise ValueError(f"A range goes from a smaller to a larger number, got {name}={text}.")
    if parts[2:] and lo <= 0:
        raise ValueError(f"A logarithmic range is above 0, got {name}={text}.")

    logarithmic, whole = bool(parts[2:]), isinstance(lo, int)
    # half a step more at each end, so that the whole numbers there are as likely as their like
    least, most = (lo - 0.5, hi + 0.5) if whole else (lo, hi)

    def draw(chance: random.Random) -> object:
        if logarithmic:
            drawn = math.exp(chance.uniform(math.log(least), math.log(most)))
        else:
            drawn = chance.uniform(least, most)
        return min(max(round(drawn) if whole else float(f"{drawn:.4g}"), lo), hi)

    return draw
