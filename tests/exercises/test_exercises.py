"""The exercises: each wrong answer has its own hint, and the versions match their source."""

import importlib
import re
from typing import Any

import nbformat
import pytest
import torch

from helpers import check
from helpers.headless import SERIES
from tests.exercises import versions
from tests.refresh import executed
from tests.tools import cells, prose

CHAPTERS = [path.stem.split("_")[0].lstrip("0") for path in versions.SOURCES]
DEFINED = [number for n in CHAPTERS for number in check._chapter(n)]
JUNK: list[Any] = [
    None, ..., True, -1, 3.5, float("nan"), float("inf"), "", "x", "12", b"12", 1j, [], (), {},
    [None], [[1], [1, 2]], {"a": None}, {1, 2}, object(), int, len, print, lambda: 1 / 0,
    lambda *given: None, lambda *given: given, torch.empty(0), torch.tensor(float("nan")),
    torch.zeros(2, 3, 4), torch.zeros(3, dtype=torch.complex64), torch.nn.Linear(2, 2),
    torch.nn.Linear, torch.nn.Identity(), Exception("an error"), iter([1]),
]  # fmt: skip
assert [path.stem for path in versions.SOURCES] == [notebook.name for notebook in SERIES]
each_source = pytest.mark.parametrize("path", versions.SOURCES, ids=lambda path: path.stem)
each_exercise = pytest.mark.parametrize("number", DEFINED)


def answers(number: str) -> tuple[list[Any], list[tuple[Any, str]]]:
    """The right answers, and the wrong ones with a part of their hint. This loads data."""
    module = importlib.import_module(f"tests.exercises.answers_{number.split('.')[0]}")
    return module.RIGHT[number], module.WRONG[number]


@each_exercise
def test_right_answers_are_right_however_they_are_written(number):
    right, _ = answers(number)
    assert len(right) >= 2
    for answer in right:
        assert repr(check.exercise(number, answer)) == f"{number}: right."


@each_exercise
def test_each_wrong_answer_gets_a_hint_of_its_own(number):
    _, wrong = answers(number)
    assert len(wrong) >= 3
    hints = [check.exercise(number, answer).wrong for answer, _ in wrong]
    for (answer, part), hint in zip(wrong, hints, strict=True):
        assert hint, f"{answer} was taken for right"
        assert part in hint, f"{answer}: {hint}"
        assert "\n" not in hint
        assert "cannot be checked, since" not in hint
    assert len(set(hints)) == len(hints)


@each_exercise
def test_junk_is_wrong_and_never_raises(number):
    right, _ = answers(number)
    for junk in JUNK:
        result = check.exercise(number, junk)
        assert result.wrong or any(junk is answer for answer in right)
        assert "\n" not in repr(result)
        assert result._repr_html_().startswith("<div")


def test_every_exercise_has_its_answers_here():
    for n in CHAPTERS:
        module = importlib.import_module(f"tests.exercises.answers_{n}")
        assert list(module.RIGHT) == list(module.WRONG) == list(check._chapter(n))


def solutions(path) -> list[str]:
    """All lines that occur only in the solutions and hidden tests of a source."""
    private, public = [], ""
    for cell in versions.read(path).cells:
        is_answer = versions.is_answer(cell)
        blocks = [block for _, block in versions.SOLUTION.findall(cell.source)]
        if is_answer and cell.cell_type == "markdown":
            blocks = [cell.source]
        private += [line.strip() for block in blocks for line in block.splitlines()]
        private += re.findall(r"assert .*", cell.source)
        public += "" if is_answer else cell.source
    return [line for line in private if len(line) > 12 and line not in public]


@each_source
def test_a_source_is_a_clean_run_in_which_every_check_passes(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    output = "\n".join(str(cell.outputs) for cell in code)
    assert "not yet" not in output
    for cell in code:
        assert not [
            o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"
        ]
    for number in check._chapter(path.stem.split("_")[0].lstrip("0")):
        assert f"{number}: right." in output


@each_source
def test_a_source_follows_the_convention_of_nbgrader(path):
    """Each exercise has a place for the answer and a check, in cells that nbgrader recognizes."""
    marked = [c for c in versions.read(path).cells if "nbgrader" in c.metadata]
    names = [cell.metadata.nbgrader.grade_id for cell in marked]
    assert len(set(names)) == len(names)
    for cell in marked:
        about = cell.metadata.nbgrader
        assert about.schema_version == 3
        assert about.cell_type == cell.cell_type
        assert ("points" in about) == about.grade
        assert not about.task
        if cell.cell_type == "code":
            assert about.solution == ("### BEGIN SOLUTION" in cell.source)
            assert about.grade == ("### BEGIN HIDDEN TESTS" in cell.source)
    chapter = path.stem.split("_")[0].lstrip("0")
    checked = [c for c in marked if c.source.splitlines()[-1].startswith("check.exercise(")]
    numbers = [re.findall(r'"(.+?)"', cell.source)[-1] for cell in checked]
    assert numbers == list(check._chapter(chapter))
    headings = re.findall(r"^## (\d\.\d+) ", prose(path), flags=re.MULTILINE)
    assert headings == list(check._chapter(chapter))


@each_source
def test_generated_files_match_the_committed_ones(path):
    source = versions.read(path)
    student, page = versions.targets(path)
    assert student.read_text() == nbformat.writes(versions.student_version(source)) + "\n"
    assert page.read_text() == versions.solution_page(source)


@each_source
def test_a_student_version_contains_no_solution(path):
    student, _ = versions.targets(path)
    text = student.read_text()
    assert len(solutions(path)) > 5
    for line in solutions(path):
        assert line not in text.replace('\\"', '"')
    for cell in cells(student, "code"):
        assert not cell.outputs
        assert cell.execution_count is None
    for word in ("SOLUTION", "HIDDEN", "# Why"):
        assert word not in text


@each_source
def test_an_unanswered_student_version_runs_and_no_check_passes(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    student, _ = versions.targets(path)
    names: dict[str, Any] = {}
    results = []
    for cell in cells(student, "code"):
        *_, last = cell.source.splitlines()
        exec(cell.source, names)  # as students run it
        if last.startswith("check."):
            results.append(eval(last, names))
    assert [result.number for result in results] == list(check._chapter(path.stem[1]))
    assert not any(results)


@pytest.mark.slow
@each_source
def test_a_source_runs_and_every_check_passes(path):
    ended = executed(versions.read(path), path.parent).cells
    output = "\n".join(str(cell.outputs) for cell in ended if cell.cell_type == "code")
    assert "not yet" not in output
    for number in check._chapter(path.stem.split("_")[0].lstrip("0")):
        assert f"{number}: right." in output
