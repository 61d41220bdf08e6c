"""The commands: one file for each room, and what they share."""
