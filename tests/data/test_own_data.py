"""Own data: all supported layouts and kinds of pictures, and all that are refused."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from helpers import data
from helpers.data import own_data, pictures
from tests.tools import claiming_png, saved

RNG = np.random.default_rng(0)


def write(path: Path, picture: Image.Image | np.ndarray | int = 0, **options) -> Path:
    """Write a picture, or 20 × 20 pixels of one gray value."""
    if isinstance(picture, int):
        picture = np.full((20, 20), picture, dtype=np.uint8)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three classes of 20, 10 and 1 pictures, all different."""
    for k, (name, count) in enumerate([("cat", 20), ("dog", 10), ("été", 1)]):
        for i in range(count):
            write(tmp_path / "pets" / name / f"{i:02d}.png", 70 * k + i)
    return tmp_path / "pets"


def parts(splits: data.Splits) -> dict[str, data.Split]:
    return {name: getattr(splits, name) for name in ("train", "validation", "test")}


def test_a_folder_is_divided_by_class(folder):
    splits = data.from_folder(folder)
    assert (splits.spec.name, splits.spec.title) == ("pets", "pets")
    assert (splits.spec.folder, splits.spec.size) == (str(folder), 28)
    assert splits.spec.class_names == ("cat", "dog", "été")
    counts = {
        name: split.targets.bincount(minlength=3).tolist() for name, split in parts(splits).items()
    }
    assert counts == {"train": [16, 8, 1], "validation": [2, 1, 0], "test": [2, 1, 0]}
    assert splits.notes == (
        "31 images of 3 classes, 1 to 20 of each: 25 train, 3 validation, 3 test "
        "(a tenth of each class, seed 0)",
    )


def test_the_name_of_a_data_set_or_a_folder_is_loaded(folder):
    assert data.load("mnist").spec is data.MNIST
    splits = data.load(str(folder), size=16, channels=3)
    assert splits.train.images.shape == (25, 3, 16, 16)


def test_each_image_is_that_of_its_file(folder):
    splits = data.from_folder(folder)
    for name, split in parts(splits).items():
        for image, target, file in zip(
            split.images, split.targets, splits.files[name], strict=True
        ):
            assert file.startswith(splits.spec.class_names[target] + "/")
            pixel = np.asarray(Image.open(folder / file))[0, 0]
            assert (image == int(pixel)).all()
    assert sum(map(len, splits.files.values())) == 31


def test_the_same_folder_gives_the_same_splits_and_another_picture_another_digest(folder):
    first, again = data.from_folder(folder), data.from_folder(str(folder))
    assert first.spec == again.spec
    assert first.train.digest == again.train.digest
    write(folder / "cat" / "03.png", 200)
    other = data.from_folder(folder)
    assert other.spec.digest != first.spec.digest
    (folder / "cat").rename(folder / "car")
    renamed = data.from_folder(folder)
    assert renamed.test.digest == other.test.digest
    assert renamed.spec.digest != other.spec.digest


def test_mean_and_std_are_those_of_the_training_images(folder):
    splits = data.from_folder(folder)
    expected = splits.train.images.double() / 255
    assert splits.spec.mean == pytest.approx(expected.mean().item())
    assert splits.spec.std == pytest.approx(expected.std(correction=0).item())


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val", None])
def test_given_splits_are_kept(tmp_path, validation):
    given = {"train": 10, "test": 4} | ({validation: 3} if validation else {})
    for part, count in given.items():
        for name in ("a", "b"):
            for i in range(count):
                write(
                    tmp_path / part / name / f"{i}.png",
                    RNG.integers(256, size=(16, 16), dtype=np.uint8),
                )
    splits = data.from_folder(tmp_path)
    sizes = {name: len(split) for name, split in parts(splits).items()}
    expected = {"train": 20, "validation": 6} if validation else {"train": 18, "validation": 2}
    assert sizes == expected | {"test": 8}
    assert all(file.startswith("test/") for file in splits.files["test"])
    how = "as given" if validation else "validation: a tenth of each class, seed 0"
    assert splits.notes[0].endswith(f"8 test ({how})")


def test_repeated_images_are_counted(tmp_path):
    for i in range(20):
        write(tmp_path / "a" / f"{i}.png", 10)  # all the same
    for i in range(10):
        write(tmp_path / "b" / f"{i}.png", 100 + i)
    write(tmp_path / "b" / "as-a.png", 10)
    splits = data.from_folder(tmp_path)
    found = sum(
        int((split.images == 10).all(dim=(1, 2, 3)).sum()) for split in parts(splits).values()
    )
    assert found == 21
    same = {name: (s.images == 10).all(dim=(1, 2, 3)) for name, s in parts(splits).items()}
    assert same["train"].any()
    leaked = int(same["validation"].sum() + same["test"].sum())
    assert leaked >= 4
    assert splits.notes[1] == (
        f"20 images repeat another one; {leaked} of validation and test are in training as well; "
        "1 have several labels"
    )


KINDS = {
    "gray": (Image.new("L", (28, 28), 80), [80]),
    "color": (Image.new("RGB", (28, 28), (250, 0, 10)), [250, 0, 10]),
    "palette": (Image.new("RGB", (28, 28), (250, 0, 10)).quantize(4), [250, 0, 10]),
    "1 bit": (Image.new("1", (28, 28), 1), [255]),
    "transparent": (Image.new("RGBA", (28, 28), (9, 9, 9, 0)), [255]),
    "gray and alpha": (Image.new("LA", (28, 28), (9, 255)), [9]),
    "16 bits": (Image.fromarray(np.full((28, 28), 0xFFFF, dtype=np.uint16)), [255]),
    "12 of 16 bits": (Image.fromarray(np.full((28, 28), 0xFFF, dtype=np.uint16)), [255]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_png_kind_is_read(tmp_path, kind):
    picture, expected = KINDS[kind]
    (found,) = data.read_pictures([write(tmp_path / "x.png", picture)], size=28)
    image = data.stack([found], None)
    assert image.shape == (1, len(expected), 28, 28)
    assert image[0, :, 5, 5].tolist() == expected


def test_the_bit_depth_is_the_largest_used_in_the_set():
    bright, dark = (np.full((1, 16, 16), value, dtype=np.float32) for value in (4095, 100))
    assert data.stack([bright, dark], None)[:, 0, 0, 0].tolist() == [255, 6]  # 255 * 100 / 4095


def test_gray_values_of_16_bits_are_scaled_linearly_to_8_bits(tmp_path):
    deep = np.linspace(0, 65_535, 28 * 28).reshape(28, 28).astype(np.uint16)
    (found,) = data.read_pictures([write(tmp_path / "x.png", deep)], size=28)
    expected = np.rint(deep * (255 / 65_535)).astype(np.uint8)
    assert np.array_equal(data.stack([found], None)[0, 0], expected)
    bright, beyond = np.full((2, 1, 28, 28), 200.0, dtype=np.float32)
    beyond += 55.6
    assert data.stack([bright, beyond, bright - 300], None)[:, 0, 0, 0].tolist() == [200, 255, 0]
    eight = np.full((1, 28, 28), 200, dtype=np.uint8)
    assert data.stack([eight, found], None)[0].unique().tolist() == [200]


def test_floating_point_pictures_from_0_to_1_are_scaled_to_8_bits(tmp_path):
    gray = np.linspace(0, 255, 28 * 28).round().astype(np.uint8).reshape(28, 28)
    bright = gray / np.float32(255)
    bright[-1, -1] = 1.02  # as after interpolation
    (found,) = data.read_pictures([write(tmp_path / "x.tif", bright)], size=28)
    deep = np.full((1, 28, 28), 60_000, dtype=np.float32)  # of 16 bits
    for others in ([], [deep]):
        assert np.array_equal(data.stack([found, *others], None)[0, 0], gray)


@pytest.mark.parametrize(
    ("peak", "white"),
    [
        (0, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095),
        (4096, 16_383), (16_383, 16_383), (16_384, 65_535), (65_535, 65_535),
        (65_536, 2**32 - 1), (2**32 - 1, 2**32 - 1), (2**32, 2**32),
    ],
)  # fmt: skip
def test_white_is_the_largest_value_of_the_fewest_bits_that_hold_the_peak(peak, white):
    assert pictures.white_level(peak) == white


@pytest.mark.parametrize("wide", [False, True])
def test_the_padding_color_is_the_median_of_the_four_edges(wide):
    """The two long edges have the color 30, everything else 200."""
    pixels = np.full((40, 20), 200, dtype=np.uint8)
    pixels[:, 0] = pixels[:, -1] = 30
    image = pictures.prepare(Image.fromarray(pixels.T if wide else pixels), 40)[0]
    assert (image.T if wide else image)[:, 0].tolist() == [30] * 40


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp", "gif", "tif", "ppm"])
def test_formats_are_read(tmp_path, suffix):
    path = write(tmp_path / f"x.{suffix}", Image.new("RGB", (28, 28), (200, 30, 30)))
    image = data.stack(data.read_pictures([path], size=28), None)
    assert (image[0, :, 14, 14].int() - torch.tensor([200, 30, 30])).abs().max() <= 6


def test_colors_become_gray_for_one_channel():
    (found,) = data.read_pictures([saved(Image.new("RGB", (28, 28), (250, 0, 10)))], size=28)
    assert data.stack([found], 1)[0, 0, 0, 0] == round(0.299 * 250 + 0.114 * 10)
    assert data.stack([found[:, :16, :16], np.zeros((3, 16, 16), np.uint8)], None).shape[1] == 3


def test_a_picture_keeps_its_proportions_and_gets_the_color_of_its_border():
    picture = Image.new("L", (40, 20), 30)
    picture.paste(220, (18, 8, 22, 12))  # a square in the middle, a fifth of the height
    image = data.stack(data.read_pictures([saved(picture)], size=40), None)[0, 0]
    assert image[0, 0] == 30  # above the picture
    bright = (image > 125).nonzero()
    extent = (bright.max(dim=0).values - bright.min(dim=0).values + 1).tolist()
    assert extent == [4, 4]
    assert bright.double().mean(dim=0).tolist() == [19.5, 19.5]


def test_a_picture_is_turned_upright():
    upright = np.zeros((30, 30), dtype=np.uint8)
    upright[:10] = 200  # the upper third is bright
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by 90°
    turned = saved(Image.fromarray(np.rot90(upright)), exif=exif)
    image = data.stack(data.read_pictures([turned], size=30), None)[0, 0]
    assert torch.equal(image, torch.from_numpy(upright))


BROKEN = {
    "empty": b"", "text": b"no picture", "cut": saved(Image.effect_noise((64, 64), 90))[:400],
    "huge": claiming_png(50_000, 50_000, depth=1),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pictures_are_named_or_left_out(folder, kind):
    (folder / "cat" / "bad.png").write_bytes(BROKEN[kind])
    with pytest.raises(ValueError, match=r"cat/bad\.png in .* cannot be read.*--skip-broken"):
        data.from_folder(folder)
    splits = data.from_folder(folder, skip_broken=True)
    assert splits.notes[1] == "left out, since it cannot be read: cat/bad.png"
    assert sum(map(len, parts(splits).values())) == 31


@pytest.mark.parametrize("broken", ["train/b", "test/b"])
def test_a_class_of_broken_pictures_only_is_refused_in_each_split(tmp_path, broken):
    """Otherwise a model would not be trained or not be tested on the class."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        for i in range(4):
            path = write(tmp_path / place / f"{i}.png")
            if place == broken:
                path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"^No picture in \S*{broken} can be read"):
        data.from_folder(tmp_path, skip_broken=True)


def test_a_folder_of_broken_pictures_only_is_refused(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "x.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^a/x\.png, b/x\.png in .* cannot be read"):
        data.from_folder(tmp_path)
    with pytest.raises(
        ValueError, match=rf"^No picture in {re.escape(str(tmp_path / 'a'))}, .*b can be read"
    ):
        data.from_folder(tmp_path, skip_broken=True)


def test_an_unreadable_picture_gives_its_reason(tmp_path, monkeypatch):
    assert "cannot identify image file" in data.read_pictures([b"no picture"], size=28)[0]
    assert data.read_pictures([tmp_path / "x.png"], size=28) == ["there is no such file"]
    assert data.read_pictures([BROKEN["huge"]], size=28) == ["it is too large"]
    picture = saved(Image.new("L", (28, 28)))

    def fail_without_words(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(pictures, "prepare", fail_without_words)
    assert data.read_pictures([picture], size=28) == ["ZeroDivisionError"]


def test_a_warning_about_a_readable_picture_is_not_an_error(monkeypatch):
    def warn(*_):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        return np.zeros((1, 28, 28), np.uint8)

    monkeypatch.setattr(pictures, "prepare", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (found,) = data.read_pictures([saved(Image.new("L", (28, 28)))], size=28)
    assert found.shape == (1, 28, 28)


@pytest.mark.skipif(os.name == "nt", reason="on Windows, only administrators make links")
def test_a_link_that_points_to_itself_is_broken(folder):
    os.symlink(folder / "cat" / "loop.png", folder / "cat" / "loop.png")
    os.symlink(folder, folder / "cat" / "circle")
    with pytest.raises(ValueError, match=r"cat/loop\.png in .* cannot be read"):
        data.from_folder(folder)


def test_other_files_are_left_out(folder):
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / ".DS_Store").write_text("x")
    (folder / "README.md").write_text("x")
    (folder / ".thumbnails").mkdir()
    (folder / "cat" / "2023").mkdir()
    assert data.from_folder(folder).notes[1] == (
        "left out, since these are not pictures: cat/2023, cat/notes.txt"
    )


@pytest.mark.parametrize(
    ("count", "names"), [(5, "1, 2, 3, 4, 5"), (6, "1, 2, 3, 4, 5 and 1 more")]
)
def test_only_five_of_many_names_are_listed(folder, count, names):
    for i in range(1, count + 1):
        (folder / "cat" / f"{i}").write_text("x")
    assert data.from_folder(folder).notes[1].replace("cat/", "").endswith(f"not pictures: {names}")


def test_large_sets_are_read_once(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(own_data, "CACHED_FROM", 5)
    (folder / "dog" / "bad.png").write_bytes(b"")
    options = dict(cache_dir=tmp_path / "cache", skip_broken=True)
    first = data.from_folder(folder, **options)
    monkeypatch.setattr(own_data, "read_pictures", None)  # would fail when called
    again = data.from_folder(folder, **options)
    assert (again.spec, again.notes, again.files) == (first.spec, first.notes, first.files)
    assert again.test.digest == first.test.digest
    write(folder / "cat" / "00.png", 201)
    with pytest.raises(TypeError):
        data.from_folder(folder, **options)


def test_large_sets_of_color_pictures_are_read_once(folder, monkeypatch, tmp_path):
    write(folder / "cat" / "color.png", np.full((20, 20, 3), (200, 10, 90), dtype=np.uint8))
    plain = data.from_folder(folder)
    monkeypatch.setattr(own_data, "CACHED_FROM", 5)
    first = data.from_folder(folder, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(own_data, "read_pictures", None)
    again = data.from_folder(folder, cache_dir=tmp_path / "cache")
    assert plain.train.images.shape[1] == 3
    assert plain.train.images.is_contiguous()
    assert plain.spec.digest == first.spec.digest == again.spec.digest


def test_the_cache_distinguishes_size_and_channels(folder, monkeypatch):
    monkeypatch.setattr(own_data, "CACHED_FROM", 5)
    for _ in range(2):
        for size, channels in ((28, 1), (32, 1), (32, 3)):
            options = dict(size=size, channels=channels, cache_dir=folder.parent / "cache")
            shape = data.from_folder(folder, **options).train.images.shape
            assert shape[1:] == (channels, size, size)


def test_the_first_rows_of_a_seeded_permutation_of_each_class_are_held_out(folder):
    files = data.from_folder(folder).files
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    for name, rows in (("test", order[:2]), ("validation", order[2:4])):
        cats = [file for file in files[name] if file.startswith("cat/")]
        assert cats == [f"cat/{i:02d}.png" for i in sorted(rows)]


def test_a_bar_counts_the_pictures_that_are_read(folder, capsys):
    data.from_folder(folder, progress=True)
    assert re.search(r"reading: +\d+%.* \d+/31 .* pictures/s", capsys.readouterr().err)
    data.from_folder(folder, progress=False)
    assert capsys.readouterr().err == ""


def test_the_cache_depends_on_the_code_that_reads(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(own_data, "CACHED_FROM", 5)
    data.from_folder(folder, cache_dir=tmp_path / "cache")
    code = tmp_path / "own_data.py"  # with other code that reads pictures
    code.with_name("pictures.py").write_text("# of another version")
    monkeypatch.setattr(own_data, "__file__", str(code))
    data.from_folder(folder, cache_dir=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage", [flipped, lambda old: old[:-1], lambda old: old + b"x", lambda old: b"",
               lambda old: old[32:], lambda old: b"not tensors"],
)  # fmt: skip
def test_a_damaged_cache_is_rebuilt(tmp_path, damage):
    path, tensors, made = tmp_path / "cache" / "x.tensors", {"a": torch.arange(5)}, []

    def make():
        made.append(1)
        return tensors

    def same() -> bool:
        found = data.cached_tensors(path, make)
        return list(found) == ["a"] and torch.equal(found["a"], tensors["a"])

    assert same()
    assert same()
    assert len(made) == 1
    path.write_bytes(damage(path.read_bytes()))
    assert same()
    assert len(made) == 2
    assert same()
    assert len(made) == 2


def nothing(path: Path) -> None:
    path.mkdir()


def one_class(path: Path) -> None:
    write(path / "only" / "x.png")


def nested(path: Path) -> None:
    write(path / "a" / "b" / "c" / "x.png")
    write(path / "d" / "x.png")


def empty_class(path: Path) -> None:
    write(path / "a" / "x.png")
    (path / "b").mkdir()


def by_case(path: Path) -> None:
    for name in ("cat", "Cat", "dog"):
        write(path / name / "x.png")


def beside_train(path: Path) -> None:
    write(path / "train" / "a" / "x.png")
    write(path / "more" / "a" / "x.png")


def unknown_class(path: Path) -> None:
    for folder in ("train/a", "train/b", "test/c"):
        write(path / folder / "x.png")


def too_few(path: Path) -> None:
    write(path / "a" / "x.png")
    write(path / "b" / "x.png", 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "There is no folder"),
        (nothing, "has no subfolders. Expected a folder that has a subfolder of pictures for each"),
        (one_class, "data has 1 classes, expected 2 to 1,000: only"),
        (nested, "has no pictures, but subfolders"),
        (empty_class, r"b has no pictures\. Expected"),
        (by_case, "classes Cat, cat differ only by case"),
        (beside_train, "other folders beside train: more"),
        (unknown_class, "train has no pictures of c"),
        (too_few, "too few images for a validation split: 2 in all"),
        (lambda path: path.write_text("x"), r"data is a file\. Expected a folder"),
    ],
)
def test_invalid_folders_are_refused(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        data.from_folder(tmp_path / "data")


def test_an_archive_is_refused(tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="It is an archive: unpack it first"):
        data.load(str(tmp_path / "pets.zip"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 15}, "must be 16 to 96 pixels"),
        ({"size": 97}, "must be 16 to 96 pixels"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_other_formats_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_folder(folder, **options)


@pytest.mark.parametrize("axes", ["NHW", "NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_arrays_are_split(axes, kind):
    images = RNG.integers(256, size=(60, 20, 20), dtype=np.uint8)
    given = {"NHW": images, "NCHW": images[:, None], "NHWC": images[..., None].repeat(3, 3)}[axes]
    if kind == "float":
        given = given / 255
    targets = np.arange(60) % 3
    splits = data.from_arrays(given, targets, ["x", "y", "z"])
    assert splits.spec.channels == (3 if axes == "NHWC" else 1)
    together = torch.cat([split.images[:, 0] for split in parts(splits).values()])
    assert sorted(i.numpy().tobytes() for i in together) == sorted(i.tobytes() for i in images)
    assert len(splits.test) == len(splits.validation) == 6
    image, target = splits.test.images[0, 0].numpy(), splits.test.targets[0]
    (row,) = np.flatnonzero((images == image).all(axis=(1, 2)))
    assert targets[row] == target


def test_arrays_of_another_size_are_scaled():
    images = np.zeros((20, 8, 8))
    images[:, :4] = 1
    splits = data.from_arrays(images, np.arange(20) % 2, size=32)
    assert splits.train.images.shape[1:] == (1, 32, 32)
    assert (splits.train.images[:, 0, :12] == 255).all()
    assert (splits.train.images[:, 0, 20:] == 0).all()


def test_fine_patterns_of_arrays_are_averaged_where_they_are_scaled_down():
    images = np.zeros((20, 64, 64), dtype=np.uint8)
    images[:, :, ::4] = 200  # every fourth column
    splits = data.from_arrays(images, np.arange(20) % 2, size=16)
    assert splits.train.images[..., 2:-2].unique().tolist() == [50]


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((20, 1, 20, 3), 1), ((20, 3, 20, 1), 3), ((20, 20, 20, 1), 1), ((20, 20, 3, 3), 3)],
)
def test_channels_are_the_first_axis_of_a_fitting_size(shape, channels):
    """This includes narrow images that are resized."""
    splits = data.from_arrays(np.zeros(shape, dtype=np.uint8), np.arange(20) % 2, size=16)
    assert splits.spec.channels == channels


def test_arrays_of_one_gray_value_are_images():
    splits = data.from_arrays(np.full((20, 16, 16), 0.5), np.arange(20) % 2)
    assert (splits.train.images == 128).all()
    assert splits.spec.std == 1 / 255  # images are divided by it


ARRAY = np.zeros((20, 16, 16), dtype=np.uint8)
TWO = np.arange(20) % 2


@pytest.mark.parametrize(
    ("images", "targets", "names", "message"),
    [
        (ARRAY + 0.5 * 16, TWO, None, r"must lie in \[0, 1\], got 8 to 8"),
        (ARRAY + np.eye(16) * 1.5, TWO, None, r"must lie in \[0, 1\], got 0 to 1\.5"),
        (ARRAY - np.eye(16) * 0.5, TWO, None, r"must lie in \[0, 1\], got -0\.5 to 0"),
        (ARRAY + np.eye(16) * np.nan, TWO, None, r"must lie in \[0, 1\], got nan to nan"),
        (ARRAY, TWO.astype(float), None, "whole numbers"),
        (ARRAY, np.eye(2)[TWO].astype(int), None, r"\.argmax\(1\)"),
        (ARRAY, TWO + 1, ["a", "b"], r"must lie in \[0, 2\), got 1 to 2"),
        (ARRAY, TWO - 1, None, r"got -1 to 0"),
        (ARRAY, TWO[:-1], None, "one for each image"),
        (ARRAY[:, :8], TWO, None, r"must be uint8 \(N, C, S, S\).* 16 to 96 pixels"),
        (ARRAY, TWO * 0, None, "^arrays has 1 classes, expected 2"),
        (ARRAY[:0], TWO[:0], ["a", "b"], "too few images"),
    ],
)
def test_invalid_arrays_are_refused(images, targets, names, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(images, targets, names)


def test_at_most_1000_classes_are_accepted():
    assert len(data.from_arrays(ARRAY, TWO, [*map(str, range(1_000))]).spec.class_names) == 1_000
    with pytest.raises(
        ValueError, match="1001 classes, expected 2 to 1,000: 0, 1, 2, 3, 4 and 996"
    ):
        data.from_arrays(ARRAY, TWO, [*map(str, range(1_001))])


class Pairs:
    """A noise data set with the interface of torchvision's EMNIST, SVHN or CIFAR-10."""

    def __init__(self, mode: str, side: int, count: int, classes: int, *, tensors=False) -> None:
        self.classes = [f"class {k}" for k in range(classes)]
        shape = (count, side, side, 3) if mode == "RGB" else (count, side, side)
        self.pixels = np.random.default_rng(count).integers(256, size=shape, dtype=np.uint8)
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple:
        if self.tensors:
            image = torch.from_numpy(np.atleast_3d(self.pixels[i])).movedim(2, 0) / 255
            return image, i % len(self.classes)
        return Image.fromarray(self.pixels[i]), torch.tensor(i % len(self.classes))


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize(
    ("mode", "side", "classes"), [("L", 28, 10), ("L", 28, 26), ("RGB", 32, 10)]
)
def test_torchvision_data_sets_are_read(mode, side, classes, tensors):
    train, test = (Pairs(mode, side, n, classes, tensors=tensors) for n in (130, 26))
    splits = data.from_torchvision(train, test, size=side, name="emnist")
    assert splits.spec.class_names == tuple(train.classes)
    assert splits.spec.channels == (3 if mode == "RGB" else 1)
    pixels = torch.from_numpy(test.pixels)
    expected = pixels.movedim(3, 1) if mode == "RGB" else pixels[:, None]
    assert torch.equal(splits.test.images, expected)
    assert splits.test.targets.tolist() == [i % classes for i in range(26)]
    assert len(splits.train) + len(splits.validation) == 130
    assert len(data.from_torchvision(train, size=side).test) >= classes


def test_a_data_set_without_names_is_called_by_its_type():
    """uint8 tensors are used unchanged; colors become gray on request."""
    images = torch.tensor([60, 30, 0], dtype=torch.uint8).view(1, 3, 1, 1).repeat(20, 1, 40, 40)
    pairs = TensorDataset(images, torch.arange(20) % 2)
    splits = data.from_torchvision(pairs)
    assert (splits.spec.name, splits.spec.class_names) == ("tensordataset", ("0", "1"))
    assert torch.equal(splits.train.images[:1], images[:1, :, :28, :28])
    assert data.from_torchvision(pairs, channels=1, name="mine").spec.channels == 1
    with pytest.raises(ValueError, match="channels must be 1 or 3, got 2"):
        data.from_torchvision(pairs, channels=2)


def test_invalid_pictures_of_a_data_set_are_refused():
    too_bright = TensorDataset(torch.full((20, 1, 28, 28), 1.5), torch.arange(20) % 2)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1\.5 to 1\.5"):
        data.from_torchvision(too_bright)
    with pytest.raises(ValueError, match="has no images"):
        data.from_torchvision([])
    for targets, found in ((torch.arange(9) % 3, "0 to 2"), (-torch.ones(9), "-1 to -1")):
        pairs = TensorDataset(torch.zeros(9, 1, 28, 28), targets)
        pairs.classes = ["a", "b"]
        with pytest.raises(ValueError, match=rf"Targets must lie in \[0, .\), got {found}"):
            data.from_torchvision(pairs)


def test_class_names_may_be_an_array_and_targets_of_any_integer_type():
    splits = data.from_arrays(ARRAY, TWO.astype(np.uint16), np.array(["a", "b"]))
    assert splits.spec.class_names == ("a", "b")
    assert splits.train.targets.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint16, torch.int64])
def test_whole_numbers_other_than_uint8_are_refused_also_if_scaled(dtype):
    """Values above 255 would wrap around."""
    images = torch.full((20, 16, 16), 300).to(dtype)
    for size in (None, 20):
        with pytest.raises(ValueError, match="Images must be uint8"):
            data.from_arrays(images, TWO, size=size)


def test_a_folder_named_like_a_known_data_set_is_not_mistaken_for_it(folder):
    moved = folder.rename(folder.with_name("mnist"))
    assert data.from_folder(moved).spec.name == "own-mnist"


def test_nan_infinite_and_huge_pixels_are_read(tmp_path):
    odd = np.full((20, 20), 5, np.float32)
    odd[:2, :3] = [[np.nan, np.inf, -np.inf], [1e30, 2.0**32, -7]]
    write(tmp_path / "a.tiff", Image.fromarray(odd))
    (read,) = pictures.read_pictures([tmp_path / "a.tiff"], size=20, progress=False)
    images = pictures.stack([read], None)
    assert images.dtype == torch.uint8
    assert images[0, 0, 0, 1] == 255
    assert images[0, 0, 5, 5] == 0


def test_empty_arrays_are_refused():
    with pytest.raises(ValueError, match="Images must be uint8"):
        data.from_arrays(np.zeros((4, 0), np.float32), [0, 1, 0, 1])
    for shape in ((0, 0, 0), (2, 0, 5), (0, 28, 28), (2, 3)):
        with pytest.raises(ValueError, match=r"Images must be uint8|Targets must be int64 \(0,\)"):
            data.from_arrays(np.zeros(shape, np.uint8), [0, 1], size=16)
