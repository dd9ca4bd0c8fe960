"""How fast does the server answer a target spec, beside DuckDB, Polars and NumPy on the same rows?

    python -m pip install -r benches/requirements.txt
    python benches/suggest.py --bin target/release/matgenome [--device cpu] [--repeats 50] [--data DIR]

Load: wall time from the start of `matgenome serve` until /readyz answers 200, on a fresh directory (the bundled
datasets are read, committed and indexed) and on later starts, with the peak resident memory of the process (Linux).

Suggest: each case gets a server of its own. The first call is the very first that it ranks, sent as soon as it is ready
(files may be in the page cache); the repeats follow on one kept-alive connection, one at a time. All numbers of a spec
change slightly from call to call, so no cache of answers could help; the filter repeats, unless the case says
otherwise. `in the server` is `meta.took_ms`; `round trip` is what the client waits, with the JSON of both sides.

Peers: one wide table in memory, built from the hub's Delta table, one row a material: of each property the best
evidence, of that what is nearest to 298.15 K, of that the median, log properties in log10, as the hub does; and one
boolean column an element. All datasets count as public, and phases do not inherit from their formula (the bundled data
states none); the numbers of rows, matches and passing materials must be the server's. Peers filter, score and take the
best 20, in process and in 64 bits, by the hub's score without deviations (empty cells take the property's median):

    score = sum w (max(lo - x, 0)^2 + max(x - hi, 0)^2) / s^2 / sum w        s: the property's robust spread

So peers do less: no uncertainty, probabilities, verdicts, counts of passing materials, provenance or HTTP. Their scores
must agree with each other, and the hub's must follow from the deviations that it states. Its order need not agree with
theirs, because its score includes the deviations: how many of its 20 are among the peers' 20, and how many score as
well as these by the peers' formula, is only reported.

All on two cores (Linux). Timings are never judged; the exit code is 1 where a server fails or figures disagree.
"""

import os

CORES = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_setaffinity") else []
if CORES:
    os.sched_setaffinity(0, CORES)  # the servers inherit it
os.environ["POLARS_MAX_THREADS"] = "2"

import argparse
import http.client
import itertools
import json
import math
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import polars as pl

LIMIT = 20
DEEP = 2_000  # how deep the peers are compared with each other, untimed
START_TIMEOUT_S, SETTLE_S = 600, 3
REFERENCE_K, SAME_TEMPERATURE_K = 298.15, 8.0
EVIDENCE = {"measured": 4, "computed": 3, "derived": 2, "predicted": 1}
ELEMENTS = "Hg As Tl Cr Ni Co Be U Th Sb Se Te Ba V Os Ru Rh Pd Ir Pt Re Au Ag In Ga Ge Sc".split()


class Wrong(Exception):
    """An answer with which a timing means nothing."""


@dataclass(frozen=True)
class Case:
    name: str
    targets: tuple  # of (property, lower end, upper end, weight)
    without: tuple = ()
    max_elements: int | None = None
    unknown: str = "predict"
    dataset: str | None = None
    new_filters: bool = False

    def call(self, i):
        """Call `i`: other numbers than in any other call, and another filter where the case asks for it."""
        by = 1 + 1e-5 * i
        pairs = list(itertools.combinations(ELEMENTS, 2))
        without = pairs[i % len(pairs)] if self.new_filters and i else self.without
        return replace(self, targets=tuple((p, lo and lo * by, hi and hi * by, w) for p, lo, hi, w in self.targets),
                       without=without)  # fmt: skip

    def spec(self):
        """The body of the request."""
        targets = [{"property": p, "min": lo, "max": hi, "weight": w} for p, lo, hi, w in self.targets]
        targets = [{key: x for key, x in target.items() if x is not None} for target in targets]
        parts = ["NOT elements HAS ANY " + ",".join(f'"{e}"' for e in self.without)] if self.without else []
        parts += [f"nelements <= {self.max_elements}"] if self.max_elements else []
        spec = {"targets": targets, "unknown": self.unknown, "limit": LIMIT}
        spec |= {"filter": " AND ".join(parts)} if parts else {}
        return spec | ({"datasets": [self.dataset]} if self.dataset else {})


GAP, DENSITY, FORMATION = ("band_gap", 1.1, 1.6, 2), ("density", None, 4, 1), ("formation_energy", None, -0.5, 1)
SPARSE = (("bulk_modulus", 150, None, 1), ("density", None, 6, 1), ("energy_above_hull", None, 0.05, 1))
THREE, TOXIC = (GAP, DENSITY, FORMATION), ("Pb", "Cd")
CASES = [
    Case("3 targets, filter, unknown: predict", THREE, TOXIC, 4),
    Case("3 targets, filter, unknown: require", THREE, TOXIC, 4, unknown="require"),
    Case("3 targets, a new filter in each call", THREE, TOXIC, 4, new_filters=True),
    Case("2 targets, filter, OQMD only", ((*GAP[:3], 1), DENSITY), TOXIC, dataset="oqmd"),
    Case("1 target, no filter", (GAP,)),
    Case("3 targets, two of them sparse, no filter", SPARSE),
]


class Server:
    """A `matgenome serve`; leaving the block ends it."""

    def __init__(self, binary, data, device):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.http, self.log = http.client.HTTPConnection("127.0.0.1", port, timeout=60), tempfile.TemporaryFile()
        command = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--data", data, "--device", device]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        try:
            while not self.ready():
                if self.process.poll() is not None or time.perf_counter() > start + START_TIMEOUT_S:
                    self.log.seek(0)
                    said = self.log.read().decode(errors="replace").strip() or f"exit code {self.process.poll()}"
                    raise Wrong(f"the server does not start: {said}")
                time.sleep(0.005)
        except BaseException:
            self.__exit__()
            raise
        self.start_s, self.start_rss = time.perf_counter() - start, self.peak_rss()

    def ready(self):
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            self.http.close()

    def ask(self, method, path, body=None):
        self.http.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self.http.getresponse()
        return response.status, json.loads(response.read())

    def suggest(self, case):
        """The answer, and its milliseconds in the server and for the client."""
        spec, start = case.spec(), time.perf_counter()
        status, answer = self.ask("POST", "/v1/suggest", json.dumps(spec))
        waited = (time.perf_counter() - start) * 1e3
        if status != 200 or len(answer["candidates"]) != LIMIT:
            raise Wrong(f"{case.name}: {status} {str(answer)[:500]}")
        return answer, answer["meta"]["took_ms"], waited

    def peak_rss(self):
        """Peak resident memory so far, MiB."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) / 1024
        except OSError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Rows:
    """The materials of a scope as one wide table in the order of their ids; each property's median and spread."""

    def __init__(self, data, dataset, properties):
        records = pl.scan_delta(str(Path(data) / "records"))
        records = records.filter(pl.col("dataset") == dataset) if dataset else records
        phase = pl.format("{}:sg{}", "formula", "space_group")
        material = pl.coalesce(phase, "formula", "name", "id").alias("material")
        fields = [pl.col("measurements").struct.field(f) for f in ("property", "value", "evidence", "temperature_k")]
        values = records.select(material, "measurements").explode("measurements").select("material", *fields)
        rank = pl.col("evidence").replace_strict(EVIDENCE, default=0)
        distance = (pl.col("temperature_k").fill_null(REFERENCE_K) - REFERENCE_K).abs()
        nearest = pl.col("distance").min().over("material") + SAME_TEMPERATURE_K
        table = records.select(material, "formula").group_by("material").agg(pl.col("formula").first())
        for key, about in properties.items():
            own = values.filter(pl.col("property") == key, pl.col("value").is_between(*about["bounds"]))
            own = own.with_columns(rank=rank, distance=distance)
            own = own.filter(pl.col("rank") == pl.col("rank").max().over("material"))
            x = np.log10(pl.col("value")) if about["axis"] == "log" else pl.col("value")
            own = own.filter(pl.col("distance") <= nearest).group_by("material").agg(x.median().alias(key))
            table = table.join(own, on="material", how="left")
        symbols = pl.col("formula").str.extract_all("[A-Z][a-z]?").list.unique()
        table = table.with_columns(symbols=symbols, nelements=symbols.list.len()).sort("material").collect()
        elements = table["symbols"].explode().drop_nulls().unique()
        has = [pl.col("symbols").list.contains(e).alias(f"has_{e}") for e in elements]
        self.row_of = {material: row for row, material in enumerate(table["material"])}
        self.table = table.with_row_index("row").with_columns(has).drop("material", "formula", "symbols").rechunk()
        self.population = {key: self.robust(table[key].drop_nulls().sort()) for key in properties}

    @staticmethod
    def robust(x):
        if not len(x):
            return 0.0, 1.0
        low, middle, high = (x[math.floor((len(x) - 1) * q + 0.5)] for q in (0.25, 0.5, 0.75))
        # where most values are the same, as the gaps of metals are, the standard deviation stands in
        return middle, max((high - low) / 1.349 or x.std(ddof=0), 1e-4 * abs(middle), 1e-12)


class Peer:
    """A system that ranks rows."""

    def __init__(self, rows, properties):
        self.rows, self.properties = rows, properties
        self.load(rows.table)

    def sides(self, case):
        """The ends of all windows: key, sign and end of max(sign (x - end), 0)², median, w / s² / Σw."""
        total = sum(weight for *_, weight in case.targets)
        for key, lo, hi, weight in case.targets:
            middle, spread = self.rows.population[key]
            for sign, end in ((-1, lo), (1, hi)):
                if end is not None:
                    end = float(np.log10(end)) if self.properties[key]["axis"] == "log" else end
                    yield key, sign, end, middle, weight / spread**2 / total


class DuckDB(Peer):
    def load(self, frame):
        self.db = duckdb.connect(config={"threads": 2})
        self.db.execute("CREATE TABLE materials AS SELECT * FROM frame")

    def top(self, case, limit):
        score, where = [], [f"NOT has_{e}" for e in case.without]
        where += [f"nelements <= {case.max_elements}"] if case.max_elements else []
        for key, sign, end, middle, factor in self.sides(case):
            x = key if case.unknown == "require" else f"coalesce({key}, {middle!r})"
            where += [f"{key} IS NOT NULL"] if case.unknown == "require" else []
            side = f"greatest({x} - {end!r}, 0)" if sign > 0 else f"greatest({end!r} - {x}, 0)"
            score.append(f"{factor!r} * {side} * {side}")
        sql = f"SELECT {' + '.join(score)} AS score, row FROM materials WHERE {' AND '.join(where) or 'true'}"
        return self.db.execute(f"{sql} ORDER BY score, row LIMIT {limit}").fetchall()


class Polars(Peer):
    def load(self, frame):
        self.table = frame.lazy()

    def top(self, case, limit):
        score, where = [], [~pl.col(f"has_{e}") for e in case.without]
        where += [pl.col("nelements") <= case.max_elements] if case.max_elements else []
        for key, sign, end, middle, factor in self.sides(case):
            x = pl.col(key) if case.unknown == "require" else pl.col(key).fill_null(middle)
            where += [pl.col(key).is_not_null()] if case.unknown == "require" else []
            score.append(factor * (x - end if sign > 0 else end - x).clip(lower_bound=0.0).pow(2))
        found = self.table.filter(*where) if where else self.table
        found = found.select(sum(score[1:], score[0]).alias("score"), "row")
        return found.sort("score", "row").head(limit).collect().rows()


class NumPy(Peer):
    def load(self, frame):
        self.known = {key: frame[key].is_not_null().to_numpy() for key in self.properties}
        medians = self.rows.population
        self.filled = {key: frame[key].fill_null(medians[key][0]).to_numpy() for key in self.properties}
        self.nelements = frame["nelements"].fill_null(0).to_numpy()
        self.has = {c[4:]: frame[c].fill_null(False).to_numpy() for c in frame.columns if c.startswith("has_")}

    def mask(self, case):
        """The rows that match the filter; what has no formula matches no question about its elements."""
        mask = self.nelements > 0 if case.without or case.max_elements else np.ones(len(self.nelements), bool)
        for e in case.without:
            mask &= ~self.has[e]
        return mask & (self.nelements <= case.max_elements) if case.max_elements else mask

    def score(self, case):
        mask, score = self.mask(case), np.zeros(len(self.nelements))
        for key, sign, end, _, factor in self.sides(case):
            x = self.filled[key]
            score += factor * np.maximum(x - end if sign > 0 else end - x, 0) ** 2
            mask &= self.known[key] if case.unknown == "require" else True
        score[~mask] = np.inf
        return score

    def top(self, case, limit):
        score = self.score(case)
        best = np.flatnonzero(score <= np.partition(score, limit - 1)[limit - 1])
        best = best[np.argsort(score[best], kind="stable")[:limit]]
        best = best[score[best] < np.inf]
        return list(zip(score[best].tolist(), best.tolist()))

    def counts(self, case):
        """Rows, rows that match the filter, and of these the ones in all windows."""
        matched = self.mask(case)
        passing = matched.copy()
        for key, sign, end, _, _ in self.sides(case):
            passing &= self.known[key] & (self.filled[key] <= end if sign > 0 else self.filled[key] >= end)
        return len(matched), int(matched.sum()), int(passing.sum())


def summary(times):
    """Milliseconds of calls in order → the first, and median and 95th percentile of the others."""
    rest = sorted(times[1:])
    return {"median_ms": median(rest), "p95_ms": rest[math.ceil(0.95 * len(rest)) - 1], "first_ms": times[0]}


def bench_server(args, data, case, starts):
    with Server(args.bin, data, args.device) as server:
        calls = [server.suggest(case.call(i)) for i in range(args.repeats + 1)]
        starts.append((server.start_s, server.start_rss, server.peak_rss()))
    inside, waited = summary([c[1] for c in calls]), summary([c[2] for c in calls])
    return calls[0][0], {"matgenome, in the server": inside, "matgenome, round trip": waited}


def bench_peers(args, case, peers):
    systems, scores = {}, []
    for name, peer in peers.items():
        times, found = [], []
        for i in range(args.repeats + 1):
            call, start = case.call(i), time.perf_counter()
            found.append(peer.top(call, LIMIT))
            times.append((time.perf_counter() - start) * 1e3)
        systems[name] = summary(times)
        deep = peer.top(case, DEEP)
        scores.append(np.array([score for rows in [*found, deep] for score, _ in rows]))
    for other in scores[1:]:
        if other.shape != scores[0].shape or not np.allclose(other, scores[0], rtol=1e-9, atol=1e-12):
            raise Wrong(f"{case.name}: the scores of {', '.join(peers)} disagree")
    return systems, deep


def expected(case, numpy, candidate):
    """The hub's score of a candidate, from the means and deviations that it states and the peers' spreads."""
    score, stated = 0.0, {t["property"]: t for t in candidate["targets"]}
    for key, sign, end, _, factor in numpy.sides(case):
        mean, sd = stated[key]["value"], stated[key]["sd"]
        if numpy.properties[key]["axis"] == "log":
            mean, sd = math.log10(mean), sd / (mean * math.log(10))
        m = sign * (mean - end)
        cdf, pdf = math.erfc(-m / sd / math.sqrt(2)) / 2, math.exp(-((m / sd) ** 2) / 2) / math.sqrt(2 * math.pi)
        score += factor * ((m * m + sd * sd) * cdf + m * sd * pdf)
    return score


def compare(case, answer, numpy, deep):
    """Checks the server's counts and scores against the peers' table, and says how the two orders meet."""
    meta, candidates = answer["meta"], answer["candidates"]
    ours, theirs = (meta["searched"], meta["matched_filter"], meta["passing"]["all"]), numpy.counts(case)
    if ours != theirs:
        raise Wrong(f"{case.name}: rows, matches, passing are {ours} in the server, {theirs} in the peers' table")
    for c in candidates:
        if not math.isclose(c["score"], expected(case, numpy, c), rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(f"{case.name}: {c['material']} scores {c['score']}, not {expected(case, numpy, c)}")
    hub, score = [numpy.rows.row_of[c["material"]] for c in candidates], numpy.score(case)
    best = {row for _, row in deep[:LIMIT]}
    shared, good = sum(row in best for row in hub), int((score[hub] <= deep[LIMIT - 1][0] + 1e-12).sum())
    return dict(zip(("rows", "matched_filter", "passing_all", "shared_of_20", "as_good_of_20"), (*ours, shared, good)))


def bench_starts(args, data):
    """Starts on the directory as it is, and again; suggests once each. What that took, the properties, the device."""
    load = {"fresh": not (Path(data) / "records").exists()}
    with Server(args.bin, data, args.device) as server:
        about = server.ask("GET", "/healthz")[1]
        if not about["materials"]:
            raise Wrong("the data directory holds no materials: has this program bundled datasets?")
        properties = {p["key"]: p for p in server.ask("GET", "/v1/properties")[1]["properties"]}
        load |= {"first_s": server.start_s, "first_rss_mib": server.start_rss}
        load["first_call_ms"] = server.suggest(CASES[0])[1:]
    with Server(args.bin, data, args.device) as server:
        load |= {"second_s": server.start_s, "second_rss_mib": server.start_rss}
        time.sleep(SETTLE_S)
        load["settled_call_ms"] = server.suggest(CASES[0])[1:]
    used = sorted({target[0] for case in CASES for target in case.targets})
    return load, {key: properties[key] for key in used}, about["device"]


def busy_seconds():
    """CPU time so far of all other processes of the machine than this and its ended servers (Linux)."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    try:
        user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    except OSError:
        return math.nan
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return busy - sum(usage.ru_utime + usage.ru_stime for usage in own)


def watched(work, *arguments):
    """What `work` gives, and how many cores other processes used meanwhile: much of one makes its times worthless."""
    start, before = time.perf_counter(), busy_seconds()
    done = work(*arguments)
    return *done, round(max(busy_seconds() - before, 0.0) / (time.perf_counter() - start), 3)


def report(result):
    load, mib = result["load"], lambda x: "unknown" if x is None else f"{x:,.0f}"
    print(f"{result['device']}; {result['cores']} cores")
    print(f"DuckDB {duckdb.__version__} and Polars {pl.__version__} with 2 threads, NumPy {np.__version__} with 1\n")
    print(f"{'':<38}{'ready after, s':>15}{'peak RSS, MiB':>15}")
    first = "first start, fresh directory" if load["fresh"] else "first start, directory in use"
    print(f"{first:<38}{load['first_s']:>15.2f}{mib(load['first_rss_mib']):>15}")
    print(f"{'second start':<38}{load['second_s']:>15.2f}{mib(load['second_rss_mib']):>15}")
    print(f"{f'slowest of {len(CASES)} later starts':<38}{max(load['starts_s']):>15.2f}")
    print(f"{'largest after its suggests':<38}{'':>15}{mib(load['suggests_rss_mib']):>15}")
    later = f"{SETTLE_S} s after the second start"
    for when, key in (("right after the first start", "first_call_ms"), (later, "settled_call_ms")):
        took, waited = load[key]
        print(f"first suggest, {when}: {took:.1f} ms in the server, {waited:.1f} ms round trip")
    print()
    print(f"{result['repeats']} calls after the first{'median ms':>17}{'p95 ms':>10}{'first ms':>10}{'ratio':>8}")
    for name, case in result["cases"].items():
        meet, ours = case["comparison"], case["systems"]["matgenome, in the server"]["median_ms"]
        print(f"{name}: {meet['rows']:,} rows, {meet['matched_filter']:,} match, {meet['passing_all']:,} pass all")
        for system, t in case["systems"].items():
            ratio = t["median_ms"] / ours
            print(f"  {system:<27}{t['median_ms']:>12.2f}{t['p95_ms']:>10.2f}{t['first_ms']:>10.2f}{ratio:>8.2f}")
        shared, good = meet["shared_of_20"], meet["as_good_of_20"]
        print(f"  of our 20, {shared} are among the peers' 20, {good} score as well as these by their formula")
        others = "{:.0%} of a core during ours, {:.0%} during theirs".format(*case["cores_used_by_others"])
        print(f"  other processes of the machine used {others}")
    print("\nratio: median over that in the server. Peers rank without deviations, provenance, HTTP. They agree with")
    print("each other, and need not agree with our order, which includes deviations (without these, many tie at 0).")
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="the program, of a release build")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=50, help="calls after the first, of each system and case")
    parser.add_argument("--data", help="an existing data directory; by default a temporary one, loaded anew")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("--repeats must be 1 or more")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a kill, too, ends the server and cleans up
    result = {"repeats": args.repeats, "cores": len(CORES) or os.cpu_count()}
    data = args.data or tempfile.mkdtemp(prefix="matgenome-bench-")
    try:
        result["load"], properties, result["device"] = bench_starts(args, data)
        starts, found = [], {}
        served = [(case, *watched(bench_server, args, data, case, starts)) for case in CASES]
        seconds, at_start, at_end = zip(*starts)
        peak = max(at_end) if all(at_end) else None
        result["load"] |= {"starts_s": seconds, "starts_rss_mib": at_start, "suggests_rss_mib": peak}
        for dataset in {case.dataset for case in CASES}:
            rows = Rows(data, dataset, properties)
            peers = {peer.__name__: peer(rows, properties) for peer in (DuckDB, Polars, NumPy)}
            for case, answer, systems, others in served:
                if case.dataset == dataset:
                    theirs, deep, more_others = watched(bench_peers, args, case, peers)
                    comparison = compare(case, answer, peers["NumPy"], deep)
                    found[case.name] = {"systems": systems | theirs, "comparison": comparison}
                    found[case.name]["cores_used_by_others"] = others, more_others
        result["cases"] = {case.name: found[case.name] for case in CASES}
    except (Wrong, OSError, http.client.HTTPException) as e:
        print(f"suggest.py: {e}", file=sys.stderr)
        return 1
    finally:
        if not args.data:
            shutil.rmtree(data, ignore_errors=True)
    report(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
