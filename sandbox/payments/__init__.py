"""The local payment server: the part of Stripe's HTTP API that Orderkeep calls, on this machine.

It is not Stripe. It follows Stripe's public documentation closely enough that the real SDK, and
the shop's own gateway, cannot tell the difference where Orderkeep looks. See
`docs/payment-server.md` for what it does and does not do.

How a request travels, module by module:

    server       accepts the connection, runs the pipeline below, stops cleanly
    access       asks for a secret test key
    forms        reads the form encoding
    faults       breaks the request on purpose: before, inside or after its execution
    idempotency  replays what was answered under the same key
    endpoints    which function answers which address
    parameters   refuses what Stripe would refuse before executing anything; the hashes inside
                 parameters (nested) and the readers of all values beside it
    intents      the life of a PaymentIntent; attempts at paying it; the test payment methods;
                 charges, refunds and customers beside it
    expansion    puts whole objects where they were asked for
    store        SQLite: everything a request changed is committed before it is answered
    journal      what was asked and answered, in order
    answers      sends the answer, or what a fault leaves of it
    control      `/_test/...`: the shopper's side, faults and the journal for tests
"""
