// The money of a cart, a quote or an order, line by line.

import { h } from "../dom.js";
import { money } from "../format.js";

export function totals(found, { label = "Total" } = {}) {
  const row = (name, amount, kind) => h("div", { class: kind }, h("dt", {}, name), h("dd", {}, amount));
  const shown = (amount) => money(amount, found.currency);
  const isZero = (amount) => !/[1-9]/.test(amount ?? "");
  return h(
    "dl",
    { class: "totals" },
    row("Subtotal", shown(found.subtotal)),
    !isZero(found.discount_amount) && row("Discount", `−${shown(found.discount_amount)}`),
    row("Shipping", isZero(found.shipping_amount) ? "Free" : shown(found.shipping_amount)),
    !found.tax_included && row("Tax", shown(found.tax_amount)),
    row(label, shown(found.total_amount), "sum"),
    found.tax_included && row("incl. tax", shown(found.tax_amount), "hint"),
    !isZero(found.refunded_amount) && row("Refunded", shown(found.refunded_amount)),
  );
}
