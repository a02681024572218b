"""How does one read the result of an audit: as a list for programs, as a page for people?"""

import base64
import io
from pathlib import Path
import jinja2
import pandas as pd
from PIL import Image
from torch import Tensor
from helpers.files import write_atomic
from helpers.labels.audit import Audit, rank_labels
from helpers.labels.verdicts import VERDICTS
from collections.abc import Sequence
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from torch import Tensor


def write_gallery(audited: Audit, folder: Path, *, shown: int = 200) -> Path:
    """Write `labels.csv`, `labels.json` and `index.html` to a folder; returns the path of the page.

    The lists have a row for every label of both splits, the most suspicious first: `split`,
    `image` (its number in the published file), `label`, `suggested`, the evidence and the
    `verdict`. The page shows the first so many of each split, and needs no network. Raises OSError
    if the folder cannot be written to.
    """
    ranked = rank_labels(audited)
    write_atomic(folder / "labels.csv", ranked.round(4).to_csv(index=False))
    write_atomic(folder / "labels.json", ranked.round(4).to_json(orient="records") + "\n")
    page = folder / "index.html"
    write_atomic(page, _page(audited, ranked, shown))
    return page


def _page(audited: Audit, ranked: pd.DataFrame, shown: int) -> str:
    sections = []
    for split in ("test", "train"):
        of_split = ranked[ranked["split"] == split]
        cards = of_split.head(shown).to_dict("records")
        for card in cards:
            card["picture"] = png_data_url(audited.image(f"{split} {card['image']}"))
            card["twin_picture"] = png_data_url(audited.image(card["twin"]))
        counts = of_split["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
        sections.append({"split": split, "labels": len(of_split), "counts": counts, "cards": cards})
    templates = jinja2.Environment(loader=jinja2.PackageLoader("helpers"), autoescape=True)
    return templates.get_template("gallery.html").render(
        title=audited.spec.title,
        sections=sections,
        judges={split: len(said.probabilities) for split, said in audited.opinions.items()},
        rule=verdicts,
    )


def png_data_url(image: Tensor) -> str:
    """An image uint8 (1, H, W) as the address of a picture that a page holds in itself."""
    buffer = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"



DECISIONS = ("keep", "wrong", "ambiguous")
COLUMNS = ["image", "label", "suggested", "decision"]


def load_decisions(path: Path | str) -> "pd.DataFrame":
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


def save_decision(path: Path | str, image: int, label: str, suggested: str, decision: str) -> None:
    """Add a decision on one image to the CSV, or change it; the file is written whole.

    Raises ValueError for a decision that is none of DECISIONS, OSError if it cannot be written.
    """
    if decision not in DECISIONS:
        raise ValueError(f"There is no decision {decision!r}. Choose one of: {DECISIONS}.")
    decisions = load_decisions(path).set_index("image")
    decisions.loc[image] = [label, suggested, decision]
    write_atomic(Path(path), decisions.reset_index()[COLUMNS].to_csv(index=False))


def review_widget(
    evidence: "pd.DataFrame", images: "Tensor", class_names: Sequence[str], path: Path | str
) -> "ipywidgets.VBox":
    """Ask about the images in the rows of `evidence`, in its order, less those decided before.

    `evidence` is a frame of `audit.judge`, by image; `images` uint8 (N, 1, 28, 28) are those of the
    whole split. Returns a widget for JupyterLab; decisions go to the CSV at `path`.
    """
    import ipywidgets

    from helpers import labels

    decided = set(load_decisions(path)["image"])
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
        save_decision(path, waiting[0], *names(waiting[0]), button.description)
        waiting.pop(0)
        ask()

    for button in buttons:
        button.on_click(clicked)
    ask()
    return ipywidgets.VBox([bar, text, picture, ipywidgets.HBox(buttons)])
