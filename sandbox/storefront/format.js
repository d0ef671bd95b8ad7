// How money, days and words of the API are shown. Nothing is calculated here.

/** `"19.99"`, `"USD"`: the string goes to Intl as it is, so that no digit is rounded. */
export function money(amount, currency) {
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount);
}

export function day(iso) {
  const [year, month, date] = iso.slice(0, 10).split("-").map(Number);
  return new Date(year, month - 1, date).toLocaleDateString(undefined, { weekday: "short", day: "numeric", month: "short" });
}

export function moment(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** `partially_refunded` as people say it. */
export function words(code) {
  const text = code.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

export function cardName({ brand, type, last4 }) {
  return words(brand ?? type) + (last4 ? ` •••• ${last4}` : "");
}

const DECLINES = {
  insufficient_funds: "there is not enough money on it",
  expired_card: "it has expired",
  incorrect_cvc: "its security code is wrong",
  processing_error: "the bank could not process it",
};

export function decline(code) {
  return `Your card was declined: ${DECLINES[code] ?? "its bank did not say why"}. Nothing was charged. Please choose another card.`;
}

const COUPONS = {
  unknown: "There is no such coupon.",
  expired: "This coupon has expired.",
  not_started: "This coupon is not valid yet.",
  used_up: "This coupon has been used up.",
  minimum_not_reached: "Your cart does not reach the minimum of this coupon yet.",
  not_for_customer: "This coupon is not for you.",
};

export function coupon(reason) {
  return COUPONS[reason] ?? "This coupon cannot be used.";
}

/** The first message for each field of `details`, by its path: `shipping_address.city`. */
export function messages(details, path = "") {
  if (typeof details?.[0] === "string") return { [path]: details[0] };
  if (typeof details !== "object" || !details) return {};
  return Object.assign(
    {},
    ...Object.entries(details).map(([name, value]) => messages(value, path ? `${path}.${name}` : name)),
  );
}
