"""Vectorised hyperparameter search."""
