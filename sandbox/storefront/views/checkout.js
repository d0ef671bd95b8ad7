// The checkout: where to, how, with what; and the order, placed once whatever happens meanwhile.

import { all, get, isLoggedIn, post } from "../api.js";
import { announce, busy, choice, elements, empty, field, h, later, lines, mark, notice, sent, values } from "../dom.js";
import { cardName, coupon, day, decline, messages, money } from "../format.js";
import { navigate } from "../router.js";
import { attempt, beginAttempt, cartId, forgetCart, keepGuestToken, loadCart, place } from "../store.js";
import { addressFields, nameFields } from "./address.js";
import { totals } from "./totals.js";

const DRAFT = "checkout"; // sessionStorage: what was typed, so that a reload loses nothing
export const TEST_CARDS = [
  ["pm_card_visa", "Visa", "Pays at once."],
  ["pm_card_threeDSecure2Required", "Visa with 3-D Secure", "The bank asks you first."],
  ["pm_card_chargeDeclined", "Declined card", "The bank says no."],
  ["pm_card_chargeDeclinedInsufficientFunds", "Empty card", "Not enough money on it."],
  ["pm_usBankAccount_success", "Bank debit (USD)", "Takes time: the order waits for the bank."],
];

/** Of one's cart, or of what a payment link (`/pay/:link`) is for. */
export function checkout({ params: { link }, title, signal }) {
  title("Checkout");
  const load = async () => {
    const [found, addresses, cards, me] = await Promise.all([
      link ? get(`/payment-links/${link}`, { signal }) : loadCart(),
      isLoggedIn() ? all("/me/addresses", { signal }) : [],
      isLoggedIn() ? all("/me/payment-methods", { signal }) : [],
      isLoggedIn() ? get("/me", { signal }) : null,
    ]);
    return { found, addresses, cards, me };
  };
  return [h("h1", {}, "Checkout"), later(load, shown, lines(10))];
}

function shown({ found, addresses, cards, me }) {
  if (attempt()) return form({ found, addresses, cards, me, resume: true });
  if (found?.order_number) {
    return empty("This cart has been ordered", "", h("a", { href: `/orders/${found.order_number}`, class: "button primary" }, `See order ${found.order_number}`));
  }
  if (!found?.items.length) return empty("There is nothing to pay for", "Your cart is empty.", h("a", { href: "/", class: "button" }, "Start shopping"));
  return form({ found, addresses, cards, me });
}

function form({ found, addresses, cards, me, resume = false }) {
  const agreed = found?.cart_id && { ...found, address: found.shipping_address };
  const draft = agreed || (JSON.parse(sessionStorage.getItem(DRAFT)) ?? {});
  const cart_id = agreed?.cart_id ?? cartId();
  let quote = found;
  let asked = 0;

  // --- the parts of the form ---
  const contact = me ? null : contactFields(draft.customer ?? {});
  const address = addressFields("Delivery address", draft.address ?? addresses[0] ?? (me ? { name: `${me.first_name} ${me.last_name}` } : {}));
  const book = addresses.length > 0 && addressBook(addresses, (chosen) => { address.write(chosen); requote(); });
  const save = me && field("Save this address to my account", { type: "checkbox", value: "1" });
  save?.element.classList.add("check");
  const methods = h("div", { class: "choices" });
  const payment = paymentFields(cards);
  const notes = field("Notes for the delivery", { maxlength: 2_000, value: draft.notes, autocomplete: "off" });
  const sum = h("div");
  const said = h("div", { class: "outcome", role: "status", tabindex: "-1" });
  const pay = h("button", { class: "primary wide" }, "Pay");

  const element = h(
    "form",
    { class: "split", onsubmit: sent(pay, () => go(beginAttempt(order()))), onchange: changed },
    h(
      "div",
      {},
      !me && h("p", { class: "notice" }, h("a", { href: "/account/login?next=/checkout" }, "Log in"), " if you have an account, or go on as a guest."),
      contact?.element,
      book,
      address.element,
      save?.element,
      h("fieldset", {}, h("legend", {}, "Delivery"), methods),
      payment,
      notes.element,
    ),
    h("section", { class: "panel", "aria-label": "Your order" }, found && h("ul", { class: "brief" }, ...found.items.map((item) => h("li", {}, h("span", {}, `${item.quantity} × ${item.product_name}`), h("span", {}, money(item.total_price, found.currency))))), sum, said, pay, h("p", { class: "hint" }, "You are charged once, even if you press twice.")),
  );

  // --- what it costs ---
  function draw() {
    if (!quote) return;
    methods.replaceChildren(...quote.shipping_methods.map((method) => choice("shipping_method", { value: method.code, title: method.name, checked: method.code === quote.shipping_method, extra: money(method.amount, quote.currency), about: `Arrives by ${day(method.estimated_delivery)}` })));
    sum.replaceChildren(totals(quote));
    pay.textContent = `Pay ${money(quote.total_amount, quote.currency)}`;
  }
  const method = () => methods.querySelector(":checked")?.value;
  const isAddressed = () => [...address.element.querySelectorAll("input, select")].every((input) => input.checkValidity());

  async function requote() {
    if (!isAddressed()) return;
    const mine = (asked += 1);
    try {
      const fresh = await post("/quotes", { cart_id, shipping_address: address.read(), ...(method() ? { shipping_method: method() } : {}) });
      if (mine !== asked) return; // a later one is on its way
      quote = fresh;
      address.errors({});
      draw();
      announce(`The total is ${money(quote.total_amount, quote.currency)}`);
    } catch (error) {
      if (mine !== asked || error.status === 0) return;
      if (error.code === "VALIDATION_FAILED") address.errors(typed(messages(error.details)), { focus: false });
      else refused(error);
    }
  }

  /** What is wrong with what was typed; a field that is still empty is not wrong yet. */
  function typed(found) {
    const held = address.read();
    const marked = Object.entries(found).map(([path, text]) => [path.replace("shipping_address.", ""), text]);
    return Object.fromEntries(marked.filter(([name]) => held[name]));
  }

  function changed({ target }) {
    sessionStorage.setItem(DRAFT, JSON.stringify({ customer: contact?.read(), address: address.read(), notes: notes.input.value }));
    if (target.name === "shipping_method" || address.element.contains(target)) requote();
  }

  // --- placing it ---
  function order() {
    return {
      cart_id,
      payment_method_id: payment.querySelector(":checked").value,
      shipping_address: address.read(),
      ...(method() ? { shipping_method: method() } : {}),
      expected_total: quote.total_amount,
      ...(notes.input.value.trim() ? { notes: notes.input.value.trim() } : {}),
      ...(contact ? { customer: contact.read() } : {}),
    };
  }

  async function go(current) {
    said.replaceChildren(notice("", "Placing your order…"));
    try {
      const { body } = await place(current, { waiting: () => said.replaceChildren(notice("", "This takes longer than usual. We keep asking; please stay on this page. You will not be charged twice.")) });
      await placed(body);
    } catch (error) {
      refused(error);
    }
  }

  async function placed(body) {
    keepGuestToken(body.order_number, body.guest_token);
    if (save?.input.checked) await post("/me/addresses", address.read()).catch(() => null);
    sessionStorage.removeItem(DRAFT);
    if (body.status !== "pending" && !agreed) forgetCart();
    navigate(`/orders/${body.order_number}`);
  }

  function refused(error) {
    const { code, details } = error;
    if (code === "PAYMENT_REQUIRES_ACTION") return toTheBank(details);
    if (code === "INVALID_TRANSITION" && details.order_number) return navigate(`/orders/${details.order_number}`);
    if (code === "PRICE_CHANGED") {
      quote = { ...quote, ...(details.quote ?? details) };
      draw();
      return tell(`The total has changed to ${money(quote.total_amount, quote.currency)}. Press “Pay” again if that is fine.`);
    }
    if (code === "VALIDATION_FAILED") return point(details, error);
    const text = {
      CARD_DECLINED: () => decline(details.decline_code),
      PAYMENT_FAILED: () => "The payment did not work. Nothing was charged. Please choose another card.",
      PAYMENT_ERROR: () => "The payment did not work, and nothing was charged. We have been told of it. Please try again later.",
      COUPON_INVALID: () => `${coupon(details.reason)} Remove it in your cart.`,
      INSUFFICIENT_INVENTORY: () => "Some of it was bought by somebody else a moment ago. Please look at your cart.",
      NO_ANSWER: () => "We have not heard how your order went. Check your connection, then press “Pay” again: you will not be charged twice.",
    }[code];
    const needsCart = code === "COUPON_INVALID" || code === "INSUFFICIENT_INVENTORY";
    tell(text ? text() : error.message, needsCart && h("a", { href: "/cart" }, "Go to the cart"));
  }

  function point(details, error) {
    const found = messages(details);
    const under = (prefix) => Object.fromEntries(Object.entries(found).filter(([path]) => path.startsWith(prefix)).map(([path, text]) => [path.slice(prefix.length), text]));
    const [of, to] = [under("customer."), under("shipping_address.")];
    contact?.errors(of);
    address.errors(to);
    const isShown = Object.keys(of).length + Object.keys(to).length > 0;
    tell(isShown ? "Please look at the marked fields." : Object.values(found)[0] ?? error.message, null, { focus: !isShown });
  }

  function tell(text, link, { focus = true } = {}) {
    said.replaceChildren(h("div", { class: "notice bad", role: "alert" }, h("p", {}, text), link));
    if (focus) said.focus();
  }

  draw();
  if (resume) queueMicrotask(() => busy(pay, () => go(attempt())));
  else requote();
  return element;
}

/** The order waits for the shopper's bank: go there. It sends them back to the order's page. */
function toTheBank(details) {
  keepGuestToken(details.order_number, details.guest_token);
  sessionStorage.removeItem(DRAFT);
  const url = details.next_action?.redirect_to_url?.url;
  // Coming back with the browser's button leads to the order, not into the checkout again.
  history.replaceState(null, "", `/orders/${details.order_number}`);
  if (url) location.assign(url);
  else navigate(`/orders/${details.order_number}`, { replace: true });
}

function contactFields(held) {
  const fields = {
    email: field("E-mail", { type: "email", autocomplete: "email", required: true, maxlength: 254, value: held.email }),
    ...nameFields(held),
  };
  return {
    element: h("fieldset", {}, h("legend", {}, "Contact"), h("div", { class: "fields" }, ...elements(fields))),
    read: () => values(fields),
    errors: (found) => mark(fields, found),
  };
}

function addressBook(addresses, chosen) {
  const options = addresses.map((address, at) => h("option", { value: at }, [address.name, address.line1, address.city].filter(Boolean).join(", ")));
  const book = field("Your addresses", { options, value: 0, autocomplete: "off" });
  book.input.addEventListener("change", () => chosen(addresses[book.input.value]));
  return book.element;
}

function paymentFields(cards) {
  const saved = cards.map((card) => [card.id, cardName(card), card.exp_year ? `Until ${card.exp_month}/${card.exp_year}` : "Saved"]);
  return h(
    "fieldset",
    {},
    h("legend", {}, "Payment"),
    h("p", { class: "hint" }, "This is a test shop: choose one of the payment provider's test cards. A real shop would show its card fields here, which send the card's number to the provider alone."),
    h("div", { class: "choices" }, ...[...saved, ...TEST_CARDS].map(([value, title, about], at) => choice("payment_method_id", { value, title, about, checked: at === 0 }))),
  );
}
