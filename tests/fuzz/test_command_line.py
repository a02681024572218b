"""The command line: exit status 0, 1 or 2, no traceback, and nothing written outside --root."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers import data, headless, runs
from helpers.headless import cli, terminal
from tests.fuzz import TEXTS, fuzz, quick_and_long

pytestmark = pytest.mark.filterwarnings("ignore")
COMMANDS = (
    ["runs"], ["runs", "show"], ["runs", "compare"], ["runs", "rm", "--yes"], ["report"], ["run"],
    ["train"], ["audit"], ["sweep", "--dry-run"], ["predict"], ["export"], ["explore"], [],
)  # fmt: skip
OPTIONS = (
    "--json", "--last", "--best", "--sort", "--profile", "-p", "--only", "--dataset", "--resume",
    "--recipe", "--seed", "--precision", "--size", "--channels", "--skip-broken", "--folds",
    "--seeds", "--grid", "--range", "--random", "--plan", "--to", "--language", "--title",
    "--model", "--cell-timeout", "--device", "--help", "--version", "--author", "--retries",
)  # fmt: skip
WORDS = st.sampled_from([
    "03", "02.epochs=3", "seed=0:5", "seed=0:99999999999", "learning_rate=0.1:1e999", "mnist",
    "../outside", "20261126-090000-quick", "02_train_mnist", "html", "md", "en", "id", "when",
    "cpu", "3", "99999999999999999999", "nan", "./pictures", "/dev/null", "quick", "fast", "test",
])  # fmt: skip
FREE = (TEXTS | st.text(max_size=5)).filter(lambda text: not text.startswith("/"))  # relative
ARGUMENTS = st.lists(st.sampled_from(OPTIONS) | WORDS | FREE, max_size=5)


class Runner(CliRunner):
    """A runner whose streams are set up as in `main`."""

    @contextmanager
    def isolation(self, *about: Any, **options: Any) -> Iterator[Any]:
        with super().isolation(*about, **options) as streams:
            terminal.prepare_streams()
            yield streams


@quick_and_long()
def test_any_arguments_end_in_a_status_and_change_only_the_root(tmp_path, monkeypatch, tries):
    root, cwd = tmp_path / "inside" / "runs", tmp_path / "inside" / "here"
    outside = tmp_path / "inside" / "outside"
    cwd.mkdir(parents=True)
    (cwd / "pictures" / "a").mkdir(parents=True)
    for folder in (root / "20261126-090000-quick", outside):
        runs.save(
            folder / "02_train_mnist", notebook="02_train_mnist", dataset=data.MNIST,
            parameters={"seed": 0}, measured={"test_accuracy": 0.9},
        )  # fmt: skip
    monkeypatch.chdir(cwd)

    def start(*_: object, **__: object) -> None:
        raise OSError("here the work would begin")

    monkeypatch.setattr(headless, "run_notebooks", start)
    monkeypatch.setattr(data, "load_splits", start)
    kept = {path for path in tmp_path.rglob("*") if root not in path.parents}

    def check(command: list[str], arguments: list[str]) -> None:
        words = [*command, *arguments, "--root", str(root)] if command else arguments
        done = Runner().invoke(cli.app, words)
        assert done.exit_code in (0, 1, 2), done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        assert {path for path in tmp_path.rglob("*") if root not in path.parents} == kept

    fuzz(check, st.sampled_from(COMMANDS), ARGUMENTS, tries=tries)
