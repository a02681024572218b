"""Lightning, with the network and the settings of its own image classifier example.

Written by us from what is publicly known of it: PyTorch's example as a LightningModule, with
Adadelta, StepLR and torchmetrics. As in PyTorch's example, batches have 64 images (Lightning's have
32, which would take longer) and are shuffled. The test split is used as validation split, so that
each epoch has one evaluation, not two; bars, loggers and checkpoints are off.
"""

import logging
import warnings

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from networks import ExampleNet
from stopwatch import Stopwatch
from torch.utils.data import DataLoader
from torchmetrics import Accuracy

warnings.filterwarnings("ignore")  # about the number of workers, among others
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
watch = Stopwatch()


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = ExampleNet()
        self.accuracy = Accuracy(task="multiclass", num_classes=10)

    def training_step(self, batch, batch_index):
        images, targets = batch
        return F.nll_loss(self.model(images), targets)

    def validation_step(self, batch, batch_index):
        images, targets = batch
        self.accuracy(self.model(images), targets)

    def on_validation_epoch_end(self):
        watch.lap(self.accuracy.compute().item())
        self.accuracy.reset()

    def configure_optimizers(self):
        optimizer = torch.optim.Adadelta(self.parameters(), lr=1.0)
        schedule = watch.schedule(optimizer, epochs, len(train_loader), gamma=0.7)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


batch_size, epochs = watch.options.batch_size or 64, watch.options.epochs or 14
train, test = watch.torchvision_splits(normalize=True)
train_loader = DataLoader(train, batch_size=batch_size, shuffle=True)
test_loader = DataLoader(test, batch_size=batch_size)
trainer = Trainer(
    max_epochs=epochs,
    check_val_every_n_epoch=watch.interval(epochs),
    accelerator="cpu",
    precision="bf16-mixed" if watch.options.bfloat16 else None,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    num_sanity_val_steps=0,
)
trainer.fit(Classifier(), train_loader, test_loader)
watch.finish()
