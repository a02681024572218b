"""An audit of sixty images without any training."""

import pytest
import torch

from helpers import data, labels, training
from helpers.data import Split
from helpers.labels import OutOfSamplePredictions, audit


def picture(*grays: int) -> torch.Tensor:
    """Images of one gray value each."""
    return torch.tensor(grays, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)


@pytest.fixture
def simulated_audit(monkeypatch, tmp_path) -> labels.Audit:
    """Three classes; one model and its neighbors contradict three of the labels."""
    grays = torch.arange(60) * 4
    true_labels = torch.arange(60) // 20
    given = true_labels.clone()
    given[[5, 25]], given[50] = 2, 0
    probabilities = torch.full((1, 60, 10), 0.001)
    probabilities[0, torch.arange(60), true_labels] = 0.991
    images = picture(*grays.tolist())
    published = Split(images[:40], given[:40]), Split(images[40:], given[40:])
    predictions = [
        OutOfSamplePredictions(shares, shares)
        for shares in (probabilities[:, :40], probabilities[:, 40:])
    ]
    monkeypatch.setattr(audit.verdicts, "NEAR_DUPLICATE_RMSE", 3)  # neighboring grays differ by 4
    monkeypatch.setattr(data, "load_published", lambda name: {"mnist": published}[name])
    monkeypatch.setattr(audit, "predict_out_of_sample", lambda *_, **__: predictions)
    recipe = training.find_recipe("fast", "mnist")
    return labels.run_audit("mnist", recipe, cache_dir=tmp_path, device=torch.device("cpu"))
