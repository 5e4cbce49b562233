-- What every gate says of the winner of every scorecard: the judgement of it that was stored last.
-- is_latest: of the scorecard that was judged last. serves: the champion comes from this scorecard.
WITH judgements AS (
  SELECT scorecard_id, judgement_id, MAX(created_at) AS judged_at
  FROM gate_verdicts
  GROUP BY scorecard_id, judgement_id
),
standing AS (
  SELECT
    scorecard_id,
    judgement_id,
    judged_at,
    ROW_NUMBER() OVER (ORDER BY judged_at DESC, judgement_id DESC) AS newness
  FROM judgements
  QUALIFY ROW_NUMBER() OVER (PARTITION BY scorecard_id ORDER BY judged_at DESC, judgement_id DESC) = 1
),
serving AS (
  SELECT scorecard_id
  FROM model_registry
  QUALIFY ROW_NUMBER() OVER (ORDER BY promoted_at DESC, model_version DESC) = 1
)
SELECT
  v.scorecard_id,
  v.name,
  v.horizon_months,
  v.kind,
  CAST(v.kind <> 'quality' AS INT64) AS blocking,
  v.outcome,
  v.value,
  v.threshold,
  v.n_eff,
  v.reason,
  v.entry,
  v.against,
  v.judgement_id,
  s.judged_at,
  CAST(s.newness = 1 AS INT64) AS is_latest,
  CAST(m.scorecard_id IS NOT NULL AS INT64) AS serves
FROM gate_verdicts AS v
JOIN standing AS s ON s.judgement_id = v.judgement_id AND s.scorecard_id = v.scorecard_id
LEFT JOIN serving AS m ON m.scorecard_id = v.scorecard_id
