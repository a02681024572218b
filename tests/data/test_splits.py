import re
import shutil

import pytest
import torch

from helpers import data
from helpers.data import Split
from helpers.files import PROJECT


@pytest.fixture(scope="session")
def torchvision_mnist(tmp_path_factory):
    """The 60,000 training images, loaded by torchvision from the same archives."""
    from torchvision.datasets import MNIST

    root = tmp_path_factory.mktemp("torchvision")
    shutil.copytree(PROJECT / "data" / "MNIST", root / "MNIST")
    return MNIST(root, download=True)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_splits_have_the_published_sizes_and_types(name, request):
    splits = request.getfixturevalue(name.removesuffix("_mnist"))
    for split, size in ((splits.train, 55_000), (splits.validation, 5_000), (splits.test, 10_000)):
        assert split.images.shape == (size, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.targets.shape == (size,)
        assert split.targets.dtype == torch.int64
        assert split.targets.unique().tolist() == list(range(10))
    assert len(splits.spec.class_names) == 10


def test_the_first_labels_are_the_published_ones(mnist, fashion):
    assert mnist.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    assert [fashion.spec.class_names[k] for k in fashion.test.targets[:3]] == [
        "Ankle boot",
        "Pullover",
        "Trouser",
    ]


def test_validation_has_each_class_in_proportion(mnist, fashion):
    assert fashion.validation.targets.bincount().tolist() == [500] * 10
    both = mnist.train.targets.bincount() + mnist.validation.targets.bincount()
    assert (mnist.validation.targets.bincount() - both / 12).abs().max() < 1


def test_train_and_validation_together_are_the_original_training_set(mnist, torchvision_mnist):
    original = torchvision_mnist.data
    parts = torch.cat([mnist.train.images, mnist.validation.images])[:, 0]
    key = torch.randint(1, 2**40, (28 * 28,), generator=torch.Generator().manual_seed(0))
    hashes = [(images.flatten(1).long() @ key).sort().values for images in (original, parts)]
    assert torch.equal(*hashes)


def test_every_twelfth_image_of_a_class_is_for_validation(torchvision_mnist):
    published, splits = torchvision_mnist, data.load_splits("mnist")
    rows = published.targets.argsort(stable=True)[6::12].sort().values
    assert torch.equal(splits.validation.images[:, 0], published.data[rows])
    assert torch.equal(splits.validation.targets, published.targets[rows])
    others = torch.ones(60_000, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(splits.train.images[:, 0], published.data[others])
    assert torch.equal(splits.train.targets, published.targets[others])
    assert splits.spec is data.MNIST


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_the_constants_are_the_statistics_of_the_training_images(name, request):
    splits = request.getfixturevalue(name)
    images = torch.cat([splits.train.images, splits.validation.images])
    mean, std = data.pixel_statistics(images)
    assert (round(mean, 4), round(std, 4)) == (splits.spec.mean, splits.spec.std)


def test_pixel_statistics_agree_with_torch():
    images = torch.randint(256, (50, 1, 28, 28), dtype=torch.uint8)
    floats = images.double() / 255
    expected = floats.mean().item(), floats.std(correction=0).item()
    assert data.pixel_statistics(images) == pytest.approx(expected, abs=1e-12)


def test_pixel_statistics_of_dark_images():
    """Gray values that do not occur count as well."""
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    images[..., 0] = 51  # a fifth of white
    assert data.pixel_statistics(images) == pytest.approx((0.1, 0.1), abs=1e-12)


def test_a_processed_folder_of_older_versions_is_not_read(tmp_path, mnist):
    """torchvision would prefer its unverified content to the raw files."""
    shutil.copytree(PROJECT / "data" / "MNIST" / "raw", tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        empty = torch.zeros(10, 28, 28, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64)
        torch.save(empty, tmp_path / "MNIST" / "processed" / name)
    assert torch.equal(data.load_splits("mnist", root=tmp_path).test.images, mnist.test.images)


def test_only_the_given_folder_is_read(tmp_path):
    shutil.copytree(PROJECT / "data" / "MNIST", tmp_path / "MNIST")
    archive = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    archive.write_bytes(b"")
    with pytest.raises(data.DamagedDataError, match=re.escape(str(archive))):
        data.load_splits("mnist", root=tmp_path)


def test_unknown_names_are_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'cifar10'.*mnist, fashion_mnist"):
        data.load_splits("cifar10")


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 1, 28, 28),
        torch.zeros(3, 28, 28, dtype=torch.uint8),
        torch.zeros(3, 2, 28, 28, dtype=torch.uint8),
        torch.zeros(3, 1, 28, 32, dtype=torch.uint8),
        torch.zeros(3, 1, 97, 97, dtype=torch.uint8),
    ],
)
def test_a_split_refuses_images_of_another_shape_or_dtype(images):
    with pytest.raises(ValueError, match=r"must be uint8 \(N, C, S, S\) .*, got"):
        Split(images, torch.zeros(3, dtype=torch.int64))


def test_a_split_refuses_targets_that_do_not_fit():
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"int64 \(3,\).*int64 \(2,\)"):
        Split(images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"torch\.float32"):
        Split(images, torch.zeros(3))


def test_batches_in_order_end_with_a_smaller_one(tiny):
    sizes = [len(targets) for _, targets in data.batches(tiny, 32)]
    images = torch.cat([images for images, _ in data.batches(tiny, 32)])
    assert sizes == [32, 32, 6]
    assert torch.equal(images, tiny.images)


def test_shuffled_batches_hold_each_image_once_with_its_own_target(tiny):
    tiny.images[:, 0, 0, 0] = torch.arange(70)
    found = list(data.batches(tiny, 32, generator=torch.Generator().manual_seed(1)))
    rows = torch.cat([images[:, 0, 0, 0] for images, _ in found]).long()
    targets = torch.cat([targets for _, targets in found])
    assert rows.tolist() != list(range(70))
    assert rows.sort().values.tolist() == list(range(70))
    assert torch.equal(targets, tiny.targets[rows])


def test_the_generator_decides_the_order(tiny):
    def first(seed: int) -> torch.Tensor:
        return next(data.batches(tiny, 70, generator=torch.Generator().manual_seed(seed)))[0]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_the_loader_gives_the_same_batches(tiny):
    for ours, theirs in zip(data.batches(tiny, 32), data.loader(tiny, shuffle=False), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_the_loader_shuffles_when_asked(tiny):
    tiny.images[:, 0, 0, 0] = torch.arange(70)
    torch.manual_seed(0)
    loader = data.loader(tiny, shuffle=True)
    images = torch.cat([images for images, _ in loader])[:, 0, 0, 0]
    assert [len(targets) for _, targets in loader] == [32, 32, 6]
    assert images.tolist() != list(range(70))
    assert images.sort().values.tolist() == list(range(70))


def test_a_split_is_cut_by_slice_mask_and_rows(tiny):
    for index in (slice(5), tiny.targets == 1, torch.tensor([3, 0])):
        part = tiny[index]
        assert torch.equal(part.images, tiny.images[index])
        assert torch.equal(part.targets, tiny.targets[index])
    assert len(tiny[:5]) == 5
    assert tiny[torch.tensor([3, 0])].targets.tolist() == [1, 0]


def test_a_split_moves_as_a_whole(tiny):
    moved = tiny.to(torch.device("meta"))
    assert (moved.images.device.type, moved.targets.device.type) == ("meta", "meta")
    assert len(moved) == 70


def test_adding_two_splits_keeps_their_order(tiny):
    both = tiny[:3] + tiny[10:12]
    assert torch.equal(both.targets, tiny.targets[[0, 1, 2, 10, 11]])
    assert torch.equal(both.images, tiny.images[[0, 1, 2, 10, 11]])
