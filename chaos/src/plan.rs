//! What a history is made of, drawn from its seed: bounds, faults, and what people, crashes and clocks do when.

use crate::random::Random;
use std::collections::BTreeSet;

/// A class of faults that strikes by chance while it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Double,
    /// Messages arrive seconds late, and so out of order.
    Delay,
    /// An fsync takes up to two seconds.
    SlowDisk,
    /// API servers answer 409, 429, 500 without having done anything.
    ApiErrors,
    /// API servers do what they are asked, and their answer is lost.
    LostAnswers,
    /// API servers take seconds.
    SlowApi,
    /// Watches break and list again.
    WatchBreaks,
    /// Looks at Git, readings and renderings fail for now.
    GitErrors,
    /// What the hub hands to the broker fails, before or after it took effect.
    BrokerErrors,
}

impl Fault {
    /// Every fault with its name on the command line.
    pub const ALL: [(Fault, &'static str); 10] = [
        (Fault::Loss, "loss"),
        (Fault::Double, "double"),
        (Fault::Delay, "delay"),
        (Fault::SlowDisk, "slow-disk"),
        (Fault::ApiErrors, "api-errors"),
        (Fault::LostAnswers, "lost-answers"),
        (Fault::SlowApi, "slow-api"),
        (Fault::WatchBreaks, "watch-breaks"),
        (Fault::GitErrors, "git-errors"),
        (Fault::BrokerErrors, "broker-errors"),
    ];
}

/// Where a process dies the next time it comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After something was written, before its fsync.
    Written,
    /// After the fsync, before anything follows from it.
    Synced,
    /// After the first of several outputs.
    FirstOutput,
    /// Right after a request left.
    Sent,
}

/// What a push to Git changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// A field of an object.
    Field,
    /// One more object.
    Grow,
    /// One object less.
    Shrink,
    /// Most objects of an app less.
    Purge,
    /// An app renders to nothing.
    Hollow,
    /// An app appears on a cluster, or leaves it.
    Place,
    /// An app cannot be rendered.
    Break,
    /// What a cluster's root declares cannot be read.
    Garble,
    /// The tree declares nothing at all.
    Void,
    /// A workload never becomes healthy.
    Sicken,
    /// An app's policy.
    Policy,
    /// The tree of an earlier commit.
    Revert,
    /// An object that is being deleted in some cluster comes back.
    Return,
    /// A file that nobody reads.
    Readme,
}

/// Something that happens at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A commit on top of the branch.
    Push(Push),
    /// The branch is moved to another history.
    ForcePush,
    /// A person accepts rewritten history.
    Allow,
    /// A person approves what an agent holds back.
    Approve,
    /// A person asks for a sync.
    Sync,
    /// A person looks at the status.
    Look,
    /// Somebody edits an object of a cluster.
    Edit(usize),
    /// Somebody deletes an object of a cluster.
    Delete(usize),
    /// Somebody takes our label off an object of a cluster.
    Unlabel(usize),
    /// Somebody makes an object that Git will name.
    Squat(usize),
    /// The hub is killed.
    CrashHub,
    /// The hub is killed when it comes by.
    CrashHubAt(Point),
    /// The hub lives on from a copy of its disk with so many per mille of its log's batches.
    RestoreHub(u64),
    /// An agent is killed.
    CrashAgent(usize),
    /// An agent is killed when it comes by.
    CrashAgentAt(usize, Point),
    /// An agent is killed, and its journal is gone.
    LoseJournal(usize),
    /// The broker forgets everything.
    Wipe,
    /// A cluster cannot reach the hub for so many milliseconds.
    Cut(usize, u64),
    /// The hub's clock jumps by so many milliseconds.
    HubClock(i64),
    /// A cluster's clock jumps by so many milliseconds.
    AgentClock(usize, i64),
    /// A cluster is taken out of the fleet.
    Remove(usize),
    /// A cluster is emptied and taken out.
    Empty(usize),
    /// A cluster is invited again.
    Invite(usize),
    /// A cluster gets another name.
    Rename(usize),
}

/// A whole history before it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From which everything follows.
    pub seed: u64,
    /// Clusters, at most.
    pub clusters: usize,
    /// Pause between signs of life, in milliseconds. The lease is three of them.
    pub heartbeat: u64,
    /// Pause between looks at Git, in milliseconds.
    pub poll: u64,
    /// Most inputs of one batch of a hub or an agent.
    pub batch: usize,
    /// Most events of one request.
    pub request: usize,
    /// Requests of one instance in flight.
    pub in_flight: usize,
    /// How long a workload may take, in milliseconds.
    pub health_timeout: u64,
    /// Bytes that an agent's outbox may take.
    pub room: u64,
    /// Faults that are on.
    pub faults: BTreeSet<Fault>,
    /// What happens, with the millisecond after the start.
    pub actions: Vec<(u64, Action)>,
    /// Milliseconds until the calm begins.
    pub span: u64,
    /// A mistake that is put in on purpose.
    pub mistake: Option<Mistake>,
}

/// A mistake of a shell, to see that it is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The hub answers before its fsync.
    AnswerEarly,
    /// The hub carries effects out before its fsync.
    ActEarly,
    /// The hub takes a batch that does not follow.
    TakeGap,
    /// A restarted hub drops the last durable batch.
    ForgetBatch,
    /// The agent drops a row of its outbox without a receipt.
    ForgetRow,
    /// The agent does not journal what waits for room in its outbox.
    ForgetFold,
    /// The agent acts before its journal is written.
    ActUnwritten,
    /// The agent does not journal the index that it took.
    ForgetIndex,
    /// The agent numbers from 1 again after a restart.
    NumberAgain,
    /// A watch takes an unfinished list for the whole.
    HalfList,
    /// A bundle that cannot be fetched is taken for an empty one.
    EmptyBundle,
}

impl Mistake {
    /// Every mistake with its name on the command line.
    pub const ALL: [(Mistake, &'static str); 11] = [
        (Mistake::AnswerEarly, "answer-early"),
        (Mistake::ActEarly, "act-early"),
        (Mistake::TakeGap, "take-gap"),
        (Mistake::ForgetBatch, "forget-batch"),
        (Mistake::ForgetRow, "forget-row"),
        (Mistake::ForgetFold, "forget-fold"),
        (Mistake::ActUnwritten, "act-unwritten"),
        (Mistake::ForgetIndex, "forget-index"),
        (Mistake::NumberAgain, "number-again"),
        (Mistake::HalfList, "half-list"),
        (Mistake::EmptyBundle, "empty-bundle"),
    ];
}

/// Room for the longest fold and little more, in bytes.
const TIGHT: u64 = 2_560;

/// Room for all that happens.
const AMPLE: u64 = 1 << 30;

impl Plan {
    /// The history of a seed.
    pub fn draw(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        let clusters = random.pick(&[1, 2, 3, 3, 3, 4, 4, 5]);
        let mut faults = BTreeSet::new();
        for (fault, _) in Fault::ALL {
            if random.per_mille(350) {
                faults.insert(fault);
            }
        }
        let span = random.between(10_000, 60_000);
        let count = random.between(6, 26);
        let mut actions: Vec<(u64, Action)> =
            (0..count).map(|_| (random.below(span), action(&mut random, clusters))).collect();
        actions.sort_by_key(|(at, _)| *at);
        Plan {
            seed,
            clusters,
            heartbeat: random.pick(&[10_000, 20_000, 60_000]),
            poll: random.pick(&[5_000, 10_000, 30_000]),
            batch: random.pick(&[1, 2, 16, 256]),
            request: random.pick(&[1, 3, 256, 256]),
            in_flight: random.pick(&[1, 2, 8, 8]),
            health_timeout: random.pick(&[10_000, 60_000, 300_000]),
            room: random.pick(&[TIGHT, TIGHT, 4 * TIGHT, AMPLE]),
            faults,
            actions,
            span,
            mistake: None,
        }
    }
}

fn action(random: &mut Random, clusters: usize) -> Action {
    let site = random.place(clusters);
    match random.below(102) {
        0..30 => Action::Push(push(random)),
        30..33 => Action::ForcePush,
        33..36 => Action::Allow,
        36..41 => Action::Approve,
        41..44 => Action::Sync,
        44..48 => Action::Look,
        48..53 => Action::Edit(site),
        53..57 => Action::Delete(site),
        57..59 => Action::Unlabel(site),
        59..61 => Action::Squat(site),
        61..64 => Action::CrashHub,
        64..70 => Action::CrashHubAt(point(random)),
        70..73 => Action::CrashAgent(site),
        73..81 => Action::CrashAgentAt(site, point(random)),
        81..84 => Action::LoseJournal(site),
        84..87 => Action::Wipe,
        87..91 => Action::Cut(site, random.pick(&[3_000, 20_000, 120_000])),
        91..93 => Action::HubClock(jump(random)),
        93..95 => Action::AgentClock(site, jump(random)),
        95 => Action::Remove(site),
        96 | 97 => Action::Empty(site),
        98 => Action::Invite(site),
        99 | 100 => Action::RestoreHub(random.pick(&[300, 700, 950])),
        _ => Action::Rename(site),
    }
}

fn push(random: &mut Random) -> Push {
    match random.below(22) {
        0..4 => Push::Field,
        4 | 5 => Push::Grow,
        6 | 7 => Push::Shrink,
        8 | 9 => Push::Purge,
        10 => Push::Hollow,
        11 | 12 => Push::Place,
        13 => Push::Break,
        14 => Push::Garble,
        15 => Push::Sicken,
        16 => Push::Policy,
        17 => Push::Revert,
        18 => Push::Void,
        19 | 20 => Push::Return,
        _ => Push::Readme,
    }
}

fn point(random: &mut Random) -> Point {
    random.pick(&[Point::Written, Point::Synced, Point::FirstOutput, Point::Sent])
}

fn jump(random: &mut Random) -> i64 {
    random.pick(&[-86_400_000, -3_600_000, -20_000, -500, 700, 20_000, 3_600_000, 86_400_000])
}
