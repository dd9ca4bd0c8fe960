//! Who comes first: every device, the program's f64 and the oracle say the same.

use datasets::record::{Evidence, Record};
use gpu::Device;
use matgenome_index::candidate::{self, SuggestAnswer, Verdict};
use matgenome_index::scope::Viewer;
use matgenome_index::search;
use matgenome_index::snapshot::Snapshot;
use matgenome_index::spec::{Resolved, from_json};
use serde_json::{Value, json};

use crate::oracle::{Oracle, is_log};
use crate::wishes::{Meant, Truth, Wishes, random_records};
use crate::world::{Random, Write as _, devices, measured, record, world, world_in_batches};

const SPECS: u64 = 320;

fn resolve(snapshot: &Snapshot, spec: &Value, viewer: Viewer) -> Resolved {
    let spec = from_json(spec.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {spec}"));
    spec.resolve(snapshot, viewer).unwrap_or_else(|e| panic!("{e}: {spec:?}"))
}

fn page(snapshot: &Snapshot, device: &Device, spec: &Value) -> Vec<(f64, u32)> {
    search::rank(snapshot, device, &resolve(snapshot, spec, Viewer::Owner)).unwrap().page
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

/// The page of the answer against the oracle's: the same rows in the same order, scores within 1e-9. Two rows may stand
/// the other way round only where their scores are the same to rounding (the oracle adds up in another order), and not
/// where the same is believed of both; returns how often they do.
fn compare(found: &[(f64, u32)], truth: &Truth, wishes: &Wishes, name: &str) -> usize {
    let end = truth.ranked.len().min(wishes.offset + wishes.limit);
    let expected = &truth.ranked[wishes.offset.min(end)..end];
    assert_eq!(found.len(), expected.len(), "{name}");
    let counted = |row: usize| -> Vec<Option<(f64, f64)>> {
        let counts = |m: &Meant| !wishes.ignores() || wishes.knows(&m.column[row]);
        truth.meant.iter().map(|m| counts(m).then(|| m.counted(row))).collect()
    };
    for pair in found.windows(2) {
        assert!(pair[0].0 < pair[1].0 || (pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1), "{name}: {pair:?}");
        if counted(pair[0].1 as usize) == counted(pair[1].1 as usize) {
            assert_eq!(pair[0].0, pair[1].0, "{name}: {pair:?} are alike");
        }
    }
    let mut turned = 0;
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(close(found.0, expected.0, 1e-9), "{name}: {found:?} is not {expected:?}");
        if found.1 as usize == expected.1 {
            continue;
        }
        turned += 1;
        let truly = truth.ranked.iter().find(|(_, row)| *row == found.1 as usize).map(|(score, _)| *score);
        let same = truly.is_some_and(|score| close(score, expected.0, 2e-15));
        assert!(same, "{name}: place {i} is {found:?}, by the oracle {truly:?}, expected {expected:?}");
    }
    turned
}

fn compare_candidates(answer: &SuggestAnswer, truth: &Truth, wishes: &Wishes, oracle: &Oracle, name: &str) {
    let scope = wishes.scope();
    let meta = &answer.meta;
    assert!(meta.exact && meta.searched == truth.searched && meta.matched_filter == truth.matched_filter, "{name}");
    assert_eq!(meta.passing["all"], truth.passing_all, "{name}");
    for (i, m) in truth.meant.iter().enumerate() {
        let again = truth.meant[..i].iter().filter(|earlier| earlier.key == m.key).count();
        let label = if again == 0 { m.key.to_owned() } else { format!("{}#{}", m.key, again + 1) };
        assert_eq!(meta.passing[&label], truth.passing_each[i], "{name}: {label}");
    }
    for (i, candidate) in answer.candidates.iter().enumerate() {
        let row = oracle.materials.binary_search_by(|m| m.id.cmp(&candidate.material)).unwrap();
        let material = &oracle.materials[row];
        assert_eq!((&candidate.material, candidate.rank), (&material.id, wishes.offset + i + 1), "{name}");
        let records = material.records.iter().filter(|r| scope.contains(&r.dataset())).map(|r| r.id.clone());
        assert_eq!(candidate.records, records.collect::<Vec<_>>(), "{name}");
        let mut verdict = Verdict::Pass;
        let mut probability = 1.0;
        for (target, m) in candidate.targets.iter().zip(&truth.meant) {
            let name = format!("{name}: {} of {}: {target:?}", m.key, material.id);
            let believed = &m.column[row];
            let known = wishes.knows(believed);
            let expected = match believed {
                Some(b) if known => match m.meets(b) {
                    Some(true) => Verdict::Pass,
                    Some(false) => Verdict::Fail,
                    None => Verdict::Unknown,
                },
                _ => Verdict::Unknown,
            };
            assert_eq!(target.verdict, expected, "{name}");
            verdict = match (verdict, expected) {
                (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
                (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
                _ => Verdict::Pass,
            };
            let said = (m.required && (known || !wishes.ignores())).then(|| m.probability(row));
            assert_eq!(target.probability.is_some(), said.is_some(), "{name}");
            if let (Some(found), Some(said)) = (target.probability, said) {
                assert!((found - said).abs() < 1e-12, "{name}: {said}");
                probability *= said;
            }
            assert_eq!(target.evidence, believed.map_or(Evidence::None, |b| b.evidence), "{name}");
            assert_eq!(target.inherited, believed.is_some_and(|b| b.inherited), "{name}");
            assert_eq!(target.measurements as usize, believed.map_or(0, |b| b.count), "{name}");
            let value = match believed {
                Some(b) => Some(b.value),
                None if wishes.predicts() && is_log(m.key) => Some(10f64.powf(m.population.median)),
                None => wishes.predicts().then_some(m.population.median),
            };
            assert_eq!(target.value.is_some(), value.is_some(), "{name}");
            if let (Some(found), Some(value)) = (target.value, value) {
                let units = if ["meV", "kg/m^3", "MPa"].contains(&target.unit.as_str()) { 1e3 } else { 1.0 };
                assert!(close(found, value * units, 1e-12), "{name}: {value}");
                let sd = m.counted(row).1 * if is_log(m.key) { value * 10f64.ln() } else { 1.0 };
                assert!(close(target.sd.unwrap(), sd * units, 1e-12), "{name}: {sd}");
            }
            if let Some(id) = &target.record {
                let dataset = datasets::record::dataset_of(id);
                assert!(scope.contains(&dataset), "{name}");
            }
        }
        assert_eq!(candidate.verdict, verdict, "{name}");
        assert!((candidate.probability - probability).abs() < 1e-11, "{name}: {probability}");
    }
}

#[test]
fn random_specs_on_every_device_as_the_oracle_has_it() {
    let records = random_records(1, 4700);
    let world = world(&records);
    let oracle = Oracle::new(&records);
    assert!((2_800..3_400).contains(&oracle.materials.len()), "{}", oracle.materials.len());
    let devices = devices();
    let snapshot = &world.snapshot;
    let (mut ties, mut answered, mut turned, mut empty, mut passed) = (0, 0, 0, 0, 0);
    for seed in 0..SPECS {
        let wishes = Wishes::random(&mut Random::new(seed), &oracle);
        let spec = wishes.json();
        let name = format!("seed {seed}, {spec}");
        let truth = wishes.truth(&oracle);
        let viewer = if wishes.owner { Viewer::Owner } else { Viewer::Public };
        let resolved = resolve(snapshot, &spec, viewer);
        let mut first: Option<Vec<(f64, u32)>> = None;
        for device in &devices {
            let name = format!("{}, {name}", device.name());
            let ranking = search::rank(snapshot, device, &resolved).unwrap();
            assert_eq!((ranking.device.as_str(), &ranking.note), (device.name(), &None), "{name}");
            // one rounding moves all that ties with it: specs are counted, not places
            turned += usize::from(compare(&ranking.page, &truth, &wishes, &name) > 0);
            // on all devices to the last bit
            assert_eq!(*first.get_or_insert_with(|| ranking.page.clone()), ranking.page, "{name}");
            assert!(ranking.matched >= truth.ranked.len(), "{name}");
            if device.name() == devices[0].name() {
                let passing = search::passing(snapshot, &resolved);
                let answer = candidate::answer(snapshot, &resolved, ranking, &passing, 0.0);
                compare_candidates(&answer, &truth, &wishes, &oracle, &name);
            }
        }
        ties += truth.ranked.windows(2).filter(|w| w[0].0 == w[1].0).count();
        answered += first.unwrap_or_default().len();
        empty += usize::from(truth.ranked.is_empty());
        passed += truth.passing_all;
    }
    println!(
        "{} devices; {answered} answered, {turned} turned, {ties} ties, {empty} empty, {passed} passed",
        devices.len()
    );
    // the specs ask something: there are ties, answers, specs that nothing matches and specs that much passes
    assert!(ties > 10_000 && answered > 20_000 && passed > 5_000, "{ties} {answered} {passed}");
    assert!(turned * 100 < SPECS as usize * devices.len(), "of {turned} specs something stands the other way round");
    assert!(empty < SPECS as usize / 4, "{empty}");
}

#[test]
fn pages_units_and_the_order_of_targets_or_of_ingest_change_nothing() {
    let mut records = random_records(2, 900);
    let world = world(&records);
    let cpu = Device::cpu();
    let snapshot = &world.snapshot;
    let oracle_records = records.clone();
    let oracle = Oracle::new(&oracle_records);

    Random::new(99).shuffle(&mut records);
    let shuffled = world_in_batches(&records, 230);
    assert!(shuffled.table.version() > world.table.version());

    for seed in 1000..1060 {
        let mut wishes = Wishes::random(&mut Random::new(seed), &oracle);
        (wishes.owner, wishes.limit, wishes.offset) = (true, 300, 0);
        let spec = wishes.json();
        let whole = page(snapshot, &cpu, &spec);

        let mut pages = Vec::new();
        for offset in (0..300).step_by(50) {
            let mut part = spec.clone();
            (part["limit"], part["offset"]) = (json!(50), json!(offset));
            pages.extend(page(snapshot, &cpu, &part));
        }
        assert_eq!(pages, whole, "seed {seed}: pages add up");

        let mut turned = spec.clone();
        turned["targets"].as_array_mut().unwrap().reverse();
        assert_eq!(page(snapshot, &cpu, &turned), whole, "seed {seed}: targets reversed");

        assert_eq!(page(&shuffled.snapshot, &cpu, &spec), whole, "seed {seed}: ingested in another order");
        let answers = [snapshot, &shuffled.snapshot].map(|snapshot| {
            let resolved = resolve(snapshot, &spec, Viewer::Owner);
            let ranking = search::rank(snapshot, &cpu, &resolved).unwrap();
            let mut answer =
                candidate::answer(snapshot, &resolved, ranking, &search::passing(snapshot, &resolved), 0.0);
            answer.meta.version = 0;
            serde_json::to_value(answer).unwrap()
        });
        assert_eq!(answers[0], answers[1], "seed {seed}: ingested in another order");
    }

    // every value of the hub as an inclusive end, in two units
    for (key, unit) in [("band_gap", "meV"), ("density", "kg/m^3")] {
        let mut ends: Vec<i64> = records
            .iter()
            .flat_map(|r| &r.measurements)
            .filter(|m| *m.property == *key)
            .map(|m| (m.value * 100.0).round() as i64)
            .filter(|x| *x > 0)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        assert!(ends.len() > 20);
        for pair in ends.windows(2) {
            let [lo, hi] = [pair[0], pair[1]];
            let plain = json!({"targets": [{"property": key, "min": lo as f64 / 100.0, "max": hi as f64 / 100.0, "tolerance": 0.5}]});
            let other =
                json!({"targets": [{"property": key, "min": lo * 10, "max": hi * 10, "tolerance": 500, "unit": unit}]});
            let [plain, other] = [plain, other].map(|spec| resolve(snapshot, &spec, Viewer::Owner));
            assert_eq!(search::passing(snapshot, &plain), search::passing(snapshot, &other), "{key} {lo} {hi}");
            let [plain, other] = [plain, other].map(|spec| search::rank(snapshot, &cpu, &spec).unwrap().page);
            assert_eq!(plain.iter().map(|h| h.1).collect::<Vec<_>>(), other.iter().map(|h| h.1).collect::<Vec<_>>());
            assert!(plain.iter().zip(&other).all(|(a, b)| close(a.0, b.0, 1e-9)), "{key} {lo} {hi}");
        }
    }
}

#[test]
fn thousands_of_exact_ties() {
    const N: usize = 20_000;
    // one in 7 is better than the rest, one in 11 worse, all others are the same
    let better = |n: usize| n.is_multiple_of(7);
    let worse = |n: usize| !better(n) && n.is_multiple_of(11);
    let gap = |n: usize| {
        if better(n) {
            1.0
        } else if worse(n) {
            0.1
        } else {
            0.5
        }
    };
    let name = |n: usize| format!("tie {:05}", (n * 7919) % N); // ids in another order than the records
    let records: Vec<Record> =
        (0..N).map(|n| record(&format!("lab/{n}")).name(&name(n)).says(measured("band_gap", gap(n)))).collect();
    let world = world(&records);
    let mut groups: [Vec<String>; 3] = Default::default();
    for n in 0..N {
        groups[if better(n) {
            0
        } else if worse(n) {
            2
        } else {
            1
        }]
        .push(datasets::record::slug(&name(n)));
    }
    groups.iter_mut().for_each(|group| group.sort());
    assert!(groups[1].len() > 15_000);
    let devices = devices();
    let ids = |spec: &Value, device: &Device| -> Vec<String> {
        let found = page(&world.snapshot, device, spec);
        found.iter().map(|(_, row)| world.snapshot.materials.id.value(*row as usize).to_owned()).collect()
    };
    // far from the window, so that scores are above zero; and deep inside it, where the score of nearly all is zero
    let far = [groups[0].clone(), groups[1].clone(), groups[2].clone()].concat();
    let mut inside: Vec<String> = groups.concat();
    inside.sort();
    for device in &devices {
        for (target, expected) in [
            (json!({"property": "band_gap", "min": 3.0, "tolerance": 0.3}), &far),
            (json!({"property": "band_gap", "max": 20.0, "tolerance": 0.3}), &inside),
        ] {
            for offset in [0, groups[0].len() - 10, 5_000, 9_000] {
                let spec = json!({"targets": [target], "limit": 1000, "offset": offset});
                assert_eq!(ids(&spec, device), expected[offset..offset + 1000], "{} {spec}", device.name());
            }
        }
        // two targets, and the last page there is
        let spec = json!({
            "targets": [{"property": "band_gap", "min": 3.0, "tolerance": 0.3}, {"property": "density", "max": 4.0}],
            "limit": 1, "offset": 9_999,
        });
        assert_eq!(ids(&spec, device), far[9_999..10_000], "{}", device.name());
    }
}
