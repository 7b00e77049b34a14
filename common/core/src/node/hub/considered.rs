//! Which commits the desired state of an instance was made from, whether they changed it or not.

use super::step::Hub;
use crate::catalog::Placement;
use crate::id::{AppId, ClusterName};
use crate::source::{Head, Track};
use alloc::vec::Vec;

impl Hub {
    /// The heads that an instance's desired state was made from: that of the source which declares the app, and that
    /// of the revision it is rendered from. A commit that changed nothing of the app counts as soon as that is known.
    ///
    /// Empty while something of them is still to be read, rendered or planned, and where it could not be.
    pub fn considered<'a>(
        &'a self,
        cluster: &ClusterName,
        app: &AppId,
        placement: &'a Placement,
    ) -> Vec<(&'a Track, &'a Head)> {
        self.all_considered(cluster, app, placement).unwrap_or_default()
    }

    fn all_considered<'a>(
        &'a self,
        cluster: &ClusterName,
        app: &AppId,
        placement: &'a Placement,
    ) -> Option<Vec<(&'a Track, &'a Head)>> {
        let Placement { variant, .. } = placement;
        let (declared, sources) = (self.durable.sources.sources.get(&app.source)?, &self.durable.sources);
        let (declaring, rendering) = (sources.head(&declared.track)?, sources.head(&variant.track)?);
        let is_read = self.read_at.get(&app.source) == Some(&declaring.commit);
        let is_rendered = self.rendered_at.get(variant) == Some(&rendering.commit);
        let has_failed = self.durable.planner.failures.contains_key(variant);
        if !is_read || !is_rendered || has_failed || self.dirty.contains(cluster) {
            return None;
        }
        let catalog = &self.durable.catalog;
        let of_source = |key: &&(_, _)| key.0 == app.source && catalog.unreadable.contains_key(key);
        if catalog.reaching(cluster).map(|(key, _)| key).any(|key| of_source(&key)) {
            return None;
        }
        let mut heads = alloc::vec![(&declared.track, declaring)];
        if variant.track != declared.track {
            heads.push((&variant.track, rendering));
        }
        Some(heads)
    }
}
