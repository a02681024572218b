"""Self-checks of the exercises: is an answer right, and if not, what is likely to be wrong?

    check.exercise("2.3", answer)

says `2.3: right.` or gives a hint that fits the mistake. It never tells the right answer, and no
answer makes it raise. What is right is defined in notebooks/exercises/checks/.
"""

import html
import importlib
import re
import sys
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Protocol

from helpers import files
from helpers.messages import unknown_name

EMPTY = "There is no answer yet. Replace None in the cell above, and run that cell."


class Checker(Protocol):
    """The expected answer of an exercise."""

    def hint(self, answer: object) -> str | None:
        """A hint on what is wrong with `answer`; None if it is right."""
        ...


@dataclass(frozen=True)
class Result:
    """The result of a check, shown below its cell. It is true if the answer is right."""

    number: str  # of the exercise
    wrong: str | None  # the hint; None if the answer is right

    def __bool__(self) -> bool:
        return self.wrong is None

    def __repr__(self) -> str:
        return f"{self.number}: right." if self else f"{self.number}: not yet. {self.wrong}"

    def _repr_html_(self) -> str:
        color, mark = ("#1a7f37", "✓") if self else ("#c4500a", "✗")
        style = f"border-left: 4px solid {color}; padding: 0.3em 0.8em; margin: 0.3em 0"
        text = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(repr(self)))
        text = re.sub(r"\*(\w+)\*", r"<em>\1</em>", text)
        return f'<div style="{style}">{mark} {text}</div>'


def exercise(number: str, answer: object = None) -> Result:
    """Check the answer to the exercise with this number, such as "2.3".

    Raises FileNotFoundError if the folder of the course is not there.
    """
    number = str(number)
    chapter = number.split(".")[0]
    known = _chapter(chapter) if chapter.isdigit() else {}
    if number not in known:
        return Result(number, unknown_name("exercise", number, known))
    if answer is None or answer is Ellipsis:
        return Result(number, EMPTY)
    wanted = definition(number)
    try:
        return Result(number, wanted.hint(answer))
    except Exception as error:  # an answer may raise any error while it is checked
        kinds = _load("kinds")
        what = f"{type(error).__name__}: {kinds.first_line(error)}"
        return Result(
            number, f"It cannot be checked, since it is {kinds.describe(answer)} ({what})."
        )


@cache
def definition(number: str) -> Checker:
    """The expected answer of an exercise. A definition that is a function is called once."""
    found = _chapter(number.split(".")[0])[number]
    return found if hasattr(found, "hint") else found()


@cache
def _chapter(number: str) -> dict[str, Any]:
    """The definitions of a chapter, by number of the exercise; none if there is no such chapter."""
    folder = files.PROJECT / "notebooks" / "exercises" / "checks"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No checks at {folder}. Run this in the folder of the course, which holds them."
        )
    if "checks" not in sys.modules:  # a package that is not part of helpers
        sys.modules["checks"] = ModuleType("checks")
        sys.modules["checks"].__path__ = [str(folder)]
    known = (folder / f"chapter_{number}.py").is_file()
    return _load(f"chapter_{number}").EXERCISES if known else {}


def _load(name: str) -> Any:
    return importlib.import_module(f"checks.{name}")
