"""Plans of sweeps: which notebook is run, with which parameters. A trial is one run."""

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from helpers.files import PROJECT, short_digest
from helpers.headless import notebooks

Reader = Callable[..., object]  # see notebooks.parameter_reader


@dataclass(frozen=True)
class Trial:
    """One run of a notebook."""

    notebook: str
    params: Mapping[str, object]  # those that differ from the notebook's own

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that identify the notebook's code, the parameters and this package."""
        path = notebooks.NOTEBOOKS / f"{self.notebook}.ipynb"
        code = _code_of(path, path.stat().st_mtime_ns)
        parts = [self.notebook, code, dict(self.params), code_version()]
        return short_digest(json.dumps(parts, sort_keys=True))


@dataclass(frozen=True)
class Plan:
    """What a sweep runs. Every value is text, as on the command line."""

    notebook: str
    grid: Mapping[str, Sequence[str]]  # values by parameter
    ranges: Mapping[str, str]  # "lo:hi" or "lo:hi:log" by parameter
    random: int = 0  # number of draws from the ranges; each is combined with all of the grid
    fixed: Mapping[str, str] | None = None  # the same in all trials
    seed: int = 0  # of the draws

    def trials(self) -> list[Trial]:
        """All trials, in the order in which the values were given.
        Raises ValueError for an unknown notebook or parameter, a value of another type, a grid
        without values, a value or parameter that is given twice, and a range without draws.
        """
        notebook = notebooks.find_notebook(self.notebook)
        read = notebooks.parameter_reader(notebook)
        names = [*self.grid, *self.ranges, *(self.fixed or {})]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"Given more than once: {', '.join(sorted(twice))}.")
        if self.random < 0:
            raise ValueError(f"The number of draws is 1 or more, got {self.random}.")
        if bool(self.ranges) != bool(self.random):
            raise ValueError("Ranges need a number of draws, and draws need ranges: --random 20.")
        grid = {n: _distinct(n, [read(n, text) for text in of]) for n, of in self.grid.items()}
        fixed = {name: read(name, text) for name, text in (self.fixed or {}).items()}
        spans = {name: _span(name, text, read) for name, text in self.ranges.items()}
        generator = random.Random(self.seed)
        draws = [{n: draw(generator) for n, draw in spans.items()} for _ in range(self.random)]
        if not grid and not self.ranges:
            raise ValueError("A sweep needs something that varies, such as --grid seed=0:5.")
        points = [dict(zip(grid, of, strict=True)) for of in itertools.product(*grid.values())]
        combined = (fixed | draw | point for draw in draws or [{}] for point in points)
        # the same draw twice is one trial
        distinct = {json.dumps(params, sort_keys=True): params for params in combined}
        return [Trial(notebook.name, params) for params in distinct.values()]


def read_plan(path: Path) -> Plan:
    """Read a plan from a YAML file, such as benchmarks/rates.yaml.
    Raises FileNotFoundError, or ValueError that names the file and what is wrong in it.
    """
    import yaml

    class Loader(yaml.BaseLoader):  # every value stays text
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = [key.value for key, _ in node.value]
            if twice := [str(name) for name in names if names.count(name) > 1]:
                raise ValueError(f"{path}: {twice[0]!r} is there twice.")
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_bytes(), Loader=Loader)
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    known = [field.name for field in fields(Plan)]
    if not isinstance(content, dict) or not isinstance(content.get("notebook"), str):
        raise ValueError(f"{path} names no notebook, such as notebook: 03.")
    if unknown := [key for key in content if key not in known]:
        raise ValueError(f"{path}: {unknown[0]!r} is none of {', '.join(known)}.")
    try:
        grid, ranges, fixed = (_section(content, name) for name in ("grid", "ranges", "fixed"))
        numbers = {name: content[name] for name in ("random", "seed") if name in content}
        for name, text in numbers.items():
            if not isinstance(text, str) or not text.isdecimal():
                raise ValueError(f"{name} is a whole number, got {text!r}.")
        plan = Plan(
            content["notebook"],
            {name: v if isinstance(v, list) else parse_values(v) for name, v in grid.items()},
            ranges, fixed=fixed, **{name: int(text) for name, text in numbers.items()},
        )  # fmt: skip
        plan.trials()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return plan


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Names with values; only those of a grid may be lists."""
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise ValueError(f"{name} lists names with values, such as seed: 0:5.")
    for parameter, value in section.items():
        items = value if isinstance(value, list) and name == "grid" else [value]
        if not all(isinstance(item, str) and item for item in items):
            raise ValueError(f"{parameter} has no single value: {value!r}.")
    return section


@lru_cache(maxsize=16)
def _code_of(path: Path, modified: int) -> list:
    """The code cells of a notebook with their tags. Outputs and prose change no trial."""
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
    """The version of this package: its number, and six hex digits of its source's digest."""
    from importlib.metadata import version

    files = (PROJECT / "helpers").rglob("*")
    sources = sorted(path for path in files if path.suffix in (".py", ".toml"))
    digest = short_digest(*(path.read_bytes() for path in sources))
    return f"{version('image-classification-notebooks')}+{digest[:6]}"


def _distinct(name: str, values: list[object]) -> list[object]:
    if not values:
        raise ValueError(f"{name} has no values. Give some, such as --grid {name}=1,2 or =0:5.")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{name} has the value {twice!r} more than once.")
    return values


def _span(name: str, text: str, read: Reader) -> Callable[[random.Random], object]:
    """Draws from "lo:hi" uniformly, or from "lo:hi:log" uniformly on a logarithmic scale."""
    parts = text.split(":")
    if len(parts) < 2 or parts[2:] not in ([], ["log"]):
        raise ValueError(f"A range is lo:hi or lo:hi:log, got {name}={text}.")
    lo, hi = (read(name, part) for part in parts[:2])
    if not isinstance(lo, int | float) or not isinstance(hi, int | float) or not lo < hi:
        raise ValueError(f"A range goes from a smaller to a larger number, got {name}={text}.")
    if parts[2:] and lo <= 0:
        raise ValueError(f"A logarithmic range is above 0, got {name}={text}.")

    logarithmic, whole = bool(parts[2:]), isinstance(lo, int)
    # half a step more at each end, so that the first and last whole number are as likely as others
    least, most = (lo - 0.5, hi + 0.5) if whole else (lo, hi)

    def draw(generator: random.Random) -> object:
        if logarithmic:
            drawn = math.exp(generator.uniform(math.log(least), math.log(most)))
        else:
            drawn = generator.uniform(least, most)
        return min(max(round(drawn) if whole else float(f"{drawn:.4g}"), lo), hi)

    return draw
