import pytest
import torch

from helpers import models
from helpers.models import Block, ResNet


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, 77_562),
        ({"width": 18}, 97_984),
        ({"stride": 2}, 77_674),
        ({"blocks": (1, 2, 1)}, 96_122),
    ],
)
def test_a_residual_network_has_so_many_parameters(settings, parameters):
    model = models.build("resnet", **settings)
    assert models.count_parameters(model) == parameters
    images = torch.randint(256, (2, 1, 28, 28), dtype=torch.uint8)
    assert model(images).shape == (2, 10)


@pytest.mark.parametrize(("stride", "sides"), [(1, [28, 28, 14, 7]), (2, [14, 14, 7, 4])])
def test_each_stage_halves_the_sides(stride, sides):
    seen = []
    model = ResNet(width=8, stride=stride)
    for stage in (model.stem, model.stage_1, model.stage_2, model.stage_3):
        stage.register_forward_hook(lambda *arguments: seen.append(arguments[2].shape[-1]))
    model(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
    assert seen == sides


def test_a_block_that_has_learned_nothing_hands_on_what_it_was_given():
    block = Block(4, 4)
    block.conv_2.weight.data.zero_()
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_stages_have_as_many_blocks_as_told():
    model = ResNet(width=8, blocks=(1, 3, 2))
    assert [len(stage) for stage in (model.stage_1, model.stage_2, model.stage_3)] == [1, 3, 2]


def test_a_plain_network_has_the_same_layers_but_adds_nothing():
    plain, residual = ResNet(width=8, residual=False), ResNet(width=8)
    shortcuts = {name for name, _ in residual.named_parameters() if "change" in name}
    assert {name for name, _ in plain.named_parameters()} | shortcuts == {
        name for name, _ in residual.named_parameters()
    }
    assert len(shortcuts) == 2
    block = Block(4, 4, residual=False)
    block.conv_2.weight.data.zero_()
    assert not block(torch.randn(2, 4, 6, 6)).any()
    assert ResNet(width=8, blocks=(2, 1, 1), residual=False).stage_1[1].residual is False


def test_a_block_adds():
    """x + conv(relu(norm(conv(relu(norm(x)))))), written out again, in evaluation mode."""
    block = Block(3, 5, stride=2).eval()
    x = torch.randn(2, 3, 6, 6)
    ready = torch.relu(block.norm_1(x))
    added = block.conv_2(torch.relu(block.norm_2(block.conv_1(ready))))
    assert block.change is not None
    assert torch.allclose(block(x), block.change(ready) + added)
    assert block(x).shape == (2, 5, 3, 3)
