"""Counts the rows of each dataset in a record table with three other programs, and prints the counts as JSON.

    python3 tests/peers.py DATA/records

Needs polars, deltalake and duckdb.
"""

import json
import sys
from collections import Counter
from urllib.parse import unquote, urlparse

import deltalake
import duckdb
import polars


def with_polars(table: str) -> dict[str, int]:
    # the values too, so that every column is decoded
    rows = polars.scan_delta(table).with_columns(polars.col("measurements").list.len().alias("values"))
    counts = rows.group_by("dataset").agg(polars.len().alias("rows"), polars.col("values").sum()).collect()
    assert counts["values"].min() > 0, counts
    return dict(zip(counts["dataset"], counts["rows"]))


def with_deltalake(table: deltalake.DeltaTable) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for batch in table.to_pyarrow_dataset().to_batches():
        counts.update(batch.column("dataset").to_pylist())
    return dict(counts)


def with_duckdb(table: deltalake.DeltaTable) -> dict[str, int]:
    files = [unquote(urlparse(uri).path) for uri in table.file_uris()]
    query = """
        select dataset, count(*), count(distinct id), sum(len(measurements))
        from read_parquet($files, hive_partitioning = true) group by dataset
    """
    counts = {}
    for dataset, rows, ids, values in duckdb.execute(query, {"files": files}).fetchall():
        assert rows == ids and values > 0, f"{dataset}: {rows} rows, {ids} ids, {values} values"
        counts[dataset] = rows
    return counts


def main() -> None:
    path = sys.argv[1]
    table = deltalake.DeltaTable(path)
    found = {"polars": with_polars(path), "deltalake": with_deltalake(table), "duckdb": with_duckdb(table)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
