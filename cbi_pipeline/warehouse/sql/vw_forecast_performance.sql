-- Every published forecast beside what ZL closed at on its target date, in the newest bundle that holds that session.
-- Outcomes and errors are NULL until the target date is in a bundle. A price that did not move has no direction.
WITH prices AS (
  SELECT trade_date, dataset_version, close
  FROM realized_prices
  QUALIFY ROW_NUMBER() OVER (PARTITION BY trade_date ORDER BY dataset_version DESC) = 1
)
SELECT
  p.as_of_date,
  p.horizon_months,
  p.target_date,
  p.model_version,
  p.status,
  p.last_price,
  p.predicted_price,
  p.q05,
  p.q10,
  p.q25,
  p.q50,
  p.q75,
  p.q90,
  p.q95,
  r.close AS realised_price,
  r.dataset_version AS realised_in,
  100 * ABS(p.predicted_price - r.close) / r.close AS absolute_error_pct,
  100 * ABS(p.last_price - r.close) / r.close AS last_price_error_pct,
  LN(p.predicted_price / r.close) AS log_error,
  CASE
    WHEN p.predicted_price = p.last_price OR r.close = p.last_price THEN NULL
    ELSE CAST((p.predicted_price > p.last_price) = (r.close > p.last_price) AS INT64)
  END AS direction_right,
  CAST(r.close BETWEEN p.q25 AND p.q75 AS INT64) AS inside_50,
  CAST(r.close BETWEEN p.q10 AND p.q90 AS INT64) AS inside_80,
  CAST(r.close BETWEEN p.q05 AND p.q95 AS INT64) AS inside_90
FROM predictions AS p
LEFT JOIN prices AS r ON r.trade_date = p.target_date
