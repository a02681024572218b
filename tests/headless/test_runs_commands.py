"""`runs`, `runs show`, `runs compare` and `runs rm`, on runs with known results."""

import datetime
import json
import os
import re
import shutil

import pytest
import torch

from helpers import data, headless, runs
from helpers.evaluation import Predictions
from helpers.training import EpochRecord, History
from tests.tools import invoke

EPOCH = EpochRecord(1, 0.5, 0.8, 0.4, 0.9, 0.1, 30.0)


def save(root, name, accuracy, *, seed=0, wrong=0, dataset=data.MNIST, epochs=1, planned=1):
    targets = torch.arange(100) % 10
    predicted = targets.clone()
    predicted[:wrong] = (targets[:wrong] + 1) % 10
    logits = torch.nn.functional.one_hot(predicted, 10).float()
    return runs.save(
        root / name / f"train_{dataset.name}", notebook=f"train_{dataset.name}", dataset=dataset,
        parameters={"seed": seed, "epochs": planned}, measured={"test_accuracy": accuracy},
        history=History([EPOCH] * epochs, planned_epochs=planned, interrupted=epochs < planned),
        predictions=Predictions(logits, targets),
    )  # fmt: skip


@pytest.fixture
def root(tmp_path):
    save(tmp_path, "a-fast", 0.98, wrong=2)
    save(tmp_path, "b-fast", 0.80, seed=1, wrong=20)
    save(tmp_path, "c-fast", 0.90, dataset=data.FASHION_MNIST, epochs=1, planned=30)
    return tmp_path


@pytest.fixture
def runs_output(root):
    """The output of `runs` with these arguments."""
    return lambda *words: invoke("runs", *words, "--root", root).stdout


@pytest.fixture
def runs_error(root):
    """The error message of `runs` for these arguments."""
    return lambda *words: invoke("runs", *words, "--root", root, status=2).stderr


def test_the_list_has_one_row_for_each_run(runs_output):
    heading, *rows = (line.split() for line in runs_output().splitlines())
    assert heading == [
        *("run", "when", "what", "data", "set", "epochs", "seed", "test", "state", "seconds")
    ]
    assert {row[0] for row in rows} == {
        "a-fast/train_mnist", "b-fast/train_mnist", "c-fast/train_fashion_mnist",
    }  # fmt: skip
    (stopped,) = (row for row in rows if row[0].startswith("c-"))
    assert stopped[5:] == ["1", "of", "30", "0", "90.00%", "stopped", "30"]


def test_the_list_can_be_sorted_shortened_or_reduced_to_the_best(runs_output, runs_error):
    def names(*words: str) -> list[str]:
        records = json.loads(runs_output(*words, "--json"))
        folders = [record["folder"] for record in records if record["dataset"] == "mnist"]
        return [folder[-len("x-fast/train_mnist")] for folder in folders]

    assert names("--sort", "test") == ["b", "a"]
    assert names("--sort", "parameters.seed") == ["a", "b"]
    assert names("--best") == ["a"]
    assert len(json.loads(runs_output("--last", 2, "--json"))) == 2
    assert "no column 'color'" in runs_error("--sort", "color")


def test_an_old_failure_is_not_among_the_newest_runs(root, runs_output):
    for name, year in (("old", 2025), ("new", 2099)):
        status = {
            "notebooks": [
                {"notebook": "02_train_mnist", "state": "failed", "message": "", "seconds": 1.0}
            ]
        }
        (root / name).mkdir()
        (root / name / "status.json").write_text(json.dumps(status))
        seconds = datetime.datetime(year, 1, 2).timestamp()
        os.utime(root / name / "status.json", (seconds, seconds))
    found = [row["run"] for row in json.loads(runs_output("--json"))]
    assert (found[0], found[-1]) == ("old", "new")
    (last,) = json.loads(runs_output("--last", 1, "--json"))
    assert last["run"] == "new"


def test_only_the_last_of_very_many_runs_are_listed(runs_output, monkeypatch):
    monkeypatch.setattr(runs, "MAX_LISTED", 2)
    lines = runs_output("--sort", "test").splitlines()
    assert [line.split()[0][:1] for line in lines] == ["r", "c", "a", "1"]
    assert lines[-1] == "1 more come before these. --json prints all of them."
    assert len(json.loads(runs_output("--json"))) == 3


def test_json_has_whole_numbers_and_no_empty_fields(runs_output):
    records = json.loads(runs_output("--json"))
    (fashion,) = (record for record in records if record["dataset"] == "fashion_mnist")
    assert fashion["measured.test_accuracy"] == 0.9
    assert (fashion["epochs"], fashion["planned_epochs"], fashion["state"]) == (1, 30, "stopped")
    assert all(value is not None for record in records for value in record.values())


def test_one_run_is_shown_with_its_settings_and_files(runs_output):
    shown = dict(line.split(maxsplit=1) for line in runs_output("show", "b-").splitlines())
    assert (shown["parameters.seed"], shown["measured.test_accuracy"]) == ("1", "0.8")
    assert shown["files"] == "history.csv, predictions.csv, result.json"


@pytest.mark.parametrize(
    ("name", "message"),
    [("fast", "3 runs match 'fast': a-fast, b-fast, c-fast."), ("zzz", "There is no run 'zzz'")],
)
def test_a_name_that_matches_no_run_or_several_is_refused(runs_error, name, message):
    assert message in runs_error("show", name)


def test_a_part_of_a_name_finds_the_run_whatever_its_notebooks_have_started(root, runs_output):
    """Notebook 7 starts runs below its own folder."""
    save(root / "a-fast" / "07_many_runs" / "sweeps", "0123", 0.5)
    shown = runs_output("show", "a-fas")
    assert re.search(r"^measured\.test_accuracy +0\.98$", shown, re.MULTILINE)
    assert "0123" not in shown
    save(root / "b-fast" / "07_many_runs" / "sweeps", "4567", 0.5)
    assert "0.98" in runs_output("compare", "a-fas", "b-fas")


def test_a_run_whose_folder_is_missing_is_shown(root, runs_output):
    skipped = headless.NotebookResult("04_error_analysis", "failed", message="skipped")
    headless.write_status(root / "d-fast", {"04_error_analysis": {}}, [skipped])
    assert "skipped" in runs_output("show", "d-fast")


def test_the_best_runs_can_be_sorted_and_need_an_accuracy(root, runs_output):
    save(root, "d-fast", 0.99, epochs=1, planned=1)
    listed = runs_output("--best", "--sort", "run").splitlines()[1:]
    assert [line.split()[0] for line in listed] == [
        "c-fast/train_fashion_mnist",
        "d-fast/train_mnist",
    ]
    for path in root.glob("*-fast"):
        shutil.rmtree(path)
    headless.write_status(root / "e", {"02": {}}, [headless.NotebookResult("02", "failed")])
    assert "There are no runs" in runs_output("--best")


def test_two_runs_are_compared_by_settings_and_by_mcnemar(runs_output):
    out = runs_output("compare", "a-fast/train_mnist", "b-fast")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:-1]}
    assert rows["parameters.seed"] == ["0", "1"]
    assert rows["measured.test_accuracy"] == ["0.98", "0.8"]
    assert "parameters.epochs" not in rows
    # the first is right on 18 images where the second is wrong, never the reverse: p = 2 / 2 ** 18
    assert "Only the first is right on 18 test images, only the second on 0: they differ" in out
    assert "p = 7.6e-06" in out


def test_an_empty_list_can_be_sorted(runs_output, root):
    for folder in root.iterdir():
        shutil.rmtree(folder)
    runs_output("--sort", "test")


def test_a_difference_of_one_image_is_not_significant(runs_output, root):
    save(root, "e-fast", 2 / 3, wrong=3)
    out = runs_output("compare", "a-fast/train", "e-fast")
    assert ["measured.test_accuracy", "0.98", "0.666667"] in [
        line.split() for line in out.split("\n")
    ]
    assert "right on 1 test images, only the second on 0: they do not differ significantly" in out


def test_comparing_a_run_of_several_notebooks_needs_a_notebook(runs_error, root):
    save(root, "a-fast", 0.9, dataset=data.FASHION_MNIST)
    message = "Error: a-fast has 2 notebooks. Name one, such as a-fast/02.\n"
    assert runs_error("compare", "a-fast", "b-fast") == message


def test_runs_without_predictions_are_compared_by_their_settings_only(runs_output, root):
    (root / "a-fast" / "train_mnist" / "predictions.csv").unlink()
    assert "No test: not both" in runs_output("compare", "a-fast/train", "b-fast/train")
    save(root, "d-fast", 0.7, dataset=data.FASHION_MNIST)
    other = root / "d-fast" / "train_fashion_mnist" / "predictions.csv"
    other.write_text("target,predicted\n1,1")
    out = runs_output("compare", "c-fast/train", "d-fast/train")
    assert "No test: the runs were tested on different images." in out


def test_nothing_is_deleted_without_a_yes(root, monkeypatch):
    monkeypatch.setattr("typer.confirm", lambda _: False)
    out = invoke("runs", "rm", "a-fast/train_mnist", "--root", root, status=1).stdout
    assert "3 files" in out
    assert "Nothing was deleted." in out
    assert (root / "a-fast" / "train_mnist" / "result.json").is_file()


@pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make links")
def test_targets_of_links_are_neither_deleted_nor_written_to(
    runs_output, runs_error, root, tmp_path_factory
):
    """Links in the root, in a run, and in place of the list of runs."""
    outside = tmp_path_factory.mktemp("outside")
    save(outside, "kept", 0.99)
    (outside / "index.html").write_text("of another page")
    (root / "link").symlink_to(outside / "kept")
    (root / "a-fast" / "train_mnist" / "link").symlink_to(outside)
    (root / "index.html").symlink_to(outside / "index.html")
    os.utime(outside / "kept" / "train_mnist" / "result.json", (2**31, 2**31))  # the newest
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    for name in ("link", "link/train_mnist", "kept"):
        reported = invoke("report", name, "--root", root, status=2).stderr
        for message in (runs_error("rm", "--yes", name), reported):
            assert message.startswith(f"Error: There is no run {name!r}")
    runs_output("rm", "--yes", "a-fast")
    assert not (root / "a-fast").exists()
    assert f"{root / 'c-fast'}{os.sep}report.html" in invoke("report", "--root", root).stdout
    assert "train_fashion_mnist" in headless.write_runs_index(root).read_text()
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*")} == before
    assert (outside / "index.html").read_text() == "of another page"


def test_without_a_name_the_run_that_changed_last_is_reported(root):
    for age, name in enumerate(("b-fast", "c-fast", "a-fast")):
        (record,) = root.glob(f"{name}/*/result.json")
        os.utime(record, (1e9 - age, 1e9 - age))
    stopped = headless.NotebookResult("train_mnist", "stopped")
    headless.write_status(root / "unfinished-mnist-fast-seed-0", {"train_mnist": {}}, [stopped])
    done = invoke("report", "--root", root)
    assert done.stdout.startswith(f"The report: {root / 'b-fast' / 'report.html'} (")
    assert done.stderr == ""


def test_a_run_without_results_is_found_and_has_nothing_to_report(root):
    (root / "d-fast").mkdir()
    (root / "d-fast" / "status.json").write_text("{}")
    stderr = invoke("report", "d-fast", "--root", root, status=2).stderr
    assert stderr.startswith(f"Error: {root / 'd-fast'} has no record of a run")


def test_a_run_and_a_notebook_in_it_are_deleted_together(root):
    done = invoke("runs", "rm", "a-fast", "a-fast/train_mnist", "--yes", "--root", root)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    assert not (root / "a-fast").exists()


def test_a_run_and_a_folder_deep_in_it_are_deleted_together(root, runs_output):
    save(root / "a-fast" / "sweeps", "0123", 0.5)
    runs_output("rm", "a-fast", "0123/train_mnist", "--yes")
    assert not (root / "a-fast").exists()
    assert "0123" not in (root / "index.html").read_text()


def test_a_run_is_deleted_with_its_empty_folder(runs_output, runs_error, root):
    runs_output("rm", "a-fast/train_mnist", "b-fast", "--yes")
    assert sorted(path.name for path in root.iterdir()) == ["c-fast", "index.html"]
    assert "b-fast" not in (root / "index.html").read_text()
    assert "no run" in runs_error("rm", "../c-fast", "--yes")
    assert (root / "c-fast").is_dir()
