// One order: how it stands, what may be done about it; it follows an order that is not decided.

import { all, call, download, get, isLoggedIn, post } from "../api.js";
import { action, announce, asked, elements, empty, field, focusMain, h, later, lines, notice, sent, trouble } from "../dom.js";
import { day, decline, messages, moment, money, words } from "../format.js";
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
    h("h1", {}, "We cannot show this order"),
    "Log in to see the orders of your account. If you ordered as a guest, use the link in your e-mail.",
    h("a", { href: `/account/login?next=/orders/${encodeURIComponent(number)}`, class: "button primary" }, "Log in"),
    h("a", { href: "/", class: "button" }, "Go to the shop"),
  );
}

/** Keeps an order's page up to date. */
function follow({ found, place, path, signal, title }) {
  let order = found;
  let bank = null; // where the shopper is wanted
  let failure = null;

  function draw() {
    title(`Order ${order.order_number}`);
    place.replaceChildren(...page({ order, bank, failure, path, update }).filter(Boolean));
  }

  /** Shown anew only where something has changed: whoever is reading or choosing is not disturbed. */
  function update(fresh) {
    if (JSON.stringify(fresh) === JSON.stringify(order) && !failure) return;
    const isNews = fresh.status !== order.status || fresh.payment_status !== order.payment_status;
    order = fresh;
    settle(order);
    draw();
    if (document.activeElement === document.body) focusMain(); // what had it is gone
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
        if (error.code === "CARD_DECLINED") failure = decline(error.details.decline_code);
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

/** The cart of an order counts no more; once it was paid it is over, once cancelled free again. */
function settle(order) {
  const isOpen = order.status === "pending";
  if (!isOpen && attempt() && JSON.parse(attempt().body).cart_id === cart.now?.id) forgetAttempt();
  loadCart().then((found) => {
    if (!isOpen && found?.order_number === order.order_number) forgetCart();
  }, () => null);
}

// --- what is shown ---

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
  return [
    h("p", { class: "hint" }, `Order ${order.order_number} · ${moment(order.created_at)}`),
    h("h1", {}, title),
    text && h("p", { class: "prose" }, text),
    failure && notice("bad", failure),
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
        afterwards(order, path),
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
        actions(order, path, update),
      ),
    ),
  ];
}

const isPaid = (order) => /succeeded|refunded|disputed/.test(order.payment_status);

function steps(order) {
  if (order.status === "cancelled" || order.status === "refunded") return null;
  const at = STEPS.indexOf(order.status === "processing" ? "confirmed" : order.status);
  return h("ol", { class: "steps", "aria-label": "Progress" }, ...STEPS.map((step, place) => h("li", { class: place <= at ? "done" : "", "aria-current": place === at ? "step" : null }, STEP_NAMES[step])));
}

function parcels(order) {
  if (!order.shipments.length) return null;
  return [
    h("h2", {}, "Parcels"),
    h("ul", { class: "rows" }, ...order.shipments.map((parcel) => h("li", {}, h("span", {}, parcel.carrier), /^https:\/\//.test(parcel.tracking_url ?? "") ? h("a", { href: parcel.tracking_url, rel: "noreferrer" }, parcel.tracking_number) : parcel.tracking_number))),
  ];
}

/** What happened when, what goes back, and what the papers say of it. */
function afterwards(order, path) {
  const place = h("div");
  const load = () => Promise.all([get(path("/timeline")), order.shipments.length ? all(path("/returns")) : [], isPaid(order) ? all(path("/documents")) : []]);
  const draw = (thanks) => place.replaceChildren(later(load, ([{ results: events }, returns, documents]) => [
    h("h2", {}, "History"),
    h("ol", { class: "rows" }, ...events.map(({ at, event, data }) => h("li", {}, h("span", {}, words(event), data?.amount && `, ${money(data.amount, data.currency)}`), h("time", { class: "hint", datetime: at }, moment(at))))),
    papers(documents, path),
    sentBack(order, returns),
    thanks,
    ["shipped", "delivered"].includes(order.status) && returnForm(order, returns, path, () => draw(notice("good", "We have your request and will write to you."))),
  ]));
  draw();
  return place;
}

/** The invoice is offered apart, as soon as there can be one; here are the notes of what went back. */
function papers(documents, path) {
  const said = h("div");
  const notes = documents.filter(({ kind }) => kind === "credit_note").map(({ document_number: number, total_amount: amount, currency }) =>
    h("li", {}, action(`${number} (PDF)`, () => download(path(`/documents/${number}`), `${number}.pdf`), { said, class: "plain" }), h("span", { class: "price" }, money(amount, currency))));
  return notes.length > 0 && [h("h2", {}, "Credit notes"), h("ul", { class: "rows" }, ...notes), said];
}

function sentBack(order, returns) {
  const named = (sku) => order.items.find((item) => item.sku === sku)?.product_name ?? sku;
  const rows = returns.map(({ items, status, created_at: at }) => h("li", {}, h("span", {}, items.map(({ sku, quantity }) => `${quantity} × ${named(sku)}`).join(", ")), h("time", { class: "hint", datetime: at }, moment(at)), h("span", { class: "badge" }, words(status))));
  return rows.length > 0 && [h("h2", {}, "Returns"), h("ul", { class: "rows" }, ...rows)];
}

function returnForm(order, returns, path, done) {
  const taken = returns.filter(({ status }) => status !== "refused").flatMap(({ items }) => items);
  const left = ({ sku, quantity }) => taken.reduce((rest, item) => rest - (item.sku === sku ? item.quantity : 0), quantity);
  const items = order.items.map((item) => ({ ...item, left: left(item) })).filter((item) => item.left > 0);
  if (!items.length) return null;
  const fields = items.map((item) => field(`How many of ${item.product_name} (${item.left})`, { type: "number", min: 0, max: item.left, value: 0, required: true }));
  const reason = field("Why", { required: true, maxlength: 500 });
  const button = h("button", {}, "Ask for the return");
  const said = h("div", { role: "status" });
  const ask = async () => {
    const wanted = items.map(({ sku }, at) => ({ sku, quantity: Number(fields[at].input.value) })).filter(({ quantity }) => quantity);
    if (!wanted.length) return said.replaceChildren(notice("", "Choose what you want to send back."));
    try {
      await post(path("/returns"), { items: wanted, reason: reason.input.value });
      done();
      focusMain();
    } catch (error) {
      said.replaceChildren(trouble({ message: Object.values(messages(error.details))[0] ?? error.message }));
    }
  };
  return h("details", {}, h("summary", {}, "Send something back"), h("form", { onsubmit: sent(button, ask) }, ...elements(fields), reason.element, said, button));
}

function actions(order, path, update) {
  const number = order.order_number;
  const said = h("div");
  const button = (text, work) => action(text, work, { said, class: "wide" });
  const isGuests = guestToken(number) && order.guest_token;
  // A bank that has begun cannot be stopped, nor a parcel that has left.
  const isStoppable = order.status === "confirmed" || (order.status === "pending" && order.payment_status !== "processing");
  return [
    said,
    h(
      "div",
      { class: "actions" },
      isGuests && !isLoggedIn() && h("a", { href: `/account/signup?next=/orders/${number}`, class: "button wide" }, "Make an account for it"),
      isGuests && isLoggedIn() && button("Add it to my account", async () => update(await post(`/orders/${number}/claim`, { guest_token: guestToken(number) }))),
      order.status !== "pending" && button("Order the same again", async () => (await orderAgain(number), navigate("/cart"))),
      isPaid(order) && button("Invoice (PDF)", () => download(path("/invoice"), `invoice-${number}.pdf`)),
      isStoppable && asked("Cancel this order", { question: "Cancel this order? What was paid goes back to you.", yes: "Yes, cancel it", no: "Keep it", said, class: "plain wide" }, async () => update(await post(path("/cancel"), {}))),
    ),
  ];
}
