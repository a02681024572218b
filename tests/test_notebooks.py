"""The committed notebooks are clean, and pass when run headlessly at the quick profile.

`make test` also runs them at their defaults and compares every cell with nbval.
"""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from helpers import headless, runs
from helpers.files import PROJECT
from tests.tools import cells, prose

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def is_ignored(cell):
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def states_a_claim(cell):
    """Whether nbval compares a line such as `test accuracy in [0.987, 0.996]: True`."""
    printed = "".join(o.text for o in cell.outputs if o.output_type == "stream")
    return not is_ignored(cell) and ": True\n" in printed


def is_a_bet(cell):
    """Whether a cell only holds the reader's guess."""
    return cell.source.startswith("bet_")


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_a_committed_notebook_is_a_clean_run(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert not [
            o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"
        ]
        # nbval runs cells without history, and IPython then ignores a semicolon
        assert not cell.source.rstrip().endswith(";")
        # no times, nothing from a front end
        assert set(cell.metadata) <= {"tags", "alt", "slideshow"}
        assert "False" not in "".join(o.text for o in cell.outputs if o.output_type == "stream")
    text = path.read_text()
    assert len(text) < 650_000
    assert str(PROJECT) not in text


@each_notebook
def test_every_machine_writes_the_same_metadata(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    assert "version" not in metadata.language_info
    assert set(metadata) == {"kernelspec", "language_info"}


@each_notebook
def test_parameters_are_annotated_literals_with_a_comment_each(path):
    (cell,) = (c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", []))
    for line, statement in zip(cell.source.splitlines(), ast.parse(cell.source).body, strict=True):
        assert isinstance(statement, ast.AnnAssign)
        assert type(ast.literal_eval(statement.value)).__name__ == statement.annotation.id
        assert "  # " in line


@each_notebook
def test_few_cells_are_ignored_by_nbval_and_claims_follow_them(path):
    """Only known tags; few cells are ignored, each with a claim in one of the next three cells."""
    code = [cell for cell in cells(path, "code") if not is_a_bet(cell)]
    for cell in code:
        assert set(cell.metadata.get("tags", [])) <= {"parameters", "nbval-ignore-output"}
    with_output = [cell for cell in code if cell.outputs]
    assert sum(map(is_ignored, with_output)) <= 0.3 * len(with_output)
    for i, cell in enumerate(code):
        if is_ignored(cell):
            assert any(map(states_a_claim, code[i + 1 : i + 4])), cell.source


@each_notebook
def test_a_notebook_reads_well(path):
    """One H1 with its number, sections in order, cells that fit on a screen."""
    number = int(path.stem.split("_")[0])
    (title,) = re.findall(r"^# (.+)$", prose(path), flags=re.MULTILINE)
    assert title.startswith(f"{number} · ")
    sections = re.findall(r"^## (\S+)", prose(path), flags=re.MULTILINE)
    assert sections == [f"{number}.{i}" for i in range(1, len(sections) + 1)]
    lengths = [len(cell.source.splitlines()) for cell in cells(path, "code")]
    assert max(lengths) <= 24
    assert statistics.median(lengths) <= 7


@each_notebook
def test_every_picture_has_an_alt_text(path):
    for cell in cells(path, "code"):
        shows = any("image/png" in output.get("data", {}) for output in cell.outputs)
        assert bool(cell.metadata.get("alt")) == shows


@each_notebook
def test_bets_precede_their_comparison_in_the_second_to_last_section(path):
    notebook = nbformat.read(path, as_version=4).cells
    (table,) = (i for i, cell in enumerate(notebook) if "claims.compare_bets(" in cell.source)
    bets = [i for i, cell in enumerate(notebook) if is_a_bet(cell)]
    assert 2 <= len(bets) <= 4
    assert max(bets) < table
    for i in bets:
        name, _, words = notebook[i].source.partition(" = None  # your bet")
        assert name.isidentifier()
        assert words.startswith((":", ", in %: ", ", in points: ", " on "))
        assert f"({name}, " in notebook[table].source
        assert notebook[i - 1].cell_type == "markdown"  # which asks the question
    headings = [i for i, cell in enumerate(notebook) if re.search("^## ", cell.source, re.M)]
    assert headings[-2] < table < headings[-1]
    (output,) = notebook[table].outputs  # without bets it does not depend on the results
    assert output.data["text/plain"].split()[-7:] == ["no", "bet", "was", "placed", *"–––"]


def test_the_series_lists_the_notebooks_of_the_folder():
    assert [notebook.name for notebook in headless.SERIES] == [path.stem for path in NOTEBOOKS]


def run_quickly(scratch: Path, names: Sequence[str]) -> tuple[Path, pd.DataFrame]:
    """Run notebooks by the command, at the quick profile; returns the folder and the results."""
    command = [sys.executable, "-m", "helpers", "run", "--profile", "quick"]
    command += [part for name in names for part in ("--only", name)]
    command += ["--root", str(scratch / "my runs")]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (scratch / "my runs").glob("*/")
    for name in names:
        made = folder / name
        assert (made / "result.json").is_file()
        assert (made / f"{name}.html").stat().st_size > 100_000
        assert list((made / "figures").glob("*.png"))
        assert f"{name}/{name}.html" in (folder / "index.html").read_text()
    frame = runs.load_run(folder).set_index("notebook")
    assert len(frame) == len(names)  # without the many runs of notebook 7
    return folder, frame


@pytest.mark.slow
def test_the_command_runs_a_notebook_of_the_series(tmp_path):
    _, frame = run_quickly(tmp_path, ["01_explore"])
    assert frame.loc["01_explore", "state"] == "finished"


@pytest.mark.long
def test_the_quick_profile_runs_the_whole_series(tmp_path):
    folder, frame = run_quickly(tmp_path, [notebook.name for notebook in headless.SERIES])
    accuracies = frame["measured.test_accuracy"]
    # one epoch on 15,000 images; the claims of the notebooks check the defaults
    assert accuracies["02_train_mnist"] > 0.90
    assert accuracies["03_train_fashion_mnist"] > 0.70
    # 04 used the model that 03 trained
    assert accuracies["04_error_analysis"] == accuracies["03_train_fashion_mnist"]
    for name in ("02_train_mnist", "03_train_fashion_mnist"):
        assert (folder / name / "history.csv").is_file()
        assert (folder / name / "weights.safetensors").is_file()
