-- The forecast that stands: for the newest as-of date one row per horizon, that of the model that serves by the last row
-- of model_registry; where it has none for that date, the one published last, then the greatest model version.
WITH serving AS (
  SELECT model_version
  FROM model_registry
  QUALIFY ROW_NUMBER() OVER (ORDER BY promoted_at DESC) = 1
)
SELECT
  p.as_of_date,
  p.horizon_months,
  p.target_date,
  p.last_price,
  p.anchor_price,
  p.anchor_kind,
  p.lambda_h,
  p.predicted_price,
  p.q05,
  p.q10,
  p.q25,
  p.q50,
  p.q75,
  p.q90,
  p.q95,
  p.status,
  p.status_reasons,
  p.model_version,
  p.dataset_version,
  p.feature_hash,
  p.scaler_sha256,
  p.code_commit,
  p.run_id,
  p.created_at
FROM predictions AS p
LEFT JOIN serving AS s ON s.model_version = p.model_version
WHERE p.as_of_date = (SELECT MAX(as_of_date) FROM predictions)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY p.horizon_months
  ORDER BY s.model_version IS NULL, p.created_at DESC, p.model_version DESC
) = 1
