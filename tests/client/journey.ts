// A storefront's journey, type-checked against the client generated from our OpenAPI document.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8000" });
const quote = (items: { sku: string; quantity: number }[]) =>
  api.POST("/api/v1/quotes", { body: { items } });

type Order = components["schemas"]["Order"];
type ApiError = NonNullable<Awaited<ReturnType<typeof quote>>["error"]>["error"];

export async function buy(token: string, key: string): Promise<Order | string> {
  const items = [{ sku: "DEMO-PLENTY", quantity: 2 }];
  const quoted = await quote(items);
  if (!quoted.data) return explain(quoted.error.error);
  const total: string = quoted.data.total_amount;

  const placed = await api.POST("/api/v1/orders", {
    params: { header: { "Idempotency-Key": key } },
    headers: { Authorization: `Bearer ${token}` },
    body: {
      items,
      payment_method_id: "pm_card_visa",
      expected_total: total,
      shipping_address: {
        name: "Ada Lovelace",
        line1: "1 Main Street",
        city: "New York",
        state: "NY",
        postal_code: "10001",
        country: "US",
      },
    },
  });
  return placed.data ?? explain(placed.error.error);
}

// The code decides what the details hold, and the compiler knows it.
export function explain(error: ApiError): string {
  switch (error.code) {
    case "INSUFFICIENT_INVENTORY":
      return error.details.unavailable_items.map((item) => `${item.sku}: ${item.available}`).join();
    case "CARD_DECLINED":
      return `declined: ${error.details.decline_code}`;
    case "PAYMENT_REQUIRES_ACTION":
      return error.details.client_secret;
    case "PRICE_CHANGED":
      return error.details.total_amount;
    case "COUPON_INVALID":
      return error.details.reason;
    default:
      return error.message;
  }
}

export async function mistakes(): Promise<void> {
  // @ts-expect-error: an order needs its Idempotency-Key
  await api.POST("/api/v1/orders", { body: { items: [] } });
  // @ts-expect-error: a quantity is a number
  await api.POST("/api/v1/quotes", { body: { items: [{ sku: "A", quantity: "1" }] } });
  // @ts-expect-error: there is no such route
  await api.GET("/api/v1/nothing");
}
