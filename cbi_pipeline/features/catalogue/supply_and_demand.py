"""Stocks, use and the calendar: USDA, EPA and MPOB as released."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.declarations import D4_RINS, NEVER, PALM_STOCKS, WASDE_STOCKS, WASDE_USE, ZL, Feature

_F: Final = "cbi_pipeline.features."


def _season(wave: str) -> Feature:
    return Feature(
        name=f"season_{wave}",
        pillar="supply_and_demand",
        unit="-1 to 1",
        inputs=(ZL.reading("trade_date"),),
        formula=f"{wave}(2 pi x day of the year / 365.25) of the trade date",
        reference="definition",
        function=_F + "extras_supply.season_features",
        transformation="level",
        missing_because=NEVER,
        possible=(-1.0, 1.0),
        by_definition=(-1.0, 1.0),
        economic_reason="two harvests a year and weather scares before each: supply news comes by the calendar",
    )


SUPPLY_AND_DEMAND: Final[tuple[Feature, ...]] = (
    Feature(
        name="wasde_stocks_to_use_deviation",
        pillar="supply_and_demand",
        unit="log ratio",
        inputs=(WASDE_STOCKS, WASDE_USE),
        formula="ln(ending stocks / total use) of the newest US marketing year, less its mean over the releases of "
        "the last five years (at least 36)",
        reference="Wright (2011), The economics of grain price volatility; USDA WASDE as released",
        function=_F + "extras_supply.wasde_features",
        transformation="level",
        missing_because="no release in the last 62 days",
        possible=(-3.0, 3.0),
        economic_reason="low stocks against use leave no buffer: prices are high and fall back as supply answers",
    ),
    Feature(
        name="wasde_stocks_to_use_surprise",
        pillar="supply_and_demand",
        unit="log ratio",
        inputs=(WASDE_STOCKS, WASDE_USE),
        formula="ln(ending stocks / total use) less that of the release before, for the newest marketing year in "
        "both; stands until the next release",
        reference="USDA WASDE as released",
        function=_F + "extras_supply.wasde_features",
        transformation="level",
        missing_because="no release in the last 62 days",
        possible=(-2.0, 2.0),
        economic_reason="USDA smooths its revisions, so one revision tends to be followed by another of the same sign",
    ),
    Feature(
        name="d4_rin_growth",
        pillar="supply_and_demand",
        unit="log ratio",
        inputs=(D4_RINS,),
        formula="ln(D4 RINs generated in the month / in the same month a year before)",
        reference="EPA EMTS, RIN generation",
        function=_F + "extras_supply.d4_features",
        transformation="level",
        missing_because="before 2011-08: EMTS begins 2010-07",
        possible=(-4.0, 4.0),
        economic_reason="biomass-based diesel is the marginal buyer of soybean oil: its growth is demand growth",
    ),
    Feature(
        name="malaysia_palm_stocks_change",
        pillar="supply_and_demand",
        unit="log ratio",
        inputs=(PALM_STOCKS,),
        formula="ln(Malaysian palm-oil closing stocks / those of the same month a year before)",
        reference="MPOB monthly statistics",
        function=_F + "extras_supply.palm_stocks_features",
        transformation="level",
        missing_because="before 2017-02: the stocks on file begin 2016-01",
        possible=(-3.0, 3.0),
        economic_reason="palm stocks buffer the world's vegetable-oil market: when they fall, substitutes rise",
    ),
    _season("sin"),
    _season("cos"),
)
