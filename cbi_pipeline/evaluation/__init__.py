"""How a forecast is judged: walk-forward folds, benchmarks, metrics, shrinkage, status, bake-off.

Knows nothing of storage or Dagster. This package file imports nothing, so that a module of it can be
imported without the others' dependencies.
"""
