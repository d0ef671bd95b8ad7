// The cart: its lines, what has changed since, its coupon and its total.

import { ApiError } from "../api.js";
import { action, announce, empty, field, focusMain, h, later, lines, notice, sent, trouble } from "../dom.js";
import { coupon, money } from "../format.js";
import { attempt, cart, forgetCart, loadCart, setCoupon, setItem } from "../store.js";
import { tile } from "./catalogue.js";
import { totals } from "./totals.js";

export function cartView({ title }) {
  title("Cart");
  const place = h("div");
  const draw = () => place.replaceChildren(...shown(cart.now, draw).filter(Boolean));
  return [
    h("h1", {}, "Your cart"),
    attempt() && notice("", "An order is still being finished. ", h("a", { href: "/checkout" }, "Go on with it")),
    later(loadCart, () => {
      draw();
      return place;
    }, lines(6)),
  ];
}

function shown(found, draw) {
  if (found?.order_number) return [ordered(found, draw)];
  const gone = found?.problems.filter(({ code }) => code === "gone") ?? [];
  if (!found?.items.length && !gone.length) {
    return [empty("Your cart is empty", "Good things are waiting on the shelves.", h("a", { href: "/", class: "button" }, "Start shopping"))];
  }
  const problems = h("div", { "aria-live": "polite" }, ...found.problems.map((problem) => told(problem, found, draw)));
  const has = (...codes) => found.problems.some(({ code }) => codes.includes(code));
  const isOrderable = found.items.length && !has("gone", "short", "not_priceable");
  return [
    problems,
    h(
      "div",
      { class: "split" },
      h("ul", { class: "lines" }, ...found.items.map((item) => line(item, found, draw))),
      h(
        "section",
        { class: "panel", "aria-label": "Total" },
        couponForm(found, draw),
        found.items.length > 0 && !has("not_priceable") && totals(found),
        h("p", { class: "hint" }, "Tax and shipping are worked out for your address at the checkout."),
        isOrderable
          ? h("a", { href: "/checkout", class: "button primary wide" }, "Go to checkout")
          : notice("", "Change what cannot be delivered, then go to the checkout."),
      ),
    ),
  ];
}

function ordered(found, draw) {
  return empty(
    "This cart has been ordered",
    "Its order may still be waiting for the payment.",
    h("a", { href: `/orders/${found.order_number}`, class: "button primary" }, `See order ${found.order_number}`),
    h("button", { type: "button", onclick: () => { forgetCart(); draw(); } }, "Start a new cart"),
  );
}

function told(problem, found, draw) {
  const name = found.items.find(({ sku }) => sku === problem.sku)?.product_name ?? problem.sku;
  const set = (text, quantity) => action(text, () => change(problem.sku, quantity, draw), {});
  const [text, action] = {
    gone: () => [`${name} is no longer sold.`, set("Remove it", 0)],
    short: () => [`${name}: only ${problem.available} of ${problem.requested} can be delivered.`, set(problem.available ? `Take ${problem.available}` : "Remove it", problem.available)],
    price_changed: () => [`${name} cost ${money(problem.old_price, found.currency)} and is now ${money(problem.new_price, found.currency)}.`, null],
    coupon_invalid: () => [coupon(problem.reason), null],
    not_priceable: () => [problem.reason === "not_shipped" ? "We do not ship in this currency." : "This is too much for one order. Take something out.", null],
  }[problem.code]?.() ?? ["Something in your cart has changed.", null];
  return h("div", { class: "notice" }, h("p", {}, text), action);
}

async function change(sku, quantity, draw) {
  try {
    await setItem(sku, quantity);
    draw();
  } catch (error) {
    draw();
    document.querySelector(".lines")?.before(trouble(error));
  }
}

function line(item, found, draw) {
  const quantity = field(`Quantity of ${item.product_name}`, { type: "number", min: 0, max: 9_999, value: item.quantity, required: true, inputmode: "numeric" });
  quantity.element.classList.add("bare");
  quantity.input.addEventListener("change", async () => {
    if (!quantity.input.reportValidity()) return;
    await change(item.sku, Number(quantity.input.value), draw);
  });
  const remove = async () => {
    await change(item.sku, 0, draw);
    announce(`${item.product_name} was removed`);
    focusMain();
  };
  return h(
    "li",
    {},
    tile(item.product_name),
    h("div", { class: "what" }, h("a", { href: `/p/${encodeURIComponent(item.sku)}` }, item.product_name), h("span", { class: "hint" }, `${money(item.unit_price, found.currency)} each`)),
    quantity.element,
    h("span", { class: "price" }, money(item.total_price, found.currency)),
    action("Remove", remove, { class: "plain", "aria-label": `Remove ${item.product_name}` }),
  );
}

function couponForm(found, draw) {
  if (found.coupon_code) {
    const said = h("span");
    const remove = async () => (await setCoupon(null), draw());
    return h("p", { class: "coupon" }, h("span", {}, "Coupon ", h("strong", {}, found.coupon_code)), action("Remove", remove, { said, class: "plain" }), said);
  }
  const code = field("Coupon", { plain: true, name: "coupon", maxlength: 50, autocomplete: "off", autocapitalize: "characters" });
  const button = h("button", {}, "Apply");
  const use = async () => {
    if (!code.input.value.trim()) return;
    try {
      await setCoupon(code.input.value.trim());
      draw();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      code.error(error.code === "COUPON_INVALID" ? coupon(error.details.reason) : error.message);
    }
  };
  return h("form", { class: "inline", onsubmit: sent(button, use) }, code.element, button);
}
