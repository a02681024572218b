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
from helpers.headless import NotebookResult, cli, model_commands, runner
from helpers.training import EpochRecord


def invoke(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["helpers", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.app()
    return caught.value.code or 0


@pytest.fixture
def faked(monkeypatch):
    """Notebooks that take no time: each leaves a record, unless its name is in `failing`."""
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


def test_a_run_ends_with_the_table_and_the_page(monkeypatch, tmp_path, capsys, faked):
    assert invoke(monkeypatch, "run", "--root", str(tmp_path), "-p", "02.epochs=3") == 0
    printed = capsys.readouterr().out
    assert "02_train_mnist           finished" in printed
    assert re.search(r"99\.00% +98%", printed)
    (folder,) = tmp_path.glob("*/")
    assert f"Read it at {folder / 'index.html'}" in printed
    page = (folder / "index.html").read_text()
    assert page.count("✓ finished</span>") == len(headless.SERIES)
    assert page.count(">99.00 %</td>") > 3  # of some notebooks other values stand there
    assert "MNIST, standard profile" in page
    assert f'href="{folder.name}/index.html"' in (tmp_path / "index.html").read_text()
    assert (
        json.loads((folder / "02_train_mnist/result.json").read_text())["parameters"]["epochs"] == 3
    )


def test_a_damaged_record_is_told_in_a_line_and_the_pages_are_there(
    monkeypatch, tmp_path, capsys, faked
):
    def damaged(name, folder, given, **_):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text("{")
        return NotebookResult(name, "finished", 1.0)

    monkeypatch.setattr(runner, "execute_notebook", damaged)
    assert invoke(monkeypatch, "run", "--root", str(tmp_path), "--only", "2") == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "is not a record of a run" in told
    assert "✗ damaged" in next(tmp_path.glob("*/index.html")).read_text()


def test_a_failure_is_named_and_the_exit_status_is_not_0(monkeypatch, tmp_path, capsys, faked):
    faked.add("03_train_fashion_mnist")
    assert invoke(monkeypatch, "run", "--root", str(tmp_path)) == 1
    captured = capsys.readouterr()
    line = "03_train_fashion_mnist   failed          1 s  cell [3] raised ValueError: no"
    assert line in captured.out
    (folder,) = tmp_path.glob("*/")
    executed = folder / "03_train_fashion_mnist" / "03_train_fashion_mnist.ipynb"
    assert f"{line}; see {executed}" in captured.out
    assert "The same command with --resume" in captured.err
    assert "04_error_analysis        skipped" in captured.out
    assert "02_train_mnist           finished" in captured.out


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
def test_bad_arguments_end_before_anything_is_made(
    monkeypatch, tmp_path, capsys, arguments, message
):
    assert invoke(monkeypatch, "run", "--root", str(tmp_path / "runs"), *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_to_is_reported(monkeypatch, tmp_path, capsys, faked):
    (tmp_path / "file").write_text("in the way")
    assert invoke(monkeypatch, "run", "--root", str(tmp_path / "file")) == 2
    assert "Error: Cannot create" in capsys.readouterr().err


def test_ctrl_c_ends_with_its_own_status(monkeypatch, tmp_path, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "execute_notebook", interrupt)
    assert invoke(monkeypatch, "run", "--root", str(tmp_path)) == 130
    assert "Finished notebooks are saved" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once, without a signal")
def test_a_run_that_was_stopped_goes_on_with_what_is_left(monkeypatch, tmp_path, capsys, faked):
    executed, execute, before = [], runner.execute_notebook, signal.getsignal(signal.SIGTERM)

    def stopped(name, *arguments, **settings):
        if name == "02_train_mnist":
            os.kill(os.getpid(), signal.SIGTERM)
        return execute(name, *arguments, **settings)

    told = ("run", "--root", str(tmp_path), "--profile", "quick")
    with monkeypatch.context() as patched:
        patched.setattr(runner, "execute_notebook", stopped)
        assert invoke(patched, *told) == 128 + signal.SIGTERM
    (folder,) = tmp_path.glob("*/")
    status = json.loads((folder / "status.json").read_text())["notebooks"]
    assert [(entry["state"], entry["message"]) for entry in status] == [
        ("finished", ""),
        ("stopped", "by SIGTERM"),
    ]
    assert "add --resume to continue" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before

    def counted(name, *arguments, **settings):
        executed.append(name)
        return execute(name, *arguments, **settings)

    monkeypatch.setattr(runner, "execute_notebook", counted)
    assert invoke(monkeypatch, *told, "--resume") == 0
    assert f"Resuming {folder}" in capsys.readouterr().out
    assert executed == [notebook.name for notebook in headless.SERIES[1:]]
    assert list(tmp_path.glob("*/")) == [folder]
    assert invoke(monkeypatch, *told, "--resume") == 2
    assert "Nothing to resume" in capsys.readouterr().err
    assert invoke(monkeypatch, "run", "--root", str(tmp_path), "--resume") == 2
    assert "Start one without --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "with --root"), (errno.EACCES, "with --root"),
    ],
)  # fmt: skip
def test_a_full_or_read_only_disk_is_reported_with_a_remedy(
    monkeypatch, tmp_path, capsys, number, remedy
):
    def full(*_, **__):
        raise OSError(number, os.strerror(number), "status.json")

    monkeypatch.setattr(headless, "run_notebooks", full)
    assert invoke(monkeypatch, "run", "--root", str(tmp_path)) == 2
    told = capsys.readouterr().err
    assert os.strerror(number) in told
    assert "status.json" in told
    assert remedy in told


def test_runs_are_listed(monkeypatch, tmp_path, capsys, faked):
    invoke(monkeypatch, "run", "--root", str(tmp_path), "--only", "02")
    capsys.readouterr()
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path)) == 0
    heading, row = capsys.readouterr().out.strip().splitlines()
    assert heading.split()[:3] == ["run", "when", "what"]
    assert "02_train_mnist" in row
    (tmp_path / "nothing yet").mkdir()
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path / "nothing yet")) == 0
    assert capsys.readouterr().out.startswith("There are no runs in")
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path / "none")) == 2


@pytest.fixture
def tiny_data(monkeypatch, tiny):
    splits = data.Splits(train=tiny, validation=tiny[:20], test=tiny[20:], spec=data.MNIST)
    monkeypatch.setattr(data, "load_splits", lambda name: splits)
    recipe = training.Recipe(
        model="linear", epochs=2, batch_size=10, learning_rate=0.01, source="", measured=""
    )
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), recipe)
    return splits


def test_training_by_a_recipe_leaves_weights_history_and_record(
    monkeypatch, tmp_path, capsys, tiny_data
):
    assert (
        invoke(
            monkeypatch, "train", "mnist", "--seed", "3", "--device", "cpu", "--root", str(tmp_path)
        )
        == 0
    )
    told = capsys.readouterr().out
    (run,) = tmp_path.glob("*/")
    made = run / "train_mnist"
    model = models.load(made / "weights.safetensors", dataset="mnist")
    accuracy = evaluation.accuracy(evaluation.predict(model, tiny_data.test))
    assert f"test accuracy {accuracy:.2%}" in told
    assert f"fast on MNIST, cpu, {platform.machine()}" in told
    assert told.count("validation loss") == 2
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert row["measured.test_accuracy"] == accuracy
    assert (row["parameters.recipe"], row["parameters.seed"], row["epochs"]) == ("fast", 3, 2)
    assert row["parameters.precision"] in ("float32", "bfloat16")
    assert "parameters.source" not in row
    assert (made / "history.csv").read_text().count("\n") == 3
    assert "augmentation" not in told  # the recipe neither shifts nor flips
    assert "measured.test_accuracy_tta" not in row
    assert run.name in (tmp_path / "index.html").read_text()


def test_test_time_augmentation_is_reported_apart(monkeypatch, tmp_path, capsys, tiny_data):
    shifted = replace(training.RECIPES["fast", "mnist"], augmentation=Augmentation(shift=1))
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), shifted)
    told = ("train", "mnist", "--device", "cpu", "--root", str(tmp_path))
    assert invoke(monkeypatch, *told) == 0
    (path,) = tmp_path.rglob("weights.safetensors")
    predicted = evaluation.predict_tta(models.load(path), tiny_data.test, Augmentation(shift=1))
    accuracy = evaluation.accuracy(predicted)
    assert f"{accuracy:.2%} with test-time augmentation" in capsys.readouterr().out
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert row["measured.test_accuracy_tta"] == accuracy
    assert 0 <= row["measured.validation_accuracy_tta"] <= 1


def test_a_model_trained_on_validation_is_not_evaluated_on_it(monkeypatch, tmp_path, tiny_data):
    whole = replace(
        training.RECIPES["fast", "mnist"],
        train_on_validation=True,
        augmentation=Augmentation(shift=1),
    )
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), whole)
    assert invoke(monkeypatch, "train", "mnist", "--device", "cpu", "--root", str(tmp_path)) == 0
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert {name for name in row if name.startswith("measured.")} == {
        "measured.test_accuracy",
        "measured.test_accuracy_tta",
    }
    (told,) = runs.summary(runs.collect(tmp_path)).to_dict("records")
    assert told["validation"] == ""


def test_each_epoch_but_the_last_tells_how_long_the_rest_will_take(
    monkeypatch, tmp_path, capsys, tiny_data
):
    seconds = property(lambda _: 75.0, lambda *_: None)
    monkeypatch.setattr(EpochRecord, "seconds", seconds, raising=False)
    assert invoke(monkeypatch, "train", "mnist", "--device", "cpu", "--root", str(tmp_path)) == 0
    first, last = (line for line in capsys.readouterr().out.splitlines() if "validation" in line)
    assert first.endswith("75.0 s   01:15 left")
    assert last.endswith("75.0 s")


def test_an_audit_leaves_lists_a_page_and_a_record(monkeypatch, tmp_path, capsys, tiny_data):
    monkeypatch.setattr(data, "load_published", lambda _: (tiny_data.train, tiny_data.test))
    told = ("--folds", "2", "--seeds", "1", "--device", "cpu", "--root", str(tmp_path))
    assert invoke(monkeypatch, "audit", "mnist", *told) == 0
    (made,) = tmp_path.glob("*-audit/audit_mnist")
    assert {path.name for path in made.iterdir()} == {
        "index.html",
        "labels.csv",
        "labels.json",
        "result.json",
    }
    labels = len(tiny_data.train) + len(tiny_data.test)
    assert (made / "labels.csv").read_text().count("\n") == 1 + labels
    assert str(made / "index.html") in capsys.readouterr().out
    (row,) = runs.collect(tmp_path).to_dict("records")
    assert (row["parameters.folds"], row["notebook"]) == (2, "audit_mnist")
    assert row["measured.accuracy_as_given"] <= 1
    assert made.parent.name in (tmp_path / "index.html").read_text()


DOCUMENTED = {  # on docs/command-line.md, which says that names are only added
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
def test_with_json_a_command_prints_nothing_but_json_with_the_names_of_its_page(
    monkeypatch, tmp_path, capsys, tiny_data, call
):
    monkeypatch.setattr(data, "load_published", lambda _: (tiny_data.train, tiny_data.test))
    runs.save(
        tmp_path / "known", notebook="train_mnist", dataset=data.MNIST, parameters={},
        measured={"test_accuracy": 0.9},
    )  # fmt: skip
    more = {
        "train": ("mnist", "--device", "cpu"), "runs show": ("known",),
        "audit": ("mnist", "--folds", "2", "--seeds", "1", "--device", "cpu"),
    }.get(call, ())  # fmt: skip
    root = () if call == "recipes" else ("--root", str(tmp_path))
    invoke(monkeypatch, *call.split(), *more, *root, "--json")
    printed = json.loads(capsys.readouterr().out)
    rows = printed if isinstance(printed, list) else [printed]
    assert rows
    for row in rows:
        assert row.keys() >= DOCUMENTED[call]


def test_an_audit_that_is_stopped_says_how_to_go_on(monkeypatch, tmp_path, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(labels, "run_audit", stopped)
    assert invoke(monkeypatch, "audit", "mnist", "--root", str(tmp_path)) == 130
    assert "The same command resumes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_seed_of_a_training_decides_its_weights(monkeypatch, tmp_path, tiny_data):
    def weights(seed: str, folder: str) -> torch.Tensor:
        told = ("mnist", "--seed", seed, "--device", "cpu", "--root", folder)
        assert invoke(monkeypatch, "train", *told) == 0
        (path,) = Path(folder).rglob("weights.safetensors")
        return models.load(path).state_dict()["classifier.1.weight"]

    first, again, other = (
        weights(seed, str(tmp_path / name)) for seed, name in (("1", "a"), ("1", "b"), ("2", "c"))
    )
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
def test_a_training_that_cannot_be_is_refused(monkeypatch, tmp_path, capsys, arguments, message):
    assert invoke(monkeypatch, "train", *arguments, "--root", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith(f"Error: {message}")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_is_not_tested_and_goes_on_when_it_is_asked_again(
    monkeypatch, tmp_path, capsys, tiny_data
):
    step, steps = torch.optim.SGD.step, []

    def press(*arguments):  # in the second of two epochs of seven batches
        steps.append(1)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return step(*arguments)

    def weights(root: Path) -> torch.Tensor:
        (path,) = root.glob("*/train_mnist/weights.safetensors")
        return models.load(path).state_dict()["classifier.1.weight"]

    told = ("train", "mnist", "--device", "cpu", "--root")
    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.SGD, "step", press)
        assert invoke(patched, *told, str(tmp_path / "a")) == 130
    assert "Not tested yet. The same command resumes." in capsys.readouterr().err
    assert not list((tmp_path / "a").rglob("result.json"))
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path / "a")) == 0
    (stopped,) = runs.collect(tmp_path / "a").to_dict("records")
    assert (stopped["state"], stopped["message"]) == ("stopped", "after 1 of 2 epochs")
    assert invoke(monkeypatch, *told, str(tmp_path / "a")) == 0
    assert capsys.readouterr().out.count("validation loss") == 1
    assert invoke(monkeypatch, *told, str(tmp_path / "b")) == 0
    assert torch.equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not list(tmp_path.rglob("*.pt"))


def test_an_unfinished_training_with_other_settings_is_reported(
    monkeypatch, tmp_path, capsys, tiny_data
):
    def press(*_, **__):
        raise KeyboardInterrupt

    told = ("train", "mnist", "--device", "cpu", "--root", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(cli, "write", press)
        assert invoke(patched, *told) == 130
    longer = replace(training.RECIPES["fast", "mnist"], epochs=3)
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), longer)
    assert invoke(monkeypatch, *told) == 2
    told_how = capsys.readouterr().err
    assert "epochs is 2 there, 3 here" in told_how
    assert "delete it to train from the beginning" in told_how


def test_a_loss_that_is_no_number_is_reported_in_a_line(monkeypatch, tmp_path, capsys, tiny_data):
    wild = replace(training.RECIPES["fast", "mnist"], learning_rate=3e38)
    monkeypatch.setitem(training.RECIPES, ("fast", "mnist"), wild)
    assert invoke(monkeypatch, "train", "mnist", "--root", str(tmp_path)) == 2
    assert "Error: The loss is infinite or nan" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        cwd=PROJECT, env=os.environ | environment, capture_output=True, check=False,
    )  # fmt: skip


def test_names_to_choose_from_are_those_that_there_are():
    assert set(cli.DATASETS) == set(data.SPECS)
    assert {(name, dataset) for name in cli.RECIPES for dataset in cli.DATASETS} == set(
        training.RECIPES
    )


def test_help_lists_the_commands_and_version_is_the_package_s(capsys, monkeypatch):
    assert invoke(monkeypatch, "-h") == 0
    shown = capsys.readouterr().out
    for name in ("run", "train", "audit", "predict", "sweep", "report", "doctor", "runs"):
        assert re.search(rf"\b{name} ", shown)
    assert invoke(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == helpers.__version__


def test_the_console_script_is_the_command_line():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["digits"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


@pytest.mark.slow
def test_what_is_meant_by_a_wrong_name_is_said_before_torch_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = command("train", "mnst", PYTHONPATH=path)
    told = "There is no data set 'mnst'. Did you mean 'mnist'? Choose one of: mnist, fashion_mnist."
    assert (done.returncode, done.stderr.decode().strip()) == (2, f"Error: {told}")
    done = command("run", "--profile", "quik", PYTHONPATH=path)
    assert done.returncode == 2
    assert "Did you mean 'quick'?" in done.stderr.decode()


def test_a_notebook_may_be_called_by_its_number_alone(monkeypatch, tmp_path, capsys, faked):
    arguments = ("run", "--root", str(tmp_path), "--only", "2", "-p", "2.epochs=3")
    assert invoke(monkeypatch, *arguments) == 0
    assert "02_train_mnist" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["https://example/x", "HTTPS://example/x", "s3://b/x"])
def test_the_runs_lie_in_a_folder_and_not_at_an_address(monkeypatch, capsys, address):
    assert invoke(monkeypatch, "runs", "--root", address) == 2
    assert "Expected a local path for --root" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_cannot_show_a_character_shows_another(encoding):
    for arguments in (["--help"], ["train", "--help"], ["recipes"]):
        done = command(*arguments, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(encoding)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="root may write in all other folders")
def test_a_console_without_arrows_shows_what_the_doctor_advises():
    done = command("doctor", "--root", "/proc/runs", PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (1, b"")
    assert f"{'':30}? Choose another folder with --root." in done.stdout.decode("cp1252")


@pytest.mark.slow
def test_narrow_terminals_and_no_color_are_heeded(tmp_path):
    out = command("train", "--help", COLUMNS="60", NO_COLOR="1").stdout.decode()
    assert max(map(len, out.splitlines())) <= 60
    assert "\x1b" not in out


@pytest.mark.slow
def test_json_is_all_that_is_printed(tmp_path, monkeypatch, capsys):
    trained = command("train", "mnist", "--recipe", "sprint", "--json", "--root", str(tmp_path))
    record = json.loads(trained.stdout)
    assert record["measured"]["test_accuracy"] > 0.97
    assert (record["state"], record["epochs"], record["planned_epochs"]) == ("finished", 1, 1)
    assert "test accuracy" in trained.stderr.decode()
    invoke(monkeypatch, "doctor", "--json", "--root", str(tmp_path))
    findings = json.loads(capsys.readouterr().out)
    assert {"what", "found", "remedy", "optional", "state"} == set(findings[0])
    invoke(monkeypatch, "recipes", "--json")
    (fast,) = (
        row for row in json.loads(capsys.readouterr().out)
        if (row["recipe"], row["dataset"]) == ("fast", "mnist")
    )  # fmt: skip
    assert (fast["parameters"], fast["epochs"]) == (20_498, 1)


@pytest.mark.slow
def test_away_from_a_clone_one_line_says_how_to_install(tmp_path):
    shutil.copytree(PROJECT / "helpers", tmp_path / "helpers")
    done = subprocess.run(
        [sys.executable, "-m", "helpers", "runs"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Install the project from its clone with `pip install --editable .`" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["helpers"]


@pytest.fixture
def trained(monkeypatch, tmp_path, capsys, tiny_data):
    """The folder of runs with one training; the working directory is empty."""
    invoke(monkeypatch, "train", "mnist", "--device", "cpu", "--root", str(tmp_path / "runs"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    capsys.readouterr()
    return tmp_path / "runs"


@pytest.mark.medium
def test_a_run_is_exported_with_the_notes_of_its_checkpoint(monkeypatch, capsys, trained):
    assert invoke(monkeypatch, "export", "fast", "--to", "onnx", "--root", str(trained)) == 0
    line = r"Wrote mnist-linear.onnx \(\d\d kB\). .* by at most \d.\de-\d\d\.\n"
    printed = capsys.readouterr()
    assert re.fullmatch(line, printed.out)
    assert printed.err == ""
    (weights,) = trained.rglob("weights.safetensors")
    told = ("export", str(weights), "--to", "safetensors", "--out", str(trained))
    assert invoke(monkeypatch, *told) == 0
    notes = models.read_metadata(trained / "mnist-linear.safetensors")["notes"]
    assert notes == models.read_metadata(weights)["notes"] | {"class_names": list("0123456789")}


def test_a_shipped_model_is_exported(monkeypatch, trained):
    assert invoke(monkeypatch, "export", "mnist/tiny_vgg", "--to", "torchscript") == 0
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
def test_what_cannot_be_exported_is_refused_in_a_line(
    monkeypatch, capsys, trained, run, to, message
):
    runs.save(trained / "audit" / "n", notebook="n", dataset=data.MNIST, parameters={}, measured={})
    assert invoke(monkeypatch, "export", run, "--to", to, "--root", str(trained)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
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
def test_a_model_of_a_class_of_ones_own_is_exported_with_its_code(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(OWN)
    model = models.build("net.py:Net", channels=3, size=16, num_classes=2, mean=0.5, std=0.2)
    models.save(model, "own.safetensors", dataset="birds", class_names=["tit", "jay"])
    told = ("export", "own.safetensors", "--to", "onnx")
    assert invoke(monkeypatch, *told) == 2
    assert "on the command line, use --code" in capsys.readouterr().err
    assert invoke(monkeypatch, *told, "--code", "net.py:Net") == 0
    assert Path("birds-Net.onnx").is_file()
    assert invoke(monkeypatch, *told[:-1], "safetensors", "--code", "net.py:Net") == 0
    assert models.read_metadata("birds-Net.safetensors")["notes"]["class_names"] == ["tit", "jay"]


@pytest.mark.parametrize("command", ["train", "audit"])
def test_pictures_of_two_channels_are_refused_before_anything_is_read(
    command, monkeypatch, capsys, tmp_path
):
    assert invoke(monkeypatch, command, str(tmp_path), "--channels", "2") == 2
    assert "'2' is not one of '1', '3'" in capsys.readouterr().err


def test_the_formats_in_the_help_are_those_of_the_models():
    assert tuple(models.FORMATS) == model_commands.FORMATS
