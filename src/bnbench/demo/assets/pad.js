// Strokes drawn with mouse, pen or finger; after each one all strokes are sent. Points are in sides of the paper.
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");
let strokes = [];
let stroke = null;

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = canvas.width / 14;
  for (const points of strokes) {
    pen.beginPath();
    for (const [x, y] of points) pen.lineTo(x * canvas.width, y * canvas.height);
    if (points.length === 1) pen.lineTo(points[0][0] * canvas.width, points[0][1] * canvas.height);
    pen.stroke();
  }
}

function add(event) {
  const box = canvas.getBoundingClientRect();
  stroke.push([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  draw();
}

function end() {
  if (!stroke) return;
  stroke = null;
  trigger("input", { strokes });
}

function wipe() {
  strokes = [];
  stroke = null;
  draw();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  strokes.push((stroke = []));
  add(event);
});
canvas.addEventListener("pointermove", (event) => stroke && add(event));
canvas.addEventListener("pointerup", end);
canvas.addEventListener("pointercancel", end);
canvas.addEventListener("wipe", wipe);
element.querySelector("button").addEventListener("click", () => {
  wipe();
  trigger("input", { strokes });
});
