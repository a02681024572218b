import errno
import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import helpers
from helpers import data, evaluation, headless, labels, models, runs, training
from helpers.data import Augmentation
from helpers.files import PROJECT
from helpers.headless import NotebookResult, cli, model_commands, runner, student_report
from helpers.training import EpochRecord
from tests.tools import invoke


@pytest.fixture
def faked(monkeypatch):
    """Notebooks that take no time: each writes a record, unless its name is in `failing`."""
    failing = set()

    def execute(name, folder, given, **_):
        if name in failing:
            return NotebookResult(name, "failed", 1.0, "cell [3] raised ValueError: no")
        runs.save(
            folder / name,
            notebook=name,
            dataset=data.MNIST,
            parameters=given,
            measured={"test_accuracy": 0.99},
        )
        return NotebookResult(name, "finished", 1.0)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    return failing


def test_a_run_ends_with_the_table_and_the_page(tmp_path, faked):
    printed = invoke("run", "--root", tmp_path, "-p", "02.epochs=3").stdout
    assert "\n02_train_mnist           finished        1 s\n" in printed
    assert re.search(r"99\.00% +98%", printed)
    (folder,) = tmp_path.glob("*/")
    assert f"Read it at {folder / 'index.html'}" in printed
    page = (folder / "index.html").read_text()
    assert page.count("✓ finished</span>") == len(headless.SERIES)
    assert page.count(">99.00 %</td>") > 3  # other notebooks have other values
    assert "MNIST, standard profile" in page
    assert f'href="{folder.name}/index.html"' in (tmp_path / "index.html").read_text()
    assert (
        json.loads((folder / "02_train_mnist/result.json").read_text())["parameters"]["epochs"] == 3
    )


def test_own_data_is_read_beside_the_notebooks_that_are_named(tmp_path, faked):
    invoke("run", "--root", tmp_path / "runs", "--dataset", tmp_path, "--only", "03")
    (status,) = (tmp_path / "runs").glob("*/status.json")
    assert json.loads(status.read_text())["settings"] == {
        "03_train_fashion_mnist": {}, "08_your_own_data": {"dataset": str(tmp_path)},
    }  # fmt: skip


def test_a_damaged_record_is_reported_in_one_line_and_pages_are_written(monkeypatch, tmp_path):
    def damaged(name, folder, given, **_):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text("{")
        return NotebookResult(name, "finished", 1.0)

    monkeypatch.setattr(runner, "execute_notebook", damaged)
    (line,) = invoke("run", "--root", tmp_path, "--only", 2, status=2).stderr.splitlines()
    assert "is not a record of a run" in line
    assert "✗ damaged" in next(tmp_path.glob("*/index.html")).read_text()


def test_a_failure_is_named_and_the_exit_status_is_not_0(tmp_path, faked):
    faked.add("03_train_fashion_mnist")
    done = invoke("run", "--root", tmp_path, status=1)
    line = "03_train_fashion_mnist   failed          1 s  cell [3] raised ValueError: no"
    assert line in done.stdout
    (folder,) = tmp_path.glob("*/")
    executed = folder / "03_train_fashion_mnist" / "03_train_fashion_mnist.ipynb"
    assert f"{line}; see {executed}" in done.stdout
    assert "The same command with --resume" in done.stderr
    assert "04_error_analysis        skipped" in done.stdout
    assert "02_train_mnist           finished" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "huge"), "no profile 'huge'"),
        (("-p", "02.epoch=3"), "no parameter 'epoch'"),
        (("-p", "02.epochs=x"), "must be of type int"),
        (("-p", f"02.learning_rate={'9' * 400}"), "must be a finite number"),
        (("-p", f"02.learning_rate=0x{'f' * 4_000}"), "02.learning_rate must be a finite number"),
        (("--only", "09"), "no notebook '09'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_made(tmp_path, arguments, message):
    assert message in invoke("run", "--root", tmp_path / "runs", *arguments, status=2).stderr
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_to_is_reported(tmp_path, faked):
    (tmp_path / "file").write_text("in the way")
    stderr = invoke("run", "--root", tmp_path / "file", status=2).stderr
    assert "Error: Cannot create" in stderr


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_ends_with_its_own_status(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "execute_notebook", interrupt)
    stderr = invoke("run", "--root", tmp_path, status=130).stderr
    assert "Finished notebooks are saved" in stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once, without a signal")
def test_a_stopped_run_resumes_with_the_remaining_notebooks(monkeypatch, tmp_path, faked):
    executed, execute, before = [], runner.execute_notebook, signal.getsignal(signal.SIGTERM)

    def stopped(name, *arguments, **settings):
        if name == "02_train_mnist":
            os.kill(os.getpid(), signal.SIGTERM)
        return execute(name, *arguments, **settings)

    words = ("run", "--root", tmp_path, "--profile", "quick")
    with monkeypatch.context() as patched:
        patched.setattr(runner, "execute_notebook", stopped)
        done = invoke(*words, status=128 + signal.SIGTERM)
    (folder,) = tmp_path.glob("*/")
    status = json.loads((folder / "status.json").read_text())["notebooks"]
    assert [(entry["state"], entry["message"]) for entry in status] == [
        ("finished", ""),
        ("stopped", "by SIGTERM"),
    ]
    assert "add --resume to continue" in done.stderr
    assert signal.getsignal(signal.SIGTERM) is before

    def counted(name, *arguments, **settings):
        executed.append(name)
        return execute(name, *arguments, **settings)

    monkeypatch.setattr(runner, "execute_notebook", counted)
    assert f"Resuming {folder}" in invoke(*words, "--resume").stdout
    assert executed == [notebook.name for notebook in headless.SERIES[1:]]
    assert list(tmp_path.glob("*/")) == [folder]
    assert "Nothing to resume" in invoke(*words, "--resume", status=2).stderr
    stderr = invoke("run", "--root", tmp_path, "--resume", status=2).stderr
    assert "Start one without --resume" in stderr


@pytest.mark.parametrize("command", ["run", "report"])
def test_pages_that_cannot_be_written_are_reported(monkeypatch, tmp_path, faked, command):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")

    monkeypatch.setattr(student_report, "collect_facts", full)
    runs.save(tmp_path / "a" / "02", notebook="02", dataset=data.MNIST, parameters={}, measured={})
    stderr = invoke(command, "--root", tmp_path, status=2).stderr
    assert stderr.splitlines()[-1].startswith("Error: [Errno 28] No space left on device")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "with --root"), (errno.EACCES, "with --root"),
    ],
)  # fmt: skip
def test_a_full_or_read_only_disk_is_reported_with_a_remedy(monkeypatch, tmp_path, number, remedy):
    def full(*_, **__):
        raise OSError(number, os.strerror(number), "status.json")

    monkeypatch.setattr(headless, "run_notebooks", full)
    stderr = invoke("run", "--root", tmp_path, status=2).stderr
    assert os.strerror(number) in stderr
    assert "status.json" in stderr
    assert remedy in stderr


def test_runs_are_listed(tmp_path, faked):
    invoke("run", "--root", tmp_path, "--only", "02")
    heading, row = invoke("runs", "--root", tmp_path).stdout.strip().splitlines()
    assert heading.split()[:3] == ["run", "when", "what"]
    assert "02_train_mnist" in row
    (tmp_path / "nothing yet").mkdir()
    listed = invoke("runs", "--root", tmp_path / "nothing yet").stdout
    assert listed.startswith("There are no runs in")
    invoke("runs", "--root", tmp_path / "none", status=2)


@pytest.fixture
def tiny_data(monkeypatch, tiny):
    splits = data.Splits(train=tiny, validation=tiny[:20], test=tiny[20:], spec=data.MNIST)
    monkeypatch.setattr(data, "load_splits", lambda name: splits)
    recipe = training.Recipe(
        model="linear", epochs=2, batch_size=10, learning_rate=0.01, source="", measured=""
    )
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), recipe)
    return splits


TRAIN = ("train", "mnist", "--device", "cpu")


def test_training_by_a_recipe_leaves_weights_history_and_record(tmp_path, tiny_data):
    stdout = invoke(*TRAIN, "--seed", 3, "--root", tmp_path).stdout
    (run,) = tmp_path.glob("*/")
    made = run / "train_mnist"
    model = models.load(made / "weights.safetensors", dataset="mnist")
    accuracy = evaluation.accuracy(evaluation.predict(model, tiny_data.test))
    assert f"test accuracy {accuracy:.2%}" in stdout
    assert f"fast on MNIST, cpu, {platform.machine()}" in stdout
    assert stdout.count("validation loss") == 2
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert row["measured.test_accuracy"] == accuracy
    assert (row["parameters.recipe"], row["parameters.seed"], row["epochs"]) == ("fast", 3, 2)
    assert row["parameters.precision"] in ("float32", "bfloat16")
    assert "parameters.source" not in row
    assert (made / "history.csv").read_text().count("\n") == 3
    assert (made / "predictions.csv").read_text().count("\n") == 1 + len(tiny_data.test)
    assert row["device"].startswith("cpu")
    assert "augmentation" not in stdout  # the recipe neither shifts nor flips
    assert "measured.test_accuracy_tta" not in row
    assert run.name in (tmp_path / "index.html").read_text()


def test_training_on_a_folder_prints_its_notes_and_records_how_it_was_read(
    monkeypatch, tmp_path, tiny_data
):
    splits, calls = replace(tiny_data, notes=("a.png was left out.",)), []

    def from_folder(folder, **named):
        calls.append((folder, named))
        return splits

    monkeypatch.setattr(data, "from_folder", from_folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    options = ("--skip-broken", "--channels", 1, "--model", "net.py:net")
    for flags, stream in (((), "stdout"), (("--json",), "stderr")):
        done = invoke("train", "pets", "--device", "cpu", *options, *flags, "--root", "runs")
        assert splits.notes[0] in getattr(done, stream).splitlines()
    named = {"size": 28, "channels": 1, "skip_broken": True}
    root = tmp_path / "runs"
    assert calls == [("pets", {"cache_dir": root / "data", "progress": "log"} | named)] * 2
    for row in runs.collect(root).to_dict("records"):
        expected = {"dataset": str(tmp_path / "pets"), "model": "net.py:net"} | named
        assert {name: row[f"parameters.{name}"] for name in expected} == expected


@pytest.mark.parametrize("augmentation", [Augmentation(shift=1), Augmentation(flip=True)])
def test_tta_is_reported_separately(monkeypatch, tmp_path, tiny_data, augmentation):
    varied = replace(training.RECIPES["fast", "mnist"], augmentation=augmentation)
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), varied)
    stdout = invoke(*TRAIN, "--root", tmp_path).stdout
    (path,) = tmp_path.rglob("weights.safetensors")
    predicted = evaluation.predict_tta(models.load(path), tiny_data.test, augmentation)
    accuracy = evaluation.accuracy(predicted)
    (row,) = runs.collect(tmp_path).to_dict("records")
    without_tta = f"test accuracy {row['measured.test_accuracy']:.2%}"
    assert f"{without_tta}, {accuracy:.2%} with test-time augmentation, after" in stdout
    assert row["measured.test_accuracy_tta"] == accuracy
    assert 0 <= row["measured.validation_accuracy_tta"] <= 1


def test_a_model_trained_on_validation_is_not_evaluated_on_it(monkeypatch, tmp_path, tiny_data):
    on_all = replace(
        training.RECIPES["fast", "mnist"],
        train_on_validation=True,
        augmentation=Augmentation(shift=1),
    )
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), on_all)
    invoke(*TRAIN, "--root", tmp_path)
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert {name for name in row if name.startswith("measured.")} == {
        "measured.test_accuracy",
        "measured.test_accuracy_tta",
    }
    (row,) = runs.summary(runs.collect(tmp_path)).to_dict("records")
    assert row["validation"] == ""


def test_each_epoch_but_the_last_prints_the_remaining_time(monkeypatch, tmp_path, tiny_data):
    seconds = property(lambda _: 75.0, lambda *_: None)
    monkeypatch.setattr(EpochRecord, "seconds", seconds, raising=False)
    lines = invoke(*TRAIN, "--root", tmp_path).stdout.splitlines()
    first, last = (line for line in lines if "validation" in line)
    assert first.endswith("75.0 s   01:15 left")
    assert last.endswith("75.0 s")


AUDIT = ("audit", "mnist", "--folds", 2, "--seeds", 1, "--device", "cpu")


def test_an_audit_leaves_lists_a_page_and_a_record(monkeypatch, tmp_path, tiny_data):
    monkeypatch.setattr(data, "load_published", lambda _: (tiny_data.train, tiny_data.test))
    stdout = invoke(*AUDIT, "--root", tmp_path).stdout
    (made,) = tmp_path.glob("*-audit/audit_mnist")
    assert {path.name for path in made.iterdir()} == {
        "index.html",
        "labels.csv",
        "labels.json",
        "result.json",
    }
    labels = len(tiny_data.train) + len(tiny_data.test)
    assert (made / "labels.csv").read_text().count("\n") == 1 + labels
    assert str(made / "index.html") in stdout
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert (row["parameters.folds"], row["notebook"]) == (2, "audit_mnist")
    assert row["measured.accuracy_as_given"] <= 1
    assert made.parent.name in (tmp_path / "index.html").read_text()


DOCUMENTED = {  # docs/command-line.md says that names are only added
    "train": {"notebook", "dataset", "parameters", "measured", "state"},
    "audit": {"notebook", "dataset", "parameters", "measured", "state"},
    "recipes": {
        "recipe", "dataset", "model", "parameters", "epochs", "test accuracy", "duration",
    },
    "doctor": {"what", "found", "state", "remedy", "optional"},
    "runs": {"notebook", "dataset", "state", "measured.test_accuracy"},
    "runs show": {"notebook", "dataset", "state", "measured.test_accuracy"},
}  # fmt: skip


@pytest.mark.parametrize("call", DOCUMENTED)
def test_with_json_a_command_prints_only_json_with_the_documented_names(
    monkeypatch, tmp_path, tiny_data, call
):
    monkeypatch.setattr(data, "load_published", lambda _: (tiny_data.train, tiny_data.test))
    runs.save(
        tmp_path / "known", notebook="train_mnist", dataset=data.MNIST, parameters={},
        measured={"test_accuracy": 0.9},
    )  # fmt: skip
    words = {"train": TRAIN, "audit": AUDIT, "runs show": ("runs", "show", "known")}
    root = () if call == "recipes" else ("--root", tmp_path)
    done = invoke(*words.get(call, [call]), *root, "--json", status=None)
    printed = json.loads(done.stdout)
    assert done.stdout.strip() + "\n" == done.stdout
    rows = printed if isinstance(printed, list) else [printed]
    assert rows
    for row in rows:
        assert row.keys() >= DOCUMENTED[call]


def test_an_audit_that_is_stopped_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr(labels, "run_audit", interrupt)
    stderr = invoke("audit", "mnist", "--root", tmp_path, status=130).stderr
    assert "The same command resumes" in stderr
    assert not list(tmp_path.iterdir())


def weights(root: Path) -> torch.Tensor:
    """The weights of the only training in that folder of runs."""
    (path,) = root.glob("*/train_mnist/weights.safetensors")
    return models.load(path).state_dict()["classifier.1.weight"]


def test_the_seed_of_a_training_decides_its_weights(tmp_path, tiny_data):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        invoke(*TRAIN, "--seed", seed, "--root", tmp_path / name)
    first, again, other = (weights(tmp_path / name) for name in "abc")
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnst",), "There is no data set 'mnst'. Did you mean 'mnist'?"),
        (("9" * 400,), "There is no data set '9999"),  # too long for the name of a file
        (("mnist", "--recipe", "best"), "There is no recipe 'best'. Choose one of: "),
        (("mnist", "--device", "abacus"), "There is no device 'abacus'"),
        (("mnist", "--precision", "float8"), "There is no precision 'float8'"),
    ],
)
def test_invalid_training_arguments_are_refused(tmp_path, arguments, message):
    stderr = invoke("train", *arguments, "--root", tmp_path, status=2).stderr
    assert stderr.startswith(f"Error: {message}")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_is_not_tested_and_the_same_command_resumes_it(
    monkeypatch, tmp_path, tiny_data
):
    step, steps = torch.optim.SGD.step, []

    def interrupt_later(*arguments):  # in the second of two epochs of seven batches
        steps.append(1)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.SGD, "step", interrupt_later)
        stderr = invoke(*TRAIN, "--root", tmp_path / "a", status=130).stderr
    assert "Not tested yet. The same command resumes." in stderr
    assert not list((tmp_path / "a").rglob("result.json"))
    invoke("runs", "--root", tmp_path / "a")
    (stopped,) = runs.collect(tmp_path / "a").to_dict("records")
    assert (stopped["state"], stopped["message"]) == ("stopped", "after 1 of 2 epochs")
    assert invoke(*TRAIN, "--root", tmp_path / "a").stdout.count("validation loss") == 1
    assert "unfinished" not in (tmp_path / "a" / "index.html").read_text()
    invoke(*TRAIN, "--root", tmp_path / "b")
    assert torch.equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not list(tmp_path.rglob("*.pt"))


def test_an_unfinished_training_with_other_settings_is_reported(monkeypatch, tmp_path, tiny_data):
    with monkeypatch.context() as patched:
        patched.setattr(cli, "write", interrupt)
        invoke(*TRAIN, "--root", tmp_path, status=130)
    longer = replace(training.RECIPES["fast", "mnist"], epochs=3)
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), longer)
    stderr = invoke(*TRAIN, "--root", tmp_path, status=2).stderr
    assert "epochs is 2 there, 3 here" in stderr
    assert "delete it to train from the beginning" in stderr


def test_a_nan_or_infinite_loss_is_reported(monkeypatch, tmp_path, tiny_data):
    diverging = replace(training.RECIPES["fast", "mnist"], learning_rate=3e38)
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), diverging)
    stderr = invoke("train", "mnist", "--root", tmp_path, status=2).stderr
    assert "Error: The loss is infinite or nan" in stderr
    assert not list(tmp_path.iterdir())


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        cwd=PROJECT, env=os.environ | environment, capture_output=True, check=False,
    )  # fmt: skip


def test_the_offered_names_are_the_existing_ones():
    assert set(cli.DATASETS) == set(data.SPECS)
    assert {(name, dataset) for name in cli.RECIPES for dataset in cli.DATASETS} == set(
        training.RECIPES
    )


def test_help_lists_the_commands_and_version_is_the_package_s():
    shown = invoke("-h").stdout
    for name in ("run", "train", "audit", "predict", "sweep", "report", "doctor", "runs"):
        assert re.search(rf"\b{name} ", shown)
    assert invoke("--version").stdout.strip() == helpers.__version__


def test_the_console_script_is_the_command_line():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["digits"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


@pytest.mark.slow
def test_a_wrong_name_gets_a_suggestion_before_torch_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = command("train", "mnst", PYTHONPATH=path)
    message = (
        "There is no data set 'mnst'. Did you mean 'mnist'? Choose one of: mnist, fashion_mnist."
    )
    assert (done.returncode, done.stderr.decode().strip()) == (2, f"Error: {message}")
    done = command("run", "--profile", "quik", PYTHONPATH=path)
    assert done.returncode == 2
    assert "Did you mean 'quick'?" in done.stderr.decode()


def test_a_notebook_may_be_selected_by_its_number_alone(tmp_path, faked):
    stdout = invoke("run", "--root", tmp_path, "--only", 2, "-p", "2.epochs=3").stdout
    assert "02_train_mnist" in stdout


@pytest.mark.parametrize("address", ["https://example/x", "HTTPS://example/x", "s3://b/x"])
def test_a_url_is_refused_as_the_folder_of_runs(address):
    stderr = invoke("runs", "--root", address, status=2).stderr
    assert "Expected a local path for --root" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_missing_in_the_console_encoding_are_replaced(encoding):
    for arguments in (["--help"], ["train", "--help"], ["recipes"]):
        done = command(*arguments, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(encoding)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="root may write in all other folders")
def test_doctor_prints_its_advice_on_a_console_without_arrows():
    done = command("doctor", "--root", "/proc/runs", PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (1, b"")
    assert f"{'':30}? Choose another folder with --root." in done.stdout.decode("cp1252")


@pytest.mark.slow
def test_narrow_terminals_and_no_color_are_respected(tmp_path):
    out = command("train", "--help", COLUMNS="60", NO_COLOR="1").stdout.decode()
    assert max(map(len, out.splitlines())) <= 60
    assert "\x1b" not in out


@pytest.mark.slow
def test_with_json_stdout_holds_only_json(tmp_path):
    trained = command("train", "mnist", "--recipe", "sprint", "--json", "--root", str(tmp_path))
    record = json.loads(trained.stdout)
    assert record["measured"]["test_accuracy"] > 0.97
    assert (record["state"], record["epochs"], record["planned_epochs"]) == ("finished", 1, 1)
    assert "test accuracy" in trained.stderr.decode()
    findings = json.loads(invoke("doctor", "--json", "--root", tmp_path, status=None).stdout)
    assert {"what", "found", "remedy", "optional", "state"} == set(findings[0])
    rows = json.loads(invoke("recipes", "--json").stdout)
    (fast,) = (row for row in rows if (row["recipe"], row["dataset"]) == ("fast", "mnist"))
    assert (fast["parameters"], fast["epochs"]) == (20_498, 1)


@pytest.mark.slow
def test_outside_a_clone_the_error_says_how_to_install(tmp_path):
    shutil.copytree(PROJECT / "helpers", tmp_path / "helpers")
    done = subprocess.run(
        [sys.executable, "-m", "helpers", "runs"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "In a clone: pip install --editable ." in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["helpers"]


@pytest.fixture
def trained(monkeypatch, tmp_path, tiny_data):
    """The folder of runs with one training; the working directory is empty."""
    invoke(*TRAIN, "--root", tmp_path / "runs")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "runs"


@pytest.mark.medium
def test_a_run_is_exported_with_the_notes_of_its_checkpoint(trained):
    done = invoke("export", "fast", "--to", "onnx", "--root", trained)
    line = r"Wrote mnist-linear.onnx \(\d\d kB\). .* by at most \d.\de-\d\d\.\n"
    assert re.fullmatch(line, done.stdout)
    assert done.stderr == ""
    (weights,) = trained.rglob("weights.safetensors")
    invoke("export", weights, "--to", "safetensors", "--out", trained)
    notes = models.read_metadata(trained / "mnist-linear.safetensors")["notes"]
    assert notes == models.read_metadata(weights)["notes"] | {"class_names": list("0123456789")}


@pytest.mark.medium
def test_shipped_models_of_the_same_network_are_exported_to_two_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "small"):
        invoke("export", f"mnist/{name}", "--to", "safetensors")
    assert sorted(map(str, Path().glob("*"))) == [
        "mnist-small.safetensors", "mnist-tiny.safetensors"
    ]  # fmt: skip


def test_a_shipped_model_is_exported(trained):
    invoke("export", "mnist/tiny_vgg", "--to", "torchscript")
    assert Path("mnist-tiny_vgg.pt").is_file()


@pytest.mark.parametrize(
    ("run", "to", "message"),
    [
        ("mnist/tiny_vg", "onnx", "Shipped are: fashion_mnist/accurate"),
        ("none.safetensors", "onnx", "There is no checkpoint at none.safetensors"),
        ("fast", "coreml", "There is no format 'coreml'"),
        ("audit", "onnx", "Expected one file of weights in 'audit', got: none."),
    ],
)
def test_an_impossible_export_is_refused_in_one_line(trained, run, to, message):
    runs.save(trained / "audit" / "n", notebook="n", dataset=data.MNIST, parameters={}, measured={})
    stderr = invoke("export", run, "--to", to, "--root", trained, status=2).stderr
    assert message in stderr
    assert stderr.count("\n") == 1
    assert list(Path().iterdir()) == []


OWN = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, size, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, num_classes))

    def forward(self, images):
        return self.layers(images)
"""


@pytest.mark.medium
def test_a_model_of_a_custom_class_is_exported_with_the_code_option(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(OWN)
    model = models.build("net.py:Net", channels=3, size=16, num_classes=2, mean=0.5, std=0.2)
    models.save(model, "own.safetensors", dataset="birds", class_names=["tit", "jay"])
    words = ("export", "own.safetensors", "--to")
    assert "on the command line, use --code" in invoke(*words, "onnx", status=2).stderr
    invoke(*words, "onnx", "--code", "net.py:Net")
    assert Path("birds-Net.onnx").is_file()
    invoke(*words, "safetensors", "--code", "net.py:Net")
    assert models.read_metadata("birds-Net.safetensors")["notes"]["class_names"] == ["tit", "jay"]


def test_an_audit_records_a_model_of_ones_own(monkeypatch, tmp_path, tiny_data):
    net = tmp_path / "net.py"
    net.write_text("from helpers.models import Linear\n")
    monkeypatch.setattr(data, "load_published", lambda _: (tiny_data.train, tiny_data.test))
    monkeypatch.setattr(data, "load_splits", lambda _: tiny_data)
    invoke(*AUDIT, "--model", f"{net}:Linear", "--root", tmp_path)
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert row["parameters.model"] == f"{net}:Linear"


@pytest.mark.parametrize("command", ["train", "audit"])
def test_two_channels_are_refused(command, tmp_path):
    stderr = invoke(command, tmp_path, "--channels", 2, status=2).stderr
    assert "'2' is not one of '1', '3'" in stderr


def test_the_formats_in_the_help_are_those_of_the_models():
    assert tuple(models.FORMATS) == model_commands.FORMATS
