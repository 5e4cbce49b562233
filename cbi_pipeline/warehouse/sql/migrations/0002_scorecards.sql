-- What was evaluated, on which days, and what won: until now only to be gathered from metrics and experiments.
CREATE TABLE IF NOT EXISTS scorecards (
  scorecard_id STRING NOT NULL OPTIONS (description = 'hash of the cells, features, anchors and scalers, and of the code'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle it was first made from'),
  feature_hash STRING NOT NULL OPTIONS (description = 'hash of the feature catalogue'),
  profile STRING NOT NULL OPTIONS (description = 'profile of the run that first wrote the row'),
  winner STRING NOT NULL OPTIONS (description = 'entry of the leaderboard that won the bake-off'),
  winner_reason STRING NOT NULL OPTIONS (description = 'by how much, in words'),
  entries INT64 NOT NULL OPTIONS (description = 'entries of the leaderboard'),
  folds INT64 NOT NULL OPTIONS (description = 'walk-forward folds'),
  first_as_of_date DATE NOT NULL OPTIONS (description = 'first trade date that a forecast was scored from'),
  last_as_of_date DATE NOT NULL OPTIONS (description = 'last trade date that a forecast was scored from'),
  out_of_fold_rows INT64 NOT NULL OPTIONS (description = 'out-of-fold forecasts behind it, all entries together'),
  features_key STRING NOT NULL OPTIONS (description = 'hash of the tables and the code that made the features'),
  anchors_key STRING NOT NULL OPTIONS (description = 'hash of all that made the anchors of the folds'),
  scalers_key STRING NOT NULL OPTIONS (description = 'hash of all that made the scalers of the folds'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (scorecard_id) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY scorecard_id
OPTIONS (description = 'One evaluation: what was evaluated, on which days, and what won it. Its figures are in metrics.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);
