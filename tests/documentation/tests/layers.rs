//! The layers of `shared/` depend on what they may.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The crates that each workspace member is built from, itself left out, as cargo resolves them.
fn built_from() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        // What ships; a build for another platform has not fetched its packages.
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let is_normal =
        |dependency: &&Value| dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
    let depends_on: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let dependencies = node["deps"].as_array().unwrap().iter().filter(is_normal);
            (node["id"].as_str().unwrap(), dependencies.map(|it| it["pkg"].as_str().unwrap()).collect())
        })
        .collect();
    let members = metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    members
        .map(|member| {
            let mut found = BTreeSet::new();
            let mut left = vec![member];
            while let Some(next) = left.pop() {
                left.extend(depends_on[next].iter().filter(|id| found.insert(**id)));
            }
            (names[member].to_owned(), found.into_iter().map(|id| names[id].to_owned()).collect())
        })
        .collect()
}

#[test]
fn each_layer_knows_only_those_below_it() {
    let built_from = built_from();
    for (layer, may_know) in [
        ("domain", &[][..]),
        ("outputs", &["domain"]),
        ("aws", &["domain"]),
        ("monitor", &["aws", "domain", "outputs"]),
        ("lambda", &["aws", "domain", "monitor", "outputs"]),
    ] {
        let own: Vec<&str> =
            built_from[layer].iter().map(String::as_str).filter(|name| built_from.contains_key(*name)).collect();
        assert_eq!(own, may_know, "{layer}");
    }
}

/// The crates that go into a package when it is built alone, as functions are.
fn built_alone(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let lines = String::from_utf8(tree.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn no_function_is_built_with_what_only_the_terminal_needs() {
    let only_for_terminals = [
        "anstream",
        "askama",
        "aws-sdk-account",
        "aws-sdk-sso",
        "aws-sdk-ssooidc",
        "clap",
        "comfy-table",
        "csv",
        "indicatif",
    ];
    let of = |package: &str| {
        let built = built_alone(package);
        only_for_terminals.into_iter().filter(|name| built.contains(*name)).collect::<Vec<_>>()
    };
    assert_eq!(of("kms-compliance"), only_for_terminals, "the names are those that cargo knows");
    for function in ["access-checker", "health-prober", "key-age-checker", "rotation-checker", "usage-anomaly-scorer"] {
        assert_eq!(of(function), [""; 0], "{function}");
    }
}

#[test]
fn what_is_pure_is_built_without_aws_tokio_and_lambda_and_the_engine_without_lambda() {
    let built_from = built_from();
    let of = |layer: &str, is_meant: &dyn Fn(&str) -> bool| -> Vec<String> {
        built_from[layer].iter().filter(|name| is_meant(name)).cloned().collect()
    };
    let is_aws = |name: &str| name.starts_with("aws");
    let is_lambda = |name: &str| name.starts_with("lambda") || name == "aws_lambda_events";
    for layer in ["domain", "outputs"] {
        assert_eq!(of(layer, &|name| is_aws(name) || is_lambda(name) || name == "tokio"), [""; 0], "{layer}");
    }
    for layer in ["aws", "monitor"] {
        assert_eq!(of(layer, &is_lambda), [""; 0], "{layer}");
    }
    assert!(!of("lambda", &is_lambda).is_empty(), "the names are those that cargo knows");
}
