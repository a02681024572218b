import math

import pytest
import torch

from helpers.data import Augmentation, random_affine, random_erasing, random_flip, random_shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (200, 1, 28, 28), generator=generator(), dtype=torch.uint8)


def test_a_shift_moves_whole_pixels_and_fills_with_black(images):
    shifted = random_shift(images, generator(), pixels=2)
    assert shifted.dtype == torch.uint8
    found = set()
    for before, after in zip(images[:, 0], shifted[:, 0], strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = torch.zeros_like(before)
                expected[max(down, 0) : 28 + min(down, 0), max(right, 0) : 28 + min(right, 0)] = (
                    before[max(-down, 0) : 28 + min(-down, 0), max(-right, 0) : 28 + min(-right, 0)]
                )
                if torch.equal(after, expected):
                    matches.append((down, right))
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 25  # all of the 5 x 5 shifts occur among 200 images


def test_a_flip_mirrors_half_of_the_images_on_average(images):
    flipped = random_flip(images, generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(dim=1)
    kept = (flipped == images).flatten(1).all(dim=1)
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130


def test_an_affine_map_with_no_rotation_and_no_scaling_changes_nothing(images):
    torch.testing.assert_close(
        random_affine(images, generator(), degrees=0, scale=0), images.float(), atol=0.01, rtol=0
    )


def test_a_rotation_moves_pixels_by_at_most_the_angle():
    bar = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    bar[:, :, 4:24, 13:15] = 255  # upright
    rotated = random_affine(bar, generator(), degrees=30, scale=0)
    top = rotated[:, 0, 6]  # a row near the upper end
    offset = (top * torch.arange(28)).sum(dim=1) / top.sum(dim=1) - 13.5
    furthest = 7.5 * torch.tan(torch.tensor(30 * torch.pi / 180))
    assert offset.abs().max() <= furthest + 0.5
    assert offset.min() < -2 and offset.max() > 2  # noqa: PT018 - in both directions
    assert abs(rotated.sum() / bar.sum() - 1) < 0.02  # the total brightness stays the same


def test_scaling_changes_the_area():
    square = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    square[:, :, 9:19, 9:19] = 255
    areas = random_affine(square, generator(), degrees=0, scale=0.2).sum(dim=(1, 2, 3)) / 255
    assert 60 < areas.min() < 75  # 0.8 squared of 100 is 64
    assert 130 < areas.max() < 150  # 1.2 squared of 100 is 144


def test_rotation_and_scaling_together_equal_those_of_torchvision(images):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import affine

    few = images[:20].float()
    angles, sizes = torch.rand(2, 20, generator=generator()) * 2 - 1
    expected = [
        affine(
            image, 40 * angle.item(), [0, 0], 1 + 0.3 * size.item(), [0.0],
            InterpolationMode.BILINEAR,
        )
        for image, angle, size in zip(few, angles, sizes, strict=True)
    ]  # fmt: skip
    augmented = random_affine(few, generator(), degrees=40, scale=0.3)
    torch.testing.assert_close(augmented, torch.stack(expected), atol=0.05, rtol=0)


def test_erasing_blackens_a_rectangle_in_the_given_share_of_images(images):
    erased = random_erasing(images, generator(), p=0.5)
    black = erased == 0
    changed = black.flatten(1).any(dim=1)
    assert 70 < changed.sum() < 130
    assert torch.equal(erased[~black], images[~black])
    for hole in black[changed][:, 0]:
        rows, columns = hole.any(dim=1).nonzero(), hole.any(dim=0).nonzero()
        assert hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert hole.sum() <= 0.33 * 28 * 28 + 60


@pytest.mark.parametrize(
    ("area", "ratio", "y", "x", "rows", "columns"),
    [
        # area: 2 % + 31 % * area of 784 pixels; height to width: 0.3 to the power 1 - 2 * ratio
        ((64 / 784 - 0.02) / 0.31, 0.5, 0.5, 0.25, range(10, 18), range(3, 11)),  # 8 x 8
        (1.0, 1.0, 0.5, 0.5, range(28), range(10, 18)),  # 29.4 x 8.8
        (0.0, 0.0, 0.0, 1.0, range(1), range(24, 28)),  # 2.2 x 7.2, over the upper right corner
        (0.0, 0.75, 1.0, 0.0, range(25, 28), range(1)),  # 5.3 x 2.9, over the lower left one
    ],
)
def test_an_erased_rectangle_by_hand(images, monkeypatch, area, ratio, y, x, rows, columns):
    drawn = torch.tensor([0.0, area, ratio, y, x]).view(5, 1, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *size, **_: drawn)
    (black,) = (random_erasing(images[:1], generator(), p=0.5) == 0)[:, 0]
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert torch.equal(black, expected)


def test_an_image_is_erased_if_its_random_number_is_below_the_share(images, monkeypatch):
    drawn = torch.full((5, 2, 1, 1, 1), 0.5)
    drawn[0, 1] = 0.49
    monkeypatch.setattr(torch, "rand", lambda *size, **_: drawn)
    erased = random_erasing(images[:2], generator(), p=0.5)
    assert [(image == 0).any().item() for image in erased] == [False, True]


def test_a_batch_is_augmented_on_its_device(images):
    """On the meta device, an operation on another device would raise."""
    on_meta = images.to("meta")
    augment = Augmentation(shift=1, degrees=10, scale=0.1, flip=True, erase=0.3)
    augmented = augment(on_meta, None)
    assert (augmented.device.type, augmented.shape) == ("meta", images.shape)


def test_changes_combine_and_follow_the_seed(images):
    augment = Augmentation(shift=1, degrees=10, scale=0.1, flip=True, erase=0.3)
    first, same = augment(images, generator(1)), augment(images, generator(1))
    assert torch.equal(first, same)
    assert not torch.equal(first, augment(images, generator(2)))
    assert first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 255.01  # noqa: PT018


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"degrees": 20}, lambda *given: random_affine(*given, degrees=20, scale=0)),
        ({"scale": 0.2}, lambda *given: random_affine(*given, degrees=0, scale=0.2)),
        ({"shift": 2}, lambda *given: random_shift(*given, pixels=2)),
        ({"flip": True}, random_flip),
        ({"erase": 0.4}, lambda *given: random_erasing(*given, p=0.4)),
    ],
)
def test_each_change_can_be_made_alone(images, options, step):
    augmented = Augmentation(**options)(images, generator())
    assert torch.equal(augmented, step(images, generator()))
    assert not torch.equal(augmented, images)


def test_by_default_nothing_is_changed(images):
    assert Augmentation()(images, generator()) is images


def test_the_original_images_are_not_changed(images):
    before = images.clone()
    Augmentation(shift=2, degrees=10, scale=0.1, flip=True, erase=1)(images, generator())
    assert torch.equal(images, before)


@pytest.mark.parametrize("options", [
    {"shift": -1}, {"scale": 1}, {"erase": 1.5}, {"degrees": -3}, {"shift": math.nan},
    {"shift": math.inf}, {"degrees": math.nan}, {"degrees": math.inf}, {"scale": math.nan},
])  # fmt: skip
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="Expected finite shift >= 0"):
        Augmentation(**options)
