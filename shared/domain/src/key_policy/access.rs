//! Who may do what with the key: each Allow with each of its principals, less what each Deny takes away for sure.
//!
//! A Deny takes something away for sure where nothing is left to doubt:
//!
//! 1. it has no condition, and its principal is everybody or the very one that is allowed;
//! 2. its only condition is a negated operator over one key that holds callers, with fixed values: "deny unless our
//!    organisation". It may leave AWS services out. It then holds the callers like a condition of the Allow's own.
//!
//! A Deny that the callers in question can avoid for sure (it asks for something that they need not fit) takes nothing
//! away. Any other leaves a doubt, and what depends on it is undecided.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::Actions;
use super::condition::{Condition, Escape, Family, Limit, Place};
use super::document::Label;
use super::principal::{Principal, Principals};
use super::statement::{KeyPolicy, Statement};

/// What one statement lets one principal do, after all Denies.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    statement: &'a Statement,
    /// Who may.
    pub principal: Principal,
    /// What.
    pub actions: Actions,
    /// Each of them holds the callers.
    pub limits: Vec<Limit>,
    /// Denies that may take this away, or not.
    pub doubts: Vec<&'a Label>,
}

/// Whom the owner of the key trusts.
#[derive(Clone, Copy, Debug)]
pub struct Trusted<'a> {
    /// The key's own account.
    pub own_account: &'a str,
    /// Other accounts.
    pub accounts: &'a BTreeSet<String>,
    /// The organisation, if one is.
    pub organisation: Option<&'a str>,
}

/// Everything that the policy admits.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    admissions: Vec<Admission<'a>>,
}

/// Is the key open to everybody?
#[derive(Clone, Debug)]
pub enum PublicAccess<'a> {
    /// Yes, by these.
    Public(Vec<&'a Admission<'a>>),
    /// By these, unless a Deny that cannot be decided closes them.
    Undecided(Vec<&'a Admission<'a>>),
    /// Everybody is held, by values with a wildcard or a variable.
    ByWildcard(Vec<&'a Admission<'a>>),
    /// No. These are for everybody that something fixed holds.
    No(Vec<&'a Admission<'a>>),
}

/// An admission of somebody whom the owner does not trust.
#[derive(Clone, Debug)]
pub struct ForeignAdmission<'a> {
    /// What is admitted.
    pub admission: &'a Admission<'a>,
    /// Foreign accounts.
    pub accounts: Vec<String>,
    /// Foreign organisations.
    pub organisations: Vec<String>,
}

/// May somebody from outside reach the key?
#[derive(Clone, Debug)]
pub enum ForeignAccess<'a> {
    /// Yes.
    Foreign(Vec<ForeignAdmission<'a>>),
    /// That depends on what cannot be decided.
    Undecided(Vec<&'a Admission<'a>>),
    /// No. Trusted accounts that may.
    No(BTreeSet<String>),
}

/// May AWS services use the key without saying for whom?
#[derive(Clone, Debug)]
pub struct SourcelessServices<'a> {
    /// Yes, by these.
    pub sure: Vec<&'a Admission<'a>>,
    /// By these, unless a Deny that cannot be decided closes them.
    pub undecided: Vec<&'a Admission<'a>>,
}

/// A principal that may both administer and use the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Its ARN.
    pub arn: String,
    /// Does one statement let it do everything?
    pub has_full_access: bool,
    /// The statements.
    pub statements: Vec<Label>,
    /// Denies that may take one of both away; empty where it is sure.
    pub doubts: Vec<Label>,
}

/// Can anybody of the own account still change the policy?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manageability {
    /// Yes.
    Manageable,
    /// Unless a Deny that cannot be decided keeps everybody from it.
    Undecided(Vec<Label>),
    /// Nobody can. Those could, and are deleted.
    LockedOut(Vec<String>),
}

impl Admission<'_> {
    /// The statement.
    pub fn label(&self) -> &Label {
        &self.statement.label
    }

    /// Why its conditions hold nobody, in words: "without a condition", "since `kms:ViaService` restricts no caller".
    pub fn why_open(&self) -> String {
        self.statement.why_open()
    }

    /// Has it any condition?
    pub fn has_conditions(&self) -> bool {
        !self.statement.conditions.is_empty()
    }

    /// Does one of its conditions ask for a value with one of those accounts in the encryption context that an AWS service
    /// sets? Nobody else can set it.
    fn has_context_of(&self, accounts: &[&str]) -> bool {
        let of_services = |it: &&Condition| it.lower_key.starts_with("kms:encryptioncontext:aws:");
        self.statement.conditions.iter().filter(of_services).any(|it| it.names_account(accounts))
    }

    /// Can nobody fit?
    fn is_void(&self) -> bool {
        self.limits.iter().any(|limit| limit.places.iter().all(|place| *place == Place::Nowhere))
    }

    fn is_open(&self) -> bool {
        self.principal == Principal::Everyone && self.limits.is_empty()
    }

    /// May the principal administer the key, and may it use it?
    pub fn purposes(&self) -> (bool, bool) {
        if !self.statement.is_for_aws_resources() {
            return (self.actions.administer(), self.actions.use_material());
        }
        // A grant that an AWS service makes or gives back for the caller is a part of using the key.
        let grants = Actions::only("CreateGrant").or(&Actions::only("RevokeGrant"));
        let makes_grants = !self.actions.and(&grants).is_empty();
        (self.actions.without(&grants).administer(), self.actions.use_material() || makes_grants)
    }
}

impl KeyPolicy {
    /// Everything that the policy admits.
    pub fn access(&self) -> Access<'_> {
        let of_statement = |allow| principals_of(allow).into_iter().flat_map(|it| self.admissions(allow, it));
        Access { admissions: self.allows.iter().flat_map(of_statement).collect() }
    }

    fn admissions<'a>(&'a self, allow: &'a Statement, principal: Principal) -> Vec<Admission<'a>> {
        let admission = Admission {
            statement: allow,
            actions: allow.actions.clone(),
            limits: allow.limits(),
            doubts: Vec::new(),
            principal,
        };
        let concerned = |deny: &&Statement| !deny.actions.and(&allow.actions).is_empty();
        let denies = self.denies.iter().filter(concerned);
        let effects: Vec<(&Statement, Effect)> =
            denies.map(|deny| (deny, effect(deny, allow, &admission.principal))).collect();
        // What one Deny is avoided by, another may ask for.
        let mut avoided: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
        for (_, effect) in &effects {
            if let Effect::AvoidedIf(key, value) = effect {
                avoided.entry(key).or_default().insert(*value);
            }
        }
        let mut parts = vec![admission];
        for (deny, effect) in &effects {
            let is_doubtful = match effect {
                Effect::Nothing => continue,
                Effect::AvoidedIf(key, _) if avoided.get(key.as_str()).is_none_or(|values| values.len() < 2) => {
                    continue;
                }
                Effect::AvoidedIf(..) | Effect::Doubt => true,
                Effect::TakesAway | Effect::Holds(_) => false,
            };
            let mut left = Vec::with_capacity(parts.len() + 1);
            for part in parts {
                let hit = part.actions.and(&deny.actions);
                let missed = part.actions.without(&deny.actions);
                if !hit.is_empty() {
                    let mut hit = Admission { actions: hit, ..part.clone() };
                    if is_doubtful {
                        hit.doubts.push(&deny.label);
                    }
                    if let Effect::Holds(limit) = effect {
                        hit.limits.push(limit.clone());
                    }
                    if !matches!(effect, Effect::TakesAway) {
                        left.push(hit);
                    }
                }
                if !missed.is_empty() {
                    left.push(Admission { actions: missed, ..part });
                }
            }
            parts = left;
        }
        parts
    }
}

fn principals_of(allow: &Statement) -> Vec<Principal> {
    let principals = match &allow.principals {
        Principals::These(principals) => principals.clone(),
        Principals::AllBut(_) => vec![Principal::Everyone],
    };
    if !allow.admits_services_only() {
        return principals;
    }
    // Of everybody, the services are left, and of roles and users nobody.
    let service = |it| match it {
        Principal::Everyone => Some(Principal::Service("*".to_owned())),
        service @ Principal::Service(_) => Some(service),
        _ => None,
    };
    principals.into_iter().filter_map(service).collect()
}

/// What a Deny does to what is allowed to a principal.
#[derive(Clone, Debug)]
enum Effect {
    Nothing,
    /// Nothing, where the caller sees to it that this yes-or-no key has that value.
    AvoidedIf(String, bool),
    TakesAway,
    Holds(Limit),
    Doubt,
}

/// Does a Deny apply to a principal, as far as its conditions hold?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    No,
    Yes,
    Perhaps,
}

fn applies(deny: &Principals, to: &Principal) -> Applies {
    match deny {
        Principals::These(these) if these.contains(&Principal::Everyone) || these.contains(to) => Applies::Yes,
        Principals::These(these) => match to {
            Principal::Named { account, arn } => {
                let is_related = |it: &Principal| match it {
                    Principal::Account(theirs) => theirs == account,
                    // A role and its sessions.
                    Principal::Named { account: theirs, arn: other } => {
                        theirs == account && (arn.contains(":assumed-role/") || other.contains(":assumed-role/"))
                    }
                    _ => false,
                };
                if these.iter().any(is_related) { Applies::Perhaps } else { Applies::No }
            }
            Principal::Service(_) if these.contains(&Principal::Service("*".to_owned())) => Applies::Yes,
            // Of everybody, or of an account, some are denied, and the others are left.
            _ => Applies::No,
        },
        Principals::AllBut(these) if these.contains(to) => Applies::No,
        Principals::AllBut(_) => Applies::Perhaps,
    }
}

fn effect(deny: &Statement, allow: &Statement, principal: &Principal) -> Effect {
    let applies = applies(&deny.principals, principal);
    if applies == Applies::No {
        return Effect::Nothing;
    }
    let is_service = matches!(principal, Principal::Service(_));
    if applies == Applies::Yes {
        let spares_services = |it: &&Condition| it.is_bool("aws:principalisawsservice", false);
        let others: Vec<&Condition> = deny.conditions.iter().filter(|it| !spares_services(it)).collect();
        match others.as_slice() {
            [] if deny.conditions.is_empty() => return Effect::TakesAway,
            [only] => {
                if let Some(limit) = only.limit_of_deny() {
                    let is_spared = is_service && deny.conditions.len() > 1;
                    return if is_spared { Effect::Nothing } else { Effect::Holds(limit) };
                }
            }
            _ => {}
        }
    }
    let mut effect = Effect::Doubt;
    for condition in &deny.conditions {
        let depends = |family: Family| allow.conditions.iter().any(|it| it.family() == family);
        let escape = match principal {
            _ if depends(condition.family()) => Escape::Unsure,
            Principal::Service(_) if condition.spares_services() => Escape::Free,
            Principal::Service(_) => Escape::Unsure,
            Principal::Account(account) if condition.family() == Family::Caller => spared(condition, account, None),
            Principal::Named { account, arn } if condition.family() == Family::Caller => {
                spared(condition, account, Some(arn))
            }
            _ => condition.escape(),
        };
        match escape {
            Escape::Free => return Effect::Nothing,
            Escape::If(value) if matches!(effect, Effect::Doubt) => {
                effect = Effect::AvoidedIf(condition.lower_key.clone(), value);
            }
            Escape::If(_) | Escape::Unsure => {}
        }
    }
    effect
}

fn spared(condition: &Condition, account: &str, arn: Option<&str>) -> Escape {
    if condition.spares(account, arn) { Escape::Free } else { Escape::Unsure }
}

impl<'a> Access<'a> {
    /// All admissions.
    pub fn admissions(&self) -> &[Admission<'a>] {
        &self.admissions
    }

    /// Is the key open to everybody?
    pub fn public(&'a self) -> PublicAccess<'a> {
        let everyone = || self.admissions.iter().filter(|it| it.principal == Principal::Everyone);
        let (open, undecided): (Vec<_>, Vec<_>) =
            everyone().filter(|it| it.is_open()).partition(|it| it.doubts.is_empty());
        if !open.is_empty() {
            return PublicAccess::Public(open);
        }
        if !undecided.is_empty() {
            return PublicAccess::Undecided(undecided);
        }
        let by_wildcard = everyone().filter(|it| !it.limits.iter().any(|limit| limit.is_fixed));
        let (by_wildcard, undecided): (Vec<_>, Vec<_>) = by_wildcard.partition(|it| it.doubts.is_empty());
        match (by_wildcard.is_empty(), undecided.is_empty()) {
            (false, _) => PublicAccess::ByWildcard(by_wildcard),
            (true, false) => PublicAccess::Undecided(undecided),
            (true, true) => PublicAccess::No(everyone().collect()),
        }
    }

    /// May somebody reach the key whom its owner does not trust? What is open to everybody for sure is not said here.
    pub fn foreign(&'a self, trusted: Trusted<'_>) -> ForeignAccess<'a> {
        let mut foreign = Vec::new();
        let mut undecided = Vec::new();
        let mut guests = BTreeSet::new();
        for admission in &self.admissions {
            if admission.is_open() {
                if !admission.doubts.is_empty() {
                    undecided.push(admission);
                }
                continue;
            }
            if matches!(admission.principal, Principal::Unrecognised(_)) {
                undecided.push(admission);
                continue;
            }
            let (accounts, organisations) = admission.outsiders(trusted, &mut guests);
            if accounts.is_empty() && organisations.is_empty() {
                continue;
            }
            if admission.doubts.is_empty() {
                foreign.push(ForeignAdmission { admission, accounts, organisations });
            } else {
                undecided.push(admission);
            }
        }
        match (foreign.is_empty(), undecided.is_empty()) {
            (false, _) => ForeignAccess::Foreign(foreign),
            (true, false) => ForeignAccess::Undecided(undecided),
            (true, true) => ForeignAccess::No(guests),
        }
    }

    /// May AWS services use the key without saying for whom? A service that is made to act for somebody else's resource
    /// would lend them the key.
    pub fn sourceless_services(&'a self, trusted: Trusted<'_>) -> SourcelessServices<'a> {
        let mut accounts = vec![trusted.own_account];
        accounts.extend(trusted.accounts.iter().map(String::as_str));
        let is_sourceless = |it: &&Admission<'_>| {
            matches!(it.principal, Principal::Service(_))
                && it.purposes().1
                && !it.is_void()
                && !it.limits.iter().any(|limit| limit.holds_services)
                && !it.has_context_of(&accounts)
        };
        let (sure, undecided) = self.admissions.iter().filter(is_sourceless).partition(|it| it.doubts.is_empty());
        SourcelessServices { sure, undecided }
    }

    /// The principals that may both administer and use the key. Those whose Denies cannot be decided come with them.
    pub fn administrators(&self) -> Vec<Administrator> {
        let mut by_arn: BTreeMap<&str, Vec<&Admission<'_>>> = BTreeMap::new();
        for admission in self.admissions.iter().filter(|it| !it.is_void()) {
            if let Principal::Named { arn, .. } = &admission.principal {
                by_arn.entry(arn).or_default().push(admission);
            }
        }
        let both = |admissions: &[&Admission<'_>]| {
            let purposes: Vec<(bool, bool)> = admissions.iter().map(|it| it.purposes()).collect();
            purposes.iter().any(|(administers, _)| *administers) && purposes.iter().any(|(_, uses)| *uses)
        };
        let administrator = |(arn, admissions): (&str, Vec<&Admission<'_>>)| {
            let sure: Vec<&Admission<'_>> = admissions.iter().copied().filter(|it| it.doubts.is_empty()).collect();
            let is_sure = both(&sure);
            if !is_sure && !both(&admissions) {
                return None;
            }
            let told = if is_sure { &sure } else { &admissions };
            let of_interest = |it: &&&Admission<'_>| matches!(it.purposes(), (true, _) | (_, true));
            let statements: BTreeSet<&Label> = told.iter().filter(of_interest).map(|it| it.label()).collect();
            let doubts: BTreeSet<&Label> = told.iter().flat_map(|it| it.doubts.iter().copied()).collect();
            Some(Administrator {
                arn: arn.to_owned(),
                has_full_access: told.iter().any(|it| it.statement.actions.is_every()),
                statements: statements.into_iter().cloned().collect(),
                doubts: doubts.into_iter().cloned().collect(),
            })
        };
        by_arn.into_iter().filter_map(administrator).collect()
    }

    /// Can anybody of the own account still change the policy?
    pub fn manageability(&self, own_account: &str) -> Manageability {
        let may_be_own = |limit: &Limit| {
            limit.places.iter().any(|place| match place {
                Place::Account(account) => account == own_account,
                Place::Nowhere => false,
                _ => true,
            })
        };
        let mut doubts = BTreeSet::new();
        let mut deleted = BTreeSet::new();
        let put = Actions::only("PutKeyPolicy");
        for admission in self.admissions.iter().filter(|it| !it.actions.and(&put).is_empty()) {
            let is_own = match &admission.principal {
                Principal::Everyone => true,
                Principal::Deleted(id) => {
                    deleted.insert(id.clone());
                    false
                }
                principal => principal.account() == Some(own_account),
            };
            if !is_own || !admission.limits.iter().all(may_be_own) {
                continue;
            }
            if admission.doubts.is_empty() {
                return Manageability::Manageable;
            }
            doubts.extend(admission.doubts.iter().map(|label| (*label).clone()));
        }
        if doubts.is_empty() {
            return Manageability::LockedOut(deleted.into_iter().collect());
        }
        Manageability::Undecided(doubts.into_iter().collect())
    }
}

impl Admission<'_> {
    /// The accounts and organisations from outside that it may admit. Trusted accounts are noted as guests.
    fn outsiders(&self, trusted: Trusted<'_>, guests: &mut BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let is_home = |place: &Place| match place {
            Place::Account(account) => account == trusted.own_account || trusted.accounts.contains(account),
            Place::Organisation(id) => trusted.organisation == Some(id.as_str()),
            Place::Nowhere => true,
            Place::Network(_) | Place::UniqueId(_) => false,
        };
        let of_principal = self.principal.account().map(|account| vec![Place::Account(account.to_owned())]);
        // Of what holds roles and users, a service that acts for somebody sends nothing.
        let is_service = matches!(self.principal, Principal::Service(_));
        let limits = self.limits.iter().filter(|limit| !is_service || limit.holds_services);
        let held: Vec<&Vec<Place>> = of_principal.iter().chain(limits.map(|limit| &limit.places)).collect();
        // Callers are in one of the places of each. Where one of them is home alone, so are they.
        if held.iter().any(|places| places.iter().all(is_home)) {
            let trusted_only = held.iter().flat_map(|places| places.iter()).filter_map(|place| match place {
                Place::Account(account) if trusted.accounts.contains(account) => Some(account.clone()),
                _ => None,
            });
            guests.extend(trusted_only);
            return (Vec::new(), Vec::new());
        }
        let accounts_of =
            |places: &&&Vec<Place>| places.iter().all(|place| matches!(place, Place::Account(_) | Place::Nowhere));
        let mut by_account = held.iter().filter(accounts_of).map(|places| places.iter().collect::<BTreeSet<_>>());
        if let Some(first) = by_account.next() {
            let common = by_account.fold(first, |common, next| &common & &next);
            let foreign = common.into_iter().filter(|place| !is_home(place)).filter_map(|place| match place {
                Place::Account(account) => Some(account.clone()),
                _ => None,
            });
            return (foreign.collect(), Vec::new());
        }
        let mut accounts = BTreeSet::new();
        let mut organisations = BTreeSet::new();
        for place in held.into_iter().flatten().filter(|place| !is_home(place)) {
            match place {
                Place::Account(account) => accounts.insert(account.clone()),
                Place::Organisation(id) => organisations.insert(id.clone()),
                // They name no account: who comes from there is not known.
                Place::Network(_) | Place::UniqueId(_) | Place::Nowhere => false,
            };
        }
        (accounts.into_iter().collect(), organisations.into_iter().collect())
    }
}
