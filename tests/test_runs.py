import datetime
import gc
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers import data, models, runs
from helpers.evaluation import Predictions
from helpers.training import EpochRecord, History


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
    return History([EpochRecord(e, 0.5, 0.8, 0.4, 0.9, 0.1, 1.5) for e in (1, 2)], planned_epochs=2)


def test_a_record_says_what_was_measured_with_what(tmp_path, history):
    path = save(tmp_path, model=models.build("linear"), history=history, device="cpu, 2 threads")
    record = json.loads(path.read_text())
    assert record["notebook"] == "02_train_mnist"
    assert record["dataset"] == "mnist"
    assert record["data_digest"] == data.MNIST.digest
    assert record["parameters"] == {"seed": 0, "epochs": 2}
    assert record["measured"] == {"test_accuracy": 0.99, "validation_accuracy": 0.98}
    assert record["model"]["name"] == "linear"
    assert (record["epochs"], record["planned_epochs"], record["seconds"]) == (2, 2, 3.0)
    assert record["state"] == "finished"
    assert record["device"] == "cpu, 2 threads"
    assert set(record["versions"]) == {*runs.PACKAGES, "image-classification-notebooks"}
    assert models.load(tmp_path / "weights.safetensors").architecture["name"] == "linear"
    assert (tmp_path / "history.csv").read_text().startswith("epoch,train_loss")


def test_predictions_are_saved_as_a_table(tmp_path):
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    save(tmp_path, predictions=Predictions(logits, torch.tensor([1, 1, 0])))
    assert (tmp_path / "predictions.csv").read_text() == "target,predicted\n1,1\n1,0\n0,1\n"


def test_a_record_names_the_commit_of_the_clone_and_no_other(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x")
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def recorded() -> str:
        runs.commit.cache_clear()
        return json.loads(save(tmp_path / "runs").read_text())["commit"]

    git("init", "--quiet")
    (tmp_path / "code.py").write_text("x = 1")
    (tmp_path / ".gitignore").write_text("runs")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("tag", "--annotate", "--message=first", "v1")
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    assert recorded() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("x = 2")
    assert recorded() == git("rev-parse", "HEAD") + "-dirty"
    inner = tmp_path / "unpacked"
    inner.mkdir()
    monkeypatch.setattr(runs, "PROJECT", inner)  # without .git, inside another clone
    assert recorded() == ""
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    monkeypatch.setenv("PATH", str(inner))
    assert recorded() == ""
    runs.commit.cache_clear()


def test_a_record_says_when_it_was_finished(tmp_path):
    before = datetime.datetime.now().astimezone().replace(microsecond=0)
    record = json.loads(save(tmp_path).read_text())
    finished = datetime.datetime.fromisoformat(record["finished"])
    assert before <= finished <= datetime.datetime.now().astimezone()
    assert finished.microsecond == 0
    assert record["device"] == ""


def test_weights_are_saved_with_their_data_set_and_accuracies(tmp_path):
    save(tmp_path, model=models.build("linear"))
    assert models.read_metadata(tmp_path / "weights.safetensors")["notes"] == {
        "notebook": "02_train_mnist",
        "dataset": "mnist",
        "data_digest": data.MNIST.digest,
        "class_names": list("0123456789"),
        "test_accuracy": 0.99,
        "validation_accuracy": 0.98,
    }


def test_a_record_of_a_stopped_training_says_so(tmp_path):
    epoch = EpochRecord(1, 0.5, 0.8, 0.4, 0.9, 0.1, 1.2345)
    stopped = History([epoch], planned_epochs=30, interrupted=True)
    record = json.loads(save(tmp_path / "run" / "02", history=stopped).read_text())
    assert (record["state"], record["epochs"], record["planned_epochs"]) == ("stopped", 1, 30)
    assert record["seconds"] == 1.23
    assert runs.collect(tmp_path)["state"].tolist() == ["stopped"]


def test_states_of_older_versions_are_renamed_to_the_current_ones(tmp_path):
    by_hand(tmp_path / "old" / "02", notebook="02", finished="2026-01-01", interrupted=True)
    by_hand(tmp_path / "old" / "03", notebook="03", finished="2026-01-02", interrupted=False)
    entries = [("02", "done"), ("03", "done"), ("04", "interrupted")]
    notebooks = [{"notebook": n, "state": s, "seconds": 1, "message": ""} for n, s in entries]
    (tmp_path / "old" / "status.json").write_text(json.dumps({"notebooks": notebooks}))
    assert runs.collect(tmp_path)["state"].tolist() == ["stopped", "finished", "stopped"]


def test_a_notebook_that_fails_after_its_record_has_failed(tmp_path):
    by_hand(tmp_path / "r" / "02", notebook="02", state="finished", finished="2026-01-01")
    entry = {"notebook": "02", "state": "failed", "seconds": 1, "message": "late"}
    (tmp_path / "r" / "status.json").write_text(json.dumps({"notebooks": [entry]}))
    assert runs.collect(tmp_path)["state"].tolist() == ["failed"]


def test_the_record_is_written_last(tmp_path, history, monkeypatch):
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, model=models.build("linear"), history=history)
    assert not (tmp_path / "result.json").exists()


def test_many_records_make_one_data_frame(tmp_path, history):
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


def by_hand(folder, **record: object) -> None:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record))


def test_records_are_sorted_oldest_first_and_have_fixed_columns(tmp_path, monkeypatch):
    about = {"dataset": "mnist", "parameters": {"seed": 1}, "measured": {"test_accuracy": 0.9}}
    by_hand(tmp_path / "a" / "n", notebook="late", finished="2026-02-01T00:00:00+00:00", **about)
    by_hand(tmp_path / "b" / "n", notebook="early", finished="2026-01-01T00:00:00+00:00", **about)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    frame = runs.collect()
    assert frame.columns.tolist() == [
        *("run", "notebook", "state", "message", "finished", "dataset", "device", "epochs"),
        *("planned_epochs", "seconds", "wall_seconds", "folder"),
        *("parameters.seed", "measured.test_accuracy"),
    ]
    assert frame["notebook"].tolist() == ["early", "late"]
    assert frame["run"].tolist() == ["b", "a"]
    assert frame.index.tolist() == [0, 1]
    assert frame["epochs"].isna().all()
    assert frame["state"].tolist() == ["finished", "finished"]
    assert frame["folder"].tolist() == [str(tmp_path / "b" / "n"), str(tmp_path / "a" / "n")]


def test_failed_notebooks_come_last_with_their_parameters(tmp_path):
    by_hand(tmp_path / "r" / "02", notebook="02", finished="2026-02-01", parameters={"seed": 1})
    status = {
        "settings": {"02": {"seed": 1}, "03": {"seed": 7}},
        "notebooks": [
            {"notebook": "02", "state": "finished", "seconds": 9.5, "message": "", "cause": ""},
            {
                "notebook": "03",
                "state": "failed",
                "seconds": 2.5,
                "message": "no",
                "cause": "error",
            },
        ],
    }
    (tmp_path / "r" / "status.json").write_text(json.dumps(status))
    frame = runs.collect(tmp_path)
    assert frame["state"].tolist() == ["finished", "failed"]
    assert frame["message"].tolist() == ["", "no"]
    assert frame["wall_seconds"].tolist() == [9.5, 2.5]
    assert frame["parameters.seed"].tolist() == [1, 7]
    assert frame["folder"].tolist() == [str(tmp_path / "r" / name) for name in ("02", "03")]
    listed = runs.read_records(tmp_path, levels=2)
    assert [(row["notebook"], row["state"]) for row in listed] == [
        ("02", "finished"),
        ("03", "failed"),
    ]
    (tmp_path / "r" / "status.json").write_text("{")
    with pytest.raises(ValueError, match=r"status\.json is not a record of a run"):
        runs.collect(tmp_path)


def test_a_notebook_that_failed_without_settings_has_no_parameters(tmp_path):
    entry = {"notebook": "03", "state": "failed", "seconds": 2.5, "message": "no", "cause": "error"}
    (tmp_path / "status.json").write_text(json.dumps({"settings": {}, "notebooks": [entry]}))
    (row,) = runs.read_records(tmp_path, levels=1)
    assert row["parameters"] == {}


def test_the_overview_is_a_row_of_text_for_each_run(tmp_path):
    about = {"notebook": "n", "dataset": "mnist", "state": "finished", "seconds": 3.6}
    about |= {"parameters": {"seed": 7}, "measured": {"test_accuracy": 0.9046}}
    finished = {"epochs": 5, "planned_epochs": 5, "finished": "2026-01-01T12:34:56+00:00"}
    by_hand(tmp_path / "a" / "n", **about | finished)
    by_hand(tmp_path / "b" / "n", **about | finished | {"epochs": 2, "state": "stopped"})
    by_hand(tmp_path / "c" / "n", **about, epochs=4)  # older records have no planned epochs
    by_hand(tmp_path / "d" / "n", notebook="n")
    table = runs.overview(runs.collect(tmp_path), tmp_path).set_index("run")
    assert table.loc["a/n"].tolist() == [
        *("2026-01-01 12:34", "n", "mnist", "5", "7", "90.46%", "finished", "4")
    ]
    assert table.loc["d/n"].tolist() == ["", "n", "", "", "", "", "finished", ""]
    assert table["epochs"].tolist() == ["5", "2 of 5", "4", ""]


def test_missing_values_are_left_empty_in_the_summary(tmp_path):
    by_hand(
        tmp_path / "r" / "n",
        notebook="04",
        dataset="fashion_mnist",
        measured={"test_accuracy": 0.9046},
    )
    by_hand(tmp_path / "r" / "o", notebook="05", dataset="mnist", seconds=3.6, epochs=2)
    assert runs.summary(runs.collect(tmp_path)).to_dict("records") == [
        {
            "notebook": "04",
            "data set": "fashion_mnist",
            "epochs": "",
            "seconds": "",
            "validation": "",
            "test": "90.46%",
            "report": "86%",
        }
    ]


def test_the_summary_shows_the_report_beside_measured_accuracies(tmp_path, history):
    save(tmp_path / "r" / "02_train_mnist", accuracy=0.9912, history=history)
    summary = runs.summary(runs.collect(tmp_path))
    assert summary.to_dict("records") == [
        {
            "notebook": "02_train_mnist",
            "data set": "mnist",
            "epochs": "2",
            "seconds": "3",
            "validation": "98.00%",
            "test": "99.12%",
            "report": "98%",
        }
    ]


def test_the_summary_has_nothing_of_the_report_for_another_data_set(tmp_path):
    measured = {"test_accuracy": 0.5}
    by_hand(tmp_path / "r" / "train", notebook="train", dataset="another", measured=measured)
    (row,) = runs.summary(runs.collect(tmp_path)).to_dict("records")
    assert (row["test"], row["report"]) == ("50.00%", "")


def test_notebooks_without_an_accuracy_are_not_in_the_summary(tmp_path):
    by_hand(tmp_path / "r" / "01", notebook="01", dataset="mnist", measured={"mean": 0.1})
    assert runs.summary(runs.collect(tmp_path)).empty


def test_a_missing_folder_and_a_broken_record_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There are no runs at"):
        runs.collect(tmp_path / "nothing")
    (tmp_path / "r" / "n").mkdir(parents=True)
    for content in ('{"notebook": ', "[]"):
        (tmp_path / "r" / "n" / "result.json").write_text(content)
        with pytest.raises(ValueError, match=r"n/result\.json is not a record"):
            runs.collect(tmp_path)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collection_state_is_restored_after_an_error(tmp_path, enabled):
    Path(tmp_path, "result.json").write_text("{")
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="not a record"):
            runs.collect(tmp_path)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_one_run_can_be_collected_alone(tmp_path):
    save(tmp_path / "run" / "02_train_mnist")
    for root in (tmp_path / "run", tmp_path / "run" / "02_train_mnist"):
        assert runs.collect(root)["run"].tolist() == ["run"]


def test_an_empty_folder_of_runs_is_an_empty_frame(tmp_path):
    assert runs.collect(tmp_path).empty
    assert runs.summary(runs.collect(tmp_path)).empty


def test_the_folder_of_a_run_is_named_by_its_time(tmp_path, monkeypatch):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda: moment))
    monkeypatch.setattr(runs, "datetime", clock)
    made = [runs.create_run(tmp_path / "runs", "quick").name for _ in range(3)]
    assert made == [f"20260102-030405-quick{suffix}" for suffix in ("", "-2", "-3")]


def test_a_root_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot create .*--root"):
        runs.create_run(tmp_path / "file", "quick")


@pytest.mark.parametrize(
    ("has_runs", "writable", "in_cwd"),
    [(True, "runs", False), (True, "", True), (False, "", False), (False, "runs", True)],
)
def test_results_go_to_the_clone_or_working_folder(
    tmp_path, monkeypatch, has_runs, writable, in_cwd
):
    """In the working folder, if neither `runs` nor, without it, the clone is writable."""
    root = tmp_path / "runs"
    if has_runs:
        root.mkdir()
    writable_folder = (tmp_path / writable, os.W_OK)
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    monkeypatch.setattr(runs, "ROOT", root)
    monkeypatch.setattr(runs.os, "access", lambda path, mode: (Path(path), mode) == writable_folder)
    expected = Path.cwd() / "runs" if in_cwd else root
    assert runs.run_dir("", "01_explore") == expected / "by-hand" / "01_explore"
    assert runs.run_dir("/somewhere", "01_explore") == Path("/somewhere")
    assert (
        runs.run_dir("here", "01_explore") == Path.cwd() / "here"
    )  # absolute, for other processes


def test_load_run_returns_only_notebooks_of_the_run(tmp_path):
    """Notebook 7 runs others, below its own folder."""
    run = tmp_path / "quick"
    by_hand(run / "02_train_mnist", notebook="02_train_mnist")
    by_hand(run / "07_many_runs" / "sweeps" / "abc" / "03_train", notebook="03_train")
    assert list(runs.load_run(run)["notebook"]) == ["02_train_mnist"]
    assert len(runs.collect(run)) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "recursion"),
        ('{"notebook": null}', "notebook is None"),
        ('{"measured": [1]}', r"measured is \[1\]"),
        ('{"finished": 3}', "finished is 3"),
        ('{"notebook": "../02"}', "no notebook is called '../02'"),
        ('{"measured": {"test_accuracy": [0.9]}}', r"measured.test_accuracy is \[0.9\]"),
        ('{"measured": {"validation_accuracy": "0.9"}}', "validation_accuracy is '0.9'"),
        ('{"measured": {"linear_validation_accuracy": null}}', "accuracy is None"),
        ('{"measured": {"share_label_doubtful": "0.1"}}', "share_label_doubtful is '0.1'"),
        ('{"parameters": {"scale": [1]}}', r"parameters.scale is \[1\]"),
        ('{"finished": "yesterday"}', "Invalid isoformat string: 'yesterday'"),
        ('{"model": {"num_classes": [10]}}', r"model.num_classes is \[10\]"),
        ('{"parameters": {"seed": "1"}}', "parameters.seed is '1'"),
        ('{"device": ["cpu"]}', "device is"),
        ('{"commit": ["abc"]}', "commit is"),
        ('{"data_digest": 3}', "data_digest is 3"),
        ('{"planned_epochs": "5"}', "planned_epochs is '5'"),
        ('{"wall_seconds": null}', "wall_seconds is None"),
        ('{"run": "another"}', "run is 'another'"),
        ('{"folder": "elsewhere"}', "folder is 'elsewhere'"),
        (r'{"device": "\ud800"}', "surrogates not allowed"),
        (r'{"parameters": {"x": ["\udc80"]}}', "surrogates not allowed"),
    ],
)
def test_a_record_with_invalid_parts_is_damaged(tmp_path, content, reason):
    (tmp_path / "run" / "02").mkdir(parents=True)
    (tmp_path / "run" / "02" / "result.json").write_text(content)
    with pytest.raises(ValueError, match=rf"result.json is not a record of a run: .*{reason}"):
        runs.collect(tmp_path)
    (record,) = runs.read_records(tmp_path, levels=2)
    assert record["state"] == "damaged"


@pytest.mark.parametrize(
    "entry",
    [{}, {"notebook": "02", "state": {}, "message": "", "seconds": 1}, 3,
     {"notebook": "../../outside", "state": "failed", "message": "", "seconds": 1}],
)  # fmt: skip
def test_an_invalid_entry_in_a_status_is_refused(tmp_path, entry):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(json.dumps({"notebooks": [entry]}))
    with pytest.raises(ValueError, match=r"status.json is not a record of a run"):
        runs.collect(tmp_path)
    assert runs.read_records(tmp_path, levels=2) == []


@pytest.mark.parametrize("given", [[1], "epochs=1", 3, None, {"device_name": "\ud800"}])
def test_a_status_has_settings_by_notebook(tmp_path, given):
    status = {"settings": {"02": given}, "notebooks": []}
    (tmp_path / "status.json").write_text(json.dumps(status))
    with pytest.raises(ValueError, match=r"status.json is not a record of a run"):
        runs.read_status(tmp_path)
    assert runs.read_status(tmp_path, strict=False)["state"] == "damaged"


def test_folders_may_be_given_as_text(tmp_path):
    root = str(tmp_path)
    run = runs.create_run(root, "x")
    path = save(f"{run}/02", model=models.build("linear"))
    assert path == run / "02" / "result.json"
    assert len(runs.read_records(root, levels=2)) == len(runs.load_run(str(run))) == 1
    assert runs.find(root, f"{run.name}/02") == run / "02"
    assert runs.overview(runs.collect(root), root)["run"].tolist() == [f"{run.name}/02"]
    (run / "status.json").write_text("{}")
    assert runs.read_status(str(run)) == {"notebooks": []}
