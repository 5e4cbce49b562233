-- Every entry of every scorecard at each horizon, on the dates that all entries have, best error first.
-- is_latest: of the scorecard stored last. serves: the champion is a refit of this entry of this scorecard.
WITH latest AS (
  SELECT scorecard_id
  FROM metrics
  QUALIFY ROW_NUMBER() OVER (ORDER BY created_at DESC, scorecard_id DESC) = 1
),
serving AS (
  SELECT scorecard_id, entry
  FROM model_registry
  QUALIFY ROW_NUMBER() OVER (ORDER BY promoted_at DESC, model_version DESC) = 1
),
figures AS (
  SELECT
    scorecard_id,
    horizon_months,
    entry,
    MIN(created_at) AS evaluated_at,
    MAX(CASE WHEN metric = 'rmse_ratio' THEN n END) AS n,
    MAX(CASE WHEN metric = 'rmse_ratio' THEN n_eff END) AS n_eff,
    MAX(CASE WHEN metric = 'rmse_ratio' THEN value END) AS rmse_ratio,
    MAX(CASE WHEN metric = 'rmse_ratio_low' THEN value END) AS rmse_ratio_low,
    MAX(CASE WHEN metric = 'rmse_ratio_high' THEN value END) AS rmse_ratio_high,
    MAX(CASE WHEN metric = 'ratio_to_best_benchmark' THEN value END) AS ratio_to_best_benchmark,
    MAX(CASE WHEN metric = 'dm_p_less' THEN value END) AS dm_p_less,
    MAX(CASE WHEN metric = 'mcs_p' THEN value END) AS mcs_p,
    MAX(CASE WHEN metric = 'mape' THEN value END) AS mape,
    MAX(CASE WHEN metric = 'directional_accuracy' THEN value END) AS directional_accuracy,
    MAX(CASE WHEN metric = 'directional_base_rate' THEN value END) AS directional_base_rate,
    MAX(CASE WHEN metric = 'crps_ratio' THEN value END) AS crps_ratio,
    MAX(CASE WHEN metric = 'coverage_50' THEN value END) AS coverage_50,
    MAX(CASE WHEN metric = 'coverage_80' THEN value END) AS coverage_80,
    MAX(CASE WHEN metric = 'coverage_90' THEN value END) AS coverage_90,
    MAX(CASE WHEN metric = 'coverage_95' THEN value END) AS coverage_95,
    MAX(CASE WHEN metric = 'calibration_error' THEN value END) AS calibration_error,
    MAX(CASE WHEN metric = 'sharpe' THEN value END) AS sharpe,
    MAX(CASE WHEN metric = 'deflated_sharpe' THEN value END) AS deflated_sharpe
  FROM metrics
  WHERE fold = 'common'
  GROUP BY scorecard_id, horizon_months, entry
)
SELECT
  f.scorecard_id,
  f.horizon_months,
  RANK() OVER (
    PARTITION BY f.scorecard_id, f.horizon_months ORDER BY f.rmse_ratio IS NULL, f.rmse_ratio
  ) AS place,
  f.entry,
  f.evaluated_at,
  CAST(l.scorecard_id IS NOT NULL AS INT64) AS is_latest,
  CAST(s.scorecard_id IS NOT NULL AS INT64) AS serves,
  f.n,
  f.n_eff,
  f.rmse_ratio,
  f.rmse_ratio_low,
  f.rmse_ratio_high,
  f.ratio_to_best_benchmark,
  f.dm_p_less,
  f.mcs_p,
  f.mape,
  f.directional_accuracy,
  f.directional_base_rate,
  f.crps_ratio,
  f.coverage_50,
  f.coverage_80,
  f.coverage_90,
  f.coverage_95,
  f.calibration_error,
  f.sharpe,
  f.deflated_sharpe
FROM figures AS f
LEFT JOIN latest AS l ON l.scorecard_id = f.scorecard_id
LEFT JOIN serving AS s ON s.scorecard_id = f.scorecard_id AND s.entry = f.entry
