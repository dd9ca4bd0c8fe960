//! Values against each other, and against what the hub knows.

use std::path::Path;

use datasets::catalogue::{DatasetInfo, Visibility};
use datasets::record::{Evidence, Measurement, Record};
use datasets::table::Table;
use ingest::check::{Noted, Notes, Places};
use ingest::job::{self, Done, Input, Request, Watch};
use ingest::report::{Code, Finding, Severity};
use ingest::sort::Origin;

use crate::job::{codes, mapping, read, try_read};

/// A column `e` of Young's moduli in GPa, of samples with a name; more lines may follow.
const MODULI: &str = "[material]\nformula = \"f\"\nname = \"n\"\n[defaults]\nevidence = \"measured\"\n\
                      [[value]]\ncolumn = \"e\"\nproperty = \"youngs_modulus\"\n";

fn conflicts(text: &str, map: &str) -> Vec<Finding> {
    let found = read(&mapping(map), text).report.findings;
    found.into_iter().filter(|finding| finding.code == Code::ConflictingValues).collect()
}

#[test]
fn a_source_against_itself() {
    let found = conflicts("f,n,e\nFe,a,205\nFe,a,0.21\nFe,b,90\nCu,a,120\nFe,a,214\n", MODULI);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].row, found[0].column.as_deref(), found[0].value.as_deref()), (3, Some("e"), Some("0.21")));
    assert_eq!(found[0].severity, Severity::Flagged);
    // of three values the middle one counts: row 2 or 6
    assert!(found[0].explanation.contains("205 GPa in row 2"), "{}", found[0].explanation);

    // of two values the later one is flagged, also in another file, which is then named
    let map = mapping(MODULI);
    let done = try_read(&map, &[("a.csv", b"f,n,e\nFe,a,205\n"), ("b.csv", b"f,n,e\nFe,a,20.5\n")]).unwrap();
    let [finding] = &done.report.findings[..] else { panic!("{:?}", done.report.findings) };
    assert!(finding.file.ends_with("b.csv") && finding.explanation.contains("row 2 of ") && finding.row == 2);
    assert!(finding.explanation.contains("a.csv"), "{finding:?}");
}

#[test]
fn what_the_records_tell_apart_is_no_conflict() {
    for (header, map) in [
        ("treatment", format!("{MODULI}[attributes]\nt = \"treatment\"\n")),
        ("direction", format!("{MODULI}conditions = {{ direction = {{ column = \"direction\" }} }}\n")),
        ("T", format!("{MODULI}temperature = {{ column = \"T\", unit = \"°C\" }}\n")),
        ("doi", format!("{MODULI}source = {{ column = \"doi\" }}\n")),
        ("sg", MODULI.replace("name = \"n\"\n", "name = \"n\"\nspace_group = \"sg\"\n")),
    ] {
        let differ = format!("f,n,e,{header}\nFe,a,205,25\nFe,a,20,225\n");
        let same = format!("f,n,e,{header}\nFe,a,205,25\nFe,a,20,25\n");
        assert_eq!((conflicts(&differ, &map).len(), conflicts(&same, &map).len()), (0, 1), "{header}");
    }
    // a wide deviation, a bound, a value that follows from others
    assert!(conflicts("f,n,e\nFe,a,205\nFe,a,20 ± 30\nFe,a,<2\n", MODULI).is_empty());
    assert!(conflicts("f,n,e\nFe,a,205\nFe,a,20\n", &MODULI.replace("measured", "derived")).is_empty());
    // ids of the source's own: of computed values they are phases, of measured ones samples of one material
    let ids = format!("[record]\nid = [\"id\"]\n{MODULI}");
    let rows = "id,f,n,e\nmp-1,C,a,1000\nmp-2,C,a,10\n";
    assert_eq!(conflicts(rows, &ids).len(), 1);
    assert!(conflicts(rows, &ids.replace("measured", "computed")).is_empty());
    assert_eq!(conflicts(rows, &MODULI.replace("measured", "computed")).len(), 1);
}

#[test]
fn a_duplicate_is_no_conflict_with_itself() {
    let ids = format!("[record]\nid = [\"n\"]\n{MODULI}");
    let done = read(&mapping(&ids), "f,n,e\nFe,a,205\nFe,a,20\nFe,a,205\n");
    assert_eq!(codes(&done), [Code::DuplicateId, Code::DuplicateRow]);
    // joined rows are one record that contradicts itself
    let joined = ids.replace("[record]\n", "[record]\njoin = true\n");
    assert_eq!(codes(&read(&mapping(&joined), "f,n,e\nFe,a,205\nFe,a,20\n")), [Code::ConflictingValues]);
}

#[test]
fn a_source_that_tells_nothing_apart_is_one_finding() {
    let rows: String = (0..40).map(|n| format!("FeNi{},a,{}\n", n / 2 + 1, if n % 2 == 0 { 200 } else { 2 })).collect();
    let found = conflicts(&format!("f,n,e\n{rows}"), MODULI);
    assert_eq!((found.len(), found[0].row), (1, 3));
    assert!(found[0].explanation.contains("20 of the 20 values"), "{}", found[0].explanation);
    assert!(found[0].mend.contains("space_group"), "{}", found[0].mend);
    // one less is said row by row
    let rows: String = rows.lines().take(38).map(|line| format!("{line}\n")).collect();
    assert_eq!(conflicts(&format!("f,n,e\n{rows}"), MODULI).len(), 19);
}

#[test]
fn two_columns_of_one_property() {
    let two = format!("{MODULI}[[value]]\ncolumn = \"e2\"\nproperty = \"youngs_modulus\"\n");
    let rows: String = (1..=30).map(|n| format!("Fe{n},a,200,2\n")).collect();
    let found = conflicts(&format!("f,n,e,e2\n{rows}"), &two);
    assert_eq!((found.len(), found[0].row, found[0].column.as_deref()), (1, 2, Some("e2")), "{found:?}");
    assert!(found[0].explanation.contains("two columns") && found[0].explanation.contains("column `e`"), "{found:?}");
    assert!(conflicts(&format!("f,n,e,e2\n{rows}"), &format!("{two}method = \"ultrasound\"\n")).is_empty());
    let found = conflicts("f,n,e,e2\nFe,a,200,2\nFe,a,201,2.1\nFe,a,20,2\n", &two);
    assert_eq!(found.iter().map(|f| f.row).collect::<Vec<_>>(), [2, 3, 4, 4], "{found:?}");
}

#[test]
fn what_finds_no_room_is_said_once() {
    let record = |value| Record {
        id: "lab/a".into(),
        name: None,
        formula_given: None,
        formula: Some("Fe".into()),
        space_group: None,
        smiles: None,
        structure: None,
        class: None,
        attributes: Default::default(),
        measurements: vec![Measurement {
            property: "youngs_modulus".into(),
            value,
            given_value: None,
            given_unit: None,
            uncertainty: None,
            evidence: Evidence::Measured,
            method: None,
            source: None,
            temperature_k: None,
            pressure_pa: None,
            conditions: Default::default(),
        }],
    };
    for (bytes, expected) in [(1 << 10, vec![Code::ConflictingValues]), (24, vec![Code::NotCompared])] {
        let mut noted = Noted::new(bytes);
        for (line, value) in [(1, 200.0), (2, 2.0), (3, 201.0)] {
            let mut notes = Notes::default();
            let property = datasets::property::dictionary().get("youngs_modulus");
            notes.note(&record(value), Origin { table: 0, line }, false, &|_| (property, None));
            notes.end();
            noted.take(notes);
        }
        let mut places = Places::default();
        places.add_table("a.csv".into());
        let found = noted.conflicts(&places);
        assert!(found.iter().all(|f| f.file == "a.csv"));
        assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), expected);
        assert!(found.iter().all(|f| f.code != Code::NotCompared || f.explanation.contains("the last 2 were not")));
    }
}

/// Runs a job on a table, or a dry run.
async fn ingest(table: &mut Table, map: &str, name: &str, text: &str, dry: bool) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, text).unwrap();
    let report = folder.path().join("report.jsonl");
    let request = Request {
        files: vec![Input { path, shown: "a.csv".into() }],
        mapping: Some(ingest::mapping::Mapping::parse(map, Some(name), "map.toml").unwrap()),
        dataset: None,
        key: None,
        report: Some(report.clone()),
        refused: None,
    };
    let done = match dry {
        true => job::check(Some(table), &request, folder.path(), &Watch::default()).await.unwrap(),
        false => job::run(table, &request, &Watch::default()).await.unwrap(),
    };
    // the file of findings has all of them
    assert_eq!(std::fs::read_to_string(report).unwrap().lines().count(), done.report.findings.len());
    done
}

async fn hub(folder: &Path) -> Table {
    let mut table = Table::open_or_create(folder).await.unwrap();
    let known = "f,n,e\nFe,,210\nCu,,120\nAl,,70\nW,,400\nTi,,115\nNi,,200\nMg,,45\n";
    let done = ingest(&mut table, MODULI, "known", known, false).await;
    // an empty hub knows nothing, and a source is not held against itself
    assert_eq!((done.records, done.report.findings.len()), (7, 0));
    table
}

fn suspects(done: &Done) -> Vec<&Finding> {
    assert!(done.report.findings.iter().all(|f| f.code == Code::SuspectUnit), "{:?}", done.report.findings);
    done.report.findings.iter().collect()
}

const MEGA: &str = "unit = \"MPa\"\n";
const IN_GPA: &str = "f,n,e\nFe,x,211\nCu,x,118\nAl,x,69\nW,x,411\nTi,x,110\nAu,x,78\n";

#[tokio::test]
async fn a_column_in_the_wrong_unit_is_noticed_before_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = hub(folder.path()).await;
    for dry in [true, false] {
        // sound: in the unit of the dictionary, and in another one that is stated
        assert!(suspects(&ingest(&mut table, MODULI, "lab", IN_GPA, true).await).is_empty());
        let mega = "f,n,e\nFe,x,211000\nCu,x,118000\nAl,x,69000\nW,x,411000\nTi,x,110000\n";
        assert!(suspects(&ingest(&mut table, &format!("{MODULI}{MEGA}"), "lab", mega, true).await).is_empty());

        // numbers in GPa, and the mapping says MPa
        let done = ingest(&mut table, &format!("{MODULI}{MEGA}"), "wrong", IN_GPA, dry).await;
        let found = suspects(&done);
        assert_eq!(found.iter().map(|f| f.row).collect::<Vec<_>>(), [2, 2, 3, 4, 5, 6], "{found:?}");
        assert!(found.iter().all(|f| f.column.as_deref() == Some("e") && f.severity == Severity::Flagged));
        let (column, first) = (found[0], found[1]);
        for part in ["whole column", "5 of 5 materials", "10^3", "211 MPa", "210 GPa of Fe in `known`"] {
            assert!(column.explanation.contains(part), "{part}: {}", column.explanation);
        }
        assert!(column.mend.contains("unit") && first.value.as_deref() == Some("211"), "{column:?} {first:?}");
        assert_eq!((done.records, done.outcome.is_some()), (6, !dry));
    }
}

#[tokio::test]
async fn units_that_are_no_powers_of_ten_and_few_materials() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = hub(folder.path()).await;
    // Msi (10^6 psi) taken for GPa: 30.5 is 210 GPa
    let psi = "f,n,e\nFe,x,30.5\nCu,x,17.4\nAl,x,10.1\nW,x,58\nTi,x,16.7\n";
    let done = ingest(&mut table, MODULI, "lab", psi, true).await;
    assert_eq!(suspects(&done).len(), 6, "{:?}", done.report.findings);
    // four materials are too few for a verdict on a column, and one value of the hub for one on a value
    let four: String = psi.lines().take(5).map(|line| format!("{line}\n")).collect();
    assert!(suspects(&ingest(&mut table, MODULI, "lab", &four, true).await).is_empty());
    // half the materials fit as they stand
    let mixed = "f,n,e\nFe,x,0.21\nCu,x,0.12\nAl,x,0.07\nW,x,400\nTi,x,115\nNi,x,200\n";
    let done = ingest(&mut table, MODULI, "lab", mixed, true).await;
    assert_eq!(suspects(&done).iter().map(|f| f.row).collect::<Vec<_>>(), [2, 3, 4], "{:?}", done.report.findings);
}

#[tokio::test]
async fn one_value_that_several_values_of_the_hub_contradict() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = hub(folder.path()).await;
    ingest(&mut table, MODULI, "second", "f,n,e\nFe,y,208\nCu,y,122\n", false).await;
    // a column of which less than four fifths agree with the hub may as well be of other conditions
    let rough = IN_GPA.replace("118", "1180").replace("411", "41");
    assert!(suspects(&ingest(&mut table, MODULI, "lab", &rough, true).await).is_empty());
    let more = IN_GPA.replace("Au,x,78", "Mg,x,44\nNi,x,201\nAu,x,78");
    // of magnesium one value is known, of copper two
    assert!(suspects(&ingest(&mut table, MODULI, "lab", &more.replace("44", "4.4"), true).await).is_empty());
    let done = ingest(&mut table, MODULI, "lab", &more.replace("118", "1180"), true).await;
    let found = suspects(&done);
    assert_eq!(found.iter().map(|f| (f.row, f.value.as_deref())).collect::<Vec<_>>(), [(3, Some("1180"))], "{found:?}");
    assert!(found[0].explanation.contains("10^-1"), "{}", found[0].explanation);
}

#[tokio::test]
async fn private_datasets_tell_nothing_and_the_older_version_counts_where_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::open_or_create(folder.path()).await.unwrap();
    let private = format!("[dataset]\nname = \"secret\"\nvisibility = \"private\"\n{MODULI}");
    ingest(&mut table, &private, "secret", IN_GPA, false).await;
    let info: &DatasetInfo = &table.datasets().unwrap()["secret"];
    assert_eq!(info.visibility, Some(Visibility::Private));
    let wrong = format!("{MODULI}{MEGA}");
    assert!(suspects(&ingest(&mut table, &wrong, "lab", IN_GPA, true).await).is_empty());
    // its own new version may be compared with it
    let own = private.replace("[[value]]\n", "[[value]]\nunit = \"MPa\"\n");
    assert_eq!(suspects(&ingest(&mut table, &own, "secret", IN_GPA, true).await).len(), 7);
    // what is known at 1000 K says nothing of 300 K about a column, and of a value that no modulus changes a thousandfold
    let hot = format!("{MODULI}temperature = {{ value = 1000, unit = \"K\" }}\n");
    let mut table = hub(&folder.path().join("hot")).await;
    assert_eq!(suspects(&ingest(&mut table, &wrong, "lab", IN_GPA, true).await).len(), 6);
    let done = ingest(&mut table, &format!("{hot}{MEGA}"), "lab", IN_GPA, true).await;
    let found = suspects(&done);
    assert!(found.iter().all(|f| !f.explanation.contains("whole column")), "{found:?}");
    assert_eq!(found.iter().map(|f| f.row).collect::<Vec<_>>(), [2, 3, 4, 5, 6], "{found:?}");
}

#[tokio::test]
async fn a_hub_that_cannot_be_read_is_said_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = hub(folder.path()).await;
    let file = table.files().unwrap().remove(0);
    let path = table.location().join(&file.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let done = ingest(&mut table, MODULI, "lab", IN_GPA, false).await;
    assert_eq!(done.report.findings.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::NotCompared]);
    assert!(done.report.findings[0].explanation.contains("checksum"), "{:?}", done.report.findings);
    assert_eq!((done.records, done.outcome.is_some()), (6, true));
}

const STRENGTH: &str = "[material]\nname = \"n\"\n[defaults]\nevidence = \"measured\"\n[[value]]\ncolumn = \"s\"\nproperty = \"yield_strength\"\n\
    unit = \"MPa\"\nconditions = { direction = { column = \"d\" } }\n";

async fn alone(map: &str, text: &str) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, text).unwrap();
    let request = Request {
        files: vec![Input { path, shown: "a.csv".into() }],
        mapping: Some(ingest::mapping::Mapping::parse(map, Some("lab"), "map.toml").unwrap()),
        dataset: None,
        key: None,
        report: None,
        refused: None,
    };
    job::check(None, &request, folder.path(), &Watch::default()).await.unwrap()
}

#[tokio::test]
async fn a_cell_in_giga_among_mega_is_noticed_whatever_the_conditions() {
    // of two of one alloy the one that is further from its column
    let done = alone(STRENGTH, "n,s,d\nTi64,905,L\nTi64,0.898,T\n316L,250,L\nIN718,1030,L\n").await;
    let found = suspects(&done);
    assert_eq!(found.iter().map(|f| f.row).collect::<Vec<_>>(), [3], "{found:?}");
    assert!(found[0].explanation.contains("1000 times too small beside 905 MPa"), "{found:?}");
    // of more the odd one, also where it is the larger one
    let done = alone(STRENGTH, "n,s,d\nAl,95,L\nAl,110000,T\nAl,98,S\n").await;
    assert_eq!(suspects(&done).iter().map(|f| f.row).collect::<Vec<_>>(), [3]);
    // without another value of the alloy its column says it
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let rows: String = names.iter().enumerate().map(|(n, name)| format!("{name},{},L\n", 300 + 90 * n)).collect();
    let done = alone(STRENGTH, &format!("n,s,d\n{rows}x,0.55,L\n")).await;
    let found = suspects(&done);
    assert_eq!(found.iter().map(|f| f.row).collect::<Vec<_>>(), [10], "{found:?}");
    assert!(found[0].explanation.contains("rest of its column"), "{found:?}");
    // two of ten, and hardness in GPa
    let done = alone(STRENGTH, &format!("n,s,d\n{rows}p,310,L\nq,350,L\nr,365,L\nt,372,L\nu,412,L\nv,444,L\nw,523,L\nx,534,L\ny,555,L\nz,612,L\nodd,0.55,L\nodder,0.38,L\n")).await;
    assert_eq!(suspects(&done).iter().map(|f| f.row).collect::<Vec<_>>(), [20, 21]);
    let hardness = STRENGTH.replace("yield_strength", "hardness_vickers").replace("MPa", "HV");
    let done = alone(&hardness, &format!("n,s,d\n{rows}x,9.2,L\n")).await;
    assert!(suspects(&done).iter().any(|f| f.row == 10 && f.explanation.contains("102 times")), "{:?}", done.report);
    let expansion = STRENGTH.replace("yield_strength", "thermal_expansion").replace("MPa", "ppm/K");
    let small: String = names.iter().enumerate().map(|(n, name)| format!("{name},{},L\n", 3 + 2 * n)).collect();
    let done = alone(&expansion, &format!("n,s,d\n{small}x,4.0e-6,L\n")).await;
    assert_eq!(suspects(&done).iter().map(|f| f.row).collect::<Vec<_>>(), [10]);
    // strong and weak alloys, and a property that ranges over decades, are no slips
    assert!(suspects(&alone(STRENGTH, &format!("n,s,d\n{rows}x,25,L\nx,70,T\n")).await).is_empty());
    let conductivity = STRENGTH.replace("yield_strength", "electrical_conductivity").replace("MPa", "S/m");
    let wide: String = names.iter().enumerate().map(|(n, name)| format!("{name},1e{},L\n", n)).collect();
    assert!(suspects(&alone(&conductivity, &format!("n,s,d\n{wide}")).await).is_empty());
    // a share among percent
    let elongation = STRENGTH.replace("yield_strength", "elongation").replace("MPa", "%");
    let rows: String = names.iter().enumerate().map(|(n, name)| format!("{name},{},L\n", 40 + 3 * n)).collect();
    let done = alone(&elongation, &format!("n,s,d\n{rows}x,0.54,L\n")).await;
    assert_eq!(suspects(&done).iter().map(|f| f.row).collect::<Vec<_>>(), [10]);
}

#[tokio::test]
async fn a_cell_in_giga_is_noticed_beside_what_the_hub_knows_in_another_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = Table::open_or_create(folder.path()).await.unwrap();
    ingest(&mut table, STRENGTH, "known", "n,s,d\nTi64,905,L\n", false).await;
    let done = ingest(&mut table, STRENGTH, "lab", "n,s,d\nTi64,0.7,T\n", false).await;
    let found = suspects(&done);
    assert!(found.len() == 1 && found[0].explanation.contains("in `known`"), "{found:?}");
    // corrected, it is not held against its own older version
    assert!(suspects(&ingest(&mut table, STRENGTH, "lab", "n,s,d\nTi64,700,T\n", false).await).is_empty());
}
