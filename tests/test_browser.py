"""The pages of a run, the explorer, the slides, and each notebook in JupyterLab, in a browser.

This needs a Chromium on the PATH. The cells run at the quick profile, since only the front end is
tested here. The default tests cover the first notebook, a training with its bar and the stop
button, the review of labels, and the drawing pad; the other notebooks are long tests. Long pictures
of the pages are saved in tests/screenshots/.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import Image
from torch import nn

from helpers import data, evaluation, headless, models
from helpers.files import PROJECT
from helpers.headless import doctor
from tests import slides
from tests.tools import cells, write_notebook

SCREENSHOTS = PROJECT / "tests" / "screenshots"
if not os.access(SCREENSHOTS.parent, os.W_OK):  # a read-only clone
    SCREENSHOTS = Path(tempfile.gettempdir(), "screenshots")
CHROMIUM = doctor.chromium()
NOTEBOOKS = [notebook.name for notebook in headless.SERIES]
TRAINS = ("02_train_mnist", "03_train_fashion_mnist")  # these must show progress
DEFAULT = ("01_explore",)
TIMEOUT = 600_000  # milliseconds until a hung front end is an error; no measurement depends on it

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ,
        reason="no Chromium is installed, so JupyterLab was NOT tested in a browser",
    ),
    # pyzmq and playwright leave sockets to the garbage collector
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The notebooks without outputs, at the quick profile."""
    folder = tmp_path_factory.mktemp("lab")
    for name in NOTEBOOKS:
        notebook = load_notebook_node(str(headless.NOTEBOOKS / f"{name}.ipynb"))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        given = headless.PROFILES["quick"].get(name, {}) | {"output": str(folder / name)}
        nbformat.write(parameterize_notebook(notebook, given), folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder, tmp_path_factory):
    """The address and token of a JupyterLab that serves the folder, with default settings."""
    private = tmp_path_factory.mktemp("jupyter")
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},  # keeps all cells on the page
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for name, choices in settings.items():
        path = private / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(choices))
    folders = {
        "JUPYTER_RUNTIME_DIR": private / "runtime",
        "JUPYTER_CONFIG_DIR": private / "config",
        "JUPYTERLAB_SETTINGS_DIR": private / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": private / "workspaces",
    }
    with (private / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser"),
                *("--port=0", f"--notebook-dir={folder}", "--expose-app-in-browser"),
                "--allow-root",
            ],
            env=os.environ | {name: str(path) for name, path in folders.items()},
            stdout=log,
            stderr=log,
        )
        try:
            while not (found := list((private / "runtime").glob("jpserver-*.json"))):
                assert server.poll() is None, (private / "log.txt").read_text()
                time.sleep(0.2)
            yield json.loads(found[0].read_text())
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "no Chromium is installed, and CI must not go without"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.mark.slow
def test_jupyterlab_listens_to_this_machine_only_and_wants_its_token(lab):
    assert lab["hostname"] in ("localhost", "127.0.0.1")
    assert len(lab["token"]) >= 40
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{lab['url']}api/contents")


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(TIMEOUT)
    yield page
    page.close()


def run_all(page, lab, name: str) -> None:
    """Open a notebook, run all cells and save it; `window.finished` is true when that is done."""
    page.goto(f"{lab['url']}lab/tree/{name}.ipynb?reset&token={lab['token']}")
    page.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
        "?.connectionStatus === 'connected'"
    )
    page.evaluate(
        """() => {
            window.finished = false;
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext;
            kernel.ready
                .then(() => window.jupyterapp.commands.execute('notebook:run-all-cells'))
                .then(() => window.jupyterapp.commands.execute('docmanager:save'))
                .then(() => { window.finished = true; });
        }"""
    )


def run_cell_and_save(page) -> None:
    """Run the selected cell."""
    page.evaluate(
        """() => {
            window.finished = false;
            window.jupyterapp.commands.execute('notebook:run-cell')
                .then(() => window.jupyterapp.commands.execute('docmanager:save'))
                .then(() => { window.finished = true; });
        }"""
    )
    page.wait_for_function("window.finished")


@pytest.fixture(scope="module")
def run_pages(tmp_path_factory) -> list[Path]:
    """The list of runs, the index of one, and the pages of two notebooks with their outputs."""
    run = tmp_path_factory.mktemp("pages") / "20261126-090000-standard"
    names = ("01_explore", "02_train_mnist")
    for name in names:
        (run / name).mkdir(parents=True)
        shutil.copyfile(headless.NOTEBOOKS / f"{name}.ipynb", run / name / f"{name}.ipynb")
        record = {"notebook": name, "dataset": "mnist", "measured": {"test_accuracy": 0.99}}
        (run / name / "result.json").write_text(json.dumps(record))
    failed = {"notebook": "03_x", "state": "failed", "seconds": 1.0, "message": "E", "cause": "E"}
    (run / "status.json").write_text(json.dumps({"notebooks": [failed]}))
    index = headless.write_pages(run)
    listed = headless.write_runs_index(run.parent)
    return [listed, index, *(run / name / f"{name}.html" for name in names)]


# what can be computed of WCAG AA: a line for each failure
ACCESSIBLE = """() => {
    const failures = [];
    const say = (what, node) => failures.push(what + ': ' + node.outerHTML.slice(0, 90));
    const channels = color => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
        c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
    ).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = node => {
        for (; node; node = node.parentElement) {
            const color = channels(getComputedStyle(node).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement, style = getComputedStyle(node);
        if (!texts.currentNode.data.trim() || style.display === 'none') continue;
        const [low, high] = [channels(style.color), behind(node)].map(luminance)
            .sort((a, b) => a - b);
        const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
        const wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
        if ((high + 0.05) / (low + 0.05) < wanted) say('contrast', node);
    }
    const all = selector => [...document.querySelectorAll(selector)];
    if (!document.documentElement.lang) say('no language', document.documentElement);
    if (all('h1').length !== 1) say('not one h1', document.body);
    if (all('main').length !== 1) say('not one main', document.body);
    all('img').filter(i => !i.alt.trim()).forEach(i => say('no alternative text', i));
    all('a').filter(a => !a.textContent.trim() && !a.querySelector('img'))
        .forEach(a => say('empty link', a));
    all('table').filter(t => !t.querySelector('th')).forEach(t => say('no header cell', t));
    all('nav, [role=group]').filter(n => !n.ariaLabel).forEach(n => say('no name', n));
    all('main *').filter(n => ['auto', 'scroll'].includes(getComputedStyle(n).overflowX)
        && n.tabIndex < 0).forEach(n => say('scrolls, but not with keys', n));
    all('h1, h2, h3, h4, h5, h6').reduce((before, h) => {
        if (h.tagName[1] - before > 1) say('a level is left out', h);
        return +h.tagName[1];
    }, 0);
    const ids = all('[id]').map(n => n.id);
    ids.filter((id, i) => ids.indexOf(id) < i)
        .forEach(id => say('twice', document.getElementById(id)));
    return failures;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_a_run_are_accessible_and_load_nothing_external(browser, run_pages, scheme):
    for width in (1280, 390):  # pixels: a laptop, a phone
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        requested: list[str] = []
        page.on("request", lambda request, requested=requested: requested.append(request.url))
        for path in run_pages:
            page.goto(path.as_uri())
            page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
            assert page.evaluate(ACCESSIBLE) == [], path.name
        assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
        assert len(requested) > len(run_pages)  # including the figures on the index
        dark = (
            page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        )
        assert dark == (scheme == "dark")
        page.close()


def test_nothing_in_the_markdown_of_a_notebook_is_run(browser, tmp_path):
    """The page keeps the markup, but its content security policy allows no script."""
    bad = "document.body.id = 'taken'"
    markup = f'<script>{bad}</script><img src=x alt=y onerror="{bad}">\n\n[link](javascript:0)'
    new = nbformat.v4
    shown = new.new_output("display_data", {"text/markdown": markup})
    both = [new.new_markdown_cell(f"# One\n{markup}"), new.new_code_cell("1", outputs=[shown])]
    (tmp_path / "one").mkdir()
    nbformat.write(new.new_notebook(cells=both), tmp_path / "one" / "one.ipynb")
    (tmp_path / "one" / "result.json").write_text(json.dumps({"notebook": "one"}))
    headless.write_pages(tmp_path)
    written, page = tmp_path / "one" / "one.html", browser.new_page()
    for allowed, taken in ((False, ""), (True, "taken")):
        page.goto(written.as_uri())
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.body.id") == taken
        if not allowed:
            policy = re.compile('<meta http-equiv="Content-Security-Policy".*>')
            written.write_text(policy.sub("", written.read_text()))
    page.close()


def test_a_page_has_navigation_links_and_prints_uncut(browser, run_pages):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(run_pages[2].as_uri())
    contents = page.get_by_role("navigation", name="Contents")
    contents.get_by_role("link", name="1.5").click()
    assert page.url.endswith("#15-are-the-classes-balanced")
    line = page.locator(".text > p").first
    assert line.evaluate("p => p.clientWidth / parseFloat(getComputedStyle(p).fontSize)") <= 42
    page.locator("a[rel=next]").click()
    assert page.locator("h1").inner_text().startswith("2 · Train on MNIST")
    page.locator("a[rel=prev]").click()
    page.locator("header a").first.click()
    assert page.locator("h1").inner_text() == "MNIST, standard profile, 26 November 2026"

    page.goto(run_pages[3].as_uri())
    page.emulate_media(media="print", color_scheme="dark")  # a dark screen prints on white paper
    page.set_viewport_size({"width": 672, "height": 1000})  # A4 without margins
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not contents.is_visible()
    cut = "all => all.filter(n => n.scrollWidth > n.clientWidth + 1).map(n => n.outerHTML)"
    assert page.locator("main pre, main table, main figure").evaluate_all(cut) == []
    page.close()


@pytest.fixture(scope="module")
def explored(tmp_path_factory, mnist) -> Path:
    """The explorer page of the shipped TinyVGG."""
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    notes = {"dataset": "mnist", "test_accuracy": 0.9916, "date": "2026-11-27"}
    model = models.load_pretrained("mnist/tiny_vgg")
    return evaluation.write_explorer(model, path, examples=mnist.test, notes=notes)


TWO_FRAMES = "new Promise(d => requestAnimationFrame(() => requestAnimationFrame(() => d())))"
LOGITS = "images => images.map(image => [...forward(Uint8Array.from(image)).at(-2)])"


def difference(page, path: Path, model: nn.Module, images: torch.Tensor) -> float:
    """The largest difference between the logits of the page and of torch."""
    page.goto(path.as_uri())
    found = torch.tensor(page.evaluate(LOGITS, images.flatten(1).tolist()))
    with torch.inference_mode():
        return (found - model.eval()(images)).abs().max().item()


def test_the_explorer_computes_the_logits_of_torch(page, explored, mnist):
    model = models.load_pretrained("mnist/tiny_vgg")
    assert difference(page, explored, model, mnist.test.images[:200]) < 1e-4


def varied() -> nn.Sequential:
    """A network with a layer of each kind, and with odd sizes, for images (3, 20, 20)."""
    torch.manual_seed(0)
    norms = nn.BatchNorm2d(6), nn.BatchNorm1d(8)
    for norm in norms:
        for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            tensor.uniform_(0.5, 2)
    return nn.Sequential(
        models.Normalize(0.5, 0.2), nn.Conv2d(3, 5, (3, 5), stride=(1, 2), padding=(0, 3)),
        nn.AvgPool2d((2, 3), stride=(2, 1)), nn.Conv2d(5, 6, 3, padding="same", bias=False),
        norms[0], nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2), nn.Conv2d(6, 4, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8), norms[1], nn.ReLU(), nn.Dropout(),
        nn.Linear(8, 3),
    )  # fmt: skip


def test_every_kind_of_layer_is_computed_and_split_into_terms(page, tmp_path):
    images = torch.randint(256, (20, 3, 20, 20), generator=torch.Generator().manual_seed(1)).byte()
    names, errors = ["<script>alert(1)</script>", "<b>", "Löwe & 'Co'"], []
    page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: errors.append(str(error)))
    path = evaluation.write_explorer(
        varied(), tmp_path / "page.html", examples=data.Split(images, torch.arange(20) % 3),
        notes={"class_names": names, "dataset": "</title><script>alert(2)</script>"},
    )  # fmt: skip
    assert difference(page, path, varied(), images) < 1e-4
    for name in names:
        page.locator("#bars .bar", has_text=name).wait_for()
    for layer in range(page.evaluate("layers.length")):
        size = page.evaluate(f"product(layers[{layer}].shape)")
        for index in {0, size // 3, size - 1}:
            page.evaluate(f"choose({layer}, {index})")
            parts = page.locator("#made .term b")
            if page.locator("#made .term .name", has_text="bias").count():
                sums = [float(p.lstrip("= ").replace("−", "-")) for p in parts.all_inner_texts()]
                value = page.evaluate(f"outputs[{layer}][{index}]")
                assert sum(sums) == pytest.approx(value, abs=0.0006 * len(sums))
        page.evaluate(f"goTo({layer})")
        assert page.locator("#says").inner_text()
    assert errors == []


def test_an_opened_picture_has_the_pixels_that_python_reads(page, tmp_path):
    path = evaluation.write_explorer(varied(), tmp_path / "page.html", examples=data.Split(
        torch.zeros(3, 3, 20, 20, dtype=torch.uint8), torch.arange(3)
    ))  # fmt: skip
    page.goto(path.as_uri())
    steps = np.linspace(0, 255, 200, dtype=np.uint8)
    smooth = np.stack([np.tile(steps, (100, 1)), np.tile(steps[::2, None], (1, 200))], axis=2)
    pixels = np.concatenate([smooth, np.full((100, 200, 1), 90, np.uint8)], axis=2)
    exact = np.random.default_rng(0).integers(256, size=(20, 20, 3), dtype=np.uint8)
    for name, array, tolerance in (("exact", exact, 0), ("wide", pixels, 12)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        page.locator("input[type=file]").set_input_files(tmp_path / f"{name}.png")
        (expected,) = data.read_pictures([tmp_path / f"{name}.png"], size=20)
        for _ in range(100):  # it is decoded in the background
            found = np.array(page.evaluate("[...readPaper()]")).reshape(3, 20, 20)
            if np.abs(found - expected).max() <= tolerance:
                break
            page.wait_for_timeout(100)  # milliseconds
        assert np.abs(found - expected).max() <= tolerance
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "none.png")
    page.get_by_text("This file is not a picture.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_is_accessible_and_loads_nothing_external(browser, explored, scheme):
    for width in (1280, 390):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        requested: list[str] = []
        page.on("request", lambda request, requested=requested: requested.append(request.url))
        page.goto(explored.as_uri())
        for layer in range(page.evaluate("layers.length")):
            page.evaluate(f"goTo({layer})")
            assert page.evaluate(ACCESSIBLE) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            home = page.evaluate("byId('panel').parentElement.className || 'side'")
            assert home == ("layer now" if width == 390 else "side")
        assert {url for url in requested if not url.startswith("data:")} == {explored.as_uri()}
        unnamed = (
            "all => all.filter(n => !n.ariaLabel && !n.innerText.trim()).map(n => n.outerHTML)"
        )
        assert (
            page.locator("button, canvas[role], div[role]:not([role=status])").evaluate_all(unnamed)
            == []
        )
        SCREENSHOTS.mkdir(exist_ok=True)
        page.evaluate("choose(4, 5000)")
        page.screenshot(path=SCREENSHOTS / f"explorer-{scheme}-{width}.png", full_page=True)
        page.close()


def test_a_number_is_selected_with_the_keyboard_alone(page, explored, mnist):
    page.goto(explored.as_uri())
    page.locator("#next").focus()
    for _ in range(4):  # the image, the normalized image, block_1.0, block_1.1
        page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.ariaLabel") == "map 2 of block_1.2"
    page.keyboard.press("Enter")
    index = page.evaluate("chosen.index")
    row, column = divmod(index - 2 * 784, 28)
    page.keyboard.press("ArrowDown" if row < 14 else "ArrowUp")
    page.keyboard.press("ArrowLeft" if column > 14 else "ArrowRight")
    row, column = row + (1 if row < 14 else -1), column + (-1 if column > 14 else 1)
    title = page.locator("#panel-title").inner_text()
    assert title == f"Convolution 3 × 3: block_1.2[2, {row}, {column}]"

    model = models.load_pretrained("mnist/tiny_vgg")
    first = mnist.test.images[(mnist.test.targets == 0).nonzero()[0]]
    with torch.inference_mode():
        maps = model.block_1[:3](model.normalize(first))[0]
    shown = page.locator(".number").inner_text().replace("−", "-")
    assert float(shown) == pytest.approx(maps[2, row, column].item(), abs=6e-4)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel") == "map 2 of block_1.2"


def test_a_number_is_traced_back_to_the_pixels(page, explored, mnist):
    """Through a linear layer by hand: the largest of the 490 products of the winning class."""
    page.goto(explored.as_uri())
    model = models.load_pretrained("mnist/tiny_vgg")
    first = mnist.test.images[(mnist.test.targets == 0).nonzero()[0]]
    with torch.inference_mode():
        features = model.block_2(model.block_1(model.normalize(first)))[0]
        products = features.flatten() * model.classifier[1].weight[0]
    page.locator("section.layer .rows .bar").nth(10).click()  # the probability of a 0
    follow = page.get_by_role("button", name="Where most of it comes from")
    for _ in range(2):
        follow.press("Enter")
    assert page.evaluate("[chosen.layer, chosen.index]") == [12, int(products.argmax())]
    follow.press("Enter")  # flattening changes no number
    _, index = page.evaluate("[chosen.layer, chosen.index]")
    follow.press("Enter")
    channel, row, column = np.unravel_index(index, (10, 7, 7))
    _, came_from = page.evaluate("[chosen.layer, chosen.index]")
    with torch.inference_mode():
        before = model.block_2[:4](model.block_1(model.normalize(first)))[0]
    window = before[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    assert before.flatten()[came_from] == window.max() == features[channel, row, column]
    for _ in range(10):
        follow.press("Enter")
    assert page.evaluate("chosen.layer") == 0
    assert not follow.is_visible()
    assert page.locator("#made").inner_text().startswith("A pixel: ")


def drag(page, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw a line on the paper of the explorer, between points in its pixels."""
    box = page.locator("#paper").bounding_box()
    page.mouse.move(box["x"] + start[0], box["y"] + start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0], box["y"] + end[1], steps=10)
    page.mouse.up()
    page.evaluate(TWO_FRAMES)


def test_a_chosen_image_is_exact_and_a_drawing_is_classified(page, explored, mnist):
    page.goto(explored.as_uri())
    wrong = page.get_by_role("group", name="Test images that it gets wrong").get_by_role("button")
    row = int(re.search(r"test image (\d+)", wrong.nth(4).get_attribute("aria-label"))[1])
    wrong.nth(4).click()
    image = mnist.test.images[row].flatten()
    assert page.evaluate("[...readPaper()]") == image.tolist()
    assert page.locator("#answer small").inner_text() == "wrong: the label is 4"
    page.locator("#eraser").click()
    drag(page, (20, 110), (200, 110))
    left = torch.tensor(page.evaluate("[...readPaper()]"))
    assert (left <= image).all()
    assert (left > 0).sum() < (image > 0).sum()
    assert page.locator("#answer small").inner_text() == ""  # it is no longer that image

    page.locator("#pen").click()
    page.locator("#clear").click()
    drag(page, (60, 40), (60, 180))  # left of the middle: it is centered, as in MNIST
    assert page.locator("#answer").inner_text().startswith("1, ")
    drawn = torch.tensor(page.evaluate("[...readPaper()]")).view(28, 28)
    rows, columns = (drawn > 0).nonzero().unbind(1)
    assert len(rows.unique()) == 20
    assert {13, 14} <= set(columns.tolist()) <= {12, 13, 14, 15}

    page.locator("#clear").click()
    assert page.evaluate("readPaper().every(value => value === 0)")
    page.locator("#paper").focus()
    for key in ("Space", *("ArrowUp",) * 8):  # with the keyboard, the pen starts in the middle
        page.keyboard.press(key)
    assert page.evaluate("readPaper().filter(value => value > 0).length") > 20


def test_play_walks_from_the_image_to_the_probabilities_and_stops(page, explored):
    page.emulate_media(reduced_motion="reduce")  # no button moves while it is clicked
    page.clock.install()
    page.goto(explored.as_uri())
    page.get_by_role("button", name="Play").click()
    texts = []
    for _ in range(15):
        texts.append(page.locator("#says").inner_text())
        assert page.locator(".layer.now").count() == 1
        page.clock.run_for(6_000)
    assert texts[0].startswith("The network gets 28 × 28 pixels")
    assert re.search(r"The network says 0, with (> )?\d+\.\d %\.$", texts[14])
    assert len(set(texts)) >= 9  # the four ReLUs have the same text
    assert page.locator("#play").inner_text() == "▶ Play"
    page.get_by_role("button", name="layer before").click()
    page.locator(".layer.now h3", has_text="Linear (logits)").wait_for()


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict[str, Path]:
    """The slides of each notebook."""
    return {path.stem: path for path in slides.build(tmp_path_factory.mktemp("decks"))}


# a line for each part of a slide, with all its fragments, that does not fit or is unreadable
UNREADABLE = """() => {
    const failures = [];
    document.querySelectorAll('.slides > section').forEach((section, i) => {
        const say = what => failures.push(`slide ${i + 1}: ${what}`);
        Reveal.slide(i, 0, 99);
        const page = section.querySelector('.page'), box = page.getBoundingClientRect();
        if (page.scrollHeight > page.clientHeight) say('is too high');
        if (page.scrollWidth > page.clientWidth) say('is too wide');
        for (const node of page.querySelectorAll('*')) {
            const at = node.getBoundingClientRect();
            if (!at.width) continue;
            if (at.right > box.right - 40 || at.bottom > box.bottom - 30 || at.left < box.left + 40)
                say('at the edge: ' + node.outerHTML.slice(0, 60));
            const size = parseFloat(getComputedStyle(node).fontSize);
            const wanted = node.closest('pre') ? 18 : node.closest('table') ? 20 : 24;
            if (node.textContent.trim() && size < wanted && !node.closest('code'))
                say('too small: ' + node.outerHTML.slice(0, 60));
        }
        for (const image of page.querySelectorAll('img')) {
            const [width, height] = [image.naturalWidth, image.naturalHeight];
            const scale = Math.min(image.clientWidth / width, image.clientHeight / height);
            if (!image.alt.trim()) say('no alternative text');
            if (!(width * scale >= 900 || height * scale >= 300)) say('a small picture');
        }
        const notes = section.querySelector('aside.notes').textContent.trim();
        if (!/[.?!]$/.test(notes)) say('no notes');
    });
    return failures;
}"""


def open_deck(browser, path: Path, query: str = "") -> tuple:
    """The slides in a page of the size of a projector's, and the addresses that were requested."""
    page, requested = browser.new_page(viewport={"width": 1280, "height": 720}), []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri() + query)
    page.wait_for_function("window.Reveal?.isReady()")
    return page, requested


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_slides_can_be_read_from_the_last_row(browser, decks, name):
    page, requested = open_deck(browser, decks[name])
    assert page.evaluate(UNREADABLE) == []
    assert 12 <= page.evaluate("Reveal.getTotalSlides()") <= 21
    assert page.locator("h1").count() == 1
    assert page.locator("section h2").last.text_content().endswith("What we learned")
    page.locator("section.present").screenshot(path=SCREENSHOTS / f"slides-{name}.png")
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    page.close()


@pytest.mark.slow
def test_a_slide_that_is_too_full_is_noticed(browser, decks):
    page, _ = open_deck(browser, decks["01_explore"])
    page.evaluate("document.querySelector('.page').append('word '.repeat(2000))")
    page.evaluate("document.querySelectorAll('aside.notes')[1].textContent = ''")
    page.evaluate("document.querySelector('img').alt = ''")
    found = "\n".join(page.evaluate(UNREADABLE))
    assert "slide 1: is too high" in found
    assert "slide 2: no notes" in found
    assert "no alternative text" in found
    page.close()


@pytest.mark.slow
def test_the_speaker_has_a_window_and_a_print_has_each_slide_once(browser, decks):
    page, requested = open_deck(browser, decks["08_your_own_data"])
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    notes = opened.value.locator(".speaker-controls-notes .value")
    first, second = page.locator("aside.notes").all_text_contents()[:2]
    notes.get_by_text(first).wait_for()
    page.keyboard.press("ArrowRight")
    notes.get_by_text(second).wait_for()
    opened.value.close()
    count = page.evaluate("Reveal.getTotalSlides()")
    page.close()

    page, more = open_deck(browser, decks["08_your_own_data"], "?print-pdf")
    page.wait_for_function("document.querySelectorAll('.pdf-page').length > 0")
    sizes = "pages => pages.map(page => [page.clientWidth, page.scrollHeight])"
    assert page.locator(".pdf-page").evaluate_all(sizes) == [[1280, 720]] * count
    assert page.locator(".pdf-page .fragment:not(.visible)").count() == 0
    assert all(url.startswith(("file:", "data:")) for url in requested + more)
    page.close()


TRAINING = """\
from pathlib import Path
import torch
from helpers import models, training
from helpers.data import Split

torch.set_num_threads(1)
images = torch.randint(0, 256, (2_000, 1, 28, 28), dtype=torch.uint8)
train = Split(images, torch.arange(2_000) % 10)
model = models.build("linear", mean=0.5, std=0.3).eval()
optimizer = torch.optim.SGD(model.parameters(), 0.01)
history = training.fit(
    model, optimizer, train, epochs=100_000, on_epoch=lambda _: Path("begun").touch()
)"""
AFTER = "print('the cell below was run')"
CHECK_STATE = """\
import sys
history = sys.last_value.history
print(history.interrupted, 0 < len(history.epochs) < 100_000, model.training)"""


@pytest.mark.slow
def test_the_stop_button_ends_run_all_and_keeps_model_and_history(page, lab, folder):
    write_notebook(folder / "stop.ipynb", TRAINING, AFTER, CHECK_STATE)
    run_all(page, lab, "stop")
    while not (folder / "begun").exists():
        page.wait_for_timeout(100)  # milliseconds
    page.wait_for_selector(".widget-hprogress .progress-bar", state="attached")
    page.click('[data-command="notebook:interrupt-kernel"]')
    page.wait_for_function("window.finished")
    page.get_by_text("The training was stopped in epoch").first.wait_for()
    _, after, last_cell = cells(folder / "stop.ipynb", "code")
    assert not after.outputs
    assert not last_cell.outputs

    page.locator(".jp-Notebook .jp-CodeCell").nth(2).click()
    run_cell_and_save(page)
    *_, last_cell = cells(folder / "stop.ipynb", "code")
    assert last_cell.outputs[0]["text"].strip() == "True True False"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in DEFAULT else pytest.mark.long)
        for name in NOTEBOOKS
    ],
)
def test_a_notebook_runs_in_jupyterlab(page, lab, folder, name):
    run_all(page, lab, name)
    if name in TRAINS:
        bar = page.wait_for_selector(".widget-hprogress .progress-bar", state="attached")
        bar.evaluate("bar => bar.scrollIntoView({block: 'center'})")
        page.screenshot(path=SCREENSHOTS / f"{name}-while-training.png")
    page.wait_for_function("window.finished")

    code = cells(folder / f"{name}.ipynb", "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    drawn = page.locator(".jp-RenderedImage img")
    assert drawn.count() == sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    assert all(
        drawn.nth(i).evaluate("image => image.naturalWidth > 0") for i in range(drawn.count())
    )
    assert (folder / name / "result.json").is_file()

    if name == "06_doubtful_labels":
        page.locator(".label-review button", has_text="wrong").click()
        wait_for_decisions(folder / name / "decisions.csv", ["wrong"])
    photograph(page, name)


def wait_for_decisions(path: Path, expected: list[str]) -> None:
    """Wait until the file holds these decisions; after ten seconds, raise what it holds instead."""
    for _ in range(100):
        found = pd.read_csv(path)["decision"].tolist() if path.is_file() else []
        if found == expected:
            return
        time.sleep(0.1)
    raise AssertionError(found)


REVIEW = """\
import pandas as pd
import torch
from helpers import labels

evidence = pd.DataFrame(
    {"label": [0, 1, 0], "suggested": [1, 0, 1], "models_suggested": 1.0, "votes_suggested": 0.7},
    index=[7, 2, 5],
)
images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
labels.review_widget(evidence, images, ("cat", "dog"), "reviewed.csv")"""
REVIEWED = "labels.load_decisions('reviewed.csv')['decision'].tolist()"


@pytest.mark.slow
def test_labels_are_reviewed_with_mouse_and_keys_and_the_next_cell_has_the_decisions(
    page, lab, folder
):
    write_notebook(folder / "review.ipynb", REVIEW, REVIEWED)
    run_all(page, lab, "review")
    page.wait_for_function("window.finished")
    decisions, title = folder / "reviewed.csv", page.locator(".label-review strong")
    page.locator(".label-review button", has_text="wrong").click()
    wait_for_decisions(decisions, ["wrong"])
    page.screenshot(path=SCREENSHOTS / "review.png")
    page.keyboard.press("a")  # in JupyterLab's command mode this would insert a cell
    wait_for_decisions(decisions, ["wrong", "ambiguous"])
    page.keyboard.press("ArrowLeft")
    wait_for_decisions(decisions, ["wrong"])
    page.keyboard.press("ArrowRight")
    title.get_by_text("Image 5").wait_for()
    page.keyboard.press("1")
    wait_for_decisions(decisions, ["wrong", "keep"])
    page.keyboard.press("2")
    wait_for_decisions(decisions, ["wrong", "keep", "wrong"])
    title.get_by_text("All 3 are decided").wait_for()

    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 2
    page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea").nth(1).click()
    run_cell_and_save(page)
    *_, last = cells(folder / "review.ipynb", "code")
    assert last.outputs[0]["data"]["text/plain"] == "['wrong', 'keep', 'wrong']"


PAD = """\
from helpers import evaluation, models

pad = evaluation.drawing_pad(models.load_pretrained("mnist/compact"), "0123456789")
pad"""
PROBABILITIES = "[round(share, 2) for share in pad.probabilities]"


def draw_line(page, *points: tuple[float, float]) -> None:
    """Draw on the pad through these points, relative to the paper; the mouse stays pressed."""
    paper = page.locator(".drawing-pad .paper").bounding_box()
    corners = [
        (paper["x"] + x * paper["width"], paper["y"] + y * paper["height"]) for x, y in points
    ]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for point in corners[1:]:
        page.mouse.move(*point, steps=10)


@pytest.mark.slow
def test_the_pad_shows_the_prediction_for_a_drawing(page, lab, folder):
    write_notebook(folder / "pad.ipynb", PAD, PROBABILITIES)
    run_all(page, lab, "pad")
    page.wait_for_function("window.finished")
    verdict, seen = page.locator(".drawing-pad strong"), page.locator(".drawing-pad img")
    undo, clear = (page.locator(".drawing-pad button", has_text=t) for t in ("undo", "clear"))
    verdict.get_by_text("Draw something").wait_for()
    assert not seen.is_visible()
    assert undo.is_disabled()
    assert clear.is_disabled()

    draw_line(page, (0.5, 0.15), (0.5, 0.85))
    verdict.get_by_text("1, ").wait_for()  # while the pen is down
    page.mouse.up()
    assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    assert page.locator(".drawing-pad .best .name").inner_text() == "1"
    page.screenshot(path=SCREENSHOTS / "pad.png")
    for y in (0.15, 0.5):
        draw_line(page, (0.15, y), (0.85, y))
        page.mouse.up()
    verdict.get_by_text("1, ").wait_for(state="detached")
    undo.press("Enter")  # the keyboard works as well
    undo.click()
    verdict.get_by_text("1, ").wait_for()

    page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea").nth(1).click()
    run_cell_and_save(page)
    *_, probabilities = cells(folder / "pad.ipynb", "code")
    shares = json.loads(probabilities.outputs[0]["data"]["text/plain"])
    assert len(shares) == 10
    assert shares[1] == max(shares) > 0.5
    clear.click()
    verdict.get_by_text("Draw something").wait_for()
    assert not seen.is_visible()
    assert page.locator(".drawing-pad .bar").evaluate_all(
        "bars => bars.every(bar => bar.style.width === '0%')"
    )


def photograph(page, name: str) -> None:
    """One screenshot after another, from the top of the notebook to its end."""
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.set_viewport_size({"width": 1100, "height": 1900})
    notebook = page.locator(".jp-WindowedPanel-outer")
    height = notebook.evaluate("notebook => notebook.scrollHeight")
    for number, top in enumerate(range(0, height, 1750), start=1):
        notebook.evaluate("(notebook, top) => { notebook.scrollTop = top; }", top)
        page.wait_for_timeout(300)  # milliseconds, until it has scrolled there
        page.screenshot(path=SCREENSHOTS / f"{name}-{number}.png")
