// Outlines, names and handles of regions on the canvas of an image.

const SIDE = 8; // of a handle, points of the screen

// items: {text, shape, colour, chosen, dashed, handles: whether to draw them}. open: corners of a polygon that is begun.
export function drawRegions(context, view, items, open) {
  const ratio = devicePixelRatio || 1;
  const line = (points) => points.forEach((each, at) => each && context[at && points[at - 1] ? "lineTo" : "moveTo"](...view.window.place(each[1], each[0])));
  context.save();
  context.font = `${13 * ratio}px system-ui`;
  for (const { text, shape, colour, chosen, dashed, handles } of items) {
    const outline = shape.outline();
    context.setLineDash(dashed ? [5 * ratio, 4 * ratio] : []);
    for (const [width, stroke] of [[4, "#000b"], [2, colour]]) {
      context.lineWidth = width * ratio * (chosen ? 1.3 : 1);
      context.strokeStyle = stroke;
      context.beginPath();
      outline.forEach(line);
      context.stroke();
    }
    context.fillStyle = colour;
    label(context, view, text, outline, ratio);
    for (const each of handles ? shape.handles() : []) {
      if (!each) continue;
      const [left, top] = view.window.place(each[1], each[0]);
      context.fillRect(left - (SIDE / 2) * ratio, top - (SIDE / 2) * ratio, SIDE * ratio, SIDE * ratio);
    }
  }
  if (open) {
    context.setLineDash([]);
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    line(open);
    context.stroke();
  }
  context.restore();
}

// At the topmost point of the outline that is in the window.
function label(context, view, text, outline, ratio) {
  const { width, height } = context.canvas;
  const places = outline.flat().filter(Boolean).map(([x, y]) => view.window.place(y, x)).filter(([x, y]) => x >= 0 && x < width && y >= 14 * ratio && y < height);
  if (!places.length) return;
  const [x, y] = places.reduce((best, each) => (each[1] < best[1] ? each : best));
  const colour = context.fillStyle;
  context.fillStyle = "#000b";
  context.fillRect(x - 2 * ratio, y - 17 * ratio, context.measureText(text).width + 4 * ratio, 15 * ratio);
  context.fillStyle = colour;
  context.fillText(text, x, y - 5 * ratio);
}
