"""No accelerator is needed to fill one: models that refuse large batches stand for it."""

import pytest
import torch
from torch import nn

from helpers import models, training
from helpers.data import MNIST
from helpers.training import OutOfMemoryError


class Narrow(nn.Module):
    """A network on a device on which only so many images fit."""

    def __init__(self, fits: int, error: Exception) -> None:
        super().__init__()
        self.inner = models.build("fast_cnn", width=8, mean=MNIST.mean, std=MNIST.std)
        self.fits, self.error = fits, error
        self.tried = []

    def forward(self, images):
        self.tried.append(len(images))
        if len(images) > self.fits:
            raise self.error
        return self.inner(images)


CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (CUDA, True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_full_memory_is_known_by_what_each_device_says(error, full):
    assert training.exhausted(error) is full


@pytest.mark.parametrize(
    ("fits", "told"), [(5, "batch_size=4 fits"), (16, "batch_size=16 fits"), (0, "Not even one")]
)
def test_the_batch_that_fits_is_found_by_trying(tiny, fits, told):
    advice = training.advice(Narrow(fits, CUDA), tiny, 32)
    assert told in advice
    assert advice.startswith("The memory of cpu is full at batch_size=32.")


def test_trying_changes_nothing_in_the_model(tiny):
    model = Narrow(5, CUDA).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.advice(model, tiny, 32)
    assert not model.training
    assert model.tried == []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weights.grad is None for weights in model.parameters())


def test_another_error_while_trying_is_not_swallowed(tiny):
    with pytest.raises(RuntimeError, match="shapes"):
        training.advice(Narrow(5, RuntimeError("shapes")), tiny, 32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_does_not_fit_says_what_would(tiny, precision):
    model = Narrow(12, CUDA).eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with pytest.raises(OutOfMemoryError, match=r"batch_size=20\. .*batch_size=10 fits") as caught:
        training.fit(model, optimizer, tiny, epochs=2, batch_size=20, precision=precision)
    assert caught.value.history.epochs == []
    assert caught.value.__cause__ is None
    assert not model.training


def test_the_epochs_before_are_kept(tiny, tmp_path):
    """The second epoch no longer fits; the first stays in the history and in the folder."""
    model = Narrow(70, CUDA)

    def shrink(record):
        model.fits = 9

    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with pytest.raises(OutOfMemoryError, match="batch_size=5 fits") as caught:
        training.fit(
            model, optimizer, tiny, epochs=2, batch_size=10, on_epoch=shrink, checkpoint=tmp_path
        )
    assert len(caught.value.history.epochs) == 1
    assert len(list(tmp_path.glob("epoch-0001-*"))) == 1
