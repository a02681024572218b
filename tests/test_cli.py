import json

import pytest

from helpers import __main__ as cli
from helpers import data, report, runs, series
from helpers.series import Outcome


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
            return Outcome(name, "failed", 1.0, "cell [3] raised ValueError: no")
        runs.save(
            folder / name,
            notebook=name,
            dataset=data.MNIST,
            parameters=given,
            measured={"test_accuracy": 0.99},
        )
        return Outcome(name, "done", 1.0)

    monkeypatch.setattr(series, "execute", execute)
    monkeypatch.setattr(report, "_export", lambda executed: (executed, []))
    return failing


def test_a_run_ends_with_the_table_and_the_page(monkeypatch, tmp_path, capsys, faked):
    assert invoke(monkeypatch, "run", "--root", str(tmp_path), "-p", "02.epochs=3") == 0
    printed = capsys.readouterr().out
    assert "02_train_mnist           done" in printed
    assert "99.00%    98%" in printed
    (folder,) = tmp_path.iterdir()
    assert f"Read it at {folder / 'index.html'}" in printed
    assert (
        json.loads((folder / "02_train_mnist/result.json").read_text())["parameters"]["epochs"] == 3
    )


def test_a_failure_is_named_and_the_exit_status_is_not_0(monkeypatch, tmp_path, capsys, faked):
    faked.add("03_train_fashion_mnist")
    assert invoke(monkeypatch, "run", "--root", str(tmp_path)) == 1
    captured = capsys.readouterr()
    line = "03_train_fashion_mnist   failed          1 s  cell [3] raised ValueError: no"
    assert line in captured.out
    assert "04_error_analysis        skipped" in captured.out
    assert "02_train_mnist           done" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "huge"), "no profile 'huge'"),
        (("-p", "02.epoch=3"), "no parameter 'epoch'"),
        (("-p", "02.epochs=x"), "is of type int"),
        (("--only", "09"), "no notebook '09'"),
    ],
)
def test_bad_arguments_end_before_anything_is_made(
    monkeypatch, tmp_path, capsys, arguments, message
):
    assert invoke(monkeypatch, "run", "--root", str(tmp_path / "runs"), *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_to_is_told(monkeypatch, tmp_path, capsys, faked):
    (tmp_path / "file").write_text("in the way")
    assert invoke(monkeypatch, "run", "--root", str(tmp_path / "file")) == 2
    assert "Error: Cannot make the folder" in capsys.readouterr().err


def test_ctrl_c_ends_with_its_own_status(monkeypatch, tmp_path, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "execute", interrupt)
    assert invoke(monkeypatch, "run", "--root", str(tmp_path)) == 130
    assert "What was finished is kept" in capsys.readouterr().err


def test_runs_are_listed(monkeypatch, tmp_path, capsys, faked):
    invoke(monkeypatch, "run", "--root", str(tmp_path), "--only", "02")
    capsys.readouterr()
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path)) == 0
    assert "02_train_mnist" in capsys.readouterr().out
    assert invoke(monkeypatch, "runs", "--root", str(tmp_path / "none")) == 2
