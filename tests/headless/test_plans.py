"""Plans of sweeps are checked before anything starts."""

import itertools
import random
import shutil
from collections import Counter

import nbformat
import pytest

from helpers import __version__, headless
from helpers.files import PROJECT
from helpers.headless import Plan, Trial, notebooks, sweeps


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
    trials = plan({"learning_rate": ["0.1", "1"], "seed": ["3", "4"]}, fixed={"dataset": "mnist"})
    assert [trial.params for trial in trials.trials()] == [
        {"dataset": "mnist", "learning_rate": rate, "seed": seed}
        for rate, seed in itertools.product((0.1, 1.0), (3, 4))
    ]
    assert {trial.notebook for trial in trials.trials()} == {"03_train_fashion_mnist"}
    assert type(trials.trials()[2].params["learning_rate"]) is float


def test_a_clone_may_lie_in_a_folder_with_braces(tmp_path, monkeypatch):
    """papermill would take the braces for parameter names."""
    folder = tmp_path / "{3} 100% {"
    folder.mkdir()
    shutil.copy(notebooks.NOTEBOOKS / "03_train_fashion_mnist.ipynb", folder)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    known = notebooks.parameters_of(notebooks.find_notebook("03"))
    assert known["seed"]["inferred_type_name"] == "int"


def test_draws_lie_in_their_ranges_and_repeat_with_the_seed():
    sweep_plan = plan({}, ranges={"learning_rate": "0.001:0.1:log", "epochs": "1:9"}, random=200)
    drawn = [trial.params for trial in sweep_plan.trials()]
    rates, epochs = ([given[name] for given in drawn] for name in ("learning_rate", "epochs"))
    assert all(0.001 <= rate <= 0.1 for rate in rates)
    assert 80 < sum(rate < 0.01 for rate in rates) < 120  # half of the decades
    assert set(epochs) == set(range(1, 10))
    assert [trial.params for trial in sweep_plan.trials()] == drawn
    other = plan({}, ranges=sweep_plan.ranges, random=200, seed=1)
    assert [trial.params for trial in other.trials()] != drawn


def test_each_draw_is_run_at_every_point_of_the_grid():
    trials = plan(ranges={"learning_rate": "0.1:0.2"}, random=3).trials()
    assert [trial.params["seed"] for trial in trials] == [0, 1] * 3
    assert len({trial.params["learning_rate"] for trial in trials}) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (plan({}), "something that varies"),
        (plan({"seed": []}), "seed has no values"),
        (plan({"seed": ["1", "2", "1"]}), "the value 1 more than once"),
        (plan({"learning_rate": ["1", "1.0"]}), "the value 1.0 more than once"),
        (plan({"rate": ["1"]}), "no parameter 'rate'.*: dataset, epochs"),
        (plan({"output": ["x"]}), "no parameter 'output'"),
        (plan({"seed": ["0.5"]}), "seed must be of type int, got '0.5'"),
        (plan(fixed={"seed": "1"}), "more than once: seed"),
        (plan(random=3), "draws together"),
        (plan(ranges={"epochs": "1:2"}, random=-3), "at least 1, got -3"),
        (plan(ranges={"epochs": "1:2"}), "ranges and a number of draws together"),
        (plan(ranges={"epochs": "2:1"}, random=1), "from a smaller to a larger"),
        (plan(ranges={"epochs": "1"}, random=1), "lo:hi or lo:hi:log"),
        (plan(ranges={"epochs": "1:2:exp"}, random=1), "lo:hi or lo:hi:log"),
        (plan(ranges={"momentum": "0:1:log"}, random=1), "above 0"),
        (plan(ranges={"epochs": "0:2"}, random=1), "epochs must be a finite number of at least 1"),
        (plan(ranges={"learning_rate": "0.1:1e400"}, random=1), "must be a finite number"),
        (plan(ranges={"dataset": "a:b"}, random=1), "from a smaller to a larger"),
        (plan(ranges={"momentum": "0.5:0.5"}, random=1), "from a smaller to a larger"),
        (plan({"seed": ["1", "2", "2"]}), "has the value 2 more than once"),
        (Plan("09", {"seed": ["1"]}, {}), "no notebook '09'"),
    ],
)
def test_invalid_plans_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong.trials()


def test_a_digest_depends_on_notebook_parameters_and_code(monkeypatch, tmp_path):
    first = Trial("03_train_fashion_mnist", {"seed": 1, "epochs": 2})
    assert first.digest == Trial("03_train_fashion_mnist", {"epochs": 2, "seed": 1}).digest
    others = {
        Trial("03_train_fashion_mnist", {"seed": 2, "epochs": 2}).digest,
        Trial("02_train_mnist", {"seed": 1, "epochs": 2}).digest,
    }
    with monkeypatch.context() as changed:
        changed.setattr(sweeps, "code_version", lambda: "another")
        others.add(Trial(first.notebook, first.params).digest)
    assert len({first.digest, *others}) == 4
    notebook = nbformat.read(notebooks.NOTEBOOKS / f"{first.notebook}.ipynb", as_version=4)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)

    def changed_to() -> str:
        nbformat.write(notebook, tmp_path / f"{first.notebook}.ipynb")
        return Trial(first.notebook, first.params).digest

    for cell in notebook.cells:  # as after a manual run and a text correction
        cell.source += " And so on." if cell.cell_type == "markdown" else ""
        cell.update({"outputs": [], "execution_count": 7} if cell.cell_type == "code" else {})
    assert changed_to() == first.digest
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[-1].metadata["tags"] = ["parameters"]
    tagged = changed_to()
    code[0].source += "\n"
    assert len({first.digest, tagged, changed_to()}) == 3


def test_integers_are_drawn_uniformly_or_log_uniformly_within_their_range():
    def drawn(name: str, span: str) -> list:
        sweep_plan = plan({}, ranges={name: span}, fixed={}, random=3_000)
        rng = random.Random(0)
        draw = sweeps._span(name, span, notebooks.parameter_reader(notebooks.find_notebook("03")))
        assert {p.params[name] for p in sweep_plan.trials()} <= {draw(rng) for _ in range(9_000)}
        rng = random.Random(0)
        return [draw(rng) for _ in range(3_000)]

    counts = Counter(drawn("epochs", "1:3"))
    assert set(counts) == {1, 2, 3}
    assert all(900 < count < 1_100 for count in counts.values())
    logarithmic = Counter(drawn("epochs", "1:4:log"))
    assert set(logarithmic) == {1, 2, 3, 4}
    assert logarithmic[1] > logarithmic[2] > logarithmic[3] > logarithmic[4]
    assert max(drawn("momentum", "0.9:0.99999")) <= 0.99999


def test_repeated_draws_become_one_trial():
    trials = plan({"seed": ["0", "1"]}, ranges={"epochs": "1:2"}, random=50).trials()
    assert len(trials) == 4
    assert len({trial.digest for trial in trials}) == 4


def test_the_code_version_follows_the_source(tmp_path, monkeypatch):
    """A finished trial of an earlier sweep is reused only if code and settings are the same."""
    package = tmp_path / "helpers"
    unread = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(PROJECT / "helpers", package, ignore=unread)
    monkeypatch.setattr(sweeps, "PROJECT", tmp_path)
    version_now = sweeps.code_version.__wrapped__  # without the cache
    versions = [version_now()]
    for file in ("training/loop.py", "training/recipes.toml", "headless/templates/style.css"):
        (package / file).write_text((package / file).read_text() + "\n")
        versions.append(version_now())
    assert len(set(versions[:3])) == 3
    assert versions[3] == versions[2]  # templates change how a page looks, not its numbers
    number, digits = versions[0].split("+")
    assert number == __version__
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
    assert headless.read_plan(path) == headless.read_plan(str(path)) == expected
    assert len(expected.trials()) == 8


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("  seed: 0:2", "  sead: 0:2", "no parameter 'sead'"),
        ("0.04]", "fast]", "learning_rate must be of type float, got 'fast'"),
        ("random: 2", "random: many", "a whole number, got 'many'"),
        ("random: 2", "draws: 2", "got 'draws'"),
        ("notebook: 03", "notebook: 3rd", "no notebook '3rd'"),
        ("notebook: 03", "seed: 1", "'seed' is given twice"),
        ("seed: 7", "seed: [7]", "a whole number"),
        ("fixed: {epochs: 1}", "fixed: {epochs: [1]}", r"must be a number or text, got \['1'\]"),
        ("fixed: {epochs: 1}", "fixed: epochs", "map names to values"),
        ("  momentum: 0.5:0.9", "  momentum: low:high", "momentum must be of type float"),
        ("[0.02, 0.04]", "[0.02, 0.04", "expected"),
        ("fixed: {epochs: 1}", "fixed: {dataset: }", "must be a number or text"),
        ("random: 2", "random:", "a whole number"),
        ("random: 2", "random: ²", "a whole number"),
        ("  seed: 0:2", "  {{ seed }}: 0:2", "is not YAML"),
        (GOOD, "", "lacks an entry for the notebook"),
        (GOOD, "grid: {seed: 1}", "lacks an entry for the notebook"),
    ],
)
def test_a_mistake_in_a_plan_file_names_the_file_and_the_mistake(tmp_path, before, after, message):
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(ValueError, match=rf"plan\.yaml.*{message}"):
        headless.read_plan(path)


@pytest.mark.parametrize("content", [b"notebook: \x07", "notebook: 03 # é".encode("latin-1")])
def test_a_plan_that_is_not_yaml_is_named(tmp_path, content):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.yaml is not YAML"):
        headless.read_plan(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"grid": {"seed": headless.parse_values("0:99999999999")}},
        {"grid": {"seed": ["1", "2"]}, "ranges": {"learning_rate": "0.1:0.2"}, "random": 10**11},
    ],
)
def test_a_sweep_of_too_many_trials_is_refused(settings):
    with pytest.raises(ValueError, match="at most 10,000 trials"):
        plan(**settings).trials()


def test_ten_thousand_trials_are_not_too_many():
    assert len(plan({"seed": headless.parse_values("5:10005")}).trials()) == 10_000


@pytest.mark.parametrize("text", ["0:1e999", f"1:1{'0' * 400}", f"-1{'0' * 400}:1"])
def test_a_range_with_an_overflowing_end_is_refused(text):
    name = "learning_rate" if "e" in text else "epochs"
    with pytest.raises(ValueError, match=r"from a smaller to a larger number|must be a finite"):
        plan(ranges={name: text}, random=1).trials()


@pytest.mark.parametrize("value", ["(" * 5_000, "{[]: 1}", "-" * 9_000 + "1"])
def test_a_value_that_python_cannot_parse_is_refused(value):
    with pytest.raises(ValueError, match="epochs must be of type int") as caught:
        headless.settings_for("quick", [f"02.epochs={value}"])
    assert len(str(caught.value)) < 200


def test_a_deeply_nested_or_exponentially_growing_plan_is_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not YAML"):
        headless.read_plan(path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    laughs = "\n  ".join(lines)
    path.write_text(f"notebook: '03'\ngrid:\n  {laughs}\n  seed: [*a11]\n")
    with pytest.raises(ValueError, match="must be a number or text") as caught:
        headless.read_plan(path)
    assert len(str(caught.value)) < 1_000
