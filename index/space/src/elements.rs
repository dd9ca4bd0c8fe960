//! What elements are like: Magpie's table of 22 properties and the 200 components of mat2vec.
//!
//! Magpie: Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28. mat2vec: Tshitoyan et al., Nature
//! 571, 95 (2019), doi:10.1038/s41586-019-1335-8; three decimals. Both as in crabnet 2.0.8 (MIT).

use std::sync::LazyLock;

/// Elements that there are.
pub const COUNT: usize = 118;
/// Properties in Magpie's table.
pub const MAGPIE: usize = 22;
/// Components of mat2vec.
pub const MAT2VEC: usize = 200;

const SYMBOLS: [&str; COUNT] = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
];

/// A number of each element and column; what the source does not know is the mean of its column.
#[derive(Debug)]
pub struct ElementTable {
    columns: usize,
    values: Vec<f32>,
}

impl ElementTable {
    fn parse(text: &str, columns: usize) -> ElementTable {
        let mut values = vec![f32::NAN; COUNT * columns];
        for line in text.lines().skip(1) {
            let mut cells = line.split(',');
            let symbol = cells.next().unwrap_or_default();
            let Some(at) = SYMBOLS.iter().position(|known| *known == symbol) else { continue };
            for (slot, cell) in values[at * columns..(at + 1) * columns].iter_mut().zip(cells) {
                *slot = cell.trim().parse().unwrap_or(f32::NAN);
            }
        }
        for column in 0..columns {
            let known = || (0..COUNT).map(|row| values[row * columns + column]).filter(|x| !x.is_nan());
            let mean = known().sum::<f32>() / known().count().max(1) as f32;
            (0..COUNT).map(|row| row * columns + column).for_each(|at| {
                if values[at].is_nan() {
                    values[at] = mean;
                }
            });
        }
        ElementTable { columns, values }
    }

    /// The row of an element, by its atomic number from 1 on.
    pub fn of(&self, number: u8) -> &[f32] {
        let at = (usize::from(number).clamp(1, COUNT) - 1) * self.columns;
        &self.values[at..at + self.columns]
    }
}

/// Magpie's table: number, Mendeleev number, weight, melting point, ... (see `elements/magpie.csv`).
pub static MAGPIE_TABLE: LazyLock<ElementTable> =
    LazyLock::new(|| ElementTable::parse(include_str!("../elements/magpie.csv"), MAGPIE));

/// mat2vec's vectors.
pub static MAT2VEC_TABLE: LazyLock<ElementTable> =
    LazyLock::new(|| ElementTable::parse(include_str!("../elements/mat2vec.csv"), MAT2VEC));
