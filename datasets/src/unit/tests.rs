#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::spellings::*;
use super::*;

fn unit(text: &str) -> Unit {
    Unit::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn convert(value: f64, from: &str, to: &str) -> f64 {
    unit(from).conversion_to(&unit(to)).unwrap_or_else(|e| panic!("{e}")).apply(value)
}

fn refusal(from: &str, to: &str) -> UnitError {
    match unit(from).conversion_to(&unit(to)) {
        Ok(conversion) => panic!("{from} converted to {to}: {conversion:?}"),
        Err(error) => error,
    }
}

#[test]
fn every_habit_of_writing_means_the_same() {
    let cases: &[(&str, &[&str])] = &[
        (
            "g/cm^3",
            &[
                "g/cm$^3$",
                "g/cc",
                "g cm-3",
                "g cm^-3",
                "g/cm3",
                "g/cm³",
                "g·cm⁻³",
                "g/ccm",
                "(g/cm$^3$)",
                "[g/cm^3]",
                "g/cm^{3}",
                "g cm$^{-3}$",
                "g.cm-3",
                "g/mL",
                "$\\mathrm{g/cm^3}$",
                "Mg/m^3",
                "g/(cm^3)",
                "g$/$cm$^3$",
            ],
        ),
        ("kg/m^3", &["kg/m³", "kg m-3", "kg m^-3", "kg·m⁻³", "kg/m**3", "kg/m$^3$", "g/L", "kg / m^3"]),
        (
            "W/(m K)",
            &[
                "W/mK",
                "W/m-K",
                "W m^-1 K^-1",
                "W/m/K",
                "W/m·K",
                "W/m K",
                "W/m.K",
                "W/(m*K)",
                "W/(m·K)",
                "Wm-1K-1",
                "W m−1 K−1",
                "W·m⁻¹·K⁻¹",
                "W m$^{-1}$ K$^{-1}$",
                "W/(m.K)",
                "W/m°C",
                "W/(m °C)",
                "W/m*K",
                "W/(m_K)",
            ],
        ),
        ("1/K", &["m/m/K", "K^-1", "K-1", "/K", "1/°C", "m/(m K)", "K⁻¹", "1/degC", "/°C"]),
        (
            "ppm/K",
            &[
                "1e-6/K",
                "10^-6/K",
                "10-6/K",
                "×10^-6/K",
                "10^-6 K^-1",
                "µm/m/K",
                "um/(m K)",
                "10*-6/K",
                "10⁻⁶ K⁻¹",
                "$10^{-6}$/K",
                "µm/m·°C",
                "µm/m-K",
                "1E-6 K-1",
                "10^{-6} K^{-1}",
            ],
        ),
        ("µΩ cm", &["µΩ·cm", "uOhm cm", "μΩcm", "µOhm-cm", "uohm.cm"]),
        ("Ω m", &["Ohm m", "ohm*m", "Ω·m", "Ωm", "ohm m", "Ohm.m", "$\\Omega$ m"]),
        ("Ω cm", &["ohm*cm", "ohm-cm", "Ωcm", "Ohm cm"]),
        ("S/m", &["S m-1", "S·m⁻¹", "1/(Ohm m)", "Siemens/m"]),
        ("S/cm", &["S cm-1", "S cm^-1", "S cm⁻¹", "(S cm-1)"]),
        ("µV/K", &["uV/K", "μV/K", "µV K^-1", "$\\mu$V/K", "uV/°C", "μV·K⁻¹"]),
        ("µW/(m K^2)", &["uW/mK^2", "µW/mK2", "µW m^-1 K^-2", "uW/(K^2 m)", "µW/m/K^2", "μW m⁻¹ K⁻²", "µW/m·K²"]),
        ("eV", &["ev", "electronvolt"]),
        ("eV/atom", &["eV/at.", "eV atom^-1", "eV/{atom}", "eV per atom", "eV/atoms", "eV / atom", "(eV/atom)"]),
        ("kJ/(mol atoms)", &["kJ/mol-atom", "kJ/mol atoms", "kJ/(mol·atom)", "kJ/mol-atoms"]),
        ("J/(mol K)", &["J/mol-K", "J/mol/K", "J/molK", "J mol-1 K-1", "J/mol.K", "J mol$^{-1}$ K$^{-1}$", "J/K/mol"]),
        ("J/(kg K)", &["J/kg/K", "J/kgK", "J/(kg*K)", "J/kg-K", "J kg^-1 K^-1", "J/kg·°C", "mJ/g K", "J/kg.K"]),
        ("J/(g K)", &["J/gK", "kJ/kg/K", "J/g_K", "J/g-K"]),
        ("GPa", &["Gpa", "GPA", "[GPa]", "(GPa)", "kN/mm^2", "10^9 Pa"]),
        ("ksi", &["kpsi", "1000 psi"]),
        ("MPa", &["Mpa", "N/mm^2", "N/mm²", "MN/m^2"]),
        ("Å", &["Angstrom", "angstrom", "A\u{30a}", "\u{212b}", "\\AA", "$\\AA$"]),
        ("Å^3/atom", &["A^3/atom", "Å³/atom", "A3/atom", "Å$^3$/atom", "angstrom^3/atom", "Ang^3/atom"]),
        ("Å^3", &["Å³", "A^3", "Å**3", "A3", "A^{3}", "(A^3)"]),
        ("µB", &["muB", "mu_B", "Bohr magneton", "$\\mu_B$", "μ_B", "$\\mu_{B}$", "Bohr magnetons", "uB"]),
        ("at.%", &["at%", "at. %", "atomic %", "at.-%"]),
        ("wt.%", &["wt%", "wt %", "mass%", "weight %", "(wt.%)", "wt.\\%"]),
        ("wppm", &["ppm by weight", "ppmw", "wt.ppm", "wt. ppm"]),
        (
            "°C",
            &[
                "degC",
                "$^\\circ$C",
                "($^\\circ$C)",
                "℃",
                "deg C",
                "º C".trim(),
                "Celsius",
                "° C",
                "Cel",
                "$^{\\circ}$C",
            ],
        ),
        ("K", &["Kelvin", "kelvin"]),
        ("°F", &["degF", "℉", "[degF]"]),
        ("HV", &["Hv", "HV0.5", "HV10", "Vickers"]),
        ("HBW", &["HB"]),
        ("USD/kg", &["$/kg", "US$/kg", "USD kg^-1", "(USD/kg)"]),
        ("L/kg", &["l/kg", "litre/kg", "dm^3/kg"]),
        ("kg CO2e/kg", &["kg CO2-eq/kg", "kgCO2e/kg", "kg CO₂e/kg", "kg{CO2e}/kg", "kg CO2 eq/kg", "kg CO2eq kg^-1"]),
        (
            "MPa m^(1/2)",
            &[
                "MPa m^0.5",
                "MPa·m^(1/2)",
                "MPa√m",
                "MPa m1/2",
                "MPa·m^1/2",
                "MPa-m^0.5",
                "MPa m½",
                "MPa sqrt(m)",
                "MPa m$^{1/2}$",
                "MPa.m^0.5",
            ],
        ),
        ("m_e", &["m0", "me", "electron masses", "m$_e$", "$m_e$", "$m_{e}$", "m₀"]),
        ("µm", &["um", "$\\mu$m", "micron", "μm", "($\\mu$m)", "$\\mu m$"]),
        ("mAh/g", &["mAh g-1", "mA h/g", "mAh·g⁻¹", "mA·h g^-1", "Ah/kg"]),
        ("Wh/kg", &["W h/kg", "Wh kg^-1"]),
        ("Bohr^3", &["a0^3", "bohr^3", "a_0^3", "a$_0^3$"]),
        ("", &["1", "-", "dimensionless", " ", "unitless", "kg/kg", "(-)", "[-]", "m/m", "–"]),
        ("Pa s", &["Pa·s", "Pa.s", "kg/m/s", "Pas", "kg/(m s)"]),
        ("cm^2/(V s)", &["cm2/Vs", "cm^2 V^-1 s^-1", "cm²/V·s", "cm$^2$/(V s)", "cm2/V-s"]),
        ("J/(g K^1)", &["J/g K^-1"]),
        ("mm^3/(N m)", &["mm3/Nm", "mm^3/N/m", "mm³ N⁻¹ m⁻¹"]),
        ("emu/g", &["emu g^-1", "A m^2/kg", "Am2/kg"]),
        ("1/cm^3", &["cm-3", "cm^-3", "cm⁻³", "/cm3", "cm$^{-3}$"]),
        ("g.m/s2", &["mN"]),
    ];
    let mut wrong = Vec::new();
    for (reference, spellings) in cases {
        for spelling in *spellings {
            match Unit::parse(spelling) {
                Ok(parsed) if parsed.is_same(&unit(reference)) => {}
                Ok(parsed) => wrong.push(format!("{spelling} for {reference}: a {}", parsed.dimension_name())),
                Err(error) => wrong.push(format!("{spelling} for {reference}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn units_of_the_data_at_hand_are_known() {
    for text in [
        "$\\mu$m",
        "g/cm$^3$",
        "$^\\circ$C",
        "MPa",
        "%",
        "GPa",
        "wppm",
        "USD/kg",
        "MJ/kg",
        "kg/kg",
        "l/kg",
        "g/cm^3",
        "degC",
        "W/(m*K)",
        "J/(kg*K)",
        "ohm*cm",
        "1/K",
        "kV/mm",
        "ohm*m",
        "S/m",
        "kg/m^3",
        "m/m/K",
        "W/m/K",
        "J/kg/K",
        "kJ/kg/K",
        "m^2/s",
        "kg/m/s",
        "µm/m/K",
        "deg",
        "g/cm3",
        "S cm-1",
        "Ohm m",
        "V/K",
        "W/(m K)",
        "W/m K",
        "W/(K^2 m)",
        "A^3",
        "J/mol/K",
        "kg CO2e/kg",
        "Bohr^3",
        "C/m^2",
        "eV/atom",
        "A^3/atom",
        "muB",
        "kbar",
        "psi",
        "meV/atom",
        "nm",
        "T",
        "kA/m",
        "Oe",
        "V",
        "HRC",
        "J/(g_K)",
        "kJ/mol",
        "g/mL",
        "S",
        "Hz",
        "pm/V",
        "mm/yr",
        "1/(eV atom)",
        "mg/kg",
    ] {
        assert!(Unit::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn short_decimal_factors_convert_exactly() {
    for (value, from, to, expected) in [
        (4000.0, "kg/m^3", "g/cm^3", 4.0),
        (2702.0, "kg/m^3", "g/cm^3", 2.702),
        (1100.0, "meV", "eV", 1.1),
        (1.1, "eV", "meV", 1100.0),
        (25.0, "meV/atom", "eV/atom", 0.025),
        (210_000.0, "MPa", "GPa", 210.0),
        (0.4, "GPa", "MPa", 400.0),
        (1.7, "µΩ cm", "Ohm m", 1.7e-8),
        (23.0, "ppm/K", "1/K", 23e-6),
        (12.0, "µm/m/K", "1/K", 12e-6),
        (0.9, "kJ/kg/K", "J/(kg K)", 900.0),
        (-0.000462967, "V/K", "µV/K", -462.967),
        (1.58489e-6, "S/cm", "S/m", 1.58489e-4),
        (36.0, "mAh/g", "C/kg", 129_600.0),
        (7.2, "kJ/kg", "Wh/kg", 2.0),
        (1.0, "kbar", "GPa", 0.1),
        (0.45, "", "%", 45.0),
        (12.0, "%", "", 0.12),
        (0.05, "wt.%", "wppm", 500.0),
        (300.0, "ppm", "wppm", 300.0),
        (10.0, "g CO2e/kg", "kg CO2e/kg", 0.01),
        (1.0, "MPa mm^0.5", "MPa m^0.5", 0.001_f64.sqrt()),
        (1.0, "W/(cm K)", "W/mK", 100.0),
        (10.0, "uW/cmK^2", "µW/(m K^2)", 1000.0),
        (1.0, "emu/cm^3", "kA/m", 1.0),
        (1e4, "G", "T", 1.0),
        (180.0, "deg", "deg", 180.0),
    ] {
        assert_eq!(convert(value, from, to), expected, "{value} {from} in {to}");
    }
}

#[test]
fn measured_constants_are_in_place() {
    for (value, from, to, expected) in [
        (1.0, "eV/atom", "kJ/(mol atoms)", 96.485_332_12),
        (96.485_332_12, "kJ/mol-atom", "eV/atom", 1.0),
        (1.0, "ksi", "MPa", 6.894_757_293),
        (1.0, "Bohr^3", "Å^3", 0.148_184_711),
        (1.0, "Hartree", "eV", 27.211_386_25),
        (1.0, "m_e", "kg", 9.109_383_71e-31),
        (1.0, "Oe", "A/m", 79.577_471_5),
        (1.0, "ksi in^0.5", "MPa m^0.5", 1.098_843_4),
        (1.0, "D", "C m", 3.335_640_95e-30),
        (1.0, "rad", "deg", 57.295_779_5),
        (1.0, "BTU/(h ft °F)", "W/(m K)", 1.730_734_7),
    ] {
        let got = convert(value, from, to);
        assert!((got / expected - 1.0).abs() < 1e-7, "{value} {from} is {got} {to}");
    }
}

#[test]
fn temperatures_have_an_offset_alone_and_none_in_quotients() {
    assert_eq!(convert(25.0, "°C", "K"), 298.15);
    assert_eq!(convert(298.15, "K", "°C"), 25.0);
    assert!((convert(77.0, "°F", "K") - 298.15).abs() < 1e-12);
    assert_eq!(convert(32.0, "°F", "°C"), 0.0);
    assert_eq!(convert(100.0, "°C", "°F"), 212.0);
    assert_eq!(convert(5.0, "1/°C", "1/K"), 5.0);
    assert_eq!(convert(9.0, "1/°F", "1/K"), 16.2);
    let celsius = Unit::parse_temperature("C").unwrap();
    assert_eq!(celsius.to_string(), "C");
    assert_eq!(celsius.conversion_to(&unit("K")).unwrap().apply(824.0), 1097.15);
    assert_eq!(celsius.conversion_to(&unit("K")).unwrap().apply_to_difference(5.0), 5.0);
    assert!(matches!(Unit::parse_temperature("GPa"), Err(UnitError::WrongDimension { .. })));
    assert_eq!(unit("C").dimension_name(), "electric charge");
}

#[test]
fn what_has_no_fixed_factor_is_refused_with_the_reason() {
    for (from, to, word) in [
        ("J/mol", "J", "mole"),
        ("kJ/mol", "eV", "mole"),
        ("kJ/mol", "eV/atom", "mol atoms"),
        ("eV/atom", "eV", "atom"),
        ("eV/f.u.", "eV/atom", "formula"),
        ("µB/atom", "µB", "atom"),
        ("HV", "GPa", "hardness"),
        ("GPa", "HV", "hardness"),
        ("HV", "HRC", "hardness"),
        ("HV", "1", "hardness"),
        ("wt.%", "at.%", "composition"),
        ("mol%", "wppm", "composition"),
        ("USD/kg", "EUR/kg", "exchange"),
        ("kg/kg", "kg CO2e/kg", "CO2"),
        ("kg CO2/kg", "kg CO2e/kg", "CO2"),
        ("J/(mol K)", "J/K", "mole"),
    ] {
        let error = refusal(from, to);
        assert!(matches!(error, UnitError::NotConvertible { .. }), "{from} to {to}: {error}");
        let said = error.to_string();
        assert!(said.contains(word) && said.starts_with(from) && said.contains(to), "{said}");
    }
}

#[test]
fn a_wrong_dimension_names_both_units_and_both_quantities() {
    assert_eq!(refusal("GPa", "eV").to_string(), "GPa is a pressure; expected a unit of energy such as eV");
    assert_eq!(
        refusal("", "eV").to_string(),
        "a value without unit is a dimensionless number; expected a unit of energy such as eV"
    );
    assert_eq!(refusal("eV", "1").to_string(), "eV is an energy; expected a dimensionless number such as 1");
    for (from, to) in
        [("J/(mol K)", "J/(kg K)"), ("USD", "1"), ("USD/kg", "MJ/kg"), ("HV", "eV"), ("deg", "1"), ("T", "kA/m")]
    {
        assert!(matches!(refusal(from, to), UnitError::WrongDimension { .. }), "{from} to {to}");
    }
    assert_eq!(unit("kg m^2 s").dimension_name(), "quantity of dimension L2.T.M");
    assert_eq!(unit("g/cc").dimension_name(), "density");
}

#[test]
fn an_unknown_unit_names_the_closest() {
    for (text, expected) in
        [("GPaa", "GPa"), ("evv", "eV"), ("W/(m Kk)", "W/(m K)"), ("g/cm^3x", "g/cm^3"), ("mpa", "mPa")]
    {
        let error = Unit::parse(text).unwrap_err();
        assert!(matches!(&error, UnitError::Unknown { closest, .. } if closest[0] == expected), "{error}");
    }
    for text in [
        "furlongs per moon",
        "///",
        "K^",
        "((((((((((K",
        "1/0",
        "10^999999999999",
        "m^99999",
        "g//cm",
        "K^(1/7)",
        "\u{0}",
        "e",
        "·",
        "(",
        ")",
        "{",
        "^2",
        "1e",
        "1e999999999",
        "𝛀",
        "§",
        "a/",
        "10*99999999999/K",
        "[",
        "][",
        "((((m^300)^300)^300)^300)",
        "((10^300)^300)^300 m",
    ] {
        assert!(Unit::parse(text).is_err(), "{text}");
    }
    assert!(Unit::parse(&"m".repeat(100_000)).is_err());
    assert!(Unit::parse(&"√".repeat(30)).is_err());
}

#[test]
fn tables_are_sound() {
    let count: usize = ALIASES.iter().map(|(names, ..)| names.len()).sum();
    assert_eq!(names().len(), count, "an alias stands twice, or its UCUM expression does not parse");
    for (name, units) in KNOWN {
        for text in *units {
            assert_eq!(unit(text).dimension_name(), *name, "{text}");
        }
    }
}

#[test]
fn display_is_the_text_as_written_whatever_was_parsed_before() {
    assert_eq!(unit("g/cm$^3$").to_string(), "g/cm$^3$");
    assert_eq!(unit("g/cc").to_string(), "g/cc");
    assert_eq!(unit("g/cc").to_string(), "g/cc");
}
