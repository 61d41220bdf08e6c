"""The HTTP API under `/v1`: one file for each room, and what they share."""

from counterfoil.api.app import create_api, with_verbs

__all__ = ["create_api", "with_verbs"]
