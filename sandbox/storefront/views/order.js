// One order: how it stands, what may be done about it; it follows an order that is not decided.

import { call, download, get, isLoggedIn, maybe, post } from "../api.js";
import { announce, busy, empty, field, h, later, lines, trouble } from "../dom.js";
import { day, decline, moment, money, words } from "../format.js";
import { navigate } from "../router.js";
import { attempt, cart, forgetAttempt, forgetCart, guestQuery, guestToken, keepGuestToken, loadCart, orderAgain, pause } from "../store.js";
import { addressLines } from "./address.js";
import { totals } from "./totals.js";

const PAUSES = [1, 2, 3, 5, 8, 13, 20, 30]; // seconds between two looks at an undecided order
const STEPS = ["pending", "confirmed", "shipped", "delivered"];
const STEP_NAMES = { pending: "Placed", confirmed: "Paid", shipped: "Shipped", delivered: "Delivered" };

export function order({ params, query, title, signal }) {
  const number = params.number;
  title(`Order ${number}`);
  keepGuestToken(number, query.get("token"));
  const isBack = query.has("redirect_status") || query.has("payment_intent");
  // Neither a guest's key nor the provider's stay in the address bar or the history.
  if (location.search) history.replaceState(null, "", location.pathname);
  const path = (rest = "") => `/orders/${encodeURIComponent(number)}${rest}${guestQuery(number)}`;
  const place = h("div");
  const load = async () => {
    if (!isLoggedIn() && !guestToken(number)) return null;
    try {
      return await get(path(), { signal });
    } catch (error) {
      if (error.status === 404 || error.status === 401) return null;
      throw error;
    }
  };
  return later(load, (found) => {
    if (!found) return unknown(number);
    const view = follow({ found, place, path, signal, title });
    view.draw();
    if (found.status === "pending") view.start({ confirm: isBack || found.payment_status === "requires_action" });
    return place;
  }, lines(10));
}

function unknown(number) {
  return empty(
    "We cannot show this order",
    "Log in to see the orders of your account. If you ordered as a guest, use the link in your e-mail.",
    h("a", { href: `/account/login?next=/orders/${encodeURIComponent(number)}`, class: "button primary" }, "Log in"),
    h("a", { href: "/", class: "button" }, "Go to the shop"),
  );
}

/** Keeps an order's page up to date. */
function follow({ found, place, path, signal, title }) {
  let order = found;
  let bank = null; // where the shopper is wanted
  let trouble_ = null;

  function draw() {
    title(`Order ${order.order_number}`);
    place.replaceChildren(...page({ order, bank, failure: trouble_, path, update }).filter(Boolean));
  }

  function update(fresh) {
    const isNews = fresh.status !== order.status || fresh.payment_status !== order.payment_status;
    order = fresh;
    settle(order);
    draw();
    if (isNews) announce(headline(order)[0]);
  }

  /** Ask the shop to look at the payment; true if the bank waits for the shopper. */
  async function confirm() {
    try {
      const { body } = await call("POST", path("/confirm"), { body: {}, signal });
      bank = null;
      update(body);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (error.code === "PAYMENT_REQUIRES_ACTION") bank = error.details.next_action?.redirect_to_url?.url ?? null;
      else if (error.status === 402 || error.code === "INVALID_TRANSITION") {
        bank = null;
        if (error.code === "CARD_DECLINED") trouble_ = decline(error.details.decline_code);
        update(await get(path(), { signal }));
        return;
      }
      draw(); // anything else is asked again by and by
    }
  }

  async function start({ confirm: ask }) {
    try {
      if (ask) await confirm();
      for (let tried = 0; order.status === "pending"; tried += 1) {
        await pause(PAUSES[Math.min(tried, PAUSES.length - 1)]);
        if (signal.aborted) return;
        if (document.hidden) continue;
        await get(path(), { signal }).then(update, (error) => {
          if (error.name === "AbortError") throw error;
        });
        if (order.payment_status !== "requires_action" && bank) bank = null;
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  settle(order);
  return { draw, start };
}

/** The cart of an order that was paid is over; that of a cancelled one is free again. */
function settle(order) {
  if (order.status === "pending") return;
  if (attempt() && JSON.parse(attempt().body).cart_id === cart.now?.id) forgetAttempt();
  loadCart().then((found) => {
    if (found?.order_number === order.order_number) forgetCart();
  }, () => null);
}

// --- what is shown ------------------------------------------------------------------------------

function headline(order) {
  if (order.status === "pending") {
    if (order.payment_status === "requires_action") return ["Your bank wants to hear from you", "Confirm the payment with your bank. Your things are kept for you meanwhile."];
    if (order.payment_status === "processing") return ["Your payment is on its way", "A bank debit takes a few days. We will write to you; you may close this page."];
    return ["Your order is being processed", "The payment is being made. This page follows it by itself."];
  }
  return {
    confirmed: ["Thank you, your order is confirmed", "We have sent you an e-mail."],
    processing: ["Your order is being packed", "It leaves soon."],
    shipped: ["Your order is on its way", ""],
    delivered: ["Your order was delivered", "Enjoy."],
    cancelled: order.payment_status === "refunded" || order.payment_status === "succeeded"
      ? ["This order was cancelled", "The money goes back to where it came from."]
      : ["This order was cancelled", "You were not charged. Your cart can be ordered again."],
    refunded: ["This order was refunded", ""],
  }[order.status] ?? [words(order.status), ""];
}

function page({ order, bank, failure, path, update }) {
  const [title, text] = headline(order);
  const said = h("div");
  return [
    h("p", { class: "hint" }, `Order ${order.order_number} · ${moment(order.created_at)}`),
    h("h1", {}, title),
    text && h("p", { class: "prose" }, text),
    failure && h("p", { class: "notice bad", role: "alert" }, failure),
    bank && order.status === "pending" && h("p", {}, h("a", { href: bank, class: "button primary", "data-outside": true }, "Continue to your bank")),
    steps(order),
    h(
      "div",
      { class: "split" },
      h(
        "div",
        {},
        h("h2", {}, "What you ordered"),
        h("ul", { class: "lines" }, ...order.items.map((item) => h("li", {}, h("div", { class: "what" }, h("a", { href: `/p/${encodeURIComponent(item.sku)}` }, item.product_name), h("span", { class: "hint" }, `${item.quantity} × ${money(item.unit_price, order.currency)}`)), h("span", { class: "price" }, money(item.total_price, order.currency))))),
        parcels(order),
        timeline(order, path),
        returnForm(order, path),
      ),
      h(
        "section",
        { class: "panel", "aria-label": "Total and delivery" },
        totals(order, { label: order.status === "confirmed" ? "Paid" : "Total" }),
        h("p", { class: "hint" }, `Payment: ${words(order.payment_status).toLowerCase()}`),
        h("h2", {}, "Delivery"),
        addressLines(order.shipping_address),
        order.estimated_delivery && ["pending", "confirmed", "processing", "shipped"].includes(order.status) && h("p", {}, `Expected by ${day(order.estimated_delivery)}`),
        order.notes && h("p", { class: "hint" }, `“${order.notes}”`),
        said,
        actions(order, path, update, said),
      ),
    ),
  ];
}

function steps(order) {
  if (order.status === "cancelled" || order.status === "refunded") return null;
  const at = STEPS.indexOf(order.status === "processing" ? "confirmed" : order.status);
  return h("ol", { class: "steps", "aria-label": "Progress" }, ...STEPS.map((step, place) => h("li", { class: place <= at ? "done" : "", "aria-current": place === at ? "step" : null }, STEP_NAMES[step])));
}

function parcels(order) {
  if (!order.shipments.length) return null;
  return [
    h("h2", {}, "Parcels"),
    h("ul", { class: "plain-list" }, ...order.shipments.map((parcel) => h("li", {}, `${parcel.carrier}, `, /^https:\/\//.test(parcel.tracking_url ?? "") ? h("a", { href: parcel.tracking_url, rel: "noreferrer" }, parcel.tracking_number) : parcel.tracking_number))),
  ];
}

/** What happened when, where the shop tells. */
function timeline(order, path) {
  const place = h("div");
  maybe(path("/timeline")).then((found) => {
    const told = found.results.map(({ at, event }) => h("li", {}, h("span", {}, words(event)), " ", h("time", { class: "hint", datetime: at }, moment(at))));
    place.append(h("h2", {}, "History"), h("ol", { class: "plain-list" }, ...told));
  }, () => null);
  return place;
}

function actions(order, path, update, said) {
  const button = (text, work) => {
    const element = h("button", { type: "button", class: "wide" }, text);
    const run = async () => {
      try {
        await work(element);
      } catch (error) {
        said.replaceChildren(trouble(error));
      }
    };
    element.addEventListener("click", () => busy(element, run));
    return element;
  };
  const isOpen = ["pending", "confirmed", "processing"].includes(order.status);
  return h(
    "div",
    { class: "actions" },
    isLoggedIn() && guestToken(order.order_number) && order.guest_token && button("Add it to my account", async () => update(await post(path("/claim").split("?")[0], { guest_token: guestToken(order.order_number) }))),
    order.status !== "pending" && button("Order the same again", async () => {
      await orderAgain(order.order_number);
      navigate("/cart");
    }),
    !["pending", "cancelled"].includes(order.status) && button("Invoice (PDF)", async (element) => {
      try {
        await download(path("/invoice"), `invoice-${order.order_number}.pdf`);
      } catch (error) {
        if (error.status === 404 || error.status === 405) element.remove();
        throw error;
      }
    }),
    isOpen && cancelling(order, path, update, said),
  );
}

/** Asked twice: there is no way back. */
function cancelling(order, path, update, said) {
  const ask = h("button", { type: "button", class: "plain wide" }, "Cancel this order");
  ask.addEventListener("click", () => {
    const yes = h("button", { type: "button", class: "danger" }, "Yes, cancel it");
    const no = h("button", { type: "button", onclick: () => said.replaceChildren() }, "Keep it");
    yes.addEventListener("click", () =>
      busy(yes, async () => {
        try {
          update(await post(path("/cancel"), {}));
        } catch (error) {
          said.replaceChildren(trouble(error));
        }
      }),
    );
    said.replaceChildren(h("div", { class: "notice", role: "group", "aria-label": "Cancel this order?" }, h("p", {}, "Cancel this order? What was paid goes back to you."), yes, no));
    yes.focus();
  });
  return ask;
}

function returnForm(order, path) {
  if (order.status !== "delivered" && order.status !== "shipped") return null;
  const quantities = order.items.map((item) => field(`How many of ${item.product_name} (${item.quantity})`, { type: "number", min: 0, max: item.quantity, value: 0, required: true }));
  const reason = field("Why", { required: true, maxlength: 200 });
  const button = h("button", {}, "Ask for the return");
  const said = h("div", { role: "status" });
  const ask = async () => {
    const items = order.items.map(({ sku }, at) => ({ sku, quantity: Number(quantities[at].input.value) })).filter(({ quantity }) => quantity);
    if (!items.length) return said.replaceChildren(h("p", { class: "notice" }, "Choose what you want to send back."));
    try {
      await post(path("/returns"), { items, reason: reason.input.value });
      element.replaceChildren(h("p", { class: "notice good" }, "We have your request and will write to you."));
    } catch (error) {
      if (error.status === 405 || (error.status === 404 && error.code === "NOT_FOUND")) element.remove();
      else said.replaceChildren(trouble(error));
    }
  };
  const submit = (event) => {
    event.preventDefault();
    busy(button, ask);
  };
  const element = h("details", {}, h("summary", {}, "Send something back"), h("form", { onsubmit: submit }, ...quantities.map((each) => each.element), reason.element, button, said));
  return element;
}
