// An exported model in a browser, by ONNX Runtime's WebAssembly.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
ort.env.logLevel = "error";

/** Loads a model: its card, and a function from an ImageData to labels and confidences. */
export async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  const file = new Uint8Array(await answer.arrayBuffer());
  const card = readCard(file);
  const session = await ort.InferenceSession.create(file);
  return { card, segment: (image) => segment(session, image) };
}

/** Bytes of class ids, row after row: `labels`, and with a CRF `unary_labels`; `confidence` of each pixel. */
async function segment(session, { data, width, height }) {
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    for (let channel = 0; channel < 3; ++channel) rgb[to++] = data[from + channel];
  }
  const outputs = await session.run({ image: new ort.Tensor("uint8", rgb, [1, height, width, 3]) });
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
}

// ONNX Runtime does not hand out a file's metadata in a browser. In the file the card stands behind its key, as a protobuf
// field: a tag, its length in groups of seven bits, and that many bytes.
function readCard(file) {
  const key = new TextEncoder().encode("segtool_card");
  let at = file.length - key.length;
  while (at >= 0 && !key.every((byte, i) => file[at + i] === byte)) --at;
  if (at < 0) throw new Error("not a file of segtool export");
  at += key.length + 1;
  let length = 0;
  for (let shift = 0, byte = 128; byte & 128; shift += 7) {
    byte = file[at++];
    length += (byte & 127) * 2 ** shift;
  }
  return JSON.parse(new TextDecoder().decode(file.subarray(at, at + length)));
}
