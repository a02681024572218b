import os

import pytest
import torch
import torch.nn.functional as F

from helpers import models
from helpers.models import ResNet
from helpers.models.networks import Block

IMAGES = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "model_kwargs", "parameters"),
    [
        ("tiny_vgg", {"hidden_units": 10}, 7_740),
        ("tiny_vgg", {}, 7_740),
        ("resnet", {}, 77_562),
        ("resnet", {"width": 18}, 97_984),
        ("resnet", {"stride": 2}, 77_674),
        ("resnet", {"blocks": (1, 2, 1)}, 96_122),
        ("resnet", {"width": 10, "blocks": (1, 2, 1), "separable": True}, 7_230),
        ("compact", {}, 96_122),
        ("accurate", {}, 1_226_122),
        ("linear", {}, 784 * 10 + 10),
        ("mlp", {"hidden_units": 64}, 784 * 64 + 64 + 64 * 10 + 10),
        ("fast_cnn", {}, 75_546),
        ("fast_cnn", {"width": 8}, 20_498),
        ("mlp", {"num_classes": 7}, 784 * 128 + 128 + 128 * 7 + 7),
    ],
)
def test_models_map_images_to_logits_and_have_the_stated_parameters(name, model_kwargs, parameters):
    model = models.build(name, **model_kwargs)
    assert models.count_parameters(model) == parameters
    assert model(IMAGES).shape == (3, model_kwargs.get("num_classes", 10))
    assert model.architecture.items() >= {"name": name, **model_kwargs}.items()


def test_normalization_by_hand():
    normalize = models.Normalize(mean=0.2, std=0.5)
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(normalize(pixels), torch.tensor([-0.4, 0.0, 1.6]))


def test_mean_and_std_are_saved_with_the_weights_and_not_trained():
    model = models.build("linear", mean=0.25, std=0.5)
    assert model.state_dict()["normalize.mean"] == 255 * 0.25
    assert "normalize.mean" not in dict(model.named_parameters())


def test_tiny_vgg_has_the_published_operations():
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


def test_the_mlp_is_two_matrix_products_and_a_relu():
    model = models.build("mlp", hidden_units=5, mean=0.1, std=0.3)
    weights = model.state_dict()
    x = ((IMAGES / 255 - 0.1) / 0.3).flatten(1)
    hidden = (x @ weights["hidden.1.weight"].T + weights["hidden.1.bias"]).clamp(min=0)
    expected = hidden @ weights["classifier.weight"].T + weights["classifier.bias"]
    torch.testing.assert_close(model(IMAGES), expected, atol=1e-5, rtol=1e-4)


def test_fast_cnn_has_the_operations_of_its_docstring():
    model = models.build("fast_cnn", width=4, mean=0.1, std=0.3).eval()
    weights = model.state_dict()

    def norm_relu(x, layer):
        mean, variance = weights[f"{layer}.running_mean"], weights[f"{layer}.running_var"]
        scale, shift = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift))

    x = (IMAGES / 255 - 0.1) / 0.3
    x = F.relu(F.conv2d(x, weights["stem.0.weight"], weights["stem.0.bias"], 2, 1))
    assert x.shape == (3, 4, 14, 14)
    for group in ("group_1", "group_2"):
        x = F.max_pool2d(F.conv2d(x, weights[f"{group}.0.weight"], padding=1), 2)
        x = norm_relu(x, f"{group}.2")
        x = norm_relu(F.conv2d(x, weights[f"{group}.4.weight"], padding=1), f"{group}.5")
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
def test_by_default_there_are_ten_classes_and_pixels_are_scaled_to_0_to_1(kind, parameters):
    model = kind()
    assert models.count_parameters(model) == parameters
    assert (model.normalize.mean, model.normalize.std) == (0, 255)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(ValueError, match=r"'alexnet'.*linear, mlp, .*tiny_vgg"):
        models.build("alexnet")
    with pytest.raises(ValueError, match="hidden_layers"):
        models.build("mlp", hidden_layers=3)


def test_models_can_be_built_on_the_meta_device():
    with torch.device("meta"):
        model = models.build("tiny_vgg")
    assert model(torch.empty(5, 1, 28, 28, device="meta")).shape == (5, 10)


def test_with_batch_norm_it_is_between_each_convolution_and_its_relu():
    block = models.build("tiny_vgg", batch_norm=True).block_2
    kinds = [type(layer).__name__ for layer in block]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert models.count_parameters(models.build("tiny_vgg", batch_norm=True)) == 7_740 + 4 * 2 * 10


@pytest.mark.parametrize(("stride", "sides"), [(1, [28, 28, 14, 7]), (2, [14, 14, 7, 4])])
def test_stages_2_and_3_halve_height_and_width(stride, sides):
    found = []
    model = ResNet(width=8, stride=stride)
    for stage in (model.stem, model.stage_1, model.stage_2, model.stage_3):
        stage.register_forward_hook(lambda *arguments: found.append(arguments[2].shape[-1]))
    model(IMAGES)
    assert found == sides


def test_stages_have_the_number_of_blocks_asked_for():
    model = ResNet(width=8, blocks=(1, 3, 2))
    assert [len(stage) for stage in (model.stage_1, model.stage_2, model.stage_3)] == [1, 3, 2]


@pytest.mark.parametrize("blocks", [(1, 1), (1, 0, 1), (201, 1, 1), [1, 1, 10**9]])
def test_stages_without_a_block_or_with_absurdly_many_are_refused(blocks):
    with pytest.raises(ValueError, match=r"Expected 1 to 200 blocks in each of 3 stages, got"):
        models.build("resnet", blocks=blocks)


def test_a_stage_may_have_200_blocks():
    assert len(ResNet(width=1, blocks=(1, 200, 1)).stage_2) == 200


def test_a_residual_block_is_f_of_x_plus_the_shortcut():
    """conv(relu(norm(conv(relu(norm(x)))))) + conv_1x1(relu(norm(x)))."""
    block = ResNet(width=4).stage_2[0].eval()  # 4 channels to 8, stride 2
    x = torch.randn(2, 4, 6, 6)
    normed = torch.relu(block.norm_1(x))
    f_of_x = block.conv_2(torch.relu(block.norm_2(block.conv_1(normed))))
    torch.testing.assert_close(block(x), f_of_x + block.shortcut(normed))
    assert block(x).shape == (2, 8, 3, 3)


@pytest.mark.parametrize("number", [0, 1])
def test_a_residual_block_with_zero_weights_is_the_identity(number):
    block = ResNet(width=4, blocks=(2, 1, 1)).stage_1[number]
    block.conv_2.weight.data.zero_()
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("stride", "channels", "shortcut"), [(1, 4, False), (2, 4, True), (1, 5, True), (2, 5, True)]
)
def test_the_shortcut_has_weights_only_where_the_shape_changes(stride, channels, shortcut):
    block = Block(4, channels, stride)
    assert (block.shortcut is not None) == shortcut
    side = 6 // stride
    assert block(torch.randn(2, 4, 6, 6)).shape == (2, channels, side, side)


def test_by_default_a_block_keeps_the_size_and_is_residual_with_full_convolutions():
    block = Block(4, 4)
    assert block(x := torch.randn(2, 4, 6, 6)).shape == x.shape
    assert block.residual
    assert block.conv_1.weight.shape == (4, 4, 3, 3)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_separable_convolution_is_a_convolution_whose_kernels_are_products(stride):
    """The kernel from channel i to channel o is that of channel i, times a factor for (o, i)."""
    conv = ResNet(width=4, separable=True).stage_2[0].conv_1  # 4 channels to 8, stride 2
    filters, mixing = (layer.weight for layer in conv)  # (4, 1, 3, 3) and (8, 4, 1, 1)
    assert (filters.shape, mixing.shape) == ((4, 1, 3, 3), (8, 4, 1, 1))
    conv[0].stride = stride
    x = torch.randn(2, 4, 6, 6)
    expected = F.conv2d(x, filters[:, 0] * mixing, stride=stride, padding=1)
    torch.testing.assert_close(conv(x), expected)


def test_a_plain_network_has_the_same_layers_without_shortcuts():
    plain, residual = ResNet(width=8, residual=False), ResNet(width=8)
    shortcuts = {name for name, _ in residual.named_parameters() if "shortcut" in name}
    assert len(shortcuts) == 2
    assert {name for name, _ in plain.named_parameters()} | shortcuts == {
        name for name, _ in residual.named_parameters()
    }
    for stage, block in ((0, 0), (0, 1), (1, 0)):
        model = ResNet(width=4, blocks=(2, 1, 1), residual=False)
        plain_block = (model.stage_1, model.stage_2)[stage][block]
        plain_block.conv_2.weight.data.zero_()
        assert not plain_block(torch.randn(2, 4, 6, 6)).any()


OWN_NET = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self, num_classes, channels, size):
        super().__init__()
        self.head = nn.LazyLinear(num_classes)

    def forward(self, images):
        return self.head(images.flatten(1))

class NotANet:
    pass

def any_options(**options):
    return MyNet(channels=1, size=28, **options)

def five_classes(**options):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, **{"out_features": 5, **options}))

class Lazy(MyNet):
    def __init__(self, num_classes):
        super().__init__(num_classes, 1, 28)
"""


@pytest.fixture
def own_net(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text(OWN_NET)
    return path


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 16), (3, 45), (1, 96)])
def test_every_model_takes_other_image_shapes(name, channels, size):
    model = models.build(name, num_classes=7, channels=channels, size=size).eval()
    images = torch.zeros(2, channels, size, size, dtype=torch.uint8)
    assert model(images).shape == (2, 7)


def test_a_custom_class_is_built_with_normalization_first(own_net):
    options = dict(num_classes=3, channels=3, size=16, mean=0.5, std=0.25)
    model = models.build(f"{own_net}:MyNet", **options)
    gray = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert torch.allclose(model[0](gray), torch.tensor(2.0))  # (1 - 0.5) / 0.25
    assert model(gray).shape == (1, 3)
    assert model.architecture["num_classes"] == 3
    assert type(model[1]).__module__ == own_net.stem


def test_a_function_with_any_options_gets_the_number_of_classes(own_net):
    model = models.build(f"{own_net}:any_options", num_classes=4, channels=1, size=28)
    white = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    assert model(white).shape == (2, 4)
    assert (model[0](white) == 1).all()  # without a mean and a standard deviation


def test_a_function_with_any_options_needs_no_number_of_classes(own_net):
    model = models.build(f"{own_net}:five_classes")
    assert model(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"any_options cannot be built with .*num_classes"):
        models.build(f"{own_net}:any_options")


@pytest.mark.parametrize("given", [{}, {"channels": 1}, {"size": 28}])
def test_lazy_layers_need_the_shape_of_an_image(own_net, given):
    with pytest.raises(ValueError, match="has lazy layers, so it needs `channels` and `size`"):
        models.build(f"{own_net}:Lazy", num_classes=3, **given)


@pytest.mark.skipif(os.name == "nt", reason="no folder has a colon on Windows")
def test_a_custom_class_may_lie_in_a_folder_with_a_colon(own_net, tmp_path):
    folder = tmp_path / "lab 3: my networks"
    folder.mkdir()
    moved = own_net.rename(folder / "my.py")
    assert models.build(f"{moved}:any_options", num_classes=4, channels=1, size=28)


def test_the_source_digest_changes_with_the_file(own_net):
    name = f"{own_net}:MyNet"
    before = models.source_digest(name)
    own_net.write_text(OWN_NET + "# changed")
    assert models.source_digest(name) != before
    assert models.source_digest("fast_cnn") == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}:MyNte", "no class in .*'MyNte'. Did you mean 'MyNet'"),
        ("{}:nn", "no class in .*'nn'"),
        ("{}:NotANet", "to return an nn.Module, got a NotANet"),
        ("nowhere.py:MyNet", "There is no file nowhere.py"),
    ],
)
def test_a_custom_class_that_cannot_be_built_is_refused(own_net, name, message):
    with pytest.raises(ValueError, match=message):
        models.build(name.format(own_net), num_classes=3, channels=1, size=28)
