"""The rule that decides whether a label is doubtful, and counts of errors by their cause.

`evidence` is always a frame from `collect_evidence`. The constants below are the thresholds of the
rule. They were not tuned on any list of known wrong labels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

VERDICTS = ("near-duplicate", "label doubtful", "class ambiguous", "label stands")
CAUSES = (*VERDICTS[:-1], "model at fault")  # of errors; the last one if the label stands
NEAR_DUPLICATE_RMSE = 15.0  # at most; root mean square over the pixels, in gray values of 0 to 255
AGREEMENT = 0.9  # fraction of the models that must predict the same other class for "doubtful"
MAJORITY = 0.7  # fraction of the votes with which the neighbors support a class
SUPPORT = 0.5  # fraction of the models that must predict the label for it to stand


def decide(evidence: pd.DataFrame) -> pd.Series:
    """The verdict on each label: the first of VERDICTS that holds.

    - *near-duplicate*: an image that differs by at most NEAR_DUPLICATE_RMSE has another label. So
      at least one of the two labels is wrong, or the image does not show its class.
    - *label doubtful*: at least AGREEMENT of the models predict the same other class, and at least
      MAJORITY of the neighbors have it.
    - *class ambiguous*: less than SUPPORT of the models predict the label and less than MAJORITY of
      the neighbors have it, but they do not agree on another class as above.
    - *label stands*: at least SUPPORT of the models predict it, or at least MAJORITY of the
      neighbors have it. If a model errs here, the model is at fault.

    Confident learning is not used. If few labels are wrong, as in MNIST, its thresholds are so high
    that no image with a wrong label reaches the threshold of its true class.
    """
    close = evidence["nearest_distance"] <= NEAR_DUPLICATE_RMSE
    near_duplicate = close & (evidence["nearest_label"] != evidence["label"])
    models, votes = evidence["models_suggested"], evidence["votes_suggested"]
    doubtful = (models >= AGREEMENT) & (votes >= MAJORITY)
    stands = (evidence["models_label"] >= SUPPORT) | (evidence["votes_label"] >= MAJORITY)
    found = np.select([near_duplicate, doubtful, ~stands], VERDICTS[:-1], VERDICTS[-1])
    return pd.Series(found, index=evidence.index)


def count_errors_by_cause(evidence: pd.DataFrame, predicted: Mapping[str, Tensor]) -> pd.DataFrame:
    """Count the errors of several models by CAUSES, a row for each model.

    `predicted` maps the name of a model to its predictions int64 (N,) for the rows of `evidence`.
    The cause of an error is the verdict on the label; if the label stands, it is the model.
    """
    label = evidence["label"].to_numpy()
    causes = evidence["verdict"].replace(VERDICTS[-1], CAUSES[-1])
    counts = {name: causes[p.numpy() != label].value_counts() for name, p in predicted.items()}
    return pd.DataFrame(counts, index=list(CAUSES)).T.fillna(0).astype(int)


def fraction_fixed(
    evidence: pd.DataFrame, predicted: Mapping[str, Tensor], other: Tensor
) -> pd.Series:
    """The fraction of several models' errors that another model predicts correctly, by CAUSES.

    `evidence` and `predicted` are as in `count_errors_by_cause`; `other` int64 (N,) holds the
    predictions of the other model. In [0, 1], or nan if no model made such an error.
    """
    missed = other.numpy() != evidence["label"].to_numpy()
    of_missed = {name: classes[missed] for name, classes in predicted.items()}
    errors = count_errors_by_cause(evidence, predicted).sum()
    return 1 - count_errors_by_cause(evidence[missed], of_missed).sum() / errors


def accuracies_without_doubtful(
    evidence: pd.DataFrame, predicted: Mapping[str, Tensor]
) -> pd.DataFrame:
    """The accuracy of each model on all labels, and without the doubtful ones.

    Fractions in [0, 1], a row for each model. The column `without doubtful` leaves out images with
    the verdict "near-duplicate" or "label doubtful". It is not a better estimate than `all labels`,
    since it is measured on easier images.
    """
    label = evidence["label"].to_numpy()
    kept = ~evidence["verdict"].isin(VERDICTS[:2]).to_numpy()
    correct = pd.DataFrame({name: classes.numpy() == label for name, classes in predicted.items()})
    columns = {"all labels": correct.mean(), "without doubtful": correct[kept].mean()}
    return pd.DataFrame(columns)


def count_near_duplicates(
    evidence: Mapping[str, pd.DataFrame], limits: Sequence[float] = (5, 10, 15, 20)
) -> pd.DataFrame:
    """Count the images whose nearest image differs by at most a limit, a row for each limit.

    `evidence` holds a frame for each split; `limits` have the unit of NEAR_DUPLICATE_RMSE. Columns
    are pairs of splits, such as "test, like one of train", also with ", with another label".
    """
    images = pd.concat(evidence, names=["split", "image"]).reset_index()
    pair = images["split"] + ", like one of " + images["nearest"].str.split().str[0]
    contradicted = pair[images["label"] != images["nearest_label"]] + ", with another label"
    pairs = pd.concat([pair, contradicted])
    distances = images["nearest_distance"].loc[pairs.index].to_numpy()
    counts = {limit: pairs[distances <= limit].value_counts() for limit in limits}
    frame = pd.DataFrame(counts).T.rename_axis("at most")
    return frame.reindex(columns=sorted(frame.columns)).fillna(0).astype(int)
