import { load } from "./segment.js";

const [file, refined, status, canvas, legend] = ["file", "refined", "status", "canvas", "legend"].map((id) =>
  document.getElementById(id)
);
const model = load("model.onnx");
model.catch(tell);
let shown; // the image and what was found in it

function tell(error) {
  status.textContent = `${error.message ?? error}`;
}

async function open(chosen) {
  status.textContent = "segmenting ...";
  const { card, segment } = await model;
  const picture = await createImageBitmap(chosen);
  Object.assign(canvas, { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const image = context.getImageData(0, 0, picture.width, picture.height);
  const start = performance.now();
  shown = { image, card, found: await segment(image) };
  draw();
  status.textContent = `${picture.width} x ${picture.height}, ${Math.round(performance.now() - start)} ms`;
}

function draw() {
  const { image, card, found } = shown;
  const labels = (!refined.checked && found.unary_labels) || found.labels;
  const colors = new Map(card.classes.map(({ id, color }) => [id, color]));
  const mixed = new ImageData(new Uint8ClampedArray(image.data), image.width);
  labels.forEach((label, pixel) =>
    colors.get(label).forEach((level, channel) => {
      const at = 4 * pixel + channel;
      mixed.data[at] = (mixed.data[at] + level) / 2;
    })
  );
  canvas.getContext("2d").putImageData(mixed, 0, 0);
  const there = new Set(labels);
  legend.replaceChildren(...card.classes.filter(({ id }) => there.has(id)).map(entry));
}

function entry({ name, color }) {
  const [line, square] = [document.createElement("span"), document.createElement("i")];
  square.style.background = `rgb(${color})`;
  line.append(square, name);
  return line;
}

file.addEventListener("change", () => file.files.length && open(file.files[0]).catch(tell));
refined.addEventListener("change", () => shown && draw());
window.segtool = { found: () => shown?.found }; // for whoever looks from outside
