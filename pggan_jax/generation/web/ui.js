"use strict";
// The controls of the page.

const LARGEST_SEED = 4294967295;
const byId = (name) => document.getElementById(name);

function readSeed(name) {
  const text = byId(name).value.trim(), seed = Number(text);
  if (!/^\d+$/.test(text) || seed > LARGEST_SEED) {
    throw new RangeError(`${byId(name).title}: ${text || "empty"}; give a whole number from 0 to ${LARGEST_SEED}`);
  }
  return seed;
}

function chosenClass(seed) {
  const value = byId("class").value;
  return value === "" ? classOf(seed) : Number(value);
}

// The point between two latents on the sphere, as in the walks of `film`.
function between(first, second, t) {
  const length = (v) => Math.sqrt(v.reduce((sum, value) => sum + value * value, 0));
  const [a, b] = [length(first), length(second)];
  const cosine = Math.min(1, Math.max(-1, first.reduce((sum, value, i) => sum + value * second[i], 0) / (a * b)));
  const angle = Math.acos(cosine);
  if (angle < 1e-6) return first.map((value, i) => value * (1 - t) + second[i] * t);
  const [u, v] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  const size = a * (1 - t) + b * t;
  return first.map((value, i) => size * ((u * value) / a + (v * second[i]) / b));
}

// Functions that draw the images to show, one each.
function drawings() {
  const seed = readSeed("seed"), count = Number(byId("count").value), t = Number(byId("walk").value) / 100;
  if (t > 0) {
    const other = readSeed("other"), [from, to] = [oneHot(chosenClass(seed)), oneHot(chosenClass(other))];
    const labels = from.map((value, i) => value * (1 - t) + to[i] * t);
    return [() => draw(between(latentOf(seed), latentOf(other), t), labels)];
  }
  const seeds = Array.from({ length: count }, (_, i) => (seed + i) % (LARGEST_SEED + 1));
  return seeds.map((one) => () => imageOfSeed(one, chosenClass(one)));
}

function show(image, index, count) {
  const { height, width, channels } = image, columns = Math.ceil(Math.sqrt(count));
  const canvas = byId("canvas");
  if (index === 0) {
    canvas.width = columns * width;
    canvas.height = Math.ceil(count / columns) * height;
    canvas.style.width = `${Math.max(1, Math.floor(512 / canvas.width)) * canvas.width}px`;
  }
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = image.data[channels * i + (c < channels && channels > 2 ? c : 0)];
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, (index % columns) * width, Math.floor(index / columns) * height);
}

function report(text, name = "") {
  byId("status").textContent = text;
  byId("status").className = name;
}

let newest = 0;

// Draw one image after another, until the controls change; between them the page answers.
function update() {
  const own = ++newest;
  let todo;
  try {
    todo = drawings();
  } catch (error) {
    report(error.message, "error");
    return;
  }
  const start = performance.now();
  const step = (index) => {
    if (own !== newest) return;
    show(todo[index](), index, todo.length);
    const done = index + 1, each = ((performance.now() - start) / done).toFixed(0);
    report(`${done} of ${todo.length} image${todo.length > 1 ? "s" : ""}, ${each} ms each`);
    if (done < todo.length) setTimeout(step, 0, done);
  };
  report("drawing ...");
  setTimeout(step, 0, 0);
}

function move(seed) {
  byId("seed").value = String(seed);
  byId("walk").value = "0";
  update();
}

for (const name of ["seed", "other", "count", "class", "walk"]) byId(name).addEventListener("input", update);
byId("next").addEventListener("click", () => {
  const seed = /^\d+$/.test(byId("seed").value.trim()) ? Number(byId("seed").value) : 0;
  move((seed + Number(byId("count").value)) % (LARGEST_SEED + 1));
});
byId("random").addEventListener("click", () => move(Math.floor(Math.random() * 1e6)));
byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.download = `${MODEL.name}-${byId("seed").value}.png`;
  link.href = byId("canvas").toDataURL("image/png");
  link.click();
});
byId("count").value = MODEL.firstCount;
update();
