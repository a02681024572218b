"""Review the result of an audit: a gallery page, a figure for one label, and a widget."""

from collections.abc import Sequence
from pathlib import Path

import anywidget
import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from helpers import data, plotting
from helpers.files import write_atomic
from helpers.labels import verdicts
from helpers.labels.audit import Audit, rank_labels

TEMPLATES = Path(__file__).parent / "templates"
DECISIONS = ("keep", "wrong", "ambiguous")
COLUMNS = ["image", "label", "suggested", "decision"]


def write_gallery(audit: Audit, folder: Path | str, *, shown: int = 200) -> Path:
    """Write `labels.csv`, `labels.json` and `index.html` to a folder; returns the path of the page.

    The lists are those of `rank_labels`. For your own data, `kept.csv` lists the files whose label
    stands. The page shows at most `shown` labels of each split, and works offline.
    """
    ranked = rank_labels(audit).round(4)
    write_atomic(Path(folder, "labels.csv"), ranked.to_csv(index=False))
    if audit.files:
        kept = ranked[ranked["verdict"] == "label stands"].sort_values("file")
        write_atomic(Path(folder, "kept.csv"), kept[["file", "label"]].to_csv(index=False))
    write_atomic(Path(folder, "labels.json"), ranked.to_json(orient="records") + "\n")
    sections = []
    for split in ("test", "train"):
        of_split = ranked[ranked["split"] == split]
        cards = of_split.head(shown).to_dict("records")
        for card in cards:
            card["picture"] = data.data_url(audit.image(f"{split} {card['image']}"))
            if card["nearest"]:
                card["nearest_picture"] = data.data_url(audit.image(card["nearest"]))
        counts = of_split["verdict"].value_counts().reindex(verdicts.VERDICTS, fill_value=0)
        models = len(audit.predictions[split].probabilities)
        sections.append({"split": split, "models": models, "counts": counts, "cards": cards})
    templates = jinja2.Environment(loader=jinja2.PackageLoader("helpers.labels"), autoescape=True)
    page = templates.get_template("gallery.html")
    path = Path(folder, "index.html")
    write_atomic(path, page.render(title=audit.spec.title, sections=sections, rule=verdicts))
    return path


def plot_evidence(audit: Audit, split: str, image: int) -> Figure:
    """Draw the evidence on the label of one `image` (its row in the `split`, "train" or "test")."""
    row = audit.evidence[split].loc[image].to_dict()
    predictions, names = audit.predictions[split], audit.spec.class_names
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(10, 3.4), width_ratios=[1, 1.7, 1], layout="constrained"
    )
    left.imshow(plotting.pixels(audit.image(f"{split} {image}")), **plotting.GRAY)
    left.set_title(f"{split} {image}, labeled {names[row['label']]}", fontsize=10)
    if row["nearest"]:
        right.imshow(plotting.pixels(audit.image(row["nearest"])), **plotting.GRAY)
        label = names[row["nearest_label"]]
        right.set_title(f"nearest: {row['nearest']},\nlabeled {label}", fontsize=10)
        right.set_xlabel(f"differs by {row['nearest_distance']:.0f} gray values")
    else:
        right.set_visible(False)
    for ax in (left, right):
        ax.set(xticks=[], yticks=[])
    places = np.arange(len(names))
    models, votes = predictions.mean[image], predictions.votes.mean(dim=0)[image]
    name = f"models: {len(predictions.probabilities)}"
    middle.barh(places - 0.2, models.numpy(), height=0.4, label=name)
    middle.barh(places + 0.2, votes.numpy(), height=0.4, label="neighbors")
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

    Empty if there is no file yet. Raises ValueError for other columns or invalid values.
    """
    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    decisions = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")
    if list(decisions.columns) != COLUMNS:
        got = f"expected the columns {COLUMNS}, got {list(decisions.columns)}"
        raise ValueError(f"{path} is not a file of decisions: {got}. Move it away and try again.")
    unknown = sorted(set(decisions["decision"]) - set(DECISIONS))
    if unknown:
        raise ValueError(f"{path} has unknown decisions {unknown}; expected {list(DECISIONS)}.")
    return decisions.astype({"image": "int64"})


def save_decision(path: Path | str, image: int, label: str, suggested: str, decision: str) -> None:
    """Add the decision on one image to the CSV file, or replace it, atomically. Raises ValueError
    if the decision is not in DECISIONS, OSError for a failed write, and as `load_decisions`.
    """
    if decision not in DECISIONS:
        raise ValueError(f"There is no decision {decision!r}. Choose one of: {DECISIONS}.")
    decisions = load_decisions(path).set_index("image")
    decisions.loc[image] = [label, suggested, decision]
    write_atomic(Path(path), decisions.reset_index()[COLUMNS].to_csv(index=False))


class ReviewWidget(anywidget.AnyWidget):
    """A widget for JupyterLab that asks for a decision on each row of `evidence`, in its order.

    `images` uint8 (N, C, S, S) are those of the whole split. Each decision is saved in the CSV at
    `path` before the next image is shown. Images with a decision are shown again only after "undo".
    """

    _esm = (TEMPLATES / "review.js").read_text(encoding="utf-8")
    _css = (TEMPLATES / "review.css").read_text(encoding="utf-8")
    decisions = traitlets.List(list(DECISIONS)).tag(sync=True)
    total = traitlets.Int().tag(sync=True)
    decided = traitlets.Int().tag(sync=True)
    can_undo = traitlets.Bool().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)  # a data URL; empty when all are decided
    title = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, evidence: pd.DataFrame, images: Tensor, class_names: Sequence[str], path: Path | str
    ) -> None:
        super().__init__(total=len(evidence))
        self._evidence, self._images, self._path = evidence, images, Path(path)
        pairs = zip(evidence.index, evidence["label"], evidence["suggested"], strict=True)
        self._words = {row: (class_names[one], class_names[other]) for row, one, other in pairs}
        before = load_decisions(path)["image"]
        self._done = [image for image in before if image in evidence.index]
        self._waiting = [image for image in evidence.index if image not in set(self._done)]
        self.on_msg(lambda _, content, __: self.act(content["action"]))
        self._show()

    def __repr__(self) -> str:  # where no widget can be shown
        decided = f"{self.decided} of {self.total} labels are decided."
        return f"{decided} To decide, open this in JupyterLab, VS Code or Colab."

    def act(self, action: str) -> None:
        """Handle a button: save one of DECISIONS, "skip" to the next image, or "undo" the last.

        Raises ValueError for other actions, OSError if the decision cannot be saved.
        """
        try:
            if action == "undo" and self._done:
                kept = load_decisions(self._path)
                kept = kept[kept["image"] != self._done[-1]]
                write_atomic(self._path, kept.to_csv(index=False))
                self._waiting.insert(0, self._done.pop())
            elif action == "skip" and self._waiting:
                self._waiting.append(self._waiting.pop(0))
            elif action not in ("undo", "skip") and self._waiting:
                image = self._waiting[0]
                save_decision(self._path, image, *self._words[image], action)
                self._done.append(self._waiting.pop(0))
        except OSError as error:
            self.text = f"This was not saved: {error}"
            raise
        self._show()

    def _show(self) -> None:
        """Show the next image without a decision, or that there is none."""
        self.decided, self.can_undo = len(self._done), bool(self._done)
        if not self._waiting:
            self.picture, self.text = "", f"The decisions are saved in {self._path}."
            self.title = f"All {self.total} are decided."
            return
        image = self._waiting[0]
        row, (label, suggested) = self._evidence.loc[image], self._words[image]
        self.title = f"Image {image}, labeled {label}. {self.decided} of {self.total} are decided."
        self.text = (
            f"{row['models_suggested']:.0%} of the models predict {suggested}, and "
            f"{row['votes_suggested']:.0%} of the neighbors have that label."
        )
        self.picture = data.data_url(self._images[image])


review_widget = ReviewWidget  # called like a function, as `evaluation.drawing_pad` is
