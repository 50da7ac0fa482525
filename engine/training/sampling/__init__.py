"""Answers sampled from a model while it is trained, and how likely models find them."""
