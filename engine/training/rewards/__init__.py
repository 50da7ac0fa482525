"""What an answer is worth: reward functions by name, files of the user's own, reward models."""

from engine.training.rewards.functions import REWARD_FUNCTIONS, Answers, Reward, reward_functions

__all__ = ["REWARD_FUNCTIONS", "Answers", "Reward", "reward_functions"]
