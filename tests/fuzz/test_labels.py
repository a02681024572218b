"""Decisions on labels: read as saved, or an error that says what is wrong with the file."""

from hypothesis import strategies as st

from helpers import labels
from tests.fuzz import TEXTS, Refused, attempt, damaged, fuzz, quick_and_long

CLASSES = TEXTS.filter(lambda text: text.isprintable())
ROWS = st.lists(
    st.tuples(st.integers(0, 60_000), CLASSES, CLASSES, st.sampled_from(labels.DECISIONS)),
    max_size=4, unique_by=lambda row: row[0],
)  # fmt: skip


@quick_and_long(0.5)
def test_each_decision_is_read_as_it_was_taken(tmp_path, tries):
    path = tmp_path / "decisions.csv"

    def check(rows: list[tuple]) -> None:
        path.unlink(missing_ok=True)
        for row in rows:
            labels.save_decision(path, *row)
        read = labels.load_decisions(path)
        assert [tuple(row) for row in read.itertuples(index=False)] == rows

    fuzz(check, ROWS, tries=tries)


@quick_and_long(0.5)
def test_a_damaged_list_is_read_or_refused(tmp_path, tries):
    path = tmp_path / "decisions.csv"
    labels.save_decision(path, 7, "cat", "dog", "keep")
    labels.save_decision(path, 9, "dog", "cat", "wrong")
    intact = path.read_bytes()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        read = attempt(lambda: labels.load_decisions(path), ValueError)
        if not isinstance(read, Refused):
            assert set(read["decision"]) <= set(labels.DECISIONS)
            assert read["image"].dtype == "int64"

    fuzz(check, damaged(intact) | st.binary(max_size=40), tries=tries)
