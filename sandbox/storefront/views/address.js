// The fields of a postal address, for the checkout and the address book.

import { elements, field, h, mark, values } from "../dom.js";

const COUNTRIES =
  "AD AE AG AI AL AM AO AR AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL CM CN CO CR CV CY CZ DE DJ DK DM DO DZ EC EE EG ES ET FI FJ FO FR GA GB GD GE GG GH GI GL GM GN GQ GR GT GU GY HK HN HR HT HU ID IE IL IM IN IQ IS IT JE JM JO JP KE KG KH KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MN MO MR MT MU MV MW MX MY MZ NA NE NG NI NL NO NP NR NZ OM PA PE PG PH PK PL PR PT PY QA RO RS RW SA SC SE SG SI SK SL SM SN SR SV SZ TC TD TG TH TJ TL TM TN TO TR TT TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WS XK YE ZA ZM ZW".split(" ");

/** A fieldset; `read()` is the address as the API takes it, `errors({city: …})` marks fields. */
export function addressFields(legend, held = {}) {
  const names = new Intl.DisplayNames(undefined, { type: "region" });
  const options = COUNTRIES.map((code) => [names.of(code), code])
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([name, value]) => h("option", { value }, name));
  const home = new Intl.Locale(navigator.language).region;
  const text = (label, autocomplete, name, rest = {}) => field(label, { autocomplete: `shipping ${autocomplete}`, maxlength: 100, value: held[name], ...rest });
  const fields = {
    country: field("Country", { autocomplete: "shipping country", options, required: true, value: held.country ?? (COUNTRIES.includes(home) ? home : "US") }),
    name: text("Full name", "name", "name", { required: true }),
    line1: text("Street and number", "address-line1", "line1", { required: true, maxlength: 200 }),
    line2: text("Flat, floor, company", "address-line2", "line2", { maxlength: 200 }),
    city: text("City", "address-level2", "city", { required: true }),
    state: text("State or province", "address-level1", "state"),
    postal_code: text("Postal code", "postal-code", "postal_code", { maxlength: 20 }),
    phone: text("Telephone", "tel", "phone", { type: "tel", maxlength: 30, hint: "With the country's code, for the courier alone." }),
  };
  const element = h("fieldset", {}, h("legend", {}, legend), h("div", { class: "fields" }, ...elements(fields)));
  const read = () => ({ city: "", postal_code: "", ...Object.fromEntries(Object.entries(values(fields)).filter(([, value]) => value)) });
  const write = (address) => {
    for (const [name, { input }] of Object.entries(fields)) input.value = address[name] ?? "";
  };
  const errors = (found, { focus = true } = {}) => {
    mark(fields, found);
    if (focus) Object.entries(fields).find(([name]) => found[name])?.[1].input.focus();
  };
  return { element, read, write, errors };
}

export function nameFields(held = {}) {
  const name = (label, autocomplete, value) => field(label, { autocomplete, value, required: true, maxlength: 100 });
  return { first_name: name("First name", "given-name", held.first_name), last_name: name("Last name", "family-name", held.last_name) };
}

export function addressLines(address) {
  const town = [address.city, address.state, address.postal_code].filter(Boolean).join(", ");
  const country = new Intl.DisplayNames(undefined, { type: "region" }).of(address.country);
  const rows = [address.name, address.line1, address.line2, town, country].filter(Boolean);
  return h("address", {}, ...rows.map((row) => h("span", {}, row)));
}
