//! The verdicts about who can reach a key: by its policy, by its grants, and whether its tags say whose it is. Pure.

use std::collections::{BTreeMap, BTreeSet};

use domain::control::{Control, Severity};
use domain::key_policy::{
    Access, Administrator, Admission, ForeignAccess, Label, Manageability, Place, Principal, PublicAccess, Trusted,
};
use domain::verdict::Verdict;
use serde_json::{Value, json};

/// The key policy admits no one unbounded.
pub static PUBLIC_ACCESS: Control = Control {
    id: "public-access",
    title: "The key policy does not open the key to everyone",
    severity: Severity::Critical,
    other_severities: "HIGH where it can only be described; LOW where values with a wildcard hold the callers",
    references: &["AWS Security Hub KMS.5", "AWS Config kms-key-policy-no-public-access"],
};

/// The key policy admits no account or organisation from outside.
pub static FOREIGN_ACCESS: Control = Control {
    id: "foreign-access",
    title: "The key policy admits no account or organisation that is not trusted",
    severity: Severity::Medium,
    other_severities: "HIGH where they may administer the key or pass its use on",
    references: &["IAM Access Analyzer external access", "AWS Well-Architected SEC08-BP01"],
};

/// No grant is for an account from outside.
pub static FOREIGN_GRANT: Control = Control {
    id: "foreign-grant",
    title: "No grant is for an account that is not trusted",
    severity: Severity::High,
    other_severities: "CRITICAL where it is for everyone",
    references: &["IAM Access Analyzer external access"],
};

/// AWS services use the key for known accounts only.
pub static SERVICE_PRINCIPAL_BOUND: Control = Control {
    id: "service-principal-bound",
    title: "AWS services may use the key on behalf of known accounts only",
    severity: Severity::Medium,
    other_severities: "HIGH where it is any AWS service",
    references: &["IAM User Guide: the confused deputy problem"],
};

/// Nobody both administers and uses the key.
pub static ADMINISTRATION_SEPARATED: Control = Control {
    id: "administration-separated",
    title: "No role or user that the key policy names may both administer and use the key",
    severity: Severity::Medium,
    other_severities: "",
    references: &["AWS Well-Architected SEC08-BP01", "NIST SP 800-53 AC-5"],
};

/// Somebody can still change the key policy.
pub static POLICY_MANAGEABLE: Control = Control {
    id: "policy-manageable",
    title: "Somebody in the key's own account can change the key policy",
    severity: Severity::High,
    other_severities: "",
    references: &["AWS KMS Developer Guide: default key policy"],
};

/// The key has the tags that are required.
pub static REQUIRED_TAGS: Control = Control {
    id: "required-tags",
    title: "The key has the tags that are required",
    severity: Severity::Low,
    other_severities: "",
    references: &["AWS Config required-tags", "AWS Well-Architected SEC08-BP01"],
};

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 7] = [
    &PUBLIC_ACCESS,
    &FOREIGN_ACCESS,
    &FOREIGN_GRANT,
    &SERVICE_PRINCIPAL_BOUND,
    &ADMINISTRATION_SEPARATED,
    &POLICY_MANAGEABLE,
    &REQUIRED_TAGS,
];

/// Services that send no key by which a policy could tell for whom they act, each with its source.
///
/// `events.amazonaws.com`: rules that publish to encrypted topics and queues (Amazon EventBridge User Guide, "Troubleshooting":
/// a condition on the source makes it drop messages).
const SENDING_NO_SOURCE: [&str; 1] = ["events.amazonaws.com"];

/// Most statements, principals, grants or tags that one finding tells of; the rest is counted.
const MAX_TOLD: usize = 10;

/// Longest text out of a policy that is repeated, in characters.
const MAX_QUOTE_CHARS: usize = 300;

/// What there is to say where a Deny cannot be decided.
const DECIDE: &str = "Read both statements and judge for yourself. A Deny whose only condition is a negated operator over one \
                      fixed value, such as \"StringNotEquals\": {\"aws:PrincipalOrgID\": \"o-…\"}, can be decided.";

/// Is the key open to everyone?
pub fn public_access(access: &Access<'_>, trusted: Trusted<'_>) -> Verdict {
    let own = trusted.own_account;
    match access.public() {
        PublicAccess::Public(open) => {
            let why = |it: &&Admission<'_>| format!("{}: anyone, {}", it.label(), it.why_open());
            let only_reads = open.iter().all(|it| it.actions.only_read());
            let what = if only_reads { "anyone can describe the key" } else { "anyone can reach the key" };
            Verdict::non_compliant("public")
                .severity(if only_reads { Severity::High } else { Severity::Critical })
                .detail(format!("{what}: {}", told(open.iter().map(why))))
                .evidence("statements", statements(&open, |it| format!("anyone, {}", it.why_open())))
                .remediation(format!(
                    "{} {}. Or name the roles that need the key as the Principal. For all accounts of an organisation the \
                     condition is \"StringEquals\": {{\"aws:PrincipalOrgID\": \"o-…\"}}.",
                    where_to_add(&open),
                    caller_is(own)
                ))
        }
        PublicAccess::Undecided(open) => {
            not_decided(&open, "may open the key to everyone", |it| format!("anyone, {}", it.why_open()))
        }
        PublicAccess::ByWildcard(held) => {
            let why = |it: &Admission<'_>| format!("held to {}", places(it));
            Verdict::non_compliant("bounded_by_wildcard")
                .severity(Severity::Low)
                .detail(told(held.iter().map(|it| {
                    format!("{}: everyone is held by values with a wildcard or a variable alone", it.label())
                })))
                .evidence("statements", statements(&held, why))
                .remediation(format!(
                    "Write the values out. Or keep them and add one that is fixed. {} {}.",
                    where_to_add(&held),
                    caller_is(own)
                ))
        }
        PublicAccess::No(held) => {
            let bounds: BTreeSet<&str> = held.iter().flat_map(|it| bounds(it)).collect();
            let detail = if bounds.is_empty() {
                "no statement is for everyone".to_owned()
            } else {
                format!("every statement for everyone is held: {}", joined(&bounds))
            };
            Verdict::compliant("not_public")
                .detail(detail)
                .evidence("bounds", bounds.into_iter().map(|it| format!("bounded_by_{it}")).collect::<Vec<_>>())
        }
    }
}

/// Does the key policy admit an account or organisation that is not trusted?
pub fn foreign_access(access: &Access<'_>, trusted: Trusted<'_>) -> Verdict {
    if let PublicAccess::Public(_) = access.public() {
        // What stands beside it is told once the key is closed.
        return Verdict::not_applicable("public").detail("the key is open to everyone: public-access says so");
    }
    match access.foreign(trusted) {
        ForeignAccess::No(guests) if guests.is_empty() => {
            Verdict::compliant("no_foreign_access").detail("the policy admits no account from outside")
        }
        ForeignAccess::No(guests) => Verdict::compliant("no_foreign_access")
            .detail(format!("the only accounts from outside are trusted: {}", told(guests.iter())))
            .evidence("trusted_accounts", few(guests.iter().map(|it| json!(it)))),
        ForeignAccess::Undecided(open) => not_decided(&open, "may admit an account from outside", |it| {
            format!("`{}`", shortened(it.principal.text()))
        }),
        ForeignAccess::Foreign(foreign) => {
            let who: BTreeSet<String> =
                foreign.iter().flat_map(|it| it.accounts.iter().chain(&it.organisations)).cloned().collect();
            let purpose = |it: &Admission<'_>| {
                let (administers, uses) = it.purposes();
                match (administers, uses) {
                    (true, true) => "administer and use",
                    (true, false) => "administer",
                    (false, true) => "use",
                    (false, false) => "describe or manage",
                }
            };
            let told_of = foreign.iter().map(|it| {
                let who = told(it.accounts.iter().chain(&it.organisations));
                format!("{}: {who} may {} the key", it.admission.label(), purpose(it.admission))
            });
            let is_grave =
                foreign.iter().any(|it| it.admission.purposes().0 || it.admission.actions.has("CreateGrant"));
            let any_account = foreign.iter().any(|it| !it.accounts.is_empty());
            let evidence = foreign.iter().map(|it| {
                let accounts = few(it.accounts.iter().map(|it| json!(it)));
                let organisations = few(it.organisations.iter().map(|it| json!(it)));
                statement(
                    it.admission,
                    [("accounts", accounts), ("organisations", organisations), ("may", json!(purpose(it.admission)))],
                )
            });
            let verdict =
                Verdict::non_compliant(if any_account { "foreign_principal" } else { "foreign_organisation" })
                    .severity(if is_grave { Severity::High } else { Severity::Medium })
                    .detail(told(told_of))
                    .evidence("foreign", few(who.iter().map(|it| json!(it))))
                    .evidence("statements", few(evidence));
            let listed = if any_account { "TRUSTED_ACCOUNTS" } else { "TRUSTED_ORGANIZATION" };
            verdict.remediation(format!(
                "If they are yours or meant to have access, add them to {listed}. Otherwise take them out of the statement: \
                 out of its Principal or out of the values of its Condition. To let only your own account in, the condition \
                 is {}.",
                caller_is(trusted.own_account)
            ))
        }
    }
}

/// A grant, as far as the verdict needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its ID.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Who may use the key by it.
    pub grantee: Principal,
    /// Who may end it.
    pub retiring: Option<Principal>,
    /// What it lets do.
    pub operations: Vec<String>,
}

/// The verdict about the grants of a key until they are asked for.
pub fn grants_not_asked() -> Verdict {
    Verdict::insufficient_data("grants_not_asked")
        .passing()
        .detail("the run's time ended before the key's grants were asked for")
        .remediation("Nothing: another day's run asks. A higher KMS_QUOTA_SHARE lets a run ask about more keys.")
}

/// Is a grant for an account that is not trusted?
pub fn foreign_grant(grants: &[Grant], trusted: Trusted<'_>) -> Verdict {
    let is_foreign = |principal: &Principal| match principal {
        Principal::Everyone => true,
        Principal::Account(account) | Principal::Named { account, .. } => {
            account != trusted.own_account && !trusted.accounts.contains(account)
        }
        Principal::Deleted(_) | Principal::Service(_) | Principal::Unrecognised(_) => false,
    };
    let principals = |grant: &Grant| std::iter::once(grant.grantee.clone()).chain(grant.retiring.clone());
    let foreign: Vec<&Grant> = grants.iter().filter(|grant| principals(grant).any(|it| is_foreign(&it))).collect();
    if foreign.is_empty() {
        let mut all = grants.iter().flat_map(principals);
        if let Some(Principal::Unrecognised(text)) = all.find(|it| matches!(it, Principal::Unrecognised(_))) {
            let unexpected = domain::key::Unexpected::value("ListGrants", "GranteePrincipal", shortened(&text));
            return (&unexpected).into();
        }
        let services = grants.iter().filter(|grant| matches!(grant.grantee, Principal::Service(_))).count();
        return Verdict::compliant("no_foreign_grant")
            .detail(format!("{} grants, none of them for an account from outside", grants.len()))
            .evidence("grants", grants.len())
            .evidence("grants_of_services", services);
    }
    let for_everyone = foreign.iter().any(|grant| grant.grantee == Principal::Everyone);
    let passes_on = |grant: &Grant| grant.operations.iter().any(|it| it == "CreateGrant");
    let words = |grant: &&Grant| {
        let what = few_words(&grant.operations);
        let onward = if passes_on(grant) { ", and may pass it on" } else { "" };
        if is_foreign(&grant.grantee) {
            format!("`{}` may {what}{onward}", shortened(grant.grantee.text()))
        } else {
            let retiring = grant.retiring.as_ref().map_or("", Principal::text);
            format!("`{}` may retire a grant", shortened(retiring))
        }
    };
    let evidence = foreign.iter().map(|grant| {
        json!({
            "grant_id": grant.id,
            "name": grant.name.as_deref().map(shortened),
            "grantee": shortened(grant.grantee.text()),
            "retiring": grant.retiring.as_ref().map(|it| shortened(it.text())),
            "operations": grant.operations,
        })
    });
    let verdict = Verdict::non_compliant("foreign_grantee").severity(if for_everyone {
        Severity::Critical
    } else {
        Severity::High
    });
    verdict
        .detail(told(foreign.iter().map(words)))
        .evidence("foreign_grants", foreign.len())
        .evidence("grants", few(evidence))
        .remediation(
            "If the account is yours or meant to have access, add it to TRUSTED_ACCOUNTS. Otherwise find out from the \
             CreateGrant event in CloudTrail who made the grant, and end it: aws kms revoke-grant --key-id KEY --grant-id GRANT.",
        )
}

/// May an AWS service use the key without saying for whom?
pub fn service_principal_bound(access: &Access<'_>, trusted: Trusted<'_>) -> Verdict {
    let found = access.sourceless_services(trusted);
    let sends_none = |it: &&Admission<'_>| SENDING_NO_SOURCE.contains(&it.principal.text());
    let (exempt, open): (Vec<&Admission<'_>>, Vec<_>) = found.sure.into_iter().partition(sends_none);
    if !open.is_empty() {
        let any = |it: &&&Admission<'_>| it.principal.text() == "*";
        let severity = if open.iter().any(|it| any(&it)) { Severity::High } else { Severity::Medium };
        let name = |it: &Admission<'_>| match it.principal.text() {
            "*" => "any AWS service".to_owned(),
            service => shortened(service),
        };
        let words = |it: &&Admission<'_>| format!("{}: {} may use the key whoever it acts for", it.label(), name(it));
        return Verdict::non_compliant("confused_deputy")
            .severity(severity)
            .detail(told(open.iter().map(words)))
            .evidence("statements", statements(&open, |it| name(it)))
            .remediation(format!(
                "{} \"StringEquals\": {{\"aws:SourceAccount\": \"{}\"}}. For all accounts of an organisation it is \
                 aws:SourceOrgID. Look first whether the service sends that key with its calls.",
                where_to_add(&open),
                trusted.own_account
            ));
    }
    let undecided: Vec<&Admission<'_>> = found.undecided.into_iter().filter(|it| !sends_none(it)).collect();
    if !undecided.is_empty() {
        return not_decided(&undecided, "may let a service use the key whoever it acts for", |it| {
            format!("`{}`", shortened(it.principal.text()))
        });
    }
    if !exempt.is_empty() {
        let names: BTreeSet<&str> = exempt.iter().map(|it| it.principal.text()).collect();
        return Verdict::compliant("service_sends_no_source")
            .detail(format!("{} does not say for whom it acts", told(names.iter())));
    }
    Verdict::compliant("services_bound").detail("every AWS service that may use the key is held to known accounts")
}

/// Does a role or user both administer and use the key?
pub fn administration_separated(access: &Access<'_>) -> Verdict {
    let (undecided, sure): (Vec<Administrator>, Vec<_>) =
        access.administrators().into_iter().partition(|it| !it.doubts.is_empty());
    let evidence = |all: &[Administrator]| {
        few(all.iter().map(|it| {
            json!({
                "principal": shortened(&it.arn),
                "full_access": it.has_full_access,
                "statements": few(it.statements.iter().map(label)),
                "denies": few(it.doubts.iter().map(label)),
            })
        }))
    };
    if !sure.is_empty() {
        let is_full = sure.iter().any(|it| it.has_full_access);
        let words = |it: &Administrator| {
            let arn = shortened(&it.arn);
            if it.has_full_access {
                format!("`{arn}` may do everything")
            } else {
                format!("`{arn}` may both administer and use the key")
            }
        };
        return Verdict::non_compliant(if is_full { "full_access" } else { "administers_and_uses" })
            .detail(told(sure.iter().map(words)))
            .evidence("principals", evidence(&sure))
            .remediation(
                "Give the two to two roles. Leave to the administrators what manages the key (kms:PutKeyPolicy, \
                 kms:ScheduleKeyDeletion, kms:Enable*, kms:Disable*, kms:TagResource …), and to those who work with it \
                 kms:Encrypt, kms:Decrypt, kms:ReEncrypt*, kms:GenerateDataKey* and kms:DescribeKey.",
            );
    }
    if undecided.is_empty() {
        return Verdict::compliant("separated")
            .detail("no role or user that the policy names both administers and uses the key");
    }
    let words = |it: &Administrator| {
        format!("{} may administer and use the key, unless {}", shortened(&it.arn), told(it.doubts.iter()))
    };
    Verdict::insufficient_data("policy_not_decided")
        .detail(told(undecided.iter().map(words)))
        .evidence("principals", evidence(&undecided))
        .remediation(DECIDE)
}

/// Can anybody still change the key policy?
pub fn policy_manageable(access: &Access<'_>, trusted: Trusted<'_>) -> Verdict {
    let own = trusted.own_account;
    match access.manageability(own) {
        Manageability::Manageable => {
            Verdict::compliant("manageable").detail("somebody in the key's own account can change the policy")
        }
        Manageability::Undecided(denies) => Verdict::insufficient_data("policy_not_decided")
            .detail(format!("nobody may be able to change the policy, by {}", told(denies.iter())))
            .evidence("denies", few(denies.iter().map(label)))
            .remediation(DECIDE),
        Manageability::LockedOut(deleted) => {
            let why = if deleted.is_empty() {
                "no statement lets anybody in the key's own account".to_owned()
            } else {
                format!("those who could are deleted: {}", told(deleted.iter()))
            };
            Verdict::non_compliant("locked_out")
                .detail(format!("nobody in the key's own account can change the policy: {why}"))
                .evidence("deleted_principals", few(deleted.iter().map(|it| json!(it))))
                .remediation(format!(
                    "Only AWS Support can put a new policy on this key: open a case. Encrypt anew, with another key, what is \
                     encrypted under it as long as it can be used. In every policy keep a statement that allows kms:* to \
                     arn:aws:iam::{own}:root."
                ))
        }
    }
}

/// A tag that every key needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredTag {
    /// The tag's key.
    pub key: String,
    /// The values that it may have; empty = any.
    pub values: Vec<String>,
}

impl RequiredTag {
    /// Reads `owner` or `class=secret|internal`. `None` if the key or a value is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, values) = match text.split_once('=') {
            None => (text, Vec::new()),
            Some((key, values)) => (key, values.split('|').map(|value| value.trim().to_owned()).collect()),
        };
        let key = key.trim();
        (!key.is_empty() && values.iter().all(|value| !value.is_empty())).then(|| Self { key: key.to_owned(), values })
    }
}

/// The verdict where no tags are required.
pub fn tags_not_required() -> Verdict {
    Verdict::not_applicable("not_required").detail("REQUIRED_TAGS is empty")
}

/// Has the key the tags that are required?
pub fn required_tags(tags: &BTreeMap<String, String>, required: &[RequiredTag]) -> Verdict {
    let wrong = required.iter().filter_map(|tag| match tags.get(&tag.key) {
        None => Some((tag, None)),
        Some(value) if !tag.values.is_empty() && !tag.values.contains(value) => Some((tag, Some(value))),
        Some(_) => None,
    });
    let wrong: Vec<(&RequiredTag, Option<&String>)> = wrong.collect();
    if wrong.is_empty() {
        return Verdict::compliant("tags_present").detail("the key has all tags that are required");
    }
    let allowed = |tag: &RequiredTag| match tag.values.as_slice() {
        [] => "any value".to_owned(),
        values => told(values.iter().map(|it| format!("`{it}`"))),
    };
    let words = |(tag, value): &(&RequiredTag, Option<&String>)| match value {
        None => format!("tag `{}` is missing", tag.key),
        Some(value) => format!("tag `{}` is `{}`, allowed: {}", tag.key, shortened(value), allowed(tag)),
    };
    let evidence = wrong.iter().map(|(tag, value)| json!({"tag": tag.key, "value": value, "allowed": tag.values}));
    let example = wrong.first().map_or_else(String::new, |(tag, _)| {
        let value = tag.values.first().map_or("VALUE", String::as_str);
        format!("TagKey={},TagValue={value}", tag.key)
    });
    Verdict::non_compliant("tag_missing")
        .detail(told(wrong.iter().map(words)))
        .evidence("tags", few(evidence))
        .remediation(format!(
            "Tag the key, in its own stack where it has one: aws kms tag-resource --key-id KEY --tags {example}. Tags decide \
             who may do what where policies go by them: look before you change one."
        ))
}

/// The verdict that depends on a Deny that cannot be decided.
fn not_decided(open: &[&Admission<'_>], what: &str, why: impl Fn(&Admission<'_>) -> String) -> Verdict {
    let words = |it: &&Admission<'_>| match it.doubts.as_slice() {
        [] => format!("{} {what}: {}", it.label(), why(it)),
        denies => format!("{} {what}: {}, unless {} closes it", it.label(), why(it), told(denies.iter())),
    };
    let evidence = open.iter().map(|it| statement(it, [("denies", few(it.doubts.iter().map(|deny| label(deny))))]));
    Verdict::insufficient_data("policy_not_decided")
        .detail(told(open.iter().map(words)))
        .evidence("statements", few(evidence))
        .remediation(DECIDE)
}

/// The smallest condition that lets nobody in but the key's own account.
fn caller_is(own: &str) -> String {
    format!("\"StringEquals\": {{\"kms:CallerAccount\": \"{own}\"}}")
}

fn where_to_add(open: &[&Admission<'_>]) -> String {
    let labels = told(open.iter().map(|it| it.label()).collect::<BTreeSet<_>>());
    if open.iter().all(|it| it.has_conditions()) {
        format!("Add to the Condition of {labels}:")
    } else {
        format!("Give {labels} the Condition")
    }
}

/// By what fixed values hold the callers.
fn bounds(admission: &Admission<'_>) -> Vec<&'static str> {
    let fixed = admission.limits.iter().filter(|limit| limit.is_fixed);
    fixed
        .flat_map(|limit| &limit.places)
        .filter_map(|place| match place {
            Place::Account(_) => Some("account"),
            Place::Organisation(_) => Some("organisation"),
            Place::Network(_) => Some("network"),
            Place::UniqueId(_) => Some("principal"),
            Place::Nowhere => None,
        })
        .collect()
}

fn places(admission: &Admission<'_>) -> String {
    let name = |place: &Place| match place {
        Place::Account(account) => format!("account {account}"),
        Place::Organisation(id) => format!("organisation {id}"),
        Place::Network(network) => format!("network {network}"),
        Place::UniqueId(id) => format!("principal {id}"),
        Place::Nowhere => "nobody".to_owned(),
    };
    told(admission.limits.iter().flat_map(|limit| &limit.places).map(name).collect::<BTreeSet<_>>())
}

fn statements(admissions: &[&Admission<'_>], why: impl Fn(&Admission<'_>) -> String) -> Value {
    few(admissions.iter().map(|it| statement(it, [("why", json!(shortened(&why(it))))])))
}

/// What a finding tells of a statement.
fn statement<const N: usize>(admission: &Admission<'_>, more: [(&str, Value); N]) -> Value {
    let Label { number, sid } = admission.label();
    let actions = admission.actions.names();
    let of_all = [
        ("statement", json!(number)),
        ("sid", json!(sid.as_deref().map(shortened))),
        ("principal", json!(shortened(admission.principal.text()))),
        ("actions", few(actions.iter().map(|it| json!(shortened(it))))),
    ];
    of_all.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn label(label: &Label) -> Value {
    json!({"statement": label.number, "sid": label.sid.as_deref().map(shortened)})
}

/// The first of them, and how many more there are.
fn few(all: impl IntoIterator<Item = Value>) -> Value {
    let mut all = all.into_iter();
    let mut told: Vec<Value> = all.by_ref().take(MAX_TOLD).collect();
    let more = all.count();
    if more > 0 {
        told.push(json!(format!("and {more} more")));
    }
    Value::Array(told)
}

fn few_words(words: &[String]) -> String {
    words.iter().map(|word| shortened(word)).collect::<Vec<_>>().join(", ")
}

/// The first of them in words, and how many more there are.
fn told(all: impl IntoIterator<Item = impl ToString>) -> String {
    let mut all = all.into_iter();
    let mut told: Vec<String> = all.by_ref().take(MAX_TOLD).map(|it| shortened(&it.to_string())).collect();
    let more = all.count();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

fn joined(words: &BTreeSet<&str>) -> String {
    words.iter().map(|word| format!("by {word}")).collect::<Vec<_>>().join(", ")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.split_at(end).0),
    }
}
