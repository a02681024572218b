import pytest
import torch
from torch import nn

from helpers import evaluation
from helpers.data import Augmentation, Split
from helpers.evaluation import Predictions


def one_bright_pixel(row: int, column: int) -> torch.Tensor:
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    images[0, 0, row, column] = 255
    return images


class WhereIsIt(nn.Module):
    """Says with which probability the pixel lies in the left half: 0.9 or 0.2, nothing between."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        left = (images[:, :, :, :14].amax(dim=(1, 2, 3)) > 0).float()
        p = 0.2 + 0.7 * left
        return torch.stack([p, 1 - p], dim=1).log()


def places(images: torch.Tensor, augmentation: Augmentation) -> list[tuple[int, ...]]:
    return [tuple(view.nonzero()[0].tolist()[2:]) for view in evaluation.tta_views(images, augmentation)]


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(), [(5, 3)]),
        (Augmentation(degrees=10, scale=0.1, erase=0.5), [(5, 3)]),
        (Augmentation(flip=True), [(5, 3), (5, 24)]),
        (Augmentation(shift=2), [(5, 3), (4, 3), (6, 3), (5, 2), (5, 4)]),
    ],
)
def test_views_are_what_the_training_has_shown(augmentation, expected):
    assert places(one_bright_pixel(5, 3), augmentation) == expected
    assert evaluation.num_views(augmentation) == len(expected)


def test_moved_views_are_mirrored_as_well():
    seen = places(one_bright_pixel(5, 3), Augmentation(shift=1, flip=True))
    assert len(seen) == evaluation.num_views(Augmentation(shift=1, flip=True)) == 10
    assert set(seen[1::2]) == {(row, 27 - column) for row, column in seen[::2]}


def test_what_moves_in_is_black_and_what_moves_out_is_gone():
    everything = list(evaluation.tta_views(one_bright_pixel(0, 27), Augmentation(shift=1)))
    assert [int(view.sum()) for view in everything] == [255, 0, 255, 255, 0]


def test_probabilities_are_averaged():
    """In column 13 four of five views are left: (4 * 0.9 + 0.2) / 5. Logits would give 0.84."""
    split = Split(one_bright_pixel(5, 13), torch.tensor([0]))
    predicted = evaluation.predict_tta(WhereIsIt(), split, Augmentation(shift=1))
    torch.testing.assert_close(predicted.probabilities, torch.tensor([[0.76, 0.24]]))
    torch.testing.assert_close(predicted.logits.exp().sum(dim=1), torch.ones(1))


def test_a_sure_minority_can_outvote_an_unsure_majority():
    """By hand: (0.4 + 0.4 + 1.0) / 3 = 0.6, although two of three say the other class."""
    unsure, sure = ([0.4, 0.6], [1 - 1e-6, 1e-6])
    said = [Predictions(torch.tensor([p]).log(), torch.tensor([0])) for p in (unsure, unsure, sure)]
    together = evaluation.average_predictions(said)
    torch.testing.assert_close(together.probabilities, torch.tensor([[0.6, 0.4]]))
    assert together.labels.tolist() == together.targets.tolist() == [0]


def test_only_predictions_of_the_same_images_have_a_mean():
    def of(*targets: int) -> Predictions:
        return Predictions(torch.zeros(len(targets), 2), torch.tensor(targets))

    for several in ([], [of(0, 1), of(1, 0)], [of(0), of(0, 1)]):
        with pytest.raises(ValueError, match=f"same images, got {len(several)}"):
            evaluation.average_predictions(several)


def test_without_shift_and_flip_it_is_the_plain_prediction(tiny):
    model = nn.Sequential(nn.Flatten(), Floats(), nn.Linear(784, 2))
    plain = evaluation.predict(model, tiny)
    seen = evaluation.predict_tta(model, tiny, Augmentation(erase=0.5))
    torch.testing.assert_close(seen.probabilities, plain.probabilities)
    assert torch.equal(seen.targets, tiny.targets)


def test_what_is_impossible_stays_finite():
    class Certain(WhereIsIt):
        def forward(self, images):
            return torch.tensor([[0.0, 1e4]]).expand(len(images), 2)

    predicted = evaluation.predict_tta(
        Certain(), Split(one_bright_pixel(5, 3), torch.tensor([0])), Augmentation(flip=True)
    )
    assert predicted.logits.isfinite().all()
    assert evaluation.loss(predicted) > 80


class Floats(nn.Module):
    def forward(self, images):
        return images.float() / 255
