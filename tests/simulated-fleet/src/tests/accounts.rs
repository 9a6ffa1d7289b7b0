//! Accounts beside the fleet's own.

use serde_json::json;

use crate::accounts::{AccountDescription, account_in, described_regions, organization, regions, role_in};
use crate::description::FleetDescription;
use crate::faults::FaultKind;
use crate::operation::Operation;

fn home() -> FleetDescription {
    FleetDescription::from_value(json!({
        "organizational_units": {"ou-abcd-11111111": "r-root", "ou-abcd-22222222": "ou-abcd-11111111"},
        "accounts": {
            "222222222222": {"parent": "ou-abcd-11111111", "status": null},
            "333333333333": {"state": null, "status": "SUSPENDED"},
            "444444444444": {"in_organization": false, "enabled_regions": ["eu-west-1"]},
        },
    }))
    .unwrap()
}

fn listed(operation: Operation, body: &serde_json::Value, fault: Option<FaultKind>) -> serde_json::Value {
    organization(&home(), operation, body.to_string().as_bytes(), fault).unwrap()
}

#[test]
fn the_organisation_lists_its_accounts_and_units() {
    let all = listed(Operation::ListAccounts, &json!({}), None);
    let ids: Vec<_> = all["Accounts"].as_array().unwrap().iter().map(|it| it["Id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["123456789012", "222222222222", "333333333333"]);
    assert_eq!((&all["Accounts"][1]["State"], all["Accounts"][1].get("Status")), (&json!("ACTIVE"), None));
    assert_eq!((all["Accounts"][2].get("State"), &all["Accounts"][2]["Status"]), (None, &json!("SUSPENDED")));
    let parent = json!({"ParentId": "ou-abcd-11111111"});
    assert_eq!(listed(Operation::ListAccountsForParent, &parent, None)["Accounts"][0]["Id"], "222222222222");
    let units = listed(Operation::ListOrganizationalUnitsForParent, &parent, None);
    assert_eq!(units["OrganizationalUnits"][0]["Id"], "ou-abcd-22222222");
    let unknown = json!({"ParentId": "ou-abcd-99999999"}).to_string();
    let error = organization(&home(), Operation::ListAccountsForParent, unknown.as_bytes(), None).unwrap_err();
    assert_eq!(error.code, "ParentNotFoundException");
    // A page may be empty and have one behind it.
    let empty = listed(Operation::ListAccounts, &json!({}), Some(FaultKind::EmptyPage));
    assert_eq!((&empty["Accounts"], &empty["NextToken"]), (&json!([]), &json!("0")));
}

#[test]
fn regions_are_listed_by_their_status() {
    let account = AccountDescription { enabled_regions: Some(vec!["eu-west-1".into()]), ..Default::default() };
    let account = account.fleet("222222222222", &home());
    let names = |body: serde_json::Value| -> Vec<String> {
        let answer = regions(&account, body.to_string().as_bytes(), None);
        let regions = answer["Regions"].as_array().unwrap().iter();
        regions.map(|it| it["RegionName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(json!({})), ["eu-west-1", "af-south-1"]);
    assert_eq!(names(json!({"RegionOptStatusContains": ["ENABLED", "ENABLED_BY_DEFAULT"]})), ["eu-west-1"]);
    let described = |all: &str| {
        let form = [("AllRegions".to_owned(), all.to_owned())].into_iter().collect();
        let answer = described_regions(&account, &form, "r-1");
        answer.split("<regionName>").skip(1).map(|it| it.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(described("false"), ["eu-west-1"]);
    assert_eq!(described("true"), ["eu-west-1", "af-south-1"]);
    assert_eq!(account_in(br#"{"AccountId": "222222222222"}"#).as_deref(), Some("222222222222"));
    assert_eq!(role_in("arn:aws:iam::222222222222:role/a/b"), Some(("222222222222", "a/b")));
}
