"""How good are predictions, and the suggestions that rest on them?

    python -m pip install -r benches/requirements.txt
    python benches/quality.py --bin target/release/matgenome --source DIR [--steps 4000] [--only tasks,loco,hidden]

`--source` is a folder of the property prediction benchmark of CrabNet (PyPI crabnet 2.0.8): `<task>/{train,val,test}.csv` of `formula,target`.

Everything goes through the real program: records are put into fresh data directories by `matgenome ingest`, encoders are trained there by
`matgenome train`, and `matgenome screen` says what it holds of the formulas of a test file. Nothing here chooses anything by a test file.

- tasks: mean absolute error on the test files, beside the published ones; the share of test values in the 90 % interval, and its median
  width. The hub holds the train and validation files and the bundled datasets, without any value that would tell: a value of a family
  (elastic, gap, hull) is left out of every dataset where its composition is in a test file of that family. AFLOW's elastic tasks and the
  Materials Project's do not share their splits, so there are two hubs: what one tests the other may learn from.
- loco: one cluster of compositions left out (k-means over the elements' fractions): no value of these families of any of its compositions is in the hub.
  Coverage of the intervals over the cluster's values of the train files.
- hidden: a fifth of the compositions without their values of ten properties. How many of the 20 that look best by the score are in the
  best tenth in truth, over what chance gives; and the share of hidden values in the 90 % interval.

The last line is one JSON object of all figures.
"""

import argparse
import csv
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# task: (property, unit, axis, family, set of splits, published errors: random forest, ElemNet, Roost, CrabNet)
TASKS = {
    "aflow__ael_bulk_modulus_vrh": ("aflow:ael_bulk_modulus", "GPa", "log", "elastic", 1, (11.91, 12.12, 8.82, 8.69)),
    "aflow__ael_shear_modulus_vrh": ("aflow:ael_shear_modulus", "GPa", "log", "elastic", 1, (10.09, 13.32, 9.98, 9.08)),
    "aflow__ael_debye_temperature": ("aflow:ael_debye_temperature", "K", "log", "elastic", 1, (36.5, 45.7, 37.2, 33.5)),
    "aflow__agl_thermal_conductivity_300K": ("aflow:agl_thermal_conductivity", "W/(m K)", "log", "elastic", 2, (2.66, 3.32, 2.70, 2.32)),
    "aflow__Egap": ("aflow:egap", "eV", "linear", "gap", 1, (0.384, 0.372, 0.337, 0.301)),
    "mp_bulk_modulus": ("bulk_modulus", "GPa", "log", "elastic", 1, (14.36, 15.14, 11.39, 11.21)),
    "mp_shear_modulus": ("shear_modulus", "GPa", "log", "elastic", 2, (12.78, 15.10, 12.80, 12.79)),
    "mp_e_hull": ("energy_above_hull", "eV/atom", "linear", "hull", 1, (0.126, 0.110, 0.094, 0.089)),
}
FAMILY = {
    "bulk_modulus": "elastic", "shear_modulus": "elastic", "youngs_modulus": "elastic", "poissons_ratio": "elastic",
    "elastic_anisotropy": "elastic", "band_gap": "gap", "energy_above_hull": "hull", "decomposition_energy": "hull",
}
# what the two large sets of molecules and adhesives hold is of none of the tasks
DATASETS = [
    "oqmd", "materials_project", "mp_transport", "elastic_tensor", "piezoelectric_tensor", "flla_2015", "elements", "element_properties",
    "high_entropy_alloys", "alloy_phases", "alloy_sustainability", "refractiveindex_info", "engineering",
]
HIDDEN = [
    "magnetic_moment", "elastic_anisotropy", "seebeck_coefficient_p_type", "seebeck_coefficient_n_type", "power_factor_n_type",
    "electrical_conductivity_n_type", "effective_mass_p_type", "hardness_vickers", "yield_strength", "refractive_index",
]
HIDDEN_FAMILY = {
    "seebeck", "power", "electrical", "electronic", "effective", "magnetic", "elastic", "hardness", "yield", "tensile", "compressive",
    "refractive",
}
TOP = 20
TOKEN = re.compile(r"([A-Z][a-z]?)|([\d.]+)|([(\[])|([)\]])")


def composition(formula):
    """Element → fraction of the atoms, rounded, as a sorted tuple."""
    stack, last = [{}], None
    for element, number, opened, closed in TOKEN.findall(formula):
        if element:
            last = {element: 1.0}
            stack[-1][element] = stack[-1].get(element, 0) + 1.0
        elif opened:
            stack.append({})
        elif closed:
            last = stack.pop()
            for e, n in last.items():
                stack[-1][e] = stack[-1].get(e, 0) + n
        elif last is not None:
            for e, n in last.items():
                stack[-1][e] += n * (float(number) - 1)
            last = None
    total = sum(stack[0].values())
    return tuple(sorted((e, round(n / total, 4)) for e, n in stack[0].items() if n))


class Benchmark:
    def __init__(self, a):
        self.bin, self.source, self.steps = a.bin, a.source, a.steps
        self.work = Path(tempfile.mkdtemp(prefix="matgenome-quality-"))
        self.figures = {"tested": a.tested, "steps": a.steps, "loco_steps": a.loco_steps}
        self.a = a
        bundle = self.work / "bundle"
        bundle.mkdir()
        for name in DATASETS:
            self.run("export", name, "--format", "jsonl", "--out", self.work / f"{name}.jsonl", data=bundle)
        shutil.rmtree(bundle)

    def run(self, *arguments, data, codes=(0,)):
        done = subprocess.run([self.bin, *map(str, arguments), "--data", data], capture_output=True, text=True)
        if done.returncode not in codes:
            sys.exit(f"{' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def read(self, task, *parts):
        rows = []
        for part in parts:
            with open(self.source / task / f"{part}.csv", newline="") as file:
                rows += [(r["formula"], float(r["target"])) for r in csv.DictReader(file) if r["target"]]
        return rows

    def hub(self, name, withheld, steps, parts=("train", "val")):
        """A data directory with encoders, without the values that `withheld(family or property, composition)` names."""
        data = self.work / name
        data.mkdir()
        start = time.time()
        files = []
        for dataset in DATASETS:
            out = data / f"{dataset}.jsonl"
            with open(self.work / f"{dataset}.jsonl") as source, open(out, "w") as kept:
                for line in source:
                    record = json.loads(line)
                    if "measurements" in record and record.get("formula"):
                        own = composition(record["formula"])
                        record["measurements"] = [m for m in record["measurements"] if not withheld(m["property"], own)]
                        line = json.dumps(record) + "\n"
                    kept.write(line)
            files.append(out)
        for file in files:
            self.run("--no-bundled", "ingest", file, "--dataset", file.stem, data=data, codes=(0, 3))
            file.unlink()
        # AFLOW's, as a dataset with properties of its own
        rows = {}
        properties = []
        for task, (key, unit, axis, family, _, _) in TASKS.items():
            if not key.startswith("aflow:"):
                continue
            short = key.split(":")[1]
            bounds = "[0.001, 100000]" if axis == "log" else "[0, 100]"
            properties.append(
                f'[[value]]\ncolumn = "{short}"\nproperty = "{short}"\n\n[[property]]\nkey = "{short}"\nname = "{short}"\nunit = "{unit}"\n'
                f'axis = "{axis}"\nbounds = {bounds}\ndescription = "{task} of the benchmark."\n'
            )
            for formula, target in self.read(task, *parts):
                if not withheld(family, composition(formula)):
                    rows.setdefault(formula, {})[short] = target
        table = data / "aflow.csv"
        shorts = [key.split(":")[1] for key, *_ in TASKS.values() if key.startswith("aflow:")]
        with open(table, "w", newline="") as file:
            out = csv.DictWriter(file, ["formula", *shorts])
            out.writeheader()
            out.writerows({"formula": formula, **values} for formula, values in rows.items())
        mapping = data / "aflow.toml"
        mapping.write_text(
            '[dataset]\nname = "aflow"\ntitle = "AFLOW, as in the benchmark of CrabNet"\ncontributor = "AFLOW"\nlicence = "CC-BY-4.0"\n'
            'citation = "Wang et al. 2021, doi:10.1038/s41524-021-00545-1"\nvisibility = "public"\n\n'
            '[material]\nformula = "formula"\n\n[defaults]\nevidence = "computed"\n\n' + "\n".join(properties)
        )
        self.run("--no-bundled", "ingest", table, "--mapping", mapping, data=data, codes=(0, 3))
        put_in = time.time() - start
        self.run("--no-bundled", "train", "--steps", steps, data=data)
        print(f"{name}: put in in {put_in:.0f} s, trained {steps} steps in {time.time() - start - put_in:.0f} s", flush=True)
        return data

    def said(self, data, key, formulas, spec=None):
        """Value, lower and upper end, and score of each formula."""
        asked, answer = data / "asked.csv", data / "answer.csv"
        with open(asked, "w") as file:
            file.write("formula\n" + "".join(f"{formula}\n" for formula in formulas))
        arguments = ["screen", asked, "--property", key, "--out", answer]
        if spec:
            (data / "spec.json").write_text(json.dumps(spec))
            arguments += ["--spec", data / "spec.json"]
        self.run("--no-bundled", *arguments, data=data, codes=(0, 4))
        with open(answer, newline="") as file:
            rows = list(csv.DictReader(file))
        known = sum(row[f"{key}_evidence"] not in ("predicted", "none") for row in rows)
        if known:
            sys.exit(f"{key}: {known} of {len(rows)} tested values are known to the hub: the benchmark leaks")
        columns = [key, f"{key}_lower", f"{key}_upper"] + (["score"] if spec else [])
        return np.array([[float(row[c]) if row[c] else np.nan for c in columns] for row in rows])

    def tasks(self):
        # to tune anything: the validation files are tested, and neither they nor the test files are learned from
        validates = self.a.tested == "val"
        tested = {task: self.read(task, self.a.tested) for task in TASKS}
        for splits in (1, 2):
            hidden = {}
            for task, (_, _, _, family, of, _) in TASKS.items():
                if of == splits:
                    out = self.read(task, "val", "test") if validates else tested[task]
                    hidden.setdefault(family, set()).update(composition(formula) for formula, _ in out)
            withheld = lambda what, own: own in hidden.get(FAMILY.get(what, what), ())
            data = self.hub(f"splits-{splits}", withheld, self.steps, ("train",) if validates else ("train", "val"))
            for task, (key, unit, _, _, of, published) in TASKS.items():
                if of != splits:
                    continue
                start = time.time()
                truth = np.array([target for _, target in tested[task]])
                said = self.said(data, key, [formula for formula, _ in tested[task]])
                self.figures[task] = {
                    "n": len(truth),
                    "mae": float(np.mean(np.abs(said[:, 0] - truth))),
                    "covered": float(np.mean((said[:, 1] <= truth) & (truth <= said[:, 2]))),
                    "width": float(np.median(said[:, 2] - said[:, 1])),
                    "seconds": time.time() - start,
                    "published": dict(zip(("forest", "elemnet", "roost", "crabnet"), published)),
                }
            shutil.rmtree(data)
        print(f"\n{'task':38} {'unit':8} {'n':>5} {'ours':>8} {'forest':>8} {'ElemNet':>8} {'Roost':>8} {'CrabNet':>8} {'/CrabNet':>8} {'covered':>8} {'width':>8}")
        for task, (_, unit, _, _, _, published) in TASKS.items():
            f = self.figures[task]
            print(
                f"{task:38} {unit:8} {f['n']:5} {f['mae']:8.3f} " + " ".join(f"{p:8.3f}" for p in published)
                + f" {f['mae'] / published[3]:8.2f} {f['covered']:8.3f} {f['width']:8.3g}",
                flush=True,
            )

    def loco(self):
        rows = {task: self.read(task, "train") for task in TASKS}
        of = {composition(formula) for r in rows.values() for formula, _ in r}
        all_of = sorted(of)
        elements = sorted({e for own in all_of for e, _ in own})
        at = {e: i for i, e in enumerate(elements)}
        x = np.zeros((len(all_of), len(elements)), np.float32)
        for i, own in enumerate(all_of):
            for e, f in own:
                x[i, at[e]] = f
        cluster = dict(zip(all_of, kmeans(x, 10)))
        covered = {task: [] for task in TASKS}
        for k in self.a.clusters:
            withheld = lambda what, own: FAMILY.get(what, what) in ("elastic", "gap", "hull") and cluster.get(own) == k
            data = self.hub(f"cluster-{k}", withheld, self.a.loco_steps, parts=("train",))
            for task, (key, *_) in TASKS.items():
                tested = [(formula, target) for formula, target in rows[task] if cluster[composition(formula)] == k]
                if len(tested) < 20:
                    continue
                truth = np.array([target for _, target in tested])
                said = self.said(data, key, [formula for formula, _ in tested])
                inside = (said[:, 1] <= truth) & (truth <= said[:, 2])
                covered[task].append((k, len(truth), float(np.mean(inside)), float(np.mean(np.abs(said[:, 0] - truth)))))
                print(f"cluster {k}: {task} {covered[task][-1][1:]}", flush=True)
            shutil.rmtree(data)
        self.figures["loco"] = covered
        print(f"\n{'task':38} clusters: n, covered, error")
        for task, parts in covered.items():
            n = sum(p[1] for p in parts)
            mean = sum(p[1] * p[2] for p in parts) / max(n, 1)
            print(f"{task:38} {mean:6.3f} of {n}: " + "; ".join(f"{p[0]}: {p[1]}, {p[2]:.3f}, {p[3]:.3g}" for p in parts), flush=True)

    def hidden(self):
        chosen = lambda own: random.Random(repr(own)).random() < 0.2
        truth = {key: {} for key in HIDDEN}
        for dataset in DATASETS:
            with open(self.work / f"{dataset}.jsonl") as file:
                for line in file:
                    record = json.loads(line)
                    if not record.get("formula"):
                        continue
                    own = composition(record["formula"])
                    for m in record.get("measurements", ()):
                        if m["property"] in truth and m.get("value") is not None:
                            truth[m["property"]].setdefault(own, (record["formula"], []))[1].append(m["value"])
        withheld = lambda what, own: what.split("_")[0] in HIDDEN_FAMILY and chosen(own)
        data = self.hub("hidden", withheld, self.steps)
        out = {}
        for key in HIDDEN:
            values = {own: (formula, float(np.median(v))) for own, (formula, v) in truth[key].items()}
            tested = [v for own, v in values.items() if chosen(own)]
            actual = np.array([value for _, value in tested])
            least = float(np.quantile(actual, 0.9))
            spec = {"targets": [{"property": key, "min": least}]}
            said = self.said(data, key, [formula for formula, _ in tested], spec)
            best = np.argsort(said[:, 3], kind="stable")[:TOP]
            hit, base = float(np.mean(actual[best] >= least)), float(np.mean(actual >= least))
            out[key] = {
                "n": len(actual), "precision": hit, "enrichment": hit / base,
                "covered": float(np.mean((said[:, 1] <= actual) & (actual <= said[:, 2]))),
            }
        shutil.rmtree(data)
        self.figures["hidden"] = out
        print(f"\n{'property':38} {'hidden':>7} {'precision@20':>13} {'enrichment':>11} {'covered':>8}")
        for key, f in out.items():
            print(f"{key:38} {f['n']:7} {f['precision']:13.2f} {f['enrichment']:11.2f} {f['covered']:8.3f}")
        print(f"{'mean':38} {'':7} {'':13} {np.mean([f['enrichment'] for f in out.values()]):11.2f}", flush=True)


def kmeans(x, k):
    """Lloyd's algorithm from centres that are far from each other."""
    draw = np.random.default_rng(1)
    centres = x[[draw.integers(len(x))]]
    while len(centres) < k:
        d = ((x[:, None, :] - centres[None]) ** 2).sum(2).min(1)
        centres = np.vstack([centres, x[draw.choice(len(x), p=d / d.sum())]])
    for _ in range(20):
        of = np.argmin((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)[None], axis=1)
        centres = np.vstack([x[of == j].mean(0) if (of == j).any() else centres[j] for j in range(k)])
    return of.tolist()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", required=True)
    ap.add_argument("--source", required=True, type=Path)
    ap.add_argument("--steps", type=int, default=8000)
    ap.add_argument("--loco-steps", type=int, default=2000)
    ap.add_argument("--clusters", type=int, nargs="+", default=list(range(10)))
    ap.add_argument("--tested", choices=["test", "val"], default="test", help="val: for tuning; the test files are for figures alone")
    ap.add_argument("--only", default="tasks,loco,hidden")
    a = ap.parse_args()
    a.bin = str(Path(a.bin).resolve())
    benchmark = Benchmark(a)
    try:
        for part in a.only.split(","):
            getattr(benchmark, part)()
    finally:
        shutil.rmtree(benchmark.work, ignore_errors=True)
    print(json.dumps(benchmark.figures))


if __name__ == "__main__":
    main()
