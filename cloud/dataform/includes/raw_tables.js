// Made from cbi_pipeline/contracts/tables.py by `python -m cbi_pipeline.reports.cloud_files`.
module.exports = {
  "futures_daily": {
    "description": "One row per symbol and trade date, in the exchange's own unit.",
    "key": [
      "symbol",
      "trade_date"
    ],
    "eventDate": "trade_date",
    "columns": {
      "symbol": "ZL cents/lb; ZS cents/bu; ZM USD/short ton; CL USD/bbl; HO USD/gal; FCPO MYR/tonne",
      "trade_date": "exchange trade date",
      "open": "first price; null with high and low where the provider's own row contradicts itself",
      "high": "highest price",
      "low": "lowest price",
      "close": "last price, unadjusted",
      "volume": "contracts traded",
      "contract": "the provider's contract identifier; null where the provider names none",
      "is_roll": "first row of another contract; null where the provider names no contract",
      "roll_ratio": "new contract's price / old contract's price at the roll; null elsewhere",
      "back_adjusted_close": "close, earlier contracts scaled by later roll ratios: for charts and P&L only, a later roll changes it",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "futures_curve": {
    "description": "One row per trade date and listed contract: the two nearest contracts that are quoted.",
    "key": [
      "symbol",
      "trade_date",
      "contract_month"
    ],
    "eventDate": "trade_date",
    "columns": {
      "symbol": "ZL, cents/lb",
      "trade_date": "exchange trade date",
      "contract_month": "delivery month, YYYY-MM",
      "price": "settlement or last price, cents/lb",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "macro_series": {
    "description": "One row per published observation of a macro or monthly price series; a holiday has no row.",
    "key": [
      "series_id",
      "date"
    ],
    "eventDate": "date",
    "columns": {
      "series_id": "DGS10, DGS2 %; VIXCLS, DTWEXBGS index; DEXBZUS BRL/USD; USDMYR MYR/USD; WB_PALM_OIL, WB_SOYBEAN_OIL USD/tonne; EPA_D4_RINS million RINs generated in the month; MPOB_PALM_STOCKS thousand tonnes at its end",
      "date": "date described; a month is dated by its first day",
      "value": "value in the series' own unit",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "cot_weekly": {
    "description": "One row per market and CFTC disaggregated report (futures only), as of a Tuesday.",
    "key": [
      "market_code",
      "report_date"
    ],
    "eventDate": "report_date",
    "columns": {
      "market_code": "CFTC contract market code; 007601 is soybean oil",
      "report_date": "as-of date of the positions",
      "open_interest": "contracts, futures only",
      "commercial_long": "contracts, futures only",
      "commercial_short": "contracts, futures only",
      "swap_long": "contracts, futures only",
      "swap_short": "contracts, futures only",
      "managed_money_long": "contracts, futures only",
      "managed_money_short": "contracts, futures only",
      "other_reportable_long": "contracts, futures only",
      "other_reportable_short": "contracts, futures only",
      "non_reportable_long": "contracts, futures only",
      "non_reportable_short": "contracts, futures only",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "weather_daily": {
    "description": "One row per station and local day, as observed; a missing element is null.",
    "key": [
      "region",
      "station",
      "date"
    ],
    "eventDate": "date",
    "columns": {
      "region": "growing region",
      "station": "provider's station identifier and name",
      "date": "local day",
      "precip_mm": "precipitation, mm/day",
      "tmax_c": "daily maximum temperature, deg C",
      "tmin_c": "daily minimum temperature, deg C",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "policy": {
    "description": "One row per obligation and the year it applies to, known from its Federal Register date.",
    "key": [
      "series",
      "effective_year"
    ],
    "eventDate": "published_on",
    "columns": {
      "series": "rfs_bbd_volume: biomass-based diesel obligation, billion gallons",
      "effective_year": "compliance year",
      "value": "billion gallons",
      "published_on": "Federal Register publication date",
      "citation": "Federal Register citation",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  },
  "fundamentals": {
    "description": "One row per release and marketing year of a USDA balance-sheet item: vintages are kept.",
    "key": [
      "series_id",
      "release_date",
      "marketing_year"
    ],
    "eventDate": "release_date",
    "columns": {
      "series_id": "WASDE US soybean oil: ending stocks and total use, million lb",
      "marketing_year": "YYYY/YY, October to September",
      "release_date": "date of the WASDE release",
      "value": "million lb",
      "available_at": "first moment the value could be known, UTC",
      "source": "provider and product the row was read from"
    }
  }
};
