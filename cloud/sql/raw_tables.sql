-- Made from cbi_pipeline/contracts/tables.py by `python -m cbi_pipeline.reports.cloud_files`.
-- The raw tables, which `cbi bundle load` makes too. Run in dataset cbi_raw:
--   bq query --location=us-central1 --dataset_id=$PROJECT:cbi_raw --nouse_legacy_sql < cloud/sql/raw_tables.sql

CREATE TABLE IF NOT EXISTS futures_daily (
  symbol STRING NOT NULL OPTIONS (description = 'ZL cents/lb; ZS cents/bu; ZM USD/short ton; CL USD/bbl; HO USD/gal; FCPO MYR/tonne'),
  trade_date DATE NOT NULL OPTIONS (description = 'exchange trade date'),
  open FLOAT64 OPTIONS (description = 'first price; null with high and low where the provider\'s own row contradicts itself'),
  high FLOAT64 OPTIONS (description = 'highest price'),
  low FLOAT64 OPTIONS (description = 'lowest price'),
  close FLOAT64 NOT NULL OPTIONS (description = 'last price, unadjusted'),
  volume INT64 OPTIONS (description = 'contracts traded'),
  contract STRING OPTIONS (description = 'the provider\'s contract identifier; null where the provider names none'),
  is_roll BOOL OPTIONS (description = 'first row of another contract; null where the provider names no contract'),
  roll_ratio FLOAT64 OPTIONS (description = 'new contract\'s price / old contract\'s price at the roll; null elsewhere'),
  back_adjusted_close FLOAT64 NOT NULL OPTIONS (description = 'close, earlier contracts scaled by later roll ratios: for charts and P&L only, a later roll changes it'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (symbol, trade_date) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(trade_date, MONTH)
CLUSTER BY symbol
OPTIONS (description = 'One row per symbol and trade date, in the exchange\'s own unit.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS futures_curve (
  symbol STRING NOT NULL OPTIONS (description = 'ZL, cents/lb'),
  trade_date DATE NOT NULL OPTIONS (description = 'exchange trade date'),
  contract_month STRING NOT NULL OPTIONS (description = 'delivery month, YYYY-MM'),
  price FLOAT64 NOT NULL OPTIONS (description = 'settlement or last price, cents/lb'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (symbol, trade_date, contract_month) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(trade_date, MONTH)
CLUSTER BY symbol, contract_month
OPTIONS (description = 'One row per trade date and listed contract: the two nearest contracts that are quoted.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS macro_series (
  series_id STRING NOT NULL OPTIONS (description = 'DGS10, DGS2 %; VIXCLS, DTWEXBGS index; DEXBZUS BRL/USD; USDMYR MYR/USD; WB_PALM_OIL, WB_SOYBEAN_OIL USD/tonne; EPA_D4_RINS million RINs generated in the month; MPOB_PALM_STOCKS thousand tonnes at its end'),
  date DATE NOT NULL OPTIONS (description = 'date described; a month is dated by its first day'),
  value FLOAT64 NOT NULL OPTIONS (description = 'value in the series\' own unit'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (series_id, date) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(date, MONTH)
CLUSTER BY series_id
OPTIONS (description = 'One row per published observation of a macro or monthly price series; a holiday has no row.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS cot_weekly (
  market_code STRING NOT NULL OPTIONS (description = 'CFTC contract market code; 007601 is soybean oil'),
  report_date DATE NOT NULL OPTIONS (description = 'as-of date of the positions'),
  open_interest INT64 NOT NULL OPTIONS (description = 'contracts, futures only'),
  commercial_long INT64 OPTIONS (description = 'contracts, futures only'),
  commercial_short INT64 OPTIONS (description = 'contracts, futures only'),
  swap_long INT64 OPTIONS (description = 'contracts, futures only'),
  swap_short INT64 OPTIONS (description = 'contracts, futures only'),
  managed_money_long INT64 OPTIONS (description = 'contracts, futures only'),
  managed_money_short INT64 OPTIONS (description = 'contracts, futures only'),
  other_reportable_long INT64 OPTIONS (description = 'contracts, futures only'),
  other_reportable_short INT64 OPTIONS (description = 'contracts, futures only'),
  non_reportable_long INT64 OPTIONS (description = 'contracts, futures only'),
  non_reportable_short INT64 OPTIONS (description = 'contracts, futures only'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (market_code, report_date) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(report_date, MONTH)
CLUSTER BY market_code
OPTIONS (description = 'One row per market and CFTC disaggregated report (futures only), as of a Tuesday.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS weather_daily (
  region STRING NOT NULL OPTIONS (description = 'growing region'),
  station STRING NOT NULL OPTIONS (description = 'provider\'s station identifier and name'),
  date DATE NOT NULL OPTIONS (description = 'local day'),
  precip_mm FLOAT64 OPTIONS (description = 'precipitation, mm/day'),
  tmax_c FLOAT64 OPTIONS (description = 'daily maximum temperature, deg C'),
  tmin_c FLOAT64 OPTIONS (description = 'daily minimum temperature, deg C'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (region, station, date) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(date, MONTH)
CLUSTER BY region, station
OPTIONS (description = 'One row per station and local day, as observed; a missing element is null.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS policy (
  series STRING NOT NULL OPTIONS (description = 'rfs_bbd_volume: biomass-based diesel obligation, billion gallons'),
  effective_year INT64 NOT NULL OPTIONS (description = 'compliance year'),
  value FLOAT64 NOT NULL OPTIONS (description = 'billion gallons'),
  published_on DATE NOT NULL OPTIONS (description = 'Federal Register publication date'),
  citation STRING NOT NULL OPTIONS (description = 'Federal Register citation'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (series, effective_year) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(published_on, MONTH)
CLUSTER BY series, effective_year
OPTIONS (description = 'One row per obligation and the year it applies to, known from its Federal Register date.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS fundamentals (
  series_id STRING NOT NULL OPTIONS (description = 'WASDE US soybean oil: ending stocks and total use, million lb'),
  marketing_year STRING NOT NULL OPTIONS (description = 'YYYY/YY, October to September'),
  release_date DATE NOT NULL OPTIONS (description = 'date of the WASDE release'),
  value FLOAT64 NOT NULL OPTIONS (description = 'million lb'),
  available_at TIMESTAMP NOT NULL OPTIONS (description = 'first moment the value could be known, UTC'),
  source STRING NOT NULL OPTIONS (description = 'provider and product the row was read from'),
  PRIMARY KEY (series_id, release_date, marketing_year) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(release_date, MONTH)
CLUSTER BY series_id, marketing_year
OPTIONS (description = 'One row per release and marketing year of a USDA balance-sheet item: vintages are kept.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS revisions (
  raw_table STRING NOT NULL OPTIONS (description = 'the raw table'),
  row_key STRING NOT NULL OPTIONS (description = 'the row\'s key, its values separated by blanks'),
  revised_at TIMESTAMP NOT NULL OPTIONS (description = 'when it was replaced, UTC'),
  dataset_version STRING NOT NULL OPTIONS (description = 'bundle that brought the new values'),
  stored STRING NOT NULL OPTIONS (description = 'the row as it was, as JSON'),
  offered STRING NOT NULL OPTIONS (description = 'the row as it is since, as JSON'),
  PRIMARY KEY (raw_table, row_key, revised_at) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(revised_at, MONTH)
CLUSTER BY raw_table
OPTIONS (description = 'One raw row that `cbi bundle load` replaced, because the provider revised it.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);
