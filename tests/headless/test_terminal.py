"""Shared by the commands: an argument that is one of several names."""

import sys

import pandas as pd
import pytest
import typer

from helpers.headless import terminal


@pytest.fixture
def argument() -> dict:
    """An iterator of names, as of a dictionary's keys, and folders."""
    return terminal.one_of("data set", iter(["mnist", "fashion_mnist"]), or_folder=True)


def test_help_and_completion_list_the_available_names(argument):
    assert argument["metavar"] == "mnist|fashion_mnist|FOLDER"
    assert argument["autocompletion"]("m") == ["mnist"]
    assert argument["autocompletion"]("") == ["mnist", "fashion_mnist"]
    assert terminal.one_of("format", ["html", "pdf"])["metavar"] == "html|pdf"


def test_names_and_paths_are_accepted(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    for value in ("mnist", "pets", "no/where"):
        assert argument["callback"](value) == value


TABLE = pd.DataFrame(
    {
        "name": ["[b]x[/b] :smile:", "y"],
        "time": ["7 s", "12 s"],
        "seed": ["1", ""],
        5: ["", "b2"],
        "all": ["2b", "b"],
    },
    index=[3, 4],
)


def test_a_table_is_plain_text_with_numbers_on_the_right(capsys):
    terminal.print_table(TABLE)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "name              time  seed  5   all",
        "[b]x[/b] :smile:   7 s     1      2b",
        "y                 12 s        b2  b",
    ]


@pytest.mark.parametrize(("cell", "lines"), [("x" * 495, 2), ("x" * 501, 3)])
def test_a_table_in_a_file_is_500_characters_wide(capsys, cell, lines):
    terminal.print_table(pd.DataFrame({"a": [cell], "n": ["12"]}))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == lines
    assert printed.count("x") == len(cell)


@pytest.mark.parametrize(("seen", "shown"), [(True, True), (False, "log")])
def test_long_work_shows_a_bar_in_a_terminal_and_prints_lines_elsewhere(monkeypatch, seen, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: seen)
    assert terminal.show_progress() is shown


def test_a_table_is_as_wide_as_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.print_table(pd.DataFrame({"a": ["x" * 70]}))
    assert [line.count("x") for line in capsys.readouterr().out.splitlines()] == [0, 40, 30]


def test_an_unknown_name_is_refused(argument, capsys):
    only = terminal.one_of("recipe", ["fast"])
    for check, value, message in (
        (argument["callback"], "mnits", "data set 'mnits'. Did you mean 'mnist'?"),
        (only["callback"], "no/where", "recipe 'no/where'. Choose one of: fast."),
    ):
        with pytest.raises(typer.Exit) as caught:
            check(value)
        assert caught.value.exit_code == 2
        assert f"Error: There is no {message}" in capsys.readouterr().err
