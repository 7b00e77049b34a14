//! The sample tree of suites and demo: `apps/payments-api` with overlays, `policies`, and a root for each cluster.
//!
//! ```text
//! apps/payments-api/base/                    ConfigMap, Deployment, Service
//! apps/payments-api/overlays/staging/        1 replica;  image.yaml and resources.yaml are patches
//! apps/payments-api/overlays/production/     3 replicas; likewise
//! clusters/NAME/                             kustomization.yaml, apps.yaml: payments-api and policies as Applications
//! policies/                                  a plain directory: LimitRange, NetworkPolicy
//! ```

const BASE: [(&str, &str); 4] = [
    ("kustomization.yaml", include_str!("files/apps/payments-api/base/kustomization.yaml")),
    ("config.yaml", include_str!("files/apps/payments-api/base/config.yaml")),
    ("deployment.yaml", include_str!("files/apps/payments-api/base/deployment.yaml")),
    ("service.yaml", include_str!("files/apps/payments-api/base/service.yaml")),
];
const STAGING: [(&str, &str); 2] = [
    ("kustomization.yaml", include_str!("files/apps/payments-api/overlays/staging/kustomization.yaml")),
    ("resources.yaml", include_str!("files/apps/payments-api/overlays/staging/resources.yaml")),
];
const PRODUCTION: [(&str, &str); 2] = [
    ("kustomization.yaml", include_str!("files/apps/payments-api/overlays/production/kustomization.yaml")),
    ("resources.yaml", include_str!("files/apps/payments-api/overlays/production/resources.yaml")),
];
const IMAGES: [(Overlay, &str); 2] = [
    (Overlay::Staging, include_str!("files/apps/payments-api/overlays/staging/image.yaml")),
    (Overlay::Production, include_str!("files/apps/payments-api/overlays/production/image.yaml")),
];
const POLICIES: [(&str, &str); 2] = [
    ("limits.yaml", include_str!("files/policies/limits.yaml")),
    ("network.yaml", include_str!("files/policies/network.yaml")),
];
const ROOT: [(&str, &str); 2] = [
    ("kustomization.yaml", include_str!("files/clusters/__CLUSTER__/kustomization.yaml")),
    ("apps.yaml", include_str!("files/clusters/__CLUSTER__/apps.yaml")),
];

/// The app that the tree delivers; its Deployment, Service and `ConfigMap` have the same name.
pub const APP: &str = "payments-api";

/// Which variant of the app a cluster gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// One replica.
    Staging,
    /// Three replicas.
    Production,
}

impl Overlay {
    /// Its folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Overlay::Staging => "staging",
            Overlay::Production => "production",
        }
    }

    /// How many pods of the app it asks for.
    pub fn replicas(self) -> i64 {
        match self {
            Overlay::Staging => 1,
            Overlay::Production => 3,
        }
    }
}

/// What the tree is filled in with.
#[derive(Clone, Debug)]
pub struct Tree {
    /// URL of the repository that will hold it.
    pub repo: String,
    /// Namespace that everything is delivered to.
    pub namespace: String,
    /// Clusters by name, and what each gets.
    pub clusters: Vec<(String, Overlay)>,
}

impl Tree {
    /// Every file as path and text, with `image` (name and tag) in both overlays.
    pub fn files(&self, image: &str) -> Vec<(String, String)> {
        let folder = |folder: &'static str, files: &[(&'static str, &'static str)]| {
            let file = |(name, text): &(&str, &str)| (format!("{folder}/{name}"), (*text).to_owned());
            files.iter().map(file).collect::<Vec<_>>()
        };
        let mut files = folder("apps/payments-api/base", &BASE);
        files.extend(folder("apps/payments-api/overlays/staging", &STAGING));
        files.extend(folder("apps/payments-api/overlays/production", &PRODUCTION));
        files.extend(IMAGES.map(|(overlay, _)| self.image(overlay, image)));
        files.extend(folder("policies", &POLICIES));
        files.extend(self.clusters.iter().flat_map(|(cluster, overlay)| self.root(cluster, *overlay)));
        files
    }

    /// The file that says which image (name and tag) an overlay runs, as path and text.
    pub fn image(&self, overlay: Overlay, image: &str) -> (String, String) {
        let of = |(known, _): &&(Overlay, &'static str)| *known == overlay;
        let text = IMAGES.iter().find(of).map_or("", |(_, text)| text);
        let path = format!("apps/payments-api/overlays/{}/image.yaml", overlay.name());
        (path, text.replace("__IMAGE__", image))
    }

    /// The files of one cluster's root, as path and text.
    pub fn root(&self, cluster: &str, overlay: Overlay) -> Vec<(String, String)> {
        let fill = |(name, text): &(&str, &str)| {
            let text = text.replace("__REPO__", &self.repo).replace("__NAMESPACE__", &self.namespace);
            (format!("clusters/{cluster}/{name}"), text.replace("__OVERLAY__", overlay.name()))
        };
        ROOT.iter().map(fill).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_in_and_every_file_is_yaml() {
        let tree = Tree {
            repo: "http://127.0.0.1/fleet.git".into(),
            namespace: "payments".into(),
            clusters: vec![("lab".into(), Overlay::Staging), ("eu-1".into(), Overlay::Production)],
        };
        let files = tree.files("payments-api:1.4.0");
        assert_eq!(files.len(), 16);
        for (path, text) in &files {
            assert!(!text.contains("__"), "{path}");
            let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text).unwrap();
            assert!(documents.iter().all(|document| document["kind"].is_string()), "{path}");
        }
        let eu = files.iter().find(|(path, _)| path == "clusters/eu-1/apps.yaml").unwrap();
        assert!(eu.1.contains("overlays/production") && eu.1.contains("http://127.0.0.1/fleet.git"));
    }
}
