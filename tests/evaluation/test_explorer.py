"""The page that explains a model: its contents and errors. test_browser.py opens it."""

import base64
import datetime
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from helpers import data, evaluation, models
from helpers.data import Split
from helpers.evaluation import explorer

NORMALIZE = models.Normalize(0.1, 0.3)


def write(folder, model, **options) -> tuple[str, dict]:
    """The page of a model, and the content that its script reads."""
    page = evaluation.write_explorer(model, folder / "page.html", **options).read_text("utf-8")
    (content,) = re.findall(r'<script type="application/json" id="content">(.+?)</script>', page)
    return page, json.loads(content)


def sequential(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(NORMALIZE, *layers)


@pytest.fixture(scope="module")
def tiny_vgg() -> nn.Module:
    return models.load_pretrained("mnist/tiny_vgg")


def test_the_page_holds_the_weights_of_the_model_and_is_small(tmp_path, tiny_vgg, mnist):
    notes = {"dataset": "mnist", "test_accuracy": 0.9916, "date": "2026-11-27"}
    page, content = write(tmp_path, tiny_vgg, examples=mnist.test[:500], notes=notes)
    weights = np.frombuffer(base64.b64decode(content["weights"]), dtype="<f4")
    assert np.array_equal(
        weights, torch.cat([p.flatten() for p in tiny_vgg.parameters()]).detach().numpy()
    )
    assert (tmp_path / "page.html").stat().st_size < 150_000
    facts = re.findall(r"<li>(.+?) <b>(.+?)</b></li>", page)
    digest = models.weights_digest(tiny_vgg.state_dict())[:12]
    assert facts[:4] == [
        ("parameters", "7,740"), ("test accuracy", "99.16 %"), ("trained", "2026-11-27"),
        ("SHA-256 of the weights", f"{digest}…"),
    ]  # fmt: skip
    assert "<title>Inside tiny_vgg, trained on MNIST</title>" in page
    assert f"page written <b>{datetime.date.today()}</b>" in page
    assert (content["centers"], content["opens"]) == (True, False)
    assert not re.search(r"https?:|//\w+\.", page)


def test_the_layers_are_those_of_the_summary_with_their_shapes(tmp_path, tiny_vgg, mnist):
    _, content = write(tmp_path, tiny_vgg)
    expected = evaluation.layer_summary(tiny_vgg, mnist.test.images[:1])
    found = [
        (layer["name"], (1, *layer["shape"]), layer["parameters"]) for layer in content["layers"]
    ]
    assert found == [(row["layer"], row["output"], row["parameters"]) for row in expected]


def test_the_examples_are_two_right_and_one_wrong_image_of_each_class(tmp_path, tiny_vgg, mnist):
    _, content = write(tmp_path, tiny_vgg, examples=mnist.test)
    chosen = content["examples"]
    assert chosen["targets"] == [*range(10)] * 3
    right = [t == p for t, p in zip(chosen["targets"], chosen["predicted"], strict=True)]
    assert right == [True] * 20 + [False] * 10
    of_class = {(k, ok): [] for k in range(10) for ok in (True, False)}
    predicted = evaluation.predict(tiny_vgg, mnist.test).predicted
    for row, (target, answer) in enumerate(zip(mnist.test.targets, predicted, strict=True)):
        of_class[int(target), bool(target == answer)].append(row)
    examples = (
        (True, 0),
        (True, 1),
        (False, 0),
    )  # two right, and one wrong
    assert chosen["rows"] == [of_class[k, ok][i] for ok, i in examples for k in range(10)]
    pixels = np.frombuffer(base64.b64decode(chosen["images"]), dtype=np.uint8)
    assert np.array_equal(pixels, mnist.test.images[chosen["rows"]].numpy().ravel())


def test_fewer_examples_are_shown_if_the_images_are_large(tmp_path):
    images = torch.randint(256, (12, 3, 64, 64), dtype=torch.uint8)
    model = models.build("tiny_vgg", hidden_units=2, channels=3, size=64, num_classes=4)
    _, content = write(tmp_path, model, examples=Split(images, torch.arange(12) % 4))
    assert len(content["examples"]["rows"]) == explorer.EXAMPLES // (3 * 64 * 64) == 3


def test_the_shape_comes_from_the_examples_and_classes_are_numbered(tmp_path):
    examples = Split(torch.zeros(1, 3, 20, 20, dtype=torch.uint8), torch.tensor([1]))
    model = sequential(nn.Flatten(), nn.Linear(1200, 3))
    page, content = write(tmp_path, model, examples=examples)
    assert "<title>Inside Sequential" in page
    assert (content["shape"], content["classes"]) == ([3, 20, 20], ["0", "1", "2"])
    assert (content["centers"], content["opens"]) == (False, True)  # of no known data set
    assert len(content["examples"]["rows"]) == 1


def test_a_compiled_model_is_shown_unwrapped_with_its_class_names(tmp_path, tiny_vgg):
    compiled = nn.Module()
    compiled._orig_mod = tiny_vgg  # as torch.compile wraps it
    page, content = write(tmp_path, compiled, notes={"dataset": "fashion_mnist"})
    assert content["classes"] == list(data.FASHION_MNIST.class_names)
    assert (content["centers"], content["opens"]) == (False, False)  # clothes fill the image
    assert "Inside tiny_vgg, trained on Fashion-MNIST" in page


def test_names_of_classes_and_data_cannot_break_out_of_the_page(tmp_path):
    names = ["</script><script>alert(1)</script>", "<b>", "Löwe & 'Co'"]
    notes = {"class_names": names, "dataset": "<i>birds"}
    page, content = write(tmp_path, models.build("linear", num_classes=3), notes=notes)
    assert content["classes"] == names
    assert "trained on &lt;i&gt;birds" in page
    assert page.count("</script>") == 2
    assert "<b>birds" not in page
    assert "<i>birds" not in page


def test_a_batch_norm_is_a_scale_and_a_shift(tmp_path):
    norm = nn.BatchNorm2d(2, eps=1.0)  # with eps, the standard deviations are 2 and 3
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 8.0])
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 6.0]))
        norm.bias.copy_(torch.tensor([0.5, 1.0]))
    model = sequential(nn.Conv2d(1, 2, 1, bias=False), norm, nn.Flatten(), nn.Linear(2 * 784, 2))
    _, content = write(tmp_path, model)
    weights = np.frombuffer(base64.b64decode(content["weights"]), dtype="<f4")
    assert weights[2:4].tolist() == [0, 0]  # the bias that the convolution lacks
    assert weights[4:8].tolist() == pytest.approx([1, 2, 0.5 - 1, 1 - 4])


def test_same_padding_and_global_average_pooling_are_written_as_numbers(tmp_path):
    same = nn.Conv2d(1, 2, (3, 7), padding="same")
    model = sequential(same, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    _, content = write(tmp_path, model)
    conv, mean = content["layers"][1:3]
    assert (conv["kernel"], conv["stride"], conv["padding"]) == ([3, 7], [1, 1], [1, 3])
    assert (mean["kind"], mean["kernel"], mean["stride"]) == ("mean", [28, 28], [1, 1])


def test_valid_padding_is_none(tmp_path):
    valid = nn.Conv2d(1, 2, 3, padding="valid")
    _, content = write(tmp_path, sequential(valid, nn.Flatten(), nn.Linear(2 * 26**2, 2)))
    assert content["layers"][1]["padding"] == [0, 0]


def test_max_and_mean_pooling_differ_and_a_second_flatten_is_dropped(tmp_path):
    pools = nn.MaxPool2d(4), nn.AvgPool2d(7)
    model = sequential(*pools, nn.Flatten(), nn.Flatten(), nn.Linear(1, 2))
    _, content = write(tmp_path, model)
    layers = [(layer["kind"], layer.get("kernel")) for layer in content["layers"][1:]]
    assert layers == [("max", [4, 4]), ("mean", [7, 7]), ("flatten", None), ("linear", None)]


def test_a_functional_flatten_is_shown_as_a_layer(tmp_path):
    class Reshapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 2, 3), nn.Linear(2 * 26 * 26, 10)
            self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout()

        def forward(self, images):
            return self.linear(self.drop(self.relu(self.conv(images.float()))).flatten(1))

    model = Reshapes()
    _, content = write(tmp_path, model)
    kinds = [(layer["kind"], layer["shape"]) for layer in content["layers"]]
    assert kinds == [
        ("conv", [2, 26, 26]), ("relu", [2, 26, 26]), ("flatten", [1352]), ("linear", [10]),
    ]  # fmt: skip
    assert model.training
    assert model.relu.inplace
    assert not model.conv._forward_hooks


class FunctionalReLU(nn.Sequential):
    def forward(self, images):
        return self[3](torch.relu(self[2](self[1](self[0](images)))))


class WithSoftmax(nn.Sequential):
    def forward(self, images):
        return super().forward(images).softmax(1)


class ScalesFirst(nn.Sequential):
    def forward(self, images):
        return super().forward(images / 2)


class WithKeyword(nn.Sequential):
    def forward(self, images):
        return self[1](input=self[0](images))


FLAT = (nn.Flatten(), nn.Linear(784, 10))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.build("resnet"), r"cannot show stage_1\.0\.conv_1 \(Conv2d\): between"),
        (sequential(nn.GELU(), *FLAT), r"cannot show 1 \(GELU\)\. It shows Normalize, Conv2d"),
        (sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.ReLU()), r"1 \(Conv2d\) with dilation="),
        (sequential(nn.MaxPool2d(3, 2, padding=1)), r"cannot show 1 \(MaxPool2d\)"),
        (sequential(nn.AvgPool2d(2, divisor_override=3)), "with divisor_override=3"),
        (sequential(*FLAT, nn.LogSoftmax(1)), r"cannot show 3 \(LogSoftmax\)"),
        (FunctionalReLU(*sequential(*FLAT, nn.Linear(10, 10))), r"3 \(Linear\): between 2 and it"),
        (WithSoftmax(*sequential(*FLAT)), "cannot show the logits: between 2 and it"),
        (ScalesFirst(*sequential(*FLAT)), r"0 \(Normalize\): between the image and it"),
        (WithKeyword(NORMALIZE, nn.Linear(28, 2)), r"1 \(Linear\): between 0 and it"),
        (sequential(nn.Conv2d(3, 2, 3)), r"cannot process \(1, 28, 28\) images: Given groups=1"),
        (sequential(nn.Conv2d(1, 4, 3)), r"for an output of \[4, 26, 26\]"),
        (models.build("fast_cnn"), "75,546 parameters: .* 45. kB; the limit is 300 kB"),
    ],
    # mutmut collects tests twice, and pytest doubles backslashes in ids each time
    ids=lambda value: value.replace("\\", "") if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_an_unsupported_model_is_refused_in_one_line_and_not_written(tmp_path, model, message):
    with pytest.raises(ValueError, match=message) as raised:
        evaluation.write_explorer(model.eval(), tmp_path / "page.html")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_number_of_names_is_refused(tmp_path, tiny_vgg):
    with pytest.raises(ValueError, match=r"Got 3 class names for an output of \[10\]"):
        evaluation.write_explorer(
            tiny_vgg, tmp_path / "x", notes={"class_names": data.MNIST.class_names[:3]}
        )
