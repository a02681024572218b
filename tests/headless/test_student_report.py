"""The report of a run: every statement follows from the records, in every language."""

import base64
import html
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from babel.messages import pofile
from jinja2.ext import babel_extract
from markupsafe import escape
from PIL import Image

from helpers import data, evaluation, models, runs
from helpers.data import Split, Splits
from helpers.headless import (
    SERIES,
    NotebookResult,
    report_writer,
    runner,
    runs_commands,
    student_report,
)  # fmt: skip
from helpers.training import EpochRecord, History
from tests import halves
from tests.conftest import FIXTURES, predictions_from
from tests.tools import invoke

TEMPLATES = sorted(report_writer.TEMPLATES.glob("report[._]*.j2"))
RUN = "20261128-120000-standard"
ERRORS = {  # of 200 test images: (true, predicted) → count
    "mnist": {(4, 9): 2, (9, 4): 1, (3, 5): 1},
    "fashion_mnist": {(0, 6): 10, (6, 0): 6, (2, 4): 3, (5, 7): 1},
}
MEASURED = {
    "01_explore": {"closest_MNIST": "4 / 9", "closest_Fashion-MNIST": "Pullover / Coat"},
    "04_error_analysis": {
        "mistakes": 20, "with_the_label": 3, "with_the_model": 6, "undecided": 11,
    },
    "05_better_architecture": {"compact_test_accuracy": 0.93, "accurate_test_accuracy": 0.95},
    "06_doubtful_labels": {
        "train_label_doubtful": 31, "test_label_doubtful": 17, "test_class_ambiguous": 23,
        "share_label_doubtful": 0.36, "share_model_at_fault": 0.15,
        "accuracy_as_given": 0.905, "accuracy_less_the_doubtful": 0.937,
    },
    "07_many_runs": {"optimism_points": 0.13},
}  # fmt: skip
DOUBTFUL = [
    ("train", 3, "Coat", "Shirt", "label doubtful"),
    ("test", 7, "Sneaker", "Ankle boot", "label doubtful"),
    ("test", 8, "Bag", "Shirt", "class ambiguous"),
    ("test", 16, "Shirt", "T-shirt/top", "label doubtful"),
]


def split_of(classes: int, n: int = 200) -> Split:
    return Split(halves.images(n).images, torch.arange(n) % classes)


def load_tiny(name: str) -> Splits:
    return Splits(split_of(10, 60), split_of(10, 30), split_of(10), data.spec(name))


def load_tiny_published(name: str) -> tuple[Split, Split]:
    return split_of(10, 90), load_tiny(name).test


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch):
    monkeypatch.setattr(data, "load_splits", load_tiny)
    monkeypatch.setattr(data, "load_published", load_tiny_published)


def predicted(errors, classes=10, n=200):
    targets = [i % classes for i in range(n)]
    answers = list(targets)
    for (true, wrong), count in errors.items():
        for i in [i for i in range(n) if targets[i] == answers[i] == true][:count]:
            answers[i] = wrong
    return predictions_from(answers, targets, classes)


def save_training(folder, spec, errors, epochs=3, **measured):
    losses = [0.5, 0.4, 0.3, 0.2][:epochs] if epochs <= 4 else [1 / e for e in range(1, epochs + 1)]
    history = History(
        [EpochRecord(e, 0.6, 0.8, loss, 0.9, 0.0001, 1.5) for e, loss in enumerate(losses, 1)], 3
    )
    answers, classes = predicted(errors, len(spec.class_names)), len(spec.class_names)
    runs.save(
        folder, notebook=folder.name, dataset=spec, history=history, predictions=answers,
        model=models.build("tiny_vgg", num_classes=classes, mean=spec.mean, std=spec.std),
        parameters={"epochs": 3, "batch_size": 64, "learning_rate": 0.04, "momentum": 0.9,
                    "train_images": 60, "shift": 1, "seed": 0},
        measured={"test_accuracy": evaluation.accuracy(answers), "validation_accuracy": 0.97},
        device="cpu, 2 threads",
    )  # fmt: skip


@pytest.mark.parametrize(("epochs", "named"), [(1, [1]), (12, [*range(1, 13)]), (14, [1, 3, 5])])
def test_the_curves_label_at_most_12_epochs_on_each_axis(tmp_path, epochs, named):
    save_training(tmp_path / "run" / "02_train_mnist", data.MNIST, ERRORS["mnist"], epochs=epochs)
    page = report_writer.render(student_report.collect_facts(tmp_path / "run"), "html", "en")
    drawings = [
        base64.b64decode(found).decode()
        for found in re.findall(r"svg\+xml;base64,([\w+/=]+)", page)
    ]
    (curves,) = (drawing for drawing in drawings if "Loss (nats)" in drawing)
    axis = re.findall(r'text-anchor="middle">(\d+)</text>', curves)
    assert axis[: len(named)] == [str(epoch) for epoch in named]
    assert len(axis) <= 2 * 12


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of notebooks 1 to 7 with all their files."""
    folder = tmp_path_factory.mktemp("runs") / RUN
    torch.manual_seed(0)
    save_training(folder / "02_train_mnist", data.MNIST, ERRORS["mnist"])
    save_training(folder / "03_train_fashion_mnist", data.FASHION_MNIST, ERRORS["fashion_mnist"])
    for name, measured in MEASURED.items():
        runs.save(folder / name, notebook=name, dataset=data.FASHION_MNIST, parameters={},
                  measured=measured)  # fmt: skip
    listed = pd.DataFrame(DOUBTFUL, columns=["split", "image", "label", "suggested", "verdict"])
    listed.to_csv(folder / "06_doubtful_labels" / "labels.csv", index=False)
    for path in folder.glob("*/result.json"):  # else the seconds of two records may differ
        edit(path, finished="2026-11-28T12:00:00+00:00", commit="0123456789")
    names = [notebook.name for notebook in SERIES[:7]]
    entries = [dict(notebook=n, state="finished", seconds=9, message="", cause="") for n in names]
    status = {"settings": {name: {} for name in names}, "notebooks": entries}
    (folder / "status.json").write_text(json.dumps(status))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / RUN)


def edit(path, **changes):
    """Change a record; a name such as parameters__seed means a nested entry."""
    record = json.loads(path.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = record
        for key in outer:
            inner = inner[key]
        inner[last] = value
    path.write_text(json.dumps(record))


def sentences(folder, language="en") -> Counter:
    """The sentences and table rows of the Markdown report of a run, counted."""
    facts = student_report.collect_facts(folder)
    text = report_writer.render(facts, "md", language, beside=folder / "files")
    return Counter(part for part in re.split(r"\n|(?<=[.;]) (?=[A-Z\d])", text) if part.strip("> "))


def test_a_folder_may_be_given_as_text(run, monkeypatch):
    monkeypatch.chdir(run)
    facts = student_report.collect_facts(str(run))
    written = report_writer.write_report(facts, ".", ("html", "md", "pdf"))
    assert {"report.html", "report.md"} <= {path.name for path in written}
    (run / "alone").mkdir()
    (only,) = report_writer.write_report(facts, "alone", ["md"])
    assert [path.name for path in only.parent.iterdir() if path.is_file()] == ["report.md"]


@pytest.fixture(scope="module")
def before(finished):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "load_splits", load_tiny)
        patched.setattr(data, "load_published", load_tiny_published)
        return sentences(finished)


def rewrite_predictions(folder, errors, classes=10):
    answers = predicted(errors, classes)
    columns = {"target": answers.targets, "predicted": answers.predicted}
    pd.DataFrame(columns).to_csv(folder / "predictions.csv", index=False)
    edit(folder / "result.json", measured__test_accuracy=evaluation.accuracy(answers))


def state(folder, notebook, state, message=""):
    status = json.loads((folder / "status.json").read_text())
    for entry in status["notebooks"]:
        if entry["notebook"] == notebook:
            entry |= {"state": state, "message": message}
    (folder / "status.json").write_text(json.dumps(status))


def relabel(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def record(notebook, **changes):
    return lambda run: edit(run / notebook / "result.json", **changes)


def errors(notebook, found):
    return lambda run: rewrite_predictions(run / notebook, found)


def lose(*paths):
    return lambda run: [
        shutil.rmtree(run / p) if (run / p).is_dir() else (run / p).unlink() for p in paths
    ]


def longer(run):
    path = run / "02_train_mnist" / "history.csv"
    path.write_text(path.read_text() + "4,0.5,0.9,0.35,0.9,0.0001,1.5\n")
    edit(run / "02_train_mnist/result.json", epochs=4, planned_epochs=4, parameters__epochs=4)


def fail(run):
    lose("03_train_fashion_mnist")(run)
    state(run, "03_train_fashion_mnist", "failed", "cell [3] raised ValueError: <b>no</b> | yes")


def stop(run):
    edit(run / "02_train_mnist/result.json", state="stopped", planned_epochs=5)


def not_start(run):
    edit(run / "status.json", settings__08_your_own_data={})


def quick(run):
    from helpers.headless import PROFILES

    edit(run / "status.json", settings={
        notebook.name: PROFILES["quick"].get(notebook.name, {}) for notebook in SERIES[:7]
    })  # fmt: skip


def own_data(run, names=("cat", "dog", "eel")):
    spec = replace(data.MNIST, name="Pets", title="Pets", folder="", class_names=names)
    save_training(run / "08_your_own_data", spec, {(0, 1): 3, (1, 2): 5})
    edit(run / "08_your_own_data/result.json", parameters={"dataset": "nowhere", "seed": 0},
         finished="2026-11-28T12:00:00+00:00", commit="0123456789")  # fmt: skip
    return spec


# the change; what the report then says; a pattern of all sentences that may change or disappear
MNIST_LINES, FASHION_LINES = (
    r"^MNIST|\| MNIST \||MNIST: ",
    r"^Fashion-MNIST|\| Fashion-MNIST \||Fashion-MNIST: ",
)
CELLS = r"^\| [\d·]|^\|  \|"  # rows of the confusion matrix, of pairs and classes of digits
ERROR = r"error-mnist|^\| !|^Most confused|^It contradicts the start|^In this point the run"
CASES = {
    "accuracy": (
        errors("02_train_mnist", {(4, 9): 9}),
        "accuracy 95.50% on 200 test images",
        f"{MNIST_LINES}|{CELLS}|{ERROR}|Most confused",
    ),
    "accuracy that contradicts": (
        record("02_train_mnist", measured__test_accuracy=0.99),
        "by the predictions, the accuracy is 98.00%",
        MNIST_LINES,
    ),
    "below the start report": (
        errors("02_train_mnist", {(4, 9): 15}),
        "It contradicts the start report",
        f"{MNIST_LINES}|{CELLS}|{ERROR}|Most confused|It contradicts",
    ),
    "above the start report": (
        errors("03_train_fashion_mnist", {(0, 6): 10}),
        "with 95.00% this run is above the 86%",
        (
            f"{FASHION_LINES}|^\\| (T-sh|Shirt|San|Sne|Pul|Coat|class)|error-fashion|"
            "Most confused|In this point|^The network accurate"
        ),
    ),
    "epochs": (
        longer,
        "from then on the network overfits",
        (
            f"{MNIST_LINES}|epochs (planned|trained)|^After epoch|^The validation loss|"
            "^The weights of epoch"
        ),
    ),
    "best pair": (
        errors("02_train_mnist", {(3, 5): 4}),
        "4 and 9, which the start report names, are not among",
        f"{MNIST_LINES}|{CELLS}|{ERROR}|Most confused|In this point",
    ),
    "a tie": (
        errors("02_train_mnist", {(3, 5): 2, (9, 4): 2}),
        "Most confused are, equally often, 3 and 5;",
        f"{MNIST_LINES}|{CELLS}|{ERROR}|Most confused|^4 and 9: 2",
    ),
    "seed": (
        record("02_train_mnist", parameters__seed=7),
        "| seed | 7 | 0 |",
        r"^\| seed|error-mnist",
    ),
    "data that changed": (
        record("02_train_mnist", data_digest="123"),
        "the pictures are not here",
        f"{MNIST_LINES}|{ERROR}|^!|^\\| (image|---)|^Above the predicted",
    ),
    "notebook 3 failed": (
        fail,
        "Notebook 03_train_fashion_mnist: failed.",
        (
            f"{FASHION_LINES}|[Ff]ashion|^#|T-shirt|^\\| |^(Most|The|After|There|In this)|"
            "curves|[Nn]etwork|^Above the pred|weights|^Rows are|^1\\.$"
        ),
    ),
    "notebook 4 missing": (
        lose("04_error_analysis"),
        "This run has no error analysis (notebook 4).",
        "Notebook 4 lets|no error analysis|04_error",
    ),
    "no audit": (
        lose("06_doubtful_labels"),
        "audit them, to know which errors",
        (
            "[Aa]udit|doubtful|ambigu|label|verdict|near dup|"
            "errors the model alone|Northcutt|^The models of the|^\\| ---|"
            "Label|^JAIR|^1\\.|finds"
        ),
    ),
    "doubtful labels": (
        record("06_doubtful_labels", measured__test_label_doubtful=18),
        "finds 18 doubtful ones",
        "18|17",
    ),
    "a list of doubtful labels": (
        lambda run: relabel(run / "06_doubtful_labels" / "labels.csv", "Ankle boot", "Sandal"),
        "| Sneaker | Sandal |",
        r"\| Sneaker \| (Ankle boot|Sandal) \|",
    ),
    "no list of doubtful labels": (
        lose("06_doubtful_labels/labels.csv"),
        "",
        r"label-fashion|the most doubtful labels|^The label is what|^\| (image|---)",
    ),
    "votes": (
        record("04_error_analysis", measured__with_the_label=4),
        "for 4 (20%) they side",
        "Notebook 4 lets",
    ),
    "a worse architecture": (
        record("05_better_architecture", measured__accurate_test_accuracy=0.8),
        "",
        "a better architecture|^The network accurate",
    ),
    "device": (
        record("02_train_mnist", device="cuda"),
        "| device | cuda | cpu, 2 threads |",
        "device",
    ),
    "version": (record("03_train_fashion_mnist", versions__torch="9.9"), "| 9.9 |", "torch"),
    "learning rate": (
        record("02_train_mnist", parameters__learning_rate=0.03),
        "rises to 0.03",
        "learning rate",
    ),
    "shift": (record("02_train_mnist", parameters__shift=2), "at most 2 pixels", "moved at random"),
    "few images": (
        record("02_train_mnist", parameters__train_images=40),
        "only 40 of 60 training images were used",
        "40|60",
    ),
    "commit": (
        lambda run: [edit(p, commit="") for p in run.glob("*/result.json")],
        "The records name no commit",
        "[Cc]ommit",
    ),
    "stopped": (stop, "the training ended after 3 of 5 epochs", "3 of 5|02_train_mnist|No"),
    "quick": (quick, "This was a quick run", "quick|profile|^python -m"),
    "not started": (
        not_start,
        "08_your_own_data was to be run, and was not started",
        "08|^python -m",
    ),
    "no weights": (
        lose("02_train_mnist/weights.safetensors"),
        "saved no weights",
        f"saved no weights|{ERROR}|^Network|most confident",
    ),
    "damaged weights": (
        lambda run: (run / "02_train_mnist/weights.safetensors").write_bytes(b"no"),
        "the weights cannot be read",
        f"weights|{ERROR}|^Network|most confident",
    ),
    "no predictions": (
        lose("02_train_mnist/predictions.csv"),
        "saved no predictions of the test images",
        (
            f"{MNIST_LINES}|{CELLS}|{ERROR}|Most confused|saved no predictions|^\\| (pair|"
            "class|image|---)|^Rows are|^Above the predicted"
        ),
    ),
    "no history": (
        lose("02_train_mnist/history.csv"),
        "saved no history",
        f"{MNIST_LINES}|After epoch|history|curves|The validation loss|validation loss was",
    ),
    "three classes of own data": (
        own_data,
        "Most confused are dog and eel: 5 of 8 errors.",
        (
            "Pets|cat|dog|eel|08_|^\\| |^Rows are|^Most confused|^The (val|"
            "net)|^After|^Above|[Nn]etwork|^!|Shapes|86%"
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_changed_record_changes_only_the_sentences_about_it(case, run, before):
    change, says, pattern = CASES[case]
    change(run)
    after = sentences(run)
    gone, new = before - after, after - before
    assert gone or new
    assert any(says in sentence for sentence in new or [""]), list(new)
    if case in ("a worse architecture", "no list of doubtful labels"):
        assert not new
    for sentence in [*gone, *new]:
        assert re.search(pattern, sentence), sentence


def test_a_run_of_three_classes_shows_its_own_pictures(tmp_path, monkeypatch):
    spec = own_data(tmp_path)
    splits = Splits(split_of(3, 60), split_of(3, 30), split_of(3), spec)
    monkeypatch.setattr(data, "from_folder", lambda folder, **_: splits)
    (training,) = student_report.collect_facts(tmp_path).trainings
    assert training.classes == spec.class_names
    assert [len(row) for row in training.test["counts"]] == [3, 3, 3]
    rows = "\n".join(sentences(tmp_path))
    shown = re.findall(r"/error-\S+ \| (\w+) \| \S+ \| (\w+) \|", rows)
    assert set(shown) == {("dog", "cat"), ("eel", "dog")}
    pictures = [path.read_bytes() for path in (tmp_path / "files").glob("*.png")]
    assert len(pictures) > 8
    assert all(png.startswith(b"\x89PNG") for png in pictures)


def test_class_names_that_look_like_numbers_or_missing_values_stay(tmp_path, monkeypatch):
    names = ("None", "NA", "01")
    own_data(tmp_path, names)
    doubtful = [("test", i, names[i], names[i - 1], "label doubtful") for i in range(3)]
    listed = pd.DataFrame(doubtful, columns=["split", "image", "label", "suggested", "verdict"])
    listed.to_csv(tmp_path / "08_your_own_data" / "labels.csv", index=False)
    edit(tmp_path / "08_your_own_data/result.json", measured__test_label_doubtful=3)
    (audit,) = student_report.collect_facts(tmp_path).audits
    found = [(row["image"], row["label"], row["suggested"]) for row in audit.doubtful]
    assert found == [(i, names[i], names[i - 1]) for i in range(3)]


@pytest.mark.parametrize("with_pictures", [True, False])
def test_names_of_classes_are_escaped(tmp_path, monkeypatch, with_pictures):
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'{{ 7 * 7 }}<!--")
    spec = own_data(tmp_path, names)
    doubtful = [("test", 1, names[0], names[1], "label doubtful")]
    listed = pd.DataFrame(doubtful, columns=["split", "image", "label", "suggested", "verdict"])
    listed.to_csv(tmp_path / "08_your_own_data" / "labels.csv", index=False)
    edit(tmp_path / "08_your_own_data/result.json", measured__test_label_doubtful=1)
    splits = Splits(split_of(3, 60), split_of(3, 30), split_of(3), spec)
    if with_pictures:
        monkeypatch.setattr(data, "from_folder", lambda folder, **_: splits)
    facts = student_report.collect_facts(tmp_path)
    report, text = report_writer.write_report(facts, tmp_path, ("html", "md"))
    for page in (report.read_text(), text.read_text()):
        assert all(str(escape(name)) in page for name in names)
        assert not re.search("<script>alert|<img src=x|'{{", page)


def test_a_record_cannot_place_a_picture_outside_the_run(tmp_path, monkeypatch):
    run = tmp_path / "root" / "run"
    spec = own_data(run)
    listed = {"split": ["test"], "image": [1], "label": ["cat"], "suggested": ["dog"]}
    folder = run / "08_your_own_data"
    pd.DataFrame(listed | {"verdict": "label doubtful"}).to_csv(folder / "labels.csv", index=False)
    edit(folder / "result.json", dataset="x/../../../../pet", measured__test_label_doubtful=1)
    splits = Splits(split_of(3, 60), split_of(3, 30), split_of(3), spec)
    monkeypatch.setattr(data, "from_folder", lambda folder, **_: splits)
    report_writer.write_report(student_report.collect_facts(run), run, ["md"])
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert not list(tmp_path.rglob("*.png"))
    edit(folder / "result.json", dataset=spec.name)
    report_writer.write_report(student_report.collect_facts(run), run, ["md"])
    assert [path.name for path in run.rglob("label-*")] == ["label-Pets-test-1.png"]


def test_the_shown_errors_are_those_of_the_predictions(tmp_path):
    torch.manual_seed(1)
    model, test = models.build("linear").eval(), split_of(10)
    answers = evaluation.predict(model, test)
    runs.save(
        tmp_path / "02_train_mnist", notebook="02_train_mnist", dataset=data.MNIST,
        parameters={"seed": 3}, model=model, predictions=answers,
        measured={"test_accuracy": evaluation.accuracy(answers)},
        history=History([EpochRecord(1, 1, 0.1, 1, 0.1, 0.1, 1)], 1),
    )  # fmt: skip
    facts = student_report.collect_facts(tmp_path)
    text = report_writer.render(facts, "md", "en", beside=tmp_path / "files")
    rows = re.findall(r"/error-mnist-(\d+)\.png\) \| \d \| (\S+) \| \d \|", text)
    random = evaluation.random_misclassified(answers, 9, seed=3).tolist()
    confident = evaluation.most_confident_misclassified(answers, 9).tolist()
    assert [int(image) for image, _ in rows] == random + confident
    shown = [f"{answers.confidence[image]:.0%}" for image in random + confident]
    assert [share for _, share in rows] == shown
    (training,) = facts.trainings
    galleries, _ = report_writer._pictures(training)  # with more digits than in the text
    shares = [error["confidence"] for error in galleries["confident"]]
    assert shares == pytest.approx(answers.confidence[confident].tolist())


def pixels(path) -> np.ndarray:
    """The gray values of a picture in which each pixel is enlarged to three by three."""
    large = np.asarray(Image.open(path))
    small = large[1::3, 1::3]
    assert np.array_equal(large, small.repeat(3, axis=0).repeat(3, axis=1))
    return small


@pytest.mark.parametrize("shift", [0, 1])
def test_an_image_of_each_class_is_shown_above_two_augmented_ones(run, tmp_path, shift):
    edit(run / "02_train_mnist/result.json", parameters__shift=shift)
    facts = student_report.collect_facts(run)
    for name, seed in (("files", 0), ("again", 1)):  # of the global generator, which has no effect
        torch.manual_seed(seed)
        report_writer.render(facts, "md", "en", beside=tmp_path / name)
    first, again = (tmp_path / name / "samples-mnist.png" for name in ("files", "again"))
    assert first.read_bytes() == again.read_bytes()
    strips = pixels(first)
    assert strips.shape == ((3 if shift else 1) * 30, 10 * 30)
    train = load_tiny("mnist").train
    for k in range(10):  # image k is the first of class k
        image = train.images[k, 0].numpy()
        moved = np.pad(image, 1)
        variants = [moved[y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
        for row, allowed in enumerate(([image], variants, variants)[: len(strips) // 30]):
            tile = strips[30 * row : 30 * row + 30, 30 * k : 30 * k + 30]
            assert (np.delete(tile, np.s_[1:-1], axis=0) == 255).all()
            assert (np.delete(tile, np.s_[1:-1], axis=1) == 255).all()
            assert any(np.array_equal(tile[1:-1, 1:-1], one) for one in allowed)


def test_the_first_nine_doubtful_labels_are_shown_if_there_are_such_images(run, tmp_path):
    rows = [("test", i, "Bag", "Shirt", "label doubtful") for i in (200, 0, *range(10, 20))]
    listed = pd.DataFrame(rows, columns=["split", "image", "label", "suggested", "verdict"])
    listed.to_csv(run / "06_doubtful_labels" / "labels.csv", index=False)
    report_writer.render(student_report.collect_facts(run), "md", "en", beside=tmp_path)
    shown = sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("label-*"))
    assert shown == [0, *range(10, 17)]
    (first,) = tmp_path.glob("label-*-test-0.png")
    assert np.array_equal(pixels(first), load_tiny("fashion_mnist").test.images[0, 0].numpy())


def test_the_figures_are_those_of_the_evaluation(finished):
    training = student_report.collect_facts(finished).trainings[1]
    answers = predicted(ERRORS["fashion_mnist"])
    low, high = evaluation.accuracy_interval(0.9, 200)
    assert training.test["interval"] == (low, high)
    assert training.test["counts"] == evaluation.confusion_matrix(answers).tolist()
    top = training.test["pairs"][0]
    assert (top["first"], top["second"], top["errors"]) == ("T-shirt/top", "Shirt", 16)
    assert (top["share"], top["rank"]) == (16 / 20, 1)
    assert top["interval"] == evaluation.accuracy_interval(16 / 20, 20)
    assert [pair["rank"] for pair in training.test["reported"]] == [1, 3]
    assert [row["images"] for row in training.test["classes"]] == [20] * 10
    assert sum(layer["parameters"] for layer in training.layers) == 7_740


def test_the_rows_are_in_the_order_of_the_course_and_others_last(run):
    shutil.copytree(run / "01_explore", run / "00_my_own")
    edit(run / "00_my_own/result.json", notebook="00_my_own")
    edit(run / "01_explore/result.json", finished="2026-11-29T12:00:00+00:00")
    facts = student_report.collect_facts(run)
    names = [*(notebook.name for notebook in SERIES[:7]), "00_my_own"]
    assert [row["notebook"] for row in facts.rows] == names
    assert facts.run == RUN


def test_without_a_record_there_is_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name} has no record of a run"):
        student_report.collect_facts(tmp_path)


def only_training(folder) -> student_report.Training:
    (training,) = student_report.collect_facts(folder).trainings
    return training


def test_classes_of_an_unknown_data_set_without_names_are_numbers(tmp_path):
    own_data(tmp_path)
    folder = tmp_path / "08_your_own_data"
    assert [*only_training(tmp_path).classes] == ["cat", "dog", "eel"]  # from the weights
    (folder / "weights.safetensors").unlink()
    assert only_training(tmp_path).classes == ["0", "1", "2"]
    edit(folder / "result.json", model={})
    assert only_training(tmp_path).classes == [*"0123456789"]


def test_the_layer_shapes_are_for_images_of_the_model_size(tmp_path):
    own_data(tmp_path)
    path = tmp_path / "08_your_own_data" / "weights.safetensors"
    model = models.build("tiny_vgg", num_classes=3, channels=3, size=32)
    models.save(model, path)
    expected = evaluation.layer_summary(model, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    outputs = [layer["output"] for layer in only_training(tmp_path).layers]
    assert outputs == [layer["output"][1:] for layer in expected]
    path.write_bytes(b"no")
    assert only_training(tmp_path).problem.startswith("weights.safetensors")


def test_missing_numbers_of_a_training_are_none(run):
    (run / "02_train_mnist" / "history.csv").write_text(f"{EPOCHS}\n1,0.5,0.8,,,0.1\n")
    (epoch,) = student_report.collect_facts(run).trainings[0].history
    assert (epoch["epoch"], epoch["train_loss"], epoch["validation_loss"]) == (1, 0.5, None)


def test_at_most_fifty_pairs_are_listed_and_a_single_error_has_share_1(tmp_path):
    spec = replace(data.MNIST, name="Pets", folder="", class_names=[*"abcdefghijkl"])
    each = {(i, j): 1 for j in range(12) for i in range(j)}
    save_training(tmp_path / "08_your_own_data", spec, each)
    assert len(only_training(tmp_path).test["pairs"]) == 50
    save_training(tmp_path / "08_your_own_data", spec, {(0, 1): 1})
    (pair,) = only_training(tmp_path).test["pairs"]
    assert (pair["share"], pair["interval"]) == (1, evaluation.accuracy_interval(1, 1))


@pytest.mark.parametrize("given", ["", "pets"])
def test_pictures_come_from_the_recorded_folder_or_from_the_run(tmp_path, monkeypatch, given):
    spec = own_data(tmp_path / "run")
    folder = tmp_path / "run" / "08_your_own_data"
    settings = {"dataset": given, "size": 20, "channels": 3, "seed": 0}
    edit(folder / "result.json", parameters=settings)
    splits, calls = Splits(split_of(3, 60), split_of(3, 30), split_of(3), spec), []

    def from_folder(path, **named):
        calls.append((path, named))
        return splits

    monkeypatch.setattr(data, "from_folder", from_folder)
    assert only_training(tmp_path / "run").splits is splits
    cache = {"cache_dir": tmp_path / "data", "progress": False}
    assert calls == [(given or folder / "digits", cache | {"size": 20, "channels": 3})]


# languages


def messages() -> set[str]:
    """All messages of the templates; of plurals, the singular."""
    found = set()
    options = {"extensions": "jinja2.ext.do", "trim_blocks": "true", "lstrip_blocks": "true"}
    for path in TEMPLATES:
        keywords = ("_", "gettext", "ngettext")
        for _, _, message, _ in babel_extract(BytesIO(path.read_bytes()), keywords, (), options):
            found.add(message if isinstance(message, str) else message[0])
    return found


@pytest.mark.parametrize("language", runs_commands.LANGUAGES[1:])
def test_each_message_has_a_translation_with_the_same_placeholders(language):
    with (report_writer.LOCALES / f"{language}.po").open("rb") as file:
        catalog = pofile.read_po(file)
    known = {message.id: message for message in catalog if message.id}
    singular = {i if isinstance(i, str) else i[0] for i in known}
    assert singular == messages()
    for message in known.values():
        forms = [message.string] if isinstance(message.string, str) else [*message.string]
        ids = [message.id] if isinstance(message.id, str) else [*message.id]
        assert all(forms), ids
        assert not message.fuzzy
        placeholders = {tuple(sorted(re.findall(r"%%|%\(\w+\)s", text))) for text in [*forms, *ids]}
        assert len(placeholders) == 1, ids


def visible(text: str) -> str:
    """The text of a page without references, code and style."""
    text = re.sub(r"(?s)<(style|code|ol)\b.*?</\1>", " ", text)
    return html.unescape(re.sub(r"<[^>]+>", "\n", text))


@pytest.mark.parametrize(
    "change", [None, "stopped", "notebook 3 failed", "no predictions", "three classes of own data"]
)
def test_no_english_is_left_in_the_indonesian_report(change, run):
    if change:
        CASES[change][0](run)
    facts = student_report.collect_facts(run)
    text = visible(report_writer.render(facts, "html", "id"))
    lines = {line.strip() for line in re.sub(r"\([^)]*\)", "", text).splitlines()}
    english = {"the", "of", "and", "is", "are", "was", "with", "by", "for", "this", "not", "which"}
    for line in lines:
        if "tidak dapat dibaca" not in line:  # with the reason, which stays in English
            assert not english & set(re.findall(r"[a-z]+", line.lower())), line
    named = {"MNIST", "Fashion-MNIST"} | set(data.FASHION_MNIST.class_names)
    shared = lines & {
        line.strip() for line in visible(report_writer.render(facts, "html", "en")).splitlines()
    }
    assert not [
        line
        for line in shared - named
        if re.search(r"[a-z] [a-z]+ [a-z]", line) and "threads" not in line
    ]


def test_numbers_and_dates_are_those_of_the_language(run):
    edit(run / "02_train_mnist/result.json", parameters__train_images=55000)
    both = {language: "\n".join(sentences(run, language)) for language in ("en", "id")}
    for language, parts in {
        "en": ("November 28, 2026", "55,000", "98.00%"),
        "id": ("28 November 2026", "55.000", "98,00%"),
    }.items():
        assert all(part in both[language] for part in parts)


def test_the_english_term_is_given_at_the_first_use_only(run):
    facts = student_report.collect_facts(run)
    text = visible(report_writer.render(facts, "html", "id").partition("</head>")[2])
    for term in ("matriks konfusi (confusion matrix)", "laju pembelajaran (learning rate)"):
        assert text.count(term) == 1
        assert text.count(term.partition(" (")[0]) > 1
        assert text.index(term) == text.index(term.partition(" (")[0])
    assert text.count("(Deep Learning)") == 1


def test_a_third_language_needs_only_one_file(run, tmp_path, monkeypatch):
    text = (report_writer.LOCALES / "id.po").read_text().replace("Language: id", "Language: ms")
    (tmp_path / "ms.po").write_text(text.replace("Abstrak", "Ringkasan"))
    monkeypatch.setattr(report_writer, "LOCALES", tmp_path)
    page = report_writer.render(student_report.collect_facts(run), "html", "ms")
    assert "1.1 Ringkasan" in page
    assert "98.00%" in page  # the Malay number format


# the command


command = partial(invoke, "report")


def test_the_newest_run_is_reported_and_loads_nothing_external(run, monkeypatch):
    monkeypatch.setattr(report_writer, "chromium", lambda: None)
    done = command("--root", run.parent, "--to", "html,pdf,md", "--language", "id")
    assert "No PDF: chromium is not installed" in done.stderr
    assert [*done.stdout.splitlines()] == [
        f"The report: {run / name} ({(run / name).stat().st_size / 1e3:,.0f} kB)"
        for name in ("report-id.html", "report-id.md")
    ]
    page = (run / "report-id.html").read_text()
    assert len(page) < 3e6
    assert '<html lang="id">' in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "<script" not in page
    for section in (
        "1.1 Abstrak",
        "1.2 Pendahuluan",
        "1.3 Metodologi",
        "1.4 Hasil",
        "1.5 Kesimpulan",
    ):
        assert section in page
    text = (run / "report-id.md").read_text()
    pictures = re.findall(r"\]\((.+?)\)", text)
    assert len(pictures) > 15
    assert all((run / picture).is_file() for picture in pictures)


def test_a_run_ends_with_its_report(finished, tmp_path, monkeypatch):
    def execute(name, folder, *_, **__):
        shutil.copytree(finished / name, folder / name, dirs_exist_ok=True)
        return NotebookResult(name, "finished", 1.0)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    for notebook, written in (("02", True), ("01", False)):
        root = tmp_path / notebook
        done = invoke("run", "--only", notebook, "--root", root)
        (folder,) = root.glob("2*")
        assert (f"The report: {folder / 'report.html'}" in done.stdout) == written
        assert (folder / "report.html").is_file() == written


@pytest.mark.skipif(report_writer.chromium() is None, reason="no chromium")
def test_chromium_prints_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command(RUN, "--root", run.parent, "--to", "pdf")
    assert not list(tmp_path.glob("*.pdf"))
    pdf = (run / "report.pdf").read_bytes()
    (pages,) = re.findall(rb"/Type /Pages[^>]*/Count (\d+)", pdf)
    assert 4 <= int(pages) <= 8
    bookmarks = re.findall(rb"/Title \(([^)]*)\)", pdf)
    assert {b"1.1 Abstract", b"1.5 Conclusion and future work"} <= set(bookmarks)


def test_the_pages_of_the_run_are_written_anew_and_link_to_the_report(run):
    (run / "index.html").write_text("of an older version")
    command(RUN, "--root", run.parent, "--language", "id")
    assert 'href="report-id.html"' in (run / "index.html").read_text()


@pytest.mark.parametrize("browser", ["false", "true"])  # fails with status 1; writes no file
def test_a_browser_that_fails_leaves_the_page(run, monkeypatch, browser):
    monkeypatch.setattr(report_writer, "chromium", lambda: browser)
    assert "No PDF" in command(RUN, "--root", run.parent, "--to", "pdf").stderr
    assert (run / "report.html").is_file()


def test_a_browser_that_hangs_leaves_the_page(run, monkeypatch):
    def hang(arguments, *, timeout, **_):
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(report_writer, "chromium", lambda: "true")
    monkeypatch.setattr(subprocess, "run", hang)
    assert "No PDF" in command(RUN, "--root", run.parent, "--to", "pdf").stderr
    assert (run / "report.html").is_file()


ARABIC = "محمد بن موسى الخوارزمي " * 13


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", ARABIC[:300], "A\nB\0C", "%s {{ x }} %(y)s", "x" * 500]
)
def test_authors_and_titles_may_be_any_text(run, name):
    named = ("--author", name, "--title", name, "--to", "html,md")
    command(RUN, "--root", run.parent, *named)
    page = (run / "report.html").read_text()
    assert "<script" not in page
    shown = " ".join(name.replace("\0", " ").split())
    assert page.count(f'dir="auto">{html.escape(shown)}<') == 2
    assert (run / "report.md").read_text().count(str(escape(shown))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "There is no run 'nowhere'"),
        ((RUN, "--language", "xx"), "There is no language 'xx'"),
        ((RUN, "--to", "doc"), "There is no format 'doc'"),
        ((RUN, "--author", "x" * 501), "The author has 501 characters; the limit is 500."),
        ((RUN, "--title", "x" * 501), "The title has 501 characters; the limit is 500."),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(run, arguments, message):
    stderr = command(*arguments, "--root", run.parent, status=2).stderr
    assert stderr.startswith(f"Error: {message}")
    assert stderr.count("\n") == 1


EPOCHS = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate"


def test_a_training_without_validation_is_reported(run):
    (run / "02_train_mnist" / "history.csv").write_text(f"{EPOCHS}\n1,0.5,0.8,,,0.1\n")
    command(RUN, "--root", run.parent)
    assert "After epoch 1 the training loss is 0.5." in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("02_train_mnist/result.json", '{"notebook": '), ("status.json", "[]"),
        ("02_train_mnist/predictions.csv", "target,predicted\n3,12\n"),
        ("02_train_mnist/predictions.csv", "target\n3\n"),
        ("02_train_mnist/predictions.csv", ""),
        ("02_train_mnist/history.csv", "epoch,train_loss\n1,x\n"),
        ("02_train_mnist/history.csv", f"{EPOCHS}\n1,,0.8,0.4,0.9,0.1\n"),
        ("02_train_mnist/history.csv", f"{EPOCHS}\n,0.5,0.8,0.4,0.9,0.1\n"),
        ("02_train_mnist/history.csv", f"{EPOCHS}\n1,0.5,0.8,-inf,0.9,0.1\n"),
        ("06_doubtful_labels/labels.csv", "split,image\ntest,1\n"),
    ],
)  # fmt: skip
def test_damaged_files_are_reported_in_one_line(run, path, content):
    (run / path).write_text(content)
    stderr = command(RUN, "--root", run.parent, status=2).stderr
    assert path.split("/")[-1] in stderr
    assert stderr.count("\n") == 1
    assert ("classes outside 0 to 9." in stderr) == ("3,12" in content)


def test_without_runs_there_is_nothing_to_report(tmp_path):
    assert "There are no runs" in command("--root", tmp_path, status=2).stderr
    (tmp_path / "empty").mkdir()
    assert "There is no run 'empty'" in command("empty", "--root", tmp_path, status=2).stderr


def test_a_run_of_an_older_version_is_reported(tmp_path):
    shutil.copytree(FIXTURES / "run-v0.1", tmp_path / "old")
    text = "\n".join(sentences(next((tmp_path / "old").iterdir())))
    assert "accuracy 50.00% on the test images; the run saved no predictions" in text
    assert "The records name no commit" in text
    assert "run --only 02" not in text
    assert "python -m helpers run -p 02.epochs=2 -p 02.seed=0 --only 02" in text


def test_a_training_and_one_notebook_alone_are_reported(tmp_path, run):
    (only,) = student_report.collect_facts(run / "02_train_mnist").trainings
    assert only.title == "MNIST"
    shutil.copytree(run / "02_train_mnist", tmp_path / "20261128-130000-fast" / "train_mnist")
    path = tmp_path / "20261128-130000-fast" / "train_mnist"
    edit(
        path / "result.json",
        notebook="train_mnist",
        parameters={"recipe": "fast", "seed": 3, "augmentation": {"flip": True, "shift": 0}},
    )
    facts = student_report.collect_facts(path.parent)
    assert report_writer.repeat_commands(facts) == [
        "python -m helpers train mnist --recipe fast --seed 3"
    ]
    assert facts.trainings[0].changes == {"flip": True}
    for notebook, words in (("fashion_mnist", "fashion_mnist"), ("Pets_2", "FOLDER")):
        edit(path / "result.json", notebook=f"train_{notebook}")
        (again,) = report_writer.repeat_commands(student_report.collect_facts(path.parent))
        assert again == f"python -m helpers train {words} --recipe fast --seed 3"
    given = {"recipe": "fast", "seed": 0, "model": "my net.py:Net"}
    edit(path / "result.json", parameters=given | {"size": 64, "channels": 1, "skip_broken": True})
    (again,) = report_writer.repeat_commands(student_report.collect_facts(path.parent))
    options = "--recipe fast --seed 0 --size 64 --channels 1 --skip-broken --model 'my net.py:Net'"
    assert again == f"python -m helpers train FOLDER {options}"
    edit(path / "result.json", parameters={"recipe": "fast", "seed": 0, "compile": True})
    (again,) = report_writer.repeat_commands(student_report.collect_facts(path.parent))
    assert again == "python -m helpers train FOLDER --recipe fast --seed 0 --compile"


def test_a_notebook_run_by_hand_is_repeated_with_the_parameters_that_it_has(run):
    """A record of notebook 8 also holds what the notebook found, such as the number of classes."""
    path = run / "02_train_mnist"
    parameters = {"seed": 1, "epochs": 2, "classes": 3, "checkpoint": "x"}
    edit(path / "result.json", parameters=parameters)
    (again,) = report_writer.repeat_commands(student_report.collect_facts(path))
    assert again == "python -m helpers run -p 02.seed=1 -p 02.epochs=2 --only 02"


def test_the_repeat_command_names_the_profile_and_the_notebooks(run):
    settings = {"02_train_mnist": {"epochs": 1}, "04_error_analysis": {}}
    facts = replace(student_report.collect_facts(run), profile="quick", settings=settings)
    again = "python -m helpers run --profile quick --only 02 --only 04"
    assert report_writer.repeat_commands(facts) == [again]


@pytest.mark.parametrize("name", ["../outside", "/etc", "20261128-120000-standard/../../outside"])
def test_a_name_cannot_lead_outside_the_folder_of_runs(tmp_path, name):
    for folder in (tmp_path / "runs" / RUN, tmp_path / "outside"):
        (folder / "02").mkdir(parents=True)
        (folder / "02" / "result.json").write_text('{"notebook": "02", "dataset": "mnist"}')
    stderr = command(name, "--root", tmp_path / "runs", status=2).stderr
    assert f"There is no run {name!r}" in stderr
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["02"]
