-- Made from cbi_pipeline/contracts/tables.py by `python -m cbi_pipeline.reports.cloud_files`.
-- What `cbi bundle export` runs, statement by statement, before it checks the rows and publishes them. All tables are
-- read as they stood at @moment. By hand, for a look at the shards:
--   EXPORT_URI=gs://bucket/folder envsubst < cloud/sql/export.sql | bq query --location=us-central1 \
--     --dataset_id=$PROJECT:cbi_raw --nouse_legacy_sql --parameter=moment:TIMESTAMP:"$(date -u '+%F %T')"

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/futures_daily/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT symbol, trade_date, open, high, low, close, volume, contract, is_roll, roll_ratio, back_adjusted_close, available_at, source
FROM futures_daily FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/futures_curve/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT symbol, trade_date, contract_month, price, available_at, source
FROM futures_curve FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/macro_series/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT series_id, date, value, available_at, source
FROM macro_series FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/cot_weekly/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT market_code, report_date, open_interest, commercial_long, commercial_short, swap_long, swap_short, managed_money_long, managed_money_short, other_reportable_long, other_reportable_short, non_reportable_long, non_reportable_short, available_at, source
FROM cot_weekly FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/weather_daily/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT region, station, date, precip_mm, tmax_c, tmin_c, available_at, source
FROM weather_daily FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/policy/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT series, effective_year, value, published_on, citation, available_at, source
FROM policy FOR SYSTEM_TIME AS OF @moment;

EXPORT DATA OPTIONS (uri = '${EXPORT_URI}/fundamentals/*.parquet', format = 'PARQUET', compression = 'SNAPPY', overwrite = FALSE)
AS
SELECT series_id, marketing_year, release_date, value, available_at, source
FROM fundamentals FOR SYSTEM_TIME AS OF @moment;
