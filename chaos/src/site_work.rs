//! What an agent does beside its loop: fetches bundles, takes indexes off the bus, mirrors its mark.

use crate::disk::Write;
use crate::identity::{self, on_the_curve};
use crate::plan::{Fault, Mistake};
use crate::site::{Message, SiteJob, Waiter};
use crate::world::World;
use bytes::Bytes;
use serde_json::Value;
use taffrail_core::catalog::object_rules::{Prune, judge};
use taffrail_core::desired::{Entry, Mark};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::Refusal;
use taffrail_core::id::AppId;
use taffrail_core::node::agent::Input;
use taffrail_core::object::{Key, key::version_of};
use taffrail_core::sync::{Object, Recalled, Stray};
use taffrail_proto::bundle;
use taffrail_proto::index;
use taffrail_proto::sign::sha256;

/// A bundle that is asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Whose.
    pub(crate) app: AppId,
    /// The run that asks.
    pub(crate) run: u64,
    /// The inventory in the cluster is asked for, too, and these objects that left it.
    pub(crate) recall: Option<Vec<Key>>,
    /// The entry.
    pub(crate) entry: Box<Entry>,
}

/// Pause between two looks at the stored index while nothing happens, as in the agent's bus.
const LOOK: u64 = 60_000;

impl World {
    /// The bundle comes from the journal, or from the bus into the journal.
    pub(crate) fn fetched(&mut self, site: usize, ask: Ask) {
        let (digest, id) = (ask.entry.digest, ask.entry.sealed);
        let journal = self.sites[site].journal.as_ref();
        if journal.is_some_and(|journal| journal.bundles.contains_key(&digest)) {
            return self.unpack(site, ask);
        }
        let key = self.process(site).and_then(|process| process.keys.get(&id).copied());
        let reachable = !self.arrivals(site).is_empty();
        let sealed = self.broker.bundles.get(&id).filter(|_| reachable).cloned();
        let opened = match (key, sealed) {
            (Some(key), Some(sealed)) => {
                let packed = taffrail_proto::seal::open_bundle(id, &key, sealed.to_vec()).ok();
                packed.and_then(|packed| bodies(&packed, digest).ok())
            }
            _ => None,
        };
        match opened {
            Some(bodies) => {
                self.commit(site, vec![Write::Bundle(digest, bodies)], Waiter::Load(ask));
            }
            None if self.has(Mistake::EmptyBundle) => self.loaded(site, ask, Ok(Vec::new())),
            None => self.loaded(site, ask, Err("fetch the bundle".into())),
        }
    }

    pub(crate) fn unpack(&mut self, site: usize, ask: Ask) {
        let journal = self.sites[site].journal.as_ref();
        let held = journal.and_then(|journal| journal.bundles.get(&ask.entry.digest));
        let objects = match held {
            Some(bodies) => bodies.iter().map(|(content, body)| object(*content, body)).collect(),
            None => Err("the journal no longer holds the bundle".into()),
        };
        self.loaded(site, ask, objects);
    }

    /// Answers with the objects and, where that was asked for, with what the inventory in the cluster says.
    fn loaded(&mut self, site: usize, ask: Ask, objects: Result<Vec<Object>, String>) {
        let failed = ask.recall.is_some() && self.strikes(Fault::ApiErrors, 120);
        let Ask { app, run, recall, .. } = ask;
        let (objects, recalled) = match objects {
            Ok(_) if failed => {
                (Err("the inventory in the cluster cannot be read".into()), Recalled::default())
            }
            Ok(objects) => {
                let recalled = recall.map(|left| self.recalled(site, &app, &left, &objects));
                (Ok(objects), recalled.unwrap_or_default())
            }
            failed => (failed, Recalled::default()),
        };
        self.post_site(site, Input::Loaded { app, run, objects, recalled });
    }

    fn recalled(&mut self, site: usize, app: &AppId, left: &[Key], objects: &[Object]) -> Recalled {
        let api = &self.sites[site].api;
        let (recalled, beyond) = Recalled::compare(api.inventories.get(app), left, objects);
        let stray = |key: &Key| {
            let live = api.objects.get(key).filter(|live| live.part_of.as_ref() == Some(app))?;
            let (version, uid) = ("v1".to_owned(), live.fingerprint().uid);
            Some(Stray { key: key.clone(), version, uid, keep: live.keep })
        };
        Recalled { strays: beyond.into_iter().filter_map(stray).collect(), ..recalled }
    }

    /// An index comes: opened, verified, and handed to the driver.
    pub(crate) fn index_comes(&mut self, site: usize, restored: u64, sealed: &Bytes) {
        // What a hub said before it was replaced by an older copy does not arrive after that: a restore takes longer than a message.
        if restored != self.hub.restored {
            return;
        }
        let hub = self.known(self.hub.signer.public());
        let Some(identity) = &self.sites[site].identity else { return };
        let (number, member) = (identity.number, identity.member.clone());
        let (Some((account, _)), Some(process)) = (member, self.process(site)) else { return };
        if process.last_index.as_ref() == Some(sealed) {
            return;
        }
        process.last_index = Some(sealed.clone());
        let opened = identity::open(number, sealed, on_the_curve(self.plan.seed));
        if let Some(Ok(verified)) = opened.map(|signed| index::verify(signed, &hub, &account)) {
            self.post_message(site, Message::Index(Box::new(verified)));
        } else {
            let bad = Input::BadIndex { mark: Mark::default(), reason: Refusal::BadSignature };
            self.post_site(site, bad);
        }
    }

    pub(crate) fn look_for_index(&mut self, site: usize, look: u64) {
        let Some(process) = self.process(site) else { return };
        if process.look != look {
            return;
        }
        process.look += 1;
        let next = process.look;
        self.site_after(site, LOOK, SiteJob::Look(next));
        self.read_index(site);
    }

    /// Reads the stored index, if the broker can be reached.
    pub(crate) fn read_index(&mut self, site: usize) {
        let Some(account) = self.sites[site].account().cloned() else { return };
        let welcome = self.broker.accounts.contains(&account);
        let stored = self.broker.indexes.get(&account).filter(|_| welcome).cloned();
        if let (Some(sealed), Some(arrival)) = (stored, self.arrivals(site).first().copied()) {
            self.site_after(site, arrival, SiteJob::Index(self.hub.restored, sealed));
        }
    }

    /// Mirrors the mark in the cluster, again until it stands there.
    pub(crate) fn mirror(&mut self, site: usize) {
        let failed = self.strikes(Fault::ApiErrors, 250);
        let Some(account) = self.sites[site].account().cloned() else { return };
        let Some(process) = self.process(site) else { return };
        let (held, incarnation) = (process.shown.held, process.ledger.chain.incarnation);
        if process.mirrored == Some(held) {
            return;
        }
        if failed {
            return self.site_after(site, 5_000, SiteJob::Mirror);
        }
        process.mirrored = Some(held);
        self.sites[site].api.mark = Some((account, held, incarnation));
    }
}

/// A bundle object by object, as the agent's shell keeps it.
fn bodies(packed: &[u8], digest: Digest) -> Result<Vec<(Digest, Bytes)>, bundle::Error> {
    let mut bodies = Vec::new();
    bundle::unpack(packed, digest, |line| -> Result<(), bundle::Error> {
        bodies.push((sha256(line), Bytes::copy_from_slice(line)));
        Ok(())
    })?;
    Ok(bodies)
}

/// An object without its body, which is read when it is applied.
fn object(content: Digest, body: &[u8]) -> Result<Object, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let key = Key::of(&value).ok_or("an object has no name")?;
    let keep = matches!(judge(&value), Ok((Prune::Never, _)));
    let version = version_of(value["apiVersion"].as_str().unwrap_or_default()).to_owned();
    Ok(Object { key, version, content, keep })
}
