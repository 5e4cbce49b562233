"""What is learned: the anchor and its volatility, the network and its training.

Knows nothing of storage or Dagster. This package file imports nothing, so that a module of it can be
imported without the others' dependencies.
"""
