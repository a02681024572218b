// The front end of labels.review_widget: an image, a question, and a button for each answer.
// The buttons and their keys only send an action; what it means is decided in Python.

function render({ model, el }) {
  const decisions = model.get("decisions");
  const keys = { s: "skip", ArrowRight: "skip", u: "undo", ArrowLeft: "undo" };
  decisions.forEach((decision, i) => {
    keys[i + 1] = decision;
    keys[decision[0]] = decision;
  });

  const box = document.createElement("div");
  box.className = "label-review";
  box.tabIndex = 0; // so that it receives keys
  box.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's "a" inserts a cell
  const bar = document.createElement("progress");
  const [title, text, hint] = ["strong", "div", "small"].map((kind) => document.createElement(kind));
  const picture = document.createElement("img");
  const row = document.createElement("div");
  const buttons = [...decisions, "skip", "undo"].map((action, i) => {
    const button = document.createElement("button");
    button.textContent = action;
    button.title = `key: ${i < decisions.length ? `${action[0]} or ${i + 1}` : action === "skip" ? "s or →" : "u or ←"}`;
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
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
    if (action === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    act(action);
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
