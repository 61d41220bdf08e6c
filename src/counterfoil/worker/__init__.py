"""The worker: takes jobs from the queue and gives each to the room that handles it."""

from .run import run_worker

__all__ = ["run_worker"]
