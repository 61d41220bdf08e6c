"""Customers: who they are, as their merchant knows them."""
