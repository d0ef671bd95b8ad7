// What the browser keeps: the cart's id, the order that is being placed, guests' keys to theirs.

import { ApiError, call, get, isLoggedIn, session } from "./api.js";

const CART = "cart"; // localStorage: whoever knows the id may use the cart, as with a cookie
const ATTEMPT = "attempt"; // sessionStorage: an address stands in it
const GUEST = "guest-tokens"; // sessionStorage: each opens one order

// --- the cart ---

export const cart = Object.assign(new EventTarget(), { now: null });

function show(found) {
  cart.now = found;
  if (found) localStorage.setItem(CART, found.id);
  else localStorage.removeItem(CART);
  cart.dispatchEvent(new Event("change"));
  return found;
}

export const cartId = () => localStorage.getItem(CART);

export function forgetCart() {
  show(null);
}

/** The cart as it is now; null if there is none. A guest's becomes the customer's with a log-in. */
export async function loadCart() {
  if (!cartId() && !isLoggedIn()) return show(null);
  try {
    if (cartId()) return show(await get(`/carts/${cartId()}`));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  return show(isLoggedIn() ? await newCart({}) : null);
}

async function newCart(body) {
  return (await call("POST", "/carts", { body })).body;
}

/** Have so many of a product in the cart; 0 takes it out. */
export async function setItem(sku, quantity) {
  if (!cartId()) return show(await newCart({ items: [{ sku, quantity }] }));
  try {
    const path = `/carts/${cartId()}/items/${encodeURIComponent(sku)}`;
    return show((await call("PUT", path, { body: { quantity } })).body);
  } catch (error) {
    const isOver = error.status === 404 || error.code === "INVALID_TRANSITION";
    if (!isOver || quantity === 0) throw error;
    return show(await newCart({ items: [{ sku, quantity }] })); // the former one was bought
  }
}

export async function addItem(sku, quantity) {
  const held = cart.now?.order_number ? 0 : (cart.now?.items.find((item) => item.sku === sku)?.quantity ?? 0);
  return setItem(sku, held + quantity);
}

export async function setCoupon(code) {
  return show((await call("PUT", `/carts/${cartId()}/coupon`, { body: { coupon_code: code } })).body);
}

export async function orderAgain(number) {
  return show((await call("POST", `/orders/${number}/reorder${guestQuery(number)}`, { body: {} })).body);
}

/** How many things are in it; none once they were ordered. */
export function countOf(found) {
  return found && !found.order_number ? found.items.reduce((sum, item) => sum + item.quantity, 0) : 0;
}

session.addEventListener("change", () => {
  if (!isLoggedIn()) forgetCart(); // the customer's stays with the account
});

// --- guests' orders ---

export function keepGuestToken(number, token) {
  if (!token) return;
  const held = JSON.parse(sessionStorage.getItem(GUEST)) ?? {};
  sessionStorage.setItem(GUEST, JSON.stringify({ ...held, [number]: token }));
}

export function guestToken(number) {
  return JSON.parse(sessionStorage.getItem(GUEST))?.[number] ?? null;
}

export function guestQuery(number) {
  const token = guestToken(number);
  return token ? `?token=${encodeURIComponent(token)}` : "";
}

// --- placing an order, once ---

const PAUSES = [1, 3, 7, 10, 5]; // seconds: tries after 1, 4, 11, 21 and 26 (docs/api.md)
const NO_LAST_WORD = new Set([0, 429, 500, 503]);

export function attempt() {
  return JSON.parse(sessionStorage.getItem(ATTEMPT));
}

export function forgetAttempt() {
  sessionStorage.removeItem(ATTEMPT);
}

/** The attempt with this body: the one that is under way if it is the same, else one with a new key. */
export function beginAttempt(body) {
  const bytes = JSON.stringify(body);
  const held = attempt();
  if (held?.body === bytes) return held;
  const begun = { key: newKey(), body: bytes };
  sessionStorage.setItem(ATTEMPT, JSON.stringify(begun));
  return begun;
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Send the order until there is a last word, always the same bytes under the same key.
 *
 * Answers `{status, body}` of a 201 or 202 and throws the ApiError of a refusal. What brought no
 * last word stays the attempt: pressing the button again, or reloading, goes on with it.
 */
export async function place({ key, body }, { waiting }) {
  for (let tried = 0; ; tried += 1) {
    try {
      const answer = await call("POST", "/orders", { body, headers: { "Idempotency-Key": key } });
      forgetAttempt();
      return answer;
    } catch (error) {
      const isOpen = NO_LAST_WORD.has(error.status) || error.code === "ORDER_IN_PROGRESS";
      if (!(error instanceof ApiError) || !isOpen) {
        forgetAttempt();
        throw error;
      }
      if (tried >= PAUSES.length) throw error;
      waiting();
      await pause(Math.max(PAUSES[tried] * (1 + Math.random() / 4), error.retryAfter));
    }
  }
}

export function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
}
