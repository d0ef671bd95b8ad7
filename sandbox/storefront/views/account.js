// The account: log in, sign up, forgotten passwords; orders, profile, addresses, cards.

import { account, all, call, download, forgetSession, get, isLoggedIn, logOut, post } from "../api.js";
import { action, announce, asked, elements, empty, field, focusMain, h, later, lines, mark, notice, sent, trouble, values } from "../dom.js";
import { cardName, messages, moment, money, words } from "../format.js";
import { navigate } from "../router.js";
import { loadCart } from "../store.js";
import { addressFields, addressLines, nameFields } from "./address.js";
import { TEST_CARDS } from "./checkout.js";

const BEFORE = { saved: "Your new password is saved. Log in with it.", erased: "Your account is erased." };

const email = () => field("E-mail", { type: "email", autocomplete: "username", required: true, maxlength: 254 });
const password = (label, properties) => field(label, { type: "password", required: true, maxlength: 1_024, ...properties });
const newPassword = (label) => password(label, { autocomplete: "new-password", minlength: 8, hint: "At least 8 characters; a few words are best." });

// --- coming in ---

/** Where to after the log-in: a path of the shop, never somewhere else. */
function next(query) {
  const wanted = query.get("next") ?? "";
  return /^\/(?![/\\])/.test(wanted) ? wanted : "/account";
}

async function come(query) {
  await loadCart().catch(() => null); // the guest's cart becomes the customer's
  navigate(next(query), { replace: true });
}

/** A form of a few fields; `send(values)` answers as allauth does, `done(answer)` goes on. */
function panel({ title, text, fields, button, send, done, below }) {
  const said = h("div", { role: "status" });
  const press = h("button", { class: "primary wide" }, button);
  const submit = async () => {
    said.replaceChildren();
    try {
      const answer = await send(values(fields));
      if (!(await done(answer, said))) complain(answer, fields, said);
    } catch (error) {
      said.replaceChildren(trouble(error));
    }
  };
  return h("section", { class: "narrow" }, h("h1", {}, title), text && h("p", {}, text), h("form", { onsubmit: sent(press, submit) }, ...elements(fields), said, press), below);
}

function complain(answer, fields, said) {
  const general = [];
  for (const { param, message } of answer.errors ?? []) {
    if (fields[param]) fields[param].error(message);
    else general.push(message);
  }
  if (answer.status === 429) general.push("That was tried too often. Please wait a few minutes.");
  if (answer.status >= 500) general.push("Too many people are logging in right now. Please try again in a moment.");
  said.replaceChildren(notice("bad", general.join(" ") || (answer.errors?.length ? "Please look at the marked fields." : "That did not work.")));
}

export function logIn({ query, title }) {
  title("Log in");
  const again = query.get("next") ? `?next=${encodeURIComponent(query.get("next"))}` : "";
  const place = h("div");
  place.append(
    panel({
      title: "Log in",
      text: BEFORE[query.get("after")],
      fields: { email: email(), password: password("Password", { autocomplete: "current-password" }) },
      button: "Log in",
      send: (values) => account("POST", "auth/login", values),
      done: async (answer, said) => {
        if (answer.status === 200) return come(query), true;
        const isAsked = answer.data?.flows?.some(({ id }) => id === "mfa_authenticate");
        if (isAsked) {
          place.replaceChildren(secondFactor(answer.meta.session_token, query));
          place.querySelector("input").focus();
        } else if (answer.status === 401) said.replaceChildren(notice("bad", "This account cannot log in. Please write to us."));
        return isAsked || answer.status === 401;
      },
      below: h("p", {}, h("a", { href: "/account/password/reset" }, "Forgot your password?"), " · ", h("a", { href: `/account/signup${again}` }, "Make an account")),
    }),
  );
  return place;
}

function secondFactor(sessionToken, query) {
  return panel({
    title: "One more step",
    text: "Enter the code of your authenticator app, or a recovery code.",
    fields: { code: field("Code", { required: true, autocomplete: "one-time-code", maxlength: 32 }) },
    button: "Log in",
    send: (values) => account("POST", "auth/2fa/authenticate", values, { sessionToken }),
    done: (answer) => answer.status === 200 && (come(query), true),
  });
}

export function signUp({ query, title }) {
  title("Make an account");
  return panel({
    title: "Make an account",
    text: "See your orders, keep your cart on every device and order again with one press.",
    fields: { ...nameFields(), email: email(), password: newPassword("Password") },
    button: "Make my account",
    send: (values) => account("POST", "auth/signup", values),
    done: (answer) => answer.status === 200 && (come(query), true),
    below: h("p", {}, "You have one? ", h("a", { href: `/account/login${location.search}` }, "Log in")),
  });
}

export function askForReset({ title }) {
  title("Forgot your password");
  return panel({
    title: "Forgot your password?",
    text: "We send you a link with which you can choose another.",
    fields: { email: email() },
    button: "Send me the link",
    send: (values) => account("POST", "auth/password/request", values),
    done: (answer, said) => {
      if (answer.status !== 200 && answer.status !== 401) return false;
      said.replaceChildren(notice("good", "If there is an account with this address, a letter is on its way to it. The link is good for one hour."));
      return true;
    },
  });
}

export function reset({ params, title }) {
  title("Choose a password");
  history.replaceState(null, "", "/account/password/reset"); // the key is as good as the password
  return panel({
    title: "Choose a new password",
    fields: { password: newPassword("New password") },
    button: "Save it",
    send: ({ password }) => account("POST", "auth/password/reset", { key: params.key, password }),
    done: (answer, said) => {
      const isOver = answer.errors?.some(({ param }) => param === "key");
      if (isOver) said.replaceChildren(notice("bad", "This link is no longer good. ", h("a", { href: "/account/password/reset" }, "Send me another")));
      if (answer.status !== 200 && answer.status !== 401) return isOver; // 401: it worked, and nobody is logged in
      forgetSession();
      navigate("/account/login?after=saved", { replace: true });
      return true;
    },
  });
}

export function verify({ params, title }) {
  title("Confirm your e-mail");
  history.replaceState(null, "", "/account");
  const send = async () => {
    const answer = await account("POST", "auth/email/verify", { key: params.key }, { withToken: true });
    // 401: it worked, and nobody is logged in here.
    return answer.status === 200 || answer.status === 401;
  };
  return later(send, (worked) =>
    worked
      ? empty(h("h1", {}, "Thank you, your address is confirmed"), "What you have ordered with it as a guest is in your account now.", h("a", { href: "/account", class: "button primary" }, "Go to your account"))
      : empty(h("h1", {}, "This link is no longer good"), "It may have been used already, or is too old.", h("a", { href: "/account", class: "button" }, "Go to your account")),
  );
}

// --- being in ---

export function overview({ title, signal }) {
  if (!isLoggedIn()) {
    queueMicrotask(() => navigate("/account/login", { replace: true })); // after this view is shown
    return [];
  }
  title("Your account");
  const said = h("div");
  return [
    h("div", { class: "heading" }, h("h1", {}, "Your account"), action("Log out", async () => (await logOut(), navigate("/")), { said })),
    said,
    h("h2", {}, "Orders"),
    later(() => all("/orders", { signal }), orders, lines(4)),
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Profile"), later(() => get("/me", { signal }), profile, lines(6))),
      h("section", {}, later(() => all("/me/addresses", { signal }), addresses, lines(3)), later(() => all("/me/payment-methods", { signal }), cards, lines(1)), leaving()),
    ),
  ];
}

function orders(found) {
  if (!found.length) return empty("No orders yet", "Everything you buy will be listed here.", h("a", { href: "/", class: "button" }, "Start shopping"));
  return h("ul", { class: "rows" }, ...found.map((order) => h("li", {}, h("a", { href: `/orders/${order.order_number}` }, order.order_number), h("span", { class: "hint" }, moment(order.created_at)), h("span", { class: `badge ${order.status}` }, words(order.status)), h("span", { class: "price" }, money(order.total_amount, order.currency)))));
}

function profile(me) {
  const fields = { ...nameFields(), phone: field("Telephone", { type: "tel", autocomplete: "tel", maxlength: 30 }) };
  const news = field("Write to me about offers", { type: "checkbox", value: "1" });
  news.element.classList.add("check");
  const draw = () => {
    for (const [name, { input }] of Object.entries(fields)) input.value = me[name] ?? "";
    news.input.checked = me.marketing_consent;
  };
  draw();
  const said = h("div", { role: "status" });
  const button = h("button", {}, "Save");
  const save = async () => {
    try {
      const typed = values(fields);
      me = (await call("PATCH", "/me", { body: { version: me.version, ...typed, phone: typed.phone || null, marketing_consent: news.input.checked } })).body;
      said.replaceChildren(notice("good", "Saved."));
    } catch (error) {
      if (error.code === "EDIT_CONFLICT") {
        me = await get("/me").catch(() => me);
        draw(); // never over what somebody else has written unseen
      }
      mark(fields, messages(error.details));
      said.replaceChildren(trouble(error));
    }
  };
  return h("form", { onsubmit: sent(button, save) }, h("p", {}, me.email, " ", h("span", { class: "hint" }, me.email_verified ? "confirmed" : "not confirmed yet: see your letter from us")), ...elements(fields), news.element, said, button);
}

/** What the account keeps at `path`: each can be removed; `more.read()` is what to add. */
function kept({ title, path, found, name, shown, more }) {
  const row = (each) => {
    const said = h("div");
    const remove = async () => {
      await call("DELETE", `${path}/${each.id}`);
      element.remove();
      announce(`${name(each)} was removed`);
      focusMain();
    };
    const element = h("li", {}, shown(each), action("Remove", remove, { said, class: "plain", "aria-label": `Remove ${name(each)}` }), said);
    return element;
  };
  const list = h("ul", { class: "rows", "aria-label": title }, ...found.map(row));
  const said = h("div");
  const button = h("button", {}, "Save");
  const add = async () => {
    try {
      list.append(row(await post(path, more.read())));
      more.clear();
      form.open = false;
      form.firstChild.focus();
      said.replaceChildren();
    } catch (error) {
      more.failed?.(error);
      said.replaceChildren(trouble(error));
    }
  };
  const form = h("details", {}, h("summary", {}, more.title), h("form", { onsubmit: sent(button, add) }, more.element, said, button));
  return [h("h2", {}, title), list, form];
}

function addresses(found) {
  const fields = addressFields("New address");
  const more = { title: "Add an address", ...fields, clear: () => fields.write({ country: "US" }), failed: (error) => fields.errors(messages(error.details)) };
  return kept({ title: "Addresses", path: "/me/addresses", found, name: ({ line1 }) => `the address ${line1}`, shown: addressLines, more });
}

function cards(found) {
  const options = TEST_CARDS.filter(([value]) => value.startsWith("pm_card")).map(([value, title]) => h("option", { value }, title));
  const card = field("Test card", { options, value: "pm_card_visa" });
  const more = { title: "Save a card", element: card.element, read: () => ({ payment_method_id: card.input.value }), clear: () => null };
  return kept({ title: "Cards", path: "/me/payment-methods", found, name: cardName, shown: (each) => h("span", {}, cardName(each)), more });
}

function leaving() {
  const said = h("div", { role: "status" });
  const erase = async () => {
    await call("DELETE", "/me");
    forgetSession();
    navigate("/account/login?after=erased");
  };
  return [
    h("h2", {}, "Your data"),
    h("div", { class: "actions" },
      action("Download what you hold on me", () => download("/me/export", "my-data.json"), { said }),
      asked("Delete my account", { question: "Your account and everything personal in it are erased. It cannot be undone.", yes: "Delete it for good", no: "Keep it", said, class: "plain" }, erase)),
    said,
  ];
}
