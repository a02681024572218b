"""This project: train a recipe, as `python -m helpers train` does."""

from dataclasses import replace

import torch
from stopwatch import Stopwatch

from helpers import data, evaluation, training

watch = Stopwatch()
splits = data.load_splits(watch.dataset)
recipe = replace(
    training.find_recipe(watch.options.recipe, watch.dataset), precision=watch.options.precision
)
model, _ = training.train(recipe, splits, device=torch.device("cpu"), seed=watch.seed)
watch.lap(evaluation.accuracy(evaluation.predict(model, splits.test)))
watch.finish()
