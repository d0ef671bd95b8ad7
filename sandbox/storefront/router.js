// Which view a path shows. Links of the shop change the page without loading it anew.

import { focusMain } from "./dom.js";

const routes = [];
let current = null;

/** `/orders/:number` shows what `view({params, query, signal, title})` returns. */
export function route(pattern, view) {
  const names = [...pattern.matchAll(/:(\w+)/g)].map(([, name]) => name);
  routes.push({ names, view, path: new RegExp(`^${pattern.replace(/:\w+/g, "([^/]+)")}/?$`) });
}

export function start({ root, missing, shown }) {
  current = { root, missing, shown };
  addEventListener("popstate", () => render({ isFirst: false }));
  document.addEventListener("click", follow);
  render({ isFirst: true });
}

export function navigate(url, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  render({ isFirst: false });
  scrollTo(0, 0);
}

function follow(event) {
  const link = event.target.closest("a");
  const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !isPlain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  if (link.origin !== location.origin || "outside" in link.dataset || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  navigate(link.href);
}

function render({ isFirst }) {
  current.leaving?.abort();
  const leaving = (current.leaving = new AbortController());
  const [view, params] = found(location.pathname) ?? [current.missing, {}];
  const title = (text) => (document.title = `${text} · Orderkeep`);
  const context = { params, query: new URLSearchParams(location.search), signal: leaving.signal, title };
  current.root.replaceChildren(...[view(context)].flat(3).filter(Boolean));
  if (!isFirst) focusMain(); // readers hear that the page is another
  current.shown();
}

function found(path) {
  for (const { path: pattern, names, view } of routes) {
    const match = pattern.exec(path);
    if (!match) continue;
    try {
      return [view, Object.fromEntries(names.map((name, at) => [name, decodeURIComponent(match[at + 1])]))];
    } catch {
      return null; // a path that is no text
    }
  }
  return null;
}
