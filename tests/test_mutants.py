"""The page of `make mutants`, from three mutants of one function; and the settings of mutmut."""

import ast
import json
import re
import tomllib

import pytest

from helpers.files import PROJECT
from tests import mutants

SOURCE = """\
def x_double__mutmut_orig(n):
    return 2 * n
def x_double__mutmut_1(n):
    return 3 * n
def x_double__mutmut_2(n):
    return 2 / n
def x_double__mutmut_3(n):
    return n * 2
"""


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "MUTATED", tmp_path)
    monkeypatch.setattr(mutants, "behavior", lambda: {"wing.a": "0123456789ab"})
    (tmp_path / "wing").mkdir()

    def write_results(*codes: int | None):
        names = ["orig", *range(1, 4)]
        spans = {f"x_double__mutmut_{name}": [2 * i + 1, 2 * i + 2] for i, name in enumerate(names)}
        keys = (f"helpers.wing.a.x_double__mutmut_{i}" for i in range(1, 4))
        (tmp_path / "wing" / "a.py").write_text(SOURCE)
        (tmp_path / "wing" / "a.py.spans").write_text(json.dumps({"spans": spans}))
        codes_by_key = dict(zip(keys, codes, strict=True))
        (tmp_path / "wing" / "a.py.meta").write_text(json.dumps({"exit_code_by_key": codes_by_key}))
        return tmp_path / "wing" / "a.py.meta"

    return write_results


def test_mutants_are_read_with_their_state(found):
    first, second, third = mutants.read(found(1, 36, 0))
    assert (first.module, first.function, first.number) == ("wing.a", "double", 1)
    assert [m.state for m in (first, second, third)] == ["killed", "timed out", "survived"]
    assert third.change == "return 2 * n → return n * 2"


def test_a_reason_is_looked_up_by_the_changed_lines(found, monkeypatch):
    *_, third = mutants.read(found(1, 1, 0))
    assert third.reason == ""
    reasons = [
        {"why": "of another", "patterns": ["^wing.b.double"]},
        {"why": "commutes", "patterns": [r"^wing.a.double: .*→ return n \* 2$"]},
        {"why": "too late", "patterns": [""]},
    ]
    monkeypatch.setattr(mutants, "REASONS", reasons)
    assert third.reason == "commutes"
    page = mutants.page(record([third]), "3")
    assert "| commutes | 1 |" in page


def record(found: list[mutants.Mutant], module: str = "wing.a") -> dict:
    return {module: mutants.make_record(found, "0123456789abcdef")}


def test_a_module_with_unfinished_mutants_is_not_counted(found):
    assert mutants.read(found(1, 1, None)) == []


def test_unexplained_survivors_and_untested_mutants_are_tried_again(found, monkeypatch):
    found(0, 1, 33)
    assert [*mutants.to_retest()] == [f"helpers.wing.a.x_double__mutmut_{i}" for i in (1, 3)]
    monkeypatch.setattr(mutants, "REASONS", [{"why": "tuned", "patterns": ["return"]}])
    assert [*mutants.to_retest()] == ["helpers.wing.a.x_double__mutmut_3"]


def test_a_time_out_counts_as_killed_and_code_without_a_test_does_not(found):
    page = mutants.page(record(mutants.read(found(1, -24, 33))), "3")
    assert "| wing.a | 3 | 1 | 1 | 0 | 1 | 66.7% | 0123456789ab |" in page
    assert "| **all** | 3 | 1 | 1 | 0 | 1 | 66.7% |  |" in page
    assert "| no reason | 1 |" in page


def test_results_are_kept_by_module(found, tmp_path, monkeypatch, capsys):
    """Results of modules that were not tested this time stay; those of deleted modules do not."""
    monkeypatch.setattr(mutants, "RECORD", tmp_path / "mutants.json")
    monkeypatch.setattr(mutants, "PAGE", tmp_path / "mutants.md")
    monkeypatch.setattr(mutants, "PROJECT", tmp_path)
    monkeypatch.setattr(mutants, "version", lambda name: "3")
    modules = ("__main__", "wing.a", "wing.b", "wing.c")
    monkeypatch.setattr(mutants, "behavior", lambda: dict.fromkeys(modules, "1"))
    (tmp_path / "mutants.md").write_text("<!-- Everything below is written by a test. -->\n")
    results = mutants.read(found(1, 1, 1))
    kept = {"wing.b": mutants.make_record(results, "b"), "gone": mutants.make_record(results, "c")}
    (tmp_path / "mutants.json").write_text(json.dumps(kept))
    with pytest.raises(SystemExit) as caught:
        mutants.main()
    assert caught.value.code == 1  # one module has not been tested
    assert "100.0% of 6 mutants are killed" in (output := capsys.readouterr().out)
    assert "Not measured yet: `wing.c`." in output
    kept = json.loads((tmp_path / "mutants.json").read_text())
    assert sorted(kept) == ["wing.a", "wing.b"]
    assert "| wing.b | 3 | 3 | 0 | 0 | 0 | 100.0% | b |" in (tmp_path / "mutants.md").read_text()


def test_every_module_is_mutated():
    """mutmut mutates all below its source paths, unless a setting such as do_not_mutate is set."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = settings["tool"]["mutmut"]
    assert not [name for name in settings if "mutate" in name]
    paths = [PROJECT / path for path in settings["source_paths"]]
    for module in (PROJECT / "helpers").rglob("*.py"):
        assert set(paths) & {module, *module.parents}, module
    arguments = settings["pytest_add_cli_args"]
    left_out = [
        argument.removeprefix("--ignore=")
        for argument in arguments
        if argument.startswith("--ignore=")
    ]
    assert [path for path in left_out if not (PROJECT / path).exists()] == []


def test_every_module_has_tests_that_mutmut_runs():
    """A module has the tests of its name, or is tested in another file."""
    other_files = {
        "data.pictures": "data/test_own_data.py",
        "headless.notebooks": "headless/test_plans.py",
        "headless.report_writer": "headless/test_report.py",
        "headless.terminal": "headless/test_cli.py",
        "training.history": "training/test_loop.py",
        "__main__": "headless/test_cli.py",
    }
    for module in (PROJECT / "helpers").rglob("*.py"):
        path = module.relative_to(PROJECT / "helpers")
        name = ".".join(path.with_suffix("").parts)
        if module.name != "__init__.py":  # these only import names
            tests = other_files.get(name, path.with_name(f"test_{path.name}").as_posix())
            assert (PROJECT / "tests" / tests).is_file(), name


def test_the_reasons_name_existing_functions():
    functions = set()
    for path in (PROJECT / "helpers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                functions |= {node.name, f"{path.stem}.{node.name}"}
            elif isinstance(node, ast.ClassDef):
                functions |= {f"{node.name}.{part}" for part in map(method, node.body) if part}
    for reason in mutants.REASONS:
        for pattern in reason["patterns"]:
            # "function: " at its start or after a "|"; after a parameter comes its type
            found = re.findall(r"(?:^|\|)([a-zA-Z][\w.]*|_\w+): (?!int\b|float\b|bool\b)", pattern)
            names = {".".join(name.split(".")[-2:]) for name in found}
            assert names <= functions, f"{sorted(names - functions)} in {pattern}"


def method(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ""
