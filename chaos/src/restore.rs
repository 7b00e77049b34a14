//! A hub that lives on from an older copy of its disk, and the people who begin a new epoch once it knows.

use crate::check::own_event;
use crate::disk::Record;
use crate::world::World;
use taffrail_core::digest::Digest;
use taffrail_core::epoch::{self, GrantKind};
use taffrail_core::event::{Actor, HubFact};
use taffrail_core::node::hub::{Append, Command, Durable, Hub, Input, ReadOnly, Settings};
use taffrail_core::time::Span;
use taffrail_proto::event::decode_header;
use taffrail_proto::grant;
use taffrail_proto::stored;

/// What people would have to order again after a restore; no copy of this world is older than the last of these.
const ORDERED: [&str; 8] = [
    "SourceAdded",
    "RestoreKeyMade",
    "ClusterInvited",
    "ClusterJoined",
    "ClusterRenamed",
    "ClusterLeaving",
    "ClusterRemoved",
    "EpochRaised",
];

impl World {
    /// The state that the log makes.
    pub(crate) fn replayed(&mut self) -> Option<Durable> {
        let mut state = Durable::default();
        for (at, record) in self.hub.log.records.iter().enumerate() {
            if let Err(error) =
                stored::apply(&mut state, at as u64 + 1, record.at, &record.header, &record.body)
            {
                self.check.must(false, || format!("event {} cannot be replayed: {error:?}", at + 1));
                return None;
            }
        }
        Some(state)
    }

    /// The hub dies, and starts from a copy with so many per mille of its log's batches.
    pub(crate) fn restore_hub(&mut self, share: u64) {
        let Some(process) = &self.hub.process else { return };
        if process.hub.read_only().is_some() || process.hub.unadopted() > 0 {
            return;
        }
        self.crash_hub();
        let log = &self.hub.log;
        let kinds: Vec<String> = log.records.iter().map(kind).collect();
        let least = kinds.iter().rposition(|kind| ORDERED.contains(&kind.as_str())).map_or(0, |at| at + 1);
        let ends: Vec<usize> = log.ends.iter().copied().filter(|end| *end >= least).collect();
        let place = usize::try_from(ends.len() as u64 * share / 1_000).unwrap_or(0);
        let Some(length) = ends.get(place).copied().filter(|length| *length < log.records.len()) else {
            return;
        };
        let named = log.records[..length].iter().filter_map(bundle).collect();
        self.hub.log.go_back(length, &named);
        self.hub.restored += 1;
        self.seen.saw("the hub was restored from an older copy");
        self.say(|| format!("the hub's log is a copy with {length} events"));
        self.check.restored(&self.hub.log.records);
        for site in &self.sites {
            let knows = site.journal.as_ref().is_some_and(|journal| journal.index.is_some());
            if let (Some(account), false) = (site.account(), knows) {
                self.check.forgot(account, site.mirrored(account).0);
            }
        }
        // The broker's folder is part of the copy, or the broker is another machine.
        if self.random.per_mille(500) {
            self.wipe();
        }
    }

    /// People begin a new epoch if the hub says that it is too old, or an agent that its index is: the hub stops, and the
    /// log gets their word.
    pub(crate) fn raise_epoch(&mut self) {
        let Some(process) = &self.hub.process else { return };
        let behind = matches!(process.hub.read_only(), Some(ReadOnly::Behind(_)));
        if !behind && !self.index_is_lower() {
            return;
        }
        let at = self.hub_now();
        self.crash_hub();
        let Some(state) = self.replayed() else { return };
        let next = epoch::highest(&state.epochs, state.planner.epoch) + 1;
        let signed = grant::sign(&self.hub.offline, &self.hub.signer.public(), next, GrantKind::Restore);
        let mut hub = Hub::new(state, Settings { lease: Span(3 * self.plan.heartbeat) });
        let command = Command::RaiseEpoch(signed);
        let out = hub.step(Input::Ordered { token: 1, actor: Actor::Person("ada".into()), command }, at);
        let record = |append: Append| {
            let (header, body) = stored::encode(append, &[]);
            Record { at: out.appended_at, header, body }
        };
        self.hub.log.write(out.appends.into_iter().map(record).collect());
        self.hub.log.durable = self.hub.log.records.len();
        self.check.durable(&self.hub.log.records);
        self.say(|| format!("people begin epoch {next}"));
    }

    /// Whether an agent remembers a newer index than a restored log, and cannot show it any more.
    fn index_is_lower(&self) -> bool {
        let Some(process) = self.hub.process.as_ref().filter(|_| self.hub.restored > 0) else { return false };
        let state = process.hub.state();
        self.sites.iter().any(|site| {
            let name = site.account().and_then(|account| state.clusters.accounts.get(account));
            let known = name.and_then(|name| state.planner.fleet.get(name)).map(|desired| desired.index.mark);
            let held = site.process.as_ref().map(|process| process.agent.held().mark);
            name.and(held).is_some_and(|held| held > known.unwrap_or_default())
        })
    }
}

fn kind(record: &Record) -> String {
    decode_header(&record.header).map(|header| header.kind).unwrap_or_default()
}

/// The bundle that an event of the log names.
fn bundle(record: &Record) -> Option<Digest> {
    let header = decode_header(&record.header).ok().filter(|header| header.kind == "BundleSealed")?;
    match own_event(&header, &record.body)?.fact {
        HubFact::BundleSealed { digest, .. } => Some(digest),
        _ => None,
    }
}
