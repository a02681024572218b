import pytest
import torch

from helpers import data, evaluation, models


def test_the_nearest_come_first_with_their_distances():
    pool = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    found = evaluation.nearest_neighbors(torch.tensor([[0.0, 0.0], [3.0, 5.0]]), pool, 2)
    assert found.rows.tolist() == [[0, 2], [1, 2]]
    assert found.distances.tolist() == [[0, 1], [1, 5]]


def test_an_excluded_row_is_not_a_neighbor():
    pool = torch.tensor([[0.0], [1.0], [5.0]])
    found = evaluation.nearest_neighbors(pool, pool, 1, exclude=torch.arange(3))
    assert found.rows.flatten().tolist() == [1, 0, 1]


def test_distances_are_exact_for_every_chunk_size():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 28, 28), generator=generator, dtype=torch.uint8)
    exact = torch.cdist(images.flatten(1).double(), images.flatten(1).double())
    exact.fill_diagonal_(torch.inf)
    rows = torch.arange(60)
    for chunk in (7, 60):
        found = evaluation.nearest_neighbors(images, images, 3, exclude=rows, chunk=chunk)
        expected = exact.topk(3, largest=False)
        assert torch.equal(found.rows, expected.indices)
        torch.testing.assert_close(found.distances.double(), expected.values)


def test_a_difference_of_one_gray_value_between_bright_images_is_found():
    bright = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    nearly = bright.clone()
    nearly[0, 0, 5, 5] = 254
    found = evaluation.nearest_neighbors(bright, torch.cat([nearly, 0 * bright]), 1)
    assert (found.rows.item(), found.distances.item()) == (0, 1.0)


def test_more_neighbors_than_rows_are_refused():
    pool = torch.zeros(3, 2)
    with pytest.raises(
        ValueError, match="Expected at least k=3 images to find neighbors in, got 2"
    ):
        evaluation.nearest_neighbors(pool, pool, 3, exclude=torch.arange(3))


def test_no_queries_have_no_neighbors():
    found = evaluation.nearest_neighbors(torch.zeros(0, 2), torch.zeros(3, 2), 2)
    assert (found.rows.shape, found.distances.shape) == ((0, 2), (0, 2))
    assert found.rows.dtype == torch.int64


def test_votes_are_shares_of_the_classes_of_the_neighbors():
    found = evaluation.Neighbors(torch.tensor([[0, 1, 2, 3]]), torch.zeros(1, 4))
    votes = found.votes(torch.tensor([2, 0, 2, 2]), classes=3)
    assert votes.tolist() == [[0.25, 0, 0.75]]


@pytest.mark.parametrize("name", models.MODELS)
def test_features_are_the_normalized_classifier_inputs(name, tiny):
    torch.manual_seed(0)
    model = models.build(name, mean=data.MNIST.mean, std=data.MNIST.std).train()
    found = evaluation.extract_features(model, tiny.images, batch_size=32)
    assert model.training
    assert found.shape[0] == 70
    torch.testing.assert_close(found.norm(dim=1), torch.ones(70))
    *_, classify = (layer for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    with torch.no_grad():
        logits = model.eval()(tiny.images)
        length = ((logits - classify.bias) / (found @ classify.weight.T)).median(dim=1).values
        again = length[:, None] * (found @ classify.weight.T) + classify.bias
    torch.testing.assert_close(again, logits, atol=1e-3, rtol=1e-3)


def test_a_model_without_a_linear_layer_has_no_features():
    with pytest.raises(ValueError, match=r"^The model has no Linear layer, whose input could"):
        evaluation.extract_features(torch.nn.Flatten(), torch.zeros(1, 1, 28, 28))
