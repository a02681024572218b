"""What a sweep is to run is checked before anything starts."""

import itertools
import random
from collections import Counter

import nbformat
import pytest

from helpers import headless
from helpers.headless import Plan, Trial


def plan(grid=None, **settings) -> Plan:
    return Plan("03", {"seed": ["0", "1"]} if grid is None else grid, **{"ranges": {}, **settings})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.05,0.1, 0.2", ["0.05", "0.1", "0.2"]),
        ("0:3", ["0", "1", "2"]),
        ("-1:2", ["-1", "0", "1"]),
        ("3:3", []),
        ("", []),
        ("cpu", ["cpu"]),
        ("0.1:0.5", ["0.1:0.5"]),
    ],
)
def test_values_are_listed_or_counted(text, expected):
    assert headless.parse_values(text) == expected


def test_a_grid_has_every_combination_and_the_types_of_the_notebook():
    points = plan({"learning_rate": ["0.1", "1"], "seed": ["3", "4"]}, fixed={"dataset": "mnist"})
    assert [point.given for point in points.points()] == [
        {"dataset": "mnist", "learning_rate": rate, "seed": seed}
        for rate, seed in itertools.product((0.1, 1.0), (3, 4))
    ]
    assert {point.notebook for point in points.points()} == {"03_train_fashion_mnist"}
    assert type(points.points()[2].given["learning_rate"]) is float


def test_draws_lie_in_their_ranges_and_come_again_with_the_seed():
    told = plan({}, ranges={"learning_rate": "0.001:0.1:log", "epochs": "1:9"}, random=200)
    drawn = [point.given for point in told.points()]
    rates, epochs = ([given[name] for given in drawn] for name in ("learning_rate", "epochs"))
    assert all(0.001 <= rate <= 0.1 for rate in rates)
    assert 80 < sum(rate < 0.01 for rate in rates) < 120  # half of the decades
    assert set(epochs) == set(range(1, 10))
    assert [point.given for point in told.points()] == drawn
    other = plan({}, ranges=told.ranges, random=200, seed=1)
    assert [point.given for point in other.points()] != drawn


def test_each_draw_is_run_at_every_point_of_the_grid():
    points = plan(ranges={"learning_rate": "0.1:0.2"}, random=3).points()
    assert [point.given["seed"] for point in points] == [0, 1] * 3
    assert len({point.given["learning_rate"] for point in points}) == 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (plan({}), "something that varies"),
        (plan({"seed": []}), "seed has no values"),
        (plan({"seed": ["1", "2", "1"]}), "the value 1 more than once"),
        (plan({"learning_rate": ["1", "1.0"]}), "the value 1.0 more than once"),
        (plan({"rate": ["1"]}), "no parameter 'rate'. It has: dataset, epochs"),
        (plan({"output": ["x"]}), "no parameter 'output'"),
        (plan({"seed": ["0.5"]}), "seed is of type int, got '0.5'"),
        (plan(fixed={"seed": "1"}), "more than once: seed"),
        (plan(random=3), "draws need ranges"),
        (plan(ranges={"epochs": "1:2"}, random=-3), "1 or more, got -3"),
        (plan(ranges={"epochs": "1:2"}), "Ranges need a number of draws"),
        (plan(ranges={"epochs": "2:1"}, random=1), "from a smaller to a larger"),
        (plan(ranges={"epochs": "1"}, random=1), "lo:hi or lo:hi:log"),
        (plan(ranges={"epochs": "1:2:exp"}, random=1), "lo:hi or lo:hi:log"),
        (plan(ranges={"epochs": "0:2:log"}, random=1), "above 0"),
        (plan(ranges={"dataset": "a:b"}, random=1), "from a smaller to a larger"),
        (Plan("09", {"seed": ["1"]}, {}), "no notebook '09'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        wrong.points()


def test_a_digest_stands_for_notebook_parameters_and_code(monkeypatch, tmp_path):
    first = Trial("03_train_fashion_mnist", {"seed": 1, "epochs": 2})
    assert first.digest == Trial("03_train_fashion_mnist", {"epochs": 2, "seed": 1}).digest
    others = {
        Trial("03_train_fashion_mnist", {"seed": 2, "epochs": 2}).digest,
        Trial("02_train_mnist", {"seed": 1, "epochs": 2}).digest,
    }
    with monkeypatch.context() as changed:
        changed.setattr(plans, "code_version", lambda: "another")
        others.add(Trial(first.notebook, first.given).digest)
    assert len({first.digest, *others}) == 4
    notebook = nbformat.read(headless.parameters.NOTEBOOKS / f"{first.notebook}.ipynb", as_version=4)
    monkeypatch.setattr(headless.parameters, "NOTEBOOKS", tmp_path)

    def changed_to() -> str:
        nbformat.write(notebook, tmp_path / f"{first.notebook}.ipynb")
        return Trial(first.notebook, first.given).digest

    for cell in notebook.cells:  # as after a run by hand, and after another proof-reading
        cell.source += " And so on." if cell.cell_type == "markdown" else ""
        cell.update({"outputs": [], "execution_count": 7} if cell.cell_type == "code" else {})
    assert changed_to() == first.digest
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[-1].metadata["tags"] = ["parameters"]
    tagged = changed_to()
    code[0].source += "\n"
    assert len({first.digest, tagged, changed_to()}) == 3


def test_whole_numbers_are_equally_likely_and_none_leaves_its_range():
    def drawn(name: str, span: str) -> list:
        told = plan({}, ranges={name: span}, fixed={}, random=3_000)
        chance = random.Random(0)
        draw = headless._span(name, span, headless.parameters.reader(headless.parameters.find("03")))
        assert {p.given[name] for p in told.points()} <= {draw(chance) for _ in range(9_000)}
        chance = random.Random(0)
        return [draw(chance) for _ in range(3_000)]

    counts = Counter(drawn("epochs", "1:3"))
    assert set(counts) == {1, 2, 3}
    assert all(900 < count < 1_100 for count in counts.values())
    logarithmic = Counter(drawn("epochs", "1:4:log"))
    assert set(logarithmic) == {1, 2, 3, 4}
    assert logarithmic[1] > logarithmic[2] > logarithmic[3] > logarithmic[4]
    assert max(drawn("momentum", "0.9:0.99999")) <= 0.99999


def test_what_is_drawn_twice_is_one_point():
    points = plan({"seed": ["0", "1"]}, ranges={"epochs": "1:2"}, random=50).points()
    assert len(points) == 4
    assert len({point.digest for point in points}) == 4


def test_the_version_is_that_of_the_source():
    number, plus, digits = headless.code_version().partition("+")
    assert plus
    assert number.count(".") == 2
    assert len(digits) == 6


GOOD = """
notebook: 03
grid:
  learning_rate: [0.02, 0.04]
  seed: 0:2
ranges:
  momentum: 0.5:0.9
random: 2
fixed: {epochs: 1}
seed: 7
"""


def test_a_plan_file_says_the_same_as_the_command_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD)
    expected = Plan(
        "03", {"learning_rate": ["0.02", "0.04"], "seed": ["0", "1"]}, {"momentum": "0.5:0.9"},
        random=2, fixed={"epochs": "1"}, seed=7,
    )  # fmt: skip
    assert headless.read_plan(path) == expected
    assert len(expected.points()) == 8


@pytest.mark.parametrize(
    ("before", "after", "line", "told"),
    [
        ("  seed: 0:2", "  sead: 0:2", 5, "no parameter 'sead'"),
        ("0.04]", "fast]", 4, "learning_rate is of type float, got 'fast'"),
        ("random: 2", "random: many", 8, "a whole number, got 'many'"),
        ("random: 2", "draws: 2", 8, "'draws' is none of"),
        ("notebook: 03", "notebook: 3rd", 2, "no notebook '3rd'"),
        ("notebook: 03", "seed: 1", 10, "'seed' is there twice"),
        ("seed: 7", "seed: [7]", 10, "one value"),
        ("fixed: {epochs: 1}", "fixed: {epochs: [1]}", 9, "one value"),
        ("fixed: {epochs: 1}", "fixed: epochs", 9, "names with values"),
        ("  momentum: 0.5:0.9", "  momentum: low:high", 7, "momentum is of type float"),
        ("[0.02, 0.04]", "[0.02, 0.04", 5, "expected"),
        ("fixed: {epochs: 1}", "fixed: {dataset: }", 9, "one value"),
        ("fixed: {epochs: 1}", "fixed: {dataset: null}", 9, "one value"),
        ("random: 2", "random:", 8, "one value"),
        ("random: 2", "random: ²", 8, "a whole number"),
        ("  seed: 0:2", "  {{ seed }}: 0:2", 5, "wanted a name"),
        (GOOD, "", 1, "names with values"),
        (GOOD, "grid: {seed: 1}", 1, "names no notebook"),
    ],
)
def test_a_mistake_in_a_plan_file_is_told_with_its_line(tmp_path, before, after, line, told):
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(ValueError, match=rf"plan\.yaml, line {line}: .*{told}"):
        headless.read_plan(path)


@pytest.mark.parametrize("content", [b"notebook: \x07", "notebook: 03 # é".encode("latin-1")])
def test_a_plan_that_is_no_text_is_named(tmp_path, content):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.yaml is no text in UTF-8"):
        headless.read_plan(path)
