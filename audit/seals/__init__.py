"""Seals of the audit log: a signed chain of digests over its rows, also kept outside the database.

`content` says what of a row counts, `chain` what of a seal, `keys` who may sign, `copies` keeps
the copies outside, `sealing` makes seals, `verification` holds everything against them.
docs/audit.md tells what that proves.
"""
