"""Software-defined assets, one module per group of the lineage graph."""
