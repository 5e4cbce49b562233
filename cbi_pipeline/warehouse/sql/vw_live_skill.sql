-- How the forecasts of every model version fared at each horizon, all that have matured, and how the newest of what
-- served were judged last while it served: one row per version and horizon, whether anything has matured or not.
WITH serving AS (
  SELECT model_version
  FROM model_registry
  QUALIFY ROW_NUMBER() OVER (ORDER BY promoted_at DESC, model_version DESC) = 1
),
made AS (
  SELECT DISTINCT model_version, horizon_months
  FROM predictions
),
matured AS (
  SELECT
    *,
    LN(last_price / realised_price) AS last_price_log_error,
    LN(realised_price / q05) AS miss_05,
    LN(realised_price / q10) AS miss_10,
    LN(realised_price / q25) AS miss_25,
    LN(realised_price / q75) AS miss_75,
    LN(realised_price / q90) AS miss_90,
    LN(realised_price / q95) AS miss_95
  FROM vw_forecast_performance
  WHERE realised_price IS NOT NULL
),
figures AS (
  SELECT
    model_version,
    horizon_months,
    COUNT(*) AS n,
    MIN(as_of_date) AS first_as_of_date,
    MAX(as_of_date) AS last_as_of_date,
    AVG(absolute_error_pct) AS mape,
    SQRT(AVG(log_error * log_error)) AS rmse,
    SQRT(AVG(last_price_log_error * last_price_log_error)) AS last_price_rmse,
    AVG(log_error) AS bias,
    AVG(direction_right) AS directional_accuracy,
    AVG(inside_50) AS coverage_50,
    AVG(inside_80) AS coverage_80,
    AVG(inside_90) AS coverage_90,
    AVG(
      GREATEST(0.05 * miss_05, -0.95 * miss_05)
      + GREATEST(0.10 * miss_10, -0.90 * miss_10)
      + GREATEST(0.25 * miss_25, -0.75 * miss_25)
      + GREATEST(0.75 * miss_75, -0.25 * miss_75)
      + GREATEST(0.90 * miss_90, -0.10 * miss_90)
      + GREATEST(0.95 * miss_95, -0.05 * miss_95)
    ) / 3 AS crps
  FROM matured
  GROUP BY model_version, horizon_months
),
newest AS (
  SELECT evaluation_id
  FROM live_skill
  QUALIFY ROW_NUMBER() OVER (PARTITION BY model_version ORDER BY as_of_date DESC, created_at DESC, evaluation_id DESC) = 1
),
ranked AS (
  SELECT
    l.*,
    ROW_NUMBER() OVER (
      PARTITION BY l.model_version, l.horizon_months
      ORDER BY
        CASE l.outcome WHEN 'beyond' THEN 1 WHEN 'cannot judge' THEN 2 WHEN 'not yet known' THEN 3 ELSE 4 END,
        l.metric DESC
    ) AS place
  FROM live_skill AS l
  JOIN newest AS e ON e.evaluation_id = l.evaluation_id
  WHERE l.judged = 1
),
judgements AS (
  SELECT
    model_version,
    horizon_months,
    MAX(as_of_date) AS judged_as_of,
    MAX(CASE WHEN place = 1 THEN outcome END) AS outcome,
    MAX(CASE WHEN place = 1 THEN reason END) AS reason,
    MAX(CASE WHEN metric = 'rmse_ratio' THEN value END) AS judged_rmse_ratio,
    MAX(CASE WHEN metric = 'rmse_ratio' THEN high END) AS highest_rmse_ratio,
    MAX(CASE WHEN metric = 'mape' THEN value END) AS judged_mape,
    MAX(CASE WHEN metric = 'mape' THEN high END) AS highest_mape
  FROM ranked
  GROUP BY model_version, horizon_months
)
SELECT
  m.model_version,
  m.horizon_months,
  CAST(s.model_version IS NOT NULL AS INT64) AS serves,
  COALESCE(f.n, 0) AS n,
  COALESCE(f.n, 0) / (m.horizon_months * 21) AS n_eff,
  f.first_as_of_date,
  f.last_as_of_date,
  f.mape,
  f.rmse,
  f.rmse / NULLIF(f.last_price_rmse, 0) AS rmse_ratio,
  f.bias,
  f.directional_accuracy,
  f.coverage_50,
  f.coverage_80,
  f.coverage_90,
  f.crps,
  j.judged_as_of,
  j.outcome,
  j.reason,
  j.judged_rmse_ratio,
  j.highest_rmse_ratio,
  j.judged_mape,
  j.highest_mape
FROM made AS m
LEFT JOIN serving AS s ON s.model_version = m.model_version
LEFT JOIN figures AS f ON f.model_version = m.model_version AND f.horizon_months = m.horizon_months
LEFT JOIN judgements AS j ON j.model_version = m.model_version AND j.horizon_months = m.horizon_months
