-- How matured forecasts fare beside the back-test of the model that serves.
CREATE TABLE IF NOT EXISTS live_skill (
  evaluation_id STRING NOT NULL OPTIONS (description = 'hash of what was evaluated: forecasts, prices, record, code'),
  as_of_date DATE NOT NULL OPTIONS (description = 'last session whose close was known'),
  model_version STRING NOT NULL OPTIONS (description = 'the model that served'),
  scorecard_id STRING NOT NULL OPTIONS (description = 'the evaluation whose out-of-fold forecasts are the record'),
  dataset_version STRING NOT NULL OPTIONS (description = 'version of the bundle that the outcomes are from'),
  horizon_months INT64 NOT NULL OPTIONS (description = 'horizon in calendar months: 3, 6, 9 or 12'),
  metric STRING NOT NULL OPTIONS (description = 'name of the figure'),
  value FLOAT64 OPTIONS (description = 'value in the figure\'s own unit; NULL where it is not defined'),
  low FLOAT64 OPTIONS (description = 'lower end of its band; NULL where there is none'),
  high FLOAT64 OPTIONS (description = 'upper end of its band; NULL where there is none'),
  n INT64 NOT NULL OPTIONS (description = 'forecasts that it is made of: the newest that have matured'),
  n_own INT64 NOT NULL OPTIONS (description = 'those of them that the model itself made, not a model before it'),
  n_eff FLOAT64 NOT NULL OPTIONS (description = 'effective number of independent forecasts among them'),
  first_day DATE OPTIONS (description = 'as-of date of the first of them; NULL without any'),
  last_day DATE OPTIONS (description = 'as-of date of the last of them; NULL without any'),
  windows INT64 NOT NULL OPTIONS (description = 'windows of the record that it is compared with'),
  periods FLOAT64 NOT NULL OPTIONS (description = 'how many such windows that do not overlap the record holds'),
  judged INT64 NOT NULL OPTIONS (description = '1 if its outcome decides over the status, 0 if it is only shown'),
  outcome STRING NOT NULL OPTIONS (description = 'within, beyond, not yet known (too few matured) or cannot judge'),
  reason STRING NOT NULL OPTIONS (description = 'why it is not within; empty if it is'),
  created_at TIMESTAMP NOT NULL OPTIONS (description = 'moment the row was first written, UTC'),
  run_id STRING NOT NULL OPTIONS (description = 'Dagster run that first wrote the row'),
  code_commit STRING NOT NULL OPTIONS (description = 'git commit of the code that made the row'),
  PRIMARY KEY (evaluation_id, horizon_months, metric) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of_date, MONTH)
CLUSTER BY model_version, horizon_months, metric
OPTIONS (description = 'One figure of the newest forecasts of a horizon that have matured, beside its band of the back-test.', labels = [('app', 'cbi'), ('layer', 'warehouse')]);
