"""The demonstration on real data: what goes in, and what is shown of it."""
