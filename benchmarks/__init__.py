"""Benchmarks, each a command: prints a table and writes JSON under `.local/bench/`."""
