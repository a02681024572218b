"""Run folders, the file of bands, and bets: damage is reported, and texts are shown as text."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from hypothesis import strategies as st

from helpers import claims, data, headless, models, runs
from helpers.data import Splits
from helpers.headless import report_writer, student_report
from helpers.training import EpochRecord, History
from tests import halves
from tests.conftest import predictions_from
from tests.fuzz import (
    LEAVES,
    Refused,
    altered,
    attempt,
    damaged,
    fuzz,
    json_files,
    quick_and_long,
    write_pages_quickly,
)

NOTEBOOK, TRAINING, AUDIT = "01_explore", "02_train_mnist", "audit_pets"
SETTINGS = {TRAINING: {"seed": 0}, NOTEBOOK: {}}
OWN = replace(data.MNIST, name="pets")
RECORDS = (*(f"{name}/result.json" for name in (TRAINING, NOTEBOOK, AUDIT)), "status.json")
TABLES = (f"{TRAINING}/history.csv", f"{TRAINING}/predictions.csv", f"{AUDIT}/labels.csv")
LABELS = """split,image,label,suggested,verdict
test,7,<script>alert(1)</script>,dog"><b>,label doubtful
train,3,cat,"a dog, or an eel",label doubtful
test,8,5,3,class ambiguous
"""


def write_run(folder: Path) -> None:
    """A notebook, a training and an audit of labels, small enough to be read often."""
    history = History([EpochRecord(e, 0.5, 0.8, 0.4, 0.9, 0.1, 1.5) for e in (1, 2)], 2)
    runs.save(
        folder / TRAINING, notebook=TRAINING, dataset=OWN, parameters={"seed": 0},
        measured={"test_accuracy": 0.99, "validation_accuracy": 0.98}, history=history,
        model=models.build("linear"), predictions=predictions_from([0, 1, 1], [0, 1, 2]),
    )  # fmt: skip
    measured = {"closest_MNIST": "4 and 9"}
    runs.save(folder / NOTEBOOK, notebook=NOTEBOOK, dataset=OWN, parameters={}, measured=measured)
    runs.save(
        folder / AUDIT, notebook=AUDIT, dataset=OWN, parameters={"dataset": "pets"},
        measured={"test_label_doubtful": 1},
    )  # fmt: skip
    (folder / AUDIT / "labels.csv").write_text(LABELS)
    result = headless.NotebookResult(TRAINING, "finished", 2.0)
    headless.write_status(folder, SETTINGS, [result])
    for name in SETTINGS:
        cells = [nbformat.v4.new_markdown_cell("# One")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name / f"{name}.ipynb")


@pytest.fixture
def intact_run(tmp_path) -> tuple[Path, dict[str, bytes]]:
    """The folder of a run in `runs`, with a copy of it elsewhere, and the contents of its files."""
    folder = tmp_path / "runs" / "20261126-090000-quick"
    write_run(folder)
    shutil.copytree(folder, tmp_path / folder.name)
    return folder, {name: (folder / name).read_bytes() for name in RECORDS + TABLES}


def is_clean(page: Path) -> bool:
    return not re.search(r"<script>alert|\"><b>", page.read_text(encoding="utf-8"))


def broken(name: str, content: bytes) -> st.SearchStrategy[tuple[str, bytes]]:
    """The name of a file of a run, with damaged content."""
    return st.tuples(st.just(name), json_files(json.loads(content)) | damaged(content))


@quick_and_long()
def test_a_damaged_record_is_reported_and_stops_no_reader(intact_run, tries):
    folder, contents = intact_run
    root = folder.parent

    def check(case: tuple[str, bytes]) -> None:
        for name, content in [*contents.items(), case]:
            (folder / name).write_bytes(content)
        frame = attempt(lambda: runs.collect(root), ValueError)
        if isinstance(frame, Refused):
            assert Path(case[0]).name in frame
        assert len(runs.read_records(root, levels=2)) >= 2
        attempt(lambda: headless.finished_notebooks(folder), ValueError)
        attempt(lambda: headless.find_unfinished(root, SETTINGS), ValueError)
        attempt(lambda: runs.find(root, "quick"), ValueError)

    cases = [broken(name, contents[name]) for name in RECORDS]
    fuzz(check, st.one_of(cases), tries=tries)


@quick_and_long()
def test_pages_show_damaged_records_as_text(tmp_path, intact_run, monkeypatch, tries):
    folder, contents = intact_run
    root = folder.parent
    own = Splits(halves.images(9), halves.images(4), halves.images(9), OWN)
    monkeypatch.setattr(data, "from_folder", lambda *_, **__: own)
    write_pages_quickly(monkeypatch)
    parts = ("notebook", "dataset", "device", "commit", "message", "data_digest")

    def check(case: tuple[str, bytes]) -> None:
        for name, content in [*contents.items(), case]:
            (folder / name).write_bytes(content)
        assert is_clean(headless.write_pages(folder))
        assert is_clean(headless.write_runs_index(root))
        facts = attempt(lambda: student_report.collect_facts(folder), ValueError)
        if not isinstance(facts, Refused):
            assert is_clean(report_writer.write_report(facts, folder)[0])
        assert {path.name for path in tmp_path.iterdir()} == {"runs", folder.name}

    def record(name: str, new: dict) -> tuple[str, bytes]:
        return name, json.dumps(json.loads(contents[name]) | new).encode()

    changes = st.dictionaries(st.sampled_from(parts), LEAVES, max_size=3)
    named = st.builds(record, st.sampled_from(RECORDS[1:3]), changes)
    tables = [st.tuples(st.just(name), damaged(contents[name])) for name in TABLES]
    fuzz(check, st.one_of(named, *tables), tries=tries)


@quick_and_long()
def test_any_bet_can_be_compared(tries):
    def check(bet: object, result: object) -> None:
        table = claims.compare_bets({"which?": (bet, result), "share?": (bet, 0.5, ".0%")})
        assert len(table) >= 1

    fuzz(check, altered([1]), st.floats(0, 1) | st.text(max_size=9), tries=tries)


BAND = {"name": "accuracy", "settings": {"epochs": 5, "rate": 0.1}, "lo": 0.98, "hi": 1.0}
BANDS = json.loads(claims.BANDS.read_bytes())
BOUNDS = st.floats() | st.sampled_from([0, 1, True, 0.5, 1.0000001, -1e-9, "0.5", [0.5]])


@quick_and_long()
def test_bands_are_within_0_and_1_or_refused(tmp_path, monkeypatch, tries):
    path, intact = tmp_path / "bands.json", json.dumps(BANDS).encode()
    monkeypatch.setattr(claims, "BANDS", path)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        bands = attempt(claims.read_bands, ValueError)
        if isinstance(bands, Refused):
            assert content != intact
            assert str(path) in bands
            assert "Restore it: git checkout" in bands
            return
        for band in bands:
            lo, hi = claims.band(band["name"], **band["settings"])
            assert 0 <= lo <= hi <= 1
            assert 0 <= band["lo"] <= band["hi"] <= 1

    bounds = st.fixed_dictionaries({}, optional={"lo": BOUNDS, "hi": BOUNDS})
    odd = bounds.map(lambda new: json.dumps({"bands": [BAND | new]}).encode())
    fuzz(check, json_files(BANDS) | odd | st.just(intact), tries=tries)
