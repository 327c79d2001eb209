// The keyboard: the focus goes from description to description, letters press the buttons of the focused one.
(() => {
  "use strict";
  const visible = (element) => element !== null && element.offsetParent !== null;
  const open = (panel) => visible(panel) && !panel.closest('[class*="leave-active"]'); // not one that is just closing
  const dialog = () => [...document.querySelectorAll(".q-dialog .sw-panel")].filter(open).pop() ?? null;
  const scope = () => dialog() ?? document;
  const texts = () => [...scope().querySelectorAll(".sw-text")].filter(visible);
  const press = (name, root = document) => {
    const found = [...root.querySelectorAll(`[data-act="${name}"]`)].find(visible);
    if (found) found.click();
    return Boolean(found);
  };
  let last = null; // the description that had the focus, where a click took it away

  function focused() {
    const own = document.activeElement && document.activeElement.closest(".sw-text");
    if (own) return own;
    return last && last.isConnected && visible(last) && texts().includes(last) ? last : null;
  }

  function focus(element) {
    if (!element) return;
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest", behavior: "instant" });
  }

  function afterTurn(then) {
    const grid = document.getElementById("sw-grid");
    const turn = grid && grid.dataset.turn;
    const until = Date.now() + 5000;
    const look = () => {
      if (grid && grid.dataset.turn !== turn) setTimeout(then, 60);
      else if (Date.now() < until) setTimeout(look, 40);
    };
    look();
  }

  function step(places) {
    const all = texts();
    const now = all.indexOf(focused());
    const next = now < 0 ? (places > 0 ? 0 : all.length - 1) : now + places;
    if (next >= 0 && next < all.length) return focus(all[next]);
    if (dialog()) return undefined;
    afterTurn(() => focus(places > 0 ? texts()[0] : texts().pop()));
    return press(places > 0 ? "page-next" : "page-previous");
  }

  function row(direction) {
    const own = focused();
    if (!own) return step(direction);
    const from = own.closest(".sw-card");
    if (!from) return step(direction);
    const here = from.getBoundingClientRect();
    const middle = here.left + here.width / 2;
    const rows = [...document.querySelectorAll(".sw-card")].map((card) => ({ card, box: card.getBoundingClientRect() }))
      .filter(({ box }) => (direction > 0 ? box.top >= here.bottom - 1 : box.bottom <= here.top + 1));
    if (!rows.length) {
      afterTurn(() => focus(direction > 0 ? texts()[0] : texts().pop()));
      return press(direction > 0 ? "page-next" : "page-previous");
    }
    const distance = ({ box }) =>
      Math.abs(direction > 0 ? box.top - here.bottom : here.top - box.bottom) * 1000 +
      Math.abs(box.left + box.width / 2 - middle);
    rows.sort((a, b) => distance(a) - distance(b));
    return focus(rows[0].card.querySelector(".sw-text"));
  }

  const act = (name) => () => {
    const own = focused() ?? (dialog() ? texts()[0] : null);
    if (own) {
      focus(own);
      press(name, own);
    }
  };
  const look = () => {
    const card = focused() && focused().closest(".sw-card");
    if (card && !dialog()) press("open", card);
  };
  const search = () => {
    const field = document.querySelector(".sw-search input");
    if (field && !dialog()) {
      field.focus();
      field.select();
    }
  };
  window.swHelp = () => document.querySelector('[data-act="help-open"]').click();
  const turn = (name) => () => dialog() || press(name);
  const sideways = (places, name) => () => (dialog() ? press(name, dialog()) : step(places));
  const keys = {
    j: () => step(1), k: () => step(-1),
    ArrowRight: sideways(1, "image-next"), ArrowLeft: sideways(-1, "image-previous"),
    ArrowDown: () => row(1), ArrowUp: () => row(-1),
    Enter: look, e: act("edit"), r: act("reject"), a: act("ask"), u: act("restore"),
    n: turn("page-next"), p: turn("page-previous"), "/": search, s: turn("summary"), "?": () => dialog() || window.swHelp(),
  };

  document.addEventListener("focusin", (event) => {
    const own = event.target.closest && event.target.closest(".sw-text");
    if (own) last = own;
  });
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (target.closest("input, textarea, select, [contenteditable='true']")) {
      if (event.key === "Escape" && target.closest(".sw-search")) target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && !target.classList.contains("sw-text")) return; // a button is pressed
    const found = keys[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  });
})();
