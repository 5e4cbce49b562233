"""Indicators of the ZL front contract, by TA-Lib."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.declarations import (
    CURVE_HISTORY,
    NOT_NEGATIVE,
    PERCENT,
    ZL,
    Bounds,
    Feature,
    Input,
    Range,
    Transformation,
)

_WARM_UP: Final = "warm-up of the indicator"
_NO_HIGH_LOW: Final = (
    f"{_WARM_UP}; the provider's open, high and low contradict each other on that date (Yahoo, before 2010-06-07)"
)
_WILDER: Final = "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib "
_BANDS: Final = "Bollinger (2001); TA-Lib BBANDS"
_FORWARD: Final = " on prices forward-adjusted by the roll ratios known so far, rescaled to the contract held today"
_CLOSE: Final = (ZL.reading("close", "roll_ratio"), CURVE_HISTORY)
_BARS: Final = (ZL.reading("high", "low", "close", "roll_ratio"), CURVE_HISTORY)
_LARGEST_CCI: Final = 14 / 2 / 0.015
"""CCI of n points is at most n / 2 mean absolute deviations, over 0.015."""


def _technical(
    name: str,
    unit: str,
    inputs: tuple[Input, ...],
    formula: str,
    reference: str,
    transformation: Transformation,
    possible: Range,
    by_definition: Bounds = (None, None),
) -> Feature:
    return Feature(
        name=name,
        pillar="technical",
        unit=unit,
        inputs=inputs,
        formula=formula,
        reference=reference,
        function="cbi_pipeline.features.technical.technical_features",
        transformation=transformation,
        missing_because=_NO_HIGH_LOW if inputs is _BARS else _WARM_UP,
        possible=possible,
        by_definition=by_definition,
        formula_version=2,
    )


TECHNICAL: Final[tuple[Feature, ...]] = (
    _technical(
        "RSI_14",
        "0 to 100",
        _CLOSE,
        "relative strength index, 14 sessions",
        _WILDER + "RSI",
        "level",
        PERCENT,
        PERCENT,
    ),
    _technical(
        "MACD_signal",
        "cents/lb",
        _CLOSE,
        "EMA 9 of (EMA 12 - EMA 26) of close" + _FORWARD,
        "Appel (2005); TA-Lib MACD",
        "relative_to_close",
        (-40.0, 40.0),
    ),
    _technical(
        "ATR_14",
        "cents/lb",
        _BARS,
        "average true range, 14 sessions" + _FORWARD,
        _WILDER + "ATR",
        "relative_to_close",
        (0.0, 20.0),
        NOT_NEGATIVE,
    ),
    _technical(
        "BB_upper",
        "cents/lb",
        _CLOSE,
        "SMA 20 + 2 standard deviations of close" + _FORWARD,
        _BANDS,
        "log_relative_to_close",
        (5.0, 400.0),
        NOT_NEGATIVE,
    ),
    _technical(
        "BB_lower",
        "cents/lb",
        _CLOSE,
        "SMA 20 - 2 standard deviations of close" + _FORWARD,
        _BANDS,
        "log_relative_to_close",
        (-100.0, 200.0),
    ),
    _technical(
        "BB_width",
        "fraction",
        _CLOSE,
        "(BB_upper - BB_lower) / SMA 20",
        "Bollinger (2001)",
        "log",
        (0.0, 2.0),
        NOT_NEGATIVE,
    ),
    _technical(
        "ADX_14",
        "0 to 100",
        _BARS,
        "average directional index, 14 sessions",
        _WILDER + "ADX",
        "level",
        PERCENT,
        PERCENT,
    ),
    _technical(
        "CCI_14",
        "index",
        _BARS,
        "commodity channel index, 14 sessions",
        "Lambert (1980); TA-Lib CCI",
        "level",
        (-_LARGEST_CCI, _LARGEST_CCI),
    ),
)
