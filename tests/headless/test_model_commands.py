"""`predict`: pictures in, classes out; `explore`. `export` is tested in test_cli.py."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from helpers import data, evaluation, models, runs
from helpers.training import recipes
from tests.tools import claiming_png, invoke, saved


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist):
    """Five test digits as PNG files, and their targets."""
    folder = tmp_path_factory.mktemp("digits")
    for i, image in enumerate(mnist.test.images[:5]):
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    return folder, mnist.test.targets[:5].tolist()


predict = partial(invoke, "predict")
explore = partial(invoke, "explore")


def test_a_folder_of_pictures_is_predicted(digits):
    folder, targets = digits
    found = json.loads(predict(folder, "--json").stdout)
    assert [row["file"] for row in found] == [str(folder / f"{i}.png") for i in range(5)]
    assert [int(row["predicted"]) for row in found] == targets
    for row in found:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["probability"] == max(row["probabilities"].values())


def test_hidden_files_of_a_folder_are_skipped(digits, tmp_path):
    """As the ones that macOS writes to a stick."""
    folder, _ = digits
    shutil.copy(folder / "0.png", tmp_path)
    (tmp_path / "._0.png").write_bytes(b"no picture")
    (row,) = json.loads(predict(tmp_path, "--json").stdout)
    assert row["file"] == str(tmp_path / "0.png")


def test_the_table_has_a_row_for_each_picture(digits):
    folder, targets = digits
    done = predict(folder / "0.png", "--model", "mnist/tiny_vgg")
    heading, row = done.stdout.strip().splitlines()
    assert heading.split() == ["file", "predicted", "probability"]
    assert row.split()[-2] == str(targets[0])
    assert row.endswith("%")


def test_a_picture_from_standard_input(digits):
    folder, targets = digits
    (row,) = json.loads(predict("-", "--json", input=(folder / "1.png").read_bytes()).stdout)
    assert (row["file"], int(row["predicted"])) == ("-", targets[1])


def test_a_damaged_photograph_is_called_by_its_name(monkeypatch):
    def refuse(model, picture):
        raise ValueError(f"{picture} cannot be read: it is cut off")

    monkeypatch.setattr(evaluation, "read_handwriting", refuse)
    done = predict("-", "--json", input=saved(Image.new("L", (40, 40))), status=1)
    assert json.loads(done.stdout) == [{"file": "-", "problem": "- cannot be read: it is cut off"}]


def test_the_digits_on_a_page_are_read_and_an_empty_page_is_reported(digits, tmp_path):
    folder, targets = digits
    page = Image.new("L", (320, 120), 255)
    for i in range(2):
        digit = Image.open(folder / f"{i}.png").resize((84, 84))
        page.paste(0, (40 + 130 * i, 20), digit)  # ink on paper
    page.save(tmp_path / "page.png")
    Image.new("L", (320, 120), 230).save(tmp_path / "empty.png")
    done = predict(tmp_path / "page.png", tmp_path / "empty.png", "--json")
    read, empty = json.loads(done.stdout)
    assert read["predicted"] == f"{targets[0]} {targets[1]}"
    assert [thing["digit"] for thing in read["things"]] == targets[:2]
    assert read["probability"] == min(thing["probability"] for thing in read["things"])
    left, top, right, bottom = read["things"][1]["box"]
    assert (170 <= left < right <= 260, 20 <= top < bottom <= 104) == (True, True)
    assert empty["predicted"].startswith("nothing that looks like a digit")
    assert empty["things"] == []


def test_each_object_has_a_digit_or_a_reason_for_rejection(monkeypatch):
    boxes = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = data.Handwriting(torch.zeros(2, 1, 28, 28), boxes, torch.zeros(9, 9))
    digits, probabilities = torch.tensor([7, evaluation.UNKNOWN]), torch.tensor([0.87654321, 0.3])
    reading = evaluation.Reading(found, digits, probabilities, ["", "two digits at once"])
    monkeypatch.setattr(evaluation, "read_handwriting", lambda model, picture: reading)
    (record,) = json.loads(predict("-", "--json", input=saved(Image.new("L", (40, 40)))).stdout)
    assert record == {
        "file": "-",
        "predicted": "7 ?",
        "probability": 0.876543,
        "things": [
            {"digit": 7, "probability": 0.876543, "box": [1, 2, 3, 4]},
            {
                "digit": None,
                "probability": 0.3,
                "box": [5, 6, 7, 8],
                "rejection": "two digits at once",
            },
        ],
    }


def test_unreadable_pictures_are_named_and_the_rest_predicted(digits, tmp_path):
    folder, targets = digits
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files = (tmp_path / "bad.png", folder / "2.png", tmp_path / "none.png")
    bad, good, none = json.loads(predict(*files, "--json", status=1).stdout)
    assert bad["problem"].startswith("cannot be read: ")
    assert none["problem"] == "cannot be read: there is no such file"
    assert int(good["predicted"]) == targets[2]
    assert "cannot be read" in predict(tmp_path / "bad.png", status=1).stdout


def test_a_folder_without_pictures_and_an_unknown_model_are_refused(tmp_path):
    stderr = predict(tmp_path, status=2).stderr
    assert stderr == f"Error: There are no pictures in {tmp_path}.\n"
    stderr = predict(tmp_path, "--model", "mnist/best", "--root", tmp_path, status=2).stderr
    assert "mnist/accurate" in stderr


def test_a_run_on_own_data_predicts_its_own_classes(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(30, 20, 20, 3), dtype=np.uint8)
    splits = data.from_arrays(images, np.arange(30) % 3, ["Löwe", "été", "<b>"])
    options = dict(num_classes=3, channels=3, size=20)
    runs.save(
        tmp_path / "runs" / "1" / "train", notebook="train", dataset=splits.spec, parameters={},
        measured={}, model=models.build("fast_cnn", width=8, **options),
    )  # fmt: skip
    picture = tmp_path / "x.jpg"
    Image.fromarray(rng.integers(256, size=(60, 90, 3), dtype=np.uint8)).save(picture)
    done = predict(picture, "--model", "1", "--root", tmp_path / "runs", "--json")
    (row,) = json.loads(done.stdout)
    assert set(row["probabilities"]) == {"Löwe", "été", "<b>"}


def test_weights_of_a_custom_class_need_the_code_option(tmp_path, digits):
    folder, _ = digits
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))\n"
        "    def forward(self, images):\n"
        "        return self.layers(images)\n"
    )
    name = f"{tmp_path / 'net.py'}:Net"
    model = models.build(name, num_classes=10, channels=1, size=28)
    path = models.save(model, tmp_path / "w.safetensors", dataset="mnist")
    assert "--code" in predict(folder, "--model", path, status=2).stderr
    predict(folder, "--model", path, "--code", name)
    assert "--code" in explore(path, status=2).stderr
    explore(path, "--code", name, "--out", tmp_path / "x.html")


@pytest.mark.parametrize(
    ("steps", "lowest"), [(40, 0.7), pytest.param(600, 0.98, marks=pytest.mark.long)]
)
def test_an_own_folder_is_trained_audited_and_predicted(tmp_path, monkeypatch, steps, lowest):
    """As in docs/own-data.md: train, audit and predict, with one picture in a wrong folder."""
    monkeypatch.setattr(recipes, "_OWN_STEPS", steps)
    digits = load_digits()
    for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = tmp_path / "pictures" / str((digit + 1) % 10 if i == 700 else digit)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype(np.uint8)).save(folder / f"{i}.png")
    root = tmp_path / "runs"
    files = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    given = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    words = ("train", tmp_path / "pictures", "--json", "--root", root)
    trained = json.loads(invoke(*words).stdout)
    assert trained["dataset"] == "pictures"
    assert trained["measured"]["test_accuracy"] >= lowest
    words = ("audit", tmp_path / "pictures", "--folds", 2, "--seeds", 1, "--root", root)
    audited = invoke(*words).output
    (listed,) = root.glob("*/audit_pictures/labels.csv")
    worst = pd.read_csv(listed).head(5 if steps == 600 else 100)
    wrong = f"{(digits.target[700] + 1) % 10}/700.png"
    assert wrong in set(worst["file"])
    kept = pd.read_csv(listed.with_name("kept.csv"))
    assert wrong not in set(kept["file"])
    assert len(kept) > lowest * 1_797 * 0.9
    assert str(listed) in audited
    words = (folder / f"{i}.png", "--model", "fast", "--json", "--root", root)
    (found,) = json.loads(predict(*words).stdout)
    assert found["predicted"] == str(digits.target[-1])
    assert "the first training image of each class" in report("fast", root)
    assert "the most doubtful labels" in report("audit", root)
    left = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in left} == given


def test_three_own_classes_are_trained_audited_and_predicted(tmp_path, monkeypatch):
    """Bright on the left, in the middle or on the right: the course's data have ten classes."""
    monkeypatch.setattr(recipes, "_OWN_STEPS", 40)
    rng, names = np.random.default_rng(0), ["bee", "fox", "owl"]
    for i in range(90):
        pixels = rng.integers(60, size=(30, 30, 3), dtype=np.uint8)
        pixels[:, i % 3 * 10 :][:, :10] += 150
        (tmp_path / "zoo" / names[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "zoo" / names[i % 3] / f"{i}.png")

    folder, root = tmp_path / "zoo", tmp_path / "runs"
    invoke("train", folder, "--root", root)
    (weights,) = root.rglob("weights.safetensors")
    assert models.load(weights)(torch.zeros(1, 3, 28, 28, dtype=torch.uint8)).shape == (1, 3)
    invoke("audit", folder, "--folds", 2, "--seeds", 1, "--root", root)
    (listed,) = root.glob("*/audit_zoo/labels.csv")
    ranked = pd.read_csv(listed)
    assert len(ranked) == 90
    assert ranked["label"].tolist() == [Path(file).parent.name for file in ranked["file"]]
    assert set(ranked["suggested"]) | set(ranked["nearest_label"].dropna()) <= set(names)
    found = json.loads(predict(folder, "--model", weights, "--json").stdout)
    assert all(set(row["probabilities"]) == set(names) for row in found)
    assert [row["predicted"] for row in found] == [Path(row["file"]).parent.name for row in found]


def report(name, root):
    """The text of the report of this run, which shows the folder's own pictures."""
    invoke("report", name, "--to", "md", "--root", root)
    (path,) = root.glob(f"*-{name}/report.md")
    assert list(path.parent.glob("report_files/*.png"))
    return path.read_text(encoding="utf-8")


def test_a_shipped_model_is_explored_with_test_images(tmp_path):
    done = explore("mnist/tiny_vgg", "--out", tmp_path)
    path = tmp_path / "mnist-tiny_vgg-explorer.html"
    page = path.read_text(encoding="utf-8")
    size = f"{path.stat().st_size / 1e3:.0f} kB"
    assert done.stdout == f"Wrote {path} ({size}). Open it in a browser; it needs no network.\n"
    assert "test accuracy <b>99.16 %</b>" in page
    assert "SHA-256 of the weights <b>422be97db9cf…</b>" in page  # of the shipped file
    assert "trained <b>" not in page  # its record is not shipped
    assert '"examples": {' in page


def test_a_run_is_explored_with_the_date_of_its_record(tmp_path):
    model = models.build("tiny_vgg", hidden_units=2, num_classes=3, channels=3, size=16)
    splits = data.from_arrays(
        np.random.default_rng(0).integers(256, size=(30, 16, 16, 3), dtype=np.uint8),
        np.arange(30) % 3, ["Löwe", "été", "<b>"],
    )  # fmt: skip
    record = runs.save(
        tmp_path / "1" / "train", notebook="train", dataset=splits.spec, parameters={},
        measured={"test_accuracy": 0.5}, model=model,
    )  # fmt: skip
    explore("1", "--root", tmp_path, "--out", tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert f"trained <b>{json.loads(record.read_text())['finished'][:10]}</b>" in page
    assert "test accuracy <b>50.00 %</b>" in page
    assert r'"classes": ["L\u00f6we", "\u00e9t\u00e9", "\u003cb\u003e"]' in page
    assert '"examples": null' in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist/accurate", "cannot show stage_1.0.conv_1 (Conv2d)"),
        ("mnist/tiny_vg", "Shipped are: fashion_mnist/accurate"),
        ("none.safetensors", "There is no checkpoint at none.safetensors"),
    ],
)
def test_explore_refuses_unusable_models_in_one_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    stderr = explore(name, "--root", tmp_path, status=2).stderr
    assert message in stderr
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_the_archives_the_page_has_no_images(tmp_path, monkeypatch):
    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(data, "load_splits", missing)
    explore("mnist/tiny_vgg", "--out", tmp_path / "x.html")
    assert '"examples": null' in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_picture_of_too_many_pixels_is_refused():
    assert "too large" in predict("-", input=claiming_png(30_000, 30_000), status=1).stdout
