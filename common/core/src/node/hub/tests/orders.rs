//! Orders, renames, sources that come back, apps that leave: what the indexes say afterwards.

use super::model::*;
use crate::catalog::{Destination, Root};
use crate::cluster;
use crate::event::agent::Phase;
use crate::event::{AgentFact, HubFact};
use crate::given::{app, cluster as named, commit, declared, digest, listing, source, track};
use crate::node::hub::{Append, Command, Input, Rejected, Reply};
use crate::source as sources;
use crate::time::{At, Span};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

fn held(sim: &Sim) -> Vec<String> {
    let entries = &sim.hub.state().planner.fleet[&named("prod")].index.entries;
    let entry = |(app, entry): (&crate::id::AppId, &crate::desired::Entry)| {
        let leaves = if entry.withdrawn.is_some() { " leaves" } else { "" };
        alloc::format!("{app} {}{leaves}", entry.commit.short())
    };
    entries.iter().map(entry).collect()
}

#[test]
fn every_fact_of_a_commit_leads_back_to_it() {
    let sim = delivered();
    let mut kinds = Vec::new();
    for (at, append) in sim.log.iter().enumerate() {
        let Append::Own(event) = append else { continue };
        let follows = matches!(
            event.fact,
            HubFact::CatalogChanged { .. } | HubFact::BundleSealed { .. } | HubFact::IndexRaised { .. }
        );
        if !follows {
            continue;
        }
        kinds.push(event.fact.kind());
        let cause = usize::try_from(event.context.cause.expect("a cause")).unwrap();
        assert!(cause <= at, "{} follows from what is before it", event.fact.kind());
        let Append::Own(cause) = &sim.log[cause - 1] else { panic!("the cause is ours") };
        assert_eq!(event.context.commit, Some(commit('a')));
        assert_eq!(cause.context.commit, Some(commit('a')), "{:?}", cause.fact);
    }
    assert_eq!(kinds, ["CatalogChanged", "BundleSealed", "IndexRaised"]);
}

#[test]
fn a_commit_that_changes_nothing_writes_nothing_but_itself() {
    let mut sim = delivered();
    let from = sim.log.len();
    sim.push('b', tree(&[("prod", &["web"])]));
    sim.run();
    assert_eq!(sim.kinds(from), ["CommitSeen"]);
    assert_eq!(held(&sim), ["fleet/web aaaaaaaaaa"], "it still names what last changed it");
}

/// Commits that the app's state on `prod` was made from.
fn considered(sim: &Sim) -> Vec<String> {
    let commits = super::considered(&sim.hub, &named("prod"), &app("fleet/web"));
    commits.iter().map(|commit| String::from(commit.short())).collect()
}

#[test]
fn a_commit_is_considered_once_it_is_rendered_whether_it_changes_anything_or_not() {
    let mut sim = delivered();
    assert_eq!(considered(&sim), ["aaaaaaaaaa"]);
    sim.push('b', tree(&[("prod", &["web"])]));
    assert_eq!(considered(&sim), [] as [&str; 0], "seen, and not yet read");
    for first in ["read", "render"] {
        let mut sim = sim.clone();
        let place = sim.asked().iter().position(|asked| asked.starts_with(first)).unwrap();
        sim.perform(place);
        assert_eq!(considered(&sim), [] as [&str; 0], "{first} alone does not tell");
    }
    sim.run();
    assert_eq!(
        (considered(&sim), held(&sim)),
        (vec!["bbbbbbbbbb".into()], vec!["fleet/web aaaaaaaaaa".into()])
    );
    let mut broken = tree(&[("prod", &["web"])]);
    broken.renders.insert("apps/web".into(), 0);
    sim.push('c', broken);
    sim.run();
    assert_eq!(considered(&sim), [] as [&str; 0], "it could not be rendered");
    sim.push('d', tree(&[("prod", &["web"])]));
    sim.run();
    sim.restart();
    assert_eq!(considered(&sim), [] as [&str; 0], "after a start nothing is known");
    sim.run();
    assert_eq!(considered(&sim), ["dddddddddd"]);
}

#[test]
fn a_broken_tree_takes_nothing_away_and_is_mended_by_the_next() {
    let mut sim = delivered();
    let from = sim.log.len();
    let mut broken = tree(&[("prod", &["web"])]);
    broken.renders.insert("apps/web".into(), 0);
    sim.push('b', broken);
    sim.run();
    assert_eq!(sim.kinds(from), ["CommitSeen", "RenderFailed"]);
    assert_eq!(held(&sim), ["fleet/web aaaaaaaaaa"]);
    sim.restart();
    sim.run();
    assert_eq!(sim.kinds(from)[2..], ["HubStarted"], "named once per commit");
    let from = sim.log.len();
    sim.push('c', tree(&[("prod", &["web"])]));
    sim.run();
    assert_eq!(sim.kinds(from), ["CommitSeen", "BundleSealed"], "well again, and nothing to deliver");
    assert!(sim.hub.state().planner.failures.is_empty());
}

#[test]
fn a_rewritten_history_moves_nothing_until_it_is_allowed() {
    let mut sim = delivered();
    let mut next = tree(&[("prod", &["web"])]);
    next.renders.insert("apps/web".into(), 2);
    sim.trees.insert(commit('b'), next);
    sim.step(Input::Sighted(crate::given::sighting(&track("main"), 'b', false)));
    sim.run();
    assert_eq!(held(&sim), ["fleet/web aaaaaaaaaa"]);
    sim.order(Command::Source(sources::Command::Allow(source("fleet"))));
    sim.run();
    assert_eq!(held(&sim), ["fleet/web bbbbbbbbbb"]);
}

#[test]
fn a_cluster_that_joins_later_gets_what_is_already_rendered() {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    sim.invite("prod", 1);
    sim.push('a', tree(&[("prod", &["web"])]));
    sim.run();
    assert!(!sim.kinds(0).contains(&"IndexRaised"), "nobody is there to take it");
    let from = sim.log.len();
    sim.join(1, 'B');
    assert_eq!(sim.kinds(from), ["ClusterJoined", "IndexRaised"]);
    assert_eq!(sim.asked(), ["account true", "publish prod 1.1"]);
}

#[test]
fn an_app_that_git_declares_no_more_leaves_once_the_agent_confirms() {
    let mut sim = delivered();
    sim.push('b', tree(&[("prod", &["api"])]));
    sim.run();
    assert_eq!(held(&sim), ["fleet/api bbbbbbbbbb", "fleet/web aaaaaaaaaa leaves"]);
    sim.say('B', &app("fleet/web"), AgentFact::Withdrawn { since: None, deleted: 0, kept: 3 });
    assert_eq!(held(&sim), ["fleet/api bbbbbbbbbb"]);
    // Said twice, it changes nothing.
    let from = sim.log.len();
    sim.say('B', &app("fleet/web"), AgentFact::Withdrawn { since: None, deleted: 0, kept: 0 });
    assert_eq!(sim.kinds(from), ["of an agent"]);
}

#[test]
fn a_confirmation_of_an_older_removal_is_not_taken_for_one_of_the_newest() {
    let mut sim = delivered();
    let since =
        |sim: &Sim| sim.hub.state().planner.fleet[&named("prod")].index.entries[&app("fleet/web")].since;
    sim.push('b', tree(&[("prod", &["api"])]));
    sim.run();
    let first = since(&sim);
    // It comes back and is withdrawn again before the agent's word for the first time arrives.
    sim.push('c', tree(&[("prod", &["api", "web"])]));
    sim.run();
    sim.push('d', tree(&[("prod", &["api"])]));
    sim.run();
    let second = since(&sim);
    assert_ne!(first, second);
    let confirmed = |since| AgentFact::Withdrawn { since: Some(since), deleted: 0, kept: 3 };
    sim.say('B', &app("fleet/web"), confirmed(first));
    assert_eq!(held(&sim), ["fleet/api bbbbbbbbbb", "fleet/web aaaaaaaaaa leaves"]);
    sim.say('B', &app("fleet/web"), confirmed(second));
    assert_eq!(held(&sim), ["fleet/api bbbbbbbbbb"]);
}

#[test]
fn only_what_waits_can_be_approved_and_once() {
    let mut sim = delivered();
    let approve = |app_name: &str| Command::Approve {
        app: app(app_name),
        cluster: named("prod"),
        bundle: None,
        reason: "meant so".into(),
    };
    let nothing = Reply::Rejected(Rejected::NothingHeld { app: app("fleet/web"), cluster: named("prod") });
    assert_eq!(sim.order(approve("fleet/web")), nothing);
    sim.report('B', &app("fleet/web"), Phase::Synced);
    assert_eq!(sim.order(approve("fleet/web")), nothing, "it does not wait");
    sim.report('B', &app("fleet/web"), Phase::Parked);
    let mut later = sim.clone();
    let mut next = tree(&[("prod", &["web"])]);
    next.renders.insert("apps/web".into(), 2);
    later.push('b', next);
    later.run();
    assert_eq!(later.order(approve("fleet/web")), nothing, "what waited was the bundle before");
    assert!(matches!(sim.order(approve("fleet/web")), Reply::Done { changed: true, .. }));
    let entry = &sim.hub.state().planner.fleet[&named("prod")].index.entries[&app("fleet/web")];
    assert_eq!(entry.approved, Some(digest(1)));
    assert_eq!(sim.order(approve("fleet/web")), nothing, "approved already");
    let none = Reply::Rejected(Rejected::NotPlaced { app: app("fleet/none"), cluster: named("prod") });
    assert_eq!(sim.order(approve("fleet/none")), none);
}

#[test]
fn an_app_is_synced_where_it_is_and_nowhere_else() {
    let mut sim = delivered();
    let sync = |cluster: &str| {
        let (app, clusters) = (app("fleet/web"), vec![named(cluster)]);
        Command::Sync { app, clusters, reason: "release".into() }
    };
    let elsewhere = Rejected::NotPlaced { app: app("fleet/web"), cluster: named("next") };
    assert_eq!(sim.order(sync("next")), Reply::Rejected(elsewhere));
    let index = sim.log.len() as u64 + 1;
    assert_eq!(sim.order(sync("prod")), Reply::Done { index, changed: true }, "it names its event");
}

#[test]
fn an_approval_of_a_bundle_that_somebody_saw_is_not_taken_for_a_newer_one() {
    let mut sim = delivered();
    let approve = |number: u8| Command::Approve {
        app: app("fleet/web"),
        cluster: named("prod"),
        bundle: Some(digest(number)),
        reason: "meant so".into(),
    };
    sim.report('B', &app("fleet/web"), Phase::Parked);
    let (of, on, waits) = (app("fleet/web"), named("prod"), digest(1));
    let other = Rejected::OtherBundle { app: of, cluster: on, waits };
    assert_eq!(sim.order(approve(2)), Reply::Rejected(other));
    let entry =
        |sim: &Sim| sim.hub.state().planner.fleet[&named("prod")].index.entries[&app("fleet/web")].clone();
    assert_eq!(entry(&sim).approved, None);
    assert!(matches!(sim.order(approve(1)), Reply::Done { changed: true, .. }));
    assert_eq!(entry(&sim).approved, Some(digest(1)));
}

#[test]
fn a_name_that_git_uses_cannot_be_taken_from_a_cluster_and_another_moves_with_its_index() {
    let mut sim = delivered();
    let rename = |from: &str, to: &str| {
        let (from, to) = (named(from), named(to));
        Command::Cluster(cluster::Command::Rename { from, to, root_in_git: false })
    };
    let refused = Rejected::Cluster(cluster::Rejected::RootInGit(named("prod")));
    assert_eq!(sim.order(rename("prod", "live")), Reply::Rejected(refused));
    let chosen = declared("web", Destination::Selector(crate::given::selector("env", "prod")));
    let mut next = tree(&[]);
    next.roots.insert(Root::Directory, listing(Vec::from([chosen])));
    sim.push('b', next);
    sim.run();
    assert!(matches!(sim.order(rename("prod", "live")), Reply::Done { changed: true, .. }));
    sim.run();
    let index = &sim.hub.state().planner.fleet[&named("live")].index;
    assert_eq!(sim.paid.published[&named("live")], index.mark);
    assert_eq!(index.entries[&app("fleet/web")].withdrawn, None, "the labels still choose it");
    assert!(sim.hub.is_idle());
    sim.check_debts();
}

#[test]
fn a_source_that_was_removed_and_added_again_is_read_again() {
    let mut sim = delivered();
    sim.order(Command::Source(sources::Command::Remove(source("fleet"))));
    sim.run();
    assert_eq!(held(&sim), ["fleet/web aaaaaaaaaa leaves"]);
    assert!(sim.followed.is_empty());
    sim.add_source("fleet");
    sim.push('a', tree(&[("prod", &["web"])]));
    let read = sim.asked().iter().position(|asked| asked == "read fleet").unwrap();
    sim.perform(read);
    assert!(!sim.asked().contains(&String::from("read fleet")), "once is enough");
    sim.run();
    assert_eq!(held(&sim), ["fleet/web aaaaaaaaaa"]);
    sim.check_debts();
}

#[test]
fn a_reading_that_was_under_way_for_a_former_source_of_that_name_is_void() {
    let mut sim = delivered();
    sim.push('b', tree(&[("prod", &["api"])]));
    assert_eq!(sim.asked().last().map(String::as_str), Some("render apps/web bbbbbbbbbb"));
    let read = sim.asked().iter().position(|asked| asked == "read fleet").unwrap();
    sim.order(Command::Source(sources::Command::Remove(source("fleet"))));
    let (source, path) = (source("fleet"), "elsewhere".into());
    sim.order(Command::Source(sources::Command::Add { source, track: track("main"), path }));
    sim.step(Input::Sighted(crate::given::sighting(&track("main"), 'b', true)));
    let from = sim.log.len();
    sim.perform(read);
    assert!(!sim.kinds(from).contains(&"CatalogChanged"), "it was read in another directory");
    sim.run();
    assert!(sim.kinds(from).contains(&"CatalogChanged"), "read again, in its own");
}

#[test]
fn a_step_plans_at_most_256_clusters_and_the_rest_follow_at_once() {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    let mut everywhere = declared("web", Destination::Selector(crate::selector::Selector::new(Vec::new())));
    everywhere.path = "apps/web".into();
    let mut all = tree(&[]);
    all.roots.insert(Root::Directory, listing(Vec::from([everywhere])));
    for number in 0..600u32 {
        let name = alloc::format!("c{number}");
        let labels = crate::given::labels(&[]);
        let token = crate::digest::Digest([u8::try_from(number % 251).unwrap(); 32]);
        let mut bytes = token.0;
        bytes[0..4].copy_from_slice(&number.to_be_bytes());
        let (cluster, token) = (named(&name), crate::digest::Digest(bytes));
        let expires_at = sim.now.plus(Span::secs(60));
        let invite = cluster::Command::Invite { cluster, labels, token, expires_at };
        sim.hub.step(
            Input::Ordered { token: 0, actor: crate::given::person(), command: Command::Cluster(invite) },
            sim.now,
        );
        let letters = ['B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K'];
        let mut text = String::from("A");
        for place in 0..55u32 {
            text.push(letters[(number / 10u32.pow(place.min(3)) % 10) as usize]);
        }
        let mut request = crate::given::join_request(1, 'B');
        (request.token, request.account) = (token, crate::id::AccountKey::parse(&text).unwrap());
        sim.hub.step(Input::Joining { token: 0, request }, sim.now);
    }
    sim.trees.insert(commit('a'), all);
    let mut raised = Vec::new();
    let mut effects =
        sim.hub.step(Input::Sighted(crate::given::sighting(&track("main"), 'a', true)), sim.now).effects;
    sim.pending.clear();
    for _ in 0..40 {
        let mut outs = Vec::new();
        for effect in core::mem::take(&mut effects) {
            let input = match effect {
                crate::node::hub::Effect::Read { source, commit, .. } => {
                    let roots = sim.trees[&commit].roots.clone().into_iter().map(|(root, it)| (root, Ok(it)));
                    let (roots, cause, trace) = (roots.collect(), None, None);
                    Input::Read(crate::catalog::Reading { source, commit, roots, cause, trace })
                }
                crate::node::hub::Effect::Render { variant, commit, .. } => {
                    let (digest, sealed) = (digest(1), digest(2));
                    let inputs = Vec::new();
                    let outcome =
                        crate::node::hub::Outcome::Sealed { digest, sealed, size: 1, objects: 1, inputs };
                    Input::Rendered(crate::node::hub::Rendered { variant, commit, outcome })
                }
                crate::node::hub::Effect::Publish { cluster, index, .. } => {
                    Input::Published { cluster, mark: index.mark }
                }
                _ => continue,
            };
            outs.push(sim.hub.step(input, sim.now));
        }
        if outs.is_empty() && sim.hub.next_wake() == Some(At(0)) {
            outs.push(sim.hub.step(Input::Wake, sim.now));
        }
        for out in outs {
            let own =
                |append: &Append| matches!(append, Append::Own(event) if event.fact.kind() == "IndexRaised");
            raised.push(out.appends.iter().filter(|append| own(append)).count());
            effects.extend(out.effects);
        }
    }
    assert_eq!(raised.iter().sum::<usize>(), 600);
    assert_eq!(raised.iter().max(), Some(&256));
}
