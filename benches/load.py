"""Does a server under mixed load stay right, and does its memory stay flat?

    python -m pip install -r benches/requirements.txt
    python benches/load.py --bin target/release/matgenome [--device cpu] [--seconds 600] [--clients 4] [--no-predictions]

A server on a fresh directory with the bundled datasets. Clients ask it without a pause, each on a connection of its own: target
specs with changing numbers and filters, materials, properties, and small exports; one more client ingests a file of its own dataset
every few seconds. Every answer must have the expected status. Printed: answers a second, median and 99th percentile of each
kind, and the resident memory of the server by a straight line through its second half, in MiB an hour (Linux). A server predicts in the
background, again after each commit, and keeps what it has predicted; `--no-predictions` leaves that out of the line.
"""

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

TOKEN = "a-token-of-the-load-test-of-more-than-32-bytes"
FORMULAS = ("SiO2", "GaAs", "Fe2O3", "NaCl", "TiO2", "MgO", "ZnS", "CdTe", "AlN", "BaTiO3")


class Wrong(Exception):
    """An answer that is not as it must be."""


def spec(rng):
    gap = rng.uniform(0.5, 3.0)
    targets = [{"property": "band_gap", "min": gap, "max": gap + rng.uniform(0.2, 1.0)}]
    if rng.random() < 0.7:
        targets.append({"property": "density", "max": rng.uniform(2.0, 8.0)})
    if rng.random() < 0.5:
        targets.append({"property": "formation_energy", "max": rng.uniform(-2.0, 0.0)})
    body = {"targets": targets, "limit": rng.choice([5, 20, 200]), "unknown": rng.choice(["predict", "require"])}
    if rng.random() < 0.5:
        body["filter"] = f"nelements <= {rng.randint(2, 5)}"
    return body


class Client(threading.Thread):
    def __init__(self, port, seed, until, times, failures):
        super().__init__(daemon=True)
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.rng, self.until, self.times, self.failures = random.Random(seed), until, times, failures

    def ask(self, kind, method, path, body=None, headers=None, want=(200,)):
        start = time.perf_counter()
        self.http.request(method, path, body, headers or {})
        answer = self.http.getresponse()
        said = answer.read()
        self.times.append((kind, (time.perf_counter() - start) * 1e3))
        if answer.status not in want:
            raise Wrong(f"{method} {path}: {answer.status} {said[:300]!r}")
        return said

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.turn()
        except Exception as why:  # noqa: BLE001: whatever it is, the run has failed
            self.failures.append(f"{type(why).__name__}: {why}")


class Reader(Client):
    def turn(self):
        kind = self.rng.random()
        if kind < 0.8:
            said = self.ask("suggest", "POST", "/v1/suggest", json.dumps(spec(self.rng)), {"Content-Type": "application/json"})
            scores = [candidate["score"] for candidate in json.loads(said)["candidates"]]
            if scores != sorted(scores):
                raise Wrong("the scores of a suggest are not in order")
        elif kind < 0.95:
            self.ask("material", "GET", f"/v1/materials/{self.rng.choice(FORMULAS)}", want=(200, 404))
        elif kind < 0.99:
            self.ask("properties", "GET", "/v1/properties")
        else:
            self.ask("export", "GET", "/v1/export?dataset=engineering&format=csv")


class Writer(Client):
    count = 0

    def turn(self):
        self.count += 1
        rows = "".join(f"Na{n}Cl{n + self.count % 7 + 1},{self.rng.uniform(0.1, 9.0):.3f}\n" for n in range(1, 50))
        mapping = '[dataset]\nname = "load"\n[material]\nformula = "formula"\n[defaults]\nevidence = "computed"\n' \
                  '[[value]]\ncolumn = "gap"\nproperty = "band_gap"\nunit = "eV"\n'
        line = "--b-o-u-n-d"
        parts = [("file", 'filename="load.csv"', "formula,gap\n" + rows), ("mapping", 'filename="m.toml"', mapping)]
        body = "".join(f'{line}\r\nContent-Disposition: form-data; name="{name}"; {more}\r\n\r\n{text}\r\n' for name, more, text in parts)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=b-o-u-n-d"}
        said = json.loads(self.ask("ingest", "POST", "/v1/ingest", f"{body}{line}--\r\n", headers, (200, 202)))
        while True:
            job = json.loads(self.ask("job", "GET", said["links"]["self"], headers={"Authorization": headers["Authorization"]}))
            if job["state"] not in ("queued", "running"):
                break
            time.sleep(0.1)
        if job["state"] != "done":
            raise Wrong(f"a job ended as {job['state']}: {str(job)[:300]}")
        time.sleep(3)


def resident(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--no-predictions", action="store_true", help="the server does not predict in the background")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="matgenome-load-") as data:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        token = Path(data) / "token"
        token.touch(0o600)
        token.write_text(TOKEN)
        hub = Path(data) / "hub"
        hub.mkdir()
        command = [args.bin, "serve", "--listen", f"127.0.0.1:{port}", "--data", hub, "--device", args.device,
                   "--ingest-token-file", token, *(["--no-predictions"] if args.no_predictions else [])]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        try:
            until = time.monotonic() + 300
            while True:
                try:
                    probe = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    probe.request("GET", "/readyz")
                    if probe.getresponse().status == 200:
                        break
                except OSError:
                    pass
                if server.poll() is not None or time.monotonic() > until:
                    raise Wrong("the server does not start")
                time.sleep(0.05)
            times, failures, memory = [], [], []
            start = time.monotonic()
            until = start + args.seconds
            clients = [Reader(port, seed, until, times, failures) for seed in range(args.clients)]
            clients.append(Writer(port, 99, until, times, failures))
            for client in clients:
                client.start()
            while time.monotonic() < until and not failures:
                memory.append((time.monotonic() - start, resident(server.pid)))
                time.sleep(1)
            for client in clients:
                client.join(150)
            if failures:
                raise Wrong("; ".join(failures[:3]))
            elapsed = time.monotonic() - start
        finally:
            server.terminate()
            server.wait(30)
    print(f"{args.seconds:.0f} s, {args.clients} readers and 1 writer, device {args.device}: {len(times):,} answers, "
          f"{len(times) / elapsed:,.0f} a second, none failed\n")
    print(f"| {'':<12} | {'answers':>9} | {'median ms':>9} | {'p99 ms':>9} |")
    print(f"| {'-' * 12} | --------: | --------: | --------: |")
    kinds = {}
    for kind in dict.fromkeys(kind for kind, _ in times):
        of = np.array([ms for k, ms in times if k == kind])
        kinds[kind] = {"answers": len(of), "median_ms": float(np.median(of)), "p99_ms": float(np.percentile(of, 99))}
        print(f"| {kind:<12} | {len(of):>9,} | {np.median(of):>9.2f} | {np.percentile(of, 99):>9.2f} |")
    seconds, mib = np.array(memory[len(memory) // 2:]).T
    slope = float(np.polyfit(seconds, mib, 1)[0] * 3600) if len(seconds) > 2 else float("nan")
    print(f"\nresident memory: {memory[0][1]:.0f} MiB at first, {mib[0]:.0f} half way, {mib[-1]:.0f} at the end, largest "
          f"{max(m for _, m in memory):.0f}; slope of the second half {slope:+.0f} MiB an hour")
    print(json.dumps({"bench": "load", "device": args.device, "seconds": args.seconds, "kinds": kinds,
                      "slope_mib_per_hour": slope, "rss_mib": [memory[0][1], float(mib[0]), float(mib[-1])]}))


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
