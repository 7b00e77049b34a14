//! `log`: events of the log, and the new ones as they come.

use std::time::Duration;

use taffrail_proto::v1::{EventFilter, EventRow, ListEventsRequest, WatchEventsRequest};
use tonic::Code;

use super::Session;
use crate::client::{Client, view_of};
use crate::error::{Error, Exit};
use crate::output::{Format, Out, Shown};
use crate::row::event::Event;
use crate::row::{Cell, Row};
use crate::time;

/// Events asked for at once.
const PAGE_EVENTS: u32 = 1_000;
/// First and longest pause before a broken stream is taken up again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// `log`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  taffrail log --commit 4f1c2a9            one commit, from push to the last cluster\n  \
    taffrail log --app payments-api --from 14:05 --to 14:20\n  \
    taffrail log --cluster eu-1 -f           as it happens\n  \
    taffrail log --kind RenderFailed -n 0 -o json\n\n\
    Times: 2026-11-24T14:05:00Z, 2026-11-24, 14:05 (today, or yesterday if that is still to come), 10m (ago).\n\
    The oldest event is first. Times are those at which the hub recorded the event."
)]
pub struct Args {
    /// Only this cluster
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    cluster: String,
    /// Only this app
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    app: String,
    /// Only this source
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    source: String,
    /// Only this commit; its beginning is enough
    #[arg(long, value_name = "COMMIT", default_value = "", hide_default_value = true)]
    commit: String,
    /// Only what this actor did, such as `hub`, `agent` or `person:NAME`
    #[arg(long, value_name = "WHO", default_value = "", hide_default_value = true)]
    actor: String,
    /// Only these kinds, such as `CommitSeen`; several with commas
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Not before this time
    #[arg(long, visible_alias = "since", value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, visible_alias = "until", value_name = "TIME")]
    to: Option<String>,
    /// After the event with this index
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    after: u64,
    /// At most so many of the newest; 0 for all
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    /// Go on with new events, until interrupted
    #[arg(short, long, conflicts_with = "to")]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Carries `log` out.
///
/// # Errors
/// A time cannot be read, or the hub refuses, fails or cannot be reached.
pub async fn run(args: Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    if args.shown.format == Format::Tree {
        return Err(Error::usage("-o tree shows one app", "taffrail get app NAME -o tree"));
    }
    let now = time::now();
    let at = |text: &Option<String>| text.as_deref().map_or(Ok(0), |text| time::parse_at(text, &now));
    let filter = EventFilter {
        cluster: args.cluster,
        app: args.app,
        commit: args.commit,
        actor: args.actor,
        kinds: args.kind,
        from_ms: at(&args.from)?,
        to_ms: at(&args.to)?,
        source: args.source,
    };
    let mut client = session.client().await?;
    let past = past(&mut client, &filter, args.after, args.limit).await?;
    if past.more {
        let count = past.events.len();
        session.out.note(&format!("only the newest {count} events are shown; -n 0 shows all"))?;
    }
    let view = past.view;
    let events: Vec<Event> = past.events.into_iter().map(Event::from).collect();
    if !args.follow {
        session.out.rows(&args.shown, Some(&view), &events)?;
        return Ok(Exit::Ok);
    }
    let mut shown = Lines { shown: args.shown, widths: Vec::new(), begun: false };
    shown.print(&events, session.out)?;
    follow(&mut client, filter, view.state_index.max(args.after), &mut shown, session.out).await
}

struct Past {
    view: taffrail_proto::v1::View,
    events: Vec<EventRow>,
    more: bool,
}

/// The newest `limit` events, oldest first.
async fn past(client: &mut Client, filter: &EventFilter, after: u64, limit: u32) -> Result<Past, Error> {
    let mut newest_first: Vec<EventRow> = Vec::new();
    let mut view = None;
    let mut before_index = 0;
    loop {
        let left =
            if limit == 0 { u32::MAX } else { limit - u32::try_from(newest_first.len()).unwrap_or(limit) };
        let ask = ListEventsRequest {
            filter: Some(filter.clone()),
            after_index: after,
            before_index,
            limit: left.min(PAGE_EVENTS),
            newest_first: true,
        };
        let page = client.fleet.list_events(ask).await?.into_inner();
        view.get_or_insert(view_of(page.view)?);
        newest_first.extend(page.events);
        let full = limit != 0 && newest_first.len() as u64 >= u64::from(limit);
        let deeper = before_index == 0 || page.reached_index < before_index;
        match page.reached_index {
            reached if page.more && !full && deeper && reached > 1 => before_index = reached,
            _ => {
                newest_first.reverse();
                let view = view_of(view)?;
                return Ok(Past { view, events: newest_first, more: page.more });
            }
        }
    }
}

/// Shows new events for ever; a broken stream is taken up where it ended, so that none is missed or doubled.
async fn follow(
    client: &mut Client,
    filter: EventFilter,
    mut after_index: u64,
    shown: &mut Lines,
    out: &mut Out,
) -> Result<Exit, Error> {
    let mut pause = RETRY_FIRST;
    loop {
        let ask = WatchEventsRequest { filter: Some(filter.clone()), after_index, follow: true };
        let ended = match client.fleet.watch_events(ask).await {
            Ok(answer) => {
                let mut stream = answer.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(batch)) => {
                            pause = RETRY_FIRST;
                            let fresh = batch.events.into_iter().filter(|event| event.index > after_index);
                            let fresh: Vec<EventRow> = fresh.collect();
                            let last = fresh.last().map_or(0, |event| event.index);
                            let fresh: Vec<Event> = fresh.into_iter().map(Event::from).collect();
                            shown.print(&fresh, out)?;
                            after_index = after_index.max(last).max(batch.reached_index);
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
            Err(status) => Some(status),
        };
        match ended {
            Some(status) if !can_go_on(status.code()) => return Err(status.into()),
            _ => out.note(&format!("the stream ended after event {after_index}; taking it up again"))?,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

fn can_go_on(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal
    )
}

/// Events one after the other, with columns that stay where they are.
struct Lines {
    shown: Shown,
    widths: Vec<usize>,
    begun: bool,
}

impl Lines {
    fn print(&mut self, events: &[Event], out: &mut Out) -> Result<(), Error> {
        let wide = self.shown.format == Format::Wide;
        match self.shown.format {
            Format::Json => events.iter().try_for_each(|event| out.compact(event))?,
            Format::Yaml => {
                events.iter().try_for_each(|event| out.line("---").and_then(|()| out.yaml(event)))?;
            }
            Format::Name => events.iter().try_for_each(|event| out.line(&event.name()))?,
            Format::Table | Format::Wide | Format::Tree => {
                let mut lines: Vec<Vec<Cell>> = Vec::new();
                if !self.begun && !self.shown.no_headers {
                    lines.push(Event::headers(wide).iter().map(|head| Cell::plain(*head)).collect());
                }
                lines.extend(events.iter().map(|event| event.cells(wide)));
                out.aligned(&lines, &mut self.widths)?;
            }
        }
        self.begun = true;
        out.flush()
    }
}
