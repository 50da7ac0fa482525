"""Learning from groups of answers to one prompt: GRPO and RLOO."""
