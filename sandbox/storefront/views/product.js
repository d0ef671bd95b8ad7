// One product.

import { get } from "../api.js";
import { empty, field, h, later, lines, notice, sent, trouble } from "../dom.js";
import { money, words } from "../format.js";
import { addItem } from "../store.js";
import { ancestors, breadcrumbs, categories, picture } from "./catalogue.js";

const FEW = 10; // from here on the number that is left is told

export function product({ params, title, signal }) {
  title("Product");
  const load = async () => {
    try {
      return await get(`/products/${encodeURIComponent(params.sku)}`, { signal });
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  };
  return later(load, (found) => {
    if (!found) return empty(h("h1", {}, "We do not sell this"), "It may have left the shop.", h("a", { href: "/search", class: "button" }, "See everything"));
    title(found.name);
    return shown(found);
  }, lines(8));
}

function shown(product) {
  const crumbs = h("div", {}, breadcrumbs([], product.name));
  categories().then((found) => {
    const here = found.find(({ slug }) => slug === product.category);
    crumbs.replaceChildren(breadcrumbs(ancestors(here, found), product.name));
  }, () => null);
  return [
    crumbs,
    h(
      "article",
      { class: "product" },
      picture(product, { large: true }),
      h(
        "div",
        {},
        h("h1", {}, product.name),
        h("p", { class: "price big" }, money(product.price, product.currency)),
        h("p", { class: product.in_stock ? "stock" : "stock out" }, availability(product)),
        product.description && h("p", { class: "prose" }, product.description),
        product.in_stock && buyForm(product),
        facts(product),
      ),
    ),
  ];
}

function availability({ in_stock: inStock, available_quantity: available }) {
  if (!inStock) return "Sold out";
  return available <= FEW ? `Only ${available} left` : "In stock";
}

function buyForm(product) {
  const quantity = field("Quantity", { type: "number", min: 1, max: Math.min(9_999, product.available_quantity), value: 1, required: true, inputmode: "numeric" });
  const button = h("button", { class: "primary" }, "Add to cart");
  const said = h("div", { role: "status" });
  const add = async () => {
    try {
      await addItem(product.sku, Number(quantity.input.value));
      said.replaceChildren(notice("good", "It is in your cart. ", h("a", { href: "/cart" }, "Go to the cart")));
    } catch (error) {
      said.replaceChildren(trouble(error));
    }
  };
  return h("form", { class: "buy", onsubmit: sent(button, add) }, quantity.element, button, said);
}

function facts(product) {
  const rows = [["Article", product.sku], ...Object.entries(product.attributes ?? {}).map(([name, value]) => [words(name), String(value)])];
  return h("dl", { class: "facts" }, ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
