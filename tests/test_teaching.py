"""The page for teachers: its plans match the notebooks, and its numbers are correct."""

import itertools
import re
import statistics
from datetime import datetime, timedelta
from functools import cache

import pytest
import torch
import typer
from torch import nn

from helpers import evaluation, models
from helpers.files import PROJECT
from helpers.headless import notebooks
from helpers.headless.cli import app
from tests.tools import cells, prose

NUMBERS = range(1, len(notebooks.SERIES) + 1)
SECTION = r"\b[1-8]\.\d{1,2}\b"
PARTS = {
    r"\*\*Aim\.\*\*": 1,
    r"\| minutes \|": 1,
    r"- \*[^*]+\?\*": 3,
    r"- \*\*Listen for\*\*": 1,
    r"- \*\*Short of time:\*\*": 1,
    r"- \*\*Exam \(": 1,
}  # how many lines of a lesson start like this
MINUTES = 90


@cache
def page() -> str:
    return (PROJECT / "docs" / "teaching.md").read_text(encoding="utf-8")


@cache
def lesson(number: int) -> str:
    """A lesson, with its title in the first line."""
    return re.split(r"^### ", page(), flags=re.MULTILINE)[number]


def rows(text: str, *header: str) -> list[list[str]]:
    """The rows of the table with this header in a text."""
    lines = iter(text.splitlines())
    while next(lines) != f"| {' | '.join(header)} |":
        pass
    next(lines)
    found = []
    while (line := next(lines, "")).startswith("|"):
        found.append([cell.strip() for cell in line.split("|")[1:-1]])
    return found


@cache
def shown(number: int) -> str:
    """All text of a notebook: its cells and outputs."""
    path = notebooks.NOTEBOOKS / f"{notebooks.SERIES[number - 1].name}.ipynb"
    texts = [prose(path)]
    for cell in cells(path, "code"):
        texts.append(cell.source)
        for output in cell.outputs:
            texts += output.get("text", ""), output.get("data", {}).get("text/plain", "")
    return "\n".join(texts)


@cache
def headings(number: int) -> list[str]:
    """The numbers of a notebook's sections, such as "2.10", in order."""
    return re.findall(rf"^## ({SECTION}) ", shown(number), flags=re.MULTILINE)


def planned(number: int) -> list[tuple[int, list[str]]]:
    """The rows of a lesson's plan: minutes and sections; "4.4 to 4.6" includes those between."""
    plan = []
    for minutes, sections, _ in rows(lesson(number), "minutes", "sections", "what"):
        first, *rest = (headings(number).index(name) for name in re.findall(SECTION, sections))
        indices = range(first, rest[0] + 1) if " to " in sections else [first, *rest]
        plan.append((int(minutes), [headings(number)[i] for i in indices]))
    return plan


def waits() -> list[tuple[int, dict[str, int]]]:
    """The seconds of each notebook, and of its longest sections."""
    table = rows(page(), "notebook", "all cells", "the longest sections")
    found = [re.findall(rf"({SECTION}): (\d+)", row[2]) for row in table]
    return [
        (int(row[1]), {name: int(seconds) for name, seconds in longest})
        for row, longest in zip(table, found, strict=True)
    ]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_notebook_has_a_lesson_with_all_its_parts(number):
    title, _, text = lesson(number).partition("\n")
    assert shown(number).startswith(f"# {title.replace(' ', ' · ', 1)}")
    counts = {part: len(re.findall(f"^{part}", text, flags=re.MULTILINE)) for part in PARTS}
    assert counts == PARTS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_plan_takes_ninety_minutes_and_follows_the_notebook(number):
    plan = planned(number)
    assert sum(minutes for minutes, _ in plan) == MINUTES
    order = [headings(number).index(name) for _, names in plan for name in names]
    assert order == sorted(order)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_plan_leaves_ten_times_as_long_as_the_cells_took(number):
    seconds, longest = waits()[number - 1]
    assert seconds == pytest.approx(notebooks.SERIES[number - 1].seconds, rel=0.1)
    assert sum(longest.values()) <= seconds
    assert set(longest) <= set(headings(number))
    for minutes, names in planned(number):
        assert 60 * minutes >= 10 * sum(longest.get(name, 0) for name in names)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_numbers_of_a_lesson_are_those_of_its_notebook(number):
    """Small whole numbers are minutes or epochs; the exam has its own numbers."""
    text = lesson(number).partition("- **Exam")[0]
    sections = {name for other in NUMBERS for name in headings(other)}
    found = set(re.findall(r"\d+(?:[.,]\d+)+|\d{3,}", text)) - sections
    missing = [
        n for n in found if not re.search(rf"(?<![\d.,]){re.escape(n)}(?!\d)", shown(number))
    ]
    assert missing == []


def test_every_section_that_the_page_points_to_exists():
    sections = {name for number in NUMBERS for name in headings(number)}
    weeks = [" ".join(row) for row in rows(page(), "week", "lesson", "lab", "at home")]
    brackets = re.findall(rf"\(((?:{SECTION}(?:, | and |; )?)+)", page())
    named = {name for text in (*weeks, *brackets) for name in re.findall(SECTION, text)}
    assert len(named) > 30
    assert named <= sections


def test_what_a_lesson_needs_comes_before_it():
    table = rows(page(), "notebook", "mathematics", "Python", "from the course")
    assert [int(row[0]) for row in table] == list(NUMBERS)
    for number, *_, needed in table:
        for name in re.findall(SECTION, needed):
            assert int(name[0]) < int(number)
            assert name in headings(int(name[0]))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_marks_of_an_exam_add_up(number):
    exam = lesson(number).partition("- **Exam (")[2]
    total, marking = int(exam.split()[0]), exam.partition("*Marking:*")[2]
    assert sum(map(int, re.findall(r"\((\d)\)", marking))) == total


def test_the_answers_of_the_exams_are_right():
    answer = [" ".join(lesson(number).partition("*Marking:*")[2].split()) for number in NUMBERS]
    layer = nn.Conv2d(3, 16, kernel_size=5, stride=2, padding=2)
    side = layer(torch.zeros(8, 3, 64, 64)).shape[-1]
    assert f"(8, 16, {side}, {side})" in answer[0]
    assert f"{models.count_parameters(layer):,} (2)" in answer[0]
    assert f"{layer.weight.numel() * side**2:,} (1)" in answer[0]
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 10)
    )
    assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert f"= {models.count_parameters(network):,} (2)" in answer[1]
    half = (250 / 300 * 50 / 300 / 300) ** 0.5 * 196
    assert f"{250 / 3:.1f} %" in answer[3]
    assert f"{7000 / 85:.1f} %" in answer[3]
    assert f"= {half:.1f} points" in answer[3]
    only_a, only_b = torch.arange(1000) < 30, torch.arange(1000) >= 950
    assert f"p = {evaluation.mcnemar(only_a, only_b).p_value:.2f}:" in lesson(5)
    first, second = (
        [float(value) for value in re.findall(r"\d\d\.\d", accuracies)]
        for accuracies in re.findall(r"[AB] has ([\d., ]+) %", lesson(7))
    )
    pairs = [b - a for a, b in zip(first, second, strict=True)]
    low, high = evaluation.mean_interval(pairs)
    assert (
        f"mean {statistics.mean(pairs):.2f} (1), deviation {statistics.stdev(pairs):.3f}"
        in answer[6]
    )
    assert f"= {low:.2f} to {high:.2f}" in answer[6]
    assert f"{evaluation.accuracy_interval(1.0, 6)[0]:.0%}".replace("%", " %") in answer[7]


def test_the_exam_on_patience_is_right():
    """The rule of `fit`, applied by hand to the validation losses of the question."""
    (losses,) = re.findall(r"validation loss ([\d.,\s]+)", lesson(3))
    values = [float(value) for value in re.findall(r"\d\.\d\d", losses)]
    best = values.index(min(values)) + 1
    assert f"after epoch {best}:" in lesson(3)
    assert f"it stops after epoch {best + 2} (1)" in lesson(3)


def test_the_day_has_no_gaps_and_there_are_seven_weeks():
    day = [
        (datetime.strptime(a, "%H:%M"), int(b))
        for a, b, _ in rows(page(), "time", "minutes", "what")
    ]
    for (start, minutes), (following, _) in itertools.pairwise(day):
        assert start + timedelta(minutes=minutes) == following
    weeks = rows(page(), "week", "lesson", "lab", "at home")
    assert [row[0] for row in weeks] == [str(week) for week in range(1, 8)]


def test_the_commands_of_the_page_exist():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)", page())) <= set(targets.split())
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"-m\s+helpers\s+([a-z]+)", page()))
    assert {"run", "doctor", "report"} <= named <= known
