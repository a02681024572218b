"""The model or the label: whose fault is a mistake?

One rule, with its limits in one place; it was fitted to no list of known wrong labels. Its evidence
is a frame as `audit.judge` makes it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from torch import Tensor
if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("near-duplicate", "label doubtful", "class ambiguous", "label stands")
STANDS = VERDICTS[-1]
AT_FAULT = "model at fault"  # what is said of a mistake where the label stands
CAUSES = (*VERDICTS[:-1], AT_FAULT)
NEAR_DUPLICATE_RMSE = 15.0  # grey values of 255 by which a near-duplicate may differ, root mean square over pixels
AGREEMENT = 0.9  # share of the judges that must name another class before a label is doubtful
MAJORITY = 0.7  # share of the votes with which neighbours side with a class
SOUND = 0.5  # share of the judges that must find the label before it stands by their word


def decide(evidence: "pd.DataFrame") -> "pd.Series":
    """The verdict on each label: the first of VERDICTS that holds.

    Confident learning has no say in it: where hardly a label is wrong, as in MNIST, judges are so
    sure of the others that none of the few is told with the confidence that it asks for.

    - *near-duplicate*: an image that differs by no more than TWIN grey values has another label, so
      that at least one of the two is wrong, or nobody can tell.
    - *label doubtful*: at least AGREED of the judges name the same other class, and at least
      MAJORITY of the neighbours have it.
    - *class ambiguous*: few judges find the label, and few neighbours have it, but they do not
      agree on another class.
    - *label stands*: at least SOUND of the judges find it, or at least MAJORITY of the neighbours
      have it. A model that errs here is at fault.
    """
    import numpy as np
    import pandas as pd

    near = (evidence["twin_distance"] <= NEAR_DUPLICATE_RMSE) & (evidence["twin_label"] != evidence["label"])
    doubtful = (evidence["judges_suggested"] >= AGREEMENT) & (evidence["votes_suggested"] >= MAJORITY)
    stands = (evidence["judges_label"] >= SOUND) | (evidence["votes_label"] >= MAJORITY)
    found = np.select([near, doubtful, ~stands], VERDICTS[:-1], STANDS)
    return pd.Series(found, index=evidence.index)


def count_errors_by_cause(evidence: "pd.DataFrame", named: Mapping[str, Tensor]) -> "pd.DataFrame":
    """Whose fault are the mistakes of several models? Counts, a row a model, a column a cause.

    `named` maps a model's name to the class int64 (N,) that it names for each image of `evidence`.
    The columns are CAUSES: the VERDICTS, with AT_FAULT for mistakes where the label stands.
    """
    import pandas as pd

    counts = {
        name: evidence.loc[labels.numpy() != evidence["label"].to_numpy(), "verdict"]
        .replace(STANDS, AT_FAULT)
        .value_counts()
        for name, labels in named.items()
    }
    return pd.DataFrame(counts, index=list(CAUSES)).T.fillna(0).astype(int)


def fraction_fixed(evidence: "pd.DataFrame", named: Mapping[str, Tensor], other: Tensor) -> "pd.Series":
    """Which share of the mistakes of several models does another model get right, by their cause?

    `evidence` and `named` are as for `blame`; `other` is the class int64 (N,) that the other model
    names for each image. Fractions in [0, 1], by CAUSES; nan where nobody made such a mistake.
    """
    missed = other.numpy() != evidence["label"].to_numpy()
    made = count_errors_by_cause(evidence, named).sum()
    left = count_errors_by_cause(evidence[missed], {name: labels[missed] for name, labels in named.items()}).sum()
    return 1 - left / made


def accuracies_without_doubtful(evidence: "pd.DataFrame", named: Mapping[str, Tensor]) -> "pd.DataFrame":
    """The accuracy of each model on all labels as given, and on those that are not in doubt.

    Fractions in [0, 1], a row a model, the columns `as given` and `less the doubtful`: without
    images whose verdict is "near-duplicate" or "label doubtful". The second is no better accuracy;
    it is one on other, easier images.
    """
    import pandas as pd

    label = evidence["label"].to_numpy()
    beyond_doubt = ~evidence["verdict"].isin(VERDICTS[:2]).to_numpy()
    right = {name: labels.numpy() == label for name, labels in named.items()}
    return pd.DataFrame(
        {
            "as given": {name: hit.mean() for name, hit in right.items()},
            "less the doubtful": {name: hit[beyond_doubt].mean() for name, hit in right.items()},
        }
    )


def count_near_duplicates(
    evidence: "Mapping[str, pd.DataFrame]", limits: Sequence[float] = (5, 10, 15, 20)
) -> "pd.DataFrame":
    """How many images have another so like them, a row for each limit in grey values?

    `evidence` is a frame for each split. The columns are pairs such as "test, like one of train",
    and for each `with another label`. Limits are root mean squares over the pixels, 0 to 255.
    """
    import pandas as pd

    together = pd.concat(evidence, names=["split", "image"]).reset_index()
    pair = together["split"] + ", like one of " + together["twin"].str.split().str[0]
    other = together["label"] != together["twin_label"]
    counts = {}
    for limit in limits:
        near = together["twin_distance"] <= limit
        counts[limit] = pd.concat(
            [
                pair[near].value_counts(),
                pair[near & other].value_counts().add_suffix(", with another label"),
            ]
        )
    frame = pd.DataFrame(counts).T.rename_axis("at most")
    return frame.reindex(columns=sorted(frame.columns)).fillna(0).astype(int)
