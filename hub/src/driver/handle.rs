//! How everything else reaches the driver.

use bytes::Bytes;
use taffrail_core::event::Actor;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::{Command, Hub, Input, Reply};
use taffrail_core::time::At;
use taffrail_proto::report::Incoming;
use tokio::sync::{mpsc, oneshot};

/// Inputs, and questions beside them, that wait for the driver; whoever posts more waits.
const QUEUE: usize = 4_096;

/// A reply that is durable, and the log index of the state that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the step said.
    pub reply: Reply,
    /// Log index of the state that said it.
    pub index: u64,
    /// Hub epoch of that state.
    pub epoch: u64,
}

/// The driver has ended; so does the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reach the hub's driver: it has ended")]
pub struct Gone;

pub(super) type Question = Box<dyn FnOnce(&Hub, At) -> Release + Send>;

/// Sends what a question found once that is durable.
pub(super) type Release = Box<dyn FnOnce() + Send>;

/// What is asked of the driver.
pub(super) enum Message {
    /// An input with a reply.
    Ask {
        /// Makes the input for its token.
        make: Box<dyn FnOnce(u64) -> Input + Send>,
        /// Signature that is stored with the last event of a batch.
        signature: Bytes,
        /// Size for the bound of a drain.
        bytes: usize,
        /// Where the reply goes.
        answer: oneshot::Sender<Answered>,
    },
    /// A look at the state.
    Look(Question),
}

/// Posts inputs without waiting for replies. They wait while the log takes nothing.
#[derive(Clone, Debug)]
pub struct Post(mpsc::Sender<Input>);

impl Post {
    /// Posts an input.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn input(&self, input: Input) -> Result<(), Gone> {
        self.0.send(input).await.map_err(|_| Gone)
    }
}

/// The way to the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    post: Post,
    questions: mpsc::Sender<Message>,
}

/// The driver's ends.
pub(super) struct Inbox {
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) questions: mpsc::Receiver<Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Message::Ask { .. } => "Ask",
            Message::Look(_) => "Look",
        })
    }
}

pub(super) fn channel() -> (Handle, Inbox) {
    let (post, inputs) = mpsc::channel(QUEUE);
    let (asking, questions) = mpsc::channel(QUEUE);
    (Handle { post: Post(post), questions: asking }, Inbox { inputs, questions })
}

impl Handle {
    /// Posts without waiting for replies.
    pub fn post(&self) -> Post {
        self.post.clone()
    }

    /// Gives a person's order; answers once its events are durable.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn order(&self, actor: Actor, command: Command) -> Result<Answered, Gone> {
        self.ask(Box::new(move |token| Input::Ordered { token, actor, command }), Bytes::new(), 0).await
    }

    /// Presents an agent that wants to join; answers once the decision is durable.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn join(&self, request: taffrail_core::cluster::JoinRequest) -> Result<Answered, Gone> {
        self.ask(Box::new(move |token| Input::Joining { token, request }), Bytes::new(), 0).await
    }

    /// Hands over a verified request of an agent; answers once its events are durable.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn events(&self, account: AccountKey, incoming: Incoming) -> Result<Answered, Gone> {
        let Incoming { batch, facts, signature, .. } = incoming;
        let bytes = batch.links.iter().map(|link| link.header.len() + link.payload.len()).sum();
        let make = Box::new(move |token| Input::Batched { token, account, batch, facts });
        self.ask(make, signature, bytes).await
    }

    /// Reports a request that could not be verified.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn forged(
        &self,
        account: AccountKey,
        reason: String,
        incarnation: u64,
        seq: u64,
    ) -> Result<Answered, Gone> {
        let make = Box::new(move |token| Input::Forged { token, account, reason, incarnation, seq });
        self.ask(make, Bytes::new(), 0).await
    }

    /// Looks at the state; the answer is given once that state is durable.
    ///
    /// # Errors
    /// [`Gone`] if the driver has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Hub, At) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, wait) = oneshot::channel();
        let question: Question = Box::new(move |hub, at| {
            let found = question(hub, at);
            Box::new(move || drop(answer.send(found)))
        });
        self.questions.send(Message::Look(question)).await.map_err(|_| Gone)?;
        wait.await.map_err(|_| Gone)
    }

    async fn ask(
        &self,
        make: Box<dyn FnOnce(u64) -> Input + Send>,
        signature: Bytes,
        bytes: usize,
    ) -> Result<Answered, Gone> {
        let (answer, wait) = oneshot::channel();
        self.questions.send(Message::Ask { make, signature, bytes, answer }).await.map_err(|_| Gone)?;
        wait.await.map_err(|_| Gone)
    }
}
