"""How fast do files become committed records, beside pandas with pymatgen, and beside Polars, on the same files?

    python -m pip install -r benches/requirements.txt
    python benches/ingest.py --bin target/release/matgenome [--source DIR] [--repeats 5] [--quick]

The files: OQMD's CSV files of `formula,target` (`--source`: the folder with the four that PyPI crabnet ships); without
them three such files are written from the bundled dataset.

- ours: `matgenome ingest FILES --mapping ...` as a process of its own, from its start to its end, into a fresh directory:
  formulas parsed and checked, values checked, rows of one material joined, densities derived, written as Parquet and
  committed to a Delta table, every file and folder fsynced. Median of the repeats.
- again: the same command on the same directory, which compares everything and commits nothing.
- Polars: `read_csv` and `write_parquet`, file by file, in a warm process, two threads; it parses no formula.
- pandas + pymatgen: `read_csv`, `Composition(formula).reduced_formula` of every row, `to_parquet`; once.
- large: a made CSV of 10 million rows (four numbers each), which no sorter of ours holds in memory; peak memory.
- searchable: a server that follows the directory; from the end of `matgenome ingest` until the server knows a record of
  it, for jobs of 1, 1,000 and 100,000 records into the bundled hub.

Figures are only comparable within one run: the machine decides about the rest. Wrong counts end with exit code 1.
"""

import os

CORES = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_setaffinity") else []
if CORES:
    os.sched_setaffinity(0, CORES)  # child processes inherit it
os.environ["POLARS_MAX_THREADS"] = "2"

import argparse
import http.client
import json
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd
import polars as pl

HERE = Path(__file__).resolve().parent.parent
FILES = ["band_gap_eV.csv", "energy_eV_per_atom.csv", "formation_energy_eV_per_atom.csv", "volume_A3_per_atom.csv"]
BUNDLED = {"band_gap": FILES[0], "formation_energy": FILES[2], "volume_per_atom": FILES[3]}
LARGE_MAPPING = """
[dataset]
name = "large"
licence = "CC0-1.0"
[record]
id = ["id"]
[material]
formula = "formula"
[defaults]
evidence = "computed"
[[value]]
column = "gap"
property = "band_gap"
unit = "eV"
[[value]]
column = "volume"
property = "volume_per_atom"
unit = "Å^3/atom"
"""


class Wrong(Exception):
    """A count with which a timing means nothing."""


def ingest(binary, files, mapping, data):
    """Wall seconds, peak MiB and what the command printed; exit code 3 says that some rows were refused."""
    data.mkdir(exist_ok=True)
    command = ["ingest", *files, "--mapping", mapping, "--data", data, "--no-bundled"]
    # a process that waits for one child tells that child's peak
    waiter = (
        "import json,resource,subprocess,sys,time\n"
        "t=time.perf_counter(); p=subprocess.run(sys.argv[1:],capture_output=True,text=True); s=time.perf_counter()-t\n"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([p.returncode,s,u.ru_maxrss/1024,u.ru_utime+u.ru_stime,p.stdout+p.stderr]))"
    )
    done = subprocess.run([sys.executable, "-c", waiter, binary, *map(str, command)], capture_output=True, text=True)
    code, seconds, peak, cpu, said = json.loads(done.stdout)
    if code not in (0, 3):
        raise Wrong(f"ingest ended with {code}: {said}")
    return seconds, peak, cpu, said


def rows_of(files):
    return sum(pl.scan_csv(f).select(pl.len()).collect().item() for f in files)


def records_in(data):
    return pl.scan_delta(str(data / "records")).select(pl.len()).collect().item()


def files_of_bundle(binary, folder):
    """OQMD's values as they are bundled, as files of `formula,target`."""
    data = folder / "bundle"
    data.mkdir()
    subprocess.run([binary, "datasets", "--data", data], check=True, capture_output=True)
    rows = pl.scan_delta(str(data / "records")).filter(pl.col("dataset") == "oqmd").select("formula", "measurements")
    rows = rows.explode("measurements").unnest("measurements").select("formula", "property", "value").collect()
    for key, name in BUNDLED.items():
        part = rows.filter(pl.col("property") == key).select("formula", pl.col("value").alias("target"))
        part.sample(fraction=1.0, shuffle=True, seed=1).write_csv(folder / name)
    return [folder / name for name in BUNDLED.values()]


def with_polars(files, folder):
    start = time.perf_counter()
    for file in files:
        pl.read_csv(file).write_parquet(folder / "polars.parquet")
    return time.perf_counter() - start


def with_pandas(files, folder, rows):
    """Seconds for all rows, or for the first `rows` of each file; and how many rows that were."""
    from pymatgen.core import Composition

    start, done = time.perf_counter(), 0
    for file in files:
        table = pd.read_csv(file, nrows=rows, keep_default_na=False)  # NaN is sodium nitride
        table["formula"] = [Composition(formula).reduced_formula for formula in table["formula"]]
        table.to_parquet(folder / "pandas.parquet")
        done += len(table)
    return time.perf_counter() - start, done


def large_file(path, rows):
    import numpy as np

    symbols = np.array("Al Ba Ca Ce Co Cr Cu Fe Ga Ge In La Li Mg Mn Mo Na Nb Ni O P Pb S Sb Se Si Sn Sr Ta Te Ti V W Y Zn Zr".split())
    random = np.random.default_rng(1)
    with path.open("wb") as out:
        for at in range(0, rows, 1_000_000):
            n = min(1_000_000, rows - at)
            a, b = symbols[random.integers(0, len(symbols), n)], symbols[random.integers(0, len(symbols), n)]
            formula = pl.DataFrame({"a": a, "i": random.integers(1, 9, n), "b": b, "j": random.integers(1, 9, n)})
            table = formula.select(
                id=pl.Series((np.arange(at, at + n) * 7_919) % rows).cast(pl.String),
                formula=pl.concat_str("a", "i", "b", "j"),
                gap=pl.Series(random.random(n).round(4) * 5),
                volume=pl.Series(random.random(n).round(4) * 20 + 8),
            )
            table.write_csv(out, include_header=at == 0)


class Server:
    """A `matgenome serve` on a directory; leaving the block ends it."""

    def __init__(self, binary, data):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", f"127.0.0.1:{port}", "--data", data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.perf_counter() + 300
        while self.status("/readyz") != 200:
            if self.process.poll() is not None or time.perf_counter() > until:
                raise Wrong("the server does not start")
            time.sleep(0.02)

    def status(self, path):
        try:
            self.http.request("GET", path)
            answer = self.http.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            self.http.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()
        self.process.terminate()
        self.process.wait(30)


def searchable(binary, folder):
    """Milliseconds from the end of an ingest until a server that runs beside it knows the material, for three sizes."""
    data = folder / "followed"
    data.mkdir()
    found = {}
    with Server(binary, data) as server:
        for size in (1, 1_000, 100_000):
            waits = []
            for turn in range(3):
                tag = f"t{size}-{turn}"
                rows = pl.DataFrame({"id": [f"{tag}-{n}" for n in range(size)], "name": [f"Sample {tag} {n}" for n in range(size)]})
                rows = rows.with_columns(density=pl.lit(7.5))
                file, mapping = folder / f"{tag}.csv", folder / "searchable.toml"
                rows.write_csv(file)
                mapping.write_text(
                    '[dataset]\nname = "bench"\nlicence = "CC0-1.0"\n[record]\nid = ["id"]\n[material]\nname = "name"\n'
                    '[defaults]\nevidence = "measured"\n[[value]]\ncolumn = "density"\nproperty = "density"\nunit = "g/cm^3"\n'
                )
                ingest(binary, [file], mapping, data)
                start = time.perf_counter()
                while server.status(f"/v1/materials/sample-{tag}-{size - 1}") != 200:
                    if time.perf_counter() > start + 60:
                        raise Wrong(f"{size} records are not found a minute after their commit")
                    time.sleep(0.005)
                waits.append((time.perf_counter() - start) * 1e3)
            found[size] = median(waits)
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--bin", required=True, type=Path)
    arguments.add_argument("--source", type=Path, help="folder with OQMD's four CSV files, or the DIR of `make sources`")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--large-rows", type=int, default=10_000_000)
    arguments.add_argument("--quick", action="store_true", help="pandas on 50,000 rows of each file, and no large file")
    options = arguments.parse_args()
    binary = options.bin.resolve()
    folder = Path(tempfile.mkdtemp(prefix="matgenome-bench-"))
    try:
        return run(binary, options, folder)
    except Wrong as wrong:
        print(f"wrong: {wrong}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(binary, options, folder):
    if options.source:
        inner = options.source / "vendorable" / "oqmd"
        source = inner if inner.is_dir() else options.source
        files, mapping = [source / name for name in FILES], HERE / "datasets/mappings/oqmd.toml"
    else:
        files, mapping = files_of_bundle(binary, folder), HERE / "datasets/bundled/mappings/oqmd.toml"
    rows = rows_of(files)
    ours, again, polars = [], [], []
    # in turn, so that a busy moment of the machine meets all of them
    for turn in range(options.repeats):
        data = folder / f"data-{turn}"
        ours.append(ingest(binary, files, mapping, data))
        again.append(ingest(binary, files, mapping, data))
        polars += [with_polars(files, folder) for _ in range(2)]
        distinct = pl.concat([pl.scan_csv(f).select("formula") for f in files]).select(pl.col("formula").n_unique()).collect().item() if turn == 0 else None
        if distinct is not None and records_in(data) > distinct:
            raise Wrong(f"{records_in(data)} records of {distinct} formulas")
        if "nothing to commit" not in again[-1][3]:
            raise Wrong(f"an unchanged file was committed again: {again[-1][3]}")
        shutil.rmtree(data)
    pandas_s, pandas_rows = with_pandas(files, folder, 50_000 if options.quick else None)
    rates = {
        "ours": rows / median(s for s, *_ in ours),
        "again": rows / median(s for s, *_ in again),
        "polars": rows / median(polars),
        "pandas": pandas_rows / pandas_s,
    }
    print(f"\n{rows:,} rows of {len(files)} files; the {options.repeats} runs of each in turn, medians\n")
    print(f"| {'':<44} | {'rows/s':>10} | {'ours is':>9} | {'peak MiB':>8} |")
    print(f"| {'-' * 44} | {'-' * 9}: | {'-' * 8}: | {'-' * 7}: |")
    peak = lambda runs: max(p for _, p, *_ in runs)
    print(f"| {'matgenome ingest, committed and fsynced':<44} | {rates['ours']:>10,.0f} | {'':>9} | {peak(ours):>8,.0f} |")
    print(f"| {'matgenome ingest again, nothing has changed':<44} | {rates['again']:>10,.0f} | {'':>9} | {peak(again):>8,.0f} |")
    print(f"| {'pandas + pymatgen: CSV, formulas, Parquet':<44} | {rates['pandas']:>10,.0f} | {rates['ours'] / rates['pandas']:>8.1f}x | {'':>8} |")
    print(f"| {'Polars: CSV to Parquet, no formula':<44} | {rates['polars']:>10,.0f} | {rates['ours'] / rates['polars']:>8.2f}x | {'':>8} |")
    figures = {"rows": rows, "rates": {k: round(v) for k, v in rates.items()}, "peak_mib": round(peak(ours)),
               "cpu_s": round(median(c for _, _, c, _ in ours), 2)}  # fmt: skip
    if not options.quick:
        file, large_mapping = folder / "large.csv", folder / "large.toml"
        large_file(file, options.large_rows)
        large_mapping.write_text(LARGE_MAPPING)
        seconds, large_peak, _, said = ingest(binary, [file], large_mapping, folder / "large")
        if records_in(folder / "large") != options.large_rows:
            raise Wrong(f"{records_in(folder / 'large')} of {options.large_rows} records: {said}")
        polars_s = with_polars([file], folder)
        print(f"\nlarge: {options.large_rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB: {options.large_rows / seconds:,.0f} rows/s, "
              f"peak {large_peak:,.0f} MiB; Polars {options.large_rows / polars_s:,.0f} rows/s")  # fmt: skip
        figures["large"] = {"rows": options.large_rows, "rate": round(options.large_rows / seconds), "peak_mib": round(large_peak),
                            "polars_rate": round(options.large_rows / polars_s)}  # fmt: skip
        shutil.rmtree(folder / "large")
        file.unlink()
    waits = searchable(binary, folder)
    print("\nsearchable after the end of the command: " + ", ".join(f"{n:,} records {ms:,.0f} ms" for n, ms in waits.items()))
    figures["searchable_ms"] = {str(n): round(ms) for n, ms in waits.items()}
    print(json.dumps({"bench": "ingest", **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
