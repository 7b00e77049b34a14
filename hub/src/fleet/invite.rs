//! Letting a cluster in: a one-time token, kept as its digest, and the YAML that carries it.

use super::FleetService;
use crate::api::Error;
use crate::api::service::{Invitation, Invited, Rights};
use crate::join::{self, Form, Manifest, manifest};
use taffrail_core::cluster;
use taffrail_core::node::hub::Command;
use taffrail_proto::join::Token;

impl FleetService {
    /// Invites a cluster. An invitation that is open already is replaced.
    pub(super) async fn let_in(&self, invitation: Invitation) -> Result<Invited, Error> {
        let Invitation { name, labels, image, daemonset, rights, by, .. } = invitation;
        let token = Token::generate().map_err(|error| super::internal("making a join token", &error))?;
        let of = name.clone();
        let looked = self.ask(move |hub, at| {
            let open = hub.state().clusters.clusters.get(&of).and_then(|known| known.invitation.as_ref());
            (at, open.is_some())
        });
        let (at, replaced) = looked.await?.value;
        let expires_at = at.plus(self.settings.token_ttl);
        let command = cluster::Command::Invite {
            cluster: name.clone(),
            labels: labels.clone(),
            token: token.digest(),
            expires_at,
        };
        let said = format!("Cluster {name} may join once with this manifest.");
        let mut done = self.order(by, Command::Cluster(command), said).await?;
        if replaced {
            done.warnings.push(format!("The token that {name} was invited with before is void."));
        }
        let manifest = manifest(&Manifest {
            cluster: name,
            hub_url: self.settings.hub_url.clone(),
            ca_pem: self.settings.ca_pem.clone(),
            token,
            image: image.unwrap_or_else(|| self.settings.image.clone()),
            form: if daemonset { Form::DaemonSet } else { Form::Deployment },
            rights: match rights {
                Rights::ClusterAdmin => join::Rights::ClusterAdmin,
                Rights::Namespaces(names) => join::Rights::Namespaces(names),
            },
            labels,
        });
        Ok(Invited { done, manifest, expires_at_ms: expires_at.0 })
    }
}
