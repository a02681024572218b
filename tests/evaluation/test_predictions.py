import math

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import (
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from helpers import evaluation, models
from helpers.data import Augmentation, Split
from helpers.evaluation import Predictions
from tests.conftest import predictions_from


class BrightPixel(nn.Module):
    """The logits are the first pixels of the image, so each row of logits identifies its image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(images[:, 0, 0, :3].float()) * self.weight


@pytest.fixture
def split() -> Split:
    images = torch.zeros(7, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(7)
    return Split(images, torch.tensor([0, 1, 2, 0, 1, 2, 0]))


def test_row_i_is_image_i_whatever_the_batch_size(split):
    for batch_size in (1, 3, 7, 100):
        predictions = evaluation.predict(BrightPixel(), split, batch_size=batch_size)
        assert predictions.logits[:, 0].tolist() == list(range(7))
        assert torch.equal(predictions.targets, split.targets)


@pytest.mark.parametrize("training", [True, False])
def test_predict_runs_in_evaluation_mode_and_restores_the_mode(split, training):
    model = BrightPixel().train(training)
    predictions = evaluation.predict(model, split)
    assert predictions.logits[6, 0] == 6  # dropout would make it 0 or 12
    assert model.training is training
    assert not predictions.logits.requires_grad


def test_the_mode_is_restored_after_an_error(split):
    model = BrightPixel().train()
    model.dropout = None
    with pytest.raises(TypeError):
        evaluation.predict(model, split)
    assert model.training


def test_images_without_targets_are_predicted_but_cannot_be_measured(split):
    predictions = evaluation.predict(BrightPixel(), split.images)
    assert predictions.targets.tolist() == [evaluation.UNKNOWN] * 7
    for measure in (evaluation.accuracy, evaluation.loss, evaluation.confusion_matrix):
        with pytest.raises(ValueError, match=r"Targets must be in \[0, 3\).*without targets"):
            measure(predictions)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 1, 28, 28),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 2, 28, 28).byte(),
        torch.zeros(2, 1, 28, 32).byte(),
        torch.zeros(2, 1, 15, 15).byte(),
    ],
)
def test_images_of_another_shape_or_dtype_are_refused(images):
    with pytest.raises(ValueError, match=r"must be uint8 \(N, C, S, S\) .*, got"):
        evaluation.predict(models.build("linear"), images)


def test_a_model_that_states_only_its_size_takes_any_number_of_channels():
    model = models.build("linear", channels=3)
    model.architecture = {"name": "net.py:Net", "size": 28}
    assert len(evaluation.predict(model, torch.zeros(2, 3, 28, 28).byte())) == 2


def test_images_of_another_size_than_the_model_was_built_for_are_refused():
    with pytest.raises(
        ValueError, match=r"built for images of shape \(3, 32, 32\), got \(1, 28, 28\)"
    ):
        evaluation.predict(
            models.build("linear", channels=3, size=32), torch.zeros(2, 1, 28, 28).byte()
        )


def test_a_numpy_array_is_refused():
    with pytest.raises(ValueError, match=r"a Split or a uint8 tensor .* got ndarray"):
        evaluation.predict(models.build("linear"), torch.zeros(2, 1, 28, 28).byte().numpy())


def test_each_layer_keeps_its_own_mode(split):
    model = BrightPixel().train()
    model.dropout.eval()
    evaluation.predict(model, split)
    assert (model.training, model.dropout.training) == (True, False)


def test_zero_images_are_refused():
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        evaluation.predict(models.build("linear"), torch.zeros(0, 1, 28, 28, dtype=torch.uint8))


def test_accuracy_counts_images_not_batches():
    predictions = predictions_from(predicted=[0, 0, 0, 0, 1], targets=[0, 0, 0, 0, 0])
    assert evaluation.accuracy(predictions) == 0.8  # a mean over batches of 2 would be 0.667


def test_loss_by_hand():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    predictions = Predictions(probabilities.log(), torch.tensor([0, 2]))
    assert evaluation.loss(predictions) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_probabilities_and_confidence_by_hand():
    predictions = Predictions(torch.tensor([[0.0, math.log(3)]]), torch.tensor([0]))
    torch.testing.assert_close(predictions.probabilities, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(predictions.confidence, torch.tensor([0.75]))
    assert predictions.predicted.tolist() == [1]
    assert len(predictions) == 1


def test_the_confusion_matrix_has_true_classes_in_rows():
    predictions = predictions_from(predicted=[1, 1, 2, 0], targets=[0, 0, 2, 1])
    assert evaluation.confusion_matrix(predictions).tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 1]]


def test_per_class_metrics_by_hand():
    # class 0 is predicted 3 times, 2 of them right; class 1 twice, 1 right; class 2 once, wrong
    predictions = predictions_from(predicted=[0, 0, 1, 2, 1, 0], targets=[0, 0, 0, 0, 1, 2])
    frame = evaluation.per_class(predictions, ["a", "b", "c"])
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame.index.name == "class"
    assert frame["precision"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert frame["recall"].tolist() == pytest.approx([2 / 4, 1, 0])
    assert frame["f1"].tolist() == pytest.approx([4 / 7, 2 / 3, 0])
    assert frame["images"].tolist() == [4, 1, 1]


def test_per_class_metrics_equal_those_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    predictions = Predictions(
        torch.randn(500, 4, generator=generator), torch.randint(0, 4, (500,), generator=generator)
    )
    frame = evaluation.per_class(predictions, list("abcd"))
    for name, theirs in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        expected = theirs(predictions.predicted, predictions.targets, num_classes=4, average="none")
        assert frame[name].tolist() == pytest.approx(expected.tolist())


def test_the_interval_of_a_recall_has_the_binomial_width():
    # 2,000 images of class 0, of which 80 % are found: 1.96 * sqrt(0.8 * 0.2 / 2000) = 0.0175
    predictions = predictions_from(
        predicted=[0] * 1_600 + [1] * 2_400, targets=[0] * 2_000 + [1] * 2_000
    )
    frame = evaluation.per_class(predictions, list("abc"))
    assert frame.equals(evaluation.per_class(predictions, list("abc")))  # the same seed every time
    row = frame.loc["a"]
    assert row["recall high"] - row["recall"] == pytest.approx(0.0175, abs=0.002)
    assert row["recall"] - row["recall low"] == pytest.approx(0.0175, abs=0.002)
    # only images of class 0 are predicted as class 0, in every resample
    assert row[["precision low", "precision", "precision high"]].tolist() == [1, 1, 1]
    assert (frame["f1 low"] <= frame["f1"]).all()
    assert (frame["f1"] <= frame["f1 high"]).all()


def test_targets_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="got 0 to 3"):
        evaluation.accuracy(predictions_from(predicted=[0, 1], targets=[0, 3]))


def one_bright_pixel(row: int, column: int) -> torch.Tensor:
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    images[0, 0, row, column] = 255
    return images


class LeftHalf(nn.Module):
    """The probability of class 0 is 0.9 if the bright pixel is in the left half, else 0.2."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        left = (images[:, :, :, :14].amax(dim=(1, 2, 3)) > 0).float()
        p = 0.2 + 0.7 * left
        return torch.stack([p, 1 - p], dim=1).log()


def positions(images: torch.Tensor, augmentation: Augmentation) -> list[tuple[int, ...]]:
    """Row and column of the bright pixel in each view."""
    views = evaluation.tta_views(images, augmentation)
    return [tuple(view.nonzero()[0].tolist()[2:]) for view in views]


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(), [(5, 3)]),
        (Augmentation(degrees=10, scale=0.1, erase=0.5), [(5, 3)]),
        (Augmentation(flip=True), [(5, 3), (5, 24)]),
        (Augmentation(shift=2), [(5, 3), (4, 3), (6, 3), (5, 2), (5, 4)]),
    ],
)
def test_views_are_shifted_or_flipped_if_the_training_images_were(augmentation, expected):
    assert positions(one_bright_pixel(5, 3), augmentation) == expected
    assert evaluation.num_views(augmentation) == len(expected)


def test_shifted_views_are_flipped_too():
    found = positions(one_bright_pixel(5, 3), Augmentation(shift=1, flip=True))
    assert len(found) == evaluation.num_views(Augmentation(shift=1, flip=True)) == 10
    assert set(found[1::2]) == {(row, 27 - column) for row, column in found[::2]}


def test_shifted_views_are_padded_with_black_and_cropped():
    views = evaluation.tta_views(one_bright_pixel(0, 27), Augmentation(shift=1))
    assert [int(view.sum()) for view in views] == [255, 0, 255, 255, 0]


def test_the_probabilities_of_the_views_are_averaged():
    """From column 13, one of five views leaves the left half: (4 * 0.9 + 0.2) / 5; logits: 0.84."""
    split = Split(one_bright_pixel(5, 13), torch.tensor([0]))
    predictions = evaluation.predict_tta(LeftHalf(), split, Augmentation(shift=1))
    torch.testing.assert_close(predictions.probabilities, torch.tensor([[0.76, 0.24]]))
    torch.testing.assert_close(predictions.logits.exp().sum(dim=1), torch.ones(1))


def test_one_confident_model_can_outweigh_two_uncertain_ones():
    """By hand: (0.4 + 0.4 + 1.0) / 3 = 0.6, although two of three predict the other class."""
    uncertain, confident = ([0.4, 0.6], [1 - 1e-6, 1e-6])
    several = [
        Predictions(torch.tensor([p]).log(), torch.tensor([0]))
        for p in (uncertain, uncertain, confident)
    ]
    average = evaluation.average_predictions(several)
    torch.testing.assert_close(average.probabilities, torch.tensor([[0.6, 0.4]]))
    assert average.predicted.tolist() == average.targets.tolist() == [0]


def test_only_predictions_of_the_same_images_are_averaged():
    def predictions_of(*targets: int) -> Predictions:
        return Predictions(torch.zeros(len(targets), 2), torch.tensor(targets))

    with pytest.raises(ValueError, match="average, got 0"):
        evaluation.average_predictions([])
    for other in (predictions_of(1, 0), predictions_of(0)):
        with pytest.raises(ValueError, match="the same targets"):
            evaluation.average_predictions([predictions_of(0, 1), other])


def test_without_shift_and_flip_tta_equals_plain_prediction(tiny):
    torch.manual_seed(0)
    model = models.build("linear", num_classes=2)
    plain = evaluation.predict(model, tiny)
    averaged = evaluation.predict_tta(model, tiny, Augmentation(erase=0.5))
    torch.testing.assert_close(averaged.probabilities, plain.probabilities)
    assert torch.equal(averaged.targets, tiny.targets)


def test_a_probability_of_zero_keeps_a_finite_logit():
    class Certain(LeftHalf):
        def forward(self, images):
            return torch.tensor([[0.0, 1e4]]).expand(len(images), 2)

    predictions = evaluation.predict_tta(
        Certain(), Split(one_bright_pixel(5, 3), torch.tensor([0])), Augmentation(flip=True)
    )
    assert predictions.logits.isfinite().all()
    assert evaluation.loss(predictions) > 80
