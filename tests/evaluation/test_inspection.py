import math
import subprocess
import sys

import pytest
import torch

from helpers import evaluation, models

IMAGES = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)


def test_the_layer_summary_has_each_layer_in_order():
    rows = evaluation.layer_summary(models.build("tiny_vgg"), IMAGES)
    assert [row["kind"] for row in rows] == [
        "Normalize",
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
    assert (names[0], names[1], names[-1]) == ("normalize", "block_1.0", "classifier.1")


def test_the_layer_summary_leaves_no_hooks():
    model = models.build("linear")
    evaluation.layer_summary(model, IMAGES)
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.parametrize("train", [True, False])
def test_the_layer_summary_changes_neither_mode_nor_statistics(train):
    model = models.build("tiny_vgg", batch_norm=True).train(train)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluation.layer_summary(model, IMAGES)
    assert all(layer.training == train for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "model_kwargs", "products"),
    [
        ("linear", {}, 784 * 10),
        ("mlp", {"hidden_units": 32}, 784 * 32 + 32 * 10),
        # a convolution has pixels * channels in * channels out * 3 * 3 products
        ("tiny_vgg", {}, 784 * (10 + 100) * 9 + 196 * (100 + 100) * 9 + 490 * 10),
        (
            "fast_cnn",
            {"width": 8},
            196 * 8 * 16 + 196 * 8 * 16 * 9 + 49 * (16 * 16 + 16 * 32) * 9 + 9 * 32 * 32 * 9
            + 288 * 10,
        ),
    ],
)  # fmt: skip
def test_each_product_counts_as_two_operations(name, model_kwargs, products):
    assert evaluation.count_flops(models.build(name, **model_kwargs)) == 2 * products


def test_operations_are_counted_on_the_device_of_the_model():
    with torch.device("meta"):
        model = models.build("linear")
    assert evaluation.count_flops(model) == 2 * 784 * 10


def test_counting_operations_does_not_change_the_model():
    model = models.build("fast_cnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation.count_flops(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("enabled", [False, True])
def test_the_profiler_does_not_log_unless_the_user_wants_it(monkeypatch, enabled):
    """In a new process: the variable is read once, when torch first profiles."""
    monkeypatch.delenv("KINETO_LOG_LEVEL")
    if enabled:
        monkeypatch.setenv("KINETO_LOG_LEVEL", "0")
    code = "import torch; from helpers import evaluation; evaluation.profile_ops(torch.ones(2).sum)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout + done.stderr) is enabled


def test_the_operation_that_takes_longest_comes_first(capfd):
    large = torch.randn(400, 400)
    shares = evaluation.profile_ops(lambda: [large @ large for _ in range(20)])
    assert next(iter(shares)) == "aten::mm"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert capfd.readouterr() == ("", "")


class SumOfQuarter(torch.nn.Module):
    """The logit of class 1 is the sum of the upper left quarter of the pixels; class 0 has 0."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.01))

    def forward(self, images):
        logit = self.weight * images[:, 0, :14, :14].float().sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_covering_a_pixel_that_the_model_uses_lowers_the_log_probability():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6, 6] = 200  # logit 2
    image[0, 20, 20] = 200  # in a quarter that the model ignores
    fall = evaluation.occlusion(SumOfQuarter(), image, 1, patch=3)
    assert fall.shape == (28, 28)
    expected = torch.zeros(28, 28)
    expected[5:8, 5:8] = math.log(1 / (1 + math.exp(-2))) - math.log(1 / 2)
    torch.testing.assert_close(fall, expected)


def test_the_patch_is_clipped_at_the_edge_of_the_image():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 0, 0] = 200
    fall = evaluation.occlusion(SumOfQuarter(), image, 1, patch=5)
    assert (fall > 0).nonzero().tolist() == [[i, j] for i in range(3) for j in range(3)]


def test_evidence_against_a_class_has_negative_occlusion_values():
    image = torch.full((1, 28, 28), 1, dtype=torch.uint8)
    fall = evaluation.occlusion(SumOfQuarter(), image, 0, patch=1)
    assert (fall[:14, :14] < 0).all()
    assert (fall[14:] == 0).all()


def test_a_patch_has_five_by_five_pixels_by_default():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6, 6] = 200
    assert (evaluation.occlusion(SumOfQuarter(), image, 1) > 0).sum() == 25


@pytest.mark.parametrize("patch", [0, 4, -1])
def test_a_patch_without_a_center_is_refused(patch):
    with pytest.raises(ValueError, match="odd number of pixels"):
        evaluation.occlusion(SumOfQuarter(), IMAGES[0], 0, patch=patch)
