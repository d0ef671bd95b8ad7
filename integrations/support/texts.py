"""What tickets say, in the language that staff works in.

A few sentences that people of the shop read, and no customer: they stand here rather than in the
catalogues of what customers read.
"""

from __future__ import annotations

from typing import Final

SUBJECTS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "quarantine": "Order {order_number}: payment in quarantine",
        "dispute": "Order {order_number}: payment disputed",
        "return": "Order {order_number}: return requested",
        "refund": "Order {order_number}: refund failed",
    },
    "de": {
        "quarantine": "Bestellung {order_number}: Zahlung in Quarantäne",
        "dispute": "Bestellung {order_number}: Zahlung angefochten",
        "return": "Bestellung {order_number}: Rücksendung gewünscht",
        "refund": "Bestellung {order_number}: Erstattung gescheitert",
    },
    "fr": {
        "quarantine": "Commande {order_number} : paiement en quarantaine",
        "dispute": "Commande {order_number} : paiement contesté",
        "return": "Commande {order_number} : retour demandé",
        "refund": "Commande {order_number} : remboursement échoué",
    },
}
"""By language and kind of matter."""

SENTENCES: Final[dict[str, dict[str, str]]] = {
    "en": {
        "payment.quarantined": "The payment provider tells another story of this payment than we"
        " do. Nothing goes on until somebody has looked into it; the customer may be waiting.",
        "payment.quarantine_ended": "The quarantine of this payment has ended.",
        "order.disputed": "The customer's bank disputes {amount} {currency}. Ask the customer what"
        " is wrong before you answer the bank.",
        "order.dispute_due": "Evidence in the dispute over {amount} {currency} is due by"
        " {evidence_due_at}.",
        "order.dispute_closed": "The dispute over {amount} {currency} is closed: {status}.",
        "return.requested": "The customer wants to send something back.",
        "return.accepted": "The return was accepted.",
        "return.refused": "The return was refused.",
        "return.received": "What was sent back has arrived.",
        "return.refunded": "The money for the return is on its way.",
        "order.refund_failed": "A refund of {amount} {currency} has failed: the money cannot go"
        " back the way it came. Ask the customer for another way.",
        "reason": "In the customer's words: {reason}",
        "order": "Order: {order_url}",
    },
    "de": {
        "payment.quarantined": "Der Zahlungsdienst erzählt von dieser Zahlung etwas anderes als"
        " wir. Nichts geht weiter, bis jemand nachgesehen hat; der Kunde wartet vielleicht.",
        "payment.quarantine_ended": "Die Quarantäne dieser Zahlung ist beendet.",
        "order.disputed": "Die Bank des Kunden ficht {amount} {currency} an. Fragen Sie den Kunden,"
        " was nicht stimmt, bevor Sie der Bank antworten.",
        "order.dispute_due": "Belege zur Anfechtung von {amount} {currency} sind fällig bis"
        " {evidence_due_at}.",
        "order.dispute_closed": "Die Anfechtung von {amount} {currency} ist abgeschlossen:"
        " {status}.",
        "return.requested": "Der Kunde möchte etwas zurücksenden.",
        "return.accepted": "Die Rücksendung wurde angenommen.",
        "return.refused": "Die Rücksendung wurde abgelehnt.",
        "return.received": "Die Rücksendung ist angekommen.",
        "return.refunded": "Das Geld für die Rücksendung ist unterwegs.",
        "order.refund_failed": "Eine Erstattung von {amount} {currency} ist gescheitert: Das Geld"
        " kann nicht dorthin zurück, woher es kam. Fragen Sie den Kunden nach einem anderen Weg.",
        "reason": "Mit den Worten des Kunden: {reason}",
        "order": "Bestellung: {order_url}",
    },
    "fr": {
        "payment.quarantined": "Le prestataire de paiement raconte de ce paiement autre chose que"
        " nous. Rien n'avance tant que personne n'a vérifié ; le client attend peut-être.",
        "payment.quarantine_ended": "La quarantaine de ce paiement est terminée.",
        "order.disputed": "La banque du client conteste {amount} {currency}. Demandez au client ce"
        " qui ne va pas avant de répondre à la banque.",
        "order.dispute_due": "Les preuves pour la contestation de {amount} {currency} sont dues"
        " avant le {evidence_due_at}.",
        "order.dispute_closed": "La contestation de {amount} {currency} est close : {status}.",
        "return.requested": "Le client souhaite renvoyer quelque chose.",
        "return.accepted": "Le retour a été accepté.",
        "return.refused": "Le retour a été refusé.",
        "return.received": "Le retour est arrivé.",
        "return.refunded": "L'argent du retour est en route.",
        "order.refund_failed": "Un remboursement de {amount} {currency} a échoué : l'argent ne"
        " peut pas repartir par où il est venu. Demandez au client un autre moyen.",
        "reason": "Dans les mots du client : {reason}",
        "order": "Commande : {order_url}",
    },
}
"""By language and fact, and what may stand below."""
