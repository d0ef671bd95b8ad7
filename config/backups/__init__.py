"""Keeps copies of the whole database, brings them back, and proves that it can.

A backup directory (`directory`) holds base backups (`base_backup`) and the write-ahead log since
(`wal_archive`); `recovery` makes a data directory of them that begins at any moment in between,
`drill` does so on the side and looks whether the shop is all there. The copying is done by
PostgreSQL's own programs.
"""
