import json

import pytest

from helpers import checkpoints, data, models, runs
from helpers.history import EpochRecord, History


def save(where, notebook="02_train_mnist", seed=0, accuracy=0.99, **more):
    return runs.save(
        where,
        notebook=notebook,
        dataset=data.MNIST,
        parameters={"seed": seed, "epochs": 2},
        measured={"test_accuracy": accuracy, "validation_accuracy": 0.98},
        **more,
    )


@pytest.fixture
def history() -> History:
    return History([EpochRecord(e, 0.5, 0.8, 0.4, 0.9, 0.1, 1.5) for e in (1, 2)])


def test_a_record_says_what_was_measured_with_what(tmp_path, history):
    path = save(tmp_path, model=models.build("linear"), history=history, device="cpu, 2 threads")
    record = json.loads(path.read_text())
    assert record["notebook"] == "02_train_mnist"
    assert record["dataset"] == "mnist"
    assert record["data_digest"] == data.MNIST.digest
    assert record["parameters"] == {"seed": 0, "epochs": 2}
    assert record["measured"] == {"test_accuracy": 0.99, "validation_accuracy": 0.98}
    assert record["model"]["name"] == "linear"
    assert (record["epochs"], record["seconds"], record["interrupted"]) == (2, 3.0, False)
    assert record["device"] == "cpu, 2 threads"
    assert set(record["versions"]) == set(runs.PACKAGES)
    assert checkpoints.load(tmp_path / "weights.safetensors", "linear")
    assert (tmp_path / "history.csv").read_text().startswith("epoch,train_loss")


def test_the_record_is_written_last(tmp_path, history, monkeypatch):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, model=models.build("linear"), history=history)
    assert not (tmp_path / "result.json").exists()


def test_many_records_make_one_frame(tmp_path, history):
    for seed in range(3):
        save(
            tmp_path / f"run{seed}" / "02_train_mnist",
            seed=seed,
            accuracy=0.9 + seed / 100,
            history=history,
        )
    save(tmp_path / "run3" / "04_error_analysis", notebook="04_error_analysis")
    frame = runs.collect(tmp_path)
    assert len(frame) == 4
    assert set(frame["run"]) == {"run0", "run1", "run2", "run3"}
    trained = frame[frame["notebook"] == "02_train_mnist"].sort_values("parameters.seed")
    assert trained["measured.test_accuracy"].tolist() == pytest.approx([0.9, 0.91, 0.92])
    assert trained["seconds"].tolist() == [3.0] * 3


def test_the_summary_puts_the_report_beside_what_was_measured(tmp_path, history):
    save(tmp_path / "r" / "02_train_mnist", accuracy=0.9912, history=history)
    summary = runs.summary(runs.collect(tmp_path))
    assert summary.to_dict("records") == [
        {
            "notebook": "02_train_mnist",
            "data set": "mnist",
            "epochs": 2,
            "seconds": 3,
            "validation": "98.00%",
            "test": "99.12%",
            "report": "98%",
        }
    ]


def test_notebooks_without_an_accuracy_are_not_in_the_summary(tmp_path):
    runs.save(
        tmp_path / "r" / "01",
        notebook="01",
        dataset=data.MNIST,
        parameters={},
        measured={"mean": 0.1},
    )
    assert runs.summary(runs.collect(tmp_path)).empty


def test_a_missing_folder_and_a_broken_record_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There are no runs at"):
        runs.collect(tmp_path / "nothing")
    (tmp_path / "r" / "n").mkdir(parents=True)
    for content in ('{"notebook": ', "[]"):
        (tmp_path / "r" / "n" / "result.json").write_text(content)
        with pytest.raises(ValueError, match=r"n/result\.json is not a record"):
            runs.collect(tmp_path)


def test_one_run_can_be_collected_alone(tmp_path):
    save(tmp_path / "run" / "02_train_mnist")
    for root in (tmp_path / "run", tmp_path / "run" / "02_train_mnist"):
        assert runs.collect(root)["run"].tolist() == ["run"]


def test_an_empty_folder_of_runs_is_an_empty_frame(tmp_path):
    assert runs.collect(tmp_path).empty
    assert runs.summary(runs.collect(tmp_path)).empty


def test_two_runs_at_once_get_two_folders(tmp_path):
    folders = {runs.new(tmp_path, "quick") for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot make the folder .*--root"):
        runs.new(tmp_path / "file", "quick")


def test_where_a_notebook_leaves_its_results():
    assert runs.folder("/somewhere", "01_explore").as_posix() == "/somewhere"
    assert runs.folder("", "01_explore") == runs.ROOT / "by-hand" / "01_explore"
