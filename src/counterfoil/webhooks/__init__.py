"""Telling customers' programs what happened: endpoints, messages, and their delivery at least once."""
