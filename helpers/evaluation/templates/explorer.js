// The page of evaluation.write_explorer. Three parts: compute the network, say how a number was made, show both.
"use strict";

const page = JSON.parse(document.getElementById("content").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const product = (numbers) => numbers.reduce((a, b) => a * b, 1);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const [channels, height, width] = page.shape;
const classes = page.classes;

// ---- the network ----

const layers = [
  { name: "image", kind: "input", shape: page.shape },
  ...page.layers,
  { name: "softmax", kind: "softmax", shape: [classes.length] },
];
{
  const numbers = new Float32Array(bytes(page.weights).buffer); // of each layer its weights, then its biases
  let used = 0;
  const take = (count) => numbers.subarray(used, (used += count));
  layers.forEach((layer, i) => {
    const { kind, kernel, shape } = layer;
    layer.from = i ? layers[i - 1].shape : shape;
    if (kind === "conv") layer.weight = take(shape[0] * layer.from[0] * product(kernel));
    if (kind === "linear") layer.weight = take(shape[0] * layer.from[0]);
    if (kind === "scale") layer.weight = take(shape[0]);
    if (layer.weight) layer.bias = take(shape[0]);
    layer.view = shape.length === 3 ? shape : [1, ...fold(shape[0], layer.from)]; // maps, rows, columns
  });
}

// Rows and columns in which a vector of n numbers is shown: a row for each map that it was made from.
function fold(n, from) {
  const each = n / from[0]; // numbers that come from one map
  if (product(from) === n && each > 1 && each <= 128) return [from[0], each];
  const rows = range(Math.floor(Math.sqrt(n))).map((i) => i + 1).filter((rows) => n % rows === 0).pop();
  return n <= 40 ? [1, n] : [rows, n / rows];
}

const compute = {
  input: (layer, image) => Float32Array.from(image),
  normalize: ({ mean, std }, x) => x.map((value) => (value - mean) / std),
  scale: (layer, x) => x.map((value, i) => value * layer.weight[channelOf(layer, i)] + layer.bias[channelOf(layer, i)]),
  relu: (layer, x) => x.map((value) => Math.max(0, value)),
  flatten: (layer, x) => x,
  max: (layer, x) => pool(layer, x, (window) => window.reduce((a, b) => Math.max(a, b))),
  mean: (layer, x) => pool(layer, x, mean),
  linear: ({ weight, bias }, x) => Float32Array.from(bias, (sum, k) => x.reduce((a, value, i) => a + value * weight[k * x.length + i], sum)),
  softmax: (layer, x) => {
    const powers = powersOf(x);
    const sum = powers.reduce((a, b) => a + b);
    return Float32Array.from(powers, (power) => power / sum);
  },
  conv: ({ weight, bias, kernel: [kh, kw], stride: [sy, sx], padding: [py, px], shape: [co, ho, wo], from: [ci, hi, wi] }, x) => {
    const out = new Float32Array(co * ho * wo);
    const sums = new Float64Array(ho * wo);
    for (let o = 0, w = 0; o < co; o++) {
      sums.fill(bias[o]);
      for (let i = 0; i < ci; i++) for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++, w++) {
        const first = Math.max(0, Math.ceil((px - kx) / sx)); // left and right of these is padding, which is 0
        const end = Math.min(wo, Math.floor((wi - 1 + px - kx) / sx) + 1);
        for (let row = 0; row < ho; row++) {
          const y = row * sy + ky - py;
          if (y < 0 || y >= hi) continue;
          let at = (i * hi + y) * wi + first * sx + kx - px;
          for (let column = first; column < end; column++, at += sx) sums[row * wo + column] += weight[w] * x[at];
        }
      }
      out.set(sums, o * ho * wo);
    }
    return out;
  },
};

const channelOf = ({ shape }, index) => Math.floor((index * shape[0]) / product(shape));
const mean = (window) => window.reduce((a, b) => a + b) / window.length;
const powersOf = (logits) => Array.from(logits, (logit) => Math.exp(logit - Math.max(...logits)));

function pool(layer, x, combine) {
  return Float32Array.from({ length: product(layer.shape) }, (_, index) => {
    const place = windowOf(layer, index);
    return combine(valuesIn(place, place.map, layer.from, x));
  });
}

// Where in the maps before the numbers lie that a number is computed from.
function windowOf({ shape: [, h, w], kernel, stride, padding = [0, 0] }, index) {
  const [row, column] = [Math.floor(index / w) % h, index % w];
  return {
    map: Math.floor(index / (h * w)), top: row * stride[0] - padding[0], left: column * stride[1] - padding[1],
    rows: kernel[0], columns: kernel[1],
  };
}

// The numbers of a map in a window, row by row; null in the padding.
function valuesIn({ top, left, rows, columns }, map, [, h, w], x) {
  return range(rows * columns).map((i) => {
    const [y, xx] = [top + Math.floor(i / columns), left + (i % columns)];
    return y < 0 || y >= h || xx < 0 || xx >= w ? null : x[(map * h + y) * w + xx];
  });
}

// Where most of a number comes from: the index, in the layer before, of the one with the largest product of its sign.
function originOf(l, index) {
  const [layer, x] = [layers[l], outputs[l - 1]];
  const sign = outputs[l][index] < 0 ? -1 : 1;
  if (layer.kind === "linear") return argmax(x.map((value, i) => sign * value * layer.weight[index * x.length + i]));
  if (!layer.kernel) return index;
  const [place, size] = [windowOf(layer, index), product(layer.kernel)];
  const maps = layer.kind === "conv" ? range(layer.from[0]) : [place.map];
  const parts = maps.flatMap((map, c) => valuesIn(place, map, layer.from, x).map((value, i) => {
    if (value === null) return -Infinity;
    return layer.weight ? sign * value * layer.weight[(place.map * maps.length + c) * size + i] : layer.kind === "max" ? value : sign * value;
  }));
  const best = argmax(parts);
  const [row, column] = [place.top + Math.floor((best % size) / place.columns), place.left + (best % place.columns)];
  return (maps[Math.floor(best / size)] * layer.from[1] + row) * layer.from[2] + column;
}

// The output of each layer for an image: numbers from 0 to 255, channel by channel and row by row.
function forward(image) {
  let x = image;
  return layers.map((layer) => (x = compute[layer.kind](layer, x)));
}

// ---- words ----

const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const by = (sizes) => sizes.join(" × ");

function text(value, digits = 2) {
  const places = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? Math.min(1, digits) : digits;
  const rounded = value.toFixed(places);
  return (/[1-9]/.test(rounded) ? rounded : rounded.replace("-", "")).replace("-", "−");
}
const percent = (share) => (share < 0.0005 ? "< 0.1 %" : share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

const small = (value) => (value < 0.001 ? value.toExponential(1).replace("-", "−") : text(value, 4));

const titles = {
  input: () => "Image", normalize: () => "Normalize", conv: ({ kernel }) => `Convolution ${by(kernel)}`, relu: () => "ReLU",
  scale: () => "Batch norm", max: ({ kernel }) => `Max pooling ${by(kernel)}`, mean: ({ kernel }) => `Mean pooling ${by(kernel)}`,
  flatten: () => "Flatten", linear: (layer) => (isLast(layer) ? "Linear (logits)" : "Linear"), softmax: () => "Softmax (probabilities)",
};
const isLast = (layer) => layer === layers.at(-2);
const mapsBefore = (layer) => `${plural(layer.from[0], "map")} before`;

// One plain sentence or two for each layer, for the walk through the network.
const sentences = {
  input: () => `The network gets ${by(page.shape.slice(1))} pixels${channels === 3 ? " in red, green and blue" : ""}: numbers from 0 for black to 255 for white.`,
  normalize: (layer) => `Each pixel is shifted and scaled: minus ${text(layer.mean, 1)}, divided by ${text(layer.std, 1)}. So the numbers lie around 0.`,
  conv: (layer) => `${plural(layer.shape[0], "kernel")} of ${by(layer.kernel)} weights ${layer.shape[0] === 1 ? "moves" : "move"} over the ${mapsBefore(layer)}. Each draws a map of its own: orange where the window fits, blue where it fits the opposite.`,
  relu: () => "Numbers below 0 become 0, the others stay. Without this step, all layers together could do no more than a single one.",
  scale: () => "Each map is multiplied by a number of its own, and another one is added, so that the next layer finds numbers of the usual size.",
  max: (layer) => `Of each ${by(layer.kernel)} numbers only the largest stays. The maps shrink to ${by(layer.shape.slice(1))}: what was found still counts, its exact place no longer.`,
  mean: (layer) => `Each ${by(layer.kernel)} numbers become one, their mean. The maps shrink to ${by(layer.shape.slice(1))}.`,
  flatten: (layer) => `The ${plural(layer.from[0], "map")} of ${by(layer.from.slice(1))} become one list of ${layer.shape[0]} numbers. Nothing is computed.`,
  linear: (layer) => (isLast(layer) ? `Each class has a weight for each of the ${plural(layer.from[0], "number")}. It adds up the products and a bias: its logit. The largest logit wins.`
    : `${plural(layer.shape[0], "unit")} weigh all ${plural(layer.from[0], "number")}: each adds up its products and a bias.`),
  softmax: () => {
    const best = argmax(outputs.at(-1));
    return `The logits become probabilities: e to the power of each, divided by the sum of all. The network says ${classes[best]}, with ${percent(outputs.at(-1)[best])}.`;
  },
};
const argmax = (x) => x.reduce((best, value, i) => (value > x[best] ? i : best), 0);

// ---- drawing ----

function make(kind, attributes = {}, ...children) {
  const node = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("aria")) node.setAttribute(`aria-${name.slice(4).toLowerCase()}`, value);
    else if (name in node && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const byId = (id) => document.getElementById(id);

const dark = matchMedia("(prefers-color-scheme: dark)");
let tones = []; // 255 blues for what is below 0, the color of 0, 255 oranges
function mixTones() {
  const [zero, blue, orange] = dark.matches ? [[32, 37, 43], [96, 170, 255], [255, 176, 66]] : [[246, 246, 244], [20, 84, 160], [186, 76, 0]];
  tones = range(511).map((i) => zero.map((c, k) => Math.round(c + (Math.abs(i - 255) / 255) ** 0.75 * ((i < 255 ? blue : orange)[k] - c))));
}
const tint = (value, limit) => tones[255 + Math.round(255 * Math.max(-1, Math.min(1, value / (limit || 1))))];
const gray = (value) => [value, value, value];
const limits = []; // of each layer the largest absolute value
const colorOf = (l) => (layers[l].kind === "input" ? gray : (value) => tint(value, limits[l]));

function paint(canvas, values, columns, color) {
  const rows = values.length / columns;
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  values.forEach((value, i) => {
    const tone = color(value);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = tone[c];
    image.data[4 * i + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
const mapOf = (l, map) => {
  const size = layers[l].view[1] * layers[l].view[2];
  return outputs[l].subarray(map * size, (map + 1) * size);
};

function mark(node, place, [, h, w]) { // a frame around some pixels of a map
  const [top, left] = [Math.max(0, place.top), Math.max(0, place.left)];
  const [bottom, right] = [Math.min(h, place.top + place.rows), Math.min(w, place.left + place.columns)];
  const share = (part, of) => `${(100 * part) / of}%`;
  const style = `top:${share(top, h)};left:${share(left, w)};height:${share(bottom - top, h)};width:${share(right - left, w)}`;
  node.append(make("span", { className: "mark", style }));
}

function cells(values, columns, color, { won = -1 } = {}) { // numbers on their colors
  const box = make("div", { className: "cells", style: `--columns:${columns};--cell:${columns < 3 ? 2.3 : 2.15}rem` });
  values.forEach((value, i) => {
    const [r, g, b] = color(value ?? 0);
    const [lr, lg, lb] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * lr + 0.7152 * lg + 0.0722 * lb > 0.179;
    const cell = make("span", { style: `background:rgb(${r},${g},${b});color:${light ? "#000" : "#fff"}` }, value ? text(value) : "0");
    if (value === null) [cell.className, cell.title] = ["out", "padding"];
    if (i === won) cell.className = "won";
    box.append(cell);
  });
  return box;
}

function picture(values, columns, color, label) {
  const canvas = make("canvas", { role: "img", ariaLabel: label });
  paint(canvas, values, columns, color);
  return canvas;
}

// ---- how a number was made ----

const term = (name, ...parts) => make("div", { className: "term" }, make("span", { className: "name" }, name), ...parts);
const line = (...parts) => make("p", {}, ...parts);
const result = (name, value) => make("div", { className: "sum" }, make("span", {}, name), make("b", {}, text(value, 3)));
const heads = (...names) => make("div", { className: "heads" }, ...names.map((name) => make("span", {}, name)));
const dot = (a, b) => a.reduce((sum, value, i) => sum + (value ?? 0) * b[i], 0);
const MOST = 12; // terms that are shown at first

// Each of the terms as a line; of many only the largest, and a button for the others.
function listTerms(terms) {
  const shown = [...terms].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)).slice(0, MOST);
  if (terms.length <= MOST) return terms.map((of) => of.draw());
  const others = terms.filter((of) => !shown.includes(of));
  const button = make("button", { onclick: () => others.forEach((of) => button.before(of.draw())) || button.remove() },
    `Show the ${others.length} smaller ones: together ${text(others.reduce((sum, of) => sum + of.sum, 0), 3)}`);
  return [...terms.filter((of) => shown.includes(of)).map((of) => of.draw()), button];
}

const made = {
  input: (layer, i, value) => [line(`A pixel: ${value} of 255.`)],
  normalize: (layer, i, value, x) => [
    line("The pixel, minus the mean of the training images, divided by their standard deviation:"),
    formula(`(${text(x[i], 0)} − ${text(layer.mean)}) / ${text(layer.std)} = ${text(value, 3)}`),
  ],
  relu: (layer, i, value, x) => [
    line(x[i] > 0 ? "The number before is above 0, so it stays:" : "The number before is not above 0, so it becomes 0:"),
    formula(`max(0, ${text(x[i], 3)}) = ${text(value, 3)}`),
  ],
  scale: (layer, i, value, x) => [
    line("The number before, times the scale of this map, plus its shift. Both hold what batch normalization has learned:"),
    formula(`${text(x[i], 3)} · ${text(layer.weight[channelOf(layer, i)], 3)} + ${text(layer.bias[channelOf(layer, i)], 3)} = ${text(value, 3)}`),
  ],
  flatten: (layer, i, value) => {
    const [, h, w] = layer.from;
    const place = `map ${Math.floor(i / (h * w))}, row ${Math.floor(i / w) % h}, column ${i % w}`;
    return [line(`This number was at ${place} before. It is the same number: ${text(value, 3)}.`)];
  },
  conv: (layer, i, value, x, color) => {
    const place = windowOf(layer, i);
    const size = product(layer.kernel);
    const columns = layer.kernel[1];
    const terms = range(layer.from[0]).map((c) => {
      const window = valuesIn(place, c, layer.from, x);
      const start = (place.map * layer.from[0] + c) * size;
      const kernel = [...layer.weight.subarray(start, start + size)];
      const limit = Math.max(...kernel.map(Math.abs));
      const sum = dot(window, kernel);
      const show = size <= 25 ? cells : (values, of, how) => picture(values.map((v) => v ?? 0), of, how, "numbers as colors");
      const draw = () => {
        const drawn = term(`map ${c}`, show(window, columns, color), "·", show(kernel, columns, (v) => tint(v, limit)), make("b", {}, `= ${text(sum, 3)}`));
        drawn.classList.toggle("large", columns > 3);
        return drawn;
      };
      return { sum, draw };
    });
    const all = layer.from[0] === 1 ? "" : ` in each of the ${plural(layer.from[0], "map")} before`;
    return [
      line(`Multiply the ${by(layer.kernel)} numbers in the window${all} by the weights of the kernel, number by number. Add all products, and the bias.`),
      heads("window · kernel = sum of the products"), ...listTerms(terms),
      term("bias", make("b", {}, text(layer.bias[place.map], 3))), result("sum of all", value),
    ];
  },
  max: (layer, i, value, x, color) => {
    const place = windowOf(layer, i);
    const window = valuesIn(place, place.map, layer.from, x);
    return [line(`The largest of the ${by(layer.kernel)} numbers in the window stays:`), term("window", cells(window, layer.kernel[1], color, { won: argmax(window) })), result("the largest", value)];
  },
  mean: (layer, i, value, x, color) => {
    const place = windowOf(layer, i);
    const window = valuesIn(place, place.map, layer.from, x);
    const drawn = window.length <= 25 ? cells(window, layer.kernel[1], color) : picture(window, layer.kernel[1], color, "the window");
    return [line(`The mean of the ${by(layer.kernel)} numbers in the window:`), term("window", drawn), result("the mean", value)];
  },
  linear: (layer, k, value, x, color, l) => {
    const weight = layer.weight.subarray(k * x.length, (k + 1) * x.length);
    const limit = weight.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const before = layers[l - 1].kind === "flatten" ? layers[l - 1].from : [x.length, 1, 1];
    const size = before[1] * before[2];
    const terms = range(before[0]).map((c) => {
      const [values, kernel] = [x, weight].map((all) => [...all.subarray(c * size, (c + 1) * size)]);
      const sum = dot(values, kernel);
      const pictures = () => [picture(values, before[2], color, `map ${c}`), "·", picture(kernel, before[2], (v) => tint(v, limit), `its weights`)];
      const numbers = () => [cells(values, 1, color), "·", cells(kernel, 1, (v) => tint(v, limit))];
      return { sum, draw: () => term(size === 1 ? `no. ${c}` : `map ${c}`, ...(size === 1 ? numbers() : pictures()), make("b", {}, `= ${text(sum, 3)}`)) };
    });
    const [whose, what] = isLast(layer) ? ["class", "logit"] : ["unit", "number"];
    return [
      line(`This ${whose} multiplies each of the ${plural(x.length, "number")} before by a weight of its own. The sum of all products and the bias is its ${what}.`),
      heads(size === 1 ? "number · weight = product" : "map · weights = sum of the products"), ...listTerms(terms),
      term("bias", make("b", {}, text(layer.bias[k], 3))), result("sum of all", value),
    ];
  },
  softmax: (layer, k, value, x) => {
    const [most, powers] = [Math.max(...x), powersOf(x)];
    const sum = powers.reduce((a, b) => a + b);
    const rows = [...x].map((logit, i) => [classes[i], text(logit), small(powers[i]), percent(powers[i] / sum), i === k ? "here" : ""]);
    const head = ["class", "logit", `e^(logit − ${text(most)})`, "share"];
    return [
      line("e to the power of each logit, divided by the sum of all. The largest logit is subtracted from all before: that changes no share, and avoids huge numbers."),
      make("div", { className: "table" }, make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, ...rows.map(([name, ...others]) => make("tr", { className: others.pop() }, make("th", { scope: "row" }, name), ...others.map((cell) => make("td", {}, cell))))))),
      formula(`${small(powers[k])} / ${text(sum, 4)} = ${small(value)}`),
    ];
  },
};
const formula = (words) => make("p", { className: "formula" }, words);

// ---- the page ----

let outputs = forward(new Uint8Array(product(page.shape)));
let chosen = { layer: 0, index: 0 };
const rows = []; // of each layer: its section, and the buttons of its maps or classes
const isBars = (l) => l >= layers.length - 2 && classes.length <= 40;

// Arrow keys move among the buttons of a group, which is one stop of the Tab key.
function rove(group, buttons, sideways) {
  buttons.forEach((button, i) => { button.tabIndex = i ? -1 : 0; });
  group.addEventListener("focusin", ({ target }) => buttons.forEach((button) => { button.tabIndex = button === target ? 0 : -1; }));
  group.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
    const other = step ? buttons[at + step] : sideways?.(event.key, at);
    if (at < 0 || !other) return;
    event.preventDefault();
    other.focus();
  });
}

function bar(name, onclick) {
  const fill = make("i");
  const value = make("span", { className: "value" });
  const button = make(onclick ? "button" : "div", { className: "bar", onclick }, make("span", {}, name), make("span", { className: "track" }, fill), value);
  return { button, set: (from, to, words, best) => { // shares of the track
    fill.style.left = `${100 * Math.min(from, to)}%`;
    fill.style.width = `${100 * Math.abs(to - from)}%`;
    value.textContent = words;
    button.classList.toggle("best", best);
  } };
}

layers.forEach((layer, l) => {
  const [maps, h, w] = layer.view;
  const group = make("div", { className: isBars(l) ? "rows" : "maps", role: "group", ariaLabel: `${layer.name}: ${isBars(l) ? "classes" : "maps"}` });
  const row = { group, bars: [], canvases: [] };
  if (isBars(l)) {
    row.bars = classes.map((name, k) => bar(name, () => choose(l, k)));
    row.buttons = row.bars.map(({ button }) => button);
  } else {
    row.canvases = range(maps).map(() => make("canvas", { width: w, height: h }));
    row.buttons = row.canvases.map((canvas, map) => {
      const label = layer.shape.length === 3 ? `map ${map} of ${layer.name}` : `the ${layer.shape[0]} numbers of ${layer.name}`;
      const button = make("button", { className: layer.shape.length === 3 ? "map" : "map strip", ariaLabel: label }, canvas);
      button.addEventListener("click", (event) => {
        if (event.detail) choose(l, map * h * w + pixelAt(event, canvas, h, w));
        else { // by a key: go on in the large map
          choose(l, chosen.layer === l && Math.floor(chosen.index / (h * w)) === map ? chosen.index : map * h * w + argmax(mapOf(l, map)));
          big.focus();
        }
      });
      return button;
    });
  }
  group.append(...row.buttons);
  group.style.setProperty("--share", 0.6 + 0.4 * Math.min(1, w / width)); // smaller maps are drawn smaller
  group.style.setProperty("--wide", w / h);
  row.scale = make("span", { className: "scale" });
  row.section = make("section", { className: "layer", ariaLabel: titles[layer.kind](layer) },
    make("div", {}, make("h3", {}, titles[layer.kind](layer)),
      make("p", { className: "shape" }, make("code", {}, layer.name), " ", make("span", {}, by(layer.shape))),
      make("p", { className: "shape" }, row.scale, make("span", {}, layer.parameters ? plural(layer.parameters, "parameter") : ""))), group);
  rove(group, row.buttons, (key) => {
    const other = rows[l + ({ ArrowDown: 1, ArrowUp: -1 }[key] ?? NaN)];
    return other?.buttons.find((button) => button.tabIndex === 0);
  });
  rows.push(row);
  byId("layers").append(row.section);
});

function pixelAt(event, canvas, h, w) {
  const box = canvas.getBoundingClientRect();
  const inside = (share, n) => Math.max(0, Math.min(n - 1, Math.floor(share * n)));
  return inside((event.clientY - box.top) / box.height, h) * w + inside((event.clientX - box.left) / box.width, w);
}

// The panel: the map enlarged, the chosen number, and what made it.
const bigCanvas = make("canvas");
const big = make("div", { className: "big", tabIndex: 0, role: "application" }, bigCanvas);
const where = make("span", { className: "quiet" });
const number = make("div", { className: "number" });
const panel = byId("panel");
const head = make("h3", { id: "panel-title" });
const body = make("div", { id: "made" });
const place = make("div", { className: "where" }, big, make("div", { role: "status" }, where, number));
const back = make("button", { id: "follow", onclick: () => {
  choose(chosen.layer - 1, originOf(chosen.layer, chosen.index));
  (back.hidden ? panel : back).focus({ preventScroll: true });
  rows[chosen.layer].section.scrollIntoView({ block: narrow.matches ? "start" : "nearest" });
} }, "▲ Where most of it comes from");
panel.append(head, place, back, body);

function drawPanel() {
  const { layer: l, index } = chosen;
  const layer = layers[l];
  const [, h, w] = layer.view;
  const [map, row, column] = [Math.floor(index / (h * w)), Math.floor(index / w) % h, index % w];
  const name = isBars(l) ? classes[index] : layer.shape.length === 3 ? `map ${map}, row ${row}, column ${column}` : `number ${index}`;
  head.textContent = `${titles[layer.kind](layer)}: ${layer.name}[${layer.shape.length === 3 ? `${map}, ${row}, ${column}` : index}]`;
  where.textContent = isBars(l) ? `class ${name}` : `${name}, counted from 0`;
  number.textContent = layer.kind === "input" ? outputs[l][index] : layer.kind === "softmax" ? percent(outputs[l][index]) : text(outputs[l][index], 3);
  big.hidden = isBars(l);
  back.hidden = l === 0;
  big.className = w > 2 * h ? "big wide" : "big";
  place.className = w > 2 * h ? "where tall" : "where";
  big.setAttribute("aria-label", `map ${map} of ${layer.name}, enlarged. Arrow keys choose a number, Escape goes back to the maps.`);
  paint(bigCanvas, mapOf(l, map), w, colorOf(l));
  big.querySelectorAll(".mark").forEach((old) => old.remove());
  mark(big, { top: row, left: column, rows: 1, columns: 1 }, layer.view);
  body.replaceChildren(...made[layer.kind](layer, index, outputs[l][index], outputs[Math.max(0, l - 1)], l ? colorOf(l - 1) : gray, l));
}

function choose(l, index) {
  chosen = { layer: l, index };
  const layer = layers[l];
  document.querySelectorAll("#layers .mark").forEach((old) => old.remove());
  document.querySelectorAll("#layers .chosen").forEach((old) => old.classList.remove("chosen"));
  const [, h, w] = layer.view;
  const map = Math.floor(index / (h * w));
  const pixel = { top: Math.floor(index / w) % h, left: index % w, rows: 1, columns: 1 };
  rows[l].buttons[isBars(l) ? index : map].classList.add("chosen");
  if (!isBars(l)) mark(rows[l].buttons[map], pixel, layer.view);
  if (l > 0 && !isBars(l - 1)) {
    const before = layers[l - 1].view;
    const window = layer.kernel ? windowOf(layer, index) : pixel;
    if (layer.kind === "conv") rows[l - 1].buttons.forEach((button) => mark(button, window, before));
    else if (layer.kind === "flatten") {
      const [, fh, fw] = before;
      mark(rows[l - 1].buttons[Math.floor(index / (fh * fw))], { top: Math.floor(index / fw) % fh, left: index % fw, rows: 1, columns: 1 }, before);
    } else if (layer.kind !== "linear") mark(rows[l - 1].buttons[map], window, before);
  }
  drawPanel();
  putPanel();
}

const narrow = matchMedia("(max-width: 56rem)");
const putPanel = () => {
  const home = narrow.matches ? rows[chosen.layer].section : byId("side");
  if (panel.parentElement !== home) home.append(panel);
};
narrow.addEventListener("change", putPanel);

big.addEventListener("keydown", (event) => {
  const { layer: l, index } = chosen;
  const [, h, w] = layers[l].view;
  const [row, column] = [Math.floor(index / w) % h, index % w];
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === "Escape") rows[l].buttons[Math.floor(index / (h * w))].focus();
  if (!down && !right) return;
  event.preventDefault();
  if (row + down >= 0 && row + down < h && column + right >= 0 && column + right < w) choose(l, index + down * w + right);
});
const pick = (event) => {
  if (event.type === "pointermove" && !event.buttons) return;
  const { layer: l, index } = chosen;
  const [, h, w] = layers[l].view;
  choose(l, Math.floor(index / (h * w)) * h * w + pixelAt(event, bigCanvas, h, w));
};
big.addEventListener("pointerdown", pick);
big.addEventListener("pointermove", pick);

// ---- the answer ----

const answers = classes.length <= 40 ? classes.map((name) => bar(name)) : [];
byId("bars").append(...answers.map(({ button }) => button));

function update() {
  outputs = forward(readPaper());
  outputs.forEach((x, l) => { limits[l] = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0); });
  const [logits, shares] = outputs.slice(-2);
  const best = argmax(shares);
  rows.forEach((row, l) => {
    row.canvases.forEach((canvas, map) => paint(canvas, mapOf(l, map), layers[l].view[2], colorOf(l)));
    row.scale.replaceChildren(...scaleOf(l));
  });
  [...answers, ...(rows.at(-1).bars)].forEach(({ set }, i) => { const k = i % classes.length; set(0, shares[k], percent(shares[k]), k === best); });
  const [low, high] = [Math.min(0, ...logits), Math.max(0, ...logits)];
  const along = (logit) => (logit - low) / (high - low || 1);
  rows.at(-2).bars.forEach(({ set }, k) => set(along(0), along(logits[k]), text(logits[k]), k === best));
  const target = example === null ? "" : classes[page.examples.targets[example]];
  byId("answer").replaceChildren(`${classes[best]}, ${percent(shares[best])}`, make("small", {}, target && target !== classes[best] ? `wrong: the label is ${target}` : ""));
  choose(chosen.layer, chosen.index);
}

function scaleOf(l) {
  if (isBars(l)) return [];
  const [low, high] = outputs[l].reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const css = (value) => `rgb(${colorOf(l)(value)})`;
  const stops = low < 0 && high > 0 ? [low, 0, high] : [low, high];
  const at = stops.map((value) => `${css(value)} ${(100 * (value - low)) / (high - low || 1)}%`);
  return [text(low, layers[l].kind === "input" ? 0 : 1), make("i", { style: `background:linear-gradient(90deg,${at})` }), text(high, layers[l].kind === "input" ? 0 : 1)];
}

// ---- the paper ----

const paper = byId("paper");
const ink = paper.getContext("2d", { willReadFrequently: true });
const grain = Math.max(2, Math.round(280 / width)); // pixels of the paper for one of the image
[paper.width, paper.height] = [width * grain, height * grain];
let example = null; // the one that is on the paper, unchanged
let blank = true; // the drawing was begun on empty paper
let erases = false;

// What is on the paper, as the network gets it: numbers from 0 to 255.
function readPaper() {
  const { data } = ink.getImageData(0, 0, paper.width, paper.height);
  if (page.centers && blank) return center(data);
  const image = new Float64Array(channels * height * width);
  const light = (i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]; // ITU-R BT.601
  for (let y = 0; y < paper.height; y++) for (let x = 0; x < paper.width; x++) for (let c = 0; c < channels; c++) {
    const i = 4 * (y * paper.width + x);
    image[(c * height + Math.floor(y / grain)) * width + Math.floor(x / grain)] += channels === 3 ? data[i + c] : light(i);
  }
  return Uint8Array.from(image, (sum) => Math.round(sum / grain ** 2));
}

// As the digits of MNIST were made: scaled to fit into 20 × 20, with the center of mass in the middle.
function center(data) {
  const image = new Uint8Array(height * width);
  const inked = (x, y) => data[4 * (y * paper.width + x)];
  let [left, right, top, bottom] = [paper.width, -1, paper.height, -1];
  for (let y = 0; y < paper.height; y++) for (let x = 0; x < paper.width; x++) {
    if (inked(x, y) > 85) [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  }
  if (right < 0) return image;
  const [w, h] = [right - left + 1, bottom - top + 1];
  const [columns, lines] = [w, h].map((side) => Math.max(1, Math.round((20 * side) / Math.max(w, h))));
  const small = new Float64Array(columns * lines);
  let [mass, massX, massY] = [0, 0, 0];
  small.forEach((_, i) => {
    const [column, row] = [i % columns, Math.floor(i / columns)];
    const [x0, y0] = [left + Math.floor((column * w) / columns), top + Math.floor((row * h) / lines)];
    const [x1, y1] = [Math.max(x0 + 1, left + Math.floor(((column + 1) * w) / columns)), Math.max(y0 + 1, top + Math.floor(((row + 1) * h) / lines))];
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) small[i] += inked(x, y) / ((x1 - x0) * (y1 - y0));
    [mass, massX, massY] = [mass + small[i], massX + small[i] * column, massY + small[i] * row];
  });
  const shift = (middle, side, room) => Math.min(Math.max(Math.trunc(room / 2 - middle), 0), room - side);
  const [dx, dy] = [shift(massX / mass, columns, width), shift(massY / mass, lines, height)];
  const most = small.reduce((a, b) => Math.max(a, b));
  small.forEach((value, i) => { image[(dy + Math.floor(i / columns)) * width + dx + (i % columns)] = Math.round((255 * value) / most); });
  return image;
}

let waiting = 0;
const later = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; update(); }); };

function stroke([x0, y0], [x1, y1]) {
  ink.strokeStyle = erases ? "#000" : "#fff";
  ink.lineWidth = 0.08 * paper.width;
  ink.lineCap = "round";
  ink.beginPath();
  ink.moveTo(x0, y0);
  ink.lineTo(x1, y1);
  ink.stroke();
  setExample(null);
  later();
}

function clear() {
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, paper.width, paper.height);
  blank = true;
  setExample(null);
  later();
}

const onPaper = ({ clientX, clientY }) => {
  const box = paper.getBoundingClientRect();
  return [((clientX - box.left) * paper.width) / box.width, ((clientY - box.top) * paper.height) / box.height];
};
let pointer = null; // the one that draws, and where it is
paper.addEventListener("pointerdown", (event) => {
  if (pointer || event.button !== 0) return;
  pointer = { id: event.pointerId, at: onPaper(event) };
  paper.setPointerCapture(event.pointerId);
  stroke(pointer.at, pointer.at);
});
paper.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer?.id) return;
  for (const part of event.getCoalescedEvents?.() ?? [event]) {
    const at = onPaper(part);
    stroke(pointer.at, at);
    pointer.at = at;
  }
});
paper.addEventListener("lostpointercapture", () => { pointer = null; });

const pen = { at: [paper.width / 2, paper.height / 2], down: false, frame: make("span", { className: "mark", hidden: true }) };
paper.after(pen.frame);
function showPen() {
  const share = (part) => `${(100 * part) / paper.width}%`;
  pen.frame.style = `left:${share(pen.at[0] - 0.04 * paper.width)};top:${share(pen.at[1] - 0.04 * paper.width)};width:8%;height:8%;border-radius:50%;border-style:${pen.down ? "solid" : "dotted"}`;
}
paper.addEventListener("keydown", (event) => {
  const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key !== " " && !right && !down) return;
  event.preventDefault();
  if (event.key === " ") pen.down = !pen.down;
  const inside = (value) => Math.max(0, Math.min(paper.width, value));
  const at = [inside(pen.at[0] + right * grain), inside(pen.at[1] + down * grain)];
  if (pen.down) stroke(pen.at, at);
  pen.at = at;
  pen.frame.hidden = false;
  showPen();
});
paper.addEventListener("blur", () => { pen.frame.hidden = true; pen.down = false; });

byId("clear").onclick = clear;
for (const [id, value] of [["pen", false], ["eraser", true]]) {
  byId(id).onclick = () => {
    erases = value;
    byId("pen").setAttribute("aria-pressed", !erases);
    byId("eraser").setAttribute("aria-pressed", erases);
  };
}

// ---- images to choose from ----

const thumbs = [];
const pixels = page.examples ? bytes(page.examples.images) : new Uint8Array(0);
const exampleImage = (i) => pixels.subarray(i * product(page.shape), (i + 1) * product(page.shape));

function setExample(i) {
  example = i;
  thumbs.forEach((thumb, j) => { thumb.setAttribute("aria-pressed", i === j); });
}

function toCanvas(canvas, image) { // exact: a canvas may not smooth it
  [canvas.width, canvas.height] = [width, height];
  const drawn = new ImageData(width, height);
  range(height * width).forEach((p) => drawn.data.set([...range(3).map((c) => image[(channels === 3 ? c : 0) * height * width + p]), 255], 4 * p));
  canvas.getContext("2d").putImageData(drawn, 0, 0);
  return canvas;
}

function take(i) {
  ink.imageSmoothingEnabled = false;
  ink.drawImage(toCanvas(make("canvas"), exampleImage(i)), 0, 0, paper.width, paper.height);
  blank = false;
  setExample(i);
  update();
}

function listExamples(words, wanted) {
  const { targets, predicted, rows: numbers } = page.examples;
  const chosen = range(targets.length).filter((i) => (targets[i] === predicted[i]) === wanted);
  if (!chosen.length) return;
  const group = make("div", { className: "thumbs", role: "group", ariaLabel: words });
  const buttons = chosen.map((i) => {
    const says = wanted ? "" : `, the network says ${classes[predicted[i]]}`;
    const label = `${classes[targets[i]]}, test image ${numbers[i]}${says}`;
    const button = make("button", { ariaLabel: label, title: label, onclick: () => take(i) }, toCanvas(make("canvas"), exampleImage(i)));
    thumbs[i] = button;
    return button;
  });
  group.append(...buttons);
  rove(group, buttons);
  byId("choose").append(make("p", { className: "quiet" }, words), group);
}

// A picture of one's own, as data.prepare has it: not distorted, and the rest in the color of its border.
async function openPicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return byId("answer").replaceChildren("This file is not a picture.");
  const size = Math.min(paper.width / bitmap.width, paper.height / bitmap.height);
  const [w, h] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * size)));
  const [x, y] = [Math.floor((paper.width - w) / 2), Math.floor((paper.height - h) / 2)];
  clear();
  ink.imageSmoothingEnabled = bitmap.width !== width || bitmap.height !== height; // of the right size it is exact
  ink.imageSmoothingQuality = "high";
  ink.drawImage(bitmap, x, y, w, h);
  const border = [[x, y, w, 1], [x, y + h - 1, w, 1], [x, y, 1, h], [x + w - 1, y, 1, h]].flatMap((box) => [...ink.getImageData(...box).data]);
  const middle = (c) => border.filter((_, i) => i % 4 === c).sort((a, b) => a - b)[Math.floor(border.length / 8)];
  ink.fillStyle = `rgb(${[0, 1, 2].map(middle)})`;
  ink.fillRect(0, 0, paper.width, paper.height);
  ink.drawImage(bitmap, x, y, w, h);
  blank = false;
}

if (page.examples) {
  listExamples("Test images that the network gets right", true);
  listExamples("Test images that it gets wrong: why?", false);
  byId("choose").append(make("p", { className: "quiet" }, "Draw over them, or erase a part: what changes?"));
}
if (page.opens) {
  const input = make("input", { type: "file", accept: "image/*", onchange: () => input.files.length && openPicture(input.files[0]) });
  byId("choose").append(make("label", {}, make("p", { className: "quiet" }, "A picture of yours; it stays on this page"), input));
}
byId("choose").hidden = !page.examples && !page.opens;

// ---- the walk ----

let step = -1;
let timer = 0;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const PAUSE = 6000; // milliseconds for each layer

function goTo(l) {
  step = l;
  rows.forEach((row, i) => row.section.classList.toggle("now", i === l));
  byId("says").textContent = sentences[layers[l].kind](layers[l]);
  choose(l, argmax(outputs[l]));
  rows[l].section.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: narrow.matches ? "start" : "center" });
}
function stop() {
  clearInterval(timer);
  timer = 0;
  byId("play").textContent = "▶ Play";
}
byId("play").onclick = () => {
  if (timer) return stop();
  goTo((step + 1) % layers.length);
  byId("play").textContent = "❚❚ Pause";
  timer = setInterval(() => (step + 1 < layers.length ? goTo(step + 1) : stop()), PAUSE);
};
byId("next").onclick = () => { stop(); goTo(Math.min(layers.length - 1, step + 1)); };
byId("back").onclick = () => { stop(); goTo(Math.max(0, step - 1)); };

byId("says").textContent = "Play walks through the layers, with a sentence for each. Or choose any pixel of any map: click, or use Tab, arrows and Enter.";
dark.addEventListener("change", () => { mixTones(); update(); });
mixTones();
clear();
if (thumbs.length) take(0);
const first = Math.max(1, layers.findIndex(({ kind }) => kind === "conv" || kind === "linear"));
choose(first, argmax(outputs[first]));
