#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn property(key: &str) -> &'static Property {
    dictionary().get(key).unwrap_or_else(|| panic!("{key}"))
}

#[test]
fn the_bundled_file_is_well_formed() {
    let dictionary = Dictionary::parse(SOURCE).unwrap();
    assert!(dictionary.len() >= 90 && !dictionary.is_empty(), "{}", dictionary.len());
    for group in [
        "physical",
        "electronic",
        "mechanical",
        "thermal",
        "optical",
        "magnetic",
        "thermodynamic",
        "transport",
        "electrochemical",
        "processing",
        "sustainability",
    ] {
        assert!(dictionary.iter().filter(|p| p.group == group).count() >= 5, "{group}");
    }
    let wordy = |p: &&Property| p.description.ends_with('.') && !p.name.is_empty() && !p.symbol.is_empty();
    assert_eq!(dictionary.iter().filter(wordy).count(), dictionary.len());
    for (index, property) in dictionary.iter().enumerate() {
        let index = u16::try_from(index).unwrap();
        assert_eq!(dictionary.index_of(&property.key), Some(index));
        assert_eq!(dictionary.by_index(index).unwrap().key, property.key);
    }
    assert!(dictionary.by_index(u16::MAX).is_none() && dictionary.get("Band_Gap").is_none());
}

#[test]
fn malformed_files_are_refused_with_the_reason() {
    let good = "[[property]]\nkey='a_b'\nname='n'\nsymbol='s'\nunit='eV'\ngroup='g'\naxis='log'\nbounds=[1,2]\n\
                aliases=['q r']\nbetter='more'\ndescription='D.'\nsd={relative=0.1}\n";
    assert!(Dictionary::parse(good).is_ok());
    for (from, to, reason) in [
        ("'eV'", "'evil'", "unknown unit"),
        ("[1,2]", "[0,2]", "log axis"),
        ("[1,2]", "[2,2]", "not an interval"),
        ("0.1", "0.0", "not above 0"),
        ("'a_b'", "'A b'", "snake case"),
        ("'log'", "'cubic'", "cubic"),
        ("group", "grope", "grope"),
    ] {
        let error = Dictionary::parse(&good.replace(from, to)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let twice = format!("{good}{good}");
    assert!(Dictionary::parse(&twice).unwrap_err().contains("twice"));
    let shared = format!("{good}{}", good.replace("a_b", "c_d").replace("'n'", "'m'"));
    assert!(Dictionary::parse(&shared).unwrap_err().contains("a_b and c_d"));
}

#[test]
fn headers_of_real_files_find_their_property() {
    let mut wrong = Vec::new();
    for (key, headers) in [
        (
            "density",
            &[
                "PROPERTY: Exp. Density (g/cm$^3$)",
                "PROPERTY: Calculated Density (g/cm$^3$)",
                "Den_MD",
                "Density",
                "density_value",
                "density_g_cm3",
                "ρ (kg/m^3)",
                "$\\rho$ [g/cc]",
                "Density_(g/mL)",
                "DENSITY, kg/m³",
            ][..],
        ),
        ("grain_size", &["PROPERTY: grain size ($\\mu$m)"]),
        ("hardness_vickers", &["PROPERTY: HV", "hardness_vickers", "Hardness (HV)", "Hardness"]),
        ("indentation_hardness", &["Hardness (GPa)", "H (GPa)"]),
        ("yield_strength", &["PROPERTY: YS (MPa)", "YieldStrength", "yield_strength_value", "ys", "Rp0.2 / MPa"]),
        (
            "tensile_strength",
            &["PROPERTY: UTS (MPa)", "UltimateTensileStrength", "UTS (MPa)", "tensile_strength_value"],
        ),
        ("elongation", &["PROPERTY: Elongation (%)", "Elongation (%)", "UltimateStrain"]),
        ("plastic_elongation", &["PROPERTY: Elongation plastic (%)"]),
        (
            "youngs_modulus",
            &[
                "PROPERTY: Exp. Young modulus (GPa)",
                "PROPERTY: Calculated Young modulus (GPa)",
                "YoungsModulus",
                "Young's Modulus [GPa]",
                "E",
                "youngs_modulus_value",
            ],
        ),
        ("oxygen_content", &["PROPERTY: O content (wppm)"]),
        ("nitrogen_content", &["PROPERTY: N content (wppm)"]),
        ("carbon_content", &["PROPERTY: C content (wppm)"]),
        ("max_service_temperature", &["Temperature capability (C)", "max_service_temp_value"]),
        ("price", &["Mass price (USD/kg)", "price_per_kg"]),
        ("supply_risk", &["Supply risk"]),
        ("vulnerability_to_supply_restriction", &["Normalized vulnerability to supply restriction"]),
        ("embodied_energy", &["Embodied energy (MJ/kg)", "ced_mj_per_kg"]),
        ("carbon_footprint", &["GWP (kg CO2e/kg)", "gwp_kg_co2e_per_kg"]),
        ("rock_to_metal_ratio", &["Rock to metal ratio (kg/kg)"]),
        ("water_usage", &["Water usage (l/kg)"]),
        ("human_health_damage", &["Human health damage"]),
        ("human_rights_pressure", &["Human rights pressure"]),
        ("labor_rights_pressure", &["Labor rights pressure"]),
        ("total_mass_loss", &["tml", "TML (%)"]),
        ("collected_volatile_condensable", &["cvcm"]),
        ("water_vapor_regained", &["wvr"]),
        ("bulk_modulus", &["K_VRH", "bulk_modulus_kv", "bulk_modulus_GPa", "bulk_modulus_vrh_GPa", "K (GPa)", "KVRH"]),
        ("shear_modulus", &["G_VRH", "shear_modulus_gv", "ShearModulus", "shear_modulus_vrh_GPa"]),
        ("poissons_ratio", &["poisson_ratio", "PoissonRatio", "ν", "poissons_ratio"]),
        ("elastic_anisotropy", &["elastic_anisotropy"]),
        ("piezoelectric_modulus", &["eij_max", "dfpt_piezo_max_eij"]),
        ("energy_above_hull", &["e_above_hull", "ehull", "energy_above_hull_eV_per_atom"]),
        (
            "formation_energy",
            &["formation_energy_per_atom", "formation_energy_peratom", "formation_energy_eV_per_atom"],
        ),
        ("total_energy", &["energy_eV_per_atom"]),
        ("decomposition_energy", &["decomposition_energy_eV_per_atom"]),
        ("volume_per_atom", &["volume_A3_per_atom"]),
        ("magnetic_moment", &["magnetic_moment_muB", "magmom_outcar"]),
        (
            "band_gap",
            &["band_gap_eV", "mbj_bandgap", "optb88vdw_bandgap", "Band gap (eV)", "Eg", "E_g [eV]", "bandgap"],
        ),
        ("electrical_conductivity_p_type", &["sigma_p", "σₚ"]),
        ("electrical_conductivity_n_type", &["sigma_n"]),
        ("seebeck_coefficient_p_type", &["S_p", "p_Seebeck"]),
        ("seebeck_coefficient_n_type", &["S_n", "n_Seebeck"]),
        ("electronic_thermal_conductivity_p_type", &["kappa_p"]),
        ("electronic_thermal_conductivity_n_type", &["kappa_n", "κₙ"]),
        ("power_factor_p_type", &["PF_p", "p_powerfact"]),
        ("power_factor_n_type", &["PF_n", "n_powerfact"]),
        ("effective_mass_p_type", &["m_p", "p_em300k"]),
        ("effective_mass_n_type", &["m_n", "n_em300k"]),
        ("power_factor", &["Power Factor (W/(K^2 m))", "power_factor"]),
        (
            "electrical_resistivity",
            &["Electrical Resistivity (Ohm m)", "volume_resistivity_value", "resistivity_value", "rho (µΩ cm)"],
        ),
        ("electrical_conductivity", &["Electrical Conductivity (S/m)", "ElectricalConductivity", "conductivity_value"]),
        ("seebeck_coefficient", &["Seebeck Coefficient (V/K)", "Thermopower (V/K)", "S (µV/K)"]),
        (
            "thermal_conductivity",
            &[
                "Thermal Conductivity (W/(m K))",
                "ThermalConductivity",
                "kappa",
                "k (W/mK)",
                "λ [W/m-K]",
                "thermal_conductivity_300K_W_per_mK",
                "thermal_conductivity_(W/(m_K))_",
            ],
        ),
        ("zt", &["Figure of Merit", "zT", "ZT"]),
        ("ionic_conductivity", &["Ionic conductivity (S cm-1)", "IC (Total)"]),
        ("heat_capacity", &["Cₚ", "Cp", "Cp (J/mol/K)", "C_p"]),
        (
            "specific_heat",
            &["SpecificHeat", "specific_heat_value", "Cp (J/kg/K)", "Cp [J/(g K)]", "specific_heat_(J/g_K)_"],
        ),
        (
            "thermal_expansion",
            &[
                "ThermalExpansionCoefficient",
                "CTE (ppm/K)",
                "linear_expansion",
                "thermal_expansion_300K_per_K",
                "CTE [1e-6/K]",
            ],
        ),
        ("volumetric_thermal_expansion", &["volume_expansion"]),
        ("compressive_strength", &["CompressiveStrength"]),
        (
            "melting_temperature",
            &["melting_point_value", "Tm (K)", "Melting_point_(K)", "T_m (°C)", "Melting point (C)"],
        ),
        ("glass_transition_temperature", &["glass_transition_value", "Tg (K)", "Tg"]),
        ("dielectric_constant", &["dielectric_constant", "RelativePermittivity", "static_dielectric_const", "ε_r"]),
        ("dielectric_strength", &["breakdown_voltage_value"]),
        ("refractive_index", &["RI_LL", "ior", "n"]),
        ("polarizability", &["Pol_DFT", "polarizability(A^3)"]),
        ("molar_mass", &["MW_pybel", "MolarMass"]),
        ("debye_temperature", &["debye_temperature_K", "Debye temperature (K)"]),
        ("kinematic_viscosity", &["KinematicViscosity"]),
        ("viscosity", &["DynamicViscosity"]),
        ("fracture_toughness", &["FractureToughness", "KIC (MPa·m^1/2)", "K_Ic (MPa√m)"]),
        ("superconducting_critical_temperature", &["Tc (K)", "critical_temp"]),
        ("remanence", &["Br (T)"]),
        ("slme", &["slme"]),
        ("extinction_coefficient", &["k (1)", "k [-]"]),
        ("carrier_concentration", &["n (cm^-3)"]),
        ("hhi_production", &["HHI_production"]),
    ] {
        for header in headers {
            let found = dictionary().by_alias(header).map(|p| p.key.as_str());
            if found != Some(key) {
                wrong.push(format!("{header}: {found:?}, not {key}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn headers_of_other_things_find_nothing() {
    for header in [
        "",
        " ",
        "formula",
        "IDENTIFIER: Reference ID",
        "PROPERTY: Microstructure",
        "PROPERTY: Test temperature ($^\\circ$C)",
        "REFERENCE: doi",
        "Al",
        "Co",
        "Sn",
        "Br",
        "S",
        "K",
        "B",
        "Tc",
        "Tm",
        "W",
        "N",
        "O",
        "C",
        "Sn (wt.%)",
        "K (at.%)",
        "Class",
        "Space group",
        "a",
        "T",
        "mp_id",
        "alpha",
        "rho",
        "k",
        "energy",
        "carbon",
        "yield_strength_unit",
        "density_unit",
        "()",
        "(GPa)",
        "[",
        ")",
        "value",
        "%",
    ] {
        let found = dictionary().by_alias(header).map(|p| p.key.as_str());
        assert_eq!(found, None, "{header}");
    }
}

#[test]
fn the_closest_keys_come_first() {
    for (text, key) in [
        ("bandgap_energy", "band_gap"),
        ("band_gp", "band_gap"),
        ("denstiy", "density"),
        ("young modulus", "youngs_modulus"),
        ("thermal_conductivty", "thermal_conductivity"),
        ("hull_energy", "energy_above_hull"),
        ("UTS", "tensile_strength"),
    ] {
        assert_eq!(dictionary().closest(text, 3).first(), Some(&key), "{text}: {:?}", dictionary().closest(text, 3));
    }
    assert!(dictionary().closest("band gap", 2).len() == 2 && dictionary().closest("band gap", 0).is_empty());
}

#[test]
fn the_deviation_comes_from_the_best_source_and_is_never_zero() {
    let gap = property("band_gap");
    assert_eq!(gap.axis_sd(1.4, Some(0.05), Some("DFT-PBE")), 0.05);
    assert_eq!(gap.axis_sd(1.4, None, Some("DFT-PBE")), 0.4);
    assert_eq!(gap.axis_sd(1.4, Some(0.0), Some("GGA PBE (VASP)")), 0.4);
    assert_eq!(gap.axis_sd(1.4, Some(f64::NAN), Some("HSE06")), 0.25);
    assert_eq!(gap.axis_sd(1.4, None, Some("ellipsometry")), gap.axis_sd(1.4, None, None));
    let modulus = property("bulk_modulus");
    let expected = 5.0 / (100.0 * std::f64::consts::LN_10);
    assert!((modulus.axis_sd(100.0, Some(5.0), None) - expected).abs() < 1e-15);
    assert!((modulus.axis_sd(100.0, None, None) - expected).abs() < 1e-15);
    for property in dictionary().iter() {
        for value in [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY, property.bounds[0], property.bounds[1]] {
            for uncertainty in [None, Some(1e-300), Some(1e300), Some(-1.0)] {
                let sd = property.axis_sd(value, uncertainty, Some("DFT-PBE"));
                assert!(sd > 0.0 && sd.is_finite(), "{} {value} {uncertainty:?}: {sd}", property.key);
            }
        }
    }
}

#[test]
fn axes_lead_there_and_back() {
    assert_eq!(Axis::Log.to_axis(1000.0), 3.0);
    assert_eq!(Axis::Linear.from_axis(Axis::Linear.to_axis(-2.5)), -2.5);
    assert!((Axis::Log.from_axis(Axis::Log.to_axis(42.0)) - 42.0).abs() < 1e-12);
}

#[test]
fn unphysical_values_are_out_of_bounds() {
    for (key, value) in [
        ("formation_energy", -7.0),
        ("volume_per_atom", 203.7),
        ("elastic_anisotropy", -5.66),
        ("bulk_modulus", -3.0),
        ("band_gap", f64::NAN),
    ] {
        assert!(!property(key).is_conceivable(value), "{key} {value}");
    }
    assert!(property("formation_energy").is_conceivable(-5.0));
}

#[test]
fn the_interface_serves_the_promised_fields() {
    let json = serde_json::to_value(property("density")).unwrap();
    assert_eq!(json["axis"], "linear");
    assert_eq!(json["better"], "less");
    assert_eq!(json["bounds"][1], 30.0);
    for key in ["key", "name", "symbol", "unit", "group", "description", "aliases"] {
        assert!(!json[key].is_null(), "{key}");
    }
}
