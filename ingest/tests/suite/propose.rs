//! Proposed mappings: what the headers of real files mean, and what cannot be known from them.

use std::path::{Path, PathBuf};

use datasets::record::Evidence;
use ingest::header;
use ingest::mapping::{Mapping, Uncertainty};
use ingest::propose::{Proposal, Role, Sample, propose};
use ingest::read::{BytesRead, ReadOptions};
use proptest::prelude::*;

fn sample(name: &str, text: &str) -> Sample {
    let mut lines = text.lines().map(|line| line.split(';').map(str::to_owned).collect::<Vec<String>>());
    Sample { name: name.to_owned(), headers: lines.next().unwrap(), rows: lines.collect(), ..Sample::default() }
}

fn proposed(name: &str, text: &str) -> Proposal {
    propose(&[sample(name, text)], &ReadOptions::default(), Some(Evidence::Measured))
}

fn value_of(proposal: &Proposal, column: &str) -> Option<(String, Option<String>)> {
    proposal.file.value.iter().find(|v| v.column == column).map(|v| (v.property.clone(), v.unit.clone()))
}

#[test]
fn headers_in_every_habit_say_property_and_unit() {
    for (text, property, unit) in [
        ("PROPERTY: Exp. Density (g/cm$^3$)", "density", Some("g/cm$^3$")),
        ("Yield strength [MPa]", "yield_strength", Some("MPa")),
        ("E_GPa", "youngs_modulus", Some("GPa")),
        ("Cₚ", "heat_capacity", None),
        ("PROPERTY: YS (MPa)", "yield_strength", Some("MPa")),
        ("bulk_modulus_vrh_GPa", "bulk_modulus", Some("GPa")),
        ("mechanical.density_value", "density", None),
        ("Electrical Resistivity (Ohm m) / rho", "electrical_resistivity", Some("Ohm m")),
        ("formation_energy_eV_per_atom", "formation_energy", Some("eV/atom")),
        ("IC (Total)", "ionic_conductivity", None),
        ("Ionic conductivity (S cm-1)", "ionic_conductivity", Some("S cm-1")),
        ("Mass price (USD/kg)", "price", Some("USD/kg")),
    ] {
        let found = header::read(text);
        assert_eq!((found.property.map(|p| p.key.as_str()), found.unit.as_deref()), (Some(property), unit), "{text}");
    }
    let hinted = header::read("mbj_bandgap");
    assert_eq!((hinted.evidence, hinted.method), (Some(Evidence::Computed), Some("DFT-mBJ")));
    assert_eq!(header::read("PROPERTY: Exp. Young modulus (GPa)").evidence, Some(Evidence::Measured));
    assert_eq!(header::read("thermal_conductivity_300K_W_per_mK").temperature_k, Some(300.0));
    assert_eq!(header::read("furnace").property, None);
    let of = |header: &str| header::uncertainty_of(header).map(|deviation| deviation.of);
    assert_eq!(of("density_std").as_deref(), Some("density"));
    assert_eq!(of("Uncertainty of density").as_deref(), Some("density"));
    assert_eq!(header::uncertainty_of("standard"), None);
}

#[test]
fn a_table_becomes_a_mapping_that_reads_it() {
    let proposal = proposed(
        "lab.csv",
        "probe id;composition;YS (MPa);YS (MPa)_sd;T_C;HV10;furnace;doi;strange\n\
         A-1;Ni3Al;612;8;25;310;vacuum;10.1/x;7\nA-2;Ni3Al;498;9;25;300;vacuum;10.1/y;8\n",
    );
    let file = &proposal.file;
    assert_eq!(file.material.formula.as_deref(), Some("composition"));
    assert_eq!(value_of(&proposal, "YS (MPa)"), Some(("yield_strength".into(), Some("MPa".into()))));
    assert_eq!(file.value[0].uncertainty, Some(Uncertainty::Column("YS (MPa)_sd".into())));
    assert_eq!(file.value[0].temperature.as_ref().unwrap().column.as_deref(), Some("T_C"));
    assert!(file.attributes.contains_key("furnace"));
    let unplaced: Vec<&str> = proposal.unplaced().map(|c| c.column.as_str()).collect();
    assert_eq!(unplaced, ["strange"], "{:?}", proposal.columns);
    assert!(proposal.unplaced().all(|c| c.why.contains("[[property]]")));
    // numbers are not dropped without a word
    let [astray] = proposal.to_state.as_slice() else { panic!("{:?}", proposal.to_state) };
    assert!(astray.contains("`strange`") && astray.contains("--write-mapping"), "{astray}");
    // what is written is read back as the same mapping, and can be used
    let text = file.to_toml().unwrap();
    let back = Mapping::parse(&text, Some("lab"), "proposed").unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(back.file, *file, "{text}");
}

#[test]
fn what_cannot_be_known_must_be_stated() {
    let silent = propose(&[sample("a.csv", "formula;band gap (eV)\nSi;1.1\n")], &ReadOptions::default(), None);
    assert!(silent.to_state.iter().any(|s| s.contains("--evidence measured")), "{:?}", silent.to_state);
    let computed = propose(&[sample("a.csv", "formula;mbj_bandgap\nSi;1.1\n")], &ReadOptions::default(), None);
    assert!(computed.to_state.is_empty(), "the header says it: {:?}", computed.to_state);
    let alloys = proposed("a.csv", "name;Fe;Ni;HV\nx;0.5;0.5;100\ny;0.4;0.6;110\n");
    assert!(alloys.to_state.iter().any(|s| s.contains("of mass or of atoms")), "{:?}", alloys.to_state);
    assert!(Mapping::from_file(alloys.file, Some("lab"), "m").is_err());
    let nothing = proposed("a.csv", "x;y z\n1;2\n");
    assert_eq!(nothing.to_state.len(), 3, "{:?}", nothing.to_state);
}

#[test]
fn deviations_are_never_taken_for_values() {
    for header in [
        "Seebeck / σ (µV/K)",
        "Seebeck ± (µV/K)",
        "Seebeck / sigma",
        "Seebeck / µV/K (std)",
        "u(Seebeck)",
        "Δ Seebeck",
        "Seebeck_SD [µV/K]",
        "Fehler Seebeck",
        "Seebeck error (µV/K)",
    ] {
        let rows = "Si;120;3.5\nGe;-80;2.5\n";
        let beside = proposed("a.csv", &format!("formula;Seebeck (µV/K);{header}\n{rows}"));
        let [value] = beside.file.value.as_slice() else { panic!("{header}: {:?}", beside.columns) };
        assert_eq!(value.uncertainty, Some(Uncertainty::Column(header.into())), "{header}: {:?}", beside.columns);
        // without its values it is to be stated
        let alone = proposed("a.csv", &format!("formula;HV;{header}\n{rows}"));
        assert!(alone.file.value.iter().all(|v| v.column == "HV"), "{header}: {:?}", alone.columns);
        let said = alone.to_state.iter().any(|line| line.contains(header) && line.contains("uncertainty"));
        assert!(said || header.starts_with('Δ'), "{header}: {:?}", alone.to_state);
    }
    // `s` may be seconds
    let seconds = proposed("a.csv", "formula;Seebeck (µV/K);Seebeck / s\nSi;120;3.5\nGe;-80;2.5\n");
    assert_eq!(role_of(&seconds, "Seebeck / s"), Role::Unplaced, "{:?}", seconds.columns);
    assert!(seconds.to_state.iter().any(|line| line.contains("Seebeck / s")), "{:?}", seconds.to_state);
    // another unit cannot be the deviation as it is
    let percent = proposed("a.csv", "formula;Seebeck (µV/K);Seebeck error (%)\nSi;120;3\nGe;-80;2\n");
    assert!(percent.file.value[0].uncertainty.is_none() && !percent.to_state.is_empty(), "{:?}", percent.columns);
    // a symbol of the property is none
    let symbol = proposed("a.csv", "formula;Electrical conductivity / σ (S/m)\nSi;120\nGe;80\n");
    assert_eq!(role_of(&symbol, "Electrical conductivity / σ (S/m)"), Role::Value, "{:?}", symbol.columns);
    let counts = proposed("a.csv", "formula;Seebeck (µV/K);Seebeck / n\nSi;120;3\nGe;-80;5\n");
    assert_eq!(role_of(&counts, "Seebeck / n"), Role::Unplaced, "{:?}", counts.columns);
    assert!(counts.to_state.iter().any(|line| line.contains("check it")), "{:?}", counts.to_state);
}

#[test]
fn units_behind_a_stroke_shares_in_percent_and_columns_to_ignore() {
    for (header, unit) in [("T / °C", "°C"), ("Temperature / K", "K")] {
        let proposal = proposed(
            "a.csv",
            &format!("formula;YS (MPa);{header}\nFe;200;25\nNi;150;RT\nCu;90;600\nAg;70;25\nAu;60;25\n"),
        );
        let given = proposal.file.value[0].temperature.clone().unwrap_or_else(|| panic!("{:?}", proposal.columns));
        assert_eq!((given.unit.as_str(), proposal.to_state.len()), (unit, 0), "{header}: {:?}", proposal.to_state);
    }
    let pressed = proposed("a.csv", "formula;YS (MPa);P / MPa\nFe;200;25\nNi;150;30\n");
    assert_eq!(pressed.file.value[0].pressure.as_ref().map(|p| p.unit.as_str()), Some("MPa"));
    let phosphorus = proposed("a.csv", "formula;YS (MPa);P [ppm]\nFe;200;25\nNi;150;30\n");
    assert_eq!((role_of(&phosphorus, "P [ppm]"), phosphorus.to_state.len()), (Role::Unplaced, 1));
    let percent = proposed("a.csv", "formula;Elongation (%)\nFe;0.23\nNi;0.5\n");
    assert!(percent.to_check.iter().any(|line| line.contains("factor = 100")), "{:?}", percent.to_check);
    let read = ReadOptions { ignore: vec!["strange*".into()], ..ReadOptions::default() };
    let proposal = propose(&[sample("a.csv", "formula;HV;strange one\nFe;200;1\n")], &read, Some(Evidence::Measured));
    assert!(proposal.to_state.is_empty(), "{:?}", proposal.to_state);
}

#[test]
fn brackets_that_do_not_fit_are_asked_about_and_temperatures_in_them_kept() {
    let rows = "Fe;120;1\nNi;80;2\n";
    for header in ["Yield strength (kN)", "Hardness (HRB)", "Hardness (Shore D)", "Density (mol/l)"] {
        let open = proposed("a.csv", &format!("formula;{header};HV\n{rows}"));
        assert_eq!(role_of(&open, header), Role::Unplaced, "{header}: {:?}", open.columns);
        let said = open.to_state.iter().any(|line| line.contains(header) && line.contains("brackets"));
        assert!(said, "{header}: {:?}", open.to_state);
    }
    for (header, unit, kelvin) in [
        ("Yield strength (20 °C)", None, 293.15),
        ("Yield strength (MPa, 650 °C)", Some("MPa"), 923.15),
        ("Yield strength [MPa] at 300 K", Some("MPa"), 300.0),
        ("Yield strength (MPa) @ RT", Some("MPa"), 298.15),
        ("Yield strength, 20 C", None, 293.15),
        ("Yield strength at -40 °C [MPa]", Some("MPa"), 233.15),
        ("Yield strength (300 °C) [MPa]", Some("MPa"), 573.15),
    ] {
        let said = header::read(header);
        assert_eq!(said.property.map(|p| p.key.as_str()), Some("yield_strength"), "{header}");
        assert_eq!(said.unit.as_deref(), unit, "{header}");
        assert!(said.temperature_k.is_some_and(|k| (k - kelvin).abs() < 1e-9), "{header}: {said:?}");
    }
    assert_eq!(header::read("Melting point (K)").temperature_k, None);
    let lines = header::read("Electrical conductivity / σ (S/m)");
    assert_eq!(lines.unit.as_deref(), Some("S/m"), "the second line states the unit");
}

#[test]
fn german_headers_directions_and_rows_that_are_there_twice() {
    let text = "Probe;Zusammensetzung;Prüfrichtung;Z (%);Charpy KV (J);YS (MPa)\nA;Ni3Al;L;40;20;600\nA;Ni3Al;L;40;20;600\nB;Ni3Al;T;35;18;590\n";
    let proposal = proposed("a.csv", text);
    for (header, role) in [
        ("Probe", Role::Id),
        ("Zusammensetzung", Role::Formula),
        ("Prüfrichtung", Role::Condition),
        ("Z (%)", Role::Value),
        ("Charpy KV (J)", Role::Value),
    ] {
        assert_eq!(role_of(&proposal, header), role, "{header}: {:?}", proposal.columns);
    }
    assert!(proposal.file.value.iter().all(|v| v.conditions.contains_key("direction")), "{:?}", proposal.file.value);
    assert_eq!(value_of(&proposal, "Z (%)"), Some(("reduction_of_area".into(), Some("%".into()))));
    // one id of two different rows is none
    let other = proposed("a.csv", &text.replacen("A;Ni3Al;L;40", "A;Ni3Al;L;41", 1));
    assert!(other.file.record.id.is_empty(), "{:?}", other.file.record);
    let comma = proposed("a.csv", "formula;CTE (1/K)\nFe;1,2E-5\nNi;1,3E-5\nCu;1,7E-5\n");
    assert!(comma.to_state.iter().any(|line| line.contains("decimal = ")), "{:?}", comma.to_state);
}

#[test]
fn moduli_are_no_shares_and_rows_of_units_are_seen_beside_numbers() {
    let nested = proposed("a.json", "formula;elastic.K;elastic.C;band_gap\nSi;98;166;0.6\nGe;75;129;0.3\n");
    assert_eq!(nested.file.material.formula.as_deref(), Some("formula"), "{:?}", nested.columns);
    assert!(nested.file.material.fractions.is_none());
    assert!(nested.to_state.iter().any(|line| line.contains("elastic.K")), "{:?}", nested.to_state);
    let shares = proposed("a.json", "name;el.Fe;el.Ni;HV\na;0.5;0.5;100\nb;0.4;0.6;110\n");
    assert!(shares.file.material.fractions.is_some(), "{:?}", shares.columns);
    for units in [";K;S/cm;W m-1 K-1;1", ";K;S/cm;W/(m K);10^19 cm-3", ";K;S/cm;;"] {
        let text = format!("formula;T;sigma;kappa;n\n{units}\nSi;300;1101;1.2;0.8\nGe;400;1001;1.1;0.9\n");
        let found = proposed("a.csv", &text);
        assert!(found.to_state.iter().any(|line| line.contains("header_rows = 2")), "{units}: {:?}", found.to_state);
    }
    for row in ["Si;300;1101;1.2;0.8", ";300;1101;1.2;1"] {
        let found =
            proposed("a.csv", &format!("formula;T;sigma;kappa;n\n{row}\nSi;300;1101;1.2;0.8\nGe;400;1001;1.1;0.9\n"));
        assert!(!found.to_state.iter().any(|line| line.contains("header_rows = 2")), "{row}: {:?}", found.to_state);
    }
}

#[test]
fn no_share_of_an_element_is_dropped_and_no_temperature_given_to_all() {
    // cells with a point where a comma is stated
    let start = ReadOptions { decimal: ',', ..ReadOptions::default() };
    let table = sample("a.csv", "name;Al wt%;V wt%;Ti wt%;HV\nx;6,1;4.0;bal.;340\ny;6,0;4.1;bal.;345\n");
    let found = propose(&[table], &start, Some(Evidence::Measured));
    assert!(
        found.to_state.iter().any(|line| line.contains("`V wt%`") && line.contains("decimal")),
        "{:?}",
        found.to_state
    );
    let ppm = proposed("a.csv", "name;Cr wt%;N [ppm];Fe wt%;HV\nx;22;1700;bal.;260\ny;25;2700;bal.;270\n");
    let fractions = ppm.file.material.fractions.clone().unwrap();
    assert!(fractions.columns.contains(&"N [ppm]".to_owned()), "{fractions:?}");
    assert!(ppm.file.value.iter().any(|v| v.property == "nitrogen_content"), "{:?}", ppm.columns);

    let of_one =
        proposed("a.csv", "formula;k [W/mK];T of k [°C];HV;Tm (K)\nHfC;20;600;2700;4173\nSiC;60;600;2600;3000\n");
    assert!(of_one.file.value.iter().all(|v| v.temperature.is_none()), "{:?}", of_one.file.value);
    assert!(of_one.to_state.iter().any(|line| line.contains("T of k")), "{:?}", of_one.to_state);
    let test = proposed("a.csv", "formula;HV;Melting point (K);T of test [°C]\nHfC;2700;4173;600\nSiC;2600;3000;600\n");
    let temperatures: Vec<bool> = test.file.value.iter().map(|v| v.temperature.is_some()).collect();
    assert_eq!(temperatures, [true, false], "{:?}", test.file.value);
    let most = proposed("a.csv", "name;HRC\na;34\nb;36\nc;62\nd;720\n");
    assert!(most.to_state.is_empty() && most.to_check.iter().any(|line| line.contains("25 %")), "{:?}", most.to_check);
}

#[test]
fn shares_with_their_unit_and_a_rest_become_a_composition() {
    use ingest::mapping::BasisName;
    let proposal = proposed("a.csv", "name;C [wt%];Mn wt.%;Fe (wt%);HV\nx;0.2;1.5;Rest;100\ny;0.4;1.2;bal.;110\n");
    let fractions = proposal.file.material.fractions.clone().unwrap_or_else(|| panic!("{:?}", proposal.columns));
    assert_eq!((fractions.basis, fractions.balance.as_deref()), (Some(BasisName::WeightPercent), Some("Fe")));
    assert!(proposal.to_state.is_empty(), "{:?}", proposal.to_state);
    let map = Mapping::from_file(proposal.file, Some("lab"), "m").unwrap();
    let done = crate::job::read(&map, "name,C [wt%],Mn wt.%,Fe (wt%),HV\nx,0,50,Rest,100\ny,0,50,50,110\n");
    assert!(done.records.iter().all(|r| r.formula.as_deref().is_some_and(|f| f.starts_with("Fe"))), "{done:?}");
    // a row says its rest itself, whatever the mapping says
    let map = crate::job::mapping(&format!(
        "material.fractions = {{ columns = [\"C\", \"Fe\"], basis = \"weight_percent\" }}\n{}",
        crate::job::GAP.replace("[material]\nformula = \"formula\"\n", "")
    ));
    let done = crate::job::read(&map, "C,Fe,gap\n1,Rest,1\nbal.,Rest,2\nbal.,2,3\n");
    assert_eq!(crate::job::counts(&done), (2, 1, 0), "{:?}", done.report);
    assert!(crate::job::finding(&done).explanation.contains("C and Fe make up the rest"), "{:?}", done.report);
    let open = proposed("a.csv", "name;C [wt%];Mn [wt%];HV\nx;0.2;1.5;100\ny;0.4;1.2;110\n");
    assert!(open.to_state.iter().any(|line| line.contains("balance = ")), "{:?}", open.to_state);
}

#[test]
fn decimal_commas_beside_typed_numbers_are_named() {
    let table = Sample {
        format: Some(ingest::read::Format::Excel),
        ..sample("a.xlsx", "formula;Density [g/cm3]\nFe;7,87\nNi;8.9\nCu;8.96\n")
    };
    let proposal = propose(&[table], &ReadOptions::default(), Some(Evidence::Measured));
    assert!(proposal.to_state.iter().any(|s| s.contains("decimal = \",\"")), "{:?}", proposal.to_state);
}

/// The role of a column, in words.
fn role_of(proposal: &Proposal, column: &str) -> Role {
    proposal.columns.iter().find(|c| c.column == column).unwrap_or_else(|| panic!("{column}")).role
}

#[test]
fn temperatures_are_known_by_their_words_and_their_unit() {
    for header in [
        "Test T (C)",
        "T test [°C]",
        "Test temp (°C)",
        "Temp. (C)",
        "T_C",
        "T (K)",
        "temperature [K]",
        "Test temperature / T (K)",
    ] {
        let proposal = proposed("a.csv", &format!("formula;YS (MPa);{header}\nFe;200;25\nNi;150;600\n"));
        assert_eq!(role_of(&proposal, header), Role::Condition, "{header}: {:?}", proposal.columns);
        assert!(proposal.file.value[0].temperature.is_some() && proposal.to_state.is_empty(), "{header}");
    }
    for header in ["Annealing T (C)", "Tc", "Type", "Tm (K)"] {
        let proposal = proposed("a.csv", &format!("formula;YS (MPa);{header}\nFe;200;25\nNi;150;600\n"));
        assert_ne!(role_of(&proposal, header), Role::Condition, "{header}");
    }
    let silent = proposed("a.csv", "formula;YS (MPa);Test T\nFe;200;25\nNi;150;600\n");
    assert!(
        silent.to_state.iter().any(|s| s.contains("`Test T`") && s.contains("states no unit")),
        "{:?}",
        silent.to_state
    );
}

#[test]
fn compositions_state_their_basis_in_the_header() {
    use ingest::mapping::BasisName;
    for (header, cell, basis) in [
        ("Composition (at%)", "CoCrFeNi", None),
        ("Composition [at.%]", "70Fe-30Ni", Some(BasisName::AtomicPercent)),
        ("Composition (wt%)", "Ni60Cr20Al20", Some(BasisName::WeightPercent)),
        ("Alloy (wt. %)", "Ti-6Al-4V", Some(BasisName::WeightPercent)),
    ] {
        let proposal = proposed("a.csv", &format!("{header};HV\n{cell};310\n"));
        assert_eq!(proposal.file.material.formula.as_deref(), Some(header), "{:?}", proposal.columns);
        assert_eq!(proposal.file.material.basis, basis, "{header}");
    }
    let proposal = proposed("a.csv", "Composition;HV\nNi-20Cr;310\nNi-30Cr;320\n");
    let [missing] = proposal.to_state.as_slice() else { panic!("{:?}", proposal.to_state) };
    assert!(missing.contains("no column names the material") && missing.contains("Ni-20Cr"), "{missing}");
    assert!(missing.contains("basis"), "{missing}");
}

#[test]
fn ids_are_names_of_samples_and_not_numbers_of_rows() {
    for (header, cells, is_id) in [
        ("Sample", ["A-1", "A-2", "B-7"], true),
        ("Specimen ID", ["x", "y", "z"], true),
        ("Probe", ["P7", "P8", "P9"], true),
        ("No.", ["1", "2", "3"], false),
        ("Sample", ["1", "2", "3"], false),
        ("Sample", ["A", "A", "B"], false),
        ("No.", ["1041", "1077", "1043"], true),
    ] {
        let [a, b, c] = cells;
        let proposal = proposed("a.csv", &format!("{header};formula;HV\n{a};Fe;100\n{b};Ni;90\n{c};Cu;50\n"));
        assert_eq!(proposal.file.record.id == [header], is_id, "{header} {cells:?}: {:?}", proposal.columns);
        let said = proposal.to_check.iter().any(|line| line.contains("[record] id"));
        assert_eq!(said, !is_id, "{header}: {:?}", proposal.to_check);
        assert!(proposal.to_state.is_empty(), "{header} {cells:?}: {:?}", proposal.to_state);
    }
}

#[test]
fn what_stands_in_the_way_of_numbers_is_named() {
    let units = proposed("a.csv", "formula;Yield strength;Density\n;MPa;g/cm3\nFe;200;7.87\nNi;150;8.9\n");
    assert!(units.to_state.iter().any(|s| s.contains("header_rows = 2")), "{:?}", units.to_state);
    let commas = proposed("a.csv", "formula;Density [g/cm3]\nFe;7,87\nNi;8,9\n");
    assert!(commas.to_state.iter().any(|s| s.contains("decimal = \",\"")), "{:?}", commas.to_state);
    let words = proposed("a.csv", "formula;Density [g/cm3];note\nFe;7.87;good\nNi;n/a;n/a\nCu;-;\n");
    assert_eq!(words.file.read.null, ["", "n/a", "-"]);
    assert_eq!(words.to_state, Vec::<String>::new());
    let nitride = proposed("a.csv", "formula;gap (eV)\nNaN;1.5\nSi;NaN\nGe;0.7\nGaAs;1.4\nInP;1.3\nAlAs;2.1\n");
    assert_eq!(nitride.file.read.null, [""], "NaN is sodium nitride");
    let mixed = proposed("a.csv", "formula;gap (eV);x\nSi;1.1;4\nGe;0.7;5\nGaAs;1.4;broken\n");
    assert!(mixed.to_state.iter().any(|s| s.contains("`x`") && s.contains("null")), "{:?}", mixed.to_state);
}

#[test]
fn objects_of_python_are_no_class_and_structures_say_their_composition() {
    let structure = "{\"@class\": \"Structure\", \"lattice\": {}, \"sites\": []}".repeat(3);
    let text = format!(
        "@module;@class;structure;composition.Fe;composition.Ni;my number\npymatgen;ComputedStructureEntry;{structure};1;2;-3\n"
    );
    let entry = Sample { format: Some(ingest::read::Format::Json), ..sample("a.json", &text) };
    let proposal = propose(&[entry], &ReadOptions::default(), Some(Evidence::Computed));
    assert_eq!(proposal.file.material.class, None, "{:?}", proposal.columns);
    assert!(proposal.file.material.structure.is_some() && proposal.file.material.fractions.is_none());
    let [astray] = proposal.to_state.as_slice() else { panic!("{:?}", proposal.to_state) };
    assert!(astray.contains("`my number`") && !astray.contains("composition"), "{astray}");
}

#[test]
fn the_name_of_the_file_says_what_a_column_called_target_is() {
    for (name, property, unit) in [
        ("band_gap_eV.csv", "band_gap", "eV"),
        ("volume_A3_per_atom.csv", "volume_per_atom", ""),
        ("shear_modulus_vrh_GPa.csv", "shear_modulus", "GPa"),
        ("debye_temperature_K.csv", "debye_temperature", "K"),
        ("thermal_conductivity_300K_W_per_mK.csv", "thermal_conductivity", "W/mK"),
        ("magnetic_moment_muB.csv", "magnetic_moment", ""),
    ] {
        let proposal = proposed(name, "formula;target\nSi;15\nGaAs;14\n");
        let (found, given) = value_of(&proposal, "target").unwrap_or_else(|| panic!("{name}: {:?}", proposal.columns));
        assert_eq!(found, property, "{name}");
        assert!(unit.is_empty() || given.as_deref() == Some(unit), "{name}: {given:?}");
    }
    // several of them are one job, joined by formula
    let tables = [
        sample("band_gap_eV.csv", "formula;target\nSi;1\n"),
        sample("bulk_modulus_GPa.csv", "formula;target\nSi;98\n"),
    ];
    let proposal = propose(&tables, &ReadOptions::default(), Some(Evidence::Computed));
    assert!(proposal.file.record.join && proposal.file.value.iter().all(|v| v.file.is_some()));
    assert!(Mapping::from_file(proposal.file, Some("lab"), "m").is_ok());
}

#[test]
fn several_tables_that_name_their_materials_by_different_columns_need_a_word() {
    let both = |first: &str, second: &str| {
        propose(&[sample("a.csv", first), sample("b.csv", second)], &ReadOptions::default(), Some(Evidence::Measured))
    };
    let rows = "Fe2O3;5.2\nNiO;6.7\n";
    let with = |header: &str| format!("{header};density (g/cm3)\n{rows}");
    assert_eq!(both(&with("formula"), &with("formula")).to_state, Vec::<String>::new());
    let differ = both(&with("formula"), &with("composition"));
    let [why] = &differ.to_state[..] else { panic!("{:?}", differ.to_state) };
    assert!(why.starts_with("the formula stands in `formula` of a.csv, and in `composition` of b.csv"), "{why}");
    assert!(differ.into_mapping(Some("lab")).is_err_and(|why| why.contains("one by one")));
}

#[test]
fn a_header_that_says_calculated_is_computed_with_a_word_of_doubt() {
    let proposal = proposed("lab.csv", "formula;Calculated density (g/cm3);Exp. hardness HV\nFe;7.8;150\nNi;8.9;160\n");
    let why = |at: usize| proposal.columns[at].why.as_str();
    assert_eq!(proposal.file.value[0].evidence, Some(Evidence::Computed));
    assert!(why(1).contains("evidence = \"derived\"") && !why(2).contains("derived"), "{} {}", why(1), why(2));
}

#[test]
fn a_unit_that_is_not_stated_is_supposed_from_the_bounds_and_said() {
    let proposal = proposed("a.csv", "smiles;bulk_modulus\n*CC*;2689138059\n*C(C)*;2969571310\n");
    assert_eq!(value_of(&proposal, "bulk_modulus"), Some(("bulk_modulus".into(), Some("Pa".into()))));
    let column = proposal.columns.iter().find(|c| c.role == Role::Value).unwrap();
    assert!(column.why.contains("check it"), "{column:?}");
}

/// Path below the shared data, columns with their properties (or `formula`, `name` ... as role words).
const REAL: [(&str, &[(&str, &str)]); 15] = [
    ("vendorable/oqmd/band_gap_eV.csv", &[("formula", "formula"), ("target", "band_gap")]),
    ("vendorable/oqmd/volume_A3_per_atom.csv", &[("target", "volume_per_atom")]),
    ("vendorable/oqmd/energy_eV_per_atom.csv", &[("target", "total_energy")]),
    ("vendorable/materials_project/elastic_anisotropy.csv", &[("target", "elastic_anisotropy")]),
    (
        "vendorable/mp_transport/transport_database.csv",
        &[("mp_id", "id"), ("pretty_formula", "formula"), ("S_p", "seebeck_coefficient_p_type")],
    ),
    (
        "vendorable/high_entropy_alloys/MPEA_dataset.csv",
        &[
            ("FORMULA", "formula"),
            ("PROPERTY: YS (MPa)", "yield_strength"),
            ("PROPERTY: HV", "hardness_vickers"),
            ("PROPERTY: Test temperature ($^\\circ$C)", "condition"),
            ("REFERENCE: doi", "source"),
        ],
    ),
    (
        "vendorable/alloy_sustainability/gen_RTHEAs_vs_Fe_df.csv",
        &[("", "name"), ("Ni", "fraction"), ("UTS (MPa)", "tensile_strength"), ("Class", "class")],
    ),
    (
        "vendorable/organics/properties.csv",
        &[("Mol_Smiles", "smiles"), ("Den_MD", "density"), ("RI_LL", "refractive_index")],
    ),
    ("tests_only/aflow/bulk_modulus_vrh_GPa.csv", &[("target", "bulk_modulus")]),
    ("tests_only/aflow/thermal_expansion_300K_per_K.csv", &[("target", "thermal_expansion")]),
    (
        "tests_only/jarvis_dft/jarvis_dft_by_composition.csv",
        &[("formula", "formula"), ("ehull", "energy_above_hull"), ("mbj_bandgap", "band_gap"), ("slme", "slme")],
    ),
    (
        "tests_only/heat_capacity/cp_data_cleaned_jl.csv",
        &[("formula", "formula"), ("T", "condition"), ("Cₚ", "heat_capacity")],
    ),
    (
        "tests_only/lithium_conductors/obelix.csv",
        &[
            ("True Composition", "formula"),
            ("Space group #", "space_group"),
            ("Ionic conductivity (S cm-1)", "ionic_conductivity"),
            ("DOI", "source"),
            ("ID", "id"),
        ],
    ),
    (
        "tests_only/polymers/PI1070.csv",
        &[
            ("smiles", "smiles"),
            ("density", "density"),
            ("density_std", "uncertainty"),
            ("thermal_conductivity", "thermal_conductivity"),
        ],
    ),
    (
        "tests_only/element_carbon/nuss_eckelman_2014_elements.csv",
        &[
            ("symbol", "formula"),
            ("name", "name"),
            ("ced_mj_per_kg", "embodied_energy"),
            ("gwp_kg_co2e_per_kg", "carbon_footprint"),
        ],
    ),
];

#[test]
#[allow(clippy::print_stderr)] // a skipped test must be seen
fn the_important_columns_of_the_real_files_are_placed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder =
        if folder.is_dir() { folder } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data") };
    let mut wrong = Vec::new();
    for (path, columns) in REAL {
        let file: PathBuf = folder.join(path);
        if !file.exists() {
            eprintln!("SKIPPED: {path} is not there; get the shared data to run this test in full");
            continue;
        }
        let read = ReadOptions::default();
        let mut table = ingest::read::open(&file, path, &read, &BytesRead::default()).unwrap().next().unwrap().unwrap();
        let proposal = propose(&[Sample::take(&mut table, 300)], &read, Some(Evidence::Measured));
        for (name, wanted) in columns {
            let Some(column) = proposal.columns.iter().find(|c| c.column == *name) else {
                wrong.push(format!("{path}: no column {name}"));
                continue;
            };
            let role = serde_json::to_value(column.role).unwrap();
            let found = column.property.as_deref().unwrap_or(role.as_str().unwrap());
            if found != *wanted {
                wrong.push(format!("{path}: `{name}` is {found}, not {wanted}: {}", column.why));
            }
        }
        proposal.file.to_toml().unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics(headers in proptest::collection::vec("\\PC{0,30}|[A-Za-z_ ()/.±:\\[\\]°0-9]{0,20}", 1..6), cell in "\\PC{0,12}") {
        let rows = vec![vec![cell; headers.len()]; 2];
        let table = Sample { name: "t.csv".into(), headers, rows, ..Sample::default() };
        let proposal = propose(std::slice::from_ref(&table), &ReadOptions::default(), None);
        prop_assert_eq!(proposal.columns.len(), table.headers.len());
        prop_assert!(proposal.file.to_toml().is_ok());
    }
}
