-- Of the forecast that stands, the horizons whose model meets every quality target; empty while all are on HOLD.
SELECT *
FROM vw_latest_forecast
WHERE status = 'PRODUCTION'
