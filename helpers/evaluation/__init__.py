"""Evaluation: predictions, metrics, error analysis, statistics, inspection, a drawing pad."""
# fmt: off

from helpers.evaluation.drawing_pad import drawing_pad
from helpers.evaluation.error_analysis import (
    VOTE_OUTCOMES, class_means, closest_pairs, misclassified, most_confident_misclassified,
    most_confused_pairs, neighbor_votes, random_misclassified, smallest_margins,
)
from helpers.evaluation.explorer import write_explorer
from helpers.evaluation.handwriting import Reading, read_handwriting
from helpers.evaluation.inspection import count_flops, layer_summary, occlusion, profile_ops
from helpers.evaluation.neighbors import (
    Neighbors, extract_features, nearest_neighbors, predict_with_features,
)
from helpers.evaluation.predictions import (
    UNKNOWN, Predictions, accuracy, average_predictions, confusion_matrix, loss, num_views,
    per_class, predict, predict_tta, preserve_train_mode, tta_views,
)
from helpers.evaluation.significance import (
    accuracy_interval, mcnemar, mean_interval, pack_bits, pareto_front, seeds_needed, unpack_bits,
)
