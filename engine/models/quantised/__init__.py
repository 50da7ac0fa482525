"""Weights in fewer bits, one module a library: bitsandbytes, hqq, and what is stored so already."""
