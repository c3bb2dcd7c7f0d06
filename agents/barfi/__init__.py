"""Behaviour alignment: a reward learned so that what is learned from it earns what is wanted, and its rivals."""
