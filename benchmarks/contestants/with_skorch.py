"""skorch, with the convolutional network of its own MNIST notebook.

Written by us from what is publicly known of it: conv 32, conv 64 with dropout, two linear layers,
Adam at 0.002, skorch's default batches of 128, ten epochs. The training images are shuffled, which
helps it, and the test split is used as validation split.
"""

import torch
import torch.nn.functional as F
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from stopwatch import Stopwatch
from torch import nn

watch = Stopwatch()


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.drop_channels, self.drop = nn.Dropout2d(0.5), nn.Dropout(0.5)
        self.hidden, self.output = nn.Linear(64 * 5 * 5, 100), nn.Linear(100, 10)

    def forward(self, images):
        x = F.relu(F.max_pool2d(self.conv_1(images), 2))
        x = F.relu(F.max_pool2d(self.drop_channels(self.conv_2(x)), 2)).flatten(1)
        x = self.drop(F.relu(self.hidden(x)))
        return self.output(x).softmax(dim=-1)


class Lap(Callback):
    def on_epoch_end(self, net, **_):
        watch.lap(net.history[-1, "valid_acc"])


train_images, train_targets, test_images, test_targets = watch.arrays()
train_images, test_images = (
    images.astype("float32")[:, None] / 255 for images in (train_images, test_images)
)
batch_size, epochs = watch.options.batch_size or 128, watch.options.epochs or 10
schedules = []
if watch.options.rate:
    one_cycle = {"max_lr": watch.options.rate, "cycle_momentum": False}
    steps = epochs * -(-len(train_images) // batch_size)
    policy = torch.optim.lr_scheduler.OneCycleLR
    schedules = [LRScheduler(policy, step_every="batch", total_steps=steps, **one_cycle)]
net = NeuralNetClassifier(
    Cnn,
    max_epochs=epochs,
    batch_size=batch_size,
    lr=0.002,
    optimizer=torch.optim.Adam,
    iterator_train__shuffle=True,
    train_split=predefined_split(Dataset(test_images, test_targets)),
    callbacks=[Lap(), *schedules],
    verbose=0,
)
net.fit(train_images, train_targets)
watch.finish()
