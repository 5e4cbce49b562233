-- Metrics of one entry of a scorecard from its stored out-of-fold rows, as evaluation/metrics.py defines them.
-- Read by stages/gates.py; parameters: scorecard_id, entry.
SELECT
  horizon_months,
  COUNT(*) AS n,
  100 * AVG(ABS(predicted_price - realised_price) / realised_price) AS mape,
  AVG(
    CASE
      WHEN predicted_price = last_price OR realised_price = last_price THEN NULL
      WHEN (predicted_price > last_price) = (realised_price > last_price) THEN 1.0
      ELSE 0.0
    END
  ) AS directional_accuracy,
  AVG(CASE WHEN realised_price BETWEEN q10 AND q90 THEN 1.0 ELSE 0.0 END) AS coverage_80
FROM out_of_fold_forecasts
WHERE scorecard_id = @scorecard_id AND entry = @entry AND realised_price IS NOT NULL
GROUP BY horizon_months
ORDER BY horizon_months
