"""Merchants (the tenants), their stores and their products."""
