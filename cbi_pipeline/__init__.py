"""CBI: forecasts of CBOT soybean oil futures (ZL) 3, 6, 9 and 12 months ahead."""

__version__ = "0.1.0"
