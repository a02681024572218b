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
from helpers.data import Split
from helpers.evaluation import Predictions
from tests.conftest import predictions_from


class BrightPixel(nn.Module):
    """Its logits are the first pixels of the image, so each row betrays its image."""

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


def test_bare_images_are_predicted_but_not_measured(split):
    predictions = evaluation.predict(BrightPixel(), split.images)
    assert predictions.targets.tolist() == [evaluation.UNKNOWN] * 7
    for measure in (evaluation.accuracy, evaluation.loss, evaluation.confusion_matrix):
        with pytest.raises(ValueError, match=r"Targets must lie in \[0, 3\).*have no targets"):
            measure(predictions)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 1, 28, 28),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32).byte(),
    ],
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(ValueError, match=r"must be uint8 \(N, 1, 28, 28\), got"):
        evaluation.predict(models.build("linear"), images)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"a Split or a uint8 tensor .* got ndarray"):
        evaluation.predict(models.build("linear"), torch.zeros(2, 1, 28, 28).byte().numpy())


def test_layers_keep_modes_of_their_own(split):
    model = BrightPixel().train()
    model.dropout.eval()
    evaluation.predict(model, split)
    assert (model.training, model.dropout.training) == (True, False)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="Got 0 images"):
        evaluation.predict(models.build("linear"), torch.zeros(0, 1, 28, 28, dtype=torch.uint8))


def test_accuracy_counts_images_not_batches():
    predictions = predictions_from(labels=[0, 0, 0, 0, 1], targets=[0, 0, 0, 0, 0])
    assert evaluation.accuracy(predictions) == pytest.approx(
        0.8
    )  # a mean over batches of 2 says 0.667


def test_loss_by_hand():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    predictions = Predictions(probabilities.log(), torch.tensor([0, 2]))
    assert evaluation.loss(predictions) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_probabilities_and_confidence_by_hand():
    predictions = Predictions(torch.tensor([[0.0, math.log(3)]]), torch.tensor([0]))
    torch.testing.assert_close(predictions.probabilities, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(predictions.confidence, torch.tensor([0.75]))
    assert predictions.labels.tolist() == [1]
    assert len(predictions) == 1


def test_the_confusion_matrix_has_the_truth_in_rows():
    predictions = predictions_from(labels=[1, 1, 2, 0], targets=[0, 0, 2, 1])
    assert evaluation.confusion_matrix(predictions).tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 1]]


def test_per_class_figures_by_hand():
    # class 0: called 3 times, 2 of them right, of 4; class 1: called twice, 1 right, of 1; 2: never
    predictions = predictions_from(labels=[0, 0, 1, 2, 1, 0], targets=[0, 0, 0, 0, 1, 2])
    frame = evaluation.per_class(predictions, ["a", "b", "c"])
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame.index.name == "class"
    assert frame["precision"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert frame["recall"].tolist() == pytest.approx([2 / 4, 1, 0])
    assert frame["f1"].tolist() == pytest.approx([4 / 7, 2 / 3, 0])
    assert frame["images"].tolist() == [4, 1, 1]


def test_per_class_figures_are_those_of_torchmetrics():
    chance = torch.Generator().manual_seed(0)
    predictions = evaluation.Predictions(
        torch.randn(500, 4, generator=chance), torch.randint(0, 4, (500,), generator=chance)
    )
    frame = evaluation.per_class(predictions, list("abcd"))
    for name, theirs in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        wanted = theirs(predictions.labels, predictions.targets, num_classes=4, average="none")
        assert frame[name].tolist() == pytest.approx(wanted.tolist())


def test_the_interval_of_a_recall_is_as_wide_as_a_binomial_says():
    # 2,000 images of class 0, of which 80 % are found: 1.96 * sqrt(0.8 * 0.2 / 2000) = 0.0175
    predictions = predictions_from(
        labels=[0] * 1_600 + [1] * 2_400, targets=[0] * 2_000 + [1] * 2_000
    )
    frame = evaluation.per_class(predictions, list("abc"))
    assert frame.equals(evaluation.per_class(predictions, list("abc")))  # the same every time
    row = frame.loc["a"]
    assert row["recall high"] - row["recall"] == pytest.approx(0.0175, abs=0.002)
    assert row["recall"] - row["recall low"] == pytest.approx(0.0175, abs=0.002)
    # nothing but class 0 is ever called so, and other images cannot change that
    assert row[["precision low", "precision", "precision high"]].tolist() == [1, 1, 1]
    assert (frame["f1 low"] <= frame["f1"]).all()
    assert (frame["f1"] <= frame["f1 high"]).all()


def test_targets_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="got 0 to 3"):
        evaluation.accuracy(predictions_from(labels=[0, 1], targets=[0, 3]))
