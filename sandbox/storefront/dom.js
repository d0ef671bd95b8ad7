// Makes elements. Whatever comes from the API goes in as text, never as markup.

/** An element: `on…` are listeners, other properties attributes; false and null are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value ?? "";
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(3).filter((child) => child != null && child !== false));
  return element;
}

let fields = 0;

/** A labelled input; `error(text)` says under it what is wrong with it. `plain`: no “(optional)”. */
export function field(label, { hint, options, value, plain, ...properties }) {
  const id = `field-${(fields += 1)}`;
  const input = h(options ? "select" : "input", { id, ...properties }, ...(options ?? []));
  input.value = value ?? "";
  const said = h("span", { id: `${id}-said`, class: "said", role: "alert" });
  const told = hint && h("span", { id: `${id}-hint`, class: "hint" }, hint);
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  const optional = !properties.required && !options && !plain && h("span", { class: "hint" }, " (optional)");
  const element = h("div", { class: "field" }, h("label", { for: id }, label, optional), input, told, said);
  const error = (text) => {
    said.textContent = text ?? "";
    input.toggleAttribute("aria-invalid", Boolean(text));
    if (text) input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", [hint && `${id}-hint`, `${id}-said`].filter(Boolean).join(" "));
  };
  input.addEventListener("input", () => error(null));
  return { element, input, error };
}

/** A choice among a few; `about` explains each. */
export function choice(name, { value, title, about, checked, extra, onchange }) {
  const id = `choice-${(fields += 1)}`;
  return h(
    "div",
    { class: "choice" },
    h("input", { type: "radio", name, id, value, checked, onchange }),
    h("label", { for: id }, h("span", { class: "choice-title" }, title), extra && h("span", { class: "extra" }, extra),
      about && h("span", { class: "hint" }, about)),
  );
}

/** What `work` brings, rendered; meanwhile a skeleton, and after a failure a way to try again. */
export function later(work, render, skeleton = lines(4)) {
  const place = h("div", { "aria-busy": "true" }, skeleton);
  const run = async () => {
    try {
      const found = await work();
      place.replaceChildren(...[render(found)].flat(3).filter(Boolean));
    } catch (error) {
      if (error.name === "AbortError") return;
      place.replaceChildren(trouble(error, run));
    }
    place.removeAttribute("aria-busy");
  };
  run();
  return place;
}

/** Grey bars in place of text. */
export function lines(count, kind = "") {
  return h("div", { class: `${kind} skeleton`, "aria-hidden": "true" }, ...Array.from({ length: count }, () => h("span")));
}

/** What went wrong and what to do. */
export function trouble(error, again) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", {}, error.message),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

/** A friendly word where there is nothing; `title` is an h1 where it is all of the page. */
export function empty(title, text, ...links) {
  return h("div", { class: "empty" }, typeof title === "string" ? h("h2", {}, title) : title, h("p", {}, text), links);
}

/** A word on how something went; a good one belongs where changes are read out. */
export function notice(kind, ...children) {
  return h("p", { class: `notice ${kind}`, role: kind === "bad" && "alert" }, ...children);
}

/** A button that does `work`; what goes wrong stands in `said` then. */
export function action(text, work, { said, ...properties }) {
  const failed = (error) => error.name !== "AbortError" && said.replaceChildren(trouble(error));
  const button = h("button", { type: "button", onclick: () => busy(button, () => work().catch(failed)), ...properties }, text);
  return button;
}

/** A button that asks once more, for what has no way back. */
export function asked(text, { question, yes, no, said, ...properties }, work) {
  const ask = () => {
    const sure = action(yes, work, { said, class: "danger" });
    const stay = h("button", { type: "button", onclick: () => (said.replaceChildren(), button.focus()) }, no);
    said.replaceChildren(h("div", { class: "notice", role: "group", "aria-label": text }, h("p", {}, question), sure, stay));
    sure.focus();
  };
  const button = h("button", { type: "button", onclick: ask, ...properties }, text);
  return button;
}

/** What a form does when it is sent with this button. */
export function sent(button, work) {
  return (event) => {
    event.preventDefault();
    busy(button, work);
  };
}

/** Fields by name, as `field` makes them: their elements, what was typed, and what is wrong with it. */
export const elements = (fields) => Object.values(fields).map(({ element }) => element);
export const values = (fields) => Object.fromEntries(Object.entries(fields).map(([name, { input }]) => [name, input.type === "password" ? input.value : input.value.trim()]));
export const mark = (fields, found) => Object.entries(fields).forEach(([name, { error }]) => error(found[name]));

/** Where the focus goes when what had it is gone. */
export function focusMain() {
  document.getElementById("main").focus({ preventScroll: true });
}

/** Run an action once, however often its button is pressed. */
export async function busy(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Tell it to those who listen to the page. */
export function announce(text) {
  const news = document.getElementById("news");
  news.textContent = "";
  requestAnimationFrame(() => (news.textContent = text));
}
