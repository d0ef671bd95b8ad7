// The account: log in, sign up, forgotten passwords; orders, profile, addresses, cards.

import { account, call, forgetSession, get, isLoggedIn, logOut, maybe, post } from "../api.js";
import { busy, empty, field, h, later, lines, trouble } from "../dom.js";
import { messages, moment, money, words } from "../format.js";
import { navigate } from "../router.js";
import { loadCart } from "../store.js";
import { addressFields, addressLines } from "./address.js";

const PASSWORD = { type: "password", required: true, maxlength: 1_024 };

// --- coming in ----------------------------------------------------------------------------------

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
  const said = h("div");
  const press = h("button", { class: "primary wide" }, button);
  const submit = (event) => {
    event.preventDefault();
    busy(press, async () => {
      said.replaceChildren();
      try {
        const values = Object.fromEntries(Object.entries(fields).map(([name, { input }]) => [name, name.includes("password") ? input.value : input.value.trim()]));
        const answer = await send(values);
        if (await done(answer, said)) return;
        complain(answer, fields, said);
      } catch (error) {
        said.replaceChildren(trouble(error));
      }
    });
  };
  return h("section", { class: "narrow" }, h("h1", {}, title), text && h("p", {}, text), h("form", { onsubmit: submit }, ...Object.values(fields).map((each) => each.element), said, press), below);
}

function complain(answer, fields, said) {
  const general = [];
  for (const { param, message } of answer.errors ?? []) {
    if (fields[param]) fields[param].error(message);
    else general.push(message);
  }
  if (answer.status === 429) general.push("That was tried too often. Please wait a few minutes.");
  if (answer.status >= 500) general.push("Too many people are logging in right now. Please try again in a moment.");
  const text = general.join(" ") || (answer.errors?.length ? "Please look at the marked fields." : "That did not work.");
  said.replaceChildren(h("p", { class: "notice bad", role: "alert" }, text));
}

export function logIn({ query, title }) {
  title("Log in");
  const again = query.get("next") ? `?next=${encodeURIComponent(query.get("next"))}` : "";
  const place = h("div");
  place.append(
    panel({
      title: "Log in",
      fields: {
        email: field("E-mail", { type: "email", autocomplete: "username", required: true, maxlength: 254 }),
        password: field("Password", { ...PASSWORD, autocomplete: "current-password" }),
      },
      button: "Log in",
      send: (values) => account("POST", "auth/login", values),
      done: async (answer, said) => {
        if (answer.status === 200) return come(query), true;
        const isAsked = answer.data?.flows?.some(({ id }) => id === "mfa_authenticate");
        if (isAsked) place.replaceChildren(secondFactor(answer.meta.session_token, query));
        else if (answer.status === 401) said.replaceChildren(h("p", { class: "notice bad", role: "alert" }, "This account cannot log in. Please write to us."));
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
    fields: {
      first_name: field("First name", { autocomplete: "given-name", required: true, maxlength: 100 }),
      last_name: field("Last name", { autocomplete: "family-name", required: true, maxlength: 100 }),
      email: field("E-mail", { type: "email", autocomplete: "username", required: true, maxlength: 254 }),
      password: field("Password", { ...PASSWORD, autocomplete: "new-password", minlength: 8, hint: "At least 8 characters; a few words are best." }),
    },
    button: "Make my account",
    send: (values) => account("POST", "auth/signup", values),
    done: (answer) => answer.status === 200 && (come(query), true),
    below: h("p", {}, "You have one? ", h("a", { href: "/account/login" }, "Log in")),
  });
}

export function askForReset({ title }) {
  title("Forgot your password");
  return panel({
    title: "Forgot your password?",
    text: "We send you a link with which you can choose another.",
    fields: { email: field("E-mail", { type: "email", autocomplete: "username", required: true, maxlength: 254 }) },
    button: "Send me the link",
    send: (values) => account("POST", "auth/password/request", values),
    done: (answer, said) => {
      if (answer.status !== 200 && answer.status !== 401) return false;
      said.replaceChildren(h("p", { class: "notice good", role: "status" }, "If there is an account with this address, a letter is on its way to it. The link is good for one hour."));
      return true;
    },
  });
}

export function reset({ params, title }) {
  title("Choose a password");
  history.replaceState(null, "", "/account/password/reset"); // the key is as good as the password
  return panel({
    title: "Choose a new password",
    fields: { password: field("New password", { ...PASSWORD, autocomplete: "new-password", minlength: 8, hint: "At least 8 characters." }) },
    button: "Save it",
    send: ({ password }) => account("POST", "auth/password/reset", { key: params.key, password }),
    done: (answer) => (answer.status === 200 || answer.status === 401) && (forgetSession(), navigate("/account/login", { replace: true }), true),
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
      ? empty("Thank you, your address is confirmed", "What you have ordered with it as a guest is in your account now.", h("a", { href: "/account", class: "button primary" }, "Go to your account"))
      : empty("This link is no longer good", "It may have been used already, or is too old.", h("a", { href: "/account", class: "button" }, "Go to your account")),
  );
}

// --- being in -----------------------------------------------------------------------------------

export function overview({ title, signal }) {
  if (!isLoggedIn()) {
    queueMicrotask(() => navigate("/account/login", { replace: true })); // after this view is shown
    return [];
  }
  title("Your account");
  const leave = h("button", { type: "button" }, "Log out");
  leave.addEventListener("click", () => busy(leave, async () => (await logOut(), navigate("/"))));
  return [
    h("div", { class: "heading" }, h("h1", {}, "Your account"), leave),
    h("h2", {}, "Orders"),
    later(() => get("/orders?page_size=20", { signal }), orders, lines(4)),
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Profile"), later(() => get("/me", { signal }), profile, lines(6))),
      h("section", {}, later(() => maybe("/me/addresses"), addresses, lines(3)), later(() => maybe("/me/payment-methods"), cards, lines(1)), leaving()),
    ),
  ];
}

function orders(page) {
  if (!page.results.length) return empty("No orders yet", "Everything you buy will be listed here.", h("a", { href: "/", class: "button" }, "Start shopping"));
  return h("ul", { class: "rows" }, ...page.results.map((order) => h("li", {}, h("a", { href: `/orders/${order.order_number}` }, order.order_number), h("span", { class: "hint" }, moment(order.created_at)), h("span", { class: `badge ${order.status}` }, words(order.status)), h("span", { class: "price" }, money(order.total_amount, order.currency)))));
}

function profile(me) {
  const fields = {
    first_name: field("First name", { autocomplete: "given-name", required: true, maxlength: 100, value: me.first_name }),
    last_name: field("Last name", { autocomplete: "family-name", required: true, maxlength: 100, value: me.last_name }),
    phone: field("Telephone", { type: "tel", autocomplete: "tel", value: me.phone, maxlength: 30 }),
  };
  const news = field("Write to me about offers", { type: "checkbox", value: "1" });
  news.element.classList.add("check");
  news.input.checked = me.marketing_consent;
  const said = h("div", { role: "status" });
  const button = h("button", {}, "Save");
  const save = async () => {
    try {
      const body = { version: me.version, first_name: fields.first_name.input.value, last_name: fields.last_name.input.value, phone: fields.phone.input.value.trim() || null, marketing_consent: news.input.checked };
      me = (await call("PATCH", "/me", { body })).body;
      said.replaceChildren(h("p", { class: "notice good" }, "Saved."));
    } catch (error) {
      const found = messages(error.details);
      Object.entries(fields).forEach(([name, each]) => each.error(found[name]));
      said.replaceChildren(trouble(error));
    }
  };
  const submit = (event) => (event.preventDefault(), busy(button, save));
  return h("form", { onsubmit: submit }, h("p", {}, me.email, " ", h("span", { class: "hint" }, me.email_verified ? "confirmed" : "not confirmed yet: see your letter from us")), ...Object.values(fields).map((each) => each.element), news.element, said, button);
}

function addresses(found) {
  if (!found) return null;
  const list = h("ul", { class: "rows" }, ...found.results.map(row));
  function row(address) {
    const remove = h("button", { type: "button", class: "plain", "aria-label": `Remove the address ${address.line1}` }, "Remove");
    const element = h("li", {}, addressLines(address), remove);
    remove.addEventListener("click", () => busy(remove, () => call("DELETE", `/me/addresses/${address.id}`).then(() => element.remove(), (error) => element.append(trouble(error)))));
    return element;
  }
  const said = h("div");
  const fields = addressFields("New address");
  const button = h("button", {}, "Save");
  const add = async () => {
    try {
      list.append(row(await post("/me/addresses", fields.read())));
      fields.write({ country: "US" });
      form.open = false;
      said.replaceChildren();
    } catch (error) {
      fields.errors(messages(error.details));
      said.replaceChildren(trouble(error));
    }
  };
  const form = h("details", {}, h("summary", {}, "Add an address"), h("form", { onsubmit: (event) => (event.preventDefault(), busy(button, add)) }, fields.element, said, button));
  return [h("h2", {}, "Addresses"), list, form];
}

function cards(found) {
  if (!found?.results?.length) return null;
  const row = (card) => {
    const name = `${card.brand ?? card.type} •••• ${card.last4}`;
    const remove = h("button", { type: "button", class: "plain", "aria-label": `Remove ${name}` }, "Remove");
    const element = h("li", {}, h("span", {}, name), remove);
    remove.addEventListener("click", () => busy(remove, () => call("DELETE", `/me/payment-methods/${card.id}`).then(() => element.remove(), (error) => element.append(trouble(error)))));
    return element;
  };
  return [h("h2", {}, "Cards"), h("ul", { class: "rows" }, ...found.results.map(row))];
}

function leaving() {
  const said = h("div");
  const take = h("button", { type: "button" }, "Download what you hold on me");
  take.addEventListener("click", () =>
    busy(take, async () => {
      try {
        const file = new Blob([JSON.stringify(await get("/me/export"), null, 2)], { type: "application/json" });
        Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "my-data.json" }).click();
      } catch (error) {
        said.replaceChildren(trouble(error));
      }
    }),
  );
  const end = h("button", { type: "button", class: "danger" }, "Delete my account for good");
  end.addEventListener("click", () =>
    busy(end, async () => {
      try {
        await call("DELETE", "/me");
        forgetSession();
        navigate("/");
      } catch (error) {
        said.replaceChildren(trouble(error));
      }
    }),
  );
  return [h("h2", {}, "Your data"), h("div", { class: "actions" }, take), h("details", {}, h("summary", {}, "Leave us"), h("p", {}, "Your account and everything personal in it are erased. It cannot be undone."), end), said];
}
