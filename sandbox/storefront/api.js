// The shop's public API, and the tokens of who is logged in.
//
// Where the tokens live: sessionStorage, of this tab alone. They survive a reload and the way to
// the bank and back, and are gone with the tab. A script that was injected could read them (as it
// could use an HttpOnly cookie): against that stands the page's policy, which runs no script but
// the shop's own, and `textContent` throughout. A token never stands in a URL of ours.

const API = "/api/v1";
const ACCOUNTS = "/_allauth/app/v1";
const TOKENS = "tokens";
const LONGEST_ANSWER = 20_000; // the shop takes 12 s at most

/** An answer that is none: `status` 0 where nothing came back. */
export class ApiError extends Error {
  constructor(status, { code, message, details, retryAfter = 0 }) {
    super(message);
    Object.assign(this, { status, code, details: details ?? {}, retryAfter });
  }
}

// --- who is logged in ---

export const session = new EventTarget();

export function isLoggedIn() {
  return Boolean(tokens());
}

function tokens() {
  return JSON.parse(sessionStorage.getItem(TOKENS));
}

/** Keep these tokens or none; told is only who comes or goes, not a new token of who is here. */
function keep(meta) {
  const was = isLoggedIn();
  if (meta) sessionStorage.setItem(TOKENS, JSON.stringify({ access: meta.access_token, refresh: meta.refresh_token }));
  else sessionStorage.removeItem(TOKENS);
  if (isLoggedIn() !== was) session.dispatchEvent(new Event("change"));
}

let refreshing = null;

/** New tokens; each refresh token is good once, so requests that need one share it. */
function refresh() {
  refreshing ??= renew().finally(() => (refreshing = null));
  return refreshing;
}

async function renew() {
  const answer = await send("POST", `${ACCOUNTS}/tokens/refresh`, { body: { refresh_token: tokens()?.refresh ?? "" } });
  if (answer.status === 200) keep({ refresh_token: tokens()?.refresh, ...(await answer.json()).data });
  else if (answer.status < 500 && answer.status !== 429) keep(null);
}

// --- requests ---

async function send(method, url, { body, headers = {}, signal, token } = {}) {
  const timeout = AbortSignal.timeout(LONGEST_ANSWER);
  try {
    return await fetch(url, {
      method,
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...headers,
      },
      // A string is sent as it is: the same order again is the same bytes again.
      body: typeof body === "string" ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, { code: "NO_ANSWER", message: "The shop does not answer. Check your connection and try again." });
  }
}

/** The answer of the API; an access token that is over is renewed once on the way. */
async function ask(method, path, options) {
  let answer = await send(method, API + path, { ...options, token: tokens()?.access });
  if (answer.status === 401 && tokens()) {
    await refresh();
    if (tokens()) answer = await send(method, API + path, { ...options, token: tokens().access });
  }
  return answer;
}

/** The answer of a success; anything else is thrown as an ApiError. */
async function succeed(method, path, options) {
  const answer = await ask(method, path, options);
  if (answer.ok) return answer;
  throw new ApiError(answer.status, {
    code: "INTERNAL_ERROR",
    message: "Something went wrong in the shop. Please try again.",
    ...(await json(answer))?.error,
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
  });
}

async function json(answer) {
  const text = await answer.text();
  return text && answer.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
}

/** `{status, body}` of a success. */
export async function call(method, path, options) {
  const answer = await succeed(method, path, options);
  return { status: answer.status, body: await json(answer) };
}

export const get = async (path, options) => (await call("GET", path, options)).body;
export const post = async (path, body = {}) => (await call("POST", path, { body })).body;

/** A file of the API, offered to be saved. */
export async function download(path, name) {
  const url = URL.createObjectURL(await (await succeed("GET", path)).blob());
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Every entry of a list that has pages, to a bound. */
export async function all(path, options) {
  const found = [];
  let next = `${path}${path.includes("?") ? "&" : "?"}page_size=100`;
  while (next && found.length < 1_000) {
    const page = await get(next, options);
    found.push(...page.results);
    next = page.next && page.next.slice(page.next.indexOf(API) + API.length);
  }
  return found;
}

// --- accounts: allauth's own shapes ---

/** One of allauth's routes: `{status, data, meta, errors}`; tokens that come are kept. */
export async function account(method, path, body, { sessionToken, withToken } = {}) {
  const headers = sessionToken ? { "X-Session-Token": sessionToken } : {};
  const answer = await send(method, `${ACCOUNTS}/${path}`, { body, headers, token: withToken && tokens()?.access });
  const found = await answer.json().catch(() => ({}));
  if (found.meta?.access_token) keep(found.meta);
  return { ...found, status: answer.status };
}

export async function logOut() {
  await refresh().catch(() => null); // an access token that is over would end no session
  await account("DELETE", "auth/session", undefined, { withToken: true }).catch(() => null);
  forgetSession();
}

/** Nothing of whoever was here is left to the next one. */
export function forgetSession() {
  keep(null);
  sessionStorage.clear();
}
