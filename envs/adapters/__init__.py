"""Environments of other packages behind gymnax's protocol, one module for each."""
