"""PyTorch's own MNIST example.

Written by us from what is publicly known of it: two convolutions and two linear layers with
dropout, Adadelta with learning rate 1, times 0.7 after each epoch, batches of 64, tests in batches
of 1,000, 14 epochs. The original does not shuffle on the CPU; shuffling here helps it.
"""

import torch
import torch.nn.functional as F
from networks import ExampleNet
from stopwatch import Stopwatch, torchvision_splits
from torch.utils.data import DataLoader

watch = Stopwatch()
train, test = torchvision_splits(watch.dataset, normalize=True)
train_loader = DataLoader(train, batch_size=64, shuffle=True)
test_loader = DataLoader(test, batch_size=1000)
model = ExampleNet().to(watch.device)
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)

for _ in range(14):
    model.train()
    for images, targets in train_loader:
        images, targets = images.to(watch.device), targets.to(watch.device)
        optimizer.zero_grad()
        F.nll_loss(model(images), targets).backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for images, targets in test_loader:
            images, targets = images.to(watch.device), targets.to(watch.device)
            right += (model(images).argmax(dim=1) == targets).sum().item()
    watch.lap(right / len(test))
    schedule.step()
watch.finish()
