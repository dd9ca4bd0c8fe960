"""How fast is the search itself, beside FAISS, usearch, LanceDB, DuckDB, Polars and NumPy, on the same numbers in the same run?

    python -m pip install -r benches/requirements.txt
    python benches/search.py --examples target/release/examples [--device cpu] [--quick]

Two threads each. Every round asks each engine three times, one engine after the other, so that whatever else the machine does
falls on all of them; the first time wakes it up, and medians are of the others. First the limits of the machine: bytes read from memory, f32 operations.

Target specs: four windows (band gap, density, formation energy, volume) over the materials of the bundled datasets that have
all four; more rows repeat them with a little noise. Peers rank by score = sum w (max(lo - x, 0)^2 + max(x - hi, 0)^2) / s^2,
without deviations. `matgenome, no deviations` ranks by the same numbers, and must find the same rows; `matgenome` ranks by
the deviations of the beliefs too, which the peers do not do at all. Our times are taken in the process that searches, those of
the peers around their Python calls. Fewer rows lie in all windows than are wanted, so that all must be looked at. Only DuckDB and Polars read the rows' validity as
NULLs; here no row lacks a value.

Vectors: clustered, 128 components, 10 neighbours, L2, for 1, 16 and 256 queries, exact but for LanceDB's IVF-PQ (256
partitions, 20 probes, refined by a factor of 10), of which the recall is printed. Neighbours are checked against f64.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_setaffinity") else []
if CORES:
    os.sched_setaffinity(0, CORES)
THREADS = 2
for name in ("OMP", "OPENBLAS", "MKL", "POLARS_MAX", "RAYON", "LANCE_CPU"):
    os.environ[f"{name}_THREADS" if name in ("POLARS_MAX", "LANCE_CPU") else f"{name}_NUM_THREADS"] = str(THREADS)

os.environ.setdefault("LANCE_LOG", "error")

import warnings

import duckdb  # noqa: E402
import faiss  # noqa: E402
import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
from usearch.index import MetricKind, search as usearch_search  # noqa: E402

HERE = Path(__file__).resolve().parent.parent
DIMS, K = 128, 10
COUNTS = (1, 16, 256)
SPEC_K = 20
# property, lower end, upper end, tolerance, weight, deviation
TARGETS = (
    ("band_gap", 1.1, 1.6, 0.5, 2.0, 0.4),
    ("density", -np.inf, 2.0, 2.0, 1.0, 0.2),
    ("formation_energy", -np.inf, -3.5, 0.6, 1.0, 0.1),
    ("volume_per_atom", 15.0, 25.0, 6.0, 0.5, 0.5),
)


class Wrong(Exception):
    """An answer with which a timing means nothing."""


class Example:
    """One of our examples, which answers line by line."""

    def __init__(self, path, *arguments):
        self.process = subprocess.Popen([path, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise Wrong(f"{path} did not start")
        self.device = line.removeprefix("ready ").strip()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        ms, *rows = self.process.stdout.readline().split()
        return float(ms), np.array(rows, dtype=np.int64)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


def timed(ask):
    start = time.perf_counter()
    rows = ask()
    return (time.perf_counter() - start) * 1e3, np.asarray(rows)


def race(engines, rounds):
    """Each engine three times a round, of which the first wakes it up → medians in ms of the others, and the last answers."""
    times, rows = {name: [] for name in engines}, {}
    for _ in range(rounds):
        for name, ask in engines.items():
            for turn in range(3):
                ms, rows[name] = ask()
                if turn:
                    times[name].append(ms)
    return {name: float(np.median(of)) for name, of in times.items()}, rows


def half(rows):
    """The mask of the examples."""
    return (np.arange(rows, dtype=np.uint32) * np.uint32(2_654_435_769)) >> 31 == 1


# ---- target specs


def materials():
    """The values of the materials that have all of the properties, f32, one column a property."""
    files = [str(path) for path in sorted((HERE / "datasets" / "bundled").glob("*.parquet"))]
    keys = [key for key, *_ in TARGETS]
    fields = [pl.col("measurements").struct.field(name) for name in ("property", "value")]
    long = [pl.scan_parquet(file).filter(pl.col("formula").is_not_null()).select("formula", "measurements") for file in files]
    values = pl.concat(long).explode("measurements").select("formula", *fields).filter(pl.col("property").is_in(keys))
    table = values.collect().pivot("property", index="formula", values="value", aggregate_function="median")
    return table.drop_nulls(keys).sort("formula").select(keys).to_numpy().astype(np.float32)


def rows_of(real, rows, rng):
    if rows <= len(real):
        return real[np.sort(rng.choice(len(real), rows, replace=False))] if rows < len(real) else real
    times = -(-rows // len(real))
    many = np.tile(real, (times, 1))[:rows]
    return (many * (1 + 0.01 * rng.standard_normal(many.shape, dtype=np.float32))).astype(np.float32)


def spec_rows(args, folder, real, rows, rounds):
    x = rows_of(real, rows, np.random.default_rng(rows))
    file = folder / "columns.f32"
    with open(file, "wb") as out:
        for at, (*_, deviation) in enumerate(TARGETS):
            np.ascontiguousarray(x[:, at]).tofile(out)
            np.full(len(x), deviation, np.float32).tofile(out)
    words = ";".join(f"{lo},{hi},{tolerance},{weight}" for _, lo, hi, tolerance, weight, _ in TARGETS)
    arguments = ["--columns", file, "--rows", len(x), "--targets", words, "--threads", THREADS]

    total = sum(weight for *_, weight, _ in TARGETS)
    sides = [
        (at, sign, float(np.float32(end)), weight / tolerance**2 / total)
        for at, (_, lo, hi, tolerance, weight, _) in enumerate(TARGETS)
        for sign, end in ((-1, lo), (1, hi))
        if np.isfinite(end)
    ]
    frame = pl.DataFrame({"row": np.arange(len(x), dtype=np.uint32), **{f"c{at}": x[:, at] for at in range(len(TARGETS))}})
    db = duckdb.connect(config={"threads": THREADS})
    db.execute("CREATE TABLE materials AS SELECT * FROM frame")
    sql = " + ".join(
        f"{factor!r} * {side} * {side}"
        for at, sign, end, factor in sides
        for side in [f"greatest({f'c{at}::DOUBLE - {end!r}' if sign > 0 else f'{end!r} - c{at}::DOUBLE'}, 0)"])
    sql = f"SELECT row FROM (SELECT row, {sql} AS score FROM materials) ORDER BY score, row LIMIT {SPEC_K}"
    parts = [
        factor * ((pl.col(f"c{at}").cast(pl.Float64) - end) * sign).clip(lower_bound=0.0).pow(2) for at, sign, end, factor in sides
    ]
    lazy = frame.lazy().select(score=sum(parts[1:], parts[0]), row="row").bottom_k(SPEC_K, by=["score", "row"])

    def numpy():
        score = np.zeros(len(x))
        for at, sign, end, factor in sides:
            score += factor * np.maximum(sign * (x[:, at].astype(np.float64) - end), 0) ** 2
        best = np.flatnonzero(score <= np.partition(score, SPEC_K - 1)[SPEC_K - 1])
        return best[np.argsort(score[best], kind="stable")[:SPEC_K]]

    with Example(args.examples / "spec_timing", *arguments, "--device", args.device) as ours, \
            Example(args.examples / "spec_timing", *arguments, "--device", args.device, "--no-deviations") as plain:
        engines = {
            "matgenome": lambda: ours.ask(SPEC_K, 0),
            "matgenome, no deviations": lambda: plain.ask(SPEC_K, 0),
            "matgenome, 50 % mask": lambda: ours.ask(SPEC_K, 1),
            "DuckDB": lambda: timed(lambda: [row for row, in db.execute(sql).fetchall()]),
            "Polars": lambda: timed(lambda: lazy.collect().sort("score", "row")["row"].to_numpy()),
            "NumPy": lambda: timed(numpy),
        }
        if len(x) > 2_000_000:
            engines.pop("NumPy")
        ms, found = race(engines, rounds)
    inside = sum(all(lo <= value <= hi for (_, lo, hi, *_), value in zip(TARGETS, row)) for row in x[found["matgenome, no deviations"]])
    if inside >= SPEC_K:
        raise Wrong("more rows are in all windows than are wanted: nobody would have to look at the others")
    for name in engines:
        if not name.startswith("matgenome") and not np.array_equal(found[name], found["matgenome, no deviations"]):
            raise Wrong(f"{len(x):,} rows: {name} ranks {found[name]}, we {found['matgenome, no deviations']}")
    return len(x), ms


# ---- vectors


def clustered(rows, clusters=500, seed=7):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, DIMS), dtype=np.float32)
    vectors = 0.4 * rng.standard_normal((rows, DIMS), dtype=np.float32)
    vectors += centres[rng.integers(clusters, size=rows)]
    return vectors


def truth(vectors, query, allowed):
    away = ((vectors.astype(np.float64) - query.astype(np.float64)) ** 2).sum(1)
    if allowed is not None:
        away[~allowed] = np.inf
    best = np.argpartition(away, K)[: K + 1]
    return best[np.lexsort((best, away[best]))][:K]


def dense_rows(args, folder, rows, rounds):
    data = clustered(rows + max(COUNTS))
    vectors, queries = data[:rows], data[rows:]
    allowed = half(rows)
    vectors.tofile(folder / "vectors.f32")
    queries.tofile(folder / "queries.f32")
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatL2(DIMS)
    index.add(vectors)
    selector = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))
    squares = (vectors.astype(np.float64) ** 2).sum(1).astype(np.float32)
    lance, lance_pq = None, None
    if rows <= 200_000:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMS)
        table = pa.table({"row": pa.array(np.arange(rows, dtype=np.int64)), "vector": column})
        db = lancedb.connect(folder / "lance")
        lance = db.create_table("flat", table, mode="overwrite")
        if rows >= 100_000:
            lance_pq = db.create_table("pq", table, mode="overwrite")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                lance_pq.create_index(metric="l2", num_partitions=256, num_sub_vectors=DIMS // 8)

    def by_numpy(count):
        places = squares - 2.0 * (queries[:count] @ vectors.T)
        best = np.argpartition(places, K, axis=1)[:, :K]
        return np.take_along_axis(best, np.argsort(np.take_along_axis(places, best, 1), axis=1), 1)

    def by_lance(table, count, refined=False):
        def ask():
            found = []
            for query in queries[:count]:
                search = table.search(query).distance_type("l2").limit(K).select(["row", "_distance"])
                search = search.nprobes(20).refine_factor(10) if refined else search.bypass_vector_index()
                found.append(search.to_arrow()["row"].to_numpy())
            return np.array(found)
        return timed(ask)

    result, recalls = {}, {}
    arguments = ["--vectors", folder / "vectors.f32", "--queries", folder / "queries.f32", "--dims", DIMS, "--k", K,
                 "--threads", THREADS, "--device", args.device, "--ids", "--serve"]
    with Example(args.examples / "dense_timing", *arguments) as ours:
        for count in COUNTS:
            engines = {
                "matgenome": lambda: ours.ask(count, 0),
                "matgenome, 50 % mask": lambda: ours.ask(count, 1),
                "FAISS flat": lambda: timed(lambda: index.search(queries[:count], K)[1]),
                "FAISS flat, 50 % mask": lambda: timed(lambda: index.search(queries[:count], K, params=selector)[1]),
                "usearch exact": lambda: timed(lambda: usearch_search(
                    vectors, queries[:count], K, MetricKind.L2sq, exact=True, threads=THREADS).keys),
                "NumPy": lambda: timed(lambda: by_numpy(count)),
            }
            if lance and count <= 16:
                engines["LanceDB flat"] = lambda: by_lance(lance, count)
            if lance_pq and count <= 16:
                engines["LanceDB IVF-PQ"] = lambda: by_lance(lance_pq, count, refined=True)
            if rows > 200_000 or args.device != "cpu":
                engines.pop("NumPy")
            fewer = max(2, rounds // 3) if count == 256 or rows > 200_000 else rounds
            ms, found = race(engines, fewer)
            result[count] = ms
            found = {name: np.asarray(rows).reshape(count, K) for name, rows in found.items()}
            for name, mask in (("matgenome", None), ("matgenome, 50 % mask", allowed)):
                for at in range(0, count, max(1, count // 4)):
                    want = truth(vectors, queries[at], mask)
                    if not np.array_equal(want, found[name][at]):
                        raise Wrong(f"{name}: the neighbours of query {at} are {found[name][at]}, not {want}")
            for name in engines:
                if name.startswith("matgenome"):
                    continue
                same = found["matgenome, 50 % mask" if "mask" in name else "matgenome"]
                agree = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found[name], same)])
                if "PQ" in name:
                    recalls[count] = float(agree)
                elif agree < 0.999:
                    raise Wrong(f"{name} and we agree on {agree:.2%} of the neighbours only")
    return result, recalls


# ---- the table


def print_table(title, columns, rows, ours):
    print(f"\n{title}; medians, ms (times ours)\n")
    print(f"| {'':<26} |" + "".join(f" {column:>22} |" for column in columns))
    print(f"| {'-' * 26} |" + " ---------------------: |" * len(columns))
    names = list(dict.fromkeys(name for of in rows for name in of))
    for name in names:
        cells = []
        for of in rows:
            base = of[ours(name)]
            cells.append(f"{of[name]:,.2f} ({of[name] / base:.2f})" if name in of else "")
        print(f"| {name:<26} |" + "".join(f" {cell:>22} |" for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=Path, required=True, help="the folder of the built examples of the gpu package")
    parser.add_argument("--device", default="cpu", help="cpu, or a part of an adapter's name")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="smaller sizes only")
    args = parser.parse_args()
    args.examples = args.examples.resolve()

    limits = subprocess.run([args.examples / "limits", str(THREADS)], capture_output=True, text=True, check=True).stdout.split()
    bandwidth, flops = float(limits[0]), float(limits[2])
    print(f"memory {bandwidth:.1f} GB/s read, {flops:.0f} GFLOP/s f32 with {THREADS} threads; device {args.device}")
    print(f"DuckDB {duckdb.__version__}, Polars {pl.__version__}, NumPy {np.__version__}, FAISS {faiss.__version__}, "
          f"LanceDB {lancedb.__version__}")

    real = materials()
    sizes = [10_000, 100_000, len(real), 1_000_000] + ([] if args.quick else [10_000_000])
    spec = {}
    with tempfile.TemporaryDirectory(prefix="matgenome-bench-") as folder:
        for rows in sizes:
            count, spec[rows] = spec_rows(args, Path(folder), real, rows, args.rounds if rows < 5_000_000 else 3)
    print_table(f"Target spec, {len(TARGETS)} targets, the best {SPEC_K}", [f"{rows:,} rows" for rows in spec], list(spec.values()),
                lambda name: "matgenome, no deviations")
    largest = max(spec)
    # means alone: rows that are certainly worse are passed over by them
    bytes_read = largest * len(TARGETS) * 4
    share = bytes_read / (spec[largest]["matgenome"] / 1e3) / 1e9 / bandwidth
    print(f"\n{largest:,} rows: {bytes_read / (spec[largest]['matgenome'] / 1e3) / 1e9:.1f} GB/s, "
          f"{share:.0%} of what memory gives")

    dense, recalls = {}, {}
    for rows in [10_000, 200_000] + ([] if args.quick else [1_000_000]):
        with tempfile.TemporaryDirectory(prefix="matgenome-bench-") as folder:
            dense[rows], recalls[rows] = dense_rows(args, Path(folder), rows, args.rounds)
        print_table(f"{rows:,} vectors of {DIMS}, the nearest {K}", [f"{count} queries" for count in COUNTS],
                    [dense[rows][count] for count in COUNTS],
                    lambda name: "matgenome, 50 % mask" if "mask" in name else "matgenome")
        if recalls[rows]:
            print(f"\nrecall of LanceDB IVF-PQ: {', '.join(f'{recall:.3f}' for recall in recalls[rows].values())}")
        gflops = 2 * rows * DIMS * 256 / (dense[rows][256]["matgenome"] / 1e3) / 1e9
        print(f"256 queries: {gflops:.0f} GFLOP/s, {gflops / flops:.0%} of what the machine can do")
    print()
    print(json.dumps({
        "bench": "search", "device": args.device, "threads": THREADS, "gb_per_s": bandwidth, "gflop_per_s": flops,
        "spec_ms": {str(rows): of for rows, of in spec.items()},
        "dense_ms": {str(rows): {str(count): ms for count, ms in of.items()} for rows, of in dense.items()},
        "recall": {str(rows): of for rows, of in recalls.items() if of},
    }))


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
