"""An explicit-state model of placing an order: every interleaving of a few actors, small faults included.

Run it:   python placement_model.py             every configuration of the protocol: states, depth, violations
          python placement_model.py --written   the protocol as first written, then one correction after the other, with traces
          python placement_model.py --mutants   the protocol with one rule broken at a time: each must be caught (--traces: how)
          python placement_model.py --harmless  rules whose absence the model finds harmless (minutes)

What is modelled. A database transaction is one atomic step. A call to the payment provider is another: it is applied (or not) and
answered (or not), and its caller may die before using the answer. Steps of different actors interleave freely.

  orders    Order below: idempotency key, order, payment, reservation, refund row, and what the provider holds for that order
  provider  intents rc (requires_confirmation), ra (requires_action), pr (processing), rpm (requires_payment_method: an attempt failed),
            ok (succeeded), cx (canceled); a keyed call is answered once and then replayed, a stored 500 included ("*" marks a replay)
  actors    request (and a second one with the same key), customer cancel, checker (a webhook of any kind, number and order, or the
            customer's /confirm: both only ask and settle), sweeper, staff refund
  clock     a lease runs out, a hold expires, a day passes (the provider forgets its keys)
  faults    at most cfg.faults of: crash anywhere; answer lost before or after applying; 500 stored before or after applying;
            a call delayed (its caller times out, it is applied later, or after its caller's death); a gateway's 502 for such a call;
            COMMIT outcome unknown; a lease that runs out while its holder lives; a day lost

Safety is checked in every reachable state, and liveness too: from every state a good end (every order final and consistent, its key
answered, no refund open) must be reachable by fault-free steps of sweeper and clock alone: no client, no webhook. In a finite graph that
means every run in which each possible step keeps a chance ends well.
"""
import sys
import time
from collections import namedtuple

Order = namedtuple("Order", "key owner lease order pay pi att res ref ratt age intents keys net said")
EMPTY = Order(key="-",        # - | open | the remembered answer: 201, 402 (not charged), RA (402 action required)
              owner="",       # who holds the open key: the fence
              lease=False,    # does the holder's lease still run
              order="-",      # - | pending | confirmed | cancelled | refunded (only without the rule "refrel")
              pay="-",        # - | created | succeeded | closed
              pi=None,        # the stored id of the intent
              att=1,          # number in the confirm's key
              res="-",        # - | held | committed | released
              ref="-",        # refund row: - | due | done | twice
              ratt=1,         # number in the refund's key
              age=0,          # 0 hold runs, 1 hold expired or given up, 2 older than the provider's keys
              intents=(),     # at the provider: (state, refunds made)
              keys=(),        # at the provider: (idempotency key, first answer)
              net=(),         # calls still travelling: (kind, key, intent)
              said=())        # answers the client got; 503! is "nothing held" while something is held

FIXES = {  # name: the rule that the protocol as first written lacks
    "reread": "after a COMMIT of unknown outcome read the key again before answering",
    "close": "a failed attempt is first cancelled at the provider; only succeeded and canceled settle",
    "guard": "the intent's id is stored only on a payment still created and without id, else no confirm",
    "local": "a payment without stored id is closed in one transaction, never by looking for it at the provider",
    "refrel": "the full refund of an unshipped order releases its stock",
    "refused": "a refused, replayed or unanswered confirm is never a known failure: ask for the intent; takeover asks before it confirms",
    "remembered": "a client hears only the remembered answer (202 is none); the first writer wins",
    "keydone": "whoever makes the order final writes the key's answer in the same transaction",
    "freecx": "cancel carries no lasting idempotency key",
    "rfnext": "after a replayed 5xx look for the refund in the provider's list, then take the next key",
}
EXTRA = {"fence"}             # T2 asks for the holder, T1b does not: kept by the protocol, found harmless to lack
PROTOCOL = frozenset(FIXES) | EXTRA
WRITTEN = frozenset({"sweeper_shy", "sweeper_bold"})   # section 3 gives the sweeper no word on confirming and no lease to heed

MUTANTS = {  # name: (rules removed, rules broken, in words)
    **{f"without {name}": ({name}, set(), "not: " + words) for name, words in FIXES.items()},
    "no stock guard": (set(), {"no_stock_guard"}, "reserve without on_hand - allocated >= q"),
    "release first": (set(), {"release_first"}, "an expired hold is released before the intent is cancelled"),
    "double release": (set(), {"double_release"}, "settle lets a cancelled order release again"),
    "fresh create key": (set(), {"fresh_pi"}, "each request creates its intent under a key of its own"),
    "fresh refund key": (set(), {"fresh_rf"}, "each try of a refund has a key of its own"),
    "next refund key unguarded": (set(), {"stale_rf"}, "the next key follows the row's number, not the number that was replayed"),
    "early next refund key": (set(), {"early_rf"}, "next refund key after any 5xx, replayed or not"),
    "no fence, last writer wins": ({"fence"}, {"overwrite"}, "a zombie overwrites the remembered answer"),
    "settle from payload": (set(), {"payload"}, "the webhook believes its event: payment_failed settles"),
    "no row lock": (set(), {"no_lock"}, "settle reads, then writes what it decided from the old read"),
    "refund without row lock": (set(), {"ref_no_lock"}, "staff refund reads, then writes"),
    "ack before commit": (set(), {"ack_early"}, "201 is sent when the provider says succeeded, before T2"),
    "unknown is declined": (set(), {"unknown_declined"}, "no answer is taken as a known failure"),
    "confirm before T1b": (set(), {"early_confirm"}, "the intent is confirmed before its id is stored"),
    "key after T1": (set(), {"key_late"}, "T1 places the order without claiming the key; the key row follows"),
    "cancel forgets refund": (set(), {"no_refund_row"}, "cancelling a confirmed order writes no refund row"),
    "refunds not swept": (set(), {"no_refund_sweep"}, "nobody finishes a refund begun"),
    "expiry not swept": (set(), {"no_expiry"}, "nobody cancels an expired hold"),
    "late success kept": (set(), {"no_late_refund"}, "a success on a cancelled order is not refunded"),
    "refund after a day unseen": (set(), {"no_refund_list"}, "an old refund is repeated without looking into the list"),
}
HARMLESS = {
    "no fence at all": ({"fence"}, set(), "first writer wins makes the answer one; the intent makes the money one"),
    "confirm without key": (set(), {"fresh_cf"}, "one intent succeeds once, under whatever key"),
    "sweeper never confirms": (set(), {"sweeper_shy"}, "the sweeper only asks, cancels, releases, refunds"),
    "sweeper heeds no lease": (set(), {"sweeper_bold"}, "the sweeper works on an order whose request still runs"),
}

Config = namedtuple("Config", "name stock actors outcomes faults kinds contradict", defaults=(False,))
ALL = "crash lost 500 late commit zombie"
ONE, TWO = (("A", "request", 0), ("S", "sweeper", 0)), (("A", "request", 0), ("B", "request", 0), ("S", "sweeper", 0))
OTHER = (("C", "request", 1), ("S'", "sweeper", 1))
WEBHOOK, CANCEL, STAFF, SWEEPER2 = ("W", "checker", 0), ("U", "cancel", 0), ("R", "staff", 0), ("S2", "sweeper", 0)
CONFIGS = [
    Config("one request, sweeper", 1, ONE, "ok rpm ra pr", 3, ALL),
    Config("same key twice", 1, TWO, "ok rpm ra", 3, ALL),
    Config("same key twice, webhooks", 1, TWO + (WEBHOOK,), "ok rpm ra", 2, ALL),
    Config("3-D Secure, debit, webhooks, cancel", 1, ONE + (WEBHOOK, CANCEL), "ra pr", 2, ALL),
    Config("same key twice, cancel", 1, TWO + (CANCEL,), "ok rpm", 2, ALL),
    Config("request, cancel, staff refund", 1, ONE + (CANCEL, STAFF), "ok pr", 2, ALL),
    Config("two sweepers, cancel", 1, ONE + (SWEEPER2, CANCEL), "ok ra", 2, ALL),
    Config("two sweepers, refunds", 1, ONE + (SWEEPER2, STAFF), "ok", 3, "crash lost 500 late"),
    Config("confirm refused for good", 1, TWO + (CANCEL,), "ok no", 2, ALL),
    Config("everybody", 1, TWO + (WEBHOOK, CANCEL, STAFF), "ok rpm ra", 1, ALL),
    Config("two buyers, last unit", 1, ONE + OTHER, "ok rpm", 1, ALL),
    Config("two buyers, two units, cancel", 2, ONE + OTHER + (CANCEL,), "ok rpm", 1, "crash lost late zombie"),
    Config("a day lost", 1, TWO + (STAFF,), "ok ra", 2, "crash lost day"),
    Config("provider contradicts itself", 1, ONE + (WEBHOOK,), "ok rpm", 1, "crash lost", True),
]


# ---- the provider -----------------------------------------------------------------------------------------------------------------

def intent(o, n, state, refunds=0):
    """the order with its n-th intent in a new state"""
    return o._replace(intents=o.intents[:n] + ((state, o.intents[n][1] + refunds),) + o.intents[n + 1:])


def effects(o, kind, key, n, outcomes):
    """all (order, answer) that one call can have at the provider"""
    for known, answer in o.keys:
        if known == key:
            return [(o, answer + "*")]
    if kind == "create":
        done = [(o._replace(intents=o.intents + (("rc", 0),)), str(len(o.intents)))]
    else:
        state = o.intents[n][0]
        if kind == "confirm" and state in ("rc", "rpm"):           # "no": refused for good, nothing happens to the intent
            done = [(o, "400" + state) if outcome == "no" else (intent(o, n, outcome), outcome) for outcome in outcomes]
        elif kind == "cancel" and state in ("rc", "ra", "rpm"):
            done = [(intent(o, n, "cx"), "cx")]
        elif kind == "refund" and state == "ok":
            done = [(intent(o, n, "ok", 1), "made")]
        else:
            done = [(o, "400" + state)]   # refused; the error carries the intent
    return [(remember(after, key, answer), answer) for after, answer in done]


def remember(o, key, answer):
    return o._replace(keys=tuple(sorted(o.keys + ((key, answer),)))) if key else o


def call(cfg, o, kind, key, n=None):
    """one call and its faults: (text, order, answer, cost); "?" is no answer, "5" a 5xx, "!" the caller died meanwhile"""
    done = effects(o, kind, key, n, cfg.outcomes)
    for after, answer in done:
        yield f"{kind} -> {answer}", after, answer, 0
    if key and any(travelling[1] == key for travelling in o.net):
        yield f"{kind} -> 409, same key in flight", o, "?", 0
    if "lost" in cfg.kinds:
        yield f"{kind} is lost on the way", o, "?", 1
        for after, answer in done:
            if after != o:
                yield f"{kind} applied ({answer}), its answer lost", after, "?", 1
    fresh = not done[0][1].endswith("*")
    if "500" in cfg.kinds and key and fresh:
        yield f"{kind} -> 500 stored, not applied", remember(o, key, "5"), "5", 1
        for after, _ in done:
            if after.intents != o.intents:
                yield f"{kind} -> 500 stored, but applied", remember(after._replace(keys=o.keys), key, "5"), "5", 1
    if "late" in cfg.kinds and fresh:
        sent = o._replace(net=tuple(sorted(o.net + ((kind, key, n),), key=str)))
        yield f"{kind} times out, still travelling", sent, "?", 1
        yield f"{kind} -> 502 from a gateway, still travelling", sent, "5", 1
        yield f"dies, its {kind} still travelling", sent, "!", 1


def ask(cfg, o):
    """GET the intent: its state now, or no answer"""
    yield f"GET -> {o.intents[o.pi][0]}", o.intents[o.pi][0], 0
    if "lost" in cfg.kinds:
        yield "GET -> no answer", "?", 1


# ---- the transactions -------------------------------------------------------------------------------------------------------------

def settle(R, o, stock, state):
    """the table of section 3, under the payment's row lock; (order, allocated)"""
    if state == "gone":                                           # a replayed 5xx of create: only an order still without id may be closed
        state = "cx" if o.pi is None and "local" in R else "?"
    failed = {"cx"} if "close" in R else {"cx", "rpm"}
    if "refused" not in R:
        failed |= {"400rc", "400ra", "400pr", "400ok", "400cx"}
    if "payload" in R:
        failed.add("rpm event")
    if "unknown_declined" in R:
        failed.add("?")
    if state == "ok" and o.pay != "succeeded":
        if o.order == "pending":
            o = o._replace(order="confirmed", pay="succeeded", res="committed")
        else:
            o = o._replace(pay="succeeded", ref="-" if "no_late_refund" in R else "due")
    elif state in failed and (o.order == "pending" or "double_release" in R and o.order == "cancelled"):
        o, stock = o._replace(order="cancelled", pay="closed", res="released"), stock - 1
    if "keydone" in R and o.key == "open" and o.order != "pending":
        o = o._replace(key=final(o))
    return o, stock


def final(o):
    return "201" if o.pay == "succeeded" else "402"


def say(o, answer):
    return o if answer in o.said else o._replace(said=tuple(sorted(o.said + (answer,))))


def unsure(cfg, text, o, stock, after, left):
    """COMMIT of unknown outcome: it held or it did not; either way the request reads its key again"""
    if "commit" in cfg.kinds:
        yield f"{text} commits, outcome unknown to it", after, left, "again", None, 1
        yield f"{text} fails, outcome unknown to it", o, stock, "again", None, 1


def begin(cfg, R, o, stock, me, again):
    """a request arrives, or reads again after a COMMIT of unknown outcome: T1, replay, 409 or takeover"""
    if o.order == "-":
        if stock < cfg.stock or "no_stock_guard" in R:
            new = o._replace(key="open", owner=me, lease=True, order="pending", pay="created", res="held")
            if "key_late" in R:
                new = new._replace(key="-", owner="")
            yield "T1 reserves, places the pending order, claims the key", new, stock + 1, "C1", new.att, 0
            if "commit" in cfg.kinds and "reread" not in R:
                yield "T1 commits, outcome unknown to it: answers 503", say(new, "503!"), stock + 1, "idle", None, 1
            else:
                yield from unsure(cfg, "T1", o, stock, new, stock + 1)
        return
    if o.key == "-":                                              # only the mutant key_late comes here: it places a second time
        yield "T1 finds no key and places again", o._replace(key="open", owner=me, lease=True, said=("twice",)), stock + 1, "C1", o.att, 0
    elif o.key != "open":
        yield f"replays the remembered {o.key}", say(o, o.key), stock, "idle", None, 0
    elif not o.lease or again and o.owner == me:
        o = o._replace(owner=me, lease=True)
        if o.order != "pending":
            yield f"takes over, remembers {final(o)}", say(o._replace(key=final(o)), final(o)), stock, "idle", None, 0
        elif o.pi is None and o.age and "local" in R:
            o, stock = settle(R, o, stock, "cx")
            yield "takes over, too late: closes the order", say(o._replace(key=final(o)), final(o)), stock, "idle", None, 0
        elif o.pi is None:
            yield "takes over, no intent yet", o, stock, "C1", o.att, 0
        elif "refused" in R:                                      # hold and number are what they were here, under the locks
            yield "takes over, intent known", o, stock, "GET", (o.age > 0, o.att), 0
        else:
            o = o._replace(att=min(o.att + 1, 2))
            yield "takes over, confirms as its own attempt", o, stock, "C2", (o.pi, o.att), 0


def finish(R, o, stock, me, state):
    """T2: settle, remember the answer if none is, answer what is remembered; (order, allocated, text)"""
    o, stock = settle(R, o, stock, state)
    view = final(o) if o.order != "pending" else "RA" if state == "ra" else "202"
    mine = o.owner == me or "fence" not in R
    if view == "202" and o.key == "open":                         # not a last answer: whoever asks again may take over
        return o._replace(lease=o.lease and not mine), stock, f"T2 cannot tell from {state}: {'202, ends the lease' if mine else '409'}"
    if o.key == "open" and mine or "overwrite" in R:
        o = o._replace(key=view)
    if "remembered" not in R or "overwrite" in R:
        return say(o, view), stock, f"T2 settles {state}: order {o.order}, answers {view}"
    if o.key == "open":
        return o, stock, f"T2 settles {state}: order {o.order}, not its key any more: 409"
    return say(o, o.key), stock, f"T2 settles {state}: order {o.order}, answers {o.key}"


# ---- the actors: (text, order, allocated, next step, memory, cost) ----------------------------------------------------------------

def request(cfg, R, o, stock, me, pc, mem):
    if pc in ("idle", "again"):
        yield from begin(cfg, R, o, stock, me, pc == "again")
    elif pc == "C1":
        for text, after, answer, cost in call(cfg, o, "create", "pi-" + me if "fresh_pi" in R else "pi"):
            number = answer.rstrip("*")
            known = number in ("0", "1", "2")
            step = "idle" if answer == "!" else "T2" if not known else "C2" if "early_confirm" in R else "T1b"
            yield text, after, stock, step, (int(number), mem) if known else "gone" if answer == "5*" else "?", cost
    elif pc == "T1b":
        if "guard" not in R or o.pay == "created" and o.pi is None:
            yield "T1b stores the intent's id", o._replace(pi=mem[0]), stock, "C2", mem, 0
            yield from unsure(cfg, "T1b", o, stock, o._replace(pi=mem[0]), stock)
        else:
            yield "T1b changes no row", o, stock, "again", None, 0
    elif pc in CONFIRMING:
        for text, after, step, memory, cost in confirm(cfg, R, o, pc, mem):
            if (step, memory) == ("told", "ok") and "ack_early" in R:
                after, text = say(after, "201"), text + ", answers 201 at once"
            yield text, after, stock, "T2" if step == "told" else step, memory, cost
    elif pc == "GET":
        for text, state, cost in ask(cfg, o):
            too_late, number = mem
            if state == "rc":
                yield text, o, stock, *(("cancel", None) if too_late else ("C2", (o.pi, number))), cost
            else:
                step, memory = heard(R, state)
                yield text, o, stock, "T2" if step == "told" else step, memory, cost
    elif pc == "cancel":
        for text, after, state, cost in cancel_call(cfg, R, o):
            yield text, after, stock, "idle" if state == "!" else "T2", state, cost
    elif pc == "T2" and "no_lock" in R:
        yield f"T2 reads: order {o.order}", o, stock, "T2 write", (mem, o.order, o.pay, o.res), 0
    elif pc in ("T2", "T2 write"):
        if pc == "T2 write":
            mem, order, pay, res = mem
            o = o._replace(order=order, pay=pay, res=res)
        elif o.pi is None and "early_confirm" in R and o.intents and o.pay == "created":
            o = o._replace(pi=0)
        after, left, text = finish(R, o, stock, me, mem)
        yield text, after, left, "idle", None, 0
        if pc == "T2" and "overwrite" not in R:
            yield from unsure(cfg, "T2", o, stock, after._replace(said=o.said), left)


CONFIRMING = "C2", "GET after", "next attempt"


def confirm(cfg, R, o, pc, mem):
    """C2, whoever sends it: a first, direct answer is believed, after any other a GET decides; (text, order, next step, memory, cost)

    It ends in "told", with what the provider said last ("?": nothing), or goes on to "cancel". The key's number is the one that was read
    when the work began, and the next is taken only if that one still stands.
    """
    if pc == "C2":
        n, number = mem
        for text, after, answer, cost in call(cfg, o, "confirm", None if "fresh_cf" in R else f"cf-{number}", n):
            state = answer.rstrip("*")
            if answer == "!":
                yield text, after, "idle", None, cost
            elif o.pi is not None and "refused" in R and (answer != state or state in ("5", "?") or state.startswith("400")):
                yield text, after, "GET after", "refused" if state.startswith("400") else number if answer == "5*" else None, cost
            else:                                                 # only the mutant early_confirm confirms an intent whose id is not stored
                yield text, after, *(("told", "?" if state == "5" else state) if o.pi is None else heard(R, state)), cost
    elif pc == "GET after":
        for text, state, cost in ask(cfg, o):
            if state != "rc":
                yield text, o, *heard(R, state), cost
            else:                                                 # refused for good: end it; a stored 5xx: the next number; else leave it
                yield text, o, *(("cancel", None) if mem == "refused" else ("told", "?") if mem is None else ("next attempt", mem)), cost
    else:
        yield "next confirm key", o._replace(att=o.att + 1) if o.att == mem else o, "told", "?", 0


def heard(R, state):
    """what is done about an answer: a failed attempt is first cancelled"""
    return ("cancel", None) if state == "rpm" and "close" in R else ("told", "?" if state == "5" else state)


def cancel_call(cfg, R, o, n=None):
    """cancel the intent at the provider: (text, order, its state then, cost)"""
    key = None if "freecx" in R else "cx"
    for text, after, answer, cost in call(cfg, o, "cancel", key, o.pi if n is None else n):
        state = answer.rstrip("*").removeprefix("400")
        yield text, after, "?" if state == "5" else state, cost


def helper(cfg, R, o, stock, pc, mem):
    """what webhook, /confirm, sweeper and customer cancel share: cancel the intent, settle what the provider said"""
    if pc == "cancel":
        for text, after, state, cost in cancel_call(cfg, R, o, mem):
            yield text, after, stock, "settle" if state in ("ok", "cx") else "idle", state if state in ("ok", "cx") else None, cost
    elif pc == "settle" and "no_lock" in R:
        yield f"settle reads: order {o.order}", o, stock, "settle write", (mem, o.order, o.pay, o.res), 0
    elif pc in ("settle", "settle write"):
        state, before = mem, o
        if pc == "settle write":
            state, order, pay, res = mem
            before = o._replace(order=order, pay=pay, res=res)
        after, left = settle(R, before, stock, state)
        yield f"settles {state}: order {after.order}, stock {after.res}", after, left, "idle", None, 0


def checker(cfg, R, o, stock, me, pc, mem):
    """a webhook or the customer's /confirm: ask, close a failed attempt, settle"""
    if pc != "idle":
        yield from helper(cfg, R, o, stock, pc, mem)
    elif o.pi is not None and o.intents[o.pi][0] in ("ok", "cx", "rpm"):
        if "payload" in R and o.intents[o.pi][0] == "rpm":
            yield "event payment_failed arrives", o, stock, "settle", "rpm event", 0
            return
        for text, state, cost in ask(cfg, o):
            if state != "?":
                yield text, o, stock, *(("cancel", None) if state == "rpm" and "close" in R else ("settle", state)), cost


def sweeper(cfg, R, o, stock, me, pc, mem):
    """asks, ends expired, abandoned and failed payments, finishes placements it may finish and refunds begun"""
    if pc == "refund":
        key = None if "fresh_rf" in R else f"rf-{mem}"
        for text, after, answer, cost in call(cfg, o, "refund", key, o.pi):
            ended = answer == "5*" or answer == "5" and "early_rf" in R
            step = "refunded" if answer.startswith("made") else "refund list" if ended and "rfnext" in R else "idle"
            yield text, after, stock, step, mem if step == "refund list" else None, cost
    elif pc == "refund list":
        made = o.intents[o.pi][1] > 0
        number = o.ratt if "stale_rf" in R else mem
        yield f"refund list -> {'found' if made else 'none'}", o, stock, "refunded" if made else "next key", None if made else number, 0
    elif pc == "next key":
        yield "next refund key", o._replace(ratt=o.ratt + 1) if o.ratt == mem and o.ref == "due" else o, stock, "idle", None, 0
    elif pc == "refunded":
        yield "refund recorded", o._replace(ref="done") if o.ref == "due" else o, stock, "idle", None, 0
    elif pc == "old refund list":
        made = o.intents[o.pi][1] > 0
        yield f"refund list -> {'found' if made else 'none'}", o, stock, "refunded" if made else "refund", None if made else mem, 0
    elif pc == "T1b":
        free = o.pay == "created" and o.pi is None or "guard" not in R
        if free:
            yield "T1b stores the intent's id", o._replace(pi=mem[0]), stock, "C2", mem, 0
        else:
            yield "T1b changes no row", o, stock, "idle", None, 0
    elif pc in CONFIRMING:
        for text, after, step, memory, cost in confirm(cfg, R, o, pc, mem):
            if step == "told":
                step, memory = ("idle", None) if memory in ("?", "rc", "ra", "pr") else ("settle", memory)
            yield text, after, stock, step, memory, cost
    elif pc != "idle":
        yield from helper(cfg, R, o, stock, pc, mem)
    elif o.ref == "due":
        if "no_refund_sweep" not in R:
            if o.age == 2 and "no_refund_list" not in R:
                yield "takes an old refund", o, stock, "old refund list", o.ratt, 0
            else:
                yield "takes a refund", o, stock, "refund", o.ratt, 0
    elif o.order == "pending" and (o.key != "open" or not o.lease or o.age or "sweeper_bold" in R):
        if o.pi is None:
            if "local" in R:
                after, left = settle(R, o, stock, "cx")
                yield "closes a payment without intent: released", after, left, "idle", None, 0
            if "local" not in R or not o.age and "sweeper_shy" not in R:
                for text, after, answer, cost in call(cfg, o, "create", "pi-" + me if "fresh_pi" in R else "pi"):
                    number = answer.rstrip("*")
                    known = number in ("0", "1", "2")
                    step, memory = ("T1b", (int(number), o.att)) if known else ("settle", "gone") if answer == "5*" else ("idle", None)
                    yield text, after, stock, step, memory, cost
            return
        if o.age and "release_first" in R:
            after, left = settle(R, o, stock, "cx")
            yield "releases the expired hold, will cancel the intent", after, left, "cancel", None, 0
            return
        for text, state, cost in ask(cfg, o):
            if state in ("ok", "cx") or state == "rpm" and "close" not in R:
                yield text, o, stock, "settle", state, cost
            elif state == "rpm" or state in ("rc", "ra") and o.age and "no_expiry" not in R:
                yield text, o, stock, "cancel", None, cost
            elif state == "rc" and not o.age and "sweeper_shy" not in R:
                yield text, o, stock, "C2", (o.pi, o.att), cost
            if state in ("rc", "ra") and not o.age and o.key == "open" and not o.lease:
                yield f"{text}, abandoned", o, stock, "cancel", None, cost


def cancel(cfg, R, o, stock, me, pc, mem):
    """the customer cancels: a pending order by way of the provider, its hold given up, a confirmed one with a refund"""
    if pc == "list":
        found = len(o.intents) > 0
        text = f"provider's list -> {'an intent' if found else 'none, so it never existed'}"
        yield text, o, stock, *(("cancel", 0) if found else ("settle", "cx")), 0
    elif pc != "idle":
        yield from helper(cfg, R, o, stock, pc, mem)
    elif o.order == "confirmed":
        yield "cancels the confirmed order", *give_back(R, o, stock, "cancelled"), "idle", None, 0
    elif o.order == "pending":
        if o.pi is not None:
            yield "wants to cancel, gives up the hold", o._replace(age=max(o.age, 1)), stock, "cancel", None, 0
        elif "local" in R:
            yield "cancels an order without intent", *settle(R, o, stock, "cx"), "idle", None, 0
        else:
            yield "wants to cancel, no intent stored", o, stock, "list", None, 0


def give_back(R, o, stock, status):
    """a confirmed, unshipped order ends: refund row, stock released, in one transaction"""
    if status == "refunded" and "refrel" not in R:
        return o._replace(order=status, ref="due"), stock
    ref = "-" if status == "cancelled" and "no_refund_row" in R else "due" if o.ref == "-" else "twice"
    return o._replace(order=status, res="released", ref=ref), stock - (o.res != "released")


def staff(cfg, R, o, stock, me, pc, mem):
    if pc == "write":
        yield "refunds", *give_back(R, o, stock, "cancelled"), "idle", None, 0
    elif o.order == "confirmed":
        if "ref_no_lock" in R:
            yield "reads a confirmed order", o, stock, "write", None, 0
        else:                                                     # the full refund of an unshipped order is its cancellation
            yield "refunds in full", *give_back(R, o, stock, "cancelled" if "refrel" in R else "refunded"), "idle", None, 0


PROGRAMS = {"request": request, "checker": checker, "sweeper": sweeper, "cancel": cancel, "staff": staff}


# ---- exploring --------------------------------------------------------------------------------------------------------------------

def steps(cfg, R, s):
    """every (text, can recovery count on it, next state)"""
    orders, actors, stock, faults = s

    def state(k, o, allocated, cost, i=None, actor=None):
        after = actors if i is None else actors[:i] + (actor,) + actors[i + 1:]
        return orders[:k] + (o,) + orders[k + 1:], after, allocated, faults - cost

    for i, (name, kind, k) in enumerate(cfg.actors):
        pc, mem = actors[i]
        counts = pc != "idle" or kind == "sweeper" or cfg.contradict
        for text, o, allocated, step, memory, cost in PROGRAMS[kind](cfg, R, orders[k], stock, name, pc, mem):
            if cost <= faults:
                yield (name, text), counts and not cost, state(k, o, allocated, cost, i, (step, memory))
        if faults and pc != "idle" and "crash" in cfg.kinds:
            yield (name, "dies"), False, state(k, orders[k], stock, 1, i, ("idle", None))
    for k, o in enumerate(orders):
        if o.lease and o.key == "open":
            alive = any(name == o.owner and actors[i][0] != "idle" for i, (name, _, _) in enumerate(cfg.actors))
            if not alive:
                yield ("clock", f"the lease of {o.owner} runs out"), True, state(k, o._replace(lease=False), stock, 0)
            elif faults and "zombie" in cfg.kinds:
                yield ("clock", f"the lease of {o.owner}, who lives, runs out"), False, state(k, o._replace(lease=False), stock, 1)
        if o.order != "-" and not o.age:
            yield ("clock", "the hold expires"), True, state(k, o._replace(age=1), stock, 0)
        if o.age == 1 and faults and "day" in cfg.kinds and not o.net and all(pc == "idle" for pc, _ in actors):
            yield ("clock", "a day passes, the provider forgets its keys"), False, state(k, o._replace(age=2, keys=()), stock, 1)
        for travelling in o.net:
            rest = list(o.net)
            rest.remove(travelling)
            waiting = o._replace(net=tuple(rest))
            yield ("network", f"the delayed {travelling[0]} is lost"), True, state(k, waiting, stock, 0)
            for after, answer in effects(waiting, *travelling, cfg.outcomes):
                yield ("network", f"the delayed {travelling[0]} arrives -> {answer}"), True, state(k, after, stock, 0)
        for n, (now, _) in enumerate(o.intents):
            if now == "ra":
                yield ("customer", "completes 3-D Secure"), False, state(k, intent(o, n, "ok"), stock, 0)
                yield ("customer", "fails 3-D Secure"), False, state(k, intent(o, n, "rpm"), stock, 0)
            elif now == "rpm" and "RA" in o.said:
                yield ("customer", "tries another card with the client secret"), False, state(k, intent(o, n, "ok"), stock, 0)
            elif now == "pr":
                yield ("provider", "the bank debit succeeds"), True, state(k, intent(o, n, "ok"), stock, 0)
                yield ("provider", "the bank debit fails"), True, state(k, intent(o, n, "rpm"), stock, 0)
            elif now == "cx" and cfg.contradict and faults:
                yield ("provider", "a canceled intent succeeds after all"), False, state(k, intent(o, n, "ok"), stock, 1)


GOES_WITH = {"-": "-", "pending": "held", "confirmed": "committed", "cancelled": "released", "refunded": "released"}


def broken(cfg, s):
    """the first invariant that a state breaks, or None"""
    orders, actors, stock, _ = s
    if not 0 <= stock <= cfg.stock:
        return "I3 allocated between 0 and on_hand"
    if stock != sum(o.res in ("held", "committed") for o in orders):
        return "I2 allocated = held + committed"
    for o in orders:
        if GOES_WITH[o.order] != o.res:
            return f"I4 order and stock agree ({o.order}/{o.res})"
        if sum(state == "ok" and not refunds for state, refunds in o.intents) > 1 or any(refunds > 1 for _, refunds in o.intents):
            return "I17 at most one charge, one refund"
        if o.ref == "twice":
            return "I7 refunds <= received"
        if o.order == "confirmed" and (o.pay != "succeeded" or o.ref != "-" or o.pi is None or o.intents[o.pi] != ("ok", 0)):
            return "I5 confirmed means paid"
        if o.pay == "succeeded" and o.order != "confirmed" and o.ref == "-":
            return "I6 a dead order keeps no money"
        if len(set(o.said)) > 1 or "503!" in o.said or "twice" in o.said:
            return f"I9 one key, one answer ({' and '.join(o.said)})"
        if any(answer != o.key for answer in o.said):
            return "I18 an answer given is durable"
        if cfg.contradict:
            continue
        if "201" in o.said and o.pay != "succeeded" or "402" in o.said and o.pay != "closed":
            return "I18 the answer tells the truth"
        if o.pay == "closed" and any(state != "cx" and (state != "rc" or n == o.pi) for n, (state, _) in enumerate(o.intents)):
            return "R1 released only when the intent is terminal"
        if len(o.intents) > 1 and "day" not in cfg.kinds:
            return "I15 one order, one intent"
    return None


def good(s):
    """every order final, its key answered, the money where it belongs"""
    for o in s[0]:
        if o.order == "-":
            continue
        if o.key in ("-", "open") or o.order == "pending" or o.ref == "due":
            return False
        kept = sum(state == "ok" and not refunds for state, refunds in o.intents)
        if kept != (o.order == "confirmed"):
            return False
    return True


Found = namedtuple("Found", "states depth violation trace seconds")


def explore(cfg, R):
    """breadth first, so that the first violation has a shortest trace"""
    began = time.perf_counter()
    cfg = cfg._replace(outcomes=cfg.outcomes.split(), kinds=frozenset(cfg.kinds.split()))
    first = ((EMPTY,) * (1 + max(k for _, _, k in cfg.actors)), (("idle", None),) * len(cfg.actors), 0, cfg.faults)
    number, states, parent, before = {first: 0}, [first], [-1], [[]]
    here, depth, ends = 0, [0], [0]

    def trace(n):
        lines = []
        while parent[n] >= 0:
            lines.append(next(": ".join(label) for label, _, after in steps(cfg, R, states[parent[n]]) if after == states[n]))
            n = parent[n]
        return lines[::-1]

    def found(violation, n):
        return Found(len(states), depth[-1], violation, trace(n), time.perf_counter() - began)

    while here < len(states):
        for _, counts, after in steps(cfg, R, states[here]):
            n = number.get(after)
            if n is None:
                n = number[after] = len(states)
                states.append(after)
                parent.append(here)
                depth.append(depth[here] + 1)
                before.append([])
                violation = broken(cfg, after)
                if violation:
                    return found(violation, n)
                if good(after):
                    ends.append(n)
            if counts:
                before[n].append(here)
        here += 1
    saved, queue = bytearray(len(states)), ends
    for n in queue:
        saved[n] = 1
    while queue:
        for n in before[queue.pop()]:
            if not saved[n]:
                saved[n] = 1
                queue.append(n)
    stuck = saved.find(0)
    if stuck >= 0:
        o = next(o for o in states[stuck][0] if not good(((o,),)))
        return found(f"I19 stuck for ever (key {o.key}, order {o.order}, stock {o.res}, refund {o.ref})", stuck)
    return Found(len(states), depth[-1], None, [], time.perf_counter() - began)


def search(R):
    """the shortest violation in any configuration, of safety before liveness"""
    found = [(result.violation.startswith("I19"), len(result.trace), n, cfg, result) for n, cfg in enumerate(CONFIGS)
             if (result := explore(cfg._replace(faults=min(cfg.faults, 2)), R)).violation]
    return min(found)[3:] if found else None


def main(arguments):
    if "--mutants" in arguments or "--harmless" in arguments:
        table, missed = HARMLESS if "--harmless" in arguments else MUTANTS, 0
        print(f"{'mutant':28} {'caught by':36} {'faults':>6} {'steps':>5}  violation")
        for name, (without, broken_rules, _) in table.items():
            for cfg in (cfg._replace(faults=faults) for faults in range(3) for cfg in CONFIGS if cfg.faults >= faults):
                result = explore(cfg, (PROTOCOL - without) | broken_rules)
                if result.violation:
                    print(f"{name:28} {cfg.name:36} {cfg.faults:6} {len(result.trace):5}  {result.violation}", flush=True)
                    if "--traces" in arguments:
                        print(*(f"      {n}. {line}" for n, line in enumerate(result.trace, 1)), sep="\n")
                    break
            else:
                missed += 1
                print(f"{name:28} in no configuration with at most 2 faults", flush=True)
        return missed if table is MUTANTS else 0
    if "--written" in arguments:
        have = set(WRITTEN)
        for fix in [None, *FIXES]:
            have |= {fix} - {None}
            print(f"\n== {'as first written' if fix is None else 'and: ' + FIXES[fix]}")
            worst = search(frozenset(have))
            print(f"{worst[1].violation}   [{worst[0].name}]" if worst else "no violation in any configuration", flush=True)
            print(*(f"  {n}. {line}" for n, line in enumerate(worst[1].trace if worst else [], 1)), sep="\n")
        return 0
    bad = 0
    print(f"{'configuration':36} {'states':>8} {'depth':>5} {'seconds':>7}  violations")
    for cfg in CONFIGS:
        result = explore(cfg, PROTOCOL)
        bad += result.violation is not None
        print(f"{cfg.name:36} {result.states:8} {result.depth:5} {result.seconds:7.1f}  {result.violation or 'none'}", flush=True)
        print(*(f"  {n}. {line}" for n, line in enumerate(result.trace, 1)), sep="\n", end="\n" if result.trace else "")
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
