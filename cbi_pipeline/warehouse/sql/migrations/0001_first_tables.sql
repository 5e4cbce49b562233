-- The tables as they were before migrations had numbers; a warehouse that has them keeps them.
CREATE TABLE IF NOT EXISTS predictions (
  as_of_date DATE NOT NULL OPTIONS (description = 'CBOT trade date whose close the forecast starts from'),
  horizon_months INT64 NOT NULL OPTIONS (description = 'horizon in calendar months: 3, 6, 9 or 12'),
  target_date DATE NOT NULL OPTIONS (description = 'first CBOT session on or after as_of_date plus the horizon'),
  last_price FLOAT64 NOT NULL OPTIONS (description = 'ZL close of as_of_date, unadjusted, cents/lb'),
  anchor_price FLOAT64 NOT NULL OPTIONS (description = 'price the anchor expects at target_date, cents/lb'),
  anchor_kind STRING NOT NULL OPTIONS (description = 'which inputs the anchor could use on as_of_date'),
  lambda_h FLOAT64 NOT NULL OPTIONS (description = 'weight of the network\'s residual on the anchor, 0 to 1'),
  predicted_price FLOAT64 NOT NULL OPTIONS (description = 'forecast price at target_date, cents/lb'),
  q05 FLOAT64 NOT NULL OPTIONS (description = '5 % quantile of the price at target_date, cents/lb'),
  q10 FLOAT64 NOT NULL OPTIONS (description = '10 % quantile, lower end of the 80 % interval, cents/lb'),
  q25 FLOAT64 NOT NULL OPTIONS (description = '25 % quantile, cents/lb'),
  q50 FLOAT64 NOT NULL OPTIONS (description = 'median, cents/lb'),
  q75 FLOAT64 NOT NULL OPTIONS (description = '75 % quantile, cents/lb'),
  q90 FLOAT64 NOT NULL OPTIONS (description = '90 % quantile, upper end of the 80 % interval, cents/lb'),
  q95 FLOAT64 NOT NULL OPTIONS (description = '95 % quantile, cents/lb'),
  status STRING NOT NULL OPTIONS (description = 'PRODUCTION or HOLD'),
  status_reasons STRING NOT NULL OPTIONS (description = 'why the row is on HOLD; empty for PRODUCTION'),
  model_version STRING NOT NULL OPTIONS (description = 'version of the model artifact that made the forecast'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle the forecast was made from'),
  feature_hash STRING NOT NULL OPTIONS (description = 'hash of the feature catalogue'),
  scaler_sha256 STRING NOT NULL OPTIONS (description = 'sha256 of the fitted scaler file'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  PRIMARY KEY (as_of_date, horizon_months, model_version) NOT ENFORCED
)
PARTITION BY as_of_date
CLUSTER BY horizon_months, model_version
OPTIONS (description = 'One published forecast of ZL per as-of date, horizon and model version. Prices in cents/lb.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS metrics (
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation the metric belongs to'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle that was evaluated'),
  feature_hash STRING NOT NULL OPTIONS (description = 'hash of the feature catalogue'),
  entry STRING NOT NULL OPTIONS (description = 'what was scored: the network, the anchor or a benchmark'),
  horizon_months INT64 NOT NULL OPTIONS (description = 'horizon in calendar months: 3, 6, 9 or 12'),
  fold STRING NOT NULL OPTIONS (description = 'walk-forward fold, or \'all\' for the folds together'),
  metric STRING NOT NULL OPTIONS (description = 'name of the metric'),
  value FLOAT64 OPTIONS (description = 'value in the metric\'s own unit; NULL where it is not defined'),
  n INT64 NOT NULL OPTIONS (description = 'scored rows'),
  n_eff FLOAT64 NOT NULL OPTIONS (description = 'effective number of independent rows among them'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (scorecard_id, entry, horizon_months, fold, metric) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY horizon_months, metric
OPTIONS (description = 'One out-of-fold metric of one leaderboard entry per scorecard, horizon and fold.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS experiments (
  experiment_id STRING NOT NULL OPTIONS (description = 'hash of all that decides it: settings, data, folds, code'),
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation that judged it'),
  architecture STRING NOT NULL OPTIONS (description = 'lstm_mha, tcn or nbeatsx'),
  target STRING NOT NULL OPTIONS (description = 'anchored: what the anchor leaves over; raw: the log return itself'),
  entry STRING NOT NULL OPTIONS (description = 'entry of the leaderboard whose errors are given: the network in full'),
  profile STRING NOT NULL OPTIONS (description = 'profile of the run that first wrote the row'),
  config STRING NOT NULL OPTIONS (description = 'the whole training configuration, as JSON'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle it was first trained on'),
  feature_hash STRING NOT NULL OPTIONS (description = 'hash of the feature catalogue'),
  folds INT64 NOT NULL OPTIONS (description = 'walk-forward folds'),
  members INT64 NOT NULL OPTIONS (description = 'networks of a fold, whose forecasts are averaged'),
  parameters INT64 NOT NULL OPTIONS (description = 'trainable parameters of one member'),
  device STRING NOT NULL OPTIONS (description = 'device type of the training'),
  torch_version STRING NOT NULL OPTIONS (description = 'version of PyTorch that trained it'),
  validation_loss FLOAT64 NOT NULL OPTIONS (description = 'loss of the best epochs, mean over folds and members'),
  rmse_ratio_3m FLOAT64 OPTIONS (description = 'RMSE of log returns at 3 months, ratio to last price, on the dates that all entries have'),
  rmse_ratio_6m FLOAT64 OPTIONS (description = 'RMSE of log returns at 6 months, ratio to last price, on the dates that all entries have'),
  rmse_ratio_9m FLOAT64 OPTIONS (description = 'RMSE of log returns at 9 months, ratio to last price, on the dates that all entries have'),
  rmse_ratio_12m FLOAT64 OPTIONS (description = 'RMSE of log returns at 12 months, ratio to last price, on the dates that all entries have'),
  training_seconds FLOAT64 NOT NULL OPTIONS (description = 'seconds that its training took, all folds together'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (experiment_id, scorecard_id) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY architecture, target
OPTIONS (description = 'One network that was trained for one target, as one scorecard judged it.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS out_of_fold_forecasts (
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation that it belongs to'),
  entry STRING NOT NULL OPTIONS (description = 'entry of the leaderboard that would serve'),
  fold STRING NOT NULL OPTIONS (description = 'walk-forward fold'),
  as_of_date DATE NOT NULL OPTIONS (description = 'CBOT trade date whose close the forecast starts from'),
  horizon_months INT64 NOT NULL OPTIONS (description = 'horizon in calendar months: 3, 6, 9 or 12'),
  target_date DATE NOT NULL OPTIONS (description = 'first CBOT session on or after as_of_date plus the horizon'),
  last_price FLOAT64 NOT NULL OPTIONS (description = 'ZL close of as_of_date, unadjusted, cents/lb'),
  predicted_price FLOAT64 NOT NULL OPTIONS (description = 'forecast price at target_date, cents/lb'),
  q05 FLOAT64 NOT NULL OPTIONS (description = '5 % quantile, lower end of the 90 % interval, cents/lb'),
  q10 FLOAT64 NOT NULL OPTIONS (description = '10 % quantile, lower end of the 80 % interval, cents/lb'),
  q25 FLOAT64 NOT NULL OPTIONS (description = '25 % quantile, lower end of the 50 % interval, cents/lb'),
  q75 FLOAT64 NOT NULL OPTIONS (description = '75 % quantile, upper end of the 50 % interval, cents/lb'),
  q90 FLOAT64 NOT NULL OPTIONS (description = '90 % quantile, upper end of the 80 % interval, cents/lb'),
  q95 FLOAT64 NOT NULL OPTIONS (description = '95 % quantile, upper end of the 90 % interval, cents/lb'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (scorecard_id, entry, fold, as_of_date, horizon_months) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of_date, MONTH)
CLUSTER BY scorecard_id, entry, horizon_months
OPTIONS (description = 'One out-of-fold forecast of the winning network, from which SQL computes the metrics again.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS realized_prices (
  trade_date DATE NOT NULL OPTIONS (description = 'CBOT session'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle that holds the price'),
  close FLOAT64 NOT NULL OPTIONS (description = 'ZL front close, unadjusted, cents/lb'),
  contract_return FLOAT64 OPTIONS (description = 'log return to this session within one contract; NULL if unknown'),
  is_roll INT64 NOT NULL OPTIONS (description = '1 on the first session of a new front contract, else 0'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (trade_date, dataset_version) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(trade_date, MONTH)
CLUSTER BY dataset_version
OPTIONS (description = 'What ZL closed at on every session of a bundle, from which SQL takes outcomes and P&L.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS gate_verdicts (
  judgement_id STRING NOT NULL OPTIONS (description = 'hash of what was judged by which bounds against which champion'),
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation that was judged'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle that was evaluated'),
  entry STRING NOT NULL OPTIONS (description = 'entry of the leaderboard that would serve'),
  against STRING OPTIONS (description = 'champion that it was compared with'),
  name STRING NOT NULL OPTIONS (description = 'the gate'),
  kind STRING NOT NULL OPTIONS (description = 'quality, parity or evidence'),
  horizon_months INT64 NOT NULL OPTIONS (description = 'horizon in calendar months: 3, 6, 9 or 12'),
  outcome STRING NOT NULL OPTIONS (description = 'passed, failed or cannot judge'),
  value FLOAT64 OPTIONS (description = 'figure that was judged; NULL where it is missing'),
  threshold FLOAT64 OPTIONS (description = 'bound it was compared with; NULL where there is none'),
  n_eff FLOAT64 OPTIONS (description = 'effective number of independent rows behind it'),
  reason STRING NOT NULL OPTIONS (description = 'one sentence, with how far off it is'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (judgement_id, name, horizon_months) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY scorecard_id, kind, name
OPTIONS (description = 'What one gate says of the winner of a scorecard at one horizon.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS model_registry (
  promoted_at TIMESTAMP NOT NULL OPTIONS (description = 'moment from which the model serves, UTC'),
  model_version STRING NOT NULL OPTIONS (description = 'the model that serves'),
  manifest_sha256 STRING NOT NULL OPTIONS (description = 'sha256 of the manifest that was signed off'),
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation that the model comes from'),
  entry STRING NOT NULL OPTIONS (description = 'entry of its leaderboard that the model is a refit of'),
  action STRING NOT NULL OPTIONS (description = 'promote or rollback'),
  admission STRING NOT NULL OPTIONS (description = 'judged, unjudged or override'),
  promoted_by STRING NOT NULL OPTIONS (description = 'who'),
  reason STRING NOT NULL OPTIONS (description = 'why'),
  replaced STRING OPTIONS (description = 'version of the champion before; NULL for the first'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (promoted_at, model_version) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(promoted_at, MONTH)
CLUSTER BY model_version
OPTIONS (description = 'One change of the champion alias: what serves from then on, by whom and why.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS data_quality (
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle'),
  features_key STRING NOT NULL OPTIONS (description = 'hash of the tables and the code that made the features'),
  source STRING NOT NULL OPTIONS (description = 'raw table and series, `table/key`'),
  raw_table STRING NOT NULL OPTIONS (description = 'raw table of the bundle'),
  as_of_date DATE NOT NULL OPTIONS (description = 'last session of the features'),
  newest_date DATE OPTIONS (description = 'newest date described by a value known at its close; NULL if none'),
  maximum_age_days INT64 NOT NULL OPTIONS (description = 'calendar days that its publication cadence explains'),
  outcome STRING NOT NULL OPTIONS (description = 'fresh, warning (older than explained) or error (no forecast is made)'),
  reason STRING NOT NULL OPTIONS (description = 'what the check found, and which features lack a value; empty if fresh'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (dataset_version, features_key, source) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY dataset_version, raw_table
OPTIONS (description = 'How old one source of the features was at the last session of a bundle.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);

CREATE TABLE IF NOT EXISTS feature_importance (
  selection_id STRING NOT NULL OPTIONS (description = 'hash of all that decides the selection: features, folds, code'),
  selected_hash STRING NOT NULL OPTIONS (description = 'hash of the locked list of chosen features'),
  feature STRING NOT NULL OPTIONS (description = 'name in the feature catalogue'),
  pillar STRING NOT NULL OPTIONS (description = 'pillar of the catalogue'),
  mean_rank FLOAT64 OPTIONS (description = 'mean over folds; 1 is best; NULL where it was never usable'),
  folds_in_top INT64 NOT NULL OPTIONS (description = 'folds in which it ranked among those to keep'),
  folds INT64 NOT NULL OPTIONS (description = 'folds'),
  decision STRING NOT NULL OPTIONS (description = 'why it was kept or left out'),
  chosen INT64 NOT NULL OPTIONS (description = '1 if models may read it, else 0'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (selection_id, feature) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(created_at, MONTH)
CLUSTER BY selection_id
OPTIONS (description = 'How one feature ranked in the training parts of the folds, and whether models may read it.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);
