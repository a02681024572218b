"""The notebooks must detect defects, which are planted one at a time in a copy of `helpers/`.

The notebooks that train are run at the quick profile with the correct helpers; nbval compares with
their outputs. With the correct helpers they must pass. With each defect they must fail, in the cell
that is there to detect it: a mere crash would not count.

Some defects show before anything is trained. For these the committed notebooks are enough.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import headless
from helpers.files import PROJECT

EXPLORE, TRAIN_MNIST, TRAIN_FASHION = "01_explore", "02_train_mnist", "03_train_fashion_mnist"
ERRORS, MANY_RUNS, OWN_DATA = "04_error_analysis", "07_many_runs", "08_your_own_data"


@dataclass(frozen=True)
class Defect:
    """One change to one file of helpers/, and a part of the cell that first detects it."""

    file: str
    original: str  # occurs in the file exactly once
    planted: str  # replaces it
    noticed_by: str
    notebook: str = TRAIN_MNIST
    before_training: bool = False  # whether that cell is above the first training


DEFECTS = {
    "labels shuffled": Defect(
        "data/datasets.py",
        "a[8:].long() for i, a",
        "a[8:].long()[torch.randperm(len(a) - 8)] for i, a",
        'claims.expect("test accuracy"',
    ),
    "weights frozen": Defect(
        "training/loop.py", "                scaled.step()\n", "", 'claims.expect("test accuracy"'
    ),
    "evaluation order shuffled": Defect(
        "evaluation/predictions.py",
        "    with preserve_train_mode(model), torch.inference_mode():",
        "    images = images[torch.randperm(len(images))]\n"
        "    with preserve_train_mode(model), torch.inference_mode():",
        "row i is image i",
    ),
    "evaluation in training mode": Defect(
        "evaluation/predictions.py",
        "        model.eval()\n",
        "        model.train()\n",
        "depends on the image alone",
    ),
    "mean of batch means": Defect(
        "training/history.py",
        "((losses * sizes).sum() / sizes.sum()).item()",
        "losses.mean().item()",
        "the loss is the mean over images",
    ),
    "confusion matrix transposed": Defect(
        "evaluation/predictions.py",
        "predictions.predicted, predictions.targets, num_classes",
        "predictions.targets, predictions.predicted, num_classes",
        "rows add up to the class sizes",
    ),
    "augmentation left on at evaluation": Defect(
        "evaluation/predictions.py",
        "        logits = [model(batch.to(device)) for",
        "        from helpers.data import random_shift\n\n"
        "        moved = lambda x: random_shift(x, torch.default_generator, pixels=1)\n"
        "        logits = [model(moved(batch).to(device)) for",
        "the loss is the mean over images",
    ),
    "constants of the other data set": Defect(
        "data/datasets.toml",
        "mean = 0.1307\nstd = 0.3081",
        "mean = 0.2860\nstd = 0.3530",
        "pixels are normalized by",
        before_training=True,
    ),
    "validation leaks into training": Defect(
        "data/splits.py",
        "return Splits(train, validation,",
        "return Splits(published[:-VALIDATION_SIZE], validation,",  # as many images as before
        "validation images that are training images as well",
        before_training=True,
    ),
    "schedule never stepped": Defect(
        "training/loop.py",
        "                if scheduler is not None:\n                    scheduler.step()\n",
        "",
        "the learning rate ended near zero",
    ),
    "best weights not restored": Defect(
        "training/loop.py",
        "model.load_state_dict(progress.best_weights)",
        "pass",
        "the lowest validation loss of its curve",
        TRAIN_FASHION,
    ),
    "class names off by one": Defect(
        "data/datasets.toml",
        'class_names = [\n    "T-shirt/top",',
        'class_names = [\n    "background", "T-shirt/top",',
        "the first five are",
        TRAIN_FASHION,
        before_training=True,
    ),
    "softmax before cross-entropy": Defect(
        "training/loop.py",
        "F.cross_entropy(logits, targets, label",
        "F.cross_entropy(logits.softmax(dim=1), targets, label",
        "the loss is the mean over images",
    ),
    "labels shifted after a filter": Defect(
        "data/splits.py",
        "train, validation = published[~is_validation], published[is_validation]",
        "train, validation = published[~is_validation], published[is_validation]\n"
        "    train = Split(train.images, published.targets[: len(train)])",
        "shares.round(1)",
        EXPLORE,
        before_training=True,
    ),
    "test images in training": Defect(
        "data/splits.py",
        "return Splits(train, validation,",
        "return Splits(train[: -len(test)] + test, validation,",  # as many images as before
        "shares.round(1)",
        EXPLORE,
        before_training=True,
    ),
    "accuracy as a mean of batch means": Defect(
        "evaluation/predictions.py",
        "return (predictions.predicted == predictions.targets).double().mean().item()",
        "batches = (predictions.predicted == predictions.targets).double().split(64)\n"
        "    return torch.stack([batch.mean() for batch in batches]).mean().item()",
        "recall adds up to the accuracy",
        ERRORS,
        before_training=True,
    ),
    "test images augmented": Defect(
        "data/splits.py",
        "    return Split(images, targets), Split(test_images, test_targets)",
        "    from helpers.data.augmentation import random_shift\n\n"
        "    test_images = random_shift(test_images, torch.Generator(), pixels=1)\n"
        "    return Split(images, targets), Split(test_images, test_targets)",
        'claims.expect("test accuracy"',
        ERRORS,
        before_training=True,
    ),
    "class names in alphabetical order": Defect(
        "evaluation/error_analysis.py",
        "in combinations(enumerate(class_names), 2)",
        "in combinations(enumerate(sorted(class_names)), 2)",
        "at least three of the guesses",
        ERRORS,
        before_training=True,
    ),
    "own validation images in training": Defect(
        "data/own_data.py",
        "np.flatnonzero(part == key)",
        'np.flatnonzero((part == key) | ((part == "validation") & (key == "train")))',
        "splits.notes",
        OWN_DATA,
        before_training=True,
    ),
    "seed not used": Defect(
        "training/recipes.py",
        "    seed_everything(seed)\n",
        "    seed_everything(0)\n",
        "looks better than it is",
        MANY_RUNS,
    ),
}
# detected only by the results of training; run at the quick profile
AFTER_TRAINING = {name: defect for name, defect in DEFECTS.items() if not defect.before_training}
QUICK = sorted({defect.notebook for defect in AFTER_TRAINING.values()})


@pytest.mark.parametrize("name", DEFECTS)
def test_the_code_for_each_defect_occurs_once(name):
    defect = DEFECTS[name]
    assert (PROJECT / "helpers" / defect.file).read_text().count(defect.original) == 1


@pytest.fixture(scope="module")
def quick_runs(tmp_path_factory) -> dict[str, Path]:
    """The notebooks of QUICK, run with the correct helpers."""
    folder = tmp_path_factory.mktemp("quick runs")
    for name in QUICK:
        outcome = headless.execute_notebook(name, folder, headless.PROFILES["quick"][name])
        assert outcome.state == "finished", outcome.message
    return {name: folder / name / f"{name}.ipynb" for name in QUICK}


def regression_test(executed: Path, folder: Path, defect: Defect | None) -> str:
    """Compare a notebook under nbval with defective helpers; the report, "" if it passes."""
    shutil.copytree(
        PROJECT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("data", "benchmarks", "notebooks"):  # the other files that the helpers read
        (folder / name).symlink_to(PROJECT / name, target_is_directory=True)
    if defect is not None:
        file = folder / "helpers" / defect.file
        file.write_text(file.read_text().replace(defect.original, defect.planted))
    notebook = shutil.copy(executed, folder)
    # coverage should not measure the defective copy
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    nbval = ["--nbval", "--nbval-current-env", "--exitfirst", "--quiet", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *nbval, notebook],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout if done.returncode else ""


@pytest.fixture(scope="module")
def reports(quick_runs, tmp_path_factory) -> dict[str, str]:
    """The report of nbval in each case, in parallel on all cores: a notebook uses one thread."""
    cases = {f"correct {name}": (name, None) for name in quick_runs} | {
        name: (defect.notebook, defect) for name, defect in AFTER_TRAINING.items()
    }

    def report(case: tuple[str, Defect | None]) -> str:
        notebook, defect = case
        return regression_test(quick_runs[notebook], tmp_path_factory.mktemp("helpers"), defect)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return dict(zip(cases, pool.map(report, cases.values()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DEFECTS.keys() - AFTER_TRAINING))
def test_committed_notebooks_notice_defects_visible_before_training(name, tmp_path):
    defect = DEFECTS[name]
    committed = headless.NOTEBOOKS / f"{defect.notebook}.ipynb"
    assert defect.noticed_by in regression_test(committed, tmp_path, defect)


@pytest.mark.long
@pytest.mark.parametrize("notebook", QUICK)
def test_notebooks_pass_without_a_defect(reports, notebook):
    assert reports[f"correct {notebook}"] == ""


@pytest.mark.long
@pytest.mark.parametrize("name", AFTER_TRAINING)
def test_a_planted_defect_is_noticed(reports, name):
    assert DEFECTS[name].noticed_by in reports[name], reports[name] or "nothing was noticed"
