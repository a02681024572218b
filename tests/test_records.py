"""The pages of long measurements say with which code they were made, and none is too old."""

import json
import re

import pytest

from helpers.files import PROJECT
from tests import mutants, records

OLDER = "older version of the code"  # a page that has not been measured anew yet says so


def recorded() -> dict[str, dict]:
    """The records of each page that has one."""
    return json.loads(records.RECORDS.read_text()) if records.RECORDS.exists() else {}


@pytest.mark.parametrize("name", ["faults", "matrix"])
def test_a_page_is_as_old_as_it_says_and_not_too_old(name):
    text = (PROJECT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    if OLDER in text:
        assert name not in recorded()
        return
    record = recorded()[name]
    assert f"commit {record['commit'][:12]}" in text
    changed = records.changed(record["code"])
    assert len(changed) <= records.MAY_CHANGE, f"make {name}: {', '.join(changed)} changed since"


def test_the_mutants_are_of_every_module_and_not_too_old():
    text = mutants.PAGE.read_text(encoding="utf-8")
    if OLDER in text:
        assert not mutants.RECORD.exists()
        return
    record = json.loads(mutants.RECORD.read_text(encoding="utf-8"))
    found = re.search(r"Not measured yet: (.*)\.", text)
    missing = set(found[1].split(", ")) if found else set()
    assert {f"`{name}`" for name in set(records.behaviour()) - set(record)} == missing
    codes = {name: entry["code"] for name, entry in record.items()}
    changed = sorted(set(records.changed(codes)) & set(record))
    names = ", ".join(changed)
    assert len(changed) <= records.MAY_CHANGE, f"make mutants ARGS='helpers.NAME*': {names}"


def test_comments_docstrings_and_formatting_change_no_digest():
    plain = 'def f(a, b):\n    "doc"\n    return a + b\n'
    other = "def f(\n    a, b\n):  # sum\n    'another\n    doc'\n    return a+b\n"
    other = other.replace("'", "'" * 3)
    assert records.digest(plain) == records.digest(other)
    assert records.digest(plain) != records.digest(plain.replace("+", "-"))


def test_a_changed_module_and_a_new_one_are_named(monkeypatch):
    monkeypatch.setattr(records, "behaviour", lambda: {"a": "1", "b": "2", "c": "3"})
    assert records.changed({"a": "1", "b": "0", "gone": "4"}) == ["b", "c"]


def test_a_note_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records.json")
    records.note("matrix", {"a": "1"}, "abc")
    records.note("faults", {"a": "2"}, "def")
    kept = json.loads((tmp_path / "records.json").read_text())
    assert {name: (r["commit"], r["code"]) for name, r in kept.items()} == {
        "matrix": ("abc", {"a": "1"}), "faults": ("def", {"a": "2"}),
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["faults"]["date"])
