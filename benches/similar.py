"""How soon are similar materials found along a graph, beside hnswlib, usearch and FAISS's HNSW on the same vectors in the same run?

    python -m pip install -r benches/requirements.txt
    python benches/similar.py --examples target/release/examples --data DATA [--spaces learned descriptors composition]

Two threads each. The vectors are those of the compositions of a data directory (the bundled datasets, where it is empty), one each;
1,000 of them ask for their 10 nearest. The graphs of the peers have 16 links a node (32 in the lowest layer) and keep 100 in mind while
they are made, ours 12 and 48, and 24 in the lowest layer, linked anew; walks keep 24, 48 and 96 in mind for the peers, and as many as the graph has found necessary for ours.
Memory is that of one vector a composition and of the graph: of peers what the process holds more once they are made, ours calculated
(the look at all vectors without what it makes of them when it is first asked). Recall counts what is not farther than the tenth true neighbour. Peers that do not know L1 sit out `composition`.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

THREADS = 2
CORES = sorted(os.sched_getaffinity(0))[:THREADS] if hasattr(os, "sched_setaffinity") else []
if CORES:
    os.sched_setaffinity(0, CORES)
for name in ("OMP", "OPENBLAS", "MKL", "RAYON"):
    os.environ[f"{name}_NUM_THREADS"] = str(THREADS)

import faiss  # noqa: E402
import hnswlib  # noqa: E402
import numpy as np  # noqa: E402
from usearch.index import Index  # noqa: E402

K, QUERIES, LINKS, CONSTRUCTION = 10, 1000, 16, 100
EF = (24, 48, 96)
MIB = 1 << 20


def timed(work):
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def resident():
    """Bytes of memory that this process holds."""
    gc.collect()
    # what is free goes back first, where the C library can
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    with open("/proc/self/statm") as of:
        return int(of.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def recall(x, queries, found, metric, farthest):
    """Share of answers that are not farther than the tenth true neighbour."""
    apart = x[found] - queries[:, None, :]
    d = np.abs(apart).sum(2) if metric == "l1" else np.sqrt((apart**2).sum(2))
    return float((d <= farthest[:, None] * (1 + 1e-5) + 1e-6).mean())


def truth(x, queries, metric):
    index = faiss.IndexFlat(x.shape[1], faiss.METRIC_L1 if metric == "l1" else faiss.METRIC_L2)
    index.add(x)
    d, _ = index.search(queries, K)
    return d[:, -1] if metric == "l1" else np.sqrt(np.maximum(d[:, -1], 0))


def rates(search, ask):
    """Recall, and queries per second by one and by all threads, for each width of the walk."""
    out = []
    for ef in EF:
        search(ef, 1)
        found, one = timed(lambda: search(ef, 1))
        _, both = timed(lambda: search(ef, THREADS))
        out.append((ef, ask(found), QUERIES / one, QUERIES / both))
    return out


def peers(x, queries, metric, farthest):
    n, dims = x.shape
    ask = lambda found: recall(x, queries, np.asarray(found, dtype=np.int64), metric, farthest)
    if metric == "l2":
        before = resident()

        def make():
            index = hnswlib.Index("l2", dims)
            index.init_index(n, M=LINKS, ef_construction=CONSTRUCTION)
            index.add_items(x, num_threads=THREADS)
            return index

        index, made = timed(make)

        def search(ef, threads):
            index.set_ef(ef)
            return index.knn_query(queries, K, num_threads=threads)[0]

        yield "hnswlib", made, resident() - before, rates(search, ask)
        del index
        before = resident()

        def make_usearch():
            index = Index(ndim=dims, metric="l2sq", dtype="f32", connectivity=LINKS, expansion_add=CONSTRUCTION)
            index.add(np.arange(n), x, threads=THREADS)
            return index

        index, made = timed(make_usearch)

        def search_usearch(ef, threads):
            index.expansion_search = ef
            return index.search(queries, K, threads=threads).keys

        yield "usearch", made, resident() - before, rates(search_usearch, ask)
        del index

    before = resident()

    def make_faiss():
        index = faiss.IndexHNSWFlat(dims, LINKS, faiss.METRIC_L1 if metric == "l1" else faiss.METRIC_L2)
        index.hnsw.efConstruction = CONSTRUCTION
        index.add(x)
        return index

    index, made = timed(make_faiss)

    def search_faiss(ef, threads):
        faiss.omp_set_num_threads(threads)
        index.hnsw.efSearch = ef
        found = index.search(queries, K)[1]
        faiss.omp_set_num_threads(THREADS)
        return found

    yield "FAISS HNSW", made, resident() - before, rates(search_faiss, ask)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--spaces", nargs="+", default=["learned", "composition"])
    arguments = parser.parse_args()
    figures = []
    for space in arguments.spaces:
        metric = "l1" if space == "composition" else "l2"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.f32"
            command = [arguments.examples / "graph_timing", arguments.data, space, path]
            ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            x = np.fromfile(path, dtype="<f4").reshape(ours["vectors"], ours["dims"])
        queries = np.ascontiguousarray(x[:: max(1, len(x) // QUERIES)][:QUERIES])
        farthest = truth(x, queries, metric)
        print(f"\n{space}: {ours['vectors']:,} vectors of {ours['dims']} components, {metric.upper()}\n")
        print("| engine | made, s | MiB | width | recall at 10 | queries/s, 1 thread | 2 threads | ours / it |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        made = f"{ours['made_s']:.0f}" if ours["made_s"] > 1 else "kept"
        print(
            f"| matgenome | {made} | {ours['bytes'] / MIB:.0f} | | {ours['recall']:.4f} | {ours['walk_qps_one_thread']:,.0f} | {ours['walk_qps']:,.0f} | |"
        )
        print(f"| matgenome, all looked at | | {x.nbytes / MIB:.0f} | | 1 | | {ours['exact_qps']:,.0f} | {ours['walk_qps'] / ours['exact_qps']:.1f} |")
        figure = {"space": space, "ours": ours, "peers": {}}
        for name, seconds, size, of in peers(x, queries, metric, farthest):
            for ef, share, one, both in of:
                ratio = ours["walk_qps_one_thread"] / one
                print(f"| {name} | {seconds:.0f} | {size / MIB:.0f} | {ef} | {share:.4f} | {one:,.0f} | {both:,.0f} | {ratio:.2f} |", flush=True)
            figure["peers"][name] = {"made_s": seconds, "bytes": size, "of": of}
        figures.append(figure)
    print()
    print(json.dumps({"bench": "similar", "figures": figures}))


if __name__ == "__main__":
    main()
