"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("volume-data").textContent);
  const section = document.getElementById("look"), bin = data.bin;
  const choice = section.querySelector("select"), place = section.querySelector("output.place");
  const low = section.querySelector("input.low"), high = section.querySelector("input.high");
  const histogram = section.querySelector("canvas.histogram"), profile = section.querySelector("canvas.profile");
  const [depth, height, width] = data.volumes[0].shape;
  const sizes = [depth, height, width], names = ["z", "y", "x"];
  // rows, columns and fixed axis of each plane
  const planes = [...section.querySelectorAll(".plane")].map((element, i) => ({
    element, canvas: element.querySelector("canvas"), slider: element.querySelector("input"),
    label: element.querySelector(".at"), rows: [1, 0, 0][i], columns: [2, 2, 1][i], fixed: [0, 1, 2][i],
  }));
  const state = { volume: 0, at: sizes.map((n) => Math.floor(n / 2)), hover: null, plane: planes[0] };
  const item = () => data.volumes[state.volume];
  const index = (at) => (at[0] * height + at[1]) * width + at[2];
  const span = (at, axis) => {
    const first = at[axis] * bin;
    return bin > 1 ? `${first}\u2013${first + bin - 1}` : String(first);
  };

  function plane(p) {
    const rows = sizes[p.rows], columns = sizes[p.columns], values = new Float32Array(rows * columns);
    const at = [...state.at], all = item().values;
    for (let r = 0; r < rows; r++) {
      at[p.rows] = r; at[p.columns] = 0;
      const start = index(at), step = p.columns === 2 ? 1 : width;
      for (let c = 0; c < columns; c++) values[r * columns + c] = all[start + c * step];
    }
    return values;
  }
  function line(axis) {
    const at = [...state.at], values = new Float32Array(sizes[axis]);
    for (let i = 0; i < values.length; i++) { at[axis] = i; values[i] = item().values[index(at)]; }
    return values;
  }
  function draw() {
    const [from, to] = item().shown;
    for (const p of planes) {
      const context = (viewer.fit(p.canvas), p.canvas.getContext("2d"));
      const rows = sizes[p.rows], columns = sizes[p.columns];
      const scale = Math.min(p.canvas.width / columns, p.canvas.height / rows);
      const left = (p.canvas.width - columns * scale) / 2, top = (p.canvas.height - rows * scale) / 2;
      Object.assign(p, { scale, left, top });
      context.clearRect(0, 0, p.canvas.width, p.canvas.height);
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(viewer.bitmap(plane(p), columns, rows, from, to, item().table), left, top, columns * scale, rows * scale);
      const x = left + (state.at[p.columns] + 0.5) * scale, y = top + (state.at[p.rows] + 0.5) * scale;
      context.strokeStyle = "rgba(230, 130, 0, 0.75)"; context.lineWidth = 1; context.beginPath();
      context.moveTo(x, top); context.lineTo(x, top + rows * scale); context.moveTo(left, y); context.lineTo(left + columns * scale, y);
      context.stroke();
      p.slider.value = state.at[p.fixed];
      p.label.textContent = `${names[p.fixed]} = ${span(state.at, p.fixed)}`;
    }
    tell();
    const along = state.plane.columns;
    viewer.chart(profile, [{ values: line(along), colour: getComputedStyle(section).getPropertyValue("--accent") }], from, to, state.at[along], bin);
    section.querySelector(".along").textContent = names[along];
    bars();
  }
  function tell() {
    const at = state.hover || state.at, value = item().values[index(at)];
    const mean = bin > 1 ? `, mean of ${bin} \u00d7 ${bin} \u00d7 ${bin} voxels` : "";
    place.textContent = `z ${span(at, 0)}, y ${span(at, 1)}, x ${span(at, 2)}: ${viewer.number(value)}${item().unit ? " " + item().unit : ""}${mean}`;
  }
  function bars() {
    const ratio = viewer.fit(histogram), context = histogram.getContext("2d"), counts = item().counts;
    const most = Math.log1p(Math.max(...counts)), step = histogram.width / counts.length;
    const [first, last] = item().limits, [from, to] = item().shown;
    context.clearRect(0, 0, histogram.width, histogram.height);
    context.fillStyle = getComputedStyle(histogram).color; context.globalAlpha = 0.6;
    counts.forEach((n, i) => {
      const tall = (Math.log1p(n) / most) * (histogram.height - 2);
      context.fillRect(i * step, histogram.height - tall, Math.max(1, step - 1), tall);
    });
    context.globalAlpha = 1; context.strokeStyle = getComputedStyle(section).getPropertyValue("--accent"); context.lineWidth = 2 * ratio;
    for (const value of [from, to]) {
      const x = ((value - first) / (last - first || 1)) * histogram.width;
      context.beginPath(); context.moveTo(x, 0); context.lineTo(x, histogram.height); context.stroke();
    }
  }
  async function choose(number) {
    state.volume = number;
    const volume = item();
    if (!volume.values) {
      volume.values = (await viewer.decode(volume)).values;
      volume.table = viewer.palette(volume.colours);
      volume.limits = [volume.low, volume.low + 65534 * volume.step];
      volume.counts = new Array(128).fill(0);
      for (const v of volume.values)
        if (v === v) volume.counts[Math.min(127, Math.floor(((v - volume.low) / (65535 * volume.step)) * 128))]++;
      volume.shown = [...volume.range];
    }
    if (state.volume !== number) return;
    const [first, last] = volume.limits;
    for (const [input, value] of [[low, volume.shown[0]], [high, volume.shown[1]]])
      Object.assign(input, { min: first, max: last, step: (last - first) / 1000 || 1, value });
    draw();
  }
  function at(p, event) {
    const ratio = window.devicePixelRatio || 1, box = p.canvas.getBoundingClientRect(), found = [...state.at];
    const column = Math.floor(((event.clientX - box.left) * ratio - p.left) / p.scale);
    const row = Math.floor(((event.clientY - box.top) * ratio - p.top) / p.scale);
    if (row < 0 || column < 0 || row >= sizes[p.rows] || column >= sizes[p.columns]) return null;
    found[p.rows] = row; found[p.columns] = column;
    return found;
  }
  function step(axis, by) {
    state.at[axis] = Math.max(0, Math.min(sizes[axis] - 1, state.at[axis] + by));
    state.hover = null;
    draw();
  }
  for (const p of planes) {
    let held = false;
    Object.assign(p.slider, { min: 0, max: sizes[p.fixed] - 1, step: 1 });
    p.slider.addEventListener("input", () => { state.at[p.fixed] = Number(p.slider.value); state.hover = null; draw(); });
    p.canvas.style.aspectRatio = `${sizes[p.columns]} / ${sizes[p.rows]}`;
    const set = (event) => { const found = at(p, event); if (found) { state.at = found; state.hover = null; state.plane = p; draw(); } };
    p.canvas.addEventListener("pointerdown", (event) => { held = true; p.canvas.setPointerCapture(event.pointerId); p.canvas.focus({ preventScroll: true }); set(event); });
    p.canvas.addEventListener("pointerup", () => { held = false; });
    p.canvas.addEventListener("pointermove", (event) => { if (held) { set(event); } else { state.hover = at(p, event); tell(); } });
    p.canvas.addEventListener("pointerleave", () => { state.hover = null; tell(); });
    p.canvas.addEventListener("wheel", (event) => { event.preventDefault(); state.plane = p; step(p.fixed, event.deltaY > 0 ? 1 : -1); }, { passive: false });
    p.canvas.addEventListener("keydown", (event) => {
      const by = event.shiftKey ? 10 : 1;
      const act = { ArrowLeft: [p.columns, -by], ArrowRight: [p.columns, by], ArrowUp: [p.rows, -by], ArrowDown: [p.rows, by],
        PageUp: [p.fixed, -by], PageDown: [p.fixed, by] }[event.key];
      if (act) { event.preventDefault(); state.plane = p; step(...act); }
    });
  }
  choice.addEventListener("change", () => choose(choice.selectedIndex));
  for (const input of [low, high]) input.addEventListener("input", () => {
    item().shown = [Math.min(+low.value, +high.value), Math.max(+low.value, +high.value)]; draw();
  });
  section.querySelector("button.reset").addEventListener("click", () => { item().shown = [...item().range]; choose(state.volume); });
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  await choose(0);
  section.hidden = false;
  draw();
  section.dataset.ready = "yes";
})();
