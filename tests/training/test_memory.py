"""A long training needs no more memory than a short one."""

import gc

import psutil
import pytest
import torch

from helpers import models, training
from helpers.training import Execution


@pytest.mark.long
def test_memory_does_not_grow_over_the_epochs(tiny, tmp_path):
    """400 epochs of five steps, with validation and checkpoints: less than 5 MB after the first."""
    used = []

    def measure(record):
        if record.epoch % 50 == 0:
            gc.collect()
            used.append(psutil.Process().memory_info().rss / 1e6)

    torch.manual_seed(0)
    model = models.build("fast_cnn", width=8, num_classes=2)
    training.fit(
        model, torch.optim.SGD(model.parameters(), 0.05), tiny, validation=tiny[:20], epochs=400,
        batch_size=16, checkpoint=tmp_path, on_epoch=measure, execution=Execution(progress=False),
    )  # fmt: skip
    assert max(used) - used[0] < 5
