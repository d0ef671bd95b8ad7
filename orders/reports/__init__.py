"""What the shop owes authorities and its owners: figures of whole days, equal to the ledger.

Each report is read in one snapshot, set by set, and compared there with the ledger's own entries.
Where both differ it says so: `is_equal` is false, the difference stands beside the figures, and
nothing is adjusted. Amounts are in major units of their currency; currencies are never added up.
"""
