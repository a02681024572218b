"""The pages are short, state the numbers of the committed records, and name existing commands."""

import contextlib
import io
import json
import re
import shlex
import statistics
import tomllib
from collections.abc import Iterable
from functools import cache
from typing import Any

import pandas as pd
import pytest
import typer
import yaml

from benchmarks import frontier, layers, memory, standings, tune
from benchmarks.tables import markdown
from helpers import data, evaluation, models, training
from helpers.files import PROJECT
from helpers.headless.cli import app
from tests.tools import cells, prose

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{p.name}" for p in (PROJECT / "docs").glob("*.md")),
]
DATASETS = ("mnist", "fashion_mnist")
RECIPES = list(dict.fromkeys(name for name, _ in training.RECIPES))
CAUSES = ("label doubtful", "class ambiguous", "model at fault")


def read(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


def flat(page: str) -> str:
    """A page with single spaces for line breaks."""
    return " ".join(read(page).split())


@cache
def record(name: str) -> Any:
    return json.loads(read(f"benchmarks/results/{name}.json"))


def table(page: str, *header: str) -> list[list[str]]:
    """The rows of the first table on a page whose header starts with these cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", read(page), flags=re.MULTILINE)
    for block in blocks:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        if tuple(rows[0][: len(header)]) == header:
            return rows[2:]
    raise AssertionError(f"{page} has no table with the header {header}")


def mean_and_spread(fractions: Iterable[float], digits: int = 2) -> str:
    percent = [100 * fraction for fraction in fractions]
    return f"{statistics.mean(percent):.{digits}f} % ± {statistics.stdev(percent):.{digits}f}"


def measured(recipe: str, dataset: str) -> tuple[str, str]:
    """The accuracy that a recipe states, and the number of seeds."""
    accuracy, seeds = training.RECIPES[recipe, dataset].measured.split(" over ")
    return accuracy, seeds.removesuffix(" seeds")


def parameters(recipe: str) -> str:
    """The parameters of a recipe's networks: "7,740", or two numbers if the data sets differ."""
    counts = [
        models.count_parameters(training.RECIPES[recipe, name].build(data.spec(name)))
        for name in DATASETS
    ]
    return " and ".join(f"{count:,}" for count in dict.fromkeys(counts))


@cache
def ablation() -> dict[tuple[str, str], list[dict]]:
    """The trainings of the ablation, by step and data set."""
    steps: dict[tuple[str, str], list[dict]] = {}
    for row in record("ablation")["trainings"]:
        steps.setdefault((row["step"], row["dataset"]), []).append(row)
    return steps


def accuracies(step: str, dataset: str, split: str) -> list[float]:
    return [row[split]["accuracy"] for row in ablation()[step, dataset]]


def seconds_per_epoch(step: str, dataset: str) -> float:
    (row,) = (
        row for row in record("costs")["epochs"]
        if (row["step"], row["dataset"]) == (step, dataset)
    )  # fmt: skip
    return row["seconds an epoch"]


def seconds_of_training(recipe: str, dataset: str) -> float:
    return training.RECIPES[recipe, dataset].epochs * seconds_per_epoch(recipe, dataset)


def test_the_readme_is_short_and_shows_its_results_first():
    text = read("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1_500
    beginning = "\n".join(text.splitlines()[:40])
    for recipe in ("report", "fast", "compact", "accurate"):
        assert f"| `{recipe}`" in beginning


@pytest.mark.parametrize("page", sorted({*PAGES} - {"README.md", "docs/glossary.md"}))
def test_pages_are_short(page):
    allowed = {"docs/teaching.md": 400}  # it has a plan for each of eight lessons
    assert len(read(page).splitlines()) <= allowed.get(page, 200)


def test_the_page_on_handwriting_states_what_the_record_holds():
    found = record("photographs")
    rows = table("docs/handwriting.md", "photograph", "right")
    assert {row[0]: [int(cell) for cell in row[1:]] for row in rows} == {
        kind: [counts["right"], counts["wrong"], counts["nothing"]]
        for kind, counts in found["kinds"].items()
    }
    page = read("docs/handwriting.md")
    assert f"That is {found['share_right']:.1%} right".replace("%", " %") in page
    assert f"{found['share_of_non_digits_called_a_digit']:.1%}".replace("%", " %") in page
    pages = found["pages"]
    assert f"On {pages['pages']} synthetic pages" in page
    assert f"{pages['digits_right']} of {pages['digits']} digits were read right" in page
    assert f"on {pages['count_right']} pages the number of digits was right" in page


def test_recipes_state_what_the_records_hold():
    for row in record("reliability")["recipes"]:
        accuracy = mean_and_spread(row["test_accuracy"])
        assert measured(row["recipe"], row["dataset"]) == (accuracy, str(len(row["test_accuracy"])))
    rows = record("frontier")["trainings"]
    for key in {(row["step"], row["dataset"]) for row in rows}:
        values = [row["test"]["accuracy"] for row in rows if (row["step"], row["dataset"]) == key]
        assert measured(*key) == (mean_and_spread(values), str(len(values)))
    for recipe in ("compact", "accurate"):
        for dataset in DATASETS:
            values = accuracies(recipe, dataset, "test")
            assert measured(recipe, dataset) == (mean_and_spread(values), str(len(values)))
    for dataset in DATASETS:  # the bands of `report` include runs with one thread
        band = report_band(dataset)
        accuracy = float(measured("report", dataset)[0].split()[0])
        assert abs(accuracy - 100 * band["mean"]) < 100 * band["sd"]


def report_band(dataset: str) -> dict[str, Any]:
    (band,) = (
        band for band in json.loads(read("benchmarks/results/bands.json"))["bands"]
        if band["name"] == f"{dataset} tiny_vgg test accuracy" and band["settings"]["epochs"] == 5
    )  # fmt: skip
    return band


def test_the_results_in_the_readme():
    rows = {row[0]: row[1:] for row in table("README.md", "recipe", "parameters", "MNIST", "n")}
    report, tiny_vgg, fast, *others = rows.values()
    assert report[1::2] == ["98 %", "86 %", ""]
    slow = dict(zip(RECIPES[3:], others, strict=True))
    for recipe, row in ({"report": tiny_vgg, "fast": fast} | slow).items():
        states = [cell for dataset in DATASETS for cell in measured(recipe, dataset)]
        assert row[:5] == [parameters(recipe), *states]
    race = record("race")["runs"]
    seconds = {
        dataset: statistics.median(
            run["laps"][-1][0] for run in race
            if (run["contestant"], run["dataset"]) == ("ours, fast", dataset)
        ) for dataset in DATASETS
    }  # fmt: skip
    assert fast[5] == " and ".join(f"{value:.0f}" for value in seconds.values())
    for recipe, row in slow.items():
        seconds = [seconds_of_training(recipe, dataset) for dataset in DATASETS]
        assert row[5] == " and ".join(f"{value:,.0f}" for value in seconds)
    assert tiny_vgg[5] == "30 to 60"
    for notebook in ("02_train_mnist", "03_train_fashion_mnist"):  # printed by a busier machine
        assert 15 < sum(printed_epochs(notebook)) < 120


def printed_epochs(notebook: str) -> list[float]:
    """The seconds of the last five epochs that the committed notebook's training printed."""
    for cell in cells(PROJECT / "notebooks" / f"{notebook}.ipynb", "code"):
        text = "".join(output.get("text", "") for output in cell.outputs)
        epochs = re.findall(r"^epoch +\d.* ([\d.]+) s$", text, flags=re.MULTILINE)
        if len(epochs) >= 5:
            return [float(seconds) for seconds in epochs[-5:]]
    raise AssertionError(f"{notebook} printed no training of five epochs")


@pytest.mark.medium
def test_the_python_code_in_the_readme_prints_the_stated_number():
    (code,) = re.findall(r"```python\n(.+?)```", read("README.md"), flags=re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    (stated,) = re.findall(r"print\(.*\)  # ([\d.]+)", code)
    assert float(printed.getvalue()) == pytest.approx(float(stated), abs=5e-4)


def test_the_recipes_on_the_page_on_accuracy():
    rows = table("docs/accuracy.md", "recipe", "parameters", "MNIST", "n")
    assert [row[0] for row in rows] == [f"`{name}`" for name in RECIPES]
    for name, *row in rows:
        recipe = name.strip("`")
        states = [cell for dataset in DATASETS for cell in measured(recipe, dataset)]
        assert row[:5] == [parameters(recipe), *states]
    for recipe in ("small", "medium"):  # timed on other processors
        mnist, fashion = (seconds_of_training(recipe, dataset) / 60 for dataset in DATASETS)
        text = f"`{recipe}` takes {mnist:.0f} and {fashion:.0f} minutes"
        assert text in flat("docs/accuracy.md")


def test_the_ablation_on_the_page_on_accuracy():
    rows = table("docs/accuracy.md", "step", "based on")
    steps = [
        step for step, dataset in ablation()
        if dataset == "fashion_mnist" and step not in ("compact", "large", "accurate")
    ]  # fmt: skip
    assert [row[0] for row in rows] == steps
    for step, based_on, _, *row in rows:
        (first, *_) = ablation()[step, "fashion_mnist"]
        accuracy = mean_and_spread(accuracies(step, "fashion_mnist", "validation"))
        seconds = seconds_per_epoch(step, "fashion_mnist")
        assert based_on == (first["baseline"] or "–")
        assert row == [f"{first['parameters']:,}", accuracy.replace(" %", ""), f"{seconds:.1f}"]


def test_other_numbers_on_the_page_on_accuracy():
    text = flat("docs/accuracy.md")
    for dataset in DATASETS:
        assert mean_and_spread(accuracies("large", dataset, "test")) in text
        band = report_band(dataset)
        assert f"{100 * band['mean']:.2f} % ± {100 * band['sd']:.2f}" in text
    for step in ("compact", "large"):
        assert mean_and_spread(accuracies(step, "fashion_mnist", "validation")) in text
    for accuracy in (95, 99.6):
        low, high = evaluation.accuracy_interval(accuracy / 100, 10_000)
        assert f"±{50 * (high - low):.2f} points at {accuracy} %" in text
    compact = max(
        ablation()["compact", "fashion_mnist"], key=lambda row: row["validation"]["accuracy"]
    )
    accurate = ablation()["accurate", "fashion_mnist"][0]
    pair = evaluation.mcnemar(
        *(evaluation.unpack_bits(row["test"]["right"], 10_000) for row in (compact, accurate))
    )
    assert f"p = {pair.p_value:.0e}" in text
    assert f"{pair.only_second} images only `accurate` gets right, {pair.only_first} only" in text


def test_several_views_and_ensembles_on_the_page_on_accuracy():
    rows = table("docs/accuracy.md", "prediction")
    for (_, count, *row), recipe in zip(rows, ("compact", "accurate"), strict=False):
        assert count == parameters(recipe)
        assert row == [mean_and_spread(accuracies(recipe, name, "test_tta")) for name in DATASETS]
    ensembles = {row["dataset"]: row for row in record("ensemble")["ensembles"]}
    for (_, count, *row), split in zip(rows[2:], ("test", "test_tta"), strict=True):
        assert count == " and ".join(f"{ensembles[name]['parameters']:,}" for name in DATASETS)
        assert row == [f"{100 * ensembles[name][split]['accuracy']:.2f} %" for name in DATASETS]


def test_the_frontier_on_the_page_on_accuracy():
    for dataset in DATASETS:
        assert "\n".join(markdown(frontier.table(dataset))) in read("docs/accuracy.md")
    for row in record("frontier")["trainings"]:
        assert f"`{row['step']}`" in read("docs/accuracy.md")
    tried = pd.read_csv(PROJECT / "benchmarks/results/small_networks.csv")
    recorded = [
        (f"{row.parameters:,}", str(row.epochs), f"{100 * row.validation:.2f} %")
        for row in tried.query("parameters > 1_000").itertuples()
    ]
    rows = table("docs/accuracy.md", "change", "parameters", "epochs")
    assert sorted(recorded) == sorted(tuple(row[1:]) for row in rows)
    least = tried.query("parameters < 1_000")
    recorded = [
        (f"{row.learning_rate}", str(row.epochs), f"{row.parameters:,}", f"{row.validation:.2%}")
        for row in least.query("dataset == 'mnist'").itertuples()
    ]
    rows = table("docs/accuracy.md", "rate", "shift", "epochs")
    shown = [(rate, *row) for rate, _, *row in rows]
    assert shown == [tuple(cell.replace("%", " %") for cell in row) for row in recorded]
    (fashion,) = least.query("dataset == 'fashion_mnist'")["validation"]
    assert f"the first setting has {100 * fashion:.2f} %." in flat("docs/accuracy.md")


def test_the_times_of_the_listing_on_the_page_on_the_command_line():
    found, text = record("listing"), flat("docs/command-line.md")
    assert f"Of {found['runs']:,} runs `collect` made a frame in {found['collect']:.1f} s" in text
    assert f"({found['collect, without an index']:.1f} s the first time)" in text
    assert f"its table of the last 1,000 in {found['the command `runs`']:.1f} s" in text


def test_the_validation_accuracy_of_medium_on_the_page_on_accuracy():
    rows = [
        row for row in record("frontier")["trainings"]
        if (row["step"], row["dataset"]) == ("medium", "fashion_mnist")
    ]  # fmt: skip
    mean = statistics.mean(row["validation"]["accuracy"] for row in rows)
    learned = statistics.mean(row["training_accuracy"] for row in rows)
    page = flat("docs/accuracy.md")
    assert f"it has {mean:.2%}, the mean of".replace("%", " %") in page
    assert f"it has {learned:.1%} of the erased".replace("%", " %") in page


def test_the_race_on_the_page_on_benchmarks():
    race, text = record("race"), flat("docs/benchmarks.md")
    assert standings.overview(race) in read("docs/benchmarks.md")
    assert f"from its median is {100 * standings.spread(race):.0f} %" in text
    assert f"after {race['limit']:.0f} seconds" in text
    assert race["date"] in text
    assert race["threads"] == 2
    for package in ("torch", "lightning", "keras", "fastai", "skorch"):
        assert f"{package} {race['versions'][package]}" in text


def test_the_settings_of_the_tuned_peers_on_the_page_of_the_rules():
    chosen = record("tuned")["chosen"]
    assert "\n".join(markdown(tune.table(chosen))) in read("benchmarks/README.md")
    text = flat("benchmarks/README.md")
    assert f"the two seeds {' and '.join(map(str, tune.MORE_SEEDS))} must confirm" in text
    assert f"exceed the target by {100 * tune.EASIER['fashion_mnist']:.2f} points" in text
    assert f"with up to {max(tune.EPOCHS)} epochs" in text
    for row in record("reliability")["recipes"]:
        if row["recipe"] == "fast":
            held_out, test = (
                statistics.mean(row[f"{split}_accuracy"]) for split in ("validation", "test")
            )
            assert round(held_out - test, 4) == tune.EASIER[row["dataset"]]


def test_reliability_on_the_page_on_benchmarks():
    titles = {data.spec(name).title: name for name in DATASETS}
    rows = table("docs/benchmarks.md", "recipe", "data set", "target")
    records = {(row["recipe"], row["dataset"]): row for row in record("reliability")["recipes"]}
    assert len(rows) == len(records)
    for recipe, title, *row in rows:
        entry = records[recipe.strip("`"), titles[title]]
        values = entry["test_accuracy"]
        assert len(values) == 20
        assert row == [
            f"{100 * entry['target']:.0f} %", mean_and_spread(values), f"{100 * min(values):.2f} %"
        ]  # fmt: skip
        assert min(values) >= entry["target"]


def test_the_layers_of_a_step_on_the_page_on_benchmarks():
    found, text = record("layers"), flat("docs/benchmarks.md")
    rows = found["steps"]["mnist"]
    assert "\n".join(markdown(layers.table(rows))) in read("docs/benchmarks.md")
    seconds = {row["part"]: row["seconds"] for row in rows}
    step, one_image = seconds[layers.WHOLE], seconds[layers.ONE_IMAGE]
    convolutions = sum(s for part, s in seconds.items() if part.startswith("convolution"))
    others = sum(seconds[part] for part in ("ReLUs", "max poolings", "batch norms"))
    assert f"The convolutions take {100 * convolutions / step:.0f} % of the step" in text
    assert f"pooling and batch norms take {100 * others / step:.0f} %" in text
    assert f"instead of 96 takes {100 * one_image / step:.0f} % of the time" in text
    assert training.find_recipe("fast", "mnist").batch_size == 96
    reached = [layers.table(of).set_index("part").iloc[:, -1] for of in found["steps"].values()]
    mnist, fashion = (float(of[layers.WHOLE].removesuffix(" %")) for of in reached)
    assert fashion > 2 * mnist


def test_limits_on_the_page_on_benchmarks():
    limits, text = record("limits"), flat("docs/benchmarks.md")
    operations, step, evaluated = (row[1:] for row in table("docs/benchmarks.md", "", "MNIST"))
    shares = limits["shares"]
    assert operations == [f"{row['operations_per_image'] / 1e6:.1f} million" for row in shares]
    assert step == [f"{100 * row['step']:.0f} %" for row in shares]
    assert evaluated == [f"{100 * row['evaluation']:.0f} %" for row in shares]
    assert f"{max(row['matrix_rate'] for row in shares) / 1e9:.0f} billion operations" in text
    each = [1e6 * row["seconds"] / (row["images"] * row["epochs"]) for row in limits["scaling"]]
    assert f"{min(each):.0f} to {max(each):.0f} µs an image" in text
    assert f"takes {statistics.median(limits['start_up_seconds']):.1f} seconds" in text
    assert f"memory use is {limits['peak_memory_mb'] / 1_000:.1f} GB" in text
    saving = record("checkpointing")
    costs = [f"{100 * cost:.1f} %" for cost in saving["median"].values()]
    assert f"costs {costs[0]} of the time on MNIST, {costs[1]} on Fashion-MNIST" in text
    saves = [f"{1e3 * s:.0f} ms for `{name}`" for name, s in saving["seconds_of_a_save"].items()]
    assert f"every {saving['seconds_between_saves']:.0f} seconds as well, which takes" in text
    assert ", ".join(saves) in text
    assert max(saving["median"].values()) < 0.01
    assert max(saving["seconds_of_a_save"].values()) < 0.001 * saving["seconds_between_saves"]


def test_memory_on_the_page_on_benchmarks():
    found = record("memory")
    rows = table("docs/benchmarks.md", "data set", "recipe", "seconds, returned")
    known = memory.table(found)
    assert rows == known[[c for c in known if not c.startswith("MB")]].to_numpy().tolist()
    assert {f"{run['peak_mb'] / 1_000:.1f}" for run in found["runs"]} <= {"0.8", "0.9", "1.0"}


def test_the_audits_on_the_page_on_labels():
    audits = {row["dataset"]: row for row in record("audits")["audits"]}
    both = [audits[name] for name in DATASETS]
    for cause, *row in table("docs/labels.md", "cause", "MNIST"):
        key = cause.replace(" ", "_")
        assert row == [
            f"{100 * audit[f'share_{key}']:.1f} % ± {100 * audit[f'sd_{key}']:.1f}"
            for audit in both
        ]
    names = (
        "test_label_doubtful",
        "test_class_ambiguous",
        "train_label_doubtful",
        "train_class_ambiguous",
    )
    for (_, *row), key in zip(table("docs/labels.md", "number of labels"), names, strict=True):
        assert row == [f"{audit[key]:,}" for audit in both]
    names = ("accuracy_as_given", "accuracy_less_the_doubtful")
    for (_, *row), key in zip(
        table("docs/labels.md", "mean accuracy of the models"), names, strict=True
    ):
        assert row == [f"{100 * audit[key]:.2f} %" for audit in both]
    for cause, *row in table("docs/labels.md", "cause of the mistake"):
        fixed = [
            statistics.mean(larger["fraction_fixed"][cause] for larger in audit["larger"])
            for audit in both
        ]
        assert row == [f"{100 * share:.0f} %" for share in fixed]


def test_decisions_on_the_page_on_labels():
    counts = [
        pd.read_csv(PROJECT / "data" / "decisions" / f"{name}.csv")["decision"].value_counts()
        for name in DATASETS
    ]
    for decision, *row in table("docs/labels.md", "decision"):
        assert row == [str(count[decision]) for count in counts]


def test_planted_errors_on_the_page_on_labels():
    found = pd.DataFrame(record("label_noise")["found"]).query("split == 'train'")
    means = found.groupby(["kind", "rate", "dataset"])[
        ["average_precision", "average_precision_cleanlab"]
    ].mean()
    rows = table("docs/labels.md", "wrong training labels")
    kinds = [("symmetric", 0.02), ("symmetric", 0.05), ("symmetric", 0.1), ("pair_flip", 0.1)]
    for (_, *row), kind in zip(rows, kinds, strict=True):
        assert row == [f"{value:.3f}" for name in DATASETS for value in means.loc[(*kind, name)]]
    text = flat("docs/labels.md")
    flips = found.query("kind == 'pair_flip' and dataset == 'fashion_mnist'")
    assert f"{100 * flips['recall'].mean():.0f} % of them" in text
    assert flips["precision"].mean() == pytest.approx(1 / 3, abs=0.02)  # "two in three"
    cleaned = pd.DataFrame(record("label_noise")["cleaned"]).query(
        "dataset == 'fashion_mnist' and kind == 'symmetric' and rate == 0.05"
    )
    accuracy = {
        row.labels: 100 * statistics.mean(row.test_accuracy) for row in cleaned.itertuples()
    }
    gained, lost = (
        accuracy[name] - accuracy["wrong labels"] for name in ("cleaned", "right labels")
    )
    assert f"gains {gained:.2f} points" in text
    assert f"of the {lost:.2f} that the errors cost" in text


def test_the_page_states_sweep_costs():
    scale = record("scale")
    ((_, speedup), (_, milliseconds)) = table("docs/batch-and-clusters.md", "", "")
    assert speedup == " and ".join(map(str, scale["throughput"]["two workers for one"]))
    assert milliseconds == str(scale["scheduler"]["milliseconds a point, scheduler alone"])
    point = scale["point"]
    took, beyond = point["seconds a point"], point["of these beyond its cells"]
    cost = f"of the {took:.1f} seconds that a trial took (median), {beyond:.1f} were spent outside"
    assert cost in read("docs/batch-and-clusters.md")


def test_each_protection_names_an_existing_test_file():
    rows = table("docs/security.md", "what", "danger", "protection", "tested in")
    assert rows
    for *_, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert named, tests
        for name in named:
            assert name.startswith(("tests/", "make ")), name
            assert name.startswith("make ") or (PROJECT / name).exists(), name


def commands() -> list[tuple[str, str]]:
    """Every call of the command line in a code block, with its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.+?)^```", read(page), flags=re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                call = re.search(r"-m helpers (.+?)(?:  +#.*)?$", line)
                if call:
                    found.append((page, call[1]))
    return found


@pytest.mark.parametrize(("page", "call"), commands())
def test_commands_on_the_pages_exist_with_their_options(page, call):
    """They are parsed, not run."""
    arguments = shlex.split(call)
    command = typer.main.get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]  # type: ignore[attr-defined]
    given = [argument for argument in arguments if argument != "--help"]
    if given or not arguments:
        command.make_context(call, given)


def test_the_exercises_are_where_the_page_on_teaching_says():
    rows = table("docs/teaching.md", "exercise", "where", "checked exercise")
    assert [int(row[0].split()[0]) for row in rows] == list(range(1, 14))
    text = "\n".join(map(prose, (PROJECT / "notebooks").glob("*.ipynb")))
    for row in rows:
        for section in re.findall(r"\b\d\.\d+\b", row[1]):
            assert re.search(rf"^## {re.escape(section)} ", text, flags=re.MULTILINE), section


def test_each_exercise_of_the_course_can_be_done_where_the_page_says():
    for what, _, link in table("docs/teaching.md", "exercise", "where"):
        number, file = re.fullmatch(r"\[(\d\.\d+)\]\(\.\./(.+)\)", link).groups()
        headings = re.findall(rf"## {re.escape(number)} [^\n]*", prose(PROJECT / file))
        assert headings[0].endswith(f"(course exercise {what.split()[0]})")


def test_every_package_is_explained_on_the_page_on_installing():
    text = read("docs/installing.md")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        assert re.split(r"[<>=!]", line)[0] in text


def test_the_digests_of_the_data_are_those_in_the_code():
    stated = {row[0].strip("`"): row[3].strip("`") for row in table("data/README.md", "archive")}
    assert stated == {
        f"{folder}/raw/{name}": digest
        for folder, digests in data.DIGESTS.items()
        for name, digest in digests.items()
    }


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == "MIT"
