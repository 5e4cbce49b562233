"""The bundle: an immutable folder of raw tables with a manifest. Built, verified, stored, found and read here.

Nothing in this package knows Dagster, features or models.
"""
