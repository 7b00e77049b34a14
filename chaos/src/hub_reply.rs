//! Requests of agents on their way in, and replies on their way out.

use crate::hub::{Asker, Message, Question, Request};
use crate::site::SiteJob;
use crate::world::{Happening, World};
use bytes::Bytes;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::{Input, Reply};
use taffrail_proto::report::{claims, encode_refusal, encode_reply, open_request};
use taffrail_proto::sign::PublicKey;

impl World {
    /// A reply leaves.
    pub(crate) fn reply(&mut self, asker: Asker, reply: &Reply, index: u64) {
        let durable = self.hub.log.durable;
        match asker {
            Asker::Agent(Request { site, account, id, epoch, .. }) => {
                let chain = match reply {
                    Reply::Receipt { chain, .. } => Some((&account, *chain)),
                    _ => None,
                };
                self.check.answered(chain, index, durable);
                let bytes = encode_reply(reply, &account, epoch, index, &self.hub.signer);
                if let Some(bytes) = bytes {
                    self.answer(site, id, &bytes.into());
                }
            }
            Asker::Person(number) => {
                self.check.answered(None, index, durable);
                self.ordered(number, reply);
            }
            Asker::Joiner(site, identity) => {
                self.check.answered(None, index, durable);
                if let Reply::Joined { cluster, account } = reply {
                    self.check.heard(account, self.now);
                    for arrival in self.arrivals(site) {
                        let member = (account.clone(), cluster.clone());
                        self.after(arrival, Happening::Joined(site, identity, member));
                    }
                }
            }
        }
    }

    fn answer(&mut self, site: usize, id: u64, bytes: &Bytes) {
        for arrival in self.arrivals(site) {
            let life = self.sites[site].life;
            self.after(arrival, Happening::Site(site, life, SiteJob::Answer(id, bytes.clone())));
        }
    }

    /// A request comes in: first its key is looked for.
    pub(crate) fn hub_request(&mut self, site: usize, account: &AccountKey, id: u64, body: Bytes) {
        if self.hub.process.is_some() && self.broker.accounts.contains(account) {
            let request = Request { site, account: account.clone(), id, body, epoch: 0 };
            self.question(Question::Key(request));
        }
    }

    /// The key was found, or why there is none.
    pub(crate) fn keyed(&mut self, mut request: Request, found: Result<(PublicKey, u64), &'static str>) {
        let (key, epoch) = match found {
            Ok(known) => known,
            Err(stranger) => return self.answer(request.site, request.id, &encode_refusal(stranger).into()),
        };
        request.epoch = epoch;
        let account = request.account.clone();
        let (input, signature) = match open_request(&request.body, &account, &self.known(key)) {
            Ok(mut incoming) => {
                self.check.heard(&account, self.now);
                let hub = self.known(self.hub.signer.public());
                let shown = incoming.stated.take().map(|stated| stated.verify(&hub, &account));
                let proof = shown.transpose();
                self.check.must(proof.is_ok(), || format!("what an agent shows cannot be read: {proof:?}"));
                incoming.batch.proof = proof.unwrap_or_default();
                let signature = incoming.signature.clone();
                let (batch, facts) = (incoming.batch, incoming.facts);
                (Input::Batched { token: 0, account, batch, facts }, signature)
            }
            Err(error) => {
                let (incarnation, seq) = claims(&request.body);
                let reason = error.to_string();
                (Input::Forged { token: 0, account, reason, incarnation, seq }, Bytes::new())
            }
        };
        self.post(Message::Ask(Asker::Agent(request), signature, Box::new(input)));
    }
}
