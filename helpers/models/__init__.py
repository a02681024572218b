"""Models: the networks, built by name, checkpoints of their weights, and export."""
# fmt: off

from helpers.models.checkpoints import (
    PRETRAINED, CheckpointError, describe, list_pretrained, load, load_pretrained, read_metadata,
    save, weights_digest,
)
from helpers.models.export import FORMATS, export
from helpers.models.networks import (
    MLP, MODELS, FastCNN, Linear, Normalize, ResNet, TinyVGG, build, build_own, count_parameters,
    source_digest,
)
