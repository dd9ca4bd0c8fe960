//! Slips of the hand that would go in as something else: O typed as zero, another unit in one cell, shares that are bounds.

use ingest::mapping::Mapping;
use ingest::report::{Code, Severity};

use crate::job::{GAP, codes, counts, finding, mapping, one, read, try_read};

#[test]
fn a_zero_typed_for_oxygen_is_refused_with_what_was_meant() {
    let map = mapping(GAP);
    for (typed, meant) in [
        ("Fe203", "Fe2O3"),
        ("Si02", "SiO2"),
        ("BaTi03", "BaTiO3"),
        ("MgAl204", "MgAl2O4"),
        ("Y3Fe5012", "Y3Fe5O12"),
        ("Al2(S04)3", "Al2(SO4)3"),
        ("Na20", "Na2O"),
    ] {
        let done = read(&map, &format!("formula,gap\n{typed},1\n"));
        let found = finding(&done);
        assert_eq!((found.code, found.severity), (Code::BadFormula, Severity::Refused), "{typed}");
        assert!(found.mend.contains(&format!("write {meant} ")), "{typed}: {}", found.mend);
    }
    // what says oxygen, counts atoms of a cell, or fills up its digits, is what it is
    for formula in
        ["Fe2O3", "Fe02O03", "C60", "Mn20", "B105", "Al0.5CoCrFeNi", "Ti90Al06V04", "Mg12Al17", "Fe100", "H203O"]
    {
        let done = read(&map, &format!("formula,gap\n{formula},1\n"));
        assert!(done.report.findings.is_empty(), "{formula}: {:?}", done.report);
    }
}

#[test]
fn shares_may_be_ranges_bounds_and_parts_per_million() {
    let map = mapping(&GAP.replace(
        "formula = \"formula\"",
        "fractions = { columns = [\"C\", \"Mn\", \"Fe\"], basis = \"weight_percent\" }",
    ));
    let plain = one(&map, "C,Mn,Fe,gap\n0.05,1,bal.,1\n");
    for cells in ["500 ppm,0.9-1.1,bal.", "0.05 %,1 wt%,98.95", "0.05,1.0 ± 0.1,Rest"] {
        assert_eq!(one(&map, &format!("C,Mn,Fe,gap\n{cells},1\n")).formula, plain.formula, "{cells}");
    }
    for cells in ["<0.1,1,bal.", "max. 0.1,1,bal.", "0.1 max,1,bal.", "≤0.1,1,bal."] {
        let done = read(&map, &format!("C,Mn,Fe,gap\n{cells},1\n"));
        assert_eq!((counts(&done), finding(&done).code), ((1, 0, 0), Code::BoundedShare), "{cells}");
        assert_eq!(done.records[0].formula, plain.formula, "{cells}");
        assert!(finding(&done).explanation.contains("C 0.05"), "{:?}", done.report);
    }
    for cells in ["1 at%,1,bal.", "1 MPa,1,bal.", "<,1,bal."] {
        let done = read(&map, &format!("C,Mn,Fe,gap\n{cells},1\n"));
        assert_eq!((counts(&done), finding(&done).code), ((0, 1, 0), Code::BadNumber), "{cells}");
    }
}

#[test]
fn one_mapping_serves_alloys_of_several_bases() {
    let map = mapping(&GAP.replace(
        "formula = \"formula\"",
        "fractions = { columns = [\"Al\", \"Fe\", \"Mg\"], basis = \"weight_percent\", balance = \"Fe\" }",
    ));
    let done = read(&map, "Al,Fe,Mg,gap\nbal.,0.3,1,1\n1,,,2\n");
    let formulas: Vec<&str> = done.records.iter().filter_map(|record| record.formula.as_deref()).collect();
    let of = |symbol| datasets::element::Element::from_symbol(symbol).unwrap();
    let parsed: Vec<datasets::formula::Formula> = formulas.iter().map(|f| f.parse().unwrap()).collect();
    assert!(parsed.iter().any(|f| f.atomic_fraction(of("Al")) > 0.97), "{formulas:?}");
    assert!(parsed.iter().any(|f| f.atomic_fraction(of("Fe")) > 0.97), "{formulas:?}");
}

#[test]
fn a_mapping_that_contradicts_a_header_is_named() {
    let text = |column: &str, unit: &str| {
        format!(
            "[material]\nformula = \"f\"\n[defaults]\nevidence = \"measured\"\n[[value]]\ncolumn = \"{column}\"\n{unit}\n"
        )
    };
    let silent = Mapping::parse(&text("rho (kg/m3)", "property = \"density\""), Some("lab"), "map.toml").unwrap_err();
    assert!(silent.to_string().contains("unit = \"kg/m3\""), "{silent}");
    let map = mapping(&text("E (GPa)", "property = \"youngs_modulus\"\nunit = \"MPa\""));
    let done = read(&map, "f,E (GPa)\nFe,210\n");
    assert_eq!((counts(&done), finding(&done).code), ((1, 0, 0), Code::SuspectUnit));
    assert!(finding(&done).explanation.contains("says GPa"), "{:?}", done.report);
    // the same unit in other words, and a factor that was thought about
    for unit in [
        "property = \"thermal_expansion\"\nunit = \"1e-6/K\"",
        "property = \"thermal_expansion\"\nunit = \"1/K\"\nfactor = 1e-6",
    ] {
        let done = read(&mapping(&text("CTE (10^-6/K)", unit)), "f,CTE (10^-6/K)\nFe,12\n");
        assert!(done.report.findings.is_empty(), "{unit}: {:?}", done.report);
    }
}

#[test]
fn deviations_keep_the_unit_of_their_column() {
    let map = mapping(
        "[material]\nformula = \"f\"\n[defaults]\nevidence = \"measured\"\n[[value]]\ncolumn = \"S\"\nproperty = \"seebeck_coefficient\"\n\
         unit = \"µV/K\"\nuncertainty = \"sd\"\n",
    );
    let record = one(&map, "f,S,sd\nSi,-0.1875 mV/K,3.1\n");
    let found = &record.measurements[0];
    assert!((found.value + 187.5).abs() < 1e-9 && (found.uncertainty.unwrap() - 3.1).abs() < 1e-9, "{found:?}");
}

#[test]
fn a_formula_without_its_result_is_no_empty_cell() {
    use std::io::{Read as _, Write as _};
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_row(0, 0, ["formula", "gap", "note"]).unwrap();
    for (row, formula) in [(1, "Si"), (2, "Ge"), (3, "GaAs")] {
        sheet.write(row, 0, formula).unwrap();
    }
    sheet.write(1, 1, 1.1).unwrap();
    sheet.write_formula(2, 1, rust_xlsxwriter::Formula::new("=B2*0.6").set_result("12345")).unwrap();
    sheet.write_formula(3, 1, rust_xlsxwriter::Formula::new("=B2*1.3").set_result("1.43")).unwrap();
    let bytes = book.save_to_buffer().unwrap();
    // as a program writes it that does not calculate
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for part in 0..archive.len() {
        let mut part = archive.by_index(part).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut text = Vec::new();
        part.read_to_end(&mut text).unwrap();
        if name.ends_with("sheet1.xml") {
            text = String::from_utf8(text).unwrap().replace("<v>12345</v>", "<v></v>").into_bytes();
        }
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&text).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    let done = try_read(&mapping(GAP), &[("a.xlsx", &bytes)]).unwrap();
    assert_eq!((counts(&done), codes(&done)), ((2, 1, 0), vec![Code::UnreadableRow]));
    let found = finding(&done);
    assert!(
        found.row == 3 && found.explanation.contains("cell B3") && found.explanation.contains("B2*0.6"),
        "{found:?}"
    );
}

#[test]
fn temperatures_that_are_ranges_keep_their_text() {
    let map = mapping(&GAP.replace(
        "property = \"band_gap\"",
        "property = \"band_gap\"\ntemperature = { column = \"T\", unit = \"°C\" }",
    ));
    for (text, kelvin) in [("20-30", 298.15), ("300 ± 2 K", 300.0), ("~600", 873.15)] {
        let found = &one(&map, &format!("formula,gap,T\nSi,1,{text}\n")).measurements[0];
        assert!((found.temperature_k.unwrap() - kelvin).abs() < 1e-9, "{text}: {found:?}");
        assert_eq!(found.conditions.get("temperature_given").map(String::as_str), Some(text));
    }
    assert!(one(&map, "formula,gap,T\nSi,1,25\n").measurements[0].conditions.is_empty());
    let done = read(&map, "formula,gap,T\nSi,1 450,25\n");
    assert!(finding(&done).mend.contains("thousands = \" \""), "{:?}", done.report);
}

#[test]
fn amounts_of_zeros_and_doubled_points_are_no_formulas() {
    let map = mapping(GAP);
    for typed in
        ["GaAs0", "Fe2O0", "Pb0.9Sn0.1Te00", "ZrNiSn0.99Sb001", "ZrNiSn0.99Sb0.O1", "Mg2Si0..98Sb0.02", "Si..5Ge"]
    {
        let done = read(&map, &format!("formula,gap\n{typed},1\n"));
        assert_eq!((counts(&done), codes(&done)), ((0, 1, 0), vec![Code::BadFormula]), "{typed}");
    }
    for formula in ["Al0CoCrFeNi", "Bi2Te2.7Se.3", "La0Sr1MnO3", "CaSO4.0.5H2O", "FeO.OH"] {
        let done = read(&map, &format!("formula,gap\n{formula},1\n"));
        assert!(done.report.findings.is_empty(), "{formula}: {:?}", done.report);
    }
}

#[test]
fn headers_of_conditions_deviations_and_other_quantities_are_held_against_the_mapping() {
    let value = |column: &str, rest: &str| {
        format!(
            "[material]\nformula = \"f\"\n[defaults]\nevidence = \"measured\"\n[[value]]\ncolumn = \"{column}\"\n{rest}\n"
        )
    };
    let flagged = |map: &str, text: &str| {
        let done = read(&mapping(map), text);
        assert!(codes(&done).iter().all(|code| *code == Code::SuspectUnit), "{map}: {:?}", done.report);
        done.report.findings.iter().map(|f| (f.column.clone().unwrap(), f.explanation.clone())).collect::<Vec<_>>()
    };
    for (column, rest) in [
        ("E (GPa)", "property = \"melting_temperature\"\nunit = \"K\""),
        ("sigma (S/cm)", "property = \"electrical_resistivity\"\nunit = \"ohm m\""),
        ("rd (%)", "property = \"hardness_vickers\""),
        ("sigma x10^-3 (S/cm)", "property = \"electrical_conductivity\"\nunit = \"S/cm\""),
    ] {
        let found = flagged(&value(column, rest), &format!("f,{column}\nFe,900\n"));
        assert!(found.len() == 1 && found[0].0 == column, "{column}: {found:?}");
    }
    let rest = "property = \"seebeck_coefficient\"\nunit = \"µV/K\"\nuncertainty = \"err (nV/K)\"\n\
        temperature = { column = \"T (°C)\", unit = \"K\" }\npressure = { column = \"P (GPa)\", unit = \"bar\" }";
    let found = flagged(&value("S (µV/K)", rest), "f,S (µV/K),err (nV/K),T (°C),P (GPa)\nSi,300,5,27,1\n");
    let columns: Vec<&str> = found.iter().map(|(column, _)| column.as_str()).collect();
    assert_eq!(columns, ["err (nV/K)", "T (°C)", "P (GPa)"], "{found:?}");
    // what agrees, is no unit, or was thought about
    for (column, rest) in [
        ("YS (L)", "property = \"yield_strength\"\nunit = \"MPa\""),
        ("rel. density / %", "property = \"relative_density\"\nunit = \"%\""),
        ("rel. density / %", "property = \"relative_density\""),
        ("HV (HV10)", "property = \"hardness_vickers\""),
        ("kappa (10^-3 W/mK)", "property = \"thermal_conductivity\"\nunit = \"mW/(m K)\""),
    ] {
        assert!(flagged(&value(column, rest), &format!("f,{column}\nFe,90\n")).is_empty(), "{column}");
    }
    let rest = "property = \"yield_strength\"\nunit = \"MPa\"\nuncertainty = \"YS (std)\"\ntemperature = { column = \"T / °C\", unit = \"°C\" }";
    assert!(flagged(&value("YS", rest), "f,YS,YS (std),T / °C\nFe,300,5,27\n").is_empty());
}

#[test]
fn atoms_on_each_other_are_flagged() {
    let map = mapping("[material]\nstructure = \"s\"\n[defaults]\nevidence = \"computed\"\n");
    let poscar =
        |second: &str| format!("GaAs\\n5.65\\n1 0 0\\n0 1 0\\n0 0 1\\nGa As\\n1 1\\nDirect\\n0 0 0\\n{second}\\n");
    for (second, is_flagged) in [("0 0 0", true), ("0.99 0 0", true), ("0.25 0.25 0.25", false)] {
        let done = read(&map, &format!("s\n\"{}\"\n", poscar(second)));
        let near: Vec<Code> = codes(&done);
        assert_eq!(near == [Code::BadStructure], is_flagged, "{second}: {:?}", done.report);
        assert_eq!(counts(&done), (1, 0, 0), "{:?}", done.report);
    }
}

#[test]
fn columns_in_ppm_and_of_two_elements_are_shares_too() {
    let plain = one(
        &mapping(&GAP.replace(
            "formula = \"formula\"",
            "fractions = { columns = [\"Nb\", \"N\", \"Ni\"], basis = \"weight_percent\" }",
        )),
        "Nb,N,Ni,gap\n5,0.17,bal.,1\n",
    );
    let map = mapping(&GAP.replace(
        "formula = \"formula\"",
        "fractions = { columns = [\"N [ppm]\", \"Ni\"], elements = { \"Nb+Ta [%]\" = \"Nb\" }, basis = \"weight_percent\" }",
    ));
    let record = one(&map, "N [ppm],Ni,Nb+Ta [%],gap\n1700,bal.,5,1\n");
    assert_eq!(record.formula, plain.formula);
    let bad = GAP.replace(
        "formula = \"formula\"",
        "fractions = { columns = [\"Nb+Ta [%]\", \"Ni\"], basis = \"weight_percent\" }",
    );
    let error = try_read(&mapping(&bad), &[("d.csv", b"Nb+Ta [%],Ni,gap\n5,95,1\n")]).unwrap_err();
    assert!(error.to_string().contains("elements = {"), "{error}");
}

#[test]
fn formulas_in_capitals_are_flagged_where_pairs_of_letters_are_symbols() {
    let map = mapping(GAP);
    for (formula, is_flagged) in [
        ("SIC", true),
        ("NIO", true),
        ("SIO2", true),
        ("CUO", true),
        ("NB2O5", true),
        ("CO3O4", true),
        ("HFC", true),
        ("CO2", false),
        ("HF", false),
        ("KNO3", false),
        ("H2O", false),
        ("BN", false),
        ("UO2", false),
        ("CS2", false),
        ("YB2", false),
        ("NH4H2PO4", false),
        ("SiC", false),
        ("K2CO3", false),
    ] {
        let done = read(&map, &format!("formula,gap\n{formula},1\n"));
        assert_eq!(counts(&done), (1, 0, 0), "{formula}");
        assert_eq!(codes(&done) == [Code::BadFormula], is_flagged, "{formula}: {:?}", done.report);
    }
}

#[test]
fn marks_of_thousands_stand_behind_no_zero() {
    let map = mapping(&format!("read = {{ separator = \";\", decimal = \",\", thousands = \".\" }}\n{GAP}"));
    assert_eq!(read(&map, "formula;gap\nSi;1.234,5\n").records[0].measurements[0].value, 1234.5);
    for cell in ["0.245", "<0.030", "-0.785"] {
        let done = read(&map, &format!("formula;gap\nSi;{cell}\n"));
        assert_eq!((counts(&done), codes(&done)), ((0, 1, 0), vec![Code::BadNumber]), "{cell}");
    }
    let map = mapping(&format!("read = {{ separator = \";\", decimal = \",\" }}\n{GAP}"));
    for (cell, mend) in [("0.245", "with a comma"), ("4.0", "with a comma"), ("1.234", "thousands"), ("25O", "write 0")]
    {
        let done = read(&map, &format!("formula;gap\nSi;{cell}\n"));
        assert!(finding(&done).mend.contains(mend), "{cell}: {:?}", done.report);
    }
    assert_eq!(one(&map, "formula;gap\nSi;1 bis 3\n").measurements[0].value, 2.0);
}
