"""fastai, with the network that its book builds for MNIST, batch norm and one-cycle included.

Written by us from what is publicly known of the chapter on convolutions: five convolutions of
stride 2, batches of 512, five epochs at a largest rate of 0.1, PNG files in a folder for each
class. Writing the PNG files is not timed. fastai reads them with one worker process per core, its
default.
"""

import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.data.all import (
    CategoryBlock,
    DataBlock,
    FuncSplitter,
    GrandparentSplitter,
    Normalize,
    get_image_files,
    parent_label,
)
from fastai.metrics import accuracy
from fastai.torch_core import default_device
from fastai.vision.all import ImageBlock, PILImageBW
from stopwatch import HELD_OUT, PREPARED, Stopwatch
from torch import nn

default_device(False)  # the CPU
watch = Stopwatch()


class Lap(Callback):
    def after_epoch(self):
        watch.lap(float(self.recorder.metrics[0].value))


def conv(channels_in: int, channels_out: int, size: int = 3, last: bool = False) -> nn.Module:
    layers = [nn.Conv2d(channels_in, channels_out, size, stride=2, padding=size // 2)]
    return nn.Sequential(*layers, *([] if last else [nn.ReLU(), nn.BatchNorm2d(channels_out)]))


folder, splitter = PREPARED / watch.dataset, GrandparentSplitter("training", "testing")
if watch.options.validate:
    folder, splitter = folder / "training", FuncSplitter(lambda path: int(path.stem) >= HELD_OUT)
loaders = DataBlock(
    blocks=(ImageBlock(cls=PILImageBW), CategoryBlock),
    get_items=get_image_files,
    splitter=splitter,
    get_y=parent_label,
    batch_tfms=Normalize(),
).dataloaders(folder, bs=watch.options.batch_size or 512)
model = nn.Sequential(
    conv(1, 8, size=5),
    conv(8, 16),
    conv(16, 32),
    conv(32, 64),
    conv(64, 10, last=True),
    nn.Flatten(),
)
learner = Learner(loaders, model, loss_func=F.cross_entropy, metrics=accuracy, cbs=Lap())
with learner.no_bar(), learner.no_logging():
    learner.fit_one_cycle(watch.options.epochs or 5, watch.options.rate or 0.1)
watch.finish()
