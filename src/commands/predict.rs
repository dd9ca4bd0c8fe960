//! `matgenome predict`: fills the empty cells ahead of the questions about them.

use index::scope::Viewer;

use crate::arguments::Common;
use crate::open::{self, Bar};
use crate::output::{Failure, print};

/// Predicts some properties of all materials, or all properties.
pub async fn run(common: &Common, keys: &[String]) -> Result<u8, Failure> {
    let hub = open::hub_to_list(common).await?;
    let snapshot = hub.snapshot();
    let scope = snapshot.visible(Viewer::Owner);
    let properties: Vec<_> = keys
        .iter()
        .map(|key| snapshot.find_property(key, &scope).map_err(|e| Failure::usage(e.message)))
        .collect::<Result<_, _>>()?;
    let bar = Bar::new();
    let mut watch = |done: usize, total: usize| {
        bar.count(done as u64, total as u64, "predicting properties");
        true
    };
    let wanted = (!properties.is_empty()).then_some(properties.as_slice());
    let done = tokio::task::block_in_place(|| hub.predict(wanted, &mut watch));
    bar.clear();
    done?;
    let asked = wanted.map_or_else(|| snapshot.predictable(Viewer::Owner), <[_]>::to_vec);
    let without: Vec<&str> = asked.iter().filter(|p| snapshot.predicted(p).is_none()).map(|p| p.key.as_str()).collect();
    print(format!("{} properties are predicted", asked.len() - without.len()))?;
    if !without.is_empty() {
        print(format!("too little is known to predict {}", without.join(", ")))?;
    }
    Ok(0)
}
