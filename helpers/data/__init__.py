"""Data: verified images in three splits, batches, augmentation, pictures of your own."""
# fmt: off

from helpers.data.augmentation import (
    Augmentation, random_affine, random_erasing, random_flip, random_shift,
)
from helpers.data.datasets import (
    DIGESTS, FASHION_MNIST, MNIST, SPECS, DamagedDataError, DatasetSpec, read_archive, spec,
)
from helpers.data.own_data import (
    SUFFIXES, cached_tensors, from_arrays, from_folder, from_torchvision, load,
)
from helpers.data.own_image import SAMPLE_DIGIT, Handwriting, read_digit, read_digits, read_garment
from helpers.data.pictures import data_url, read_pictures, stack, to_png
from helpers.data.splits import (
    Split, Splits, batches, load_published, load_splits, loader, pixel_statistics,
)
