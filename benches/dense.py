"""Exact nearest neighbours among embeddings: ours beside FAISS and usearch, on the same vectors, in the same run.

    python benches/dense.py --example target/release/examples/dense_timing

Each round asks every engine once, one after the other, so that whatever else the machine does falls on all of them. Medians,
two threads each. Neighbours are checked against f64.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = 2
os.environ.update(OMP_NUM_THREADS=str(THREADS), OPENBLAS_NUM_THREADS=str(THREADS), MKL_NUM_THREADS=str(THREADS))

import faiss  # noqa: E402
import numpy as np  # noqa: E402
from usearch.index import MetricKind, search  # noqa: E402

COUNTS = (1, 16, 256)
METRICS = {
    "l2": (faiss.METRIC_L2, MetricKind.L2sq),
    "l1": (faiss.METRIC_L1, None),
    "ip": (faiss.METRIC_INNER_PRODUCT, MetricKind.IP),
}


def clustered(rows: int, dims: int, clusters: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dims))
    return (centres[rng.integers(clusters, size=rows)] + 0.4 * rng.normal(size=(rows, dims))).astype(np.float32)


def half(rows: int) -> np.ndarray:
    """The mask of examples/dense_timing.rs."""
    return (np.arange(rows, dtype=np.uint32) * np.uint32(2_654_435_769)) >> 31 == 1


def distances(metric: str, x: np.ndarray, q: np.ndarray) -> np.ndarray:
    x, q = x.astype(np.float64), q.astype(np.float64)
    if metric == "ip":
        return -(x @ q)
    return np.abs(x - q).sum(1) if metric == "l1" else ((x - q) ** 2).sum(1)


class Ours:
    def __init__(self, example: Path, folder: Path, dims: int, k: int, metric: str):
        self.k = k
        self.process = subprocess.Popen(
            [example, "--vectors", folder / "vectors.f32", "--queries", folder / "queries.f32", "--dims", str(dims),
             "--k", str(k), "--threads", str(THREADS), "--metric", metric, "--ids", "--serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline().startswith("ready"):
            sys.exit(f"{example} did not start")

    def ask(self, count: int, masked: bool) -> tuple[float, np.ndarray]:
        self.process.stdin.write(f"{count} {int(masked)}\n")
        self.process.stdin.flush()
        ms, *rows = self.process.stdout.readline().split()
        return float(ms), np.array(rows, dtype=np.int64).reshape(count, self.k)


def timed(ask) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    rows = ask()
    return (time.perf_counter() - start) * 1e3, np.asarray(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--example", type=Path, required=True, help="the built example dense_timing")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--metric", choices=METRICS, default="l2")
    args = parser.parse_args()

    data = clustered(args.rows + max(COUNTS), args.dims, 500, 7)
    vectors, queries = data[: args.rows], data[args.rows :]
    allowed = half(args.rows)
    faiss.omp_set_num_threads(THREADS)
    faiss_metric, usearch_metric = METRICS[args.metric]
    index = faiss.IndexFlat(args.dims, faiss_metric)
    index.add(vectors)
    selector = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(allowed)))

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        vectors.tofile(folder / "vectors.f32")
        queries.tofile(folder / "queries.f32")
        ours = Ours(args.example.resolve(), folder, args.dims, args.k, args.metric)
        engines = {
            "matgenome": lambda count: ours.ask(count, False),
            "matgenome, 50 % mask": lambda count: ours.ask(count, True),
            "faiss flat": lambda count: timed(lambda: index.search(queries[:count], args.k)[1]),
            "faiss flat, 50 % mask": lambda count: timed(lambda: index.search(queries[:count], args.k, params=selector)[1]),
        }
        if usearch_metric is not None:
            engines["usearch exact"] = lambda count: timed(
                lambda: search(vectors, queries[:count], args.k, usearch_metric, exact=True, threads=THREADS).keys)

        result = {}
        for count in COUNTS:
            times = {name: [] for name in engines}
            rows = {}
            # peers that take seconds are asked less often
            rounds = args.rounds if count < 256 else max(3, args.rounds // 2)
            for _ in range(rounds):
                for name, ask in engines.items():
                    ms, rows[name] = ask(count)
                    times[name].append(ms)
            result[count] = {name: float(np.median(of)) for name, of in times.items()}
            for name in ("matgenome", "matgenome, 50 % mask"):
                check(name, args, vectors, queries[:count], allowed if "mask" in name else None, rows[name])
            for name in engines:
                if name not in ("matgenome", "matgenome, 50 % mask"):
                    same = rows["matgenome, 50 % mask" if "mask" in name else "matgenome"]
                    agree = (np.asarray(rows[name]).reshape(same.shape) == same).mean()
                    if agree < 0.999:
                        sys.exit(f"{name} and matgenome agree on {agree:.4%} of the neighbours only")

    print(f"{args.rows:,} × {args.dims} vectors in 500 clusters, {args.metric}, k = {args.k}, {THREADS} threads; medians, ms")
    print(f"{'':<24}" + "".join(f"{f'{count} queries':>14}" for count in COUNTS))
    for name in engines:
        print(f"{name:<24}" + "".join(f"{result[count][name]:>14.2f}" for count in COUNTS))
    ratios = {
        "faiss flat": ("faiss flat", "matgenome"),
        "usearch exact": ("usearch exact", "matgenome"),
        "faiss flat, 50 % mask": ("faiss flat, 50 % mask", "matgenome, 50 % mask"),
        "our 50 % mask": ("matgenome, 50 % mask", "matgenome"),
    }
    print("times our time")
    for label, (above, below) in ratios.items():
        if above in engines:
            print(f"{label:<24}" + "".join(f"{result[count][above] / result[count][below]:>14.2f}" for count in COUNTS))
    print(json.dumps({
        "bench": "dense", "rows": args.rows, "dims": args.dims, "k": args.k, "metric": args.metric, "threads": THREADS,
        "ms": {str(count): of for count, of in result.items()},
        "faiss_ratio": {str(count): round(of["faiss flat"] / of["matgenome"], 3) for count, of in result.items()},
    }))


def check(name, args, vectors, queries, allowed, found) -> None:
    """Some of our neighbours are those of f64, in order."""
    for at in range(0, len(queries), max(1, len(queries) // 8)):
        away = distances(args.metric, vectors, queries[at])
        if allowed is not None:
            away[~allowed] = np.inf
        truth = np.lexsort((np.arange(len(away)), away))[: args.k]
        if not np.array_equal(truth, found[at]):
            sys.exit(f"{name}: the neighbours of query {at} are {found[at]}, not {truth}")


if __name__ == "__main__":
    main()
