"""The real parts, embedded: what bin/ runs around the shop. The shop itself never imports it."""
