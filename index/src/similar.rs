//! Which materials are like this one? Nearest neighbours in a space, and substitutes without some elements.
//!
//! In a space of vectors ([`crate::embedding`]) the device finds the neighbours. In the space of properties the question is a spec:
//! each known value of the material is a window of no width, and a candidate's distance is the root of its score. So a belief
//! counts with its deviation, and an unknown cell as one drawn from the property's population.

use std::collections::BTreeMap;

use datasets::element::Element;
use datasets::property::Property;
use datasets::record::Evidence;
use gpu::reference::Window;
use gpu::{Device, GpuError, Mask, Masks, NearestQuery};
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Subjected, subject};
use crate::belief::Belief;
use crate::candidate::{BeliefAnswer, Identity, belief_answer, identity, stability};
use crate::embedding::{Embedding, Space};
use crate::hnsw::Recall;
use crate::hub::HubError;
use crate::scope::{Scope, Viewer};
use crate::search;
use crate::snapshot::Snapshot;
use crate::spec::{self, MAX_LIMIT, MAX_TARGETS, Resolved, SpecError, Subject, Target, Unknown, default_limit};

/// Values that are shown of a neighbour where the space is not that of the properties.
const SHOWN: usize = 6;

/// The least evidence of a value that is compared.
pub(crate) const KNOWN: Evidence = Evidence::Derived;

/// The mend where a material has no known value.
pub(crate) const OTHER_SPACES: &str =
    "ask by composition, descriptors, learned or structure, or contribute a value (`ingest`)";

/// A question for the materials that are like one.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SimilarSpec {
    /// A material of the hub: id, formula or name. Either this or `formula`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    /// A formula, also one that the hub has never seen. No material of this formula is among its own neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// The space in which they are near.
    #[serde(default)]
    pub by: Space,
    /// Which materials may be neighbours, in the OPTIMADE filter language over material fields and property keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only materials with a record in these datasets, and only their values; all that the caller may see by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datasets: Option<Vec<String>>,
    /// Number of neighbours, 1 to 1,000.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = 20))]
    pub limit: usize,
    /// Whether only the exact answer will do. Else a server without a GPU may walk along a graph, and says how many it finds.
    #[serde(default)]
    pub exact: bool,
}

/// A question for the materials that could stand in for one.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubstituteSpec {
    /// A material of the hub: id, formula or name. Either this or `formula`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    /// The formula of a material of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// Symbols of the elements that no candidate may contain; materials without a formula are no candidates.
    pub without: Vec<String>,
    /// Keys of the properties that matter; by default all that the material has a known value of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Vec<String>>,
    /// Which materials may be candidates, in the OPTIMADE filter language over material fields and property keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only materials with a record in these datasets, and only their values; all that the caller may see by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datasets: Option<Vec<String>>,
    /// Number of candidates, 1 to 1,000.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = 20))]
    pub limit: usize,
}

/// The neighbours of a material.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SimilarAnswer {
    /// How they were found.
    pub meta: SimilarMeta,
    /// The neighbours, nearest first.
    pub candidates: Vec<SimilarCandidate>,
}

/// How neighbours were found.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SimilarMeta {
    /// Version of the table that was searched.
    pub version: u64,
    /// The device that searched.
    pub device: String,
    /// Why it was not the chosen one, where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the candidates are exactly the nearest ones.
    pub exact: bool,
    /// Where they were found along a graph (HNSW): how many of the nearest it finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<Recall>,
    /// Materials with a record in the datasets that were asked.
    pub searched: usize,
    /// Of those, materials that match the filter and hold no element to do without.
    pub matched_filter: usize,
    /// Of those, materials that have a place in the space and are not the one asked about.
    pub compared: usize,
    /// Milliseconds in the search, transport not counted.
    pub took_ms: f64,
    /// The space.
    pub by: Space,
    /// What its distance is.
    pub metric: String,
    /// What was asked about.
    pub asked: Asked,
    /// The values that were compared, in the space of the properties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<BeliefAnswer>,
}

/// One neighbour.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SimilarCandidate {
    /// 1 is the nearest.
    pub rank: usize,
    /// Id of the material.
    pub material: String,
    /// The formula as chemists write it; null for materials known by name only.
    pub formula: Option<String>,
    /// The alphabetical reduced formula, as in OPTIMADE.
    pub chemical_formula_reduced: Option<String>,
    /// A name or grade, where a record gives one.
    pub name: Option<String>,
    /// How far it is, as `metric` says.
    pub distance: f64,
    /// In the space of the properties: of how many of them it has a known value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<usize>,
    /// In the space of structures: the record that states the one compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<String>,
    /// Known values: those that were compared, else a few of what the asked material has values of, else a few of its own.
    pub properties: Vec<BeliefAnswer>,
    /// What is known of its stability; computed compounds may be hypothetical.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stability: BTreeMap<String, f64>,
    /// The records that speak about it.
    pub records: Vec<String>,
    /// Their datasets.
    pub datasets: Vec<String>,
}

/// The rows that may be answered.
struct Ground {
    scope: Scope,
    mask: Mask,
    searched: usize,
}

/// Answers which materials are like one.
///
/// # Errors
/// The question is to blame: [`HubError::Spec`], [`HubError::NoMaterial`], [`HubError::Ambiguous`].
pub fn similar(
    snapshot: &Snapshot,
    device: &Device,
    spec: &SimilarSpec,
    viewer: Viewer,
) -> Result<SimilarAnswer, HubError> {
    check_limit(spec.limit)?;
    let subject = subject(snapshot, viewer, spec.material.as_deref(), spec.formula.as_deref())?;
    let ground = ground(snapshot, viewer, spec.datasets.as_deref(), spec.filter.as_deref())?;
    match snapshot.embedding(spec.by)? {
        Some(embedding) => by_vectors(snapshot, device, spec, subject, ground, &embedding),
        None => {
            let targets = compared(snapshot, &ground.scope, &subject, None, OTHER_SPACES)?;
            by_properties(snapshot, device, &subject, ground, targets, spec.limit)
        }
    }
}

/// Answers which materials could stand in for one.
///
/// # Errors
/// The question is to blame: [`HubError::Spec`], [`HubError::NoMaterial`], [`HubError::Ambiguous`].
pub fn substitute(
    snapshot: &Snapshot,
    device: &Device,
    spec: &SubstituteSpec,
    viewer: Viewer,
) -> Result<SimilarAnswer, HubError> {
    check_limit(spec.limit)?;
    let without = elements(&spec.without)?;
    let subject = subject(snapshot, viewer, spec.material.as_deref(), spec.formula.as_deref())?;
    let mut ground = ground(snapshot, viewer, spec.datasets.as_deref(), spec.filter.as_deref())?;
    let bits = &snapshot.materials.elements;
    // what a material without a formula holds is not known
    let free = Mask::partition(bits.len(), |row| Some(bits[row] != 0 && bits[row] & without == 0)).0;
    ground.mask.and(&free)?;
    let mend = format!(
        "contribute one (`ingest`), or ask `similar` by composition with the filter `NOT elements HAS ANY {}`",
        spec.without.iter().map(|symbol| format!("\"{}\"", symbol.trim())).collect::<Vec<_>>().join(",")
    );
    let targets = compared(snapshot, &ground.scope, &subject, spec.keep.as_deref(), &mend)?;
    by_properties(snapshot, device, &subject, ground, targets, spec.limit)
}

fn check_limit(limit: usize) -> Result<(), SpecError> {
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(());
    }
    Err(SpecError::new("/limit", format!("{limit} is not within 1 to {MAX_LIMIT}")))
}

/// The bits of the elements to do without.
fn elements(symbols: &[String]) -> Result<u128, SpecError> {
    if symbols.is_empty() {
        return Err(SpecError::new("/without", "name the elements to do without, or ask `similar` by properties"));
    }
    let mut bits = 0;
    for (i, symbol) in symbols.iter().enumerate() {
        let text = symbol.trim();
        let Some(element) = Element::from_symbol(text) else {
            let lower = text.to_lowercase();
            let meant = Element::all().find(|e| e.symbol().to_lowercase() == lower || e.name().to_lowercase() == lower);
            let hint = meant.map_or(String::new(), |e| format!("; the closest is {}", e.symbol()));
            let message = format!("`{symbol}` is no element symbol: write it as in the periodic table{hint}");
            return Err(SpecError::new(format!("/without/{i}"), message).closest(meant.map(Element::symbol)));
        };
        bits |= 1u128 << element.number();
    }
    Ok(bits)
}

fn ground(
    snapshot: &Snapshot,
    viewer: Viewer,
    datasets: Option<&[String]>,
    filter: Option<&str>,
) -> Result<Ground, SpecError> {
    let scope = spec::scope(snapshot, viewer, datasets)?;
    let (mask, searched) = spec::candidates(snapshot, &scope, filter)?;
    Ok(Ground { scope, mask, searched })
}

fn by_vectors(
    snapshot: &Snapshot,
    device: &Device,
    spec: &SimilarSpec,
    mut subject: Subjected,
    ground: Ground,
    embedding: &Embedding,
) -> Result<SimilarAnswer, HubError> {
    let scope = &ground.scope;
    let query = subject.vector(snapshot, scope, spec.by, embedding)?;
    let sees = |record: u32| snapshot.sees(scope, record as usize);
    let matched_filter = ground.mask.count();
    let mut allowed = ground.mask;
    subject.own.iter().for_each(|row| allowed.set(*row as usize, false));
    let placed = embedding.placed(&allowed)?.count();
    // a GPU looks at all of them sooner
    let graphs = snapshot.graphs.get().filter(|_| !spec.exact && device.is_cpu());
    let guide = graphs.and_then(|graphs| graphs.guide(snapshot, spec.by, embedding));
    let guide = guide.filter(|guide| guide.pays(placed, spec.limit));
    let is_allowed = |at: u32| allowed.get(embedding.rows[at as usize] as usize);
    let walked = guide.and_then(|guide| Some((guide.nearest(&query, spec.limit, is_allowed)?, guide.recall())));
    let (nearest, compared, recall, device, note) = match walked {
        Some((nearest, recall)) => (nearest, placed, Some(recall), device.name().to_owned(), None),
        None => {
            let mask = embedding.mask(&allowed, sees);
            let answer = device.nearest(&NearestQuery {
                vectors: &embedding.vectors,
                queries: &query,
                metric: embedding.metric,
                masks: Masks::Shared(&mask),
                leave_out: None,
                k: spec.limit,
            })?;
            (answer.neighbours.into_iter().flatten().collect(), mask.count(), None, answer.device, answer.note)
        }
    };
    let found = nearest.into_iter();
    let found: Vec<(f64, u32)> = found.map(|n| (n.distance * embedding.unit, embedding.rows[n.row as usize])).collect();
    let structure = |row: u32| embedding.structure(snapshot, scope, row);
    let shown = subject.row.map(|row| known_properties(snapshot, scope, row)).filter(|known| !known.is_empty());
    let candidates = found.into_iter().enumerate().map(|(i, (distance, row))| {
        let own = shown.is_none().then(|| known_properties(snapshot, scope, row));
        let wanted = shown.as_ref().or(own.as_ref()).into_iter().flatten();
        let known = wanted.filter_map(|property| Some((*property, belief(snapshot, scope, property, row)?)));
        let properties = known.take(SHOWN).map(|(p, belief)| belief_answer(snapshot, p, &belief)).collect();
        let found = candidate(snapshot, scope, i + 1, distance, row, None, properties);
        SimilarCandidate { structure: structure(row), ..found }
    });
    Ok(SimilarAnswer {
        candidates: candidates.collect(),
        meta: SimilarMeta {
            version: snapshot.version,
            device,
            note,
            exact: recall.is_none(),
            recall,
            searched: ground.searched,
            matched_filter,
            compared,
            took_ms: 0.0,
            by: spec.by,
            metric: spec.by.metric().to_owned(),
            asked: Asked { structure: subject.row.and_then(structure), ..subject.asked(snapshot, scope) },
            properties: Vec::new(),
        },
    })
}

/// Targets that want exactly these values, and the materials that have one of them at all.
pub(crate) fn exactly(
    snapshot: &Snapshot,
    scope: &Scope,
    values: &[(&'static Property, Belief)],
) -> Result<(Vec<Target>, Mask), GpuError> {
    let n = snapshot.materials.len();
    let mut shares = Mask::none(n);
    let mut targets = Vec::new();
    for (property, belief) in values {
        let beliefs = snapshot.beliefs(scope, property, None);
        shares.or(beliefs.known(KNOWN, n))?;
        let inv_tolerance = 1.0 / beliefs.population().spread;
        targets.push(Target {
            subject: Subject::Property(property),
            beliefs,
            window: Window { lo: belief.mean, hi: belief.mean, inv_tolerance, weight: 1.0 },
            required: false,
            unit: property.unit.clone(),
            shown: None,
            at: None,
            unpredicted: None,
        });
    }
    Ok((targets, shares))
}

/// The properties that are compared, with what is believed of the asked material.
pub(crate) fn compared(
    snapshot: &Snapshot,
    scope: &Scope,
    subject: &Subjected,
    keep: Option<&[String]>,
    mend: &str,
) -> Result<Vec<(&'static Property, Belief)>, HubError> {
    let text = &subject.text;
    let none = || subject.refuse(format!("`{text}` has no known value to compare by: {mend}"));
    let Some(row) = subject.row else {
        return Err(if subject.own.is_empty() { none() } else { subject.ambiguous(snapshot, scope, &subject.own) });
    };
    let known = || -> Vec<(&'static Property, Belief)> {
        let known = known_properties(snapshot, scope, row).into_iter();
        known.filter_map(|property| Some((property, belief(snapshot, scope, property, row)?))).collect()
    };
    let Some(keys) = keep else {
        let mut known = known();
        known.truncate(MAX_TARGETS);
        return if known.is_empty() { Err(none()) } else { Ok(known) };
    };
    if keys.is_empty() || keys.len() > MAX_TARGETS {
        let message = format!("{} properties; name 1 to {MAX_TARGETS}, or leave it out for all", keys.len());
        return Err(SpecError::new("/keep", message).into());
    }
    let mut kept: Vec<(&'static Property, Belief)> = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let pointer = format!("/keep/{i}");
        let found = snapshot.find_property(key.trim(), scope);
        let property = found.map_err(|e| SpecError::new(&pointer, e.message).closest(e.closest))?;
        let Some(belief) = belief(snapshot, scope, property, row) else {
            let known: Vec<String> = known().into_iter().map(|(property, _)| property.key.clone()).collect();
            if known.is_empty() {
                return Err(none());
            }
            let message = format!("`{text}` has no known value of `{key}`; it has {}", known.join(", "));
            return Err(SpecError::new(pointer, message).closest(known).into());
        };
        if kept.iter().all(|(other, _)| other.key != property.key) {
            kept.push((property, belief));
        }
    }
    Ok(kept)
}

fn by_properties(
    snapshot: &Snapshot,
    device: &Device,
    subject: &Subjected,
    ground: Ground,
    compared: Vec<(&'static Property, Belief)>,
    limit: usize,
) -> Result<SimilarAnswer, HubError> {
    let Ground { scope, mut mask, searched } = ground;
    let matched_filter = mask.count();
    let (targets, shares) = exactly(snapshot, &scope, &compared)?;
    mask.and(&shares)?;
    subject.own.iter().for_each(|row| mask.set(*row as usize, false));
    let asked = subject.asked(snapshot, &scope);
    let spec = Resolved {
        targets,
        like: None,
        scope,
        mask,
        unknown: Unknown::Predict,
        evidence: KNOWN,
        limit,
        offset: 0,
        searched,
    };
    let ranking = search::rank(snapshot, device, &spec)?;
    let mut found: Vec<(f64, u32)> = ranking.page.iter().map(|(score, row)| (score.sqrt(), *row)).collect();
    // the root may make equal what was not
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let candidates = found.into_iter().enumerate().map(|(i, (distance, row))| {
        let known = compared.iter().filter_map(|(p, _)| Some((*p, belief(snapshot, &spec.scope, p, row)?)));
        let shared: Vec<BeliefAnswer> = known.map(|(p, belief)| belief_answer(snapshot, p, &belief)).collect();
        candidate(snapshot, &spec.scope, i + 1, distance, row, Some(shared.len()), shared)
    });
    Ok(SimilarAnswer {
        candidates: candidates.collect(),
        meta: SimilarMeta {
            version: snapshot.version,
            device: ranking.device,
            note: ranking.note,
            exact: true,
            recall: None,
            searched,
            matched_filter,
            compared: ranking.matched,
            took_ms: 0.0,
            by: Space::Properties,
            metric: Space::Properties.metric().to_owned(),
            asked,
            properties: compared.iter().map(|(property, belief)| belief_answer(snapshot, property, belief)).collect(),
        },
    })
}

fn candidate(
    snapshot: &Snapshot,
    scope: &Scope,
    rank: usize,
    distance: f64,
    row: u32,
    shared: Option<usize>,
    properties: Vec<BeliefAnswer>,
) -> SimilarCandidate {
    let Identity { material, formula, chemical_formula_reduced, name, records, datasets } =
        identity(snapshot, scope, row);
    SimilarCandidate {
        rank,
        material,
        formula,
        chemical_formula_reduced,
        name,
        distance,
        shared,
        structure: None,
        properties,
        stability: stability(snapshot, scope, row),
        records,
        datasets,
    }
}

/// The properties of which a record of the scope has said a value of the material or of its formula; whether it counts, the
/// belief says.
fn known_properties(snapshot: &Snapshot, scope: &Scope, row: u32) -> Vec<&'static Property> {
    snapshot.properties(scope).filter(|property| is_said(snapshot, scope, property, row)).collect()
}

fn is_said(snapshot: &Snapshot, scope: &Scope, property: &Property, row: u32) -> bool {
    let v = &snapshot.measurements;
    let entries = v.of_property(&property.key);
    let rows = [row, snapshot.materials.parent[row as usize]];
    let mut values =
        rows.into_iter().filter(|row| *row != u32::MAX).flat_map(|row| v.of_material(entries.clone(), row));
    values.any(|i| snapshot.sees(scope, v.record[i] as usize))
}

/// What is known of a property of a material, on the evidence that counts here.
fn belief(snapshot: &Snapshot, scope: &Scope, property: &Property, row: u32) -> Option<Belief> {
    // beliefs about all materials are made for it, which is in vain where nobody has said anything
    if !is_said(snapshot, scope, property, row) {
        return None;
    }
    snapshot.beliefs(scope, property, None).get(row, snapshot.materials.len()).filter(|b| b.evidence >= KNOWN)
}
