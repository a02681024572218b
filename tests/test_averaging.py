import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from helpers import averaging, evaluation, models, training
from helpers.data import MNIST


def test_a_copy_follows_the_model_at_a_distance():
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with averaging.followed(model, optimizer, 0.9) as copy:
        for weight in (1.0, 2.0, 4.0):
            model.weight.data.fill_(weight)
            model.weight.grad = torch.zeros(1, 1)
            optimizer.step()
    # it begins where the model is after the first step
    assert copy.module.weight.item() == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4)
    optimizer.step()
    assert copy.module.weight.item() == pytest.approx(1.39)  # it follows no longer


def test_statistics_of_normalisations_are_averaged_as_well():
    model = nn.BatchNorm1d(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with averaging.followed(model, optimizer, 0.5) as copy:
        for mean in (0.0, 8.0):
            model.running_mean.fill_(mean)
            model.weight.grad = model.bias.grad = torch.zeros(1)
            optimizer.step()
    assert copy.module.running_mean.item() == 4


def test_without_a_decay_nobody_follows():
    model = nn.Linear(1, 1)
    with averaging.followed(model, torch.optim.SGD(model.parameters(), 1.0), 0.0) as copy:
        assert copy is None


def trained(tiny, **settings) -> nn.Module:
    torch.manual_seed(0)
    model = models.build("linear", num_classes=2, mean=MNIST.mean, std=MNIST.std)
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    trained.history = training.fit(model, optimizer, tiny, epochs=2, batch_size=16, **settings)
    return model


def test_a_training_ends_with_the_mean_and_looks_at_it(tiny):
    """Held against the weights after each step of the same training without averaging."""
    steps = []

    def note(optimizer, *_):
        steps.append([w.detach().clone() for w in optimizer.param_groups[0]["params"]])

    handle = register_optimizer_step_post_hook(note)
    plain = trained(tiny)
    handle.remove()
    expected = steps[0]
    for weights in steps[1:]:
        pairs = zip(expected, weights, strict=True)
        expected = [0.8 * mean + 0.2 * now for mean, now in pairs]
    mean = trained(tiny, average=0.8, validation=tiny[:30], keep_best=False)
    for ours, wanted in zip(mean.parameters(), expected, strict=True):
        assert torch.allclose(ours, wanted, atol=1e-6)
    seen = evaluation.loss(evaluation.predict(mean, tiny[:30]))
    assert trained.history.epochs[-1].validation_loss == pytest.approx(seen, abs=1e-6)
    assert not torch.allclose(next(plain.parameters()), next(mean.parameters()))
