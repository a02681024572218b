"""What does a person say of doubtful labels? A page in JupyterLab, and the decisions it leaves.

`start` shows one image after another with three buttons; each click is on the disk before the next
image is shown, so a review can be stopped at any time and goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.files import write_atomically

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from torch import Tensor

DECISIONS = ("keep", "wrong", "ambiguous")
COLUMNS = ["image", "label", "suggested", "decision"]


def load(path: Path | str) -> "pd.DataFrame":
    """Read the decisions in a CSV: `image`, `label`, `suggested`, `decision`, one of DECISIONS.

    The frame is empty if there is no such file yet. Raises ValueError for another file, or for a
    decision that there is not.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    decisions = pd.read_csv(path, dtype={"label": str, "suggested": str})
    if list(decisions.columns) != COLUMNS:
        raise ValueError(
            f"{path} holds no decisions: its columns are {list(decisions.columns)}, "
            f"wanted {COLUMNS}. Move it away, and start again."
        )
    unknown = sorted(set(decisions["decision"]) - set(DECISIONS))
    if unknown:
        raise ValueError(f"{path} has the decisions {unknown}; there are {list(DECISIONS)}.")
    return decisions


def decide(path: Path | str, image: int, label: str, suggested: str, decision: str) -> None:
    """Add a decision on one image to the CSV, or change it; the file is written whole.

    Raises ValueError for a decision that is none of DECISIONS, OSError if it cannot be written.
    """
    if decision not in DECISIONS:
        raise ValueError(f"There is no decision {decision!r}. Choose one of: {DECISIONS}.")
    decisions = load(path).set_index("image")
    decisions.loc[image] = [label, suggested, decision]
    write_atomically(Path(path), decisions.reset_index()[COLUMNS].to_csv(index=False))


def start(
    evidence: "pd.DataFrame", images: "Tensor", class_names: Sequence[str], path: Path | str
) -> "ipywidgets.VBox":
    """Ask about the images in the rows of `evidence`, in its order, less those decided before.

    `evidence` is a frame of `audit.judge`, by image; `images` uint8 (N, 1, 28, 28) are those of the
    whole split. Returns a widget for JupyterLab; decisions go to the CSV at `path`.
    """
    import ipywidgets

    from helpers import gallery

    decided = set(load(path)["image"])
    waiting = [image for image in evidence.index if image not in decided]
    picture, text = ipywidgets.HTML(), ipywidgets.HTML()
    bar = ipywidgets.IntProgress(max=len(evidence), bar_style="info")
    buttons = [ipywidgets.Button(description=decision) for decision in DECISIONS]

    def names(image: int) -> tuple[str, str]:
        label, suggested = (evidence[column].loc[image] for column in ("label", "suggested"))
        return class_names[label], class_names[suggested]

    def ask() -> None:
        bar.value = len(evidence) - len(waiting)
        if not waiting:
            picture.value, text.value = "", f"All {len(evidence)} are decided, in {path}."
            for button in buttons:
                button.disabled = True
            return
        row, (label, suggested) = evidence.loc[waiting[0]], names(waiting[0])
        picture.value = (
            f'<img src="{gallery.png(images[waiting[0]])}" width="224" '
            f'alt="image {waiting[0]}" style="image-rendering: pixelated">'
        )
        text.value = (
            f"Image {waiting[0]}, {bar.value + 1} of {len(evidence)}. Labelled <b>{label}</b>; "
            f"{row['judges_suggested']:.0%} of the models and {row['votes_suggested']:.0%} of its "
            f"neighbours say <b>{suggested}</b>."
        )

    def clicked(button: "ipywidgets.Button") -> None:
        decide(path, waiting[0], *names(waiting[0]), button.description)
        waiting.pop(0)
        ask()

    for button in buttons:
        button.on_click(clicked)
    ask()
    return ipywidgets.VBox([bar, text, picture, ipywidgets.HBox(buttons)])
