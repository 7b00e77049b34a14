//! Tickets: promises of the writer, kept when the disk has them.

use super::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Resolves when what was queued is durable, or was refused. Dropping it changes nothing about the write.
#[derive(Debug)]
#[must_use = "a write is durable only when its ticket says so"]
pub struct Ticket<T>(oneshot::Receiver<Result<T, Error>>);

/// The index of the last event after the batch, once durable.
pub type AppendTicket = Ticket<u64>;

/// A blob is durable, or durably gone.
pub type BlobTicket = Ticket<()>;

/// The writer's end of a ticket.
pub(super) type Promise<T> = oneshot::Sender<Result<T, Error>>;

impl<T> Ticket<T> {
    /// A ticket and the promise that resolves it.
    pub(super) fn new() -> (Promise<T>, Ticket<T>) {
        let (promise, receiver) = oneshot::channel();
        (promise, Ticket(receiver))
    }

    /// A ticket that was refused at once.
    pub(super) fn refused(error: Error) -> Ticket<T> {
        let (promise, ticket) = Ticket::new();
        let _ = promise.send(Err(error));
        ticket
    }

    /// Blocks the thread until the ticket resolves; for threads outside the async runtime.
    ///
    /// # Errors
    /// What the writer answers; [`Error::Stopped`] if it ended without an answer.
    ///
    /// # Panics
    /// When called on a thread of the async runtime.
    pub fn wait(self) -> Result<T, Error> {
        self.0.blocking_recv().unwrap_or(Err(Error::Stopped))
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Stopped)))
    }
}
