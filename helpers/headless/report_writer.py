"""A run as a technical report, in HTML, PDF or Markdown, in any language that has a catalog
`locales/<code>.po`; English is the language of the templates.
"""

import base64
import io
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import torch
from babel import dates, numbers, support
from babel.messages import mofile, pofile
from torch import Tensor

from helpers import data, evaluation, runs
from helpers.data import Splits
from helpers.files import write_atomic
from helpers.headless.doctor import chromium
from helpers.headless.notebooks import find_notebook, parameters_of
from helpers.headless.runs_commands import LOCALES
from helpers.headless.student_report import ORDER, TITLES, Audit, Facts, Training

TEMPLATES = Path(__file__).parent / "templates"
MAX_LENGTH = 500  # characters of a title or author


def write_report(
    facts: Facts, folder: Path | str, formats: Sequence[str] = ("html",), *, language: str = "en",
    author: str = "", title: str = "",
) -> list[Path]:  # fmt: skip
    """Write the report in these formats as `report.<format>` into `folder`; returns their paths.

    `formats` are "html", "pdf" or "md". In languages other than English the files are called
    `report-<language>.<format>`. Chromium prints the PDF from the HTML file, which is kept; if that
    fails, there is no PDF. The pictures of `report.md` are in `report_files`. Raises ValueError for
    over 500 characters of author or title, FileNotFoundError for an unknown language.
    """
    name = "report" if language == "en" else f"report-{language}"
    author, title = _one_line(author, "author"), _one_line(title, "title")
    folder, written = Path(folder), []
    if {"html", "pdf"} & set(formats):
        html = folder / f"{name}.html"
        write_atomic(html, render(facts, "html", language, author, title))
        written.append(html)
        browser = chromium()
        if "pdf" in formats and browser and (pdf := _print(browser, html)):
            written.append(pdf)
    if "md" in formats:
        text = render(facts, "md", language, author, title, beside=folder / f"{name}_files")
        write_atomic(folder / f"{name}.md", text)
        written.append(folder / f"{name}.md")
    return written


def _one_line(text: str, what: str) -> str:
    """The text without line breaks and control characters. ValueError if it is too long."""
    line = "".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in text)
    line = " ".join(line.split())
    if len(line) > MAX_LENGTH:
        raise ValueError(f"The {what} has {len(line)} characters; the limit is {MAX_LENGTH}.")
    return line


def _print(browser: str, html: Path) -> Path | None:
    """Print a page to a PDF file beside it; None if the browser cannot."""
    with suppress(subprocess.TimeoutExpired), tempfile.TemporaryDirectory() as folder:
        printed, pdf = Path(folder, "report.pdf"), html.with_suffix(".pdf")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-pdf-header-footer", "--generate-pdf-document-outline",  # with bookmarks
            f"--print-to-pdf={printed}", html.absolute().as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        if done.returncode == 0 and printed.is_file():
            write_atomic(pdf, printed.read_bytes())
            return pdf
    return None


def render(
    facts: Facts, form: str, language: str, author: str = "", title: str = "", *,
    beside: Path | None = None,
) -> str:  # fmt: skip
    """The text of the report in the format `form`, "html" or "md".

    Pictures are embedded; or, if `beside` is given, written to that folder, beside the text's file.
    """
    environment = _environment(language)
    drawn: dict[str, bytes] = {}
    galleries: dict[str, dict[str, list]] = {}  # by the folder of the training or audit
    for training in facts.trainings:
        galleries[training.record["folder"]], files = _pictures(training)
        drawn |= files
    for audit in facts.audits:
        of_folder = galleries.setdefault(audit.record["folder"], {})
        of_folder["doubtful"], files = _doubtful_pictures(audit)
        drawn |= files

    def picture(name: str, **drawing: object) -> str:
        if name not in drawn:  # such as curves-1.svg
            template = environment.get_template(f"report_{name.partition('-')[0]}.svg.j2")
            drawn[name] = template.render(drawing).encode()
        if beside:
            return f"{beside.name}/{name}"
        kind = "svg+xml" if name.endswith(".svg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(drawn[name]).decode()}"

    text = environment.get_template(f"report.{form}.j2").render(
        facts=facts, author=author, title=title, language=language, picture=picture,
        commands=repeat_commands(facts), galleries=galleries, reported=runs.REPORTED_ACCURACY,
    )  # fmt: skip
    if beside:
        for name, content in drawn.items():
            write_atomic(beside / name, content)
    terms: Any = environment.globals["terms"]
    seen: set[str] = set()

    def once(found: re.Match) -> str:
        """Remove a term in brackets, except for its first occurrence; keep all other matches."""
        if (term := found[1]) not in terms:
            return found[0]
        first = term not in seen
        seen.add(term)
        return found[0] if first else ""

    head, mark, body = text.rpartition("</head>")
    body = re.sub(r"<[^>]*>|!\[[^\]]*\]| \(([^()]+)\)", once, body)
    return re.sub(r"\n\s*\n", "\n\n", head + mark + body)


def repeat_commands(facts: Facts) -> list[str]:
    """The commands that reproduce the run."""
    lines, by_hand = [], {}
    for row in facts.rows:
        given = {k.removeprefix("parameters."): v for k, v in row.items() if "parameters." in k}
        kind, _, dataset = row["notebook"].partition("_")
        if kind in ("train", "audit"):
            words = [kind, dataset if dataset in TITLES else "FOLDER"]
            for name in ("recipe", "seed", "folds", "seeds", "size", "channels"):
                words += [f"--{name}", str(given[name])] if given.get(name) is not None else []
            words += ["--skip-broken"] if given.get("skip_broken") else []
            words += ["--compile"] if given.get("compile") else []
            words += ["--model", given["model"]] if ".py:" in given.get("model", "") else []
            lines.append(words)
        elif row["notebook"] in ORDER:
            known = parameters_of(find_notebook(row["notebook"])).keys() - {"checkpoint"}
            by_hand[row["notebook"]] = {k: v for k, v in given.items() if k in known}
    chosen, profile = facts.settings or by_hand, facts.profile
    settings = {name: values for name, values in chosen.items() if name in ORDER}
    if settings:
        words = ["run"] + (["--profile", profile] if profile not in ("", "standard") else [])
        for name, given in {} if profile else settings.items():
            words += [w for k, v in given.items() for w in ("-p", f"{name[:2]}.{k}={v}")]
        if settings.keys() != ORDER.keys():
            words += [w for name in settings for w in ("--only", name[:2])]
        lines.append(words)
    return [f"python -m helpers {shlex.join(words)}" for words in lines]


def _pictures(training: Training) -> tuple[dict[str, list[dict[str, Any]]], dict[str, bytes]]:
    """The galleries of errors, and PNG files by name: of these errors, and of training samples.

    The galleries show up to nine random errors, and the nine with the highest confidence. Without
    the data, there are no pictures.
    """
    splits, predictions, model = training.splits, training.predictions, training.model
    if splits is None:
        return {}, {}
    files = {f"samples-{splits.spec.name}.png": _samples(splits, training.changes)}
    if predictions is None or not splits.test.targets.equal(predictions.targets):
        return {}, files
    seed = training.record.get("parameters.seed", 0)
    chosen = {"random": evaluation.random_misclassified(predictions, 9, seed=seed).tolist()}
    wrong, sure = evaluation.misclassified(predictions), {}
    if model is not None and len(wrong):
        again = evaluation.predict(model, splits.test[wrong])
        same = again.predicted == predictions.predicted[wrong]  # other hardware may differ
        sure = dict(zip(wrong[same].tolist(), again.confidence[same].tolist(), strict=True))
        chosen["confident"] = sorted(sure, key=lambda i: -sure[i])[:9]
    for i in (i for rows in chosen.values() for i in rows):
        files[f"error-{splits.spec.name}-{i}.png"] = _png(splits.test.images[i])
    answers = zip(predictions.targets.tolist(), predictions.predicted.tolist(), strict=True)
    named = [[training.classes[k] for k in pair] for pair in answers]
    return {
        kind: [
            {"picture": f"error-{splits.spec.name}-{i}.png", "image": i, "true": named[i][0],
             "predicted": named[i][1], "confidence": sure.get(i)} for i in rows
        ] for kind, rows in chosen.items()
    }, files  # fmt: skip


def _doubtful_pictures(audit: Audit) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The nine most doubtful labels, and PNG files by name; none without the data."""
    entries, files = [], {}
    for row in audit.doubtful[:9]:
        name = f"label-{audit.record['dataset']}-{row['split']}-{row['image']}.png"
        images = audit.images.get(row["split"], ())
        if 0 <= row["image"] < len(images):
            entries.append(row | {"picture": name})
            files[name] = _png(images[row["image"]])
    return entries, files


def _samples(splits: Splits, changes: Mapping[str, Any]) -> bytes:
    """A PNG: the first training image of each of ten classes; below, two random variants."""
    train, generator = splits.train, torch.Generator().manual_seed(0)
    first = [int((train.targets == k).nonzero()[0]) for k in train.targets.unique()[:10]]
    strips, augment = [train.images[first]], data.Augmentation(**changes)
    strips += [augment(strips[0], generator).round().byte() for _ in range(2 * bool(changes))]
    strips = [torch.nn.functional.pad(strip, [1] * 4, value=255) for strip in strips]
    return _png(torch.cat([torch.cat([*strip], dim=2) for strip in strips], dim=1))


def _png(image: Tensor) -> bytes:
    """An image uint8 (C, H, W) as the content of a PNG file, each pixel as three by three."""
    return data.to_png(image.repeat_interleave(3, 1).repeat_interleave(3, 2))


@cache
def _environment(language: str) -> jinja2.Environment:
    """Templates in a language, with filters for its numbers and dates. Missing values are "–".

    The global `terms` holds the English technical terms, which translations have in brackets.
    """
    translations, terms = support.NullTranslations(), set()
    if language != "en":
        with (LOCALES / f"{language}.po").open("rb") as file, io.BytesIO() as compiled:
            catalog = pofile.read_po(file, language)
            mofile.write_mo(compiled, catalog)
            compiled.seek(0)
            translations = support.Translations(compiled)
        words = " ".join(str(message.string) for message in catalog if message.id)
        terms = {t for t in re.findall(r" \(([^()%]+)\)", words) if not re.search(r"\d", t)}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )  # fmt: skip
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]

    def decimal(value: Any, digits: int = 0, pattern: str = "#,##0.{}") -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        form = pattern.format("#" * digits).removesuffix(".")
        return numbers.format_decimal(value, form, language) if number else str(value or "–")

    def percent(value: Any, digits: int = 2) -> str:
        form = f"#,##0.{'0' * digits}%".replace(".%", "%")
        return "–" if value is None else numbers.format_percent(value, form, language)

    environment.globals["terms"] = terms
    environment.filters |= {
        "decimal": decimal, "percent": percent, "dataset": lambda name: TITLES.get(name, name),
        "points": lambda value: decimal(100 * value, pattern="+#,##0.00;-#,##0.00"),
        "date": lambda value: dates.format_date(value, "long", language),
        "flat": lambda text: type(text)(" ".join(text.split())),
    }  # fmt: skip
    return environment
