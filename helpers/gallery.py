"""How does one read the result of an audit: as a list for programs, as a page for people?"""

import base64
import io
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image
from torch import Tensor

from helpers import audit, verdicts
from helpers.audit import Audit
from helpers.files import write_atomically


def write(audited: Audit, folder: Path, *, shown: int = 200) -> Path:
    """Write `labels.csv`, `labels.json` and `index.html` to a folder; returns the path of the page.

    The lists have a row for every label of both splits, the most suspicious first: `split`,
    `image` (its number in the published file), `label`, `suggested`, the evidence and the
    `verdict`. The page shows the first so many of each split, and needs no network. Raises OSError
    if the folder cannot be written to.
    """
    ranked = audit.ranked(audited)
    write_atomically(folder / "labels.csv", ranked.round(4).to_csv(index=False))
    write_atomically(folder / "labels.json", ranked.round(4).to_json(orient="records") + "\n")
    page = folder / "index.html"
    write_atomically(page, _page(audited, ranked, shown))
    return page


def _page(audited: Audit, ranked: pd.DataFrame, shown: int) -> str:
    sections = []
    for split in ("test", "train"):
        of_split = ranked[ranked["split"] == split]
        cards = of_split.head(shown).to_dict("records")
        for card in cards:
            card["picture"] = png(audited.image(f"{split} {card['image']}"))
            card["twin_picture"] = png(audited.image(card["twin"]))
        counts = of_split["verdict"].value_counts().reindex(verdicts.VERDICTS, fill_value=0)
        sections.append({"split": split, "labels": len(of_split), "counts": counts, "cards": cards})
    templates = jinja2.Environment(loader=jinja2.PackageLoader("helpers"), autoescape=True)
    return templates.get_template("gallery.html").render(
        title=audited.spec.title,
        sections=sections,
        judges={split: len(said.probabilities) for split, said in audited.opinions.items()},
        rule=verdicts,
    )


def png(image: Tensor) -> str:
    """An image uint8 (1, H, W) as the address of a picture that a page holds in itself."""
    buffer = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
