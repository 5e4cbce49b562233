"""Schemas of the raw tables in a bundle: columns, units, keys and permitted ranges.

One `TableContract` per raw table is the single declaration from which the parquet schema, the
pandera schema and Dagster's column schema are made. No reading or writing happens here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera

UTC_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a raw table.

    Args:
        name: column name, with its unit where the unit is the same for every row.
        type: arrow type as stored in parquet.
        description: meaning and unit.
        nullable: whether a gap (null, never NaN) is allowed.
        minimum, maximum: permitted range, both inclusive; None means unbounded.
        allowed: permitted values of a text column; None means any.
    """

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TableContract:
    """A raw table: long and tidy, one row per observation.

    Args:
        name: table name; its file in a bundle is `<name>.parquet`.
        description: what one row is.
        columns: all columns in stored order; `available_at` and `source` are the last two.
        key: columns that identify a row; rows are stored sorted by them.
        event_date: the column that holds the date a row describes.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    event_date: str

    @property
    def arrow_schema(self) -> pa.Schema:
        """Parquet schema: order, types and nullability are part of the contract."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    def to_arrow(self, frame: pd.DataFrame) -> pa.Table:
        """Convert a frame to this table's schema, sorted by key, NaN stored as null.

        Raises:
            pyarrow.ArrowInvalid, KeyError: a column is missing or cannot hold the type.
        """
        ordered = frame.sort_values(list(self.key), kind="stable")[[c.name for c in self.columns]]
        return pa.Table.from_pandas(ordered, schema=self.arrow_schema, preserve_index=False, safe=True)

    def to_pandas(self, table: pa.Table) -> pd.DataFrame:
        """Convert to pandas: dates become datetime64[ns] at midnight, times datetime64[ns, UTC]."""
        frame = table.to_pandas(date_as_object=False)
        for column in self.columns:
            if pa.types.is_date(column.type):
                frame[column.name] = frame[column.name].astype("datetime64[ns]")
            elif pa.types.is_timestamp(column.type):
                frame[column.name] = frame[column.name].astype("datetime64[ns, UTC]")
        return frame

    def pandera_schema(self) -> pandera.DataFrameSchema:
        """Row-level rules (ranges, allowed values, unique key, nulls) as a pandera schema."""
        library = import_pandera()

        def column_schema(column: Column) -> pandera.Column:
            checks = []
            if column.minimum is not None:
                checks.append(library.Check.ge(column.minimum))
            if column.maximum is not None:
                checks.append(library.Check.le(column.maximum))
            if column.allowed is not None:
                checks.append(library.Check.isin(column.allowed))
            return library.Column(None, checks, nullable=column.nullable, description=column.description)

        return library.DataFrameSchema(
            {c.name: column_schema(c) for c in self.columns}, unique=list(self.key), strict=True, ordered=True
        )


def import_pandera() -> ModuleType:
    """Import pandera without the switch that it leaves behind.

    It sets PYARROW_IGNORE_TIMEZONE for pyspark's sake, under which pyarrow drops the offset of every
    datetime it converts in this process: 01:00+14:00 would be stored as 01:00 UTC.
    """
    switch = "PYARROW_IGNORE_TIMEZONE"
    before = os.environ.get(switch)
    import pandera.pandas

    if before is None:
        os.environ.pop(switch, None)
    return pandera.pandas


_PROVENANCE: Final = (
    Column("available_at", UTC_TIMESTAMP, "first moment the value could be known, UTC"),
    Column("source", pa.string(), "provider and product the row was read from"),
)

FUTURES_DAILY: Final = TableContract(
    name="futures_daily",
    description="One row per symbol and trade date, in the exchange's own unit.",
    columns=(
        Column(
            "symbol",
            pa.string(),
            "ZL cents/lb; ZS cents/bu; ZM USD/short ton; CL USD/bbl; HO USD/gal; FCPO MYR/tonne",
            allowed=("ZL", "ZS", "ZM", "CL", "HO", "FCPO"),
        ),
        Column("trade_date", pa.date32(), "exchange trade date"),
        Column(
            "open",
            pa.float64(),
            "first price; null with high and low where the provider's own row contradicts itself",
            True,
            -100.0,
            20000.0,
        ),
        Column("high", pa.float64(), "highest price", True, -100.0, 20000.0),
        Column("low", pa.float64(), "lowest price", True, -100.0, 20000.0),
        Column("close", pa.float64(), "last price, unadjusted", False, -100.0, 20000.0),
        Column("volume", pa.int64(), "contracts traded", True, 0),
        Column("contract", pa.string(), "the provider's contract identifier; null where the provider names none", True),
        Column("is_roll", pa.bool_(), "first row of another contract; null where the provider names no contract", True),
        Column(
            "roll_ratio",
            pa.float64(),
            "new contract's price / old contract's price at the roll; null elsewhere",
            True,
            0.2,
            5.0,
        ),
        Column(
            "back_adjusted_close",
            pa.float64(),
            "close, earlier contracts scaled by later roll ratios: for charts and P&L only, a later roll changes it",
            False,
            -100.0,
            40000.0,
        ),
        *_PROVENANCE,
    ),
    key=("symbol", "trade_date"),
    event_date="trade_date",
)

FUTURES_CURVE: Final = TableContract(
    name="futures_curve",
    description="One row per trade date and listed contract: the two nearest contracts that are quoted.",
    columns=(
        Column("symbol", pa.string(), "ZL, cents/lb", allowed=("ZL",)),
        Column("trade_date", pa.date32(), "exchange trade date"),
        Column("contract_month", pa.string(), "delivery month, YYYY-MM"),
        Column("price", pa.float64(), "settlement or last price, cents/lb", False, 5.0, 200.0),
        *_PROVENANCE,
    ),
    key=("symbol", "trade_date", "contract_month"),
    event_date="trade_date",
)

MACRO_SERIES: Final = TableContract(
    name="macro_series",
    description="One row per published observation of a macro or monthly price series; a holiday has no row.",
    columns=(
        Column(
            "series_id",
            pa.string(),
            "DGS10, DGS2 %; VIXCLS, DTWEXBGS index; DEXBZUS BRL/USD; USDMYR MYR/USD; WB_PALM_OIL, WB_SOYBEAN_OIL "
            "USD/tonne; EPA_D4_RINS million RINs generated in the month; MPOB_PALM_STOCKS thousand tonnes at its end",
            allowed=(
                *("DGS10", "DGS2", "VIXCLS", "DTWEXBGS", "DEXBZUS", "USDMYR"),
                *("WB_PALM_OIL", "WB_SOYBEAN_OIL", "EPA_D4_RINS", "MPOB_PALM_STOCKS"),
            ),
        ),
        Column("date", pa.date32(), "date described; a month is dated by its first day"),
        Column("value", pa.float64(), "value in the series' own unit", False, -5.0, 10000.0),
        *_PROVENANCE,
    ),
    key=("series_id", "date"),
    event_date="date",
)

_CONTRACTS_HELD: Final = "contracts, futures only"
COT_WEEKLY: Final = TableContract(
    name="cot_weekly",
    description="One row per market and CFTC disaggregated report (futures only), as of a Tuesday.",
    columns=(
        Column("market_code", pa.string(), "CFTC contract market code; 007601 is soybean oil"),
        Column("report_date", pa.date32(), "as-of date of the positions"),
        Column("open_interest", pa.int64(), _CONTRACTS_HELD, False, 1),
        *(
            Column(f"{group}_{side}", pa.int64(), _CONTRACTS_HELD, True, 0)
            for group in ("commercial", "swap", "managed_money", "other_reportable", "non_reportable")
            for side in ("long", "short")
        ),
        *_PROVENANCE,
    ),
    key=("market_code", "report_date"),
    event_date="report_date",
)

WEATHER_DAILY: Final = TableContract(
    name="weather_daily",
    description="One row per station and local day, as observed; a missing element is null.",
    columns=(
        Column("region", pa.string(), "growing region", allowed=("brazil", "argentina", "midwest")),
        Column("station", pa.string(), "provider's station identifier and name"),
        Column("date", pa.date32(), "local day"),
        Column("precip_mm", pa.float64(), "precipitation, mm/day", True, 0.0, 500.0),
        Column("tmax_c", pa.float64(), "daily maximum temperature, deg C", True, -50.0, 55.0),
        Column("tmin_c", pa.float64(), "daily minimum temperature, deg C", True, -60.0, 45.0),
        *_PROVENANCE,
    ),
    key=("region", "station", "date"),
    event_date="date",
)

POLICY: Final = TableContract(
    name="policy",
    description="One row per obligation and the year it applies to, known from its Federal Register date.",
    columns=(
        Column(
            "series",
            pa.string(),
            "rfs_bbd_volume: biomass-based diesel obligation, billion gallons",
            allowed=("rfs_bbd_volume",),
        ),
        Column("effective_year", pa.int32(), "compliance year", False, 2006, 2100),
        Column("value", pa.float64(), "billion gallons", False, 0.0, 50.0),
        Column("published_on", pa.date32(), "Federal Register publication date"),
        Column("citation", pa.string(), "Federal Register citation"),
        *_PROVENANCE,
    ),
    key=("series", "effective_year"),
    event_date="published_on",
)

FUNDAMENTALS: Final = TableContract(
    name="fundamentals",
    description="One row per release and marketing year of a USDA balance-sheet item: vintages are kept.",
    columns=(
        Column(
            "series_id",
            pa.string(),
            "WASDE US soybean oil: ending stocks and total use, million lb",
            allowed=("wasde_us_soybean_oil_ending_stocks", "wasde_us_soybean_oil_use_total"),
        ),
        Column("marketing_year", pa.string(), "YYYY/YY, October to September"),
        Column("release_date", pa.date32(), "date of the WASDE release"),
        Column("value", pa.float64(), "million lb", False, 0.0, 100000.0),
        *_PROVENANCE,
    ),
    key=("series_id", "release_date", "marketing_year"),
    event_date="release_date",
)

RAW_TABLES: Final[dict[str, TableContract]] = {
    table.name: table
    for table in (FUTURES_DAILY, FUTURES_CURVE, MACRO_SERIES, COT_WEEKLY, WEATHER_DAILY, POLICY, FUNDAMENTALS)
}
"""Every raw table of a bundle, by name, in build order."""
