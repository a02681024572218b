"""The committed notebooks: clean, and sound when run headlessly at the quick profile.

`make test` also runs them at their defaults and compares every cell with nbval.
"""

import re
import subprocess
import sys

import nbformat
import pytest

from helpers import parameters, runs
from helpers.files import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_a_clean_run(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not [
            o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"
        ]
        # nbval runs cells without history, and IPython then takes no notice of a semicolon
        assert not cell.source.rstrip().endswith(";")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    text = path.read_text()
    assert len(text) < 600_000
    assert str(PROJECT) not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)]+\.ipynb)\)", cell.source):
                assert (path.parent / target).is_file()


def test_the_series_is_what_lies_in_the_folder():
    assert [notebook.name for notebook in parameters.SERIES] == [path.stem for path in NOTEBOOKS]


@pytest.mark.slow
def test_the_quick_profile_runs_the_whole_series(tmp_path):
    command = [
        sys.executable,
        "-m",
        "helpers",
        "run",
        "--profile",
        "quick",
        "--root",
        str(tmp_path / "my runs"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "my runs").iterdir()
    for notebook in parameters.SERIES:
        made = folder / notebook.name
        assert (made / "result.json").is_file()
        assert (made / f"{notebook.name}.html").stat().st_size > 100_000
        assert list((made / "figures").glob("*.png"))
    frame = runs.collect(folder).set_index("notebook")
    # one epoch on 15,000 images; what the defaults must reach, the notebooks claim themselves
    assert frame.loc["02_train_mnist", "measured.test_accuracy"] > 0.90
    assert frame.loc["03_train_fashion_mnist", "measured.test_accuracy"] > 0.70
    # 04 looked at the very model that 03 trained
    accuracies = frame["measured.test_accuracy"]
    assert accuracies["04_error_analysis"] == accuracies["03_train_fashion_mnist"]
    assert (folder / "02_train_mnist" / "weights.safetensors").is_file()
    assert (folder / "03_train_fashion_mnist" / "history.csv").is_file()
    assert "02_train_mnist/02_train_mnist.html" in (folder / "index.html").read_text()
