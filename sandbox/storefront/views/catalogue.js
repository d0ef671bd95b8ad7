// Browsing: the first page, a category, a search.

import { all, get } from "../api.js";
import { action, announce, empty, h, later, lines } from "../dom.js";
import { money } from "../format.js";
import { navigate } from "../router.js";
import { addItem } from "../store.js";

const PAGE = 24;
const ORDERINGS = { name: "Name", price: "Price: low to high", "-price": "Price: high to low", "-created_at": "Newest" };

let known = null;

/** All categories, asked for once a visit. */
export function categories() {
  known ??= all("/categories").catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

export function home({ title, signal }) {
  title("Groceries");
  return [
    h(
      "section",
      { class: "hero" },
      h("h1", {}, "Groceries, kept in order."),
      h("p", {}, "Every paid order arrives once: never lost, never doubled, never oversold."),
      h("a", { href: "/search", class: "button" }, "See everything"),
    ),
    h("h2", { id: "shelves" }, "Shelves"),
    later(categories, (found) => shelves(found.filter((category) => !category.parent)), lines(12, "shelves")),
    h("h2", {}, "Ready to ship"),
    listing({ query: { in_stock: "true", ordering: "-created_at" }, signal, more: false }),
  ];
}

export function shelves(found) {
  return h("ul", { class: "shelves" }, ...found.map((category) => h("li", {}, h("a", { href: `/c/${encodeURIComponent(category.slug)}` }, tile(category.name), category.name))));
}

export function category({ params, query, title, signal }) {
  const heading = h("h1", {}, "…");
  const crumbs = h("div", {}, breadcrumbs([]));
  const below = h("div");
  categories().then((found) => {
    const here = found.find(({ slug }) => slug === params.slug);
    heading.textContent = here?.name ?? params.slug;
    title(heading.textContent);
    crumbs.replaceChildren(breadcrumbs(ancestors(here, found).slice(0, -1), heading.textContent));
    const children = found.filter(({ parent }) => parent === params.slug);
    if (children.length) below.replaceChildren(shelves(children));
  }, () => (heading.textContent = params.slug));
  title(params.slug);
  return [crumbs, heading, below, sorted({ category: params.slug }, query, signal)];
}

/** From the root to this category. */
export function ancestors(here, found) {
  const path = [];
  for (let each = here; each && !path.includes(each); each = found.find(({ slug }) => slug === each.parent)) path.unshift(each);
  return path;
}

export function breadcrumbs(path, here) {
  return h(
    "nav",
    { "aria-label": "Breadcrumbs", class: "crumbs" },
    h("ol", {}, h("li", {}, h("a", { href: "/" }, "Shop")), ...path.map(({ slug, name }) => h("li", {}, h("a", { href: `/c/${encodeURIComponent(slug)}` }, name))), here && h("li", { "aria-current": "page" }, here)),
  );
}

export function search({ query, title, signal }) {
  const text = query.get("q") ?? "";
  title(text ? `“${text}”` : "All products");
  return [h("h1", {}, text ? `“${text}”` : "All products"), sorted(text ? { search: text } : {}, query, signal)];
}

/** A listing with its order and whether only what is there is shown; both stand in the URL. */
function sorted(wanted, query, signal) {
  const change = (name, value) => {
    const changed = new URLSearchParams(query);
    if (value) changed.set(name, value);
    else changed.delete(name);
    navigate(`${location.pathname}?${changed}`, { replace: true });
  };
  // By name unless asked otherwise; what was searched for, best first.
  const orderings = { ...(wanted.search ? { "": "Best match" } : {}), ...ORDERINGS };
  const ordering = orderings[query.get("sort")] ? query.get("sort") : Object.keys(orderings)[0];
  const select = h("select", { id: "sort", onchange: (event) => change("sort", event.target.value) }, ...Object.entries(orderings).map(([value, name]) => h("option", { value }, name)));
  select.value = ordering;
  const stocked = h("input", { id: "stocked", type: "checkbox", checked: query.has("stocked"), onchange: (event) => change("stocked", event.target.checked ? "1" : "") });
  return [
    h("div", { class: "tools" }, h("label", { for: "sort" }, "Sort by"), select, stocked, h("label", { for: "stocked" }, "In stock only")),
    listing({ query: { ...wanted, ...(ordering && { ordering }), ...(query.has("stocked") ? { in_stock: "true" } : {}) }, signal, more: true }),
  ];
}

function listing({ query, signal, more }) {
  const grid = h("ul", { class: "grid", "aria-label": "Products" });
  const load = (path) => get(path, { signal });
  const first = `/products?${new URLSearchParams({ ...query, page_size: more ? PAGE : 12 })}`;
  const said = h("div");
  const further = async () => {
    const at = grid.children.length;
    add(await load(next));
    grid.children[at]?.querySelector("a").focus();
  };
  const button = action("Show more", further, { said, class: "more" });
  let next = null;
  const add = (page) => {
    grid.append(...page.results.map(card));
    next = page.next && page.next.slice(page.next.indexOf("/products"));
    button.hidden = !next || !more;
  };
  return later(
    () => load(first),
    (page) => {
      if (!page.results.length) return empty("Nothing found", "Try another word, or look through the shelves.", h("a", { href: "/", class: "button" }, "To the shelves"));
      add(page);
      announce(next ? `The first ${page.results.length} products` : `${page.results.length} products`);
      return [grid, said, button];
    },
    lines(8, "grid"),
  );
}

function card(product) {
  const said = h("div");
  return h(
    "li",
    { class: "card" },
    h("a", { href: `/p/${encodeURIComponent(product.sku)}` }, picture(product), h("span", { class: "name" }, product.name)),
    h("div", { class: "foot" }, h("span", { class: "price" }, money(product.price, product.currency)), product.in_stock ? adder(product, said) : h("span", { class: "hint" }, "Sold out")),
    said,
  );
}

function adder(product, said) {
  const add = async () => {
    await addItem(product.sku, 1);
    said.replaceChildren();
    button.textContent = "Added ✓";
    setTimeout(() => (button.textContent = "Add"), 2_000);
  };
  const button = action("Add", add, { said, class: "add", "aria-label": `Add ${product.name} to the cart` });
  return button;
}

/** The product's picture, or its initials on a colour of its shelf. */
export function picture(product, { large = false } = {}) {
  const url = product.images?.[0]?.url ?? product.image_url;
  if (!url) return tile(product.name, product.category, large);
  const image = h("img", { src: url, alt: "", loading: large ? "eager" : "lazy", decoding: "async", class: "picture" });
  image.addEventListener("error", () => image.replaceWith(tile(product.name, product.category, large)));
  return image;
}

/** Initials on a colour that the same name always has. */
export function tile(name, colour = name, large = false) {
  const initials = name.replace(/[^\p{L}\p{N} ]/gu, "").split(/\s+/).filter(Boolean).slice(0, 2).map((word) => word[0].toUpperCase()).join("");
  const element = h("span", { class: `picture tile${large ? " large" : ""}`, "aria-hidden": "true" }, initials);
  let hue = 7;
  for (const letter of colour) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  element.style.setProperty("--hue", hue);
  return element;
}
