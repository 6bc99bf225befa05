"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("volume-data").textContent);
  // volumes (z, y, x), one of each time, or a time series (t, y, x) that is looked through like a volume
  const section = document.getElementById("look"), bins = data.bins, series = data.kind === "series";
  const choice = section.querySelector("select"), place = section.querySelector("output.place");
  const low = section.querySelector("input.low"), high = section.querySelector("input.high");
  const histogram = section.querySelector("canvas.histogram"), profile = section.querySelector("canvas.profile");
  const timer = section.querySelector("input.time"), moment = section.querySelector(".moment");
  const [depth, height, width] = data.volumes[0].times[0].shape;
  const sizes = [depth, height, width], names = [series ? "t" : "z", "y", "x"];
  // rows, columns and fixed axis of each plane
  const planes = [...section.querySelectorAll(".plane")].map((element, i) => ({
    element, canvas: element.querySelector("canvas"), slider: element.querySelector("input"),
    label: element.querySelector(".at"), rows: [1, 0, 0][i], columns: [2, 2, 1][i], fixed: [0, 1, 2][i],
  }));
  const state = { volume: 0, time: 0, at: sizes.map((n, i) => (series && i === 0 ? 0 : Math.floor(n / 2))), hover: null, plane: planes[0] };
  const item = () => data.volumes[state.volume];
  const values = () => item().times[state.time].values;
  const index = (at) => (at[0] * height + at[1]) * width + at[2];
  const span = (at, axis) => {
    const first = at[axis] * bins[axis];
    if (series && axis === 0) return `${first} (${data.labels[at[0]]})`;
    return bins[axis] > 1 ? `${first}\u2013${first + bins[axis] - 1}` : String(first);
  };

  function plane(p) {
    const rows = sizes[p.rows], columns = sizes[p.columns], image = new Float32Array(rows * columns);
    const at = [...state.at], all = values();
    for (let r = 0; r < rows; r++) {
      at[p.rows] = r; at[p.columns] = 0;
      const start = index(at), step = p.columns === 2 ? 1 : width;
      for (let c = 0; c < columns; c++) image[r * columns + c] = all[start + c * step];
    }
    return image;
  }
  function line(axis) {
    const at = [...state.at], found = new Float32Array(sizes[axis]), all = values();
    for (let i = 0; i < found.length; i++) { at[axis] = i; found[i] = all[index(at)]; }
    return found;
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
    viewer.chart(profile, [{ values: line(along), colour: getComputedStyle(section).getPropertyValue("--accent") }], from, to, state.at[along], bins[along]);
    section.querySelector(".along").textContent = names[along];
    bars();
  }
  function tell() {
    const at = state.hover || state.at, value = values()[index(at)], b = bins[1];
    const mean = b > 1 ? `, mean of ${series ? "" : `${b} \u00d7 `}${b} \u00d7 ${b} ${series ? "pixels" : "voxels"}` : "";
    const when = timer ? `${data.labels[state.time]}, ` : "";
    place.textContent = `${when}${names[0]} ${span(at, 0)}, y ${span(at, 1)}, x ${span(at, 2)}: ${viewer.number(value)}${item().unit ? " " + item().unit : ""}${mean}`;
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
    if (!volume.counts) {
      for (const part of volume.times) part.values = (await viewer.decode(part)).values;
      volume.table = viewer.palette(volume.colours);
      const first = Math.min(...volume.times.map((part) => part.low));
      const last = Math.max(...volume.times.map((part) => part.low + 65534 * part.step));
      volume.limits = [first, last];
      volume.counts = new Array(128).fill(0);
      for (const part of volume.times)
        for (const v of part.values)
          if (v === v) volume.counts[Math.min(127, Math.floor(((v - first) / (last - first || 1)) * 128))]++;
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
  function turn(to) {
    state.time = Math.max(0, Math.min(data.labels.length - 1, to));
    timer.value = state.time; moment.textContent = data.labels[state.time];
    draw();
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
      if (timer && (event.key === "," || event.key === ".")) { event.preventDefault(); turn(state.time + (event.key === "." ? by : -by)); }
    });
  }
  if (timer) {
    Object.assign(timer, { min: 0, max: data.labels.length - 1, step: 1 });
    timer.addEventListener("input", () => turn(Number(timer.value)));
  }
  choice.addEventListener("change", () => choose(choice.selectedIndex));
  for (const input of [low, high]) input.addEventListener("input", () => {
    item().shown = [Math.min(+low.value, +high.value), Math.max(+low.value, +high.value)]; draw();
  });
  section.querySelector("button.reset").addEventListener("click", () => { item().shown = [...item().range]; choose(state.volume); });
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  await choose(0);
  if (timer) turn(0);
  section.hidden = false;
  draw();
  section.dataset.ready = "yes";
})();
