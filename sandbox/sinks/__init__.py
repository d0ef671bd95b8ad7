"""The sinks: the systems that Orderkeep tells of orders, played on this machine.

They are none of the real ones. Each follows the public documentation of the API it plays as far as
Orderkeep calls it; `docs/sinks.md` says what it does and does not do.

How a call travels, module by module:

    server       accepts the connection, runs the pipeline below, stops cleanly
    receivers    which receiver answers which address
    faults       breaks the call on purpose: instead of, before or after its execution
    generic      CRM, analytics, fulfilment, support and marketing by our own plain contract;
                 beside it fulfilment's labels, hubspot, segment, zendesk, easypost, webhooks
    store        SQLite: what a call left behind is committed before it is answered
    answers      sends the answer, or what a fault leaves of it
    control      `/_test/...`: faults, what was received, the journal
    page         the same for people
    smtp         mail, which does not come by HTTP
"""

TOKEN = "orderkeep_sinks"  # noqa: S105 - nothing real is behind it
"""What callers have to know, unless another one is given."""
