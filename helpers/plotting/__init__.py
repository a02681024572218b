"""Plotting: charts of numbers and figures of images. Nothing is shown or saved."""
# fmt: off

from helpers.plotting.charts import (
    PALETTE, class_balance, confusion_matrix, durations, embedding, heatmap, intervals,
    learning_curves, pareto_front, pixel_histogram,
)
from helpers.plotting.images import (
    GRAY, activations, augmentation_preview, class_samples, handwriting, image_grid,
    occlusion_maps, pixels, predicted_images, probability_bars,
)
