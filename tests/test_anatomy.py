import os

import pytest
import torch

from helpers import anatomy, models

IMAGES = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)


def test_the_shape_walk_tells_each_layer_in_order():
    rows = anatomy.shape_walk(models.build("tiny_vgg"), IMAGES)
    assert [row["kind"] for row in rows] == [
        "Normalise",
        *["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"] * 2,
        "Flatten",
        "Linear",
    ]
    assert [row["output"] for row in rows if row["kind"] == "MaxPool2d"] == [
        (3, 10, 14, 14),
        (3, 10, 7, 7),
    ]
    assert sum(row["parameters"] for row in rows) == 7_740
    names = [row["layer"] for row in rows]
    assert (names[0], names[1], names[-1]) == ("normalise", "block_1.0", "classifier.1")


def test_the_shape_walk_leaves_no_hooks():
    model = models.build("linear")
    anatomy.shape_walk(model, IMAGES)
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.parametrize(
    ("name", "settings", "products"),
    [
        ("linear", {}, 784 * 10),
        ("mlp", {"hidden_units": 32}, 784 * 32 + 32 * 10),
        # convolutions: places times channels in times channels out times 3 x 3
        ("tiny_vgg", {}, 784 * (10 + 100) * 9 + 196 * (100 + 100) * 9 + 490 * 10),
        (
            "fast_cnn",
            {"width": 8},
            196 * 8 * 16 + 196 * 8 * 16 * 9 + 49 * (16 * 16 + 16 * 32) * 9 + 9 * 32 * 32 * 9
            + 288 * 10,
        ),
    ],
)  # fmt: skip
def test_operations_are_a_multiplication_and_an_addition_for_each_product(name, settings, products):
    assert anatomy.operations(models.build(name, **settings)) == 2 * products


def test_operations_are_counted_where_the_model_lies():
    with torch.device("meta"):
        model = models.build("linear")
    assert anatomy.operations(model) == 2 * 784 * 10


def test_counting_operations_leaves_the_model_as_it_was():
    model = models.build("fast_cnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    anatomy.operations(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_profiler_is_quiet_unless_told_otherwise(monkeypatch):
    for given, then in ((None, "99"), ("1", "1")):
        monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
        if given:
            monkeypatch.setenv("KINETO_LOG_LEVEL", given)
        anatomy.time_shares(lambda: torch.ones(2) + 1)
        assert os.environ["KINETO_LOG_LEVEL"] == then


def test_time_shares_name_what_takes_long(capfd):
    large = torch.randn(400, 400)
    shares = anatomy.time_shares(lambda: [large @ large for _ in range(20)])
    assert next(iter(shares)) == "aten::mm"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert capfd.readouterr() == ("", "")
