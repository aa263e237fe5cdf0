// The figure of a drawing with a handle on every joint. Dragging by mouse, pen or finger and the arrow keys move a
// joint; when it is let go, the event "input" carries all places (pixels of the drawing) to the server.
const SVG = "http://www.w3.org/2000/svg";
const NEAR = 30; // pixels on screen: of several handles so close together, the nearest one is meant
const STEP = 0.005, LARGE_STEP = 0.03; // of the drawing's longer side that an arrow key moves, alone and with Shift
const stage = element.querySelector(".joint-stage");
let shown, places, parts, held = null, settle = 0;

function made(parent, name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}

function draw() {
  shown = props.value && JSON.parse(JSON.stringify(props.value)); // without the page's watching proxies
  stage.replaceChildren();
  held = null;
  if (!shown) return;
  const { width, height, picture } = shown;
  stage.setAttribute("viewBox", `0 0 ${width} ${height}`);
  stage.style.aspectRatio = `${width} / ${height}`;
  made(stage, "image", { href: picture, width, height });
  places = { ...shown.joints };
  parts = {};
  const bones = made(stage, "g", { class: "joint-bones" });
  for (const [name, parent] of Object.entries(shown.parents)) {
    const kinds = parent ? ["joint-bone-rim", "joint-bone"] : [];
    parts[name] = { parent, bones: kinds.map((kind) => made(bones, "line", { class: kind })) };
  }
  for (const name of shown.handles) {
    const words = name.replace("_", " ");
    const side = name.split("_")[0];
    const kind = side === "left" || side === "right" ? side : "middle";
    const group = made(stage, "g", {
      class: `joint-handle joint-${kind}`, tabindex: 0, role: "button", "data-joint": name,
      "aria-label": `${words}: drag it, or move it with the arrow keys`,
    });
    made(group, "circle", { class: "joint-reach" });
    made(group, "circle", { class: "joint-dot" });
    made(group, "text", { class: "joint-name" }).textContent = words;
    parts[name].group = group;
  }
  place();
}

// Sizes of handles and letters are pixels on screen, whatever the drawing's own size.
function place() {
  if (!shown || !stage.clientWidth) return;
  const unit = shown.width / stage.clientWidth;
  for (const [name, { parent, bones, group }] of Object.entries(parts)) {
    const [x, y] = places[name];
    for (const bone of bones) {
      const [px, py] = places[parent];
      for (const [key, value] of Object.entries({ x1: x, y1: y, x2: px, y2: py })) bone.setAttribute(key, value);
      bone.setAttribute("stroke-width", (bone.classList.contains("joint-bone") ? 2.5 : 5.5) * unit);
    }
    if (!group) continue;
    group.setAttribute("transform", `translate(${x} ${y}) scale(${unit})`);
    const label = group.querySelector("text");
    const left = x > shown.width * 0.7;
    label.setAttribute("x", left ? -14 : 14);
    label.setAttribute("y", y < shown.height * 0.06 ? 20 : -8);
    label.setAttribute("text-anchor", left ? "end" : "start");
  }
}

function under(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(stage.getScreenCTM().inverse());
  return [at.x, at.y];
}

function move(name, x, y) {
  const to = [Math.min(Math.max(x, 0), shown.width), Math.min(Math.max(y, 0), shown.height)];
  for (const each of shown.together.includes(name) ? shown.together : [name]) places[each] = to;
  place();
}

function tell(name) {
  trigger("input", { moved: name, joints: places });
}

stage.addEventListener("pointerdown", (event) => {
  const pressed = event.target.closest(".joint-handle");
  if (!pressed || event.button) return;
  event.preventDefault();
  const [x, y] = under(event);
  const far = (name) => Math.hypot(places[name][0] - x, places[name][1] - y);
  const near = shown.handles.filter((name) => far(name) < (NEAR * shown.width) / stage.clientWidth);
  const name = near.sort((a, b) => far(a) - far(b))[0] ?? pressed.dataset.joint;
  held = { name, pointer: event.pointerId, offset: [places[name][0] - x, places[name][1] - y], from: places[name] };
  stage.append(parts[name].group); // on top of its neighbours
  parts[name].group.classList.add("held");
  parts[name].group.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
});

// A finger on a handle must not scroll the page; browsers heed touch-action on parts of an SVG unevenly.
stage.addEventListener(
  "touchstart",
  (event) => event.target.closest(".joint-handle") && event.preventDefault(),
  { passive: false },
);

stage.addEventListener("pointermove", (event) => {
  if (held?.pointer !== event.pointerId) return;
  const [x, y] = under(event);
  move(held.name, x + held.offset[0], y + held.offset[1]);
});

function release(event, keep) {
  if (held?.pointer !== event.pointerId) return;
  const { name, from } = held;
  held = null;
  parts[name].group.classList.remove("held");
  if (!keep) move(name, ...from);
  else if (Math.hypot(places[name][0] - from[0], places[name][1] - from[1]) > 0.5) tell(name);
}
stage.addEventListener("pointerup", (event) => release(event, true));
stage.addEventListener("pointercancel", (event) => release(event, false));

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
stage.addEventListener("keydown", (event) => {
  const name = event.target.closest(".joint-handle")?.dataset.joint;
  const arrow = ARROWS[event.key];
  if (!name || !arrow || held) return;
  event.preventDefault();
  const step = (event.shiftKey ? LARGE_STEP : STEP) * Math.max(shown.width, shown.height);
  move(name, places[name][0] + arrow[0] * step, places[name][1] + arrow[1] * step);
  clearTimeout(settle);
  settle = setTimeout(() => tell(name), 400);
});

watch("value", draw);
new ResizeObserver(place).observe(stage);
draw();
