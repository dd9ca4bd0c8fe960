//! Rows to records: identity, formulas, ids, duplicates, several files.

use ingest::report::{Code, Severity};

use crate::job::{GAP, codes, counts, finding, mapping, one, read, try_read};

#[test]
fn formulas_are_kept_as_written_and_reduced() {
    let map = mapping(GAP);
    for (given, reduced) in [
        ("GaAs", "AsGa"),
        ("Ga2As2", "AsGa"),
        (" SiO2 ", "O2Si"),
        ("Ca(OH)2", "CaH2O2"),
        ("NaN", "NNa"),
        ("Al0.5CoCrFeNi", "AlCo2Cr2Fe2Ni2"),
    ] {
        let record = one(&map, &format!("formula,gap\n{given},1\n"));
        assert_eq!(record.formula.as_deref(), Some(reduced), "{given}");
        assert_eq!(record.formula_given.as_deref(), Some(given.trim()), "{given}");
    }
}

#[test]
fn what_is_no_formula_is_refused_with_the_cell() {
    let map = mapping(GAP);
    for bad in ["2-Feb", "Xy2", "steel", "Fe((O2", "42", "#NAME?", "Fe0", "鉄", "gaas", "Fe2O3)"] {
        let done = read(&map, &format!("formula,gap\n{bad},1\nSi,1.1\n"));
        assert_eq!(done.report.findings.len(), 1, "{bad}: {:?}", done.records);
        let found = finding(&done);
        assert_eq!(counts(&done), (1, 1, 0), "{bad}");
        assert_eq!((found.code, found.severity), (Code::BadFormula, Severity::Refused), "{bad}");
        assert_eq!((found.column.as_deref(), found.value.as_deref(), found.row), (Some("formula"), Some(bad), 2));
        assert!(found.mend.contains("element symbols"), "{found:?}");
    }
}

#[test]
fn the_word_nan_is_sodium_nitride_in_a_formula_also_where_it_means_no_value() {
    let map = mapping(&format!("read = {{ null = [\"NaN\"] }}\nattributes = {{ sample = \"s\" }}\n{GAP}"));
    let done = read(&map, "formula,gap,s\nNaN,1.5,a\nNaN,NaN,b\n");
    assert_eq!(counts(&done), (1, 1, 0));
    assert_eq!(done.records[0].formula.as_deref(), Some("NNa"));
    assert_eq!(finding(&done).code, Code::NoValue);
}

#[test]
fn a_row_must_name_a_material_and_hold_a_value() {
    let map = mapping(&GAP.replace("formula = \"formula\"", "formula = \"formula\"\nname = \"name\""));
    let done = read(&map, "formula,name,gap\n,,1\nGaAs,,\n,,\n,steel 1,1\n");
    assert_eq!(counts(&done), (1, 3, 0));
    assert_eq!(codes(&done), [Code::NoIdentity, Code::NoValue, Code::NoValue]);
    let record = &done.records[0];
    assert_eq!((record.name.as_deref(), record.formula.as_deref()), (Some("steel 1"), None));
    assert_eq!(record.material_id(), "steel-1");
}

#[test]
fn all_that_is_wrong_with_a_row_is_said_at_once() {
    let map = mapping(&GAP.replace("formula = \"formula\"", "formula = \"formula\"\nspace_group = \"sg\""));
    let done = read(&map, "formula,sg,gap\nXx,999,abc\n");
    assert_eq!(codes(&done), [Code::BadFormula, Code::BadSpaceGroup, Code::BadNumber]);
    assert_eq!(done.report.rows_refused, 1);
}

#[test]
fn space_groups_are_1_to_230() {
    let map = mapping(&GAP.replace("formula = \"formula\"", "formula = \"formula\"\nspace_group = \"sg\""));
    for (text, number) in [
        ("216", Some(216)),
        ("1", Some(1)),
        ("230", Some(230)),
        ("", None),
        (" 62 ", Some(62)),
        ("F-43m", Some(216)),
        ("F m -3 m", Some(225)),
        ("Fm3m", Some(225)),
        ("P -1", Some(2)),
        ("P2_1/c", Some(14)),
        ("P 1 21/c 1", Some(14)),
        ("216.0", Some(216)),
    ] {
        let record = one(&map, &format!("formula,sg,gap\nGaAs,{text},1\n"));
        assert_eq!(record.space_group, number, "{text:?}");
    }
    for bad in ["0", "231", "-1", "F-43x", "216.5", "99999", "nan"] {
        let done = read(&map, &format!("formula,sg,gap\nGaAs,{bad},1\n"));
        assert_eq!(codes(&done), [Code::BadSpaceGroup], "{bad}");
        assert_eq!(finding(&done).column.as_deref(), Some("sg"));
    }
}

#[test]
fn fractions_by_mass_become_amounts_of_atoms() {
    // Ti-6Al-4V: 90 % Ti, 6 % Al, 4 % V by mass
    let material = "fractions = { columns = [\"Al\", \"Ti\", \"V\", \"Fe\"], basis = \"weight_percent\" }";
    let map = mapping(&GAP.replace("formula = \"formula\"", material));
    let record = one(&map, "Ti,Al,V,Fe,gap\n90,6,4,,1\n");
    let formula = datasets::formula::Formula::parse(record.formula.as_deref().unwrap()).unwrap();
    let amounts: Vec<(String, f64)> = formula.fractions().map(|(e, x)| (e.symbol().to_owned(), x)).collect();
    let moles = [("Al", 6.0 / 26.9815385), ("Ti", 90.0 / 47.867), ("V", 4.0 / 50.9415)];
    let total: f64 = moles.iter().map(|(_, n)| n).sum();
    assert_eq!(amounts.len(), 3, "an empty cell is no element: {amounts:?}");
    for ((symbol, n), (found, x)) in moles.iter().zip(&amounts) {
        assert_eq!(symbol, found);
        assert!((n / total - x).abs() < 1e-4, "{symbol}: {x} for {}", n / total);
    }
    assert_eq!(record.formula_given, None);

    for (row, code) in [
        ("90,x,4,,1", Code::BadNumber),
        ("0,0,0,0,1", Code::BadFormula),
        ("-90,6,4,,1", Code::BadFormula),
        ("nan,6,4,,1", Code::BadNumber),
        (",,,,1", Code::NoIdentity),
    ] {
        let done = read(&map, &format!("Ti,Al,V,Fe,gap\n{row}\n"));
        assert_eq!(codes(&done), [code], "{row}");
    }
}

#[test]
fn a_basis_other_than_atoms_is_applied_to_formulas() {
    let map = mapping(&GAP.replace("formula = \"formula\"", "formula = \"formula\"\nbasis = \"weight_percent\""));
    let record = one(&map, "formula,gap\nFe90Ni10,1\n");
    let formula = datasets::formula::Formula::parse(record.formula.as_deref().unwrap()).unwrap();
    let iron = formula.fractions().find(|(e, _)| e.symbol() == "Fe").unwrap().1;
    let want = (90.0 / 55.845) / (90.0 / 55.845 + 10.0 / 58.6934);
    assert!((iron - want).abs() < 1e-3, "{iron} for {want}");
}

#[test]
fn ids_come_from_columns_from_the_formula_or_from_the_content() {
    let by = |id: &str| mapping(&format!("record = {{ id = {id} }}\n{GAP}"));
    let text = "formula,gap,run\nGa1As1,1.42, 7 \n";
    assert_eq!(one(&by("[\"run\"]"), text).id, "lab/7");
    assert_eq!(one(&by("[\"@formula\"]"), text).id, "lab/AsGa");
    assert_eq!(one(&by("[\"run\", \"@formula\", \"formula\"]"), text).id, "lab/7/AsGa/Ga1As1");

    // stored ids depend on this hash: it must never change
    let hashed = one(&mapping(GAP), "formula,gap\nGaAs,1.42\n").id;
    assert_eq!(hashed, "lab/06f31dd65ed48273");
    let others = ["formula,gap\nGaAs,1.43\n", "formula,gap\nGaAs,1.420\n", "formula,gap\nGa1As1,1.42\n"];
    for other in others {
        assert_ne!(one(&mapping(GAP), other).id, hashed, "{other:?}");
    }
    for same in ["formula,gap\r\nGaAs,1.42\r\n", "\u{feff}formula,gap\n\"GaAs\",\"1.42\"\n", "formel,gap\nGaAs,1.42\n"]
    {
        let map =
            if same.starts_with("formel") { mapping(&GAP.replace("\"formula\"", "\"formel\"")) } else { mapping(GAP) };
        assert_eq!(one(&map, same).id, hashed, "{same:?}");
    }
    // the place of the row and what else is in the file do not matter
    let done = read(&mapping(GAP), "formula,gap\nSi,1.1\nGaAs,1.42\n");
    assert!(done.records.iter().any(|record| record.id == hashed));
}

#[test]
fn the_same_row_again_is_unchanged_and_another_row_of_the_same_id_is_refused() {
    let map = mapping(&format!("record = {{ id = [\"run\"] }}\n{GAP}"));
    let done = read(&map, "formula,gap,run\nGaAs,1.42,7\nGaAs,1.42,7\nGaAs,1.43,7\nSi,1.1,8\n");
    assert_eq!(counts(&done), (2, 1, 1));
    let found: Vec<(Code, Severity, u64)> = done.report.findings.iter().map(|f| (f.code, f.severity, f.row)).collect();
    assert_eq!(found, [(Code::DuplicateRow, Severity::Flagged, 3), (Code::DuplicateId, Severity::Refused, 4)]);
    assert_eq!(done.records[0].measurements[0].value, 1.42, "the first one is kept");
    // also over files, and without ids
    let done = try_read(&mapping(GAP), &[("a.csv", b"formula,gap\nSi,1.1\n"), ("b.csv", b"formula,gap\nSi,1.1\n")]);
    assert_eq!(counts(&done.unwrap()), (1, 0, 1));
}

const JOIN: &str = r#"
record = { id = ["@formula"], join = true }
material = { formula = "formula" }
defaults = { evidence = "computed" }
[[value]]
file = "gap.csv"
column = "target"
property = "band_gap"
[[value]]
file = "rho.csv"
column = "target"
property = "density"
[attributes]
note = "note"
"#;

#[test]
fn files_are_joined_by_id() {
    let files: [(&str, &[u8]); 2] = [
        ("gap.csv", b"formula,target,note\nGaAs,1.42,a\nSi,1.1,b\n"),
        ("rho.csv", b"formula,target,note\nAs1Ga1,5.32,c\nGe,5.35,d\n"),
    ];
    let map = mapping(JOIN);
    let done = try_read(&map, &files).unwrap();
    assert_eq!((counts(&done), done.records.len()), ((4, 0, 0), 3));
    let shown: Vec<(String, Vec<(String, f64)>)> = done
        .records
        .iter()
        .map(|r| (r.id.clone(), r.measurements.iter().map(|m| (m.property.to_string(), m.value)).collect()))
        .collect();
    let both = vec![("band_gap".to_owned(), 1.42), ("density".to_owned(), 5.32)];
    assert_eq!(shown[0], ("lab/AsGa".to_owned(), both));
    assert_eq!(done.records[0].formula_given.as_deref(), Some("GaAs"), "as the first row wrote it");
    assert_eq!(shown.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["lab/AsGa", "lab/Ge", "lab/Si"]);

    // the order of the files changes the order of values, not their number
    let turned = try_read(&map, &[files[1], files[0]]).unwrap();
    assert_eq!(turned.records.iter().map(|r| r.measurements.len()).sum::<usize>(), 4);
}

#[test]
fn rows_of_one_id_that_speak_of_different_materials_are_not_joined() {
    let map = mapping(&JOIN.replace("\"@formula\"", "\"note\""));
    let files: [(&str, &[u8]); 2] = [
        ("gap.csv", b"formula,target,note\nGaAs,1.42,s1\nSi,1.1,\n"),
        ("rho.csv", b"formula,target,note\nSi,2.33,s1\nGe,5.35,\n"),
    ];
    let done = try_read(&map, &files).unwrap();
    for record in &done.records {
        let formula = record.formula.as_deref().unwrap();
        for m in &record.measurements {
            let of = match m.value {
                1.42 => "AsGa",
                5.35 => "Ge",
                _ => "Si",
            };
            assert_eq!(formula, of, "a value of {of} in a record of {formula}");
        }
    }
    assert!(done.report.rows_refused >= 1, "{:?}", done.report);
    assert!(codes(&done).contains(&Code::DuplicateId));
}
