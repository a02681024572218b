"""What the commands share: an argument that has one of some names."""

import pytest
import typer

from helpers.headless import terminal


@pytest.fixture
def argument() -> dict:
    """An iterator of names, as of a dictionary's keys, and folders."""
    return terminal.one_of("data set", iter(["mnist", "fashion_mnist"]), or_folder=True)


def test_help_and_completion_name_what_there_is(argument):
    assert argument["metavar"] == "mnist|fashion_mnist|FOLDER"
    assert argument["autocompletion"]("m") == ["mnist"]
    assert argument["autocompletion"]("") == ["mnist", "fashion_mnist"]
    assert terminal.one_of("format", ["html", "pdf"])["metavar"] == "html|pdf"


def test_names_and_paths_are_taken(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    for value in ("mnist", "pets", "no/where"):
        assert argument["callback"](value) == value


def test_another_name_is_refused_in_a_line(argument, capsys):
    only = terminal.one_of("recipe", ["fast"])
    for check, value, meant in (
        (argument["callback"], "mnits", "data set 'mnits'. Did you mean 'mnist'?"),
        (only["callback"], "no/where", "recipe 'no/where'. Choose one of: fast."),
    ):
        with pytest.raises(typer.Exit) as caught:
            check(value)
        assert caught.value.exit_code == 2
        assert f"Error: There is no {meant}" in capsys.readouterr().err
