"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8860b"];
  for (const section of document.querySelectorAll("section[data-group]")) {
    const group = data.groups[Number(section.dataset.group)];
    const choice = section.querySelector("select"), profile = section.querySelector("canvas.profile");
    const low = section.querySelector("input.low"), high = section.querySelector("input.high");
    const place = section.querySelector("output.place"), panes = [...section.querySelectorAll(".variant")];
    for (const item of group.contrasts)
      item.images = await Promise.all(item.images.map((image) => image && viewer.decode(image)));
    // zoom: screen pixels per image pixel; x, y: image pixel in the middle
    const state = { contrast: 0, zoom: 0, x: 0, y: 0, cursor: null };
    const contrast = () => group.contrasts[state.contrast];
    const first = () => contrast().images.find((image) => image);
    const whole = (canvas) => Math.min(canvas.width / first().shape[1], canvas.height / first().shape[0]);

    function render() {
      const item = contrast();
      item.table = item.table || viewer.palette(item.colours);
      item.bitmaps = item.images.map((image) => image &&
        viewer.bitmap(image.values, image.shape[1], image.shape[0], item.shown[0], item.shown[1], item.table));
      draw();
    }
    function draw() {
      const item = contrast();
      panes.forEach((pane, i) => {
        const canvas = pane.querySelector("canvas"), context = canvas.getContext("2d"), image = item.images[i];
        viewer.fit(canvas);
        context.clearRect(0, 0, canvas.width, canvas.height);
        const text = pane.querySelector(".value");
        if (!image) { text.textContent = "this method gives no " + item.title.toLowerCase(); return; }
        const scale = state.zoom || whole(canvas), [height, width] = image.shape;
        const left = canvas.width / 2 - (state.zoom ? state.x + 0.5 : width / 2) * scale;
        const top = canvas.height / 2 - (state.zoom ? state.y + 0.5 : height / 2) * scale;
        Object.assign(canvas, { scale, left, top });
        context.imageSmoothingEnabled = scale < 1;
        context.drawImage(item.bitmaps[i], left, top, width * scale, height * scale);
        if (!state.cursor) { text.textContent = "\u00a0"; return; }
        const [x, y] = state.cursor;
        context.strokeStyle = COLOURS[i % COLOURS.length]; context.lineWidth = 1;
        context.beginPath();
        context.moveTo(left + (x + 0.5) * scale, 0); context.lineTo(left + (x + 0.5) * scale, canvas.height);
        context.moveTo(0, top + (y + 0.5) * scale); context.lineTo(canvas.width, top + (y + 0.5) * scale);
        context.stroke();
        text.textContent = viewer.number(image.values[y * width + x]) + (item.unit ? " " + item.unit : "");
      });
      const [x, y] = state.cursor || [Math.floor(first().shape[1] / 2), Math.floor(first().shape[0] / 2)];
      const bin = item.bin > 1 ? `, each the mean of ${item.bin} \u00d7 ${item.bin}` : "";
      place.textContent = `x ${x * item.bin + item.first[1]}, y ${y * item.bin + item.first[0]}${bin}`;
      const rows = item.images.map((image, i) => image && {
        values: image.values.subarray(y * image.shape[1], (y + 1) * image.shape[1]), colour: COLOURS[i % COLOURS.length],
      }).filter(Boolean);
      viewer.chart(profile, rows, item.shown[0], item.shown[1], x, item.bin);
    }
    function choose(index) {
      state.contrast = index;
      const item = contrast();
      item.shown = item.shown || [...item.range];
      for (const [input, value] of [[low, item.shown[0]], [high, item.shown[1]]]) {
        const span = item.range[1] - item.range[0] || 1;
        Object.assign(input, { min: item.range[0] - span, max: item.range[1] + span, step: span / 500, value });
      }
      section.querySelector(".unit").textContent = item.unit;
      if (state.cursor) state.cursor = [Math.min(state.cursor[0], first().shape[1] - 1), Math.min(state.cursor[1], first().shape[0] - 1)];
      render();
    }
    function at(canvas, event) {
      const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) * ratio - canvas.left) / canvas.scale);
      const y = Math.floor(((event.clientY - box.top) * ratio - canvas.top) / canvas.scale);
      const [height, width] = first().shape;
      return x >= 0 && y >= 0 && x < width && y < height ? [x, y] : null;
    }
    function zoom(canvas, factor) {
      const least = whole(canvas), scale = Math.min(40, (state.zoom || least) * factor);
      const [height, width] = first().shape, [x, y] = state.cursor || [width / 2, height / 2];
      if (scale <= least) { state.zoom = 0; } else {
        if (!state.zoom) { state.x = x; state.y = y; }
        state.zoom = scale;
      }
      draw();
    }
    function move(dx, dy) {
      const [height, width] = first().shape;
      const [x, y] = state.cursor || [Math.floor(width / 2), Math.floor(height / 2)];
      state.cursor = [Math.max(0, Math.min(width - 1, x + dx)), Math.max(0, Math.min(height - 1, y + dy))];
      if (state.zoom) [state.x, state.y] = state.cursor;
      draw();
    }
    panes.forEach((pane) => {
      const canvas = pane.querySelector("canvas");
      let drag = null;
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault(); state.cursor = at(canvas, event) || state.cursor; zoom(canvas, event.deltaY < 0 ? 1.25 : 0.8);
      }, { passive: false });
      canvas.addEventListener("pointerdown", (event) => { drag = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
      canvas.addEventListener("pointerup", () => { drag = null; });
      canvas.addEventListener("pointermove", (event) => {
        if (drag && state.zoom) {
          const ratio = window.devicePixelRatio || 1;
          state.x -= ((event.clientX - drag[0]) * ratio) / state.zoom; state.y -= ((event.clientY - drag[1]) * ratio) / state.zoom;
          drag = [event.clientX, event.clientY];
        }
        state.cursor = at(canvas, event) || state.cursor;
        draw();
      });
      canvas.addEventListener("keydown", (event) => {
        const step = event.shiftKey ? 10 : 1;
        const act = { ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step),
          ArrowDown: () => move(0, step), "+": () => zoom(canvas, 1.25), "-": () => zoom(canvas, 0.8), 0: () => { state.zoom = 0; draw(); } }[event.key];
        if (act) { event.preventDefault(); act(); }
      });
    });
    choice.addEventListener("change", () => choose(choice.selectedIndex));
    for (const input of [low, high]) input.addEventListener("input", () => {
      contrast().shown = [Math.min(+low.value, +high.value), Math.max(+low.value, +high.value)]; render();
    });
    section.querySelector("button.reset").addEventListener("click", () => {
      contrast().shown = [...contrast().range]; state.zoom = 0; choose(state.contrast);
    });
    window.addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    choose(0);
  }
  document.body.dataset.ready = "yes";
})();
