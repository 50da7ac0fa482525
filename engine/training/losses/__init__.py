"""Training losses as plain functions, each with the paper it comes from."""
