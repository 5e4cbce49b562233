-- Metrics of one entry of a scorecard, from its stored out-of-fold rows and the stored prices of its bundle, as
-- evaluation/metrics.py and evaluation/profit_and_loss.py define them. Outcomes are the closes of the target dates; the P&L of every horizon
-- ends on the earliest of their last target dates.
-- Read by stages/parity.py; parameters: scorecard_id, entry, first_day and last_day (of its as-of dates), dataset_version,
-- cost_cents_per_lb (one side of a trade).
WITH prices AS (
  SELECT trade_date, close, contract_return, is_roll
  FROM realized_prices
  WHERE dataset_version = @dataset_version
),
scored AS (
  SELECT
    f.horizon_months,
    f.as_of_date,
    f.target_date,
    f.last_price,
    f.predicted_price,
    f.q05,
    f.q10,
    f.q25,
    f.q75,
    f.q90,
    f.q95,
    p.close AS realised_price
  FROM out_of_fold_forecasts AS f
  JOIN prices AS p ON p.trade_date = f.target_date
  WHERE f.as_of_date BETWEEN @first_day AND @last_day AND f.scorecard_id = @scorecard_id AND f.entry = @entry
),
errors AS (
  SELECT
    horizon_months,
    COUNT(*) AS n,
    100 * AVG(ABS(predicted_price - realised_price) / realised_price) AS mape,
    SQRT(AVG(POW(LN(predicted_price / realised_price), 2)) / AVG(POW(LN(last_price / realised_price), 2))) AS rmse_ratio,
    AVG(
      CASE
        WHEN predicted_price = last_price OR realised_price = last_price THEN NULL
        WHEN (predicted_price > last_price) = (realised_price > last_price) THEN 1.0
        ELSE 0.0
      END
    ) AS directional_accuracy,
    AVG(CASE WHEN realised_price BETWEEN q25 AND q75 THEN 1.0 ELSE 0.0 END) AS coverage_50,
    AVG(CASE WHEN realised_price BETWEEN q10 AND q90 THEN 1.0 ELSE 0.0 END) AS coverage_80,
    AVG(CASE WHEN realised_price BETWEEN q05 AND q95 THEN 1.0 ELSE 0.0 END) AS coverage_90,
    MIN(as_of_date) AS first_day,
    MAX(target_date) AS last_day
  FROM scored
  GROUP BY horizon_months
),
spans AS (
  SELECT horizon_months, first_day, MIN(last_day) OVER () AS last_day
  FROM errors
),
positions AS (
  SELECT
    e.horizon_months,
    d.trade_date,
    ANY_VALUE(d.close) AS close,
    ANY_VALUE(d.contract_return) AS contract_return,
    ANY_VALUE(d.is_roll) AS is_roll,
    COALESCE(AVG(SIGN(f.predicted_price - f.last_price)), 0) AS position
  FROM spans AS e
  JOIN prices AS d ON d.trade_date BETWEEN e.first_day AND e.last_day
  LEFT JOIN scored AS f
    ON f.horizon_months = e.horizon_months AND f.as_of_date <= d.trade_date AND f.target_date > d.trade_date
  WHERE d.contract_return IS NOT NULL
  GROUP BY e.horizon_months, d.trade_date
),
holdings AS (
  SELECT
    horizon_months,
    close,
    contract_return,
    is_roll,
    position,
    COALESCE(LAG(position) OVER (PARTITION BY horizon_months ORDER BY trade_date), 0) AS held
  FROM positions
),
profits AS (
  SELECT
    horizon_months,
    held * (EXP(contract_return) - 1)
    - (ABS(position - held) + 2 * ABS(held) * is_roll) * @cost_cents_per_lb / close AS net
  FROM holdings
),
sharpes AS (
  SELECT horizon_months, SQRT(252) * AVG(net) / NULLIF(STDDEV_POP(net), 0) AS sharpe
  FROM profits
  GROUP BY horizon_months
)
SELECT
  e.horizon_months,
  e.n,
  e.mape,
  e.rmse_ratio,
  e.directional_accuracy,
  e.coverage_50,
  e.coverage_80,
  e.coverage_90,
  s.sharpe
FROM errors AS e
JOIN sharpes AS s ON s.horizon_months = e.horizon_months
ORDER BY e.horizon_months
