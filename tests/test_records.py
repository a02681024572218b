"""The pages of long measurements state the code that was measured, and none is too old."""

import json
import re
from collections import Counter

from helpers.files import PROJECT
from tests import matrix, mutants, records
from tests.conditions import CONDITIONS


def test_the_faults_record_is_recent_and_its_commit_is_on_the_page():
    text = (PROJECT / "docs" / "faults.md").read_text(encoding="utf-8")
    record = records.read()["faults"]
    assert f"commit {record['commit'][:12]}" in text
    changed = records.changed(record["code"])
    assert len(changed) <= records.MAY_CHANGE, f"make faults: {', '.join(changed)} changed since"


def test_each_recorded_condition_passed_recently_and_the_page_lists_the_rest():
    text = (PROJECT / "docs" / "matrix.md").read_text(encoding="utf-8")
    found = records.read()
    assert text.rstrip("\n").endswith("\n".join(matrix.page(found)))
    for name, record in found.items():
        if name.startswith(matrix.KIND):
            assert name.removeprefix(matrix.KIND) in CONDITIONS
            assert record["green"] == "yes", name
            changed = records.changed(record["code"])
            assert len(changed) <= records.MAY_CHANGE, f"{name}: {', '.join(changed)} changed"


def test_the_mutants_record_is_recent_and_the_page_names_missing_modules():
    text = mutants.PAGE.read_text(encoding="utf-8")
    record = json.loads(mutants.RECORD.read_text(encoding="utf-8"))
    missing = mutants.missing(record)
    assert missing in " ".join(text.split())
    assert bool(missing) == ("Not measured yet" in text)
    counts = sum((Counter(entry["counts"]) for entry in record.values()), Counter())
    assert missing or mutants.rate(counts) >= mutants.WANTED
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


def test_a_short_commit_keeps_the_dirty_suffix():
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert records.short(commit) == "0123456789ab"
    assert records.short(f"{commit}-dirty") == "0123456789ab-dirty"


def test_a_changed_module_and_a_new_one_are_named(monkeypatch):
    monkeypatch.setattr(records, "behavior", lambda: {"a": "1", "b": "2", "c": "3"})
    assert records.changed({"a": "1", "b": "0", "gone": "4"}) == ["b", "c"]


def test_a_new_record_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records.json")
    records.note("matrix", {"a": "1"}, "abc")
    records.note("faults", {"a": "2"}, "def")
    kept = json.loads((tmp_path / "records.json").read_text())
    assert {name: (r["commit"], r["code"]) for name, r in kept.items()} == {
        "matrix": ("abc", {"a": "1"}), "faults": ("def", {"a": "2"}),
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["faults"]["date"])
