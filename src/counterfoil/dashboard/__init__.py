"""The operators' pages: plain HTML that works without script, in English and Chinese."""

from counterfoil.dashboard.site import create_pages

__all__ = ["create_pages"]
