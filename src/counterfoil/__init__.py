"""Counterfoil: marketing vouchers and loyalty points, and what became of every single one."""

__version__ = "0.1.0"
