// Starts the shop: which view belongs to which path, and the bar at the top.

import { isLoggedIn, session } from "./api.js";
import { announce, empty, h } from "./dom.js";
import { navigate, route, start } from "./router.js";
import { cart, countOf, loadCart } from "./store.js";
import * as account from "./views/account.js";
import { cartView } from "./views/cart.js";
import { category, home, search } from "./views/catalogue.js";
import { checkout } from "./views/checkout.js";
import { order } from "./views/order.js";
import { product } from "./views/product.js";

route("/", home);
route("/search", search);
route("/c/:slug", category);
route("/p/:sku", product);
route("/cart", cartView);
route("/checkout", checkout);
route("/pay/:link", checkout);
route("/orders/:number", order);
route("/account", account.overview);
route("/account/login", account.logIn);
route("/account/signup", account.signUp);
route("/account/password/reset", account.askForReset);
route("/account/password/reset/key/:key", account.reset);
route("/account/verify-email/:key", account.verify);

// --- the bar ---

const TYPING = 250; // milliseconds without a key before the search begins
const input = document.getElementById("q");
let typing = 0;

function searchNow() {
  clearTimeout(typing);
  const url = input.value.trim() ? `/search?q=${encodeURIComponent(input.value.trim())}` : "/search";
  if (url === location.pathname + location.search) return;
  const at = [input.selectionStart, input.selectionEnd];
  navigate(url, { replace: location.pathname === "/search" });
  input.focus();
  input.setSelectionRange(...at);
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  searchNow();
});
input.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => input.value.trim().length !== 1 && searchNow(), TYPING);
});

function showCount() {
  const count = countOf(cart.now);
  const shown = document.getElementById("cart-count");
  if (shown.textContent === String(count)) return;
  shown.textContent = count;
  announce(`${count} ${count === 1 ? "item" : "items"} in your cart`);
}

function showAccount() {
  document.getElementById("account-link").textContent = isLoggedIn() ? "Account" : "Log in";
}

cart.addEventListener("change", showCount);
session.addEventListener("change", showAccount);
showAccount();

start({
  root: document.getElementById("main"),
  missing: ({ title }) => {
    title("Not found");
    return empty(h("h1", {}, "There is no such page"), "It may have moved, or the link is wrong.", h("a", { href: "/", class: "button" }, "Go to the shop"));
  },
  shown: () => {
    if (document.activeElement !== input) input.value = new URLSearchParams(location.search).get("q") ?? "";
  },
});
loadCart().catch(() => null); // the cart's page tells what is wrong with it
