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
export function lines(count) {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: count }, () => h("span")));
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

/** A friendly word where there is nothing. */
export function empty(title, text, ...links) {
  return h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, text), links);
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
