"""What `fit` refuses before it starts: invalid models, optimizers and targets."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import models, training
from helpers.data import Split
from helpers.training.checks import check_model


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.01)


def linear(**changes):
    return models.build("linear", mean=0.5, std=0.3, **changes)


def ten_classes(first: int = 0) -> Split:
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    return Split(images, torch.arange(first, first + 10))


def fit(model, optimizer=None, **settings):
    """Train for an epoch on ten images, one of each class."""
    settings = {"train": ten_classes(), "epochs": 1, "batch_size": 5} | settings
    return training.fit(model, optimizer or sgd(model), **settings)


class ChangedLogits(nn.Module):
    """Returns a function of its logits."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = linear(), function

    def forward(self, images):
        return self.function(self.inner(images))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
            r"cannot take .* uint8 \(2, 1, 28, 28\).*first layer.*models\.Normalize",
        ),
        (nn.Sequential(models.Normalize(0.5, 0.3), nn.Linear(784, 10)), "cannot take a batch"),
        (nn.Sequential(models.Normalize(0.5, 0.3), nn.Conv2d(1, 10, 3)), r"\(2, 10, 26, 26\)"),
        (linear().requires_grad_(False), "All parameters of the model are frozen"),
        (linear().double(), r"must be float32, got torch\.float64: call model\.float"),
        (linear().bfloat16(), r"must be float32, got torch\.bfloat16.*precision="),
        (ChangedLogits(lambda x: (x,)), "For 2 images it returned a tuple"),
        (ChangedLogits(lambda x: {"logits": x}), "For 2 images it returned a dict"),
        (ChangedLogits(lambda x: None), "For 2 images it returned a NoneType"),
        (ChangedLogits(lambda x: x.argmax(1)), r"For 2 images it returned torch\.int64 \(2,\)\."),
        (ChangedLogits(lambda x: x[:, :, 0]), "cannot take .* too many indices"),
        (ChangedLogits(lambda x: x.nothing), "cannot take .* no attribute 'nothing'"),
        (ChangedLogits(lambda x: {}[0]), "cannot take a batch"),
        (linear(num_classes=9), r"training targets must lie in \[0, 9\).*got 0 to 9"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_trained_is_refused_with_the_reason(model, message):
    parameters = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.SGD(parameters or model.parameters(), 0.01)
    with pytest.raises(ValueError, match=message):
        fit(model, optimizer)


def test_a_model_that_detaches_its_output_is_refused():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = linear()

        def forward(self, images):
            return self.inner(images).detach()

    message = r"do not depend on any trainable parameter\. Does the model's forward use detach\(\)"
    with pytest.raises(ValueError, match=message):
        fit(Cut())


@pytest.mark.parametrize("smoothing", [0, 1])
def test_label_smoothing_of_0_and_of_1_is_accepted(smoothing):
    assert len(fit(linear(), label_smoothing=smoothing).epochs) == 1


def test_targets_outside_the_classes_and_splits_without_images_are_refused():
    model = linear()
    with pytest.raises(ValueError, match=r"training targets must lie in \[0, 10\).*got 1 to 10"):
        fit(model, train=ten_classes(first=1))
    with pytest.raises(ValueError, match=r"validation targets.*got -1 to 8"):
        fit(model, validation=ten_classes(first=-1))
    with pytest.raises(ValueError, match="There are no training images"):
        fit(model, train=ten_classes()[:0])
    with pytest.raises(ValueError, match="There are no validation images"):
        fit(model, validation=ten_classes()[:0])


def test_unsupported_optimizers_and_schedulers_are_refused_by_name():
    model = linear()
    for kind, message in (
        (torch.optim.LBFGS, "LBFGS needs a closure that computes the loss several times"),
        (WithClosure, "WithClosure needs a closure that computes the loss several times"),
        (torch.optim.SparseAdam, "SparseAdam takes only sparse"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(model, kind(model.parameters(), 0.1))
    optimizer = sgd(model)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match=r"on_epoch=lambda record: scheduler\.step"):
        fit(model, optimizer, scheduler=plateau)


def test_the_schedule_of_another_optimizer_is_refused():
    model = linear()
    schedule = torch.optim.lr_scheduler.ConstantLR(sgd(model))
    with pytest.raises(ValueError, match="The scheduler belongs to another optimizer"):
        fit(model, scheduler=schedule)


class WithClosure(torch.optim.SGD):
    """A custom optimizer that needs a closure."""

    def step(self, closure):
        return super().step(closure)


class ByLoss(torch.optim.lr_scheduler.ConstantLR):
    """A custom schedule that needs the loss."""

    def step(self, loss=None, /):
        super().step()


class OnlyByLoss(ByLoss):
    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, loss):
        super().step()


def test_a_custom_scheduler_is_refused_only_if_it_needs_the_loss():
    model = linear()
    optimizer = sgd(model)
    with pytest.raises(ValueError, match="OnlyByLoss needs the loss of an epoch"):
        fit(model, optimizer, scheduler=OnlyByLoss(optimizer))
    assert fit(model, optimizer, scheduler=ByLoss(optimizer)).epochs


@pytest.mark.parametrize("settings", [{"momentum": math.nan}, {"weight_decay": math.inf}])
def test_settings_of_an_optimizer_that_are_not_finite_are_refused(settings):
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, **settings)
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} of the optimizer must be a finite number"):
        fit(model, optimizer)


def test_count_steps_includes_a_smaller_last_batch():
    assert training.count_steps(70, epochs=3, batch_size=32) == 9
    assert training.count_steps(64, epochs=1, batch_size=32) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, r"batch_size must be in \[1, 70\] \(all images\), got 0"),
        ({"batch_size": 71}, r"batch_size must be in \[1, 70\] \(all images\), got 71"),
    ],
)
def test_zero_epochs_and_invalid_batch_sizes_are_refused(changed, message):
    recipe = replace(training.find_recipe("fast", "mnist"), **{"batch_size": 32} | changed)
    with pytest.raises(ValueError, match=message):
        recipe.optimizer(linear(), 70)
    with pytest.raises(ValueError, match=message):
        training.count_steps(**{"images": 70, "epochs": 1, "batch_size": 32} | changed)


def test_a_plateau_scheduler_works_as_the_error_suggests():
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)  # so the loss never improves
    optimizer.param_groups[0]["lr"] = 1e-30
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, eps=0)
    history = fit(
        model, optimizer, validation=ten_classes(), epochs=3,
        on_epoch=lambda record: scheduler.step(record.validation_loss),
    )  # fmt: skip
    rates = [record.learning_rate for record in history.epochs]
    assert rates == pytest.approx([1e-30, 1e-30, 0.5e-30])


def test_checking_a_model_changes_neither_it_nor_the_random_state():
    model = nn.Sequential(linear(), nn.BatchNorm1d(10), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    check_model(model, ten_classes(), None)
    assert torch.rand(1) == expected
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
