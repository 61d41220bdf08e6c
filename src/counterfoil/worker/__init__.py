"""The worker: takes jobs from the queue and gives each to the room that handles it."""

from counterfoil.worker.run import run_worker

__all__ = ["run_worker"]
