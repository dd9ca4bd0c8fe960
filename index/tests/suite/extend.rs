//! A snapshot that came about commit by commit is the one that is built at once, column by column.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use datasets::property::dictionary;
use datasets::record::{Measurement, Record};
use datasets::table::Table;
use gpu::Device;
use matgenome_index::hub::Hub;
use matgenome_index::scope::{Scope, Viewer};
use matgenome_index::snapshot::{self, NotExtended, Snapshot};
use matgenome_index::spec::from_json;
use matgenome_index::stated::Stated;
use matgenome_index::store;

use crate::wishes::{KEYS, random_records};
use crate::world::{Random, Write as _, ingest, measured, open, record, rock_salt, terms, wait, world};

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Every column, every name, and the beliefs under the scopes of both viewers and of one dataset.
fn assert_same(a: &Snapshot, b: &Snapshot, what: &str) {
    assert_eq!((a.version, &a.datasets, &a.files), (b.version, &b.datasets, &b.files), "{what}");
    let (am, bm) = (&a.materials, &b.materials);
    assert_eq!(am.id, bm.id, "{what}");
    assert_eq!(am.formula, bm.formula, "{what}");
    assert_eq!(am.space_group, bm.space_group, "{what}");
    assert_eq!(am.elements, bm.elements, "{what}");
    assert_eq!(am.parent, bm.parent, "{what}");
    assert_eq!(am.labels, bm.labels, "{what}");
    let (ar, br) = (&a.records, &b.records);
    assert_eq!(ar.id, br.id, "{what}");
    assert_eq!((&ar.material, &ar.dataset), (&br.material, &br.dataset), "{what}");
    assert_eq!((&ar.space_group, &ar.by_formula, &ar.named), (&br.space_group, &br.by_formula, &br.named), "{what}");
    assert_eq!(ar.structures, br.structures, "{what}");
    let (av, bv) = (&a.measurements, &b.measurements);
    assert_eq!((&av.properties, &av.starts, &av.words), (&bv.properties, &bv.starts, &bv.words), "{what}");
    assert_eq!((&av.material, &av.record, &av.evidence), (&bv.material, &bv.record, &bv.evidence), "{what}");
    assert_eq!((bits(&av.value), bits(&av.sd)), (bits(&bv.value), bits(&bv.sd)), "{what}");
    let kelvins = |t: &[f32]| t.iter().map(|t| t.to_bits()).collect::<Vec<u32>>();
    assert_eq!(kelvins(&av.temperature), kelvins(&bv.temperature), "{what}");
    assert_eq!((&av.method, &av.source), (&bv.method, &bv.source), "{what}");
    let stated = |s: &Stated| (s.entry, s.conditions, s.pressure.to_bits(), s.bound.to_bits());
    assert!(av.stated.iter().map(stated).eq(bv.stated.iter().map(stated)), "{what}");
    let owner = a.visible(Viewer::Owner);
    let seen = a.members(&owner);
    for text in am.id.iter().flatten().map(str::to_lowercase).chain(["grade 7".into(), "tio2".into()]) {
        assert_eq!(am.resolve(&text, &seen, &owner), bm.resolve(&text, &seen, &owner), "{what}, {text}");
    }
    for scope in scopes(a) {
        for key in KEYS {
            let property = dictionary().get(key).unwrap();
            let (x, y) = (a.beliefs(&scope, property, None), b.beliefs(&scope, property, None));
            assert_eq!((&x.row, &x.evidence, &x.pick), (&y.row, &y.evidence, &y.pick), "{what}, {key}");
            assert_eq!((&x.count, &x.inherited), (&y.count, &y.inherited), "{what}, {key}");
            assert_eq!((bits(&x.mean), bits(&x.sd)), (bits(&y.mean), bits(&y.sd)), "{what}, {key}");
            assert_eq!(bits(&x.value), bits(&y.value), "{what}, {key}");
            assert_eq!(x.population(), y.population(), "{what}, {key}");
        }
    }
}

fn scopes(snapshot: &Snapshot) -> Vec<Scope> {
    let one = snapshot.datasets.iter().map(|d| d.info.name == "beta").collect();
    vec![snapshot.visible(Viewer::Public), snapshot.visible(Viewer::Owner), Scope(one)]
}

async fn built(table: &Table) -> Snapshot {
    snapshot::build(table, |_, _| {}).await.unwrap()
}

/// A commit as users make them: new records, corrected ones, the same ones again, deletions, other terms.
async fn commit(table: &mut Table, random: &mut Random, pool: &[Record], there: &mut BTreeMap<String, Record>) {
    let known: Vec<String> = there.keys().cloned().collect();
    let mut records = Vec::new();
    match random.below(if known.is_empty() { 1 } else { 7 }) {
        0 | 1 => (0..1 + random.below(12)).for_each(|_| records.push(random.pick(pool))),
        2 | 3 => {
            for _ in 0..1 + random.below(4) {
                let id = random.pick(&known);
                records.push(Record { id, ..random.pick(pool) });
            }
        }
        4 => {
            // one value of one record: all others of its file are written again as they are
            let mut one = there[&random.pick(&known)].clone();
            if let Some(structure) = one.structure.as_mut() {
                Arc::make_mut(structure).positions[0][0] += 0.01;
            }
            match one.measurements.first_mut() {
                Some(first) => first.value *= 1.25,
                None => one.class = Some("ceramic".into()),
            }
            records.push(one);
        }
        5 => {
            let most = if random.chance(0.1) { known.len() } else { 5 };
            let ids: HashSet<String> = (0..1 + random.below(most)).map(|_| random.pick(&known)).collect();
            for dataset in ["alpha", "beta", "gamma", "vault"] {
                table.delete(dataset, &ids).await.unwrap();
            }
            there.retain(|id, _| !ids.contains(id));
        }
        _ => {
            let mut info = terms("gamma");
            info.licence = format!("licence {}", random.below(3));
            info.visibility = random.pick(&[terms("gamma").visibility, terms("vault").visibility]);
            table.upsert(&info, Vec::new(), None).await.unwrap();
        }
    }
    there.extend(records.iter().map(|r| (r.id.clone(), r.clone())));
    // the last of several with one id counts, in one commit
    let records: Vec<Record> =
        records.iter().map(|r| r.id.clone()).collect::<HashSet<_>>().into_iter().map(|id| there[&id].clone()).collect();
    ingest(table, &records, usize::MAX).await;
}

#[test]
fn extended_commit_by_commit_it_is_the_one_built_at_once() {
    for seed in 0..5 {
        let random = &mut Random::new(seed);
        let mut pool = random_records(seed + 900, 90);
        for n in 0..10 {
            let mut molecule =
                record(&format!("alpha/m{n}")).formula("C2H6O").says(measured("density", 0.7 + n as f64));
            molecule.smiles = Some(random.pick(&["CCO", "COC"]).into());
            pool.push(molecule);
            // phases whose formula may come later, or go
            let phase = record(&format!("beta/p{n}")).formula("O2Ti").phase(random.pick(&[136, 141]));
            pool.push(if n % 2 == 0 { phase } else { phase.says(measured("band_gap", 3.0)) });
            pool.push(record(&format!("gamma/f{n}")).formula("O2Ti").says(measured("density", 4.2)));
            // crystals, some of them equal, and one that changes alone
            let crystal = record(&format!("beta/c{n}")).formula("ClNa").phase(225);
            pool.push(crystal.crystal(rock_salt("Na", "Cl", random.pick(&[5.64, 5.7, 6.0]))));
            // known by name, and of a phase
            pool.push(record(&format!("beta/n{n}")).name("Grade 7").phase(random.pick(&[225, 229])));
        }
        wait(async {
            let dir = tempfile::tempdir().unwrap();
            let mut table = Table::open_or_create(dir.path()).await.unwrap();
            let mut there = BTreeMap::new();
            let mut chain = built(&table).await;
            for step in 0..16 {
                for _ in 0..1 + random.below(2) {
                    commit(&mut table, random, &pool, &mut there).await;
                }
                // so that there is something to carry over
                for scope in scopes(&chain) {
                    KEYS.iter().for_each(|key| drop(chain.beliefs(&scope, dictionary().get(key).unwrap(), None)));
                }
                chain = snapshot::extend(&chain, &table).await.unwrap();
                assert_eq!(chain.records.len(), there.len(), "seed {seed}, step {step}");
                assert_same(&chain, &built(&table).await, &format!("seed {seed}, step {step}"));
            }
            // one that was kept on disk goes on like the one that was kept in memory
            store::save(dir.path(), &chain).unwrap();
            let loaded = store::load(dir.path(), chain.version).unwrap().unwrap();
            assert_same(&loaded, &chain, &format!("seed {seed}, loaded"));
            commit(&mut table, random, &pool, &mut there).await;
            let next = snapshot::extend(&loaded, &table).await.unwrap();
            assert_same(&next, &built(&table).await, &format!("seed {seed}, after loading"));
        });
    }
}

#[test]
fn a_change_of_nothing_but_the_conditions_is_a_change() {
    let said = |pressure_pa, conditions: &[(&str, &str)], given_value| {
        let conditions = conditions.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        Measurement { pressure_pa, conditions, given_value, ..measured("density", 5.0) }
    };
    let mut world =
        world(&[record("lab/1").formula("AsGa"), record("lab/2").formula("AlSb").says(said(Some(1e5), &[], None))]);
    wait(async {
        let mut chain = built(&world.table).await;
        for (step, m) in [
            said(None, &[], None),
            said(Some(1e5), &[], None),
            said(Some(2e9), &[], None),
            said(Some(2e9), &[("direction", "[100]")], None),
            said(Some(2e9), &[("direction", "[111]")], None),
            said(None, &[("censored", "<")], None),
            said(None, &[("censored", "<")], Some(10.0)),
            said(None, &[("censored", "<")], Some(11.0)),
            said(None, &[], None),
        ]
        .into_iter()
        .enumerate()
        {
            ingest(&mut world.table, &[record("lab/1").formula("AsGa").says(m)], 9).await;
            chain = snapshot::extend(&chain, &world.table).await.unwrap();
            assert_same(&chain, &built(&world.table).await, &format!("step {step}"));
        }
    });
}

#[test]
fn a_property_that_nobody_touched_keeps_its_beliefs() {
    let mut world = world(&[
        record("lab/1").formula("AsGa").says(measured("band_gap", 1.4)),
        record("lab/2").formula("AlSb").says(measured("density", 4.3)),
    ]);
    wait(async {
        let (gap, density) = (dictionary().get("band_gap").unwrap(), dictionary().get("density").unwrap());
        let public = world.snapshot.visible(Viewer::Public);
        for property in [gap, density] {
            world.snapshot.beliefs(&public, property, None);
        }
        ingest(&mut world.table, &[record("new/1").formula("AlP").says(measured("density", 2.4))], 9).await;
        let next = snapshot::extend(&world.snapshot, &world.table).await.unwrap();
        assert_eq!(next.materials.len(), 3);
        let public = next.visible(Viewer::Public);
        assert_eq!(next.beliefs(&public, density, None).len(), 2);
        assert_eq!(next.beliefs(&public, gap, None).row, [next.materials.row("AsGa").unwrap()]);
        assert!(next.keeps_beliefs(&public, gap), "carried over");
    });
}

#[test]
fn what_cannot_be_merged_is_built_anew() {
    let other = world(&[record("lab/7").formula("Fe")]);
    let mut world = world(&[record("lab/1").formula("AsGa"), record("lab/2").formula("AlSb")]);
    wait(async {
        // the file that a correction took out is gone
        let hub = open(world.dir.path()).await;
        let old_file = world.table.files().unwrap()[0].path.clone();
        ingest(&mut world.table, &[record("lab/1").formula("AsGa").says(measured("band_gap", 1.4))], 9).await;
        fs::remove_file(world.table.location().join(old_file)).unwrap();
        assert!(matches!(snapshot::extend(&world.snapshot, &world.table).await, Err(NotExtended::Table(_))));
        assert!(hub.refresh().await.unwrap());
        assert_same(&hub.snapshot(), &built(&world.table).await, "a file is gone");

        // one text is a formula to one, a name to another
        ingest(&mut world.table, &[record("lab/3").name("Fe")], 9).await;
        assert!(hub.refresh().await.unwrap());
        let before = hub.snapshot();
        ingest(&mut world.table, &[record("lab/4").formula("fe")], 9).await;
        assert!(matches!(snapshot::extend(&before, &world.table).await, Err(NotExtended::Unmergeable(_))));
        assert!(hub.refresh().await.unwrap());
        assert_same(&hub.snapshot(), &built(&world.table).await, "a formula that is a name");

        // a snapshot of other records
        let stray = Snapshot::new(
            other.snapshot.version,
            other.snapshot.materials,
            other.snapshot.records,
            other.snapshot.measurements,
            vec![terms("lab")],
            before.files.clone(),
        );
        ingest(&mut world.table, &[record("lab/1").formula("AsGa")], 9).await;
        assert!(matches!(snapshot::extend(&stray, &world.table).await, Err(NotExtended::Unknown { found: 0, .. })));
    });
}

#[test]
fn an_older_snapshot_on_disk_is_taken_further_and_one_of_other_files_is_not() {
    let mut world = world(&random_records(3, 50));
    wait(async {
        let dir = world.dir.path().to_owned();
        store::save(&dir, &world.snapshot).unwrap();
        ingest(&mut world.table, &[record("new/1").formula("InP").says(measured("band_gap", 1.4))], 9).await;
        let mut steps = Vec::new();
        let hub = Hub::open(&dir, Device::cpu(), false, &mut |step| steps.push(format!("{step:?}"))).await.unwrap();
        assert!(!steps.iter().any(|step| step.contains("Building")), "{steps:?}");
        assert_same(&hub.snapshot(), &built(&world.table).await, "from an older one");
        assert!(store::load(&dir, world.table.version()).unwrap().is_some(), "it is kept");

        let version = world.table.version();
        fs::remove_dir_all(dir.join("records")).unwrap();
        let mut table = Table::open_or_create(&dir).await.unwrap();
        for n in 0..version {
            ingest(&mut table, &[record(&format!("lab/{n}")).formula("Si")], 9).await;
        }
        assert_eq!(table.version(), version);
        assert_same(&open(&dir).await.snapshot(), &built(&table).await, "another table of the same version");
    });
}

#[test]
fn refreshes_at_once_never_go_back() {
    let mut world = world(&random_records(4, 60));
    wait(async {
        let hub = Arc::new(open(world.dir.path()).await);
        assert!(!hub.is_behind());
        let mut following = Vec::new();
        for _ in 0..3 {
            let hub = Arc::clone(&hub);
            following.push(tokio::spawn(async move {
                let mut last = 0;
                for _ in 0..40 {
                    hub.refresh().await.unwrap();
                    let now = hub.snapshot().version;
                    assert!(now >= last, "from {last} back to {now}");
                    last = now;
                }
            }));
        }
        for n in 0..15 {
            ingest(&mut world.table, &[record(&format!("new/{n}")).formula("InP")], 9).await;
        }
        for task in following {
            task.await.unwrap();
        }
        ingest(&mut world.table, &[record("new/last").formula("InP")], 9).await;
        assert!(hub.is_behind());
        assert!(hub.refresh().await.unwrap());
        assert!(!hub.is_behind() && !hub.refresh().await.unwrap());
        assert_same(&hub.snapshot(), &built(&world.table).await, "in the end");
    });
}

/// `cargo nextest run --workspace -E 'test(from_commit_to_searchable)' --run-ignored all --no-capture`
#[test]
#[ignore = "measures; loads the whole bundle"]
fn from_commit_to_searchable() {
    wait(async {
        let dir = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let hub = Hub::open(dir.path(), Device::cpu(), true, &mut |_| {}).await.unwrap();
        println!("bundle loaded, built, saved in {:.2?}", start.elapsed());
        let start = Instant::now();
        hub.warm_up();
        println!("warmed up in {:.2?}", start.elapsed());
        let mut table = Table::open_or_create(dir.path()).await.unwrap();
        let made = |name: &str, n: usize| -> Vec<Record> {
            let one = |i: usize| {
                let formula = format!("Al{}O{}", 2 * i + 1, 2 * i + 3);
                record(&format!("{name}/{i:06}"))
                    .formula(&formula)
                    .says(measured("band_gap", 1.0 + (i % 70) as f64 / 10.0))
            };
            (0..n).map(one).collect()
        };
        let oqmd = hub.snapshot().records.id.iter().flatten().find(|id| id.starts_with("oqmd/")).unwrap().to_owned();
        let mut changed = table.record(&oqmd).await.unwrap().unwrap();
        changed.measurements[0].value += 0.01;
        let spec = from_json(br#"{"targets": [{"property": "band_gap", "min": 1.1, "max": 1.6}]}"#).unwrap();
        let batches = [
            ("1 record".to_owned(), made("one", 1)),
            ("1,000 records".to_owned(), made("thousand", 1000)),
            ("100,000 records".to_owned(), made("many", 100_000)),
            (format!("{oqmd} changed"), vec![changed]),
            ("1 more record".to_owned(), made("again", 1)),
        ];
        for (what, records) in batches {
            let start = Instant::now();
            ingest(&mut table, &records, usize::MAX).await;
            let committed = Instant::now();
            assert!(hub.is_behind() && hub.refresh().await.unwrap());
            let searchable = committed.elapsed();
            let asked = Instant::now();
            hub.suggest(&spec, Viewer::Public).unwrap();
            println!(
                "{what}: commit {:.2?}, then searchable in {searchable:.2?}, first query {:.2?}",
                committed - start,
                asked.elapsed()
            );
            let start = Instant::now();
            let unknown = hub.material("no such thing", Viewer::Public, false);
            println!("  unknown name: {:.2?}, {}", start.elapsed(), unknown.is_err());
        }
        let start = Instant::now();
        let truth = built(&table).await;
        println!("built at once in {:.2?}", start.elapsed());
        assert_same(&hub.snapshot(), &truth, "the bundle");
    });
}
