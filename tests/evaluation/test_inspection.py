import math
import os

import pytest
import torch

from helpers import evaluation, models

IMAGES = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)


def test_the_shape_walk_tells_each_layer_in_order():
    rows = evaluation.layer_summary(models.build("tiny_vgg"), IMAGES)
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
    evaluation.layer_summary(model, IMAGES)
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
    assert evaluation.count_flops(models.build(name, **settings)) == 2 * products


def test_operations_are_counted_where_the_model_lies():
    with torch.device("meta"):
        model = models.build("linear")
    assert evaluation.count_flops(model) == 2 * 784 * 10


def test_counting_operations_leaves_the_model_as_it_was():
    model = models.build("fast_cnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation.count_flops(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_profiler_is_quiet_unless_told_otherwise(monkeypatch):
    for given, then in ((None, "99"), ("1", "1")):
        monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
        if given:
            monkeypatch.setenv("KINETO_LOG_LEVEL", given)
        evaluation.profile_ops(lambda: torch.ones(2) + 1)
        assert os.environ["KINETO_LOG_LEVEL"] == then


def test_time_shares_name_what_takes_long(capfd):
    large = torch.randn(400, 400)
    shares = evaluation.profile_ops(lambda: [large @ large for _ in range(20)])
    assert next(iter(shares)) == "aten::mm"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert capfd.readouterr() == ("", "")


class SumOf(torch.nn.Module):
    """Class 1 gets the sum of one quarter of the pixels, class 0 nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.01))

    def forward(self, images):
        seen = self.weight * images[:, 0, :14, :14].float().sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(seen), seen], dim=1)


def test_covering_what_the_model_looks_at_lowers_its_belief():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6, 6] = 200  # logit 2
    image[0, 20, 20] = 200  # in a quarter that is not looked at
    fall = evaluation.occlusion(SumOf(), image, 1, patch=3)
    assert fall.shape == (28, 28)
    wanted = torch.zeros(28, 28)
    wanted[5:8, 5:8] = math.log(1 / (1 + math.exp(-2))) - math.log(1 / 2)
    torch.testing.assert_close(fall, wanted)


def test_what_is_covered_is_clipped_at_the_edge_of_the_image():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 0, 0] = 200
    fall = evaluation.occlusion(SumOf(), image, 1, patch=5)
    assert (fall > 0).nonzero().tolist() == [[i, j] for i in range(3) for j in range(3)]


def test_what_speaks_against_a_class_falls_below_zero():
    image = torch.full((1, 28, 28), 1, dtype=torch.uint8)
    fall = evaluation.occlusion(SumOf(), image, 0, patch=1)
    assert (fall[:14, :14] < 0).all()
    assert (fall[14:] == 0).all()


def test_five_pixels_are_covered_unless_told_otherwise():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6, 6] = 200
    assert (evaluation.occlusion(SumOf(), image, 1) > 0).sum() == 25


@pytest.mark.parametrize("patch", [0, 4, -1])
def test_a_patch_without_a_centre_is_refused(patch):
    with pytest.raises(ValueError, match="odd number of pixels"):
        evaluation.occlusion(SumOf(), IMAGES[0], 0, patch=patch)
