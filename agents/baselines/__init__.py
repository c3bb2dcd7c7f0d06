"""Algorithms that belong to no paper reproduced here, to train with and to compare with."""
