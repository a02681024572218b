"""Out-of-sample predictions for every labeled image, by cross-validation.

A model overfits the labels that it was trained on. So the images are divided into stratified folds,
and each fold is predicted by a model that was trained on the others (Kohavi, "A Study of
Cross-Validation and Bootstrap …", IJCAI 1995).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from tqdm.auto import tqdm

from helpers import data, evaluation, models, training
from helpers.data import DatasetSpec, Split
from helpers.files import short_digest
from helpers.messages import Show, progress_bar
from helpers.training import Execution, Recipe

CACHED = "seed-{}-fold-{}.tensors"


@dataclass(frozen=True)
class OutOfSamplePredictions:
    """Predictions of M models for images that they were not trained on. Row i is image i."""

    probabilities: Tensor  # float32 (M, N, K)
    votes: Tensor  # float32 (M, N, K): the fraction of the nearest neighbors with each label

    @property
    def mean(self) -> Tensor:
        """The mean probabilities of the models, float32 (N, K)."""
        return self.probabilities.mean(dim=0)

    @property
    def predicted(self) -> Tensor:
        """The class that each model predicts, int64 (M, N)."""
        return self.probabilities.argmax(dim=2)


def predict_out_of_sample(
    labeled: Split,
    test: Split,
    spec: DatasetSpec,
    recipe: Recipe,
    *,
    cache_dir: Path | str,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    k: int = 10,
    device: torch.device,
    progress: Show = None,
) -> tuple[OutOfSamplePredictions, OutOfSamplePredictions]:
    """Predict the labeled images, M = len(seeds), and the test images, M = len(seeds) * folds.

    Each seed shuffles the images into other `folds`. The neighbors of an image are the `k` nearest
    training images in the feature space of the model. Results are cached in a folder of
    `cache_dir` named by a digest of everything that they depend on, so a stopped audit resumes.
    Raises ValueError for fewer than 2 folds, no seed or too few images, and as `training.fit`.
    """
    if folds < 2 or not seeds:
        raise ValueError(f"Expected at least 2 folds and 1 seed, got {folds} and {list(seeds)}.")
    name = f"{spec.name}-{_digest(labeled, test, spec, recipe, folds, k, device.type)}"
    folder, for_labeled, for_test = Path(cache_dir, name), [], []
    paths = {pair: folder / CACHED.format(*pair) for pair in product(seeds, range(folds))}
    steps = recipe.epochs + 2  # of each model: its epochs and two searches
    known = steps * sum(path.is_file() for path in paths.values())
    options = dict(total=steps * len(paths), initial=known, desc="audit", unit=" steps")
    with progress_bar(progress, smoothing=0, **options) as bar:
        for seed in seeds:
            combined = torch.zeros(2, len(labeled), len(spec.class_names))
            for fold, (train, held_out) in enumerate(_divide(labeled.targets, folds, seed)):
                unseen = {"held_out": labeled[held_out], "test": test}
                predict = partial(
                    _train_and_predict, labeled[train], unseen, spec, recipe, k=k, device=device,
                    seed=seed, bar=bar,
                )  # fmt: skip
                found = data.cached_tensors(paths[seed, fold], predict)
                combined[:, held_out] = found["held_out"]
                for_test.append(found["test"])
            for_labeled.append(combined)
    of_labeled, of_test = (torch.stack(found, dim=1) for found in (for_labeled, for_test))
    return OutOfSamplePredictions(*of_labeled), OutOfSamplePredictions(*of_test)


def _divide(targets: Tensor, folds: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """For each stratified fold, the rows of the other folds (training) and its own (held out)."""
    classes = targets.numpy()
    divider = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # classes with fewer images than folds
        warnings.filterwarnings("ignore", "The least populated class")
        rows = list(divider.split(classes, classes))
    return [(torch.from_numpy(train), torch.from_numpy(held_out)) for train, held_out in rows]


def _train_and_predict(
    train: Split, unseen: Mapping[str, Split], spec: DatasetSpec, recipe: Recipe,
    *, k: int, device: torch.device, seed: int, bar: tqdm,
) -> dict[str, Tensor]:  # fmt: skip
    """Train one model, and predict each of the `unseen` splits.

    Returns float32 (2, n, K) for each split: probabilities, and votes of the nearest neighbors.
    The bar advances after each epoch and each search.
    """
    bar.set_postfix_str("training")
    model, _ = training.train_on(
        recipe, train, spec, device=device, seed=seed, on_epoch=lambda _: bar.update(),
        execution=Execution(progress=False),
    )  # fmt: skip
    pool = evaluation.extract_features(model, train.images)
    found = {}
    for name, split in unseen.items():
        bar.set_postfix_str("searching neighbors")
        predictions, features = evaluation.predict_with_features(model, split.images)
        neighbors = evaluation.nearest_neighbors(features, pool, k)
        votes = neighbors.votes(train.targets, len(spec.class_names))
        found[name] = torch.stack([predictions.probabilities, votes])
        bar.update()
    return found


def _digest(labeled: Split, test: Split, spec: DatasetSpec, recipe: Recipe, *more: object) -> str:
    """The digest of everything that the predictions depend on, including the source code."""
    # these fields do not change what `train_on` does
    recipe = replace(recipe, source="", measured="", duration="", train_on_validation=False)
    settings = repr((recipe, spec.class_names, spec.mean, spec.std, *more, torch.__version__))
    package = Path(__file__).parents[1]
    code = [package / "device.py", Path(__file__)]
    for wing in ("data", "models", "evaluation", "training"):
        code += sorted(p for p in (package / wing).iterdir() if p.suffix in (".py", ".toml"))
    parts = [labeled.digest, test.digest, models.source_digest(recipe.model), settings]
    return short_digest(*parts, *(path.read_bytes() for path in code))
