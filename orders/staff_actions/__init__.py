"""The buttons of the pages of orders, returns, refunds in question and payment links.

Each asks, and makes one call of a service.
"""
