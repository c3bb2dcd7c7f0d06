"""Agents that keep from hacking a proxy of the reward that is meant."""
