//! Given, when, then: readings of trees, and which app goes where.

use super::*;
use crate::cluster::Cluster;
use crate::desired::{Entry, Index, Mark, Policy, Withdrawal};
use crate::event::{HubEvent, HubFact};
use crate::given::{app, cluster, commit, declared, digest, event, labels, listing, selector, source, track};
use crate::id::{AppId, CommitId};
use crate::source as sources;
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;

fn root(name: &str) -> Root {
    if name.is_empty() { Root::Directory } else { Root::Cluster(cluster(name)) }
}

fn reading(letter: char, roots: &[(&str, Result<Listing, &str>)]) -> Reading {
    let unreadable =
        |cause: &str| Unreadable { file: Some("a.yaml".into()), line: Some(3), cause: cause.into() };
    let roots = roots.iter().map(|(name, listing)| (root(name), listing.clone().map_err(unreadable)));
    let (source, commit) = (source("fleet"), commit(letter));
    Reading { source, commit, roots: roots.collect(), cause: Some(3), trace: None }
}

fn take(state: &mut State, reading: &Reading) -> Vec<&'static str> {
    let events = read(state, reading, At(0));
    for (index, event) in events.iter().enumerate() {
        evolve(state, index as u64, event);
    }
    events.iter().map(|event| event.fact.kind()).collect()
}

fn one(name: &str) -> Listing {
    listing(Vec::from([declared(name, Destination::Here)]))
}

fn names(state: &State) -> Vec<String> {
    let apps = state.roots.values().flat_map(|listed| listed.listing.apps.iter());
    apps.map(|app| app.name.to_string()).collect()
}

#[test]
fn a_reading_changes_what_it_changes_and_nothing_the_second_time() {
    let mut state = State::default();
    let first = reading('a', &[("prod", Ok(one("web"))), ("next", Ok(one("api")))]);
    assert_eq!(take(&mut state, &first), ["CatalogChanged", "CatalogChanged"]);
    assert_eq!(take(&mut state, &first), [""; 0]);
    let second = reading('b', &[("prod", Ok(one("web"))), ("next", Ok(one("shop")))]);
    assert_eq!(take(&mut state, &second), ["CatalogChanged"]);
    assert_eq!(names(&state), ["shop", "web"]);
    let third = reading('c', &[("prod", Ok(one("web")))]);
    assert_eq!(take(&mut state, &third), ["CatalogChanged"], "a root left Git");
    assert_eq!(names(&state), ["web"]);
}

#[test]
fn a_root_that_cannot_be_read_keeps_what_it_declared_and_is_named_once_per_commit() {
    let mut state = State::default();
    take(&mut state, &reading('a', &[("prod", Ok(one("web"))), ("next", Ok(one("api")))]));
    let broken = reading('b', &[("prod", Err("bad indent")), ("next", Ok(one("api")))]);
    assert_eq!(take(&mut state, &broken), ["CatalogUnreadable"]);
    assert_eq!(take(&mut state, &broken), [""; 0]);
    assert_eq!(names(&state), ["api", "web"]);
    let again = reading('c', &[("prod", Err("bad indent")), ("next", Ok(one("api")))]);
    assert_eq!(take(&mut state, &again), ["CatalogUnreadable"], "another commit that is as broken");
    let mended = reading('d', &[("prod", Ok(one("web"))), ("next", Ok(one("api")))]);
    assert_eq!(take(&mut state, &mended), ["CatalogChanged"], "though it declares what it did before");
    assert!(state.unreadable.is_empty());
}

#[test]
fn a_root_that_could_never_be_read_and_left_git_is_no_longer_named() {
    let mut state = State::default();
    take(&mut state, &reading('a', &[("prod", Ok(one("web"))), ("next", Err("bad"))]));
    assert_eq!(state.unreadable.len(), 1);
    take(&mut state, &reading('b', &[("prod", Ok(one("web")))]));
    assert!(state.unreadable.is_empty());
}

#[test]
fn a_tree_that_declares_nothing_any_more_is_taken_for_a_mistake() {
    for empty in [reading('b', &[]), reading('b', &[("prod", Ok(Listing::default()))])] {
        let mut state = State::default();
        take(&mut state, &reading('a', &[("prod", Ok(one("web"))), ("", Ok(one("api")))]));
        assert_eq!(take(&mut state, &empty), ["CatalogUnreadable"]);
        assert_eq!(take(&mut state, &empty), [""; 0]);
        assert_eq!(names(&state), ["web", "api"]);
    }
    let mut state = State::default();
    let nothing = reading('a', &[("", Ok(Listing::default()))]);
    assert_eq!(take(&mut state, &nothing), ["CatalogChanged"], "a source that declares nothing yet");
    assert_eq!(take(&mut state, &reading('b', &[("", Ok(Listing::default()))])), [""; 0]);
}

#[test]
fn a_source_that_leaves_takes_along_what_it_declared_and_nothing_else() {
    let everywhere = || listing(Vec::from([declared("web", Destination::Selector(selector("env", "next")))]));
    let mut catalog = given(&[("one", "prod", everywhere()), ("two", "prod", everywhere())]).catalog;
    for of in ["one", "two"] {
        let (source, root, cause) = (source(of), root("next"), "bad indent".into());
        let broken = HubFact::CatalogUnreadable { source, root, file: None, line: None, cause };
        let mut broken: HubEvent = event(broken);
        broken.context.commit = Some(commit('b'));
        evolve(&mut catalog, 9, &broken);
    }
    evolve(&mut catalog, 10, &event(HubFact::SourceRemoved { source: source("one") }));
    let key = |name: &str| (source("two"), root(name));
    assert!(catalog.roots.keys().eq([&key("prod")]), "{:?}", catalog.roots);
    assert!(catalog.reaching_out.iter().eq([&key("prod")]), "{:?}", catalog.reaching_out);
    assert!(catalog.unreadable.keys().eq([&key("next")]), "{:?}", catalog.unreadable);
}

struct Given {
    catalog: State,
    sources: sources::State,
}

fn given(roots: &[(&str, &str, Listing)]) -> Given {
    let mut given = Given { catalog: State::default(), sources: sources::State::default() };
    for (index, (of, name, listing)) in roots.iter().enumerate() {
        let added = HubFact::SourceAdded { source: source(of), track: track("main"), path: "deploy".into() };
        sources::evolve(&mut given.sources, 0, &event(added));
        let (source, root, listing) = (source(of), root(name), Some(listing.clone()));
        let mut changed: HubEvent = event(HubFact::CatalogChanged { source, root, listing });
        changed.context.commit = Some(commit('a'));
        evolve(&mut given.catalog, index as u64 + 1, &changed);
    }
    given
}

fn placed(given: &Given, name: &str, held: Option<&Index>) -> (Vec<String>, Vec<String>) {
    let known = Cluster { labels: labels(&[("env", name)]), ..Cluster::default() };
    let (placed, refused) = placements(&given.catalog, &given.sources, &cluster(name), &known, held);
    let refused = refused.into_iter().map(|(app, why)| app.to_string() + ": " + &why);
    (placed.keys().map(ToString::to_string).collect(), refused.collect())
}

#[test]
fn an_app_goes_to_its_root_to_a_named_cluster_or_by_labels() {
    let here = declared("here", Destination::Here);
    let there = declared("there", Destination::Cluster(cluster("next")));
    let everywhere = declared("chosen", Destination::Selector(selector("env", "next")));
    let given = given(&[("fleet", "prod", listing(Vec::from([here, there, everywhere])))]);
    assert_eq!(placed(&given, "prod", None).0, ["fleet/here"]);
    assert_eq!(placed(&given, "next", None).0, ["fleet/chosen", "fleet/there"]);
    assert_eq!(placed(&given, "other", None).0, [""; 0]);
}

#[test]
fn one_app_under_several_roots_is_one_app_with_several_instances() {
    let given = given(&[("fleet", "prod", one("web")), ("fleet", "next", one("web"))]);
    assert_eq!(placed(&given, "prod", None), (Vec::from(["fleet/web".to_string()]), Vec::new()));
    assert_eq!(placed(&given, "next", None), (Vec::from(["fleet/web".to_string()]), Vec::new()));
}

#[test]
fn an_undeclared_repository_is_refused_by_name() {
    let mut other = declared("web", Destination::Here);
    other.repo_url = "https://git.example.com/other".into();
    let given = given(&[("fleet", "prod", listing(Vec::from([other, declared("api", Destination::Here)])))]);
    let (placed, refused) = placed(&given, "prod", None);
    assert_eq!(placed, ["fleet/api"]);
    let why = "fleet/web: https://git.example.com/other is not a declared source: add it with `taffrail source add`";
    assert_eq!(refused, [why]);
}

#[test]
fn the_rest_of_a_root_is_an_app_of_its_own_that_nothing_declared_can_replace() {
    let mut with_rest = listing(Vec::from([declared("prod-root", Destination::Here)]));
    with_rest.rest = true;
    let given = given(&[("fleet", "prod", with_rest)]);
    let known = Cluster::default();
    let (placed, refused) = placements(&given.catalog, &given.sources, &cluster("prod"), &known, None);
    let root = &placed[&app("fleet/prod-root")];
    assert_eq!(root.variant.path, "deploy/clusters/prod");
    assert_eq!((root.variant.render, root.sync.prune), (Render::Kustomize, true));
    assert_eq!(refused[&app("fleet/prod-root")], "fleet/prod-root has this name on this cluster already");
}

fn index_with(app: &AppId, withdrawn: Option<Withdrawal>) -> Index {
    let commit: CommitId = commit('a');
    let policy = Policy {
        namespace: String::new(),
        create_namespace: false,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes: MaxDeletes::Count(1),
    };
    let since = Mark { epoch: 1, generation: 1 };
    let (digest, sealed, approved, trace) = (digest(1), digest(2), None, None);
    let entry = Entry { since, digest, sealed, commit, policy, approved, withdrawn, trace };
    Index { mark: since, entries: BTreeMap::from([(app.clone(), entry)]) }
}

#[test]
fn of_two_apps_with_one_name_the_one_that_is_there_stays() {
    let given = given(&[("alpha", "prod", one("web")), ("zeta", "prod", one("web"))]);
    let why =
        |app: &str, other: &str| app.to_string() + ": " + other + " has this name on this cluster already";
    let (alpha, zeta) = ("alpha/web", "zeta/web");
    assert_eq!(placed(&given, "prod", None), (Vec::from([alpha.to_string()]), Vec::from([why(zeta, alpha)])));
    let held = index_with(&app(zeta), None);
    let kept = placed(&given, "prod", Some(&held));
    assert_eq!(kept, (Vec::from([zeta.to_string()]), Vec::from([why(alpha, zeta)])));
    let leaving = index_with(&app(zeta), Some(Withdrawal::Orphan));
    assert_eq!(placed(&given, "prod", Some(&leaving)).0, [alpha], "what leaves holds no name");
    let gone = index_with(&app("gone/web"), None);
    assert_eq!(placed(&given, "prod", Some(&gone)).0, [alpha], "nor what Git names no more");
}

proptest! {
    /// The roots that are looked at for a cluster are enough: a full scan places the same apps.
    #[test]
    fn only_roots_that_reach_a_cluster_are_looked_at_and_none_is_missed(
        roots in proptest::collection::vec((0..2u8, 0..4u8, 0..3u8, 0..4u8, any::<bool>()), 0..12)
    ) {
        let cluster_name = |n: u8| ["", "prod", "next", "other"][usize::from(n)];
        let mut all = Vec::new();
        for (of, at, kind, to, rest) in roots {
            let to = cluster_name(to.max(1));
            let destination = match kind {
                0 => Destination::Here,
                1 => Destination::Cluster(cluster(to)),
                _ => Destination::Selector(selector("env", to)),
            };
            let app = declared(["web", "api"][usize::from(kind.min(1))], destination);
            let rest = rest && at > 0;
            all.push((["one", "two"][usize::from(of)], cluster_name(at), Listing { rest, ..listing(Vec::from([app])) }));
        }
        let given = given(&all);
        for name in ["prod", "next", "other"] {
            let reaching: BTreeSet<_> = given.catalog.reaching(&cluster(name)).map(|(key, _)| key.clone()).collect();
            for ((of, at), listed) in &given.catalog.roots {
                let own = matches!(at, Root::Cluster(at) if at.as_str() == name);
                let declares = listed.listing.apps.iter().any(|app| match &app.destination {
                    Destination::Here => own,
                    Destination::Cluster(to) => to.as_str() == name,
                    Destination::Selector(labels_of) => labels_of.matches(&labels(&[("env", name)])),
                });
                let needed = declares || (own && listed.listing.rest);
                let reaches_out = listed.listing.apps.iter().any(|app| match &app.destination {
                    Destination::Here => false,
                    Destination::Cluster(to) => *at != Root::Cluster(to.clone()),
                    Destination::Selector(_) => true,
                });
                let reached = reaching.contains(&(of.clone(), at.clone()));
                prop_assert!(!needed || reached, "{:?} is missed for {}", at, name);
                prop_assert!(!reached || own || reaches_out, "{:?} is looked at for {}", at, name);
            }
        }
    }
}
