"use strict";
// Shared by the pages: embedded arrays, colours, line charts. No library, no request.
const viewer = {
  async decode(item) {
    const bytes = Uint8Array.from(atob(item.data), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const grey = new Uint16Array(await new Response(stream).arrayBuffer());
    const values = new Float32Array(grey.length);
    for (let i = 0; i < grey.length; i++) values[i] = grey[i] ? item.low + item.step * (grey[i] - 1) : NaN;
    return { shape: item.shape, values };
  },
  palette(colours) {
    // 16 stops [r, g, b] to 256 packed pixels
    const table = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (colours.length - 1), k = Math.min(colours.length - 2, Math.floor(place));
      const [r, g, b] = [0, 1, 2].map((c) => colours[k][c] + (place - k) * (colours[k + 1][c] - colours[k][c]));
      table[i] = (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);
    }
    return table;
  },
  bitmap(values, width, height, low, high, table) {
    const canvas = document.createElement("canvas");
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), scale = 255 / (high - low || 1);
    for (let i = 0; i < values.length; i++) {
      const v = values[i];
      pixels[i] = v === v ? table[Math.max(0, Math.min(255, Math.round((v - low) * scale)))] : 0xff8080ff;
    }
    context.putImageData(image, 0, 0);
    return canvas;
  },
  number(value) {
    if (!(value === value)) return "NaN";
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(4) : String(Number(value.toPrecision(6)));
  },
  fit(canvas) {
    // canvas pixels are screen pixels
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    return ratio;
  },
  chart(canvas, series, low, high, mark, factor = 1) {
    // series: [{values, colour}], all of one length; mark: an index; factor: pixels that a value stands for
    const ratio = viewer.fit(canvas), context = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).color, left = 70 * ratio, bottom = 18 * ratio, top = 6 * ratio;
    const width = canvas.width - left - 6 * ratio, height = canvas.height - bottom - top;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.font = `${11 * ratio}px sans-serif`; context.fillStyle = ink; context.strokeStyle = ink;
    context.textAlign = "right"; context.textBaseline = "middle";
    for (const part of [0, 0.5, 1]) {
      const y = top + height * (1 - part);
      context.fillText(viewer.number(low + part * (high - low)), left - 6 * ratio, y);
      context.globalAlpha = 0.25; context.beginPath(); context.moveTo(left, y); context.lineTo(left + width, y);
      context.stroke(); context.globalAlpha = 1;
    }
    const count = series.length ? series[0].values.length : 0;
    context.textAlign = "center"; context.textBaseline = "alphabetic";
    for (const part of [0, 0.5, 1])
      context.fillText(String(Math.round(part * (count - 1)) * factor), left + part * width, canvas.height - 3 * ratio);
    for (const { values, colour } of series) {
      context.strokeStyle = colour; context.lineWidth = 1.4 * ratio; context.beginPath();
      let pen = false;
      values.forEach((v, i) => {
        if (!(v === v)) { pen = false; return; }
        const x = left + (count > 1 ? i / (count - 1) : 0.5) * width;
        const y = top + height * (1 - Math.max(-0.05, Math.min(1.05, (v - low) / (high - low || 1))));
        if (pen) context.lineTo(x, y); else context.moveTo(x, y);
        pen = true;
      });
      context.stroke();
    }
    if (mark !== undefined && count > 1) {
      context.strokeStyle = ink; context.setLineDash([4 * ratio, 3 * ratio]); context.beginPath();
      context.moveTo(left + (mark / (count - 1)) * width, top); context.lineTo(left + (mark / (count - 1)) * width, top + height);
      context.stroke(); context.setLineDash([]);
    }
  },
};
