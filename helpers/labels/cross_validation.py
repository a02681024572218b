"""What do models say of images that they were not trained on, for every labelled image there is?

A model judges the label that it has learned from leniently. So the images are divided into folds
with the same share of each class, and each fold is judged by a model that was trained on the
others (Kohavi, "A Study of Cross-Validation and Bootstrap …", IJCAI 1995). With several seeds there
are several such divisions and models. What each model said is kept on the disk: an audit that was
stopped goes on where it was.
"""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import safetensors.torch
import torch
from torch import Tensor
from tqdm.auto import tqdm
from helpers import data, device, evaluation, models, training
from helpers.data import DatasetSpec, Split
from helpers.files import write_atomic
from helpers.training import Recipe, train_on


@dataclass(frozen=True)
class OutOfSamplePredictions:
    """What models said of images that none of them was trained on. Row i is image i."""

    probabilities: Tensor  # float32 (J, N, K): of each judge, each image, each class
    votes: Tensor  # float32 (J, N, K): the labels of an image's nearest neighbours, as shares

    @property
    def mean(self) -> Tensor:
        """The probabilities, averaged over the judges, float32 (N, K)."""
        return self.probabilities.mean(dim=0)

    @property
    def named(self) -> Tensor:
        """The class that each judge names, int64 (J, N)."""
        return self.probabilities.argmax(dim=2)


def predict_out_of_sample(
    labelled: Split,
    test: Split,
    spec: DatasetSpec,
    recipe: Recipe,
    *,
    keep: Path,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    k: int = 10,
    where: torch.device,
    progress: bool | None = None,
) -> tuple[OutOfSamplePredictions, OutOfSamplePredictions]:
    """The opinions on the labelled images, one judge a seed, and on the test images, one a model.

    For each seed the labelled images are divided into `folds`, and as many models trained by the
    recipe, on all images of the other folds. Beside its probabilities each model gives the labels
    of an image's `k` nearest neighbours among those that it was trained on, by its own features.
    What a model said is kept in a folder below `keep` that is named by everything it depends on.

    Raises ValueError for fewer than two folds or no seed, and what `training.fit` raises; Ctrl-C
    ends it, and what was finished is kept.
    """
    from sklearn.model_selection import StratifiedKFold

    if folds < 2 or not seeds:
        raise ValueError(f"Wanted at least 2 folds and a seed, got {folds} and {list(seeds)}.")
    decisive = replace(recipe, source="", measured="", refit=False)  # the rest changes nothing here
    folder = keep / f"{spec.name}-{_digest(labelled, test, decisive, folds, k, where, *_code())}"
    show = device.is_interactive() if progress is None else progress
    labels = labelled.targets.numpy()
    judges, test_judges = [], []
    with tqdm(total=len(seeds) * folds, unit=" models", leave=False, disable=not show) as bar:
        for seed in seeds:
            judge = torch.zeros(2, len(labelled), len(spec.class_names))
            division = StratifiedKFold(folds, shuffle=True, random_state=seed)
            for fold, (learned, held_out) in enumerate(division.split(labels, labels)):
                path = folder / f"seed-{seed}-fold-{fold}.safetensors"
                if not path.is_file():
                    train, unseen = (labelled[torch.from_numpy(r)] for r in (learned, held_out))
                    said = _train_and_predict(train, (unseen, test), spec, recipe, k=k, where=where, seed=seed)
                    write_atomic(path, safetensors.torch.save(said))
                said = safetensors.torch.load(path.read_bytes())
                judge[:, held_out] = said["held_out"]
                test_judges.append(said["test"])
                bar.update()
            judges.append(judge)
    return OutOfSamplePredictions(*torch.stack(judges, dim=1)), OutOfSamplePredictions(*torch.stack(test_judges, dim=1))


def _train_and_predict(
    train: Split,
    unseen: tuple[Split, Split],
    spec: DatasetSpec,
    recipe: Recipe,
    *,
    k: int,
    where: torch.device,
    seed: int,
) -> dict[str, Tensor]:
    """Train one model, and let it and its neighbours speak of two splits that it has not seen.

    Each of the two tensors, float32 (2, n, K), holds probabilities and votes.
    """
    model, history = train_on(recipe, train, spec, where=where, seed=seed, progress=False)
    if history.interrupted:
        raise KeyboardInterrupt
    pool = evaluation.extract_features(model, train.images)
    said = {}
    for name, split in zip(("held_out", "test"), unseen, strict=True):
        predictions, features = evaluation.predict_with_features(model, split.images)
        probabilities = predictions.probabilities
        alike = evaluation.nearest_neighbours(features, pool, k)
        said[name] = torch.stack(
            [probabilities, alike.votes(train.targets, probabilities.shape[1])]
        )
    return said


def _digest(*parts: object) -> str:
    """Twelve hex digits that stand for images, labels, recipe, numbers and code together."""
    together = [part.digest if isinstance(part, Split) else repr(part) for part in parts]
    return hashlib.sha256("|".join(together).encode()).hexdigest()[:12]


def _code() -> list[str]:
    """What decides what a model says beside its recipe: after a change nothing old is trusted."""
    modules = (
        augmentation, averaging, data, device, epoch, evaluation, networks, neighbours, residual,
        training,
    )  # fmt: skip
    return [torch.__version__, *(inspect.getsource(part) for part in (*modules, Recipe, train_on))]
