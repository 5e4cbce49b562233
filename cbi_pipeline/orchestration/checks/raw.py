"""Checks of the raw tables: the warnings of the sense rules. An error refuses the bundle before an asset exists.

Warnings show yellow, with the rows, and stop nothing. One check a table: raw tables can be materialised one by one.
"""

import dagster as dg

from cbi_pipeline.contracts.manifest import Finding
from cbi_pipeline.contracts.references import RawTableRef
from cbi_pipeline.orchestration.metadata import RAW_ASSET_NAMES, table

NAME = "rows_make_sense"


def _check(asset_name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_name,
        name=NAME,
        description="No sense rule (docs/validation.md) has a warning about these rows.",
    )
    def rows_make_sense(reference: RawTableRef) -> dg.AssetCheckResult:
        from cbi_pipeline.stages.raw import sense_warnings

        findings = sense_warnings(reference)
        named = ", ".join(dict.fromkeys(f"{finding.rule} ({finding.subject})" for finding in findings))
        return dg.AssetCheckResult(
            passed=not findings,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(findings)} warnings: {named}" if findings else None,
            metadata={"warnings": len(findings)} | ({"findings": _table(findings)} if findings else {}),
        )

    return rows_make_sense


def _table(findings: tuple[Finding, ...]) -> dg.TableMetadataValue:
    rows = ((finding.model_dump(exclude={"table"}), finding.first_rows) for finding in findings)
    return table({**fields, "first_rows": "; ".join(first_rows)} for fields, first_rows in rows)


RAW_CHECKS = [_check(asset_name) for asset_name in RAW_ASSET_NAMES.values()]
