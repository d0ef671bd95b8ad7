"""The demo shop's catalogue and real baskets, as files; README.md names their source."""
