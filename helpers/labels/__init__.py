"""Labels: find doubtful labels, collect the evidence on them, and review them."""
# fmt: off

from helpers.labels.audit import (
    Audit, collect_evidence, label_issue_score, nearest_duplicates, rank_labels, run_audit,
    summarize,
)
from helpers.labels.confident_learning import (
    confident_joint, estimate_joint, find_label_issues, thresholds,
)
from helpers.labels.cross_validation import OutOfSamplePredictions, predict_out_of_sample
from helpers.labels.noise import pair_flip, symmetric_noise
from helpers.labels.review import (
    DECISIONS, load_decisions, plot_evidence, review_widget, save_decision, write_gallery,
)
from helpers.labels.verdicts import (
    CAUSES, VERDICTS, accuracies_without_doubtful, count_errors_by_cause, count_near_duplicates,
    decide, fraction_fixed,
)
