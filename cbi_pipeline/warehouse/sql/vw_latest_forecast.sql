-- The forecast that stands: for the newest as-of date one row per horizon, the one published last;
-- of rows published at the same moment the one with the greatest model version.
SELECT
  as_of_date,
  horizon_months,
  target_date,
  last_price,
  anchor_price,
  anchor_kind,
  lambda_h,
  predicted_price,
  q05,
  q10,
  q25,
  q50,
  q75,
  q90,
  q95,
  status,
  status_reasons,
  model_version,
  dataset_version,
  feature_hash,
  scaler_sha256,
  code_commit,
  run_id,
  created_at
FROM predictions
WHERE as_of_date = (SELECT MAX(as_of_date) FROM predictions)
QUALIFY ROW_NUMBER() OVER (PARTITION BY horizon_months ORDER BY created_at DESC, model_version DESC) = 1
