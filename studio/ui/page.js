// The page's own behaviour: light and dark, copying links, links that press a button of the page.
(() => {
  const KEY = "likeness-studio-look";
  const setLook = (dark) => {
    document.documentElement.classList.toggle("dark", dark);
    document.body.classList.toggle("dark", dark);
  };
  const stored = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const asked = new URLSearchParams(location.search).get("__theme");

  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // Plain http on a local network has no clipboard interface.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };

  // Hands a value to the server through a hidden textbox and its hidden button.
  const send = (channel, value) => {
    const box = document.querySelector(`#${channel}-value textarea, #${channel}-value input`);
    const button = document.querySelector(`#${channel}-go`);
    if (!box || !button) return;
    const proto = box.tagName === "TEXTAREA" ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
    Object.getOwnPropertyDescriptor(proto, "value").set.call(box, value);
    box.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => button.click(), 60);
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-ls]");
    if (!target) return;
    const { ls, value = "", channel = "", confirm: question = "" } = target.dataset;
    if (ls === "look") {
      const dark = !document.body.classList.contains("dark");
      try { localStorage.setItem(KEY, dark ? "dark" : "light"); } catch { /* private window */ }
      setLook(dark);
    } else if (ls === "copy") {
      const field = target.parentElement.querySelector("input");
      copy(field.value).then(() => {
        const before = target.textContent;
        target.textContent = "Copied";
        setTimeout(() => { target.textContent = before; }, 1400);
      });
    } else if (ls === "press") {
      document.querySelector(`#${value}`)?.click();
    } else if (ls === "send") {
      if (!question || window.confirm(question)) send(channel, value);
    }
  });

  // Links to a run are made by the server as paths; the reader needs them whole.
  const complete = (root) => {
    root.querySelectorAll?.("input[data-path]").forEach((field) => {
      const base = location.origin + location.pathname.replace(/\/$/, "");
      const whole = base + field.dataset.path;
      if (field.value !== whole) field.value = whole;
    });
  };

  // The clock of a running job goes on between the server's updates.
  const seen = new WeakMap();
  const clock = (seconds) => {
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
    const two = (n) => String(n).padStart(2, "0");
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };
  const tick = () => {
    document.querySelectorAll("[data-elapsed]").forEach((field) => {
      const told = field.dataset.elapsed;
      if (seen.get(field)?.told !== told) seen.set(field, { told, at: performance.now() });
      field.textContent = clock(Number(told) + (performance.now() - seen.get(field).at) / 1000);
    });
  };

  const start = () => {
    setInterval(tick, 1000);
    const look = asked || stored();
    if (look === "dark" || look === "light") setLook(look === "dark");
    complete(document);
    new MutationObserver(() => complete(document)).observe(document.body, { childList: true, subtree: true });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
