// The raw tables as sources, and what must hold of their rows before a bundle is exported from them. The rules of
// `cbi bundle export` are stricter and decide; these find a broken feed early and name its rows in the console.
const rawTables = require("includes/raw_tables.js");

for (const [name, table] of Object.entries(rawTables)) {
  declare({ name, description: table.description });

  assert(`${name}_key_is_unique`)
    .tags(["raw"])
    .query(ctx => `
      SELECT ${table.key.join(", ")}, COUNT(*) AS times
      FROM ${ctx.ref(name)}
      GROUP BY ${table.key.join(", ")}
      HAVING COUNT(*) > 1`);

  assert(`${name}_is_not_known_before_it_happens`)
    .tags(["raw"])
    .query(ctx => `
      SELECT ${table.key.join(", ")}, available_at
      FROM ${ctx.ref(name)}
      WHERE available_at < TIMESTAMP(${table.eventDate})`);
}

assert("futures_daily_is_fresh")
  .tags(["raw"])
  .query(ctx => `
    SELECT MAX(trade_date) AS newest
    FROM ${ctx.ref("futures_daily")}
    WHERE symbol = 'ZL'
    HAVING newest IS NULL
      OR newest < DATE_SUB(CURRENT_DATE("America/New_York"), INTERVAL ${dataform.projectConfig.vars.maximumAgeDays} DAY)`);
