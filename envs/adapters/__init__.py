"""Environments of other libraries behind gymnax's protocol: brax and MuJoCo Playground."""
