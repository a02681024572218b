"""A long training, audit or sweep needs no more memory than a short one."""

import itertools
from dataclasses import replace

import pytest
import torch

from helpers import data, headless, labels, models, training
from helpers.labels import cross_validation
from helpers.training import Execution
from tests.memory import megabytes

pytestmark = pytest.mark.long


def test_memory_does_not_grow_over_the_epochs(tiny, tmp_path):
    """400 epochs of five steps, with validation and checkpoints: less than 5 MB after the first."""
    used = []

    def measure(record):
        if record.epoch % 50 == 0:
            used.append(megabytes())

    torch.manual_seed(0)
    model = models.build("fast_cnn", width=8, num_classes=2)
    training.fit(
        model, torch.optim.SGD(model.parameters(), 0.05), tiny, validation=tiny[:20], epochs=400,
        batch_size=16, checkpoint=tmp_path, on_epoch=measure, execution=Execution(progress=False),
    )  # fmt: skip
    assert max(used) - used[0] < 5


def test_memory_does_not_grow_over_the_models_of_an_audit(tiny, tmp_path, monkeypatch):
    """A hundred models, of one epoch each: less than 3 MB after the tenth. Measured: 0.2 MB."""
    used, done, train = [], itertools.count(1), cross_validation._train_and_predict

    def measure(*arguments, **options):
        found = train(*arguments, **options)
        if next(done) % 10 == 0:
            used.append(megabytes())
        return found

    monkeypatch.setattr(cross_validation, "_train_and_predict", measure)
    recipe = replace(training.find_recipe("sprint", "mnist"), epochs=1, batch_size=16)
    labels.predict_out_of_sample(
        tiny, tiny[:10], data.MNIST, recipe, cache_dir=tmp_path, folds=5, seeds=range(20), k=3,
        device=torch.device("cpu"), progress=False,
    )  # fmt: skip
    assert len(used) == 10
    assert max(used) - used[0] < 3


def test_memory_does_not_grow_over_the_points_of_a_sweep(tmp_path):
    """200 points: after the twentieth, less than 4 MB here and less than 2 MB in each worker.

    Measured: 2.5 MB here, for the scheduler's records of its last 1,000 points, and 0.6 MB there.
    """
    from tests.faults import sweeps  # tests.faults does not work on Windows

    used, done = [], itertools.count(1)
    with sweeps.workers(tmp_path, 2) as client:

        def measure(*_):
            if next(done) % 20 == 0:
                used.append([megabytes(), *client.run(megabytes).values()])

        plan = headless.Plan(sweeps.NAME[:2], {"number": [str(n) for n in range(200)]}, {})
        points = plan.trials()
        results = headless.run_sweep(points, tmp_path / "runs", client, on_done=measure)
    assert {result.state for result in results} == {"finished"}
    assert len(used) == 10
    this_process, *workers = zip(*used, strict=True)
    assert max(this_process) - this_process[0] < 4
    assert len(workers) == 2
    assert all(max(worker) - worker[0] < 2 for worker in workers), workers
