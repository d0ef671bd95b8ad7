"""Completes the OpenAPI document with what no view says: errors, headers, examples, probes."""
