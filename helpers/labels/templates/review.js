// The front end of labels.review_widget: an image, a question, and a button for each answer.
// The buttons and their keys only send an action; what it means is decided in Python.

function render({ model, el }) {
  const decisions = model.get("decisions").map((name, i) => [name, [name[0], String(i + 1)]]);
  const actions = [...decisions, ["skip", ["s", "→"]], ["undo", ["u", "←"]]];
  const arrows = { ArrowRight: "→", ArrowLeft: "←" };

  const box = document.createElement("div");
  box.className = "label-review";
  box.tabIndex = 0; // so that it receives keys
  box.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's "a" inserts a cell
  const bar = document.createElement("progress");
  const [title, text, hint] = ["strong", "div", "small"].map((kind) => document.createElement(kind));
  const picture = document.createElement("img");
  const row = document.createElement("div");
  const buttons = actions.map(([action, keys]) => {
    const button = document.createElement("button");
    button.textContent = action;
    button.title = `key: ${keys.join(" or ")}`;
    button.onclick = () => act(action);
    row.append(button);
    return button;
  });
  hint.textContent = "Click, or use the keys: 1 2 3 decide, → skips, ← takes the last decision back.";
  box.append(bar, title, text, picture, row, hint);
  el.append(box);

  function act(action) {
    model.send({ action });
    box.focus(); // a button that becomes disabled would lose the keys
  }

  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pressed = arrows[event.key] ?? event.key;
    const found = actions.find(([, keys]) => keys.includes(pressed));
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    act(found[0]);
  });

  function update() {
    bar.max = model.get("total");
    bar.value = model.get("decided");
    title.textContent = model.get("title");
    text.textContent = model.get("text");
    picture.src = model.get("picture");
    picture.alt = model.get("title");
    picture.hidden = !model.get("picture");
    for (const button of buttons) {
      button.disabled = button.textContent === "undo" ? !model.get("can_undo") : picture.hidden;
    }
  }
  model.on("change", update);
  update();
}

export default { render };
