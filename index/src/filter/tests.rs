//! What a reader of filters sees: which texts are filters, the trees they give, and what is said of the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use super::*;
use proptest::prelude::*;

fn name(path: &str) -> Field {
    Field { path: path.split('.').map(str::to_owned).collect(), at: At(0) }
}

fn text(value: &str) -> Constant {
    Constant::Text(value.to_owned())
}

fn number(value: &str) -> Constant {
    Constant::Number(Number::new(value).unwrap())
}

fn compare(left: &str, op: Comparison, right: Constant) -> Filter {
    Filter::Compare { left: name(left), op, right: Operand::Constant(right), at: At(0) }
}

fn equals(left: &str, right: &str) -> Filter {
    compare(left, Comparison::Equal, number(right))
}

fn is(value: Constant) -> HasValue {
    HasValue { test: Test::Compare(Comparison::Equal), value: Operand::Constant(value), at: At(0) }
}

fn not(inner: Filter) -> Filter {
    Filter::Not(Box::new(inner))
}

fn bare(path: &str) -> Filter {
    Filter::Bare(name(path))
}

fn with_stack_of<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(bytes).spawn(work).unwrap().join().unwrap()
}

/// The specification's own test suite, read from beside the repository and skipped where it is not there.
#[test]
fn the_specifications_cases_are_accepted_and_rejected_as_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference/optimade_filters.jsonl");
    let Ok(cases) = std::fs::read_to_string(path) else {
        eprintln!("SKIPPED: the specification's filter cases are not at {path}");
        return;
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in cases.lines().filter(|line| !line.trim().is_empty()) {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (label, filter) = (case["name"].as_str().unwrap(), case["filter"].as_str().unwrap());
        let accepted = case["accepted"].as_bool().unwrap();
        seen += 1;
        let parsed = parse(filter);
        if parsed.is_ok() != accepted {
            wrong.push(format!("{label}: {filter}\n    specification: {accepted}, here: {parsed:?}"));
        }
        if let Ok(tree) = parsed {
            assert_eq!(parse(&tree.to_string()).as_ref(), Ok(&tree), "{label}: {tree}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 81, "only {seen} cases");
}

#[test]
fn filters_give_the_trees_that_the_grammar_says() {
    use Comparison as C;
    let gap = |op, value| compare("band_gap", op, number(value));
    let cases: Vec<(&str, Filter)> = vec![
        ("band_gap >= 1.5", gap(C::GreaterOrEqual, "1.5")),
        ("band_gap<.5", gap(C::Less, ".5")),
        ("band_gap!=-1.e-12", gap(C::NotEqual, "-1.e-12")),
        ("1.5 <= band_gap", gap(C::GreaterOrEqual, "1.5")),
        ("1.5 > band_gap", gap(C::Less, "1.5")),
        ("\"a\" = b", compare("b", C::Equal, text("a"))),
        ("TRUE != b", compare("b", C::NotEqual, Constant::Boolean(true))),
        ("b = FALSE", compare("b", C::Equal, Constant::Boolean(false))),
        ("_mg_x = \"a \\\"b\\\" \\\\ é\"", compare("_mg_x", C::Equal, text("a \"b\" \\ é"))),
        ("a = \"\"", compare("a", C::Equal, text(""))),
        ("a = \"two\nlines\"", compare("a", C::Equal, text("two\nlines"))),
        ("a > b", Filter::Compare { left: name("a"), op: C::Greater, right: Operand::Field(name("b")), at: At(0) }),
        ("5 < 7", Filter::Constants { left: number("5"), op: C::Less, right: number("7"), at: At(0) }),
        ("a . b. c = 5", equals("a.b.c", "5")),
        ("metallic", bare("metallic")),
        ("NOT metallic AND stable", Filter::And(vec![not(bare("metallic")), bare("stable")])),
        (
            "f STARTS \"Si\"",
            Filter::Text { field: name("f"), op: TextMatch::Starts, value: Operand::Constant(text("Si")), at: At(0) },
        ),
        (
            "fENDSWITHg",
            Filter::Text { field: name("f"), op: TextMatch::Ends, value: Operand::Field(name("g")), at: At(0) },
        ),
        (
            "f CONTAINS \"O2\"",
            Filter::Text { field: name("f"), op: TextMatch::Contains, value: Operand::Constant(text("O2")), at: At(0) },
        ),
        (
            "elements HAS \"Si\"",
            Filter::Has {
                fields: vec![name("elements")],
                quantifier: Has::One,
                values: vec![vec![is(text("Si"))]],
                at: At(0),
            },
        ),
        (
            "elements HAS ALL \"Si\",\"O\"",
            Filter::Has {
                fields: vec![name("elements")],
                quantifier: Has::All,
                values: vec![vec![is(text("Si"))], vec![is(text("O"))]],
                at: At(0),
            },
        ),
        (
            "e : n HAS ANY \"H\":>= 6 , ENDS \"e\" : x",
            Filter::Has {
                fields: vec![name("e"), name("n")],
                quantifier: Has::Any,
                values: vec![
                    vec![
                        is(text("H")),
                        HasValue {
                            test: Test::Compare(C::GreaterOrEqual),
                            value: Operand::Constant(number("6")),
                            at: At(0),
                        },
                    ],
                    vec![
                        HasValue { test: Test::Text(TextMatch::Ends), value: Operand::Constant(text("e")), at: At(0) },
                        HasValue { test: Test::Compare(C::Equal), value: Operand::Field(name("x")), at: At(0) },
                    ],
                ],
                at: At(0),
            },
        ),
        (
            "elements LENGTH 3",
            Filter::Length { field: name("elements"), op: C::Equal, value: Operand::Constant(number("3")), at: At(0) },
        ),
        (
            "elements LENGTH > 3",
            Filter::Length {
                field: name("elements"),
                op: C::Greater,
                value: Operand::Constant(number("3")),
                at: At(0),
            },
        ),
        ("a IS KNOWN", Filter::Known { field: name("a"), known: true, at: At(0) }),
        ("aISUNKNOWN", Filter::Known { field: name("a"), known: false, at: At(0) }),
    ];
    for (filter, tree) in cases {
        assert_eq!(parse(filter), Ok(tree), "{filter}");
    }
}

#[test]
fn not_binds_tighter_than_and_and_and_tighter_than_or() {
    for (filter, braced) in [
        ("NOT a > 1 OR c = 100 AND f = 2", "(NOT (a > 1)) OR ((c = 100) AND (f = 2))"),
        ("a >= 0 AND NOT b < c OR c = 0", "((a >= 0) AND (NOT (b < c))) OR (c = 0)"),
        ("NOT (a) AND b", "(NOT a) AND b"),
        ("a OR b AND c OR d", "a OR (b AND c) OR d"),
    ] {
        assert_eq!(parse(filter).unwrap(), parse(braced).unwrap(), "{filter}");
    }
    assert_eq!(
        parse("a OR NOT b AND c").unwrap(),
        Filter::Or(vec![bare("a"), Filter::And(vec![not(bare("b")), bare("c")])])
    );
    assert_ne!(parse("NOT (a AND b)").unwrap(), parse("NOT a AND b").unwrap());
    assert_ne!(parse("(a OR b) AND c").unwrap(), parse("a OR b AND c").unwrap());
}

#[test]
fn chains_are_one_list_whatever_their_parentheses() {
    let three = Filter::Or(vec![bare("a"), bare("b"), bare("c")]);
    for filter in ["a OR b OR c", "(a OR b) OR c", "a OR ((b) OR (c))"] {
        assert_eq!(parse(filter).unwrap(), three, "{filter}");
    }
    assert_eq!(parse("(((a)))").unwrap(), bare("a"));
    assert_eq!(parse("NOT (NOT (a))").unwrap(), not(not(bare("a"))));
}

#[test]
fn the_canonical_text_is_one_for_all_spellings() {
    for (filter, canonical) in [
        ("  5<a AND((b=TRUE))", "a > 5 AND b = TRUE"),
        ("NOT(a=1OR b=2)AND c", "NOT (a = 1 OR b = 2) AND c"),
        ("(a AND b) OR (c AND (d OR e))", "a AND b OR c AND (d OR e)"),
        ("NOT ((NOT a))", "NOT (NOT a)"),
        ("s STARTS \"x\\\\\\\"\" AND s ENDS WITH y.z", "s STARTS WITH \"x\\\\\\\"\" AND s ENDS WITH y.z"),
        ("l LENGTH = 3 AND l LENGTH>=2", "l LENGTH 3 AND l LENGTH >= 2"),
        ("l HAS ANY = 1,!=+2.0,<x", "l HAS ANY 1, != +2.0, < x"),
        ("k :l HAS ONLY \"a\" : CONTAINS \"b\"", "k:l HAS ONLY \"a\":CONTAINS \"b\""),
        ("1=2 AND a IS  UNKNOWN", "1 = 2 AND a IS UNKNOWN"),
    ] {
        let tree = parse(filter).unwrap();
        assert_eq!(tree.to_string(), canonical);
        assert_eq!(parse(canonical).unwrap(), tree);
    }
}

#[test]
fn positions_are_bytes_into_the_text_and_do_not_count_in_equality() {
    let Ok(Filter::And(parts)) = parse("f = \"é\" AND x.y  <= 2") else { panic!("not an AND") };
    let Some(Filter::Compare { left, at, .. }) = parts.last() else { panic!("not a comparison") };
    assert_eq!((left.at.0, at.0), (13, 18));
    assert_eq!(parse("a=1").unwrap(), parse("   a   =   1").unwrap());

    let Ok(Filter::Has { values, at, .. }) = parse("l HAS ALL 1, > 2") else { panic!("not a HAS") };
    assert_eq!((at.0, values[0][0].at.0, values[1][0].at.0), (2, 10, 13));
}

#[test]
fn numbers_keep_their_text_and_value() {
    for (written, value) in [
        ("12345", 12345.0),
        ("+12", 12.0),
        ("-34", -34.0),
        ("1.2", 1.2),
        (".2E7", 2e6),
        ("-.2E+7", -2e6),
        ("+10.01E-10", 10.01e-10),
        ("6.03e23", 6.03e23),
        ("1.e-12", 1e-12),
        ("1.", 1.0),
        (".1", 0.1),
        ("1000000000.E1000000000", f64::INFINITY),
        ("-1e999", f64::NEG_INFINITY),
    ] {
        let Ok(Filter::Compare { right: Operand::Constant(Constant::Number(number)), .. }) =
            parse(&format!("a={written}"))
        else {
            panic!("{written}")
        };
        assert_eq!((number.text(), number.value()), (written, value));
    }
    for no_number in ["1.234D12", ".e1", "-.E1", "+.E2", "1.23E+++", "+-123", "1e", "1.2.3", "0x10", "NaN", ""] {
        assert!(parse(&format!("a={no_number}")).is_err(), "{no_number}");
        assert_eq!(Number::new(no_number), None, "{no_number}");
    }
    // a property name, like any other
    assert!(parse("a=inf").is_ok());
    assert_eq!(Number::new("inf"), None);
}

#[test]
fn errors_say_where_and_what_and_how_to_mend_it() {
    for (filter, at, message) in [
        ("", 0, "the filter is empty"),
        (" \t ", 0, "the filter is empty"),
        ("a = 1 and b = 2", 6, "found `and`: keywords are upper case: AND"),
        ("a = 1 And b = 2", 6, "found `And`: keywords are upper case: AND"),
        ("not a = 1", 0, "keywords are upper case: NOT"),
        ("a contains \"x\"", 2, "keywords are upper case: CONTAINS"),
        ("a is KNOWN", 2, "keywords are upper case: IS"),
        ("a IS known", 5, "keywords are upper case: KNOWN"),
        ("a HAS any \"x\"", 6, "keywords are upper case: ANY"),
        ("a STARTS with \"x\"", 9, "keywords are upper case: WITH"),
        ("a = 'x'", 4, "double quotes"),
        ("a = “x”", 4, "double quotes"),
        ("a == 1", 2, "equality is `=`"),
        ("a <> 1", 2, "write `!=`"),
        ("a => 1", 2, "write `>=`"),
        ("a =< 1", 2, "write `<=`"),
        ("a ! 1", 2, "write `!=` or NOT"),
        ("a ≥ 1", 2, "write >="),
        ("a = 1 && b = 2", 6, "write AND"),
        ("a = 1 || b = 2", 6, "write OR"),
        ("a = \"x AND b = 1", 4, "the text opened here is not closed"),
        ("a = \"x\\n\"", 6, "`\\` stands only before"),
        ("a = \"x\0\"", 6, "U+0000"),
        ("b OR (a = 1", 11, "the parenthesis opened at character 6 is not closed"),
        ("a = 1)", 5, "no parenthesis is open here"),
        ("(a = 1, b)", 6, "expected AND, OR or `)`"),
        ("(a AND b) = TRUE", 10, "not compared"),
        ("elements HAS \"A\",\"B\"", 16, "write HAS ALL (each of them) or HAS ANY (one of them)"),
        ("elements HAS ALL (\"A\")", 17, "without parentheses"),
        ("elements HAS Si", 13, "\"Si\""),
        ("elements HAS ALL", 16, "found the end of the filter, expected a value"),
        ("elements HAS \"H\":6", 16, "lists joined by `:`"),
        ("e:n HAS \"H\"", 11, "expected `:` and the value for the next list"),
        ("e : n = 3", 6, "expected HAS"),
        ("e:n :m = 3", 7, "expected HAS"),
        ("elements IN (\"A\")", 9, "HAS ANY"),
        ("a IS NULL", 5, "IS UNKNOWN"),
        ("a IS NOT KNOWN", 5, "for IS NOT KNOWN write IS UNKNOWN"),
        ("a UNKNOWN", 2, "write IS KNOWN or IS UNKNOWN"),
        ("a IS TRUE", 5, "write = TRUE"),
        ("elements NOT HAS \"A\"", 9, "NOT stands before the property"),
        ("LENGTH elements 3", 0, "it stands after the property name"),
        ("\"Si\" CONTAINS f", 5, "the property on its left"),
        ("NOT NOT a", 4, "NOT does not follow NOT"),
        ("a > TRUE", 4, "TRUE and FALSE have no order"),
        ("TRUE > a", 5, "TRUE and FALSE have no order"),
        ("l HAS < FALSE", 8, "TRUE and FALSE have no order"),
        ("1 < a < 5", 6, "comparisons do not chain"),
        ("a = 1 AND", 9, "found the end of the filter, expected a comparison"),
        ("a = 1 AND OR b = 2", 10, "found the keyword OR, expected a comparison"),
        ("a =", 3, "expected a value"),
        ("a = 1,5", 5, "decimal sign"),
        ("band gap > 1", 5, "a property name holds no spaces"),
        ("bandGap > 1", 0, "`bandGap` is not a property name"),
        ("3d_metal = TRUE", 0, "`3d_metal` is neither a number nor a property name"),
        ("a = 5ev", 4, "a number has no unit"),
        ("a-b = 1", 1, "no arithmetic"),
        ("a. = 1", 3, "found `=`, expected a property name"),
        ("a%20=1", 1, "URL-encoded"),
        ("a = 1;", 5, "join comparisons"),
        ("a = ANDY", 4, "`ANDY` is neither"),
        ("a\u{a0}= 1", 1, "U+00A0"),
    ] {
        let error = parse(filter).expect_err(filter);
        assert_eq!(error.at, at, "{filter}: {error}");
        assert!(error.message.contains(message), "{filter}: {error}");
    }
}

#[test]
fn an_error_prints_the_character_as_a_reader_counts_it() {
    let error = parse("f = \"žąsis\" and x = 1").unwrap_err();
    assert_eq!((error.at, error.character), (14, 13));
    assert_eq!(error.to_string(), "at character 13: found `and`: keywords are upper case: AND");
}

#[test]
fn long_texts_are_cut_in_messages() {
    let error = parse(&format!("a {}", "b".repeat(10_000))).unwrap_err();
    assert!(error.message.len() < 300, "{error}");
    let error = parse(&format!("a \"{}\"", "é".repeat(10_000))).unwrap_err();
    assert!(error.message.len() < 400, "{error}");
}

#[test]
fn nesting_length_and_terms_are_bounded() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(parse(&nested(MAX_NESTING)).unwrap(), bare("a"));
    let error = parse(&nested(MAX_NESTING + 1)).unwrap_err();
    assert_eq!(error.at, MAX_NESTING);
    assert!(error.message.contains("more than 64 parentheses"), "{error}");
    // parentheses beside each other do not add up
    assert!(parse(&vec![nested(MAX_NESTING); 100].join(" AND ")).is_ok());

    let terms = |count: usize| vec!["a"; count].join(" OR ");
    assert!(matches!(parse(&terms(MAX_TERMS)), Ok(Filter::Or(parts)) if parts.len() == MAX_TERMS));
    assert!(parse(&terms(MAX_TERMS + 1)).unwrap_err().message.contains("4096 comparisons"));
    let values = |count: usize| format!("l HAS ANY {}", vec!["1"; count].join(","));
    assert!(parse(&values(MAX_TERMS)).is_ok());
    assert!(parse(&values(MAX_TERMS + 1)).is_err());

    let long = |bytes: usize| format!("a = \"{}\"", "x".repeat(bytes - 6));
    assert!(parse(&long(MAX_FILTER_BYTES)).is_ok());
    let error = parse(&long(MAX_FILTER_BYTES + 1)).unwrap_err();
    assert!(error.message.contains("65537 bytes"), "{error}");
    assert_eq!(parse(&format!("a{}", "é".repeat(MAX_FILTER_BYTES))).unwrap_err().at, MAX_FILTER_BYTES - 1);
}

#[test]
fn hostile_depth_is_an_error_on_a_small_stack() {
    with_stack_of(1024 * 1024, || {
        for filter in ["(".repeat(60_000), "NOT ".repeat(15_000), "NOT (".repeat(10_000), "NOT(a OR ".repeat(7_000)] {
            assert!(parse(&filter).is_err());
        }
        // the deepest tree there is: built, printed, compared, copied and dropped
        let deep = format!("{}a{}", "NOT (b OR c AND ".repeat(MAX_NESTING), ")".repeat(MAX_NESTING));
        let tree = parse(&deep).unwrap();
        assert_eq!(parse(&tree.to_string()).unwrap(), tree.clone());
    });
}

#[test]
fn keys_of_datasets_own_properties_are_names_and_nothing_of_the_grammar_changes() {
    let key = |key: &str| Field { path: vec![key.to_owned()], at: At(0) };
    for own in ["my-lab:wear_rate", "lab:x", "a.b_c-1:key", "2024:x", "2d-lab:x", "1e-5:x", "7.5:x2", "a-1.5e-3:b"] {
        let more = Filter::Compare {
            left: key(own),
            op: Comparison::Greater,
            right: Operand::Constant(number("-1e-3")),
            at: At(0),
        };
        for filter in [format!("{own}>-1e-3"), format!("-1e-3 < {own}"), format!("({own} > -1e-3)")] {
            assert_eq!(parse(&filter).as_ref(), Ok(&more), "{filter}");
        }
        assert_eq!(parse(&more.to_string()).unwrap(), more);
        assert_eq!(parse(own).unwrap(), Filter::Bare(key(own)));
        let known = Filter::Known { field: key(own), known: true, at: At(0) };
        let both = Filter::And(vec![not(known), bare("a")]);
        assert_eq!(parse(&format!("NOT {own} IS KNOWN AND a")).unwrap(), both, "{own}");
        let Ok(Filter::Compare { left, right, .. }) = parse(&format!("a.b != {own}")) else { panic!("{own}") };
        assert_eq!((left, right), (name("a.b"), Operand::Field(key(own))));
    }
    // two lists stay two lists, two values two values
    for (filter, canonical) in [
        ("e:n HAS \"H\":6", "e:n HAS \"H\":6"),
        ("e:nHAS 6:x", "e:n HAS 6:x"),
        ("e:n:m HAS ANY 1e-5:x:y , a:b:c", "e:n:m HAS ANY 1e-5:x:y, a:b:c"),
        ("e:n.m HAS 1:2", "e:n.m HAS 1:2"),
    ] {
        let tree = parse(filter).unwrap();
        assert!(matches!(&tree, Filter::Has { fields, .. } if fields.len() > 1), "{filter}: {tree:?}");
        assert_eq!(tree.to_string(), canonical);
    }
    for (filter, at) in [
        ("my-lab:Wear > 1", 2),
        ("my-lab:2 > 1", 2),
        ("my-lab: wear > 1", 2),
        ("my-lab > 1", 2),
        ("-lab:x > 1", 0),
        ("a = my-lab", 6),
        ("my-lab:wear rate > 1", 12),
    ] {
        assert_eq!(parse(filter).unwrap_err().at, at, "{filter}: {:?}", parse(filter));
    }
}

fn field() -> impl Strategy<Value = Field> {
    let identifier = "[a-z_][a-z0-9_]{0,5}";
    prop::collection::vec(identifier, 1..4).prop_map(|path| Field { path, at: At(0) })
}

fn ordered_constant() -> impl Strategy<Value = Constant> {
    let characters = prop_oneof![
        Just('"'),
        Just('\\'),
        prop::char::range(' ', '~'),
        any::<char>().prop_filter("control", |c| !c.is_ascii_control()),
        prop::sample::select(vec!['\t', '\n', '\r', '\u{0b}', '\u{0c}']),
    ];
    prop_oneof![
        prop::collection::vec(characters, 0..8).prop_map(|text| Constant::Text(text.into_iter().collect())),
        "[+-]?([0-9]{1,4}(\\.[0-9]{0,3})?|\\.[0-9]{1,3})([eE][+-]?[0-9]{1,3})?".prop_map(|written| number(&written)),
    ]
}

fn constant() -> impl Strategy<Value = Constant> {
    prop_oneof![3 => ordered_constant(), 1 => any::<bool>().prop_map(Constant::Boolean)]
}

fn value() -> impl Strategy<Value = Operand> {
    prop_oneof![3 => constant().prop_map(Operand::Constant), 1 => field().prop_map(Operand::Field)]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::*;
    prop::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

/// An operator and a value that it may stand before.
fn compared() -> impl Strategy<Value = (Comparison, Operand)> {
    (comparison(), value()).prop_map(|(op, value)| match value {
        Operand::Constant(Constant::Boolean(_)) if op.is_ordered() => (Comparison::NotEqual, value),
        _ => (op, value),
    })
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop::sample::select(vec![TextMatch::Contains, TextMatch::Starts, TextMatch::Ends])
}

fn has_value() -> impl Strategy<Value = HasValue> {
    prop_oneof![
        compared().prop_map(|(op, value)| HasValue { test: Test::Compare(op), value, at: At(0) }),
        (text_match(), value()).prop_map(|(op, value)| HasValue { test: Test::Text(op), value, at: At(0) }),
    ]
}

fn has() -> impl Strategy<Value = Filter> {
    (1usize..4)
        .prop_flat_map(|width| {
            let zipped = prop::collection::vec(has_value(), width);
            (prop::collection::vec(field(), width), prop::collection::vec(zipped, 1..4), 0usize..4)
        })
        .prop_map(|(fields, mut values, quantifier)| {
            let quantifier = [Has::One, Has::All, Has::Any, Has::Only][quantifier];
            if quantifier == Has::One {
                values.truncate(1);
            }
            Filter::Has { fields, quantifier, values, at: At(0) }
        })
}

fn leaf() -> impl Strategy<Value = Filter> {
    prop_oneof![
        (field(), compared()).prop_map(|(left, (op, right))| Filter::Compare { left, op, right, at: At(0) }),
        (ordered_constant(), comparison(), ordered_constant()).prop_map(|(left, op, right)| Filter::Constants {
            left,
            op,
            right,
            at: At(0)
        }),
        (field(), text_match(), value()).prop_map(|(field, op, value)| Filter::Text { field, op, value, at: At(0) }),
        has(),
        (field(), comparison(), value()).prop_map(|(field, op, value)| Filter::Length { field, op, value, at: At(0) }),
        (field(), any::<bool>()).prop_map(|(field, known)| Filter::Known { field, known, at: At(0) }),
        field().prop_map(Filter::Bare),
    ]
}

fn tree() -> impl Strategy<Value = Filter> {
    leaf().prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..5).prop_map(Filter::all),
            prop::collection::vec(inner.clone(), 2..5).prop_map(Filter::any),
            inner.prop_map(not),
        ]
    })
}

/// Pieces of filters in any order: far likelier than random characters to come deep into the parser.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b.c", "and", "any", "AND", "OR", "NOT", "(", ")", "=", "!=", "<", ">=", "1", "-.5e3", "\"x\"", "TRUE",
        "FALSE", "HAS", "ALL", "ANY", "ONLY", "LENGTH", "IS", "KNOWN", "UNKNOWN", "STARTS", "ENDS", "WITH", "CONTAINS",
        ",", ":", ".", "+", "'", "Si", "é", "\\", "\"",
    ]);
    let between = prop::sample::select(vec!["", " ", "\n"]);
    prop::collection::vec((piece, between), 0..24)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, between)| [piece, between]).collect())
}

fn check_any_text(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(tree) => prop_assert_eq!(parse(&tree.to_string()), Ok(tree)),
        Err(error) => {
            prop_assert!(text.is_char_boundary(error.at), "{}", error);
            prop_assert!(error.character <= text.chars().count() + 1, "{}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_prints_as_a_text_that_parses_to_it(tree in tree()) {
        prop_assert_eq!(parse(&tree.to_string()), Ok(tree));
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        check_any_text(&text)?;
    }

    #[test]
    fn random_pieces_of_filters_never_panic(text in pieces()) {
        check_any_text(&text)?;
    }

    #[test]
    fn a_filter_cut_anywhere_never_panics(tree in tree(), cut in any::<prop::sample::Index>()) {
        let text = tree.to_string();
        let cut = (0..=cut.index(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        check_any_text(&text[..cut])?;
    }
}
