"""Figures of papers: what to run, how to draw it, and what is claimed."""
