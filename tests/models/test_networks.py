import pytest
import torch
import torch.nn.functional as F

from helpers import models

IMAGES = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "settings", "parameters"),
    [
        ("tiny_vgg", {"hidden_units": 10}, 7_740),
        ("tiny_vgg", {}, 7_740),
        ("compact", {}, 96_122),
        ("accurate", {}, 1_226_122),
        ("linear", {}, 784 * 10 + 10),
        ("mlp", {"hidden_units": 64}, 784 * 64 + 64 + 64 * 10 + 10),
        ("fast_cnn", {}, 75_546),
        ("fast_cnn", {"width": 8}, 20_498),
        ("mlp", {"num_classes": 7}, 784 * 128 + 128 + 128 * 7 + 7),
    ],
)
def test_models_map_images_to_logits_with_so_many_parameters(name, settings, parameters):
    model = models.build(name, **settings)
    assert models.count_parameters(model) == parameters
    assert model(IMAGES).shape == (3, settings.get("num_classes", 10))
    assert model.architecture.items() >= {"name": name, **settings}.items()


def test_normalising_by_hand():
    normalise = models.Normalize(mean=0.2, std=0.5)
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(normalise(pixels), torch.tensor([-0.4, 0.0, 1.6]))


def test_the_constants_travel_with_the_weights_and_are_not_trained():
    model = models.build("linear", mean=0.25, std=0.5)
    assert model.state_dict()["normalise.mean"] == 255 * 0.25
    assert "normalise.mean" not in dict(model.named_parameters())


def test_tiny_vgg_is_the_published_chain_of_operations():
    model = models.build("tiny_vgg", mean=0.1, std=0.3)
    weights = model.state_dict()
    x = (IMAGES / 255 - 0.1) / 0.3
    for block in ("block_1", "block_2"):
        for layer in (0, 2):
            kernel, bias = weights[f"{block}.{layer}.weight"], weights[f"{block}.{layer}.bias"]
            x = F.relu(F.conv2d(x, kernel, bias, padding=1))
        x = F.max_pool2d(x, 2)
    expected = x.flatten(1) @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]
    torch.testing.assert_close(model(IMAGES), expected, atol=1e-5, rtol=1e-4)


def test_the_perceptron_is_two_products_and_a_relu():
    model = models.build("mlp", hidden_units=5, mean=0.1, std=0.3)
    weights = model.state_dict()
    x = ((IMAGES / 255 - 0.1) / 0.3).flatten(1)
    hidden = (x @ weights["hidden.1.weight"].T + weights["hidden.1.bias"]).clamp(min=0)
    expected = hidden @ weights["classifier.weight"].T + weights["classifier.bias"]
    torch.testing.assert_close(model(IMAGES), expected, atol=1e-5, rtol=1e-4)


def test_fast_cnn_is_the_chain_of_operations_that_it_says():
    model = models.build("fast_cnn", width=4, mean=0.1, std=0.3).eval()
    weights = model.state_dict()

    def normalised(x, layer):
        mean, variance = weights[f"{layer}.running_mean"], weights[f"{layer}.running_var"]
        scale, shift = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift))

    x = (IMAGES / 255 - 0.1) / 0.3
    x = F.relu(F.conv2d(x, weights["shrink.0.weight"], weights["shrink.0.bias"], 2, 1))
    assert x.shape == (3, 4, 14, 14)
    for group in ("group_1", "group_2"):
        x = F.max_pool2d(F.conv2d(x, weights[f"{group}.0.weight"], padding=1), 2)
        x = normalised(x, f"{group}.2")
        x = normalised(F.conv2d(x, weights[f"{group}.4.weight"], padding=1), f"{group}.5")
    expected = x.flatten(1) @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]
    torch.testing.assert_close(model(IMAGES), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (models.Linear, 7_850),
        (models.MLP, 784 * 128 + 128 + 128 * 10 + 10),
        (models.TinyVGG, 7_740),
        (models.FastCNN, 75_546),
    ],
)
def test_without_settings_there_are_ten_classes_and_pixels_from_0_to_1(kind, parameters):
    model = kind()
    assert models.count_parameters(model) == parameters
    assert (model.normalise.mean, model.normalise.std) == (0, 255)


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"'alexnet'.*linear, mlp, .*tiny_vgg"):
        models.build("alexnet")
    with pytest.raises(ValueError, match="hidden_layers"):
        models.build("mlp", hidden_layers=3)


def test_models_also_build_without_memory_for_weights():
    with torch.device("meta"):
        model = models.build("tiny_vgg")
    assert model(torch.empty(5, 1, 28, 28, device="meta")).shape == (5, 10)


def test_a_normalisation_stands_between_each_convolution_and_its_relu():
    block = models.build("tiny_vgg", batch_norm=True).block_2
    kinds = [type(layer).__name__ for layer in block]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert models.count_parameters(models.build("tiny_vgg", batch_norm=True)) == 7_740 + 4 * 2 * 10
