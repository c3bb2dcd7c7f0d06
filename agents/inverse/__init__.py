"""Inverse reinforcement learning: rewards, and what to do by them, from demonstrations."""
