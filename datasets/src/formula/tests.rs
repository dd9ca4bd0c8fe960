#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn element(symbol: &str) -> Element {
    Element::from_symbol(symbol).unwrap()
}

fn reduced(text: &str) -> String {
    match Formula::parse(text) {
        Ok(formula) => formula.reduced(),
        Err(error) => error.to_string(),
    }
}

fn with_basis(text: &str, basis: Basis) -> String {
    match Formula::parse_with_basis(text, basis) {
        Ok(formula) => formula.display(),
        Err(error) => error.to_string(),
    }
}

fn problem(text: &str) -> (Option<usize>, FormulaProblem) {
    let error = Formula::parse(text).expect_err(text);
    (error.at, error.problem)
}

/// text, canonical reduced formula
const READ: &[(&str, &str)] = &[
    ("GaAs", "AsGa"),
    ("HfBe5", "Be5Hf"),
    ("Si2O4", "O2Si"),
    ("NaN", "NNa"),
    ("Na1N1", "NNa"),
    ("Au1Fe1Sn2", "AuFeSn2"),
    ("CO", "CO"),
    ("Co", "Co"),
    ("Al0.5CoCrFeNi", "AlCo2Cr2Fe2Ni2"),
    ("Al0.25 Co1 Fe1 Ni1", "AlCo4Fe4Ni4"),
    ("  Fe2O3\t", "Fe2O3"),
    ("Fe\u{a0}70 Ni 30", "Fe7Ni3"),
    ("Ni3(PbSe)2", "Ni3Pb2Se2"),
    ("Ca(OH)2", "CaH2O2"),
    ("K4[Fe(CN)6]", "C6FeK4N6"),
    ("{[(Fe)2]3O9}2", "Fe2O3"),
    ("Sr(AlH) 2", "Al2H2Sr"),
    ("(Ag0.33Li0.67)0.27La0.57TiO3", "Ag891La5700Li1809O30000Ti10000"),
    ("Li0.6[Li0.2Sn0.8S2]", "Li2S5Sn2"),
    ("Li3(Mo8S8O8(OH)8(HWO5(H2O)))*(H2O)18", "H47Li3Mo8O40S8W"),
    ("CH3CH2OH", "C2H6O"),
    ("CH3NH3PbI3", "CH6I3NPb"),
    ("H₂O", "H2O"),
    ("Al₂(SO₄)₃", "Al2O12S3"),
    ("2H2O", "H2O"),
    ("2 H2O", "H2O"),
    ("CuSO4·5H2O", "CuH10O9S"),
    ("CuSO4 · 5 H2O", "CuH10O9S"),
    ("CuSO4*5H2O", "CuH10O9S"),
    ("CuSO4•5H2O", "CuH10O9S"),
    ("CuSO4.5H2O", "CuH10O9S"),
    ("CuSO4 5H2O", "CuH10O9S"),
    ("CuSO4.5(H2O)", "CuH10O9S"),
    ("(CuSO4.5H2O)2", "CuH10O9S"),
    ("NaCl.2H2O", "ClH4NaO2"),
    ("NaCl 2H2O", "ClH4NaO2"),
    ("CuCl2.H2O", "Cl2CuH2O"),
    ("CaSO4.0.5H2O", "Ca2H2O9S2"),
    ("CaSO4·0.5H2O", "Ca2H2O9S2"),
    ("CaO.SiO2", "CaO3Si"),
    ("0.5Li2O·0.5P2O5", "LiO3P"),
    ("Li0.5H2O", "H4LiO2"),
    ("CuSO4.5H2O2", "Cu2H4O13S2"),
    ("CuSO4.5Fe", "Cu2Fe2O9S2"),
    ("Al.5Co", "AlCo2"),
    ("Al0Co1", "Co"),
    ("Al0.0Co1.50", "Co"),
    ("Al(Fe)0", "Al"),
    ("Fe02O03", "Fe2O3"),
    ("Ti0.3333333333333333Al0.6666666666666667", "Al6666666666666667Ti3333333333333333"),
];

#[test]
fn formulas_are_read_exactly() {
    for (text, expected) in READ {
        assert_eq!(&reduced(text), expected, "{text}");
    }
}

#[test]
fn charges_are_told_from_subscripts() {
    let cases: &[(&str, &str, Option<i32>)] = &[
        ("NaCl", "ClNa", None),
        ("Fe3+", "Fe", Some(3)),
        ("Ca2+", "Ca", Some(2)),
        ("O2-", "O", Some(-2)),
        ("Na+", "Na", Some(1)),
        ("Cl-", "Cl", Some(-1)),
        ("Cl−", "Cl", Some(-1)),
        ("Fe+3", "Fe", Some(3)),
        ("Fe³⁺", "Fe", Some(3)),
        ("SO₄²⁻", "O4S", Some(-2)),
        ("SO4^2-", "O4S", Some(-2)),
        ("SO4^-2", "O4S", Some(-2)),
        ("SO4^{2-}", "O4S", Some(-2)),
        ("SO4--", "O4S", Some(-2)),
        ("SO4-2", "O4S", Some(-2)),
        ("SO42-", "O4S", Some(-2)),
        ("NH4+", "H4N", Some(1)),
        ("[NH4]+", "H4N", Some(1)),
        ("[Fe(CN)6]3-", "C6FeN6", Some(-3)),
        ("NO3- ", "NO3", Some(-1)),
        ("Cr2O72-", "Cr2O7", Some(-2)),
        ("P3O105-", "O10P3", Some(-5)),
        ("C6H5O12-", "C6H5O12", Some(-1)),
        ("C60-", "C", Some(-1)),
        ("Li0.5CoO2+", "Co2LiO4", Some(1)),
    ];
    for (text, expected, charge) in cases {
        let parsed = Formula::parse_with_charge(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((parsed.formula.reduced().as_str(), parsed.charge), (*expected, *charge), "{text}");
    }
}

#[test]
fn polymers_are_read_by_their_repeat_unit() {
    for (text, wanted) in [
        ("-(CH2-O)n-", "CH2O"),
        ("-(CF2-CF2)n-", "CF2"),
        ("-(CH2)5-CO-NH-", "C6H11NO"),
        ("-(CH2-CH2)n-", "CH2"),
        ("(C2H4)n", "CH2"),
        ("[CH2-CHCl]ₙ", "C2H3Cl"),
        ("–(CH2–CH=CH–CH2)n–", "C2H3"),
        (" -(CH2-O)n ", "CH2O"),
    ] {
        assert_eq!(reduced(text), Formula::parse(wanted).unwrap().reduced(), "{text}");
    }
    for text in
        ["--", "-", "-()n-", "(C2H4)n2", "-CH2-2O-", "-Ti-6Al-4V-", "(SO4)n-", "C2H4n", "n", ")n", "-(CH2)nO2-x"]
    {
        assert!(Formula::parse(text).is_err(), "{text}");
    }
    assert_eq!(Formula::parse_with_charge("NH4+").unwrap().charge, Some(1));
}

#[test]
fn errors_say_where_and_how_to_mend() {
    let cases: &[(&str, &str)] = &[
        ("", "formula \"\": it is empty"),
        (" \n", "it is empty"),
        ("+", "character 1: it is empty"),
        ("FeXx2", "character 3: 'Xx' is not an element symbol"),
        ("NACL", "character 2: 'A' is not an element symbol; the second letter of a symbol is small (NaCl, not NACL)"),
        ("nacl", "character 1: 'nacl' is not an element symbol; a symbol begins with a capital letter"),
        ("Water", "'Water' is not an element symbol; a symbol has one or two letters"),
        ("La1-xSrxMnO3", "character 4: '-' has no meaning here"),
        ("Ta_Th", "character 3: '_' has no meaning here"),
        ("(Fe,Mg)2SiO4", "character 4: ',' has no meaning here"),
        ("Fé", "character 2: 'é' has no meaning here"),
        ("D2O", "character 1: 'D' is an isotope of hydrogen"),
        ("T2", "write H"),
        ("Fe(OH", "character 3: the bracket '(' that opens here is never closed; add its ')'"),
        ("FeOH)2", "character 5: ')' closes a bracket that was never opened"),
        ("Fe(OH]2", "character 6: ']' cannot close the '(' that was opened at character 3"),
        ("Fe()2", "character 4: there is no element here"),
        ("Fe··O", "character 4: there is no element here"),
        ("Fe·", "character 3: there is no element here"),
        ("12", "character 1: this number belongs to no element"),
        ("Fe·2", "character 4: this number belongs to no element"),
        ("Fe2 3", "character 5: this number belongs to no element"),
        ("CuO 2NiO", "character 5: this number could belong to"),
        ("Al0.2.5Co", "character 6: '.' has no meaning here; a number has one decimal point"),
        ("Al0Co0", "every amount is zero"),
        ("0H2O", "every amount is zero"),
        ("Fe1000000001", "character 3: an amount is above 1e9"),
        ("(Fe1000000)1000000", "an amount is above 1e9"),
        ("Fe99999999999999999999999999999999999999999999", "an amount is above 1e9"),
        ("Fe0.123456789012345678901234567890123456789012345", "too many digits"),
        ("Fe1000000000.5", "an amount is above 1e9"),
        ("Fe0.00000000000000000001Ni1000000000", "too many digits"),
        ("2-Feb", "a spreadsheet turned a formula into a date; write FeB2, with"),
        ("Feb-02", "write FeB2,"),
        ("1-Feb", "write FeB,"),
        ("3-FEB-2024", "write FeB3,"),
        ("2-Sep", "write SeP2,"),
        ("1/12/2020", "a spreadsheet turned"),
        ("4-May", "write the formula again,"),
        ("Fe^x", "character 3: this is not a charge"),
        ("W-26", "character 2: this is not a charge"),
        ("¹³C", "a superscript is a charge"),
        ("Ti-6Al-4V", "an alloy such as Ti-6Al-4V needs a basis"),
    ];
    for (text, expected) in cases {
        let message = Formula::parse(text).expect_err(text).to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
    assert_eq!(problem(&"H".repeat(1001)).1, FormulaProblem::TooLong);
    assert_eq!(reduced(&"H".repeat(1000)), "H");
    let nested = |depth: usize| format!("{}Fe{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(reduced(&nested(32)), "Fe");
    assert_eq!(problem(&nested(33)), (Some(33), FormulaProblem::TooDeep));
    assert_eq!(Formula::parse(&"é".repeat(90)).expect_err("é").text.chars().count(), 81);
}

#[test]
fn formulas_are_written_as_chemists_write_them() {
    for text in [
        "GaAs",
        "SiO2",
        "NaCl",
        "TiC",
        "WC",
        "Fe2O3",
        "BaTiO3",
        "LiCoO2",
        "GaN",
        "NaN3",
        "NH3",
        "H2O",
        "CH4",
        "SiC",
        "BN",
        "TiB2",
        "MoSi2",
        "PtAs2",
        "AuTe2",
        "PdH",
        "Eu2O3",
        "YbB6",
        "NCl3",
        "OF2",
        "H2Te",
        "HNO3",
        "H2SO4",
        "H3PO4",
        "LiFePO4",
        "Bi2Te3",
        "SiB6",
        "NH4Cl",
        "MgB2",
        "Nb3Sn",
        "Al0.333CrFeCoNi",
        "CO2",
        "HCl",
        "AsH3",
        "NaBH4",
        "KH2PO4",
        "CaCO3",
        "GeTe",
        "SiGe",
        "C",
    ] {
        assert_eq!(Formula::parse(text).unwrap().display(), text);
    }
    for (text, expected) in [
        ("CH3CH2OH", "C2H6O"),
        ("ONa", "NaO"),
        ("As1Ga1", "GaAs"),
        ("Fe101Ni1", "Fe1.01Ni0.01"),
        ("Fe200Ni1000", "FeNi5"),
        ("Fe201Ni1000", "Fe0.201Ni"),
    ] {
        assert_eq!(Formula::parse(text).unwrap().to_string(), expected);
    }
}

#[test]
fn anonymous_formulas_follow_optimade() {
    for (text, expected) in
        [("H2O", "A2B"), ("GaAs", "AB"), ("Al0.5CoCrFeNi", "A2B2C2D2E"), ("Fe", "A"), ("BaTiO3", "A3BC")]
    {
        assert_eq!(Formula::parse(text).unwrap().anonymous(), expected);
    }
    let all: String = Element::all().map(Element::symbol).collect();
    let anonymous = Formula::parse(&all).unwrap().anonymous();
    assert!(anonymous.starts_with("ABC") && anonymous.contains("ZAaBa") && anonymous.contains("ZaAb"), "{anonymous}");
}

#[test]
fn fractions_masses_and_density() {
    let water = Formula::parse("H2O").unwrap();
    assert_eq!(water.nelements(), 2);
    assert_eq!(water.elements().map(Element::symbol).collect::<Vec<_>>(), ["H", "O"]);
    assert!(water.contains(element("O")) && !water.contains(element("C")));
    assert_eq!(water.element_bits(), 1 << 1 | 1 << 8);
    assert_eq!(Formula::parse("Og").unwrap().element_bits(), 1 << 118);
    assert_eq!(water.atomic_fraction(element("O")), 1.0 / 3.0);
    assert_eq!(water.atomic_fraction(element("C")), 0.0);
    assert!((water.molar_mass() - 18.015).abs() < 1e-9);
    assert!((water.mean_atomic_mass() - 6.005).abs() < 1e-9);
    assert!((water.fractions().map(|(_, fraction)| fraction).sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((water.mass_fractions().map(|(_, fraction)| fraction).sum::<f64>() - 1.0).abs() < 1e-12);
    // rock salt: a = 5.640 Å, 8 atoms a cell, 2.16 g/cm³
    let density = Formula::parse("NaCl").unwrap().density_from_volume(5.640f64.powi(3) / 8.0);
    assert!((density - 2.164).abs() < 0.002, "{density}");
}

#[test]
fn alloys_are_read_in_their_basis() {
    use Basis::*;
    let cases: &[(&str, Basis, &str)] = &[
        ("Fe70Ni30", AtomicPercent, "Fe7Ni3"),
        ("Fe 70 Ni 30 at.%", AtomicPercent, "Fe7Ni3"),
        ("70Fe 30Ni", AtomicPercent, "Fe7Ni3"),
        ("Fe0.7Ni0.3", AtomicFraction, "Fe7Ni3"),
        ("Ti-48Al-2Cr-2Nb", AtomicPercent, "Ti24NbAl24Cr"),
        ("Ti–48Al–2Cr–2Nb (at%)", AtomicPercent, "Ti24NbAl24Cr"),
        ("Fe-Cr18-Ni10", AtomicPercent, "Cr9Fe36Ni5"),
        ("70Fe-30Ni", AtomicPercent, "Fe7Ni3"),
        ("6Al - 4V - Ti", AtomicPercent, "Ti45Al3V2"),
        ("Fe-18%Cr-8%Ni", AtomicPercent, "Cr9Fe37Ni4"),
        ("Fe-Cr18%-Ni10%", AtomicPercent, "Cr9Fe36Ni5"),
        ("Ti-6Al-4V", WeightPercent, "Ti8.6204Al1.0196V0.36"),
        ("Ti-6Al-4V wt%", WeightPercent, "Ti8.6204Al1.0196V0.36"),
        ("Fe 70 Ni 30 wt%", WeightPercent, "Fe7.1034Ni2.8966"),
        ("Fe70Ni30", WeightPercent, "Fe7.1034Ni2.8966"),
        ("Fe0.7Ni0.3", MassFraction, "Fe7.1034Ni2.8966"),
        ("WC-12Co", WeightPercent, "W4.0767Co1.8466C4.0767"),
    ];
    for (text, basis, expected) in cases {
        let shown = with_basis(text, *basis);
        let close = shown == *expected || {
            let (a, b) = (Formula::parse(&shown), Formula::parse(expected));
            matches!((a, b), (Ok(a), Ok(b)) if a.elements().eq(b.elements())
                && a.fractions().zip(b.fractions()).all(|((_, a), (_, b))| (a - b).abs() < 1e-4))
        };
        assert!(close, "{text} in {basis}: {shown}, not {expected}");
    }
    let errors: &[(&str, Basis, &str)] = &[
        ("Fe0.7Ni0.3", WeightPercent, "sum to 1, but in weight percent they sum to 100"),
        ("Al0.5CoCrFeNi", AtomicFraction, "sum to 4.5"),
        ("Fe 70 Ni 30 at.%", WeightPercent, "says at.%, but it was to be read in weight percent"),
        ("Fe 70 Ni 30 wt%", MassFraction, "says wt%"),
        ("Al-Mg-Si", WeightPercent, "3 parts have no amount"),
        ("Ti-60Al-50V", WeightPercent, "sum to 110"),
        ("Ti-6Al-4Xx", WeightPercent, "character 9: 'Xx' is not an element symbol"),
        ("Ti-6-4V", WeightPercent, "character 4: this number belongs to no element"),
        ("Ti--4V", WeightPercent, "character 4: it is empty"),
        ("Fe-20NiCr", WeightPercent, "an amount of '20NiCr' is ambiguous"),
        ("WC-12Co", AtomicPercent, "an amount of 'WC' is ambiguous"),
        ("2-Feb", WeightPercent, "date"),
        ("%", WeightPercent, "it is empty"),
        (" Fe70Xx30 wt%", WeightPercent, "formula \" Fe70Xx30 wt%\", character 6: 'Xx'"),
    ];
    for (text, basis, expected) in errors {
        let message = with_basis(text, *basis);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn fractions_become_atomic_fractions_rounded_to_a_millionth() {
    let (iron, nickel, cobalt) = (element("Fe"), element("Ni"), element("Co"));
    let read = |shares: &[(Element, f64)], basis| match Formula::from_fractions(shares, basis) {
        Ok(formula) => formula.reduced(),
        Err(error) => error.to_string(),
    };
    let third = 1.0 / 3.0;
    assert_eq!(read(&[(iron, third), (nickel, third), (cobalt, third)], Basis::AtomicFraction), "CoFeNi");
    assert_eq!(read(&[(nickel, 60.0), (iron, 40.0), (cobalt, 0.0)], Basis::AtomicPercent), "Fe2Ni3");
    assert_eq!(read(&[(iron, 0.4), (nickel, 0.2), (iron, 0.4)], Basis::AtomicFraction), "Fe4Ni");
    // normalised: 0.96 in all
    assert_eq!(read(&[(iron, 0.48), (nickel, 0.48)], Basis::AtomicFraction), "FeNi");
    let masses = iron.atomic_mass() + nickel.atomic_mass();
    let by_mass = [(iron, iron.atomic_mass() / masses), (nickel, nickel.atomic_mass() / masses)];
    assert_eq!(read(&by_mass, Basis::MassFraction), "FeNi");
    for (shares, basis, expected) in [
        (vec![(iron, 0.5), (nickel, 0.2)], Basis::AtomicFraction, "formula \"Fe 0.5, Ni 0.2\": the amounts sum to 0.7"),
        (vec![(iron, 50.0), (nickel, 50.0)], Basis::MassFraction, "sum to 100, but in mass fractions they sum to 1;"),
        (vec![(iron, 1.2), (nickel, -0.2)], Basis::AtomicFraction, "the amount of Ni is -0.2"),
        (vec![(iron, f64::NAN)], Basis::AtomicFraction, "the amount of Fe is NaN"),
        (vec![(iron, f64::INFINITY)], Basis::WeightPercent, "the amount of Fe is inf"),
        (vec![(iron, f64::MAX), (nickel, f64::MAX)], Basis::WeightPercent, "sum to inf"),
        (vec![(iron, 0.0)], Basis::AtomicFraction, "sum to 0"),
        (vec![], Basis::AtomicFraction, "empty"),
    ] {
        let message = read(&shares, basis);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn shares_of_a_compound_are_its_formula() {
    let read = |shares: &[(&str, f64)], basis| {
        let shares: Vec<(Element, f64)> = shares.iter().map(|&(symbol, share)| (element(symbol), share)).collect();
        Formula::from_fractions(&shares, basis).unwrap().reduced()
    };
    // as PNNL-15870 prints them
    let atoms: &[(&[(&str, f64)], &str)] = &[
        (&[("H", 0.666667), ("O", 0.333333)], "H2O"),
        (&[("O", 0.666666), ("Si", 0.333333)], "O2Si"),
        (&[("H", 0.222222), ("O", 0.5), ("Mg", 0.166667), ("Si", 0.111111)], "H4Mg3O9Si2"),
        (&[("H", 0.613636), ("C", 0.272727), ("O", 0.090909), ("P", 0.022727)], "C12H27O4P"),
        (&[("O", 0.631579), ("Ge", 0.157895), ("Bi", 0.210526)], "Bi4Ge3O12"),
        (&[("Co", 0.25), ("Cr", 0.25), ("Fe", 0.25), ("Ni", 0.25)], "CoCrFeNi"),
        // no compounds: a dopant, an alloy, a share with fewer digits
        (
            &[("Cs", 0.19994), ("Li", 0.09997), ("La", 0.09997), ("Br", 0.599819), ("Ce", 0.000301)],
            "Br599819Ce301Cs199940La99970Li99970",
        ),
        (&[("C", 0.0002), ("Fe", 0.9998)], "CFe4999"),
        (&[("B", 0.000001), ("C", 0.999999)], "BC999999"),
    ];
    for (shares, expected) in atoms {
        assert_eq!(read(shares, Basis::AtomicFraction), *expected, "{shares:?}");
        let percent: Vec<(&str, f64)> = shares.iter().map(|&(symbol, share)| (symbol, 100.0 * share)).collect();
        assert_eq!(read(&percent, Basis::AtomicPercent), *expected, "{shares:?}");
    }
    for (shares, expected) in
        [([33.3, 66.7], "Fe333Ni667"), ([33.33, 66.67], "Fe3333Ni6667"), ([33.3333, 66.6667], "FeNi2")]
    {
        assert_eq!(read(&[("Fe", shares[0]), ("Ni", shares[1])], Basis::AtomicPercent), expected);
    }
    let mass: &[(&[(&str, f64)], &str)] = &[
        (&[("H", 0.111894), ("O", 0.888106)], "H2O"),
        (&[("H", 0.1119), ("O", 0.8881)], "H2O"),
        (&[("O", 0.532565), ("Si", 0.467435)], "O2Si"),
        (&[("Li", 0.267585), ("F", 0.732415)], "FLi"),
        (&[("O", 0.470749), ("Al", 0.529251)], "Al2O3"),
    ];
    for (shares, expected) in mass {
        assert_eq!(read(shares, Basis::MassFraction), *expected, "{shares:?}");
    }
    let steel = read(&[("C", 0.02), ("Cr", 18.0), ("Ni", 10.0), ("Fe", 71.98)], Basis::WeightPercent);
    assert!(steel.len() > 20, "{steel} must keep its carbon and its digits");
    let binary = read(&[("Ni", 80.0), ("Cr", 20.0)], Basis::WeightPercent);
    assert_eq!(binary, "Cr220091Ni779909");
}

fn any_formula() -> impl Strategy<Value = Formula> {
    let amount = prop_oneof![1u64..6, 1u64..2000, 1u64..10_000_000_000, any::<u64>().prop_map(|amount| amount.max(1))];
    prop::collection::btree_map(1u8..=118, amount, 1..8).prop_map(|amounts| {
        let mut amounts: Vec<(Element, u64)> =
            amounts.into_iter().map(|(number, amount)| (Element::from_number(number).unwrap(), amount)).collect();
        amounts.sort_by_key(|(element, _)| element.alphabetical_rank());
        let divisor =
            amounts.iter().fold(0, |divisor, (_, amount)| greatest_common_divisor(divisor, u128::from(*amount)));
        amounts.iter_mut().for_each(|(_, amount)| *amount /= divisor as u64);
        Formula { amounts: amounts.into() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_displayed_is_read_back(formula in any_formula()) {
        prop_assert_eq!(&Formula::parse(&formula.display()).unwrap(), &formula, "{}", formula.display());
        if formula.amounts().iter().all(|&(_, amount)| u128::from(amount) <= MAX_AMOUNT) {
            prop_assert_eq!(Formula::parse(&formula.reduced()).unwrap().reduced(), formula.reduced());
        }
    }

    #[test]
    fn the_reduced_formula_does_not_depend_on_scale_or_order(
        amounts in prop::collection::vec((1u8..=118, 0u64..1000), 1..20), factor in 1u64..1000, places in 0usize..6
    ) {
        let symbol = |number: u8| Element::from_number(number).unwrap().symbol();
        let plain: String = amounts.iter().map(|&(number, amount)| format!("{}{amount}", symbol(number))).collect();
        let scaled: String = amounts.iter().rev().map(|&(number, amount)| {
            let digits = format!("{:0>width$}", amount * factor, width = places + 1);
            let (before, behind) = digits.split_at(digits.len() - places);
            format!("{}{before}{}{behind}", symbol(number), if places > 0 { "." } else { "" })
        }).collect();
        let bracket = format!("({plain}){factor}");
        let (plain, scaled) = (Formula::parse(&plain), Formula::parse(&scaled));
        prop_assert_eq!(plain.as_ref().ok(), scaled.as_ref().ok());
        prop_assert_eq!(plain.ok(), Formula::parse(&bracket).ok());
    }

    #[test]
    fn the_fast_path_agrees_with_the_full_one(text in "([A-Z][a-z]?[0-9]{0,3}){1,8}") {
        let full = Formula::parse_with_charge(&text).map(|parsed| parsed.formula);
        prop_assert_eq!(Formula::parse(&text), full);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Formula::parse_with_charge(&text);
        let _ = Formula::parse_with_basis(&text, Basis::WeightPercent);
    }

    #[test]
    fn nothing_like_a_formula_panics(
        text in "([A-Z][a-z]?|[0-9]{1,12}|[.·*^+\\-%() \\[\\]{}]|H2O|\\.5H2O|wt%|²|⁻|₂|é|Fe|Ni|Ti-|6Al-){0,24}"
    ) {
        for basis in [Basis::WeightPercent, Basis::AtomicFraction] {
            let _ = Formula::parse_with_basis(&text, basis);
        }
        match Formula::parse_with_charge(&text) {
            Ok(Parsed { formula, .. }) => prop_assert_eq!(Formula::parse(&formula.display()).ok(), Some(formula)),
            Err(error) => prop_assert!(error.at.is_none_or(|at| at >= 1 && at <= text.chars().count().max(1)), "{}", error),
        }
    }
}

/// Every formula of the first column of the tables that are there.
fn shared_formulas(tables: &[&str]) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/vendorable/");
    let mut formulas = Vec::new();
    for table in tables {
        match std::fs::read_to_string(format!("{folder}{table}")) {
            Ok(text) => {
                formulas.extend(text.lines().skip(1).filter_map(|line| line.split(',').next()).map(str::to_owned))
            }
            Err(error) => eprintln!("SKIPPED: {folder}{table}: {error}"),
        }
    }
    formulas
}

#[test]
fn every_formula_of_oqmd_and_materials_project_is_read() {
    let projects: [(&[&str], usize); 2] = [
        (&["oqmd/volume_A3_per_atom.csv"], 341_700),
        (
            &[
                "materials_project/bulk_modulus_GPa.csv",
                "materials_project/decomposition_energy_eV_per_atom.csv",
                "materials_project/elastic_anisotropy.csv",
                "materials_project/energy_above_hull_eV_per_atom.csv",
                "materials_project/formation_energy_eV_per_atom.csv",
                "materials_project/magnetic_moment_muB.csv",
                "materials_project/shear_modulus_GPa.csv",
            ],
            302_174,
        ),
    ];
    for (tables, rows) in projects {
        let formulas = shared_formulas(tables);
        let read: HashSet<Formula> = formulas.iter().map(|text| Formula::parse(text).expect(text)).collect();
        let texts: HashSet<String> = read.iter().map(Formula::reduced).collect();
        assert_eq!(texts.len(), read.len(), "equal formulas have equal texts and the reverse");
        for formula in &read {
            assert_eq!(&Formula::parse(&formula.display()).unwrap(), formula);
        }
        let project = tables[0].split('/').next().unwrap_or_default();
        eprintln!("{project}: {} rows, {} distinct reduced formulas", formulas.len(), read.len());
        assert!(formulas.is_empty() || formulas.len() == rows);
    }
}

#[test]
fn the_density_of_rock_salt_follows_from_the_volume_of_oqmd() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/vendorable/oqmd/volume_A3_per_atom.csv");
    let Ok(text) = std::fs::read_to_string(table) else {
        eprintln!("SKIPPED: {table} is not there");
        return;
    };
    let salt = Formula::parse("NaCl").unwrap();
    let is_salt = |line: &&str| line.starts_with("Cl1Na1,") || line.starts_with("Na1Cl1,");
    let volume: f64 = text.lines().find(is_salt).unwrap().split(',').nth(1).unwrap().parse().unwrap();
    assert_eq!(format!("{:.3}", salt.density_from_volume(volume)), "2.162");
}
