//! Every target over its saved corpus, and two seconds of input made of it and of nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

const GENERATED: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Edit {
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Set(Index, u8),
    Twice(Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let text = prop_oneof![vec(any::<u8>(), 1..8), "\\PC{1,8}".prop_map(String::into_bytes)];
    prop_oneof![
        (any::<Index>(), text).prop_map(|(at, text)| Edit::Put(at, text)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Edit::Twice(at, length)),
    ]
}

fn edited(mut data: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        let place = |index: Index| index.index(data.len() + 1);
        match edit {
            Edit::Put(at, text) => {
                let at = place(at);
                data.splice(at..at, text);
            }
            Edit::Cut(at, length) => {
                let at = place(at);
                data.drain(at..(at + length).min(data.len()));
            }
            Edit::Set(at, byte) => {
                let at = place(at);
                data.splice(at..(at + 1).min(data.len()), [byte]);
            }
            Edit::Twice(at, length) => {
                let at = place(at);
                let part = data[at..(at + length).min(data.len())].to_vec();
                data.splice(at..at, part);
            }
        }
    }
    data
}

fn holds(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut seeds = Vec::new();
    for path in paths {
        let seed = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        target(&seed);
        seeds.push(seed);
    }
    let from_corpus =
        (any::<Index>(), vec(edit(), 0..6)).prop_map(move |(seed, edits)| edited(seed.get(&seeds).clone(), edits));
    let input = prop_oneof![8 => from_corpus, 1 => vec(any::<u8>(), 0..512)];
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let until = Instant::now() + GENERATED;
    while Instant::now() < until {
        let outcome = runner.run(&input, |data| {
            target(&data);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
}

#[test]
fn event_input() {
    holds("event_input", fuzz_targets::event_input);
}

#[test]
fn exemption_tags() {
    holds("exemption_tags", fuzz_targets::exemption_tags);
}

#[test]
fn kms_answers() {
    holds("kms_answers", fuzz_targets::kms_answers);
}

#[test]
fn policy_comparison() {
    holds("policy_comparison", fuzz_targets::policy_comparison);
}

#[test]
fn score_series() {
    holds("score_series", fuzz_targets::score_series);
}
