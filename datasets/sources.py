"""Ingests the sources that `sources.toml` lists, each by its committed mapping, and prints what became of their rows.

    python3 datasets/sources.py --bin target/release/matgenome --source DIR [--data DATA] [--reports REPORTS]
    python3 datasets/sources.py --bin target/release/matgenome --source DIR --bundle datasets/bundled

The counts are those that the program prints. With --bundle the data becomes the bundle. Needs nothing but Python 3.11.
"""

import argparse
import collections
import csv
import json
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = re.compile(
    r"^([\d,]+) rows read = ([\d,]+) accepted \+ ([\d,]+) refused \+ ([\d,]+) unchanged; ([\d,]+) values flagged$", re.M
)
SECONDS = re.compile(r"\(([\d.]+) s\)$", re.M)
REFUSED = 3  # exit code: done, and some rows were refused


def find(source, pattern):
    """The files of a pattern below the folder, or below a folder in it."""
    for root in [source, *sorted(p for p in source.iterdir() if p.is_dir())]:
        found = sorted(root.glob(pattern))
        if found:
            return found
    return []


def to_csv(database, query, folder):
    """A query's answer as a CSV file."""
    path = pathlib.Path(folder) / f"{database.stem}.csv"
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    try:
        cursor = connection.execute(query.read_text())
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(column[0] for column in cursor.description)
            writer.writerows(cursor)
    finally:
        connection.close()
    return path


def ingest(program, mapping, files, data, report):
    """One job; its counts as the program prints them, rows read first, and its seconds."""
    command = [program, "ingest", *files, "--mapping", mapping, "--data", data, "--no-bundled", "--report", report]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    counts, seconds = COUNTS.search(done.stdout), SECONDS.search(done.stdout)
    if done.returncode not in (0, REFUSED) or not (counts and seconds):
        sys.exit(f"{mapping.name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return [int(count.replace(",", "")) for count in counts.groups()], float(seconds[1])


def findings(report):
    """How often the report names each code."""
    codes = collections.Counter()
    with report.open() as lines:
        for line in lines:
            finding = json.loads(line)
            codes[(finding["severity"], finding["code"])] += 1
    return codes


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", required=True, type=pathlib.Path, help="the program")
    arguments.add_argument("--source", required=True, type=pathlib.Path, help="folder with a folder for each source")
    arguments.add_argument("--data", type=pathlib.Path, help="empty data directory to fill; a temporary one by default")
    arguments.add_argument("--reports", type=pathlib.Path, help="folder to keep the reports in")
    arguments.add_argument("--bundle", type=pathlib.Path, help="make the bundle in this folder")
    given = arguments.parse_args()
    if not given.source.is_dir():
        sys.exit(f"{given.source} is no folder; say where the sources are")
    if given.data and given.data.exists() and any(given.data.iterdir()):
        sys.exit(f"{given.data} is not empty; a table of what is new needs an empty data directory")

    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        data = given.data or temporary / "data"
        reports = given.reports or temporary / "reports"
        data.mkdir(parents=True, exist_ok=True)
        reports.mkdir(parents=True, exist_ok=True)
        missing, total, total_seconds = [], [0] * 5, 0.0
        print("| source | rows read | accepted | refused | flagged | unchanged | seconds | findings |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
        for source in tomllib.loads((HERE / "sources.toml").read_text())["source"]:
            mapping = HERE / source["mapping"]
            is_bundled = mapping.parent.parent.name == "bundled"
            wanted = is_bundled if given.bundle else source.get("use") != "bundle"
            if not wanted:
                continue
            files = [find(given.source, pattern) for pattern in source["files"]]
            if not all(files):
                missing.append(f"{mapping.stem}: there is no {source['files'][files.index([])]}")
                continue
            files = [file for found in files for file in found]
            if "sql" in source:
                files = [to_csv(file, HERE / source["sql"], temporary) for file in files]
            report = reports / f"{mapping.stem}.jsonl"
            (read, accepted, refused, unchanged, flagged), seconds = ingest(given.bin, mapping, files, data, report)
            if read != accepted + refused + unchanged:
                sys.exit(f"{mapping.stem}: the rows do not add up")
            counts = [read, accepted, refused, flagged, unchanged]
            total = [a + b for a, b in zip(total, counts)]
            total_seconds += seconds
            codes = [f"{n:,} {severity} `{code}`" for (severity, code), n in sorted(findings(report).items())]
            cells = [f"`{mapping.stem}`", *(f"{count:,}" for count in counts), f"{seconds:.1f}", ", ".join(codes)]
            print(f"| {' | '.join(cells)} |", flush=True)
        print(f"| all | {' | '.join(f'{count:,}' for count in total)} | {total_seconds:.1f} | |")
        for line in missing:
            print(line, file=sys.stderr)
        if given.bundle:
            if missing:
                sys.exit("the bundle is left as it was: it needs every source")
            for old in given.bundle.glob("*.parquet"):
                old.unlink()
            command = [given.bin, "bundle", "--data", data, "--no-bundled", "--out", given.bundle]
            subprocess.run([str(word) for word in command], check=True)
        elif missing:
            sys.exit(1)


if __name__ == "__main__":
    main()
