"""Look at the result of an audit: a gallery page, a figure for one label, a widget to review them.

In the widget a person decides on one label after another. Each decision is saved before the next
image is shown, so a review can be stopped at any time and continued later.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image
from torch import Tensor

from helpers import plotting
from helpers.files import write_atomic
from helpers.labels import verdicts
from helpers.labels.audit import Audit, rank_labels

DECISIONS = ("keep", "wrong", "ambiguous")
COLUMNS = ["image", "label", "suggested", "decision"]


def write_gallery(audit: Audit, folder: Path, *, shown: int = 200) -> Path:
    """Write `labels.csv`, `labels.json` and `index.html` to a folder; returns the path of the page.

    The lists have a row for every label of both splits, most doubtful first, with the columns
    `split`, `image` (its number in the published file) and those of `collect_evidence`. The page
    shows the first labels of each split, at most `shown`, and needs no network. Raises OSError if
    the folder cannot be written to.
    """
    ranked = rank_labels(audit).round(4)
    write_atomic(folder / "labels.csv", ranked.to_csv(index=False))
    write_atomic(folder / "labels.json", ranked.to_json(orient="records") + "\n")
    sections = []
    for split in ("test", "train"):
        of_split = ranked[ranked["split"] == split]
        cards = of_split.head(shown).to_dict("records")
        for card in cards:
            card["picture"] = png_data_url(audit.image(f"{split} {card['image']}"))
            if card["nearest"]:
                card["nearest_picture"] = png_data_url(audit.image(card["nearest"]))
        counts = of_split["verdict"].value_counts().reindex(verdicts.VERDICTS, fill_value=0)
        models = len(audit.predictions[split].probabilities)
        sections.append({"split": split, "models": models, "counts": counts, "cards": cards})
    templates = jinja2.Environment(loader=jinja2.PackageLoader("helpers.labels"), autoescape=True)
    page = templates.get_template("gallery.html")
    path = folder / "index.html"
    write_atomic(path, page.render(title=audit.spec.title, sections=sections, rule=verdicts))
    return path


def png_data_url(image: Tensor) -> str:
    """An image uint8 (1, H, W) as a URL that holds the picture itself."""
    buffer = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def plot_evidence(audit: Audit, split: str, image: int) -> Figure:
    """Draw the evidence on one label: the image, models and neighbours, the nearest image."""
    row = audit.evidence[split].loc[image].to_dict()
    predictions, names = audit.predictions[split], audit.spec.class_names
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(10, 3.4), width_ratios=[1, 1.7, 1], layout="constrained"
    )
    left.imshow(audit.image(f"{split} {image}")[0].numpy(), **plotting.GREY)
    left.set_title(f"{split} {image}, labelled {names[row['label']]}", fontsize=10)
    if row["nearest"]:
        right.imshow(audit.image(row["nearest"])[0].numpy(), **plotting.GREY)
        label = names[row["nearest_label"]]
        right.set_title(f"nearest: {row['nearest']},\nlabelled {label}", fontsize=10)
        right.set_xlabel(f"differs by {row['nearest_distance']:.0f} grey values")
    else:
        right.set_visible(False)
    for ax in (left, right):
        ax.set(xticks=[], yticks=[])
    places = np.arange(len(names))
    for shift, name, shares in (
        (-0.2, f"models: {len(predictions.probabilities)}", predictions.mean[image]),
        (0.2, "neighbours", predictions.votes.mean(dim=0)[image]),
    ):
        middle.barh(places + shift, shares.numpy(), height=0.4, label=name)
    middle.set_yticks(places, names)
    middle.invert_yaxis()
    middle.set(xlim=(0, 1), title=f"{row['verdict']} (issue score {row['issue_score']:.2f})")
    middle.set_xlabel("mean probability, and share of votes")
    middle.xaxis.set_major_formatter(PercentFormatter(1))
    middle.spines[["top", "right"]].set_visible(False)
    middle.legend(loc="best", frameon=False, fontsize=9)
    return figure


def load_decisions(path: Path | str) -> pd.DataFrame:
    """Read the decisions in a CSV: `image`, `label`, `suggested`, `decision`, one of DECISIONS.

    The frame is empty if the file does not exist yet. Raises ValueError for a file with other
    columns or an unknown decision.
    """
    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    decisions = pd.read_csv(path, dtype={"label": str, "suggested": str})
    if list(decisions.columns) != COLUMNS:
        raise ValueError(
            f"{path} holds no decisions: its columns are {list(decisions.columns)}, "
            f"wanted {COLUMNS}. Move the file away and start again."
        )
    unknown = sorted(set(decisions["decision"]) - set(DECISIONS))
    if unknown:
        raise ValueError(f"{path} has the decisions {unknown}; known are {list(DECISIONS)}.")
    return decisions


def save_decision(path: Path | str, image: int, label: str, suggested: str, decision: str) -> None:
    """Add the decision on one image to the CSV, or change it. The file is written atomically.
    Raises ValueError for a decision that is not in DECISIONS, OSError if the file cannot be
    written.
    """
    if decision not in DECISIONS:
        raise ValueError(f"There is no decision {decision!r}. Choose one of: {DECISIONS}.")
    decisions = load_decisions(path).set_index("image")
    decisions.loc[image] = [label, suggested, decision]
    write_atomic(Path(path), decisions.reset_index()[COLUMNS].to_csv(index=False))


def review_widget(
    evidence: pd.DataFrame, images: Tensor, class_names: Sequence[str], path: Path | str
) -> ipywidgets.VBox:
    """A widget for JupyterLab that asks for a decision on each row of `evidence`, in its order.

    `evidence` is a frame from `collect_evidence`, indexed by image; `images` uint8 (N, 1, 28, 28)
    are those of the whole split. Decisions are saved in the CSV at `path`. Images that have one
    there are skipped.
    """
    decided = set(load_decisions(path)["image"])
    waiting = [image for image in evidence.index if image not in decided]
    picture, text = ipywidgets.HTML(), ipywidgets.HTML()
    bar = ipywidgets.IntProgress(max=len(evidence), bar_style="info")
    buttons = [ipywidgets.Button(description=decision) for decision in DECISIONS]

    def names() -> list[str]:
        return [class_names[evidence[name].loc[waiting[0]]] for name in ("label", "suggested")]

    def show_next() -> None:
        bar.value = len(evidence) - len(waiting)
        if not waiting:
            picture.value, text.value = "", f"All {len(evidence)} are decided, in {path}."
            for button in buttons:
                button.disabled = True
            return
        image, row, (label, suggested) = waiting[0], evidence.loc[waiting[0]], names()
        picture.value = (
            f'<img src="{png_data_url(images[image])}" width="224" alt="image {image}" '
            f'style="image-rendering: pixelated">'
        )
        text.value = (
            f"Image {image}, {bar.value + 1} of {len(evidence)}. The label is <b>{label}</b>; "
            f"{row['models_suggested']:.0%} of the models predict <b>{suggested}</b>, and "
            f"{row['votes_suggested']:.0%} of the neighbours have it."
        )

    def decide(button: ipywidgets.Button) -> None:
        label, suggested = names()
        save_decision(path, waiting[0], label, suggested, button.description)
        waiting.pop(0)
        show_next()

    for button in buttons:
        button.on_click(decide)
    show_next()
    return ipywidgets.VBox([bar, text, picture, ipywidgets.HBox(buttons)])
