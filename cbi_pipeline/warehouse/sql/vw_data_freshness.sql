-- How old every source of the newest bundle was at its last session, as the features of the last run saw it.
WITH newest AS (
  SELECT dataset_version, features_key
  FROM data_quality
  QUALIFY ROW_NUMBER() OVER (ORDER BY dataset_version DESC, created_at DESC, features_key DESC) = 1
)
SELECT
  q.source,
  q.raw_table,
  q.newest_date,
  q.as_of_date,
  DATE_DIFF(q.as_of_date, q.newest_date, DAY) AS age_days,
  q.maximum_age_days,
  q.outcome,
  q.reason,
  q.dataset_version,
  DATE_DIFF(CURRENT_DATE('UTC'), q.as_of_date, DAY) AS days_since_as_of
FROM data_quality AS q
JOIN newest AS n ON n.dataset_version = q.dataset_version AND n.features_key = q.features_key
