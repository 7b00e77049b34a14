//! The judge: what must be true of the world, whatever the core says. It compares facts and calls nothing that decides.

use crate::disk::Record;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::catalog::MaxDeletes;
use taffrail_core::cluster::{Chain, Number};
use taffrail_core::desired::{Entry, Index, Mark, Withdrawal};
use taffrail_core::digest::Digest;
use taffrail_core::event::{AgentEvent, AgentFact, HubEvent, HubFact};
use taffrail_core::id::{AccountKey, AppId, ClusterName};
use taffrail_core::object::Key;
use taffrail_core::outbox::Name;
use taffrail_core::time::At;
use taffrail_proto::event::{Decoded, Header, Numbered, decode, decode_header};
use taffrail_proto::report::decode_body;
use taffrail_proto::sign::sha256;

/// Kinds that no agent may delete without a person's word.
const PROTECTED: [&str; 4] =
    ["Namespace", "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition"];

/// Kinds of the hub's own events that the judge goes by.
const TOLD: [&str; 6] =
    ["IndexRaised", "ClusterJoined", "ClusterRenamed", "EpochRaised", "EventsLost", "ClusterAdopted"];

/// Fewer deletions than this need nobody's word by share.
const FLOOR: usize = 3;

/// Facts by app and kind.
type Counts = BTreeMap<(Option<AppId>, String), u64>;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Check {
    /// Hashes of the headers that an agent's journal holds durably, in order, by account and incarnation.
    numbered: BTreeMap<(AccountKey, u64), Vec<Digest>>,
    /// How many facts an agent stated durably, by app and kind, and how many of them its events tell or count.
    stated: BTreeMap<(AccountKey, u64), Counts>,
    told: BTreeMap<(AccountKey, u64), Counts>,
    /// Up to where an agent holds receipts.
    receipted: BTreeMap<(AccountKey, u64), u64>,
    /// Up to where the log holds events.
    logged: BTreeMap<(AccountKey, u64), u64>,
    /// The incarnation that the log saw last.
    newest: BTreeMap<AccountKey, u64>,
    scanned: usize,
    last_at: At,
    /// The indexes that an agent took durably.
    taken: BTreeMap<AccountKey, BTreeMap<Mark, Index>>,
    published: BTreeMap<(AccountKey, Mark), Index>,
    /// Indexes that the durable log raised.
    raised: BTreeSet<(ClusterName, Mark)>,
    /// Epochs that the durable log began.
    epochs: BTreeSet<u64>,
    /// Who is who in the durable log.
    names: BTreeMap<ClusterName, AccountKey>,
    /// The last event of a cluster that the durable log gave up.
    lost: BTreeMap<ClusterName, Number>,
    /// Up to where the log held events at any time.
    ever: BTreeMap<(AccountKey, u64), u64>,
    /// Journals with receipts for events that a restored log does not have, until their cluster is adopted.
    unadopted: BTreeSet<(AccountKey, u64)>,
    /// With which mark a cluster's indexes began in an epoch.
    first_marks: BTreeMap<(AccountKey, u64), Mark>,
    /// What bundles hold: all that was ever read from Git and rendered, and whether each object carries `Prune=false`.
    bundles: BTreeMap<Digest, BTreeMap<Key, bool>>,
    /// Bundles whose deletions people looked at before they approved.
    meant: BTreeSet<(AppId, Digest)>,
    /// What the hub says that people approved.
    approved: BTreeSet<(AccountKey, AppId, Digest)>,
    /// What people ordered to be emptied.
    emptied: BTreeSet<AccountKey>,
    /// When the hub last got a request of a cluster.
    heard: BTreeMap<AccountKey, u64>,
    /// What is wrong.
    pub(crate) failure: Option<String>,
}

impl Check {
    /// Something must hold.
    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.failure.is_none() {
            self.failure = Some(otherwise());
        }
    }

    /// Rows are durable in an agent's journal: it counts them.
    pub(crate) fn numbered(&mut self, account: &AccountKey, incarnation: u64, rows: &[Numbered]) {
        for row in rows {
            let counted = self.numbered.entry((account.clone(), incarnation)).or_default();
            let next = counted.len() as u64 + 1;
            counted.push(sha256(&row.header));
            self.must(row.seq == next, || format!("number {} is given where {next} is due", row.seq));
            self.tells(account, incarnation, row);
        }
    }

    /// What an event tells counts once, and what it counts as often as it says.
    fn tells(&mut self, account: &AccountKey, incarnation: u64, row: &Numbered) {
        let header = decode_header(&row.header);
        let event = header.and_then(|header| decode(&header, &row.payload));
        let Ok(Decoded::Agent(AgentEvent { context, fact })) = event else {
            return self.must(false, || format!("event {} of an agent cannot be read", row.seq));
        };
        let (kind, count) = match fact {
            AgentFact::FactsFolded { kind, count, .. } => (kind, u64::from(count)),
            fact => (fact.kind().to_owned(), 1),
        };
        let told = self.told.entry((account.clone(), incarnation)).or_default();
        *told.entry((context.app, kind)).or_default() += count;
    }

    /// Facts are durable in an agent's journal, with a number or not.
    pub(crate) fn stated(&mut self, account: &AccountKey, incarnation: u64, facts: Vec<Name>) {
        let stated = self.stated.entry((account.clone(), incarnation)).or_default();
        for (app, kind) in facts {
            *stated.entry((app, kind.to_owned())).or_default() += 1;
        }
    }

    /// An agent lets its outbox forget.
    pub(crate) fn receipted(&mut self, account: &AccountKey, incarnation: u64, seq: u64) {
        let of = (account.clone(), incarnation);
        let (logged, ever) = (self.logged.get(&of).copied().unwrap_or(0), self.ever.get(&of).copied());
        let ever = ever.unwrap_or(0);
        self.must(seq <= ever, || format!("an agent forgets event {seq}, and the log ended at {ever}"));
        if seq > logged {
            self.unadopted.insert(of.clone());
        }
        let known = self.receipted.entry(of).or_default();
        *known = seq.max(*known);
    }

    /// Records became durable.
    pub(crate) fn durable(&mut self, records: &[Record]) {
        for record in &records[self.scanned.min(records.len())..] {
            self.scanned += 1;
            let at = record.at;
            let last = self.last_at;
            self.must(at >= last, || format!("the log's time went back from {last:?} to {at:?}"));
            self.last_at = at;
            let header = match decode_header(&record.header) {
                Ok(header) => header,
                Err(error) => {
                    let number = self.scanned;
                    return self.must(false, || format!("event {number}: {error}"));
                }
            };
            if TOLD.contains(&header.kind.as_str()) {
                self.tell(&header, &record.body);
            }
            let Some(place) = header.place else { continue };
            let of = (place.account.clone(), place.incarnation);
            let newest = self.newest.entry(place.account.clone()).or_default();
            let forward = place.incarnation >= *newest;
            *newest = place.incarnation;
            self.must(forward, || format!("incarnation {} comes after a later one", place.incarnation));
            let logged = self.logged.get(&of).copied().unwrap_or(0);
            self.must(place.seq == logged + 1, || {
                format!("event {} follows event {logged} in the log", place.seq)
            });
            let counted = usize::try_from(place.seq - 1).ok();
            let counted = counted.and_then(|at| self.numbered.get(&of)?.get(at).copied());
            let same = counted == Some(sha256(&record.header));
            self.must(same, || {
                format!("event {} in the log is not the one that its agent counted", place.seq)
            });
            let ever = self.ever.entry(of.clone()).or_default();
            *ever = place.seq.max(*ever);
            self.logged.insert(of, place.seq);
        }
    }

    /// The durable log says something of its own that the judge goes by.
    fn tell(&mut self, header: &Header, body: &[u8]) {
        let Some(event) = own_event(header, body) else { return };
        let cluster = event.context.cluster;
        match event.fact {
            HubFact::IndexRaised { mark, .. } => self.raised.extend(cluster.map(|name| (name, mark))),
            HubFact::ClusterJoined { account, .. } => self.names.extend(cluster.map(|name| (name, account))),
            HubFact::EpochRaised { grant } => drop(self.epochs.insert(grant.epoch)),
            HubFact::EventsLost { last, .. } => self.lost.extend(cluster.map(|name| (name, last))),
            HubFact::ClusterAdopted { mark, chain, .. } => {
                if let Some(name) = cluster {
                    self.adopted(&name, chain);
                    self.raised.insert((name, mark));
                }
            }
            HubFact::ClusterRenamed { from, to } => {
                let moved = self.raised.iter().filter(|(name, _)| *name == from);
                let moved: Vec<_> = moved.map(|(_, mark)| (to.clone(), *mark)).collect();
                self.raised.extend(moved);
                let account = self.names.remove(&from);
                self.names.extend(account.map(|account| (to, account)));
            }
            _ => {}
        }
    }

    /// A restored log takes over where the events of a cluster go on: it gives up what has a receipt, nothing else, and
    /// says so.
    fn adopted(&mut self, name: &ClusterName, chain: Chain) {
        let Some(account) = self.names.get(name).cloned() else { return };
        let newest = self.newest.get(&account).copied().unwrap_or(0);
        let of = (account.clone(), chain.incarnation);
        let logged = self.logged.get(&of).copied().unwrap_or(0);
        if (chain.incarnation, chain.seq) <= (newest, logged) {
            return;
        }
        self.unadopted.remove(&of);
        let receipted = self.receipted.get(&of).copied().unwrap_or(0);
        self.must(chain.seq <= receipted, || {
            format!("events of {name} up to {} are given up, {receipted} have a receipt", chain.seq)
        });
        let told = self.lost.get(name) == Some(&chain.number());
        self.must(told, || format!("nobody says that events of {name} up to {} are lost", chain.seq));
        for (earlier, receipted) in self.receipted.range((account.clone(), 0)..of.clone()) {
            let logged = self.logged.entry(earlier.clone()).or_default();
            *logged = (*receipted).max(*logged);
        }
        self.newest.insert(account, chain.incarnation);
        self.logged.insert(of, chain.seq);
    }

    /// The hub's disk is an older one: what follows from it is found anew.
    pub(crate) fn restored(&mut self, records: &[Record]) {
        (self.scanned, self.last_at) = (0, At::default());
        self.logged.clear();
        self.newest.clear();
        self.raised.clear();
        self.epochs.clear();
        self.names.clear();
        self.lost.clear();
        self.durable(records);
        // Where nobody remembers a mark any more it may be given again; whoever remembers it is not shown another index.
        self.published.clear();
        self.first_marks.clear();
        let missing =
            self.receipted.iter().filter(|(of, seq)| self.logged.get(*of).is_none_or(|it| it < *seq));
        let journals: Vec<_> = missing.map(|(of, _)| of.clone()).collect();
        self.unadopted.extend(journals);
    }

    /// The hub answers with a receipt, or says that something is done, at this index.
    pub(crate) fn answered(&mut self, account: Option<(&AccountKey, Chain)>, index: u64, durable: usize) {
        self.must(index <= durable as u64, || {
            format!("answered at {index}, and the log is durable up to {durable}")
        });
        if let Some((account, chain)) = account {
            let logged = self.logged.get(&(account.clone(), chain.incarnation)).copied().unwrap_or(0);
            self.must(chain.seq <= logged, || {
                format!("a receipt for event {} leaves, and the durable log ends at {logged}", chain.seq)
            });
        }
    }

    /// The hub publishes an index.
    pub(crate) fn published(&mut self, cluster: &ClusterName, account: &AccountKey, index: &Index) {
        let begins = (account.clone(), index.mark.epoch);
        let begun = self.epochs.contains(&index.mark.epoch);
        let first = begun && *self.first_marks.entry(begins).or_insert(index.mark) == index.mark;
        let raised = first || self.raised.contains(&(cluster.clone(), index.mark));
        self.must(raised, || {
            format!("index {} of {cluster} is published, and the log does not hold it", index.mark)
        });
        let of = (account.clone(), index.mark);
        let known = self.published.entry(of).or_insert_with(|| index.clone());
        let same = known == index;
        self.must(same, || format!("two indexes are published with the mark {}", index.mark));
        for entry in index.entries.values() {
            let known = self.bundles.contains_key(&entry.digest);
            self.must(known, || format!("index {} names a bundle that was never rendered", index.mark));
        }
    }

    /// An index is durable in an agent's journal: it was taken.
    pub(crate) fn took(&mut self, account: &AccountKey, index: Index) {
        let mark = index.mark;
        let taken = self.taken.entry(account.clone()).or_default();
        let before = taken.last_key_value().map(|(mark, _)| *mark).unwrap_or_default();
        taken.insert(mark, index);
        self.must(mark >= before, || format!("an agent takes index {mark} after {before}"));
    }

    /// A journal is gone after the hub was restored: what its cluster remembers goes up to `floor`.
    pub(crate) fn forgot(&mut self, account: &AccountKey, floor: Mark) {
        self.taken.entry(account.clone()).or_default().retain(|mark, _| *mark <= floor);
    }

    /// Whether a journal has receipts for events that a restored log does not have.
    pub(crate) fn misses(&self, account: &AccountKey, incarnation: u64) -> bool {
        let of = (account.clone(), incarnation);
        // Its agent may not have got the receipts, and have sent the events again.
        self.unadopted.contains(&of) && self.logged.get(&of) < self.receipted.get(&of)
    }

    /// The index with this mark, if an agent took it durably.
    pub(crate) fn taken_at(&self, account: &AccountKey, mark: Mark) -> Option<&Index> {
        self.taken.get(account)?.get(&mark)
    }

    /// Something was read from Git and rendered.
    pub(crate) fn rendered(&mut self, digest: Digest, objects: BTreeMap<Key, bool>) {
        self.bundles.insert(digest, objects);
    }

    /// Whether a bundle has an object.
    pub(crate) fn holds(&self, digest: &Digest, key: &Key) -> bool {
        self.bundles.get(digest).is_some_and(|bundle| bundle.contains_key(key))
    }

    /// A person looked at what a bundle would delete, and approves.
    pub(crate) fn meant(&mut self, app: AppId, digest: Digest) {
        self.meant.insert((app, digest));
    }

    /// The hub takes an approval.
    pub(crate) fn approved(&mut self, account: AccountKey, app: AppId, digest: Digest) {
        let meant = self.meant.contains(&(app.clone(), digest));
        self.must(meant, || format!("a bundle of {app} is approved that nobody looked at"));
        self.approved.insert((account, app, digest));
    }

    /// A person orders a cluster to be emptied.
    pub(crate) fn emptied(&mut self, account: AccountKey) {
        self.emptied.insert(account);
    }

    /// Whether people ordered a cluster to go.
    pub(crate) fn was_let_go(&self, account: &AccountKey) -> bool {
        self.emptied.contains(account)
    }

    /// The hub got a request of a cluster.
    pub(crate) fn heard(&mut self, account: &AccountKey, now: u64) {
        self.heard.insert(account.clone(), now);
    }

    /// A person is shown that a cluster is connected and so that its green lights are of now.
    pub(crate) fn shown_connected(&mut self, account: &AccountKey, now: u64, allowed: u64) {
        let heard = self.heard.get(account).copied().unwrap_or(0);
        self.must(now.saturating_sub(heard) <= allowed, || {
            format!("{account} is shown as connected {} ms after it was last heard", now - heard)
        });
    }

    /// An agent asks for the deletion of an object, decided under the index `by.1`. `leaving` of `stored` objects of the inventory are not in the bundle.
    pub(crate) fn deletes(
        &mut self,
        by: (&AccountKey, Mark),
        app: &AppId,
        key: &Key,
        stored: usize,
        leaving: usize,
    ) {
        let word = self.deletion(by, app, key, stored, leaving);
        if let Err(why) = word {
            self.must(false, || format!("{app} deletes {key}: {why}"));
        }
    }

    fn deletion(
        &self,
        (account, mark): (&AccountKey, Mark),
        app: &AppId,
        key: &Key,
        stored: usize,
        leaving: usize,
    ) -> Result<(), String> {
        let Some(index) = self.taken_at(account, mark) else {
            return Err(format!("index {mark} was not taken"));
        };
        let Some(entry) = index.entries.get(app) else {
            return Err(format!("index {mark} does not name it"));
        };
        let Some(bundle) = self.bundles.get(&entry.digest) else {
            return Err("nobody rendered the bundle".into());
        };
        let approved = self.approved.contains(&(account.clone(), app.clone(), entry.digest));
        if PROTECTED.contains(&key.kind.as_str()) && !approved {
            return Err("its kind is protected, and nobody approved".into());
        }
        match entry.withdrawn {
            Some(Withdrawal::Orphan) => return Err("the app leaves its objects".into()),
            Some(Withdrawal::Cascade) if self.emptied.contains(account) => return Ok(()),
            Some(Withdrawal::Cascade) => return Err("nobody ordered the cluster to be emptied".into()),
            None => {}
        }
        if bundle.contains_key(key) {
            return Err(format!("the commit {} has it", entry.commit.short()));
        }
        guarded(entry, bundle.len(), stored, leaving, approved)
    }

    /// At the end every fact that an agent stated has an event of its own or is counted by one, once.
    fn told_or_counted(&mut self, account: &AccountKey, incarnation: u64) {
        let of = (account.clone(), incarnation);
        let (stated, told) = (self.stated.remove(&of), self.told.remove(&of));
        let (stated, told) = (stated.unwrap_or_default(), told.unwrap_or_default());
        let wrong = stated.keys().chain(told.keys()).find(|name| stated.get(*name) != told.get(*name));
        self.must(wrong.is_none(), || {
            let many = |counts: &Counts| wrong.and_then(|name| counts.get(name)).copied().unwrap_or(0);
            format!("{account} stated {} facts {wrong:?} and tells {}", many(&stated), many(&told))
        });
    }

    /// At the end everything that agents counted is in the log; what a lost journal took with it has no receipt.
    pub(crate) fn complete(&mut self, account: &AccountKey, incarnation: u64) {
        self.told_or_counted(account, incarnation);
        for ((of, counted_by), counted) in self.numbered.clone() {
            let key = (of.clone(), counted_by);
            let logged = self.logged.get(&key).copied().unwrap_or(0);
            let receipted = self.receipted.get(&key).copied().unwrap_or(0);
            // Of a journal that was lost before it could be shown, nobody knows how far it went.
            let unknown = (&of, counted_by) != (account, incarnation) && self.unadopted.contains(&key);
            self.must(receipted <= logged || unknown, || {
                format!("events up to {receipted} have a receipt, {logged} are there")
            });
            let counted = counted.len() as u64;
            let whole = of != *account || counted_by != incarnation || counted == logged;
            self.must(whole, || format!("{of} counted {counted} events, and {logged} are in the log"));
        }
    }
}

/// What a stored event of the hub's own says; `None` for one of an agent.
pub(crate) fn own_event(header: &Header, body: &[u8]) -> Option<HubEvent> {
    let (payload, _) = decode_body(body).ok()?;
    match decode(header, &payload).ok()? {
        Decoded::Hub(event) => Some(event),
        _ => None,
    }
}

fn guarded(entry: &Entry, after: usize, stored: usize, leaving: usize, approved: bool) -> Result<(), String> {
    if !entry.policy.prune {
        return Err("pruning is off".into());
    }
    if approved {
        return Ok(());
    }
    if after == 0 && !entry.policy.allow_empty {
        return Err("the bundle is empty, and nobody approved".into());
    }
    let over = match entry.policy.max_deletes {
        MaxDeletes::Percent(percent) => leaving >= FLOOR && leaving * 100 > stored * usize::from(percent),
        MaxDeletes::Count(count) => leaving > count as usize,
    };
    if over && after > 0 {
        return Err(format!("{leaving} of {stored} objects leave, and nobody approved"));
    }
    Ok(())
}
