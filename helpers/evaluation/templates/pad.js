// The front end of evaluation.drawing_pad: strokes on a canvas, and what the model says to them.
// The picture and the probabilities are computed in Python.

const SIZE = 280; // pixels of the drawing, ten for each of the model's
const INK = 22; // the width of a stroke, such as MNIST's digits have after scaling
const PAUSE = 80; // milliseconds between two questions to the model

function make(kind, parent, name = "", text = "") {
  const element = document.createElement(kind);
  element.className = name;
  element.textContent = text;
  parent.append(element);
  return element;
}

function render({ model, el }) {
  const names = model.get("class_names");
  const strokes = []; // each a list of points [x, y]
  let pointer = null; // the one that draws
  let waiting = null; // the timer of the next question

  const box = make("div", el, "drawing-pad");
  box.setAttribute("data-lm-suppress-shortcuts", "true"); // keys belong to the buttons
  const left = make("div", box);
  const canvas = make("canvas", left, "paper");
  canvas.width = canvas.height = SIZE;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Paper to draw on with mouse, pen or finger");
  const row = make("div", left, "buttons");
  const [undo, clear] = ["undo", "clear"].map((name) => make("button", row, "", name));
  undo.title = "take the last stroke back";
  clear.title = "start with empty paper";
  const middle = make("figure", box);
  const picture = make("img", middle);
  make("figcaption", middle, "", "what the model sees, 28 × 28");
  const right = make("div", box, "says");
  const verdict = make("strong", right);
  verdict.setAttribute("role", "status"); // screen readers tell it
  const bars = names.map((name) => {
    const line = make("div", right, "class");
    make("span", line, "name", name);
    const bar = make("div", make("div", line, "track"), "bar");
    return { line, bar, share: make("span", line, "share") };
  });

  const pen = canvas.getContext("2d");
  function draw() {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, SIZE, SIZE);
    pen.lineWidth = INK;
    pen.lineCap = pen.lineJoin = "round";
    for (const points of strokes) {
      pen.beginPath();
      pen.moveTo(...points[0]);
      for (const point of points) pen.lineTo(...point);
      pen.stroke();
    }
    undo.disabled = clear.disabled = !strokes.length;
    waiting ??= setTimeout(ask, PAUSE);
  }

  function ask() {
    waiting = null;
    model.set("drawing", strokes.length ? canvas.toDataURL() : "");
    model.save_changes();
  }

  function place(event) {
    const paper = canvas.getBoundingClientRect();
    const scale = SIZE / paper.width;
    return [(event.clientX - paper.left) * scale, (event.clientY - paper.top) * scale];
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return; // a second finger, or another button
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    strokes.push([place(event)]);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    strokes.at(-1).push(place(event));
    draw();
  });
  canvas.addEventListener("lostpointercapture", () => { pointer = null; });
  undo.onclick = () => { strokes.pop(); draw(); };
  clear.onclick = () => { strokes.length = 0; draw(); };

  function update() {
    const shares = model.get("probabilities");
    const best = shares.indexOf(Math.max(...shares));
    picture.src = model.get("picture");
    picture.alt = shares.length ? "the drawing, as the model sees it" : "";
    middle.style.visibility = shares.length ? "visible" : "hidden";
    verdict.textContent = shares.length ? `${names[best]}, ${percent(shares[best])}` : "Draw something.";
    bars.forEach(({ line, bar, share }, k) => {
      line.classList.toggle("best", k === best);
      bar.style.width = `${100 * (shares[k] ?? 0)}%`;
      share.textContent = shares.length ? percent(shares[k]) : "";
    });
  }
  const events = "change:picture change:probabilities";
  model.on(events, update);
  update();
  draw(); // also tells Python that the paper is empty
  return () => { clearTimeout(waiting); model.off(events, update); };
}

const percent = (share) => `${Math.round(100 * share)} %`;

export default { render };
