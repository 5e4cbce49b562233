"""Who holds the market, and which of four states it is in."""

from __future__ import annotations

from typing import Final

from cbi_pipeline.features.catalogue.prices import WITHIN_ONE_CONTRACT
from cbi_pipeline.features.declarations import COT, NOT_NEGATIVE, Z_SCORE, Feature

_F: Final = "cbi_pipeline.features."
_CFTC: Final = "CFTC Disaggregated Commitments of Traders, futures only, 007601"
_NOT_PUBLISHED: Final = (
    "before 2009-10-21 (the CFTC first published this report in autumn 2009); no report in the last 14 days: "
    "shutdowns of 2013 and 2018-19, the ION outage of 2023"
)


def _position(column: str) -> Feature:
    return Feature(
        name=f"CFTC_{column}",
        pillar="positioning_and_regime",
        unit="contracts",
        inputs=(COT.reading(column),),
        formula=f"{column} of the newest report, as reported",
        reference=_CFTC,
        function=_F + "positioning.positioning_features",
        transformation="log_relative_to_trailing_mean",
        missing_because=_NOT_PUBLISHED,
        possible=(0.0, 2e6),
        by_definition=NOT_NEGATIVE,
    )


def _net_share(group: str, reference: str, reason: str) -> Feature:
    return Feature(
        name=f"CFTC_{group}_net_share",
        pillar="positioning_and_regime",
        unit="fraction of open interest",
        inputs=(COT.reading(f"{group}_long", f"{group}_short", "open_interest"),),
        formula=f"({group}_long - {group}_short) / open_interest of the newest report",
        reference=f"{reference}; {_CFTC}",
        function=_F + "positioning.net_position_features",
        transformation="level",
        missing_because=_NOT_PUBLISHED,
        possible=(-1.0, 1.0),
        by_definition=(-1.0, 1.0),
        economic_reason=reason,
    )


def _regime(name: str, rule: str) -> Feature:
    return Feature(
        name=f"regime_{name}",
        pillar="positioning_and_regime",
        unit="0 or 1",
        inputs=WITHIN_ONE_CONTRACT,
        formula=rule,
        reference="trailing trend and volatility states; thresholds are expanding quantiles of strictly earlier "
        "sessions",
        function=_F + "regime.regime_features",
        transformation="one_hot",
        missing_because="63 sessions of returns, then 252 sessions of history for the thresholds; all four are missing "
        "together",
        possible=(0.0, 1.0),
        by_definition=(0.0, 1.0),
        formula_version=2,
    )


POSITIONING_AND_REGIME: Final[tuple[Feature, ...]] = (
    _position("managed_money_long"),
    _position("managed_money_short"),
    _position("commercial_long"),
    _position("commercial_short"),
    _regime("bullish", "not volatile and 63-session trend above the past median of its absolute value"),
    _regime("bearish", "not volatile and 63-session trend below minus the past median of its absolute value"),
    _regime("sideways", "neither volatile, bullish nor bearish"),
    _regime("volatile", "21-session volatility above its past 80th percentile; wins over the other three"),
    _net_share(
        "managed_money",
        "Sanders, Boris and Manfredo (2004), Hedgers, funds, and small speculators in the energy futures markets "
        "(percent net long, here of all open interest)",
        "how much of the market speculators would have to sell or buy back when their trend turns",
    ),
    _net_share(
        "commercial",
        "de Roon, Nijman and Veld (2000), Hedging pressure effects in futures markets (here against all open interest)",
        "hedging pressure: processors and merchants who are net short pay whoever takes the price risk off them",
    ),
    Feature(
        name="cot_managed_money_net_zscore",
        pillar="positioning_and_regime",
        unit="standard deviations",
        inputs=(COT.reading("managed_money_long", "managed_money_short", "open_interest"),),
        formula="(managed_money_long - managed_money_short) / open_interest, less its mean over the trailing 156 "
        "reports (3 years, this one included), in their standard deviations",
        reference="Kang, Rouwenhorst and Tang (2020), A tale of two premiums; CFTC Disaggregated COT, futures only, "
        "007601",
        function=_F + "positioning.net_position_features",
        transformation="level",
        missing_because="before 2009-10-21 and in the gaps of the CFTC_ columns",
        possible=Z_SCORE,
        economic_reason="crowded speculative positions unwind; as shares of open interest they compare across years",
    ),
)
