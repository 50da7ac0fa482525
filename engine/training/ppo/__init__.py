"""Proximal policy optimisation: a model learns from a score of what it answers."""
