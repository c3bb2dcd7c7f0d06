"""Figures of papers that learn objectives."""
